"""The calls of a case: the inputs of each, the names of its arrays, and of all arrays that its trace would have."""

from __future__ import annotations

from collections.abc import Mapping

from minibiogpt.catalog.steps import steps
from minibiogpt.catalog.tools import TOOLS
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.golden.check.pairing import pair_one
from minibiogpt.golden.format.case import INPUT, WEIGHTS, Case


def inputs_of_call(case: Case, prefix: str) -> dict[str, str]:
    """Return {input: dtype} of the call with this prefix, "" or ``step.{n}/``, as the catalogue of steps takes it."""
    start = prefix + INPUT
    inputs = {
        name.removeprefix(start): str(case.array(name).dtype) for name in case.input_names if name.startswith(start)
    }
    return inputs | ({"past_key_values": "cache"} if prefix not in ("", "step.0/") else {})


def names_of_traces(case: Case) -> set[str]:
    """Return the names of every array of the case's calls, whether or not the case has it; none for a foreign model."""
    prefixes = prefixes_of(case)
    try:
        config = BioGptConfig.from_dict(case.config)
        return {
            prefix + step.name
            for prefix in prefixes
            for step in steps(config, case.architecture, inputs_of_call(case, prefix))
        }
    except InputError:
        return set()


def names_of(case: Case) -> dict[str, None]:
    """Return the names of all arrays and inputs of a case."""
    return dict.fromkeys([*(entry.name for entry in case.entries), *case.input_names])


def expected(case: Case, mapped: Mapping[str, str], tool: str | None, name: str) -> tuple[tuple[int, ...], bool] | None:
    """Return the shape of the case's array that a file with this name holds, and whether it has integers.

    Parameters
    ----------
    mapped : {the candidate's name: ours}. tool : whose names these are; None if unknown.
    """
    ways, known = ([tool] if tool else [None, *TOOLS]) if name not in mapped else [], names_of(case)
    pairs = (pair_one(name, known, way).reference_name for way in ways)
    ours = mapped.get(name) or next((one for one in pairs if one), None)
    if ours is None or ours not in case.tensors:
        return None
    entries = {entry.name: entry for entry in case.entries}
    shape = entries[ours].shape if ours in entries else case.tensors[ours].shape
    return shape, case.tensors[ours].dtype == "I64"


def prefixes_of(case: Case) -> set[str]:
    """Return the prefixes of the case's calls: "" alone, or each ``step.{n}/``."""
    names = [entry.name for entry in case.entries if not entry.name.startswith(WEIGHTS)]
    return {name.rpartition("/")[0] + "/" if "/" in name else "" for name in names}
