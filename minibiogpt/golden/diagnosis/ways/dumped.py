"""Arrays that were saved under another's name: the port goes on with the right one."""

from __future__ import annotations

from collections.abc import Mapping

from minibiogpt.golden.diagnosis.measure import Error, error_of
from minibiogpt.golden.diagnosis.run import CannotComputeError, CaseRun, Pass
from minibiogpt.golden.diagnosis.ways.table import WAYS


def dumped_otherwise(run: CaseRun, errors: Mapping[str, Error]) -> dict[str, str]:
    """Return {array: the name of the array that was saved instead, or ""}.

    The array differs from the case, but all arrays that are computed from it agree with the case, and none of them is
    what this array would give.
    """
    found: dict[str, str] = {}
    for name in run.known:
        if name in run.agreeing:
            continue
        users = [user for user, span in run.spans.items() if user != name and name in run.sources_of(span)]
        if users and all(user in run.agreeing and user in errors and not errors[user].ok for user in users):
            found[name] = _same_as(run, name, set(found))
    return found


def _same_as(run: CaseRun, name: str, others: set[str]) -> str:
    """Return the name of the array, of the same call, that this one is; "" if it is none."""
    known, call = run.known[name], run.steps[name][0]
    without = CaseRun(run.name, run.case, {x: k for x, k in run.known.items() if x not in {name, *others}}, run.weights,
                      run.other_inputs)  # fmt: skip
    within = Pass(without, {}, WAYS)
    for other in call.steps:
        if other == name:
            continue
        try:
            if error_of(name, known, within.value(other)).ok:
                return other
        except CannotComputeError:
            continue
    return ""
