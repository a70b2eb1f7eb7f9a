"""The calls of a case: the inputs of each, and the names of all arrays that its trace would have."""

from __future__ import annotations

from minibiogpt.catalog.steps import steps
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.golden.format.case import INPUT, Case


def inputs_of_call(case: Case, prefix: str) -> dict[str, str]:
    """Return {input: dtype} of the call with this prefix, "" or ``step.{n}/``, as the catalogue of steps takes it."""
    start = prefix + INPUT
    inputs = {
        name.removeprefix(start): str(case.array(name).dtype) for name in case.input_names if name.startswith(start)
    }
    return inputs | ({"past_key_values": "cache"} if prefix not in ("", "step.0/") else {})


def names_of_traces(case: Case) -> set[str]:
    """Return the names of every array of the case's calls, whether or not the case has it; none for a foreign model."""
    prefixes = {name.rpartition("/")[0] + "/" if "/" in name else "" for name in (e.name for e in case.entries)}
    try:
        config = BioGptConfig.from_dict(case.config)
        return {
            prefix + step.name
            for prefix in prefixes
            for step in steps(config, case.architecture, inputs_of_call(case, prefix))
        }
    except InputError:
        return set()
