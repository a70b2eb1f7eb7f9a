"""Arrays that were saved under another's name: the port goes on with the right one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from minibiogpt.catalog.names import STEP
from minibiogpt.golden.diagnosis.measure import Error, error_of
from minibiogpt.golden.diagnosis.run import CannotComputeError, CaseRun, Known, Pass
from minibiogpt.golden.diagnosis.ways.table import WAYS

SAMPLE, NEAR = 32, 100  # elements that are compared before whole arrays are, and the budgets that they may differ by
Saved = dict[str, str]  # {array: the name of the array that was saved instead; "" if it is none}


def dumped_otherwise(runs: list[CaseRun], errors: Mapping[tuple[int, str], Error]) -> list[Saved]:
    """Return, for each case, the arrays that were saved under another's name.

    They are not what their sources give, and what comes after them is computed from the right ones. What is found in
    one case is looked for in the others, where fewer arrays may tell, or where two arrays are equal by chance.
    """
    found = []
    for i, run in enumerate(runs):
        wrong = {name for (r, name), error in errors.items() if r == i and not error.ok}
        found.append(_proved(run, _same_as(run, _followed(run, wrong))))
    pairs = Counter((_bare(name), _bare(other)) for saved in found for name, other in saved.items() if other)
    usual = {name: other for (name, other), _ in reversed(pairs.most_common())}
    for run, saved in zip(runs, found, strict=True):
        names = [name for name in run.known if name not in run.agreeing and _bare(name) in usual]
        wanted = {name: name.removesuffix(_bare(name)) + usual[_bare(name)] for name in names}
        saved |= _proved(run, wanted, {name for (r, name), error in errors.items() if runs[r] is run and error.ok})
    return found


def _bare(name: str) -> str:
    return STEP.sub("", name, count=1)


def _users(run: CaseRun, name: str) -> list[str]:
    return [user for user, span in run.spans.items() if user != name and name in run.sources_of(span)]


def unread(run: CaseRun, wrong: set[str], left: set[str]) -> Saved:
    """Return the arrays with errors while all that is computed from them agrees, and is not what they would give.

    Parameters
    ----------
    wrong, left : the arrays with an error of their own, and those of them that nothing explains.
    """
    found: Saved = {}
    for name in [name for name in run.known if name in wrong]:
        users = _users(run, name)
        if users and left.issuperset(users) and run.agreeing.issuperset(users):
            found[name] = ""
    return found


def _followed(run: CaseRun, wrong: set[str]) -> list[str]:
    """Return the arrays with an error of their own that are followed by another one with such an error."""
    return [name for name in run.known if name in wrong and wrong.intersection(_users(run, name))]


def _without(run: CaseRun, names: Iterable[str]) -> CaseRun:
    left = {name: known for name, known in run.known.items() if name not in set(names)}
    return CaseRun(run.name, run.case, left, run.weights, run.other_inputs)


def _same_as(run: CaseRun, names: list[str]) -> Saved:
    """Return which other array of its call each of these is, where it is one, all computed without these."""
    found: Saved = {}
    within = Pass(_without(run, names), {}, WAYS)
    for name in names:
        others = (other for other in run.steps[name][0].steps if other != name)
        same = next((other for other in others if _equal(run.known[name], name, within, other)), None)
        if same is not None:
            found[name] = same
    return found


def _equal(known: Known, name: str, within: Pass, other: str) -> bool:
    """Whether an array is, up to rounding, the other one of a pass."""
    try:
        y, x = known.value, within.value(other)
    except CannotComputeError:
        return False
    a, b, budget = y.reshape(-1)[:SAMPLE], x.reshape(-1)[:SAMPLE], known.budget
    if budget is None or a.shape != b.shape or not np.allclose(a, b, 0.01, NEAR * budget, equal_nan=True):
        return False
    return error_of(name, known, x).ok


def _follows(user: str, within: Pass) -> bool:
    """Whether an array is what its sources in a pass give."""
    try:
        return error_of(user, within.run.known[user], within.predicted(user)).ok
    except CannotComputeError:
        return False


def _proved(run: CaseRun, saved: Saved, right: set[str] | None = None) -> Saved:
    """Return those that are the array they are said to be, and without which all that follows has no error.

    With ``right``, arrays that have no error with them, only those must have none without.
    """
    saved = dict(saved)
    while saved:
        without = _without(run, saved)
        within = Pass(without, {}, WAYS)
        wrong = {name for name, other in saved.items() if not _equal(run.known[name], name, within, other)}
        for user, span in without.spans.items():
            judged = right is None or user in right
            if judged and not wrong and saved.keys() & set(span) and not _follows(user, within):
                wrong = saved.keys() & set(span)
        if not wrong:
            break
        saved = {name: other for name, other in saved.items() if name not in wrong}
    return saved
