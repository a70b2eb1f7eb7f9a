"""Two causes that fit equally: find the array, or the case of the kit, that would tell them apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minibiogpt.errors import InputError
from minibiogpt.golden.diagnosis.findings import Finding, merged
from minibiogpt.golden.diagnosis.measure import error_of
from minibiogpt.golden.diagnosis.run import CannotComputeError, CaseRun, Known, Pass, Site
from minibiogpt.golden.diagnosis.search import Search
from minibiogpt.golden.diagnosis.ways.attempt import Attempt
from minibiogpt.golden.diagnosis.ways.table import WAYS
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.manifest import cases_beside

CLEAR = 10.0  # budgets by which the two must differ


def tell_apart(search: Search, finding: Finding) -> str:
    """Return what would decide between a finding and the first attempt that explains as much; "" if nothing does."""
    place = next(iter(finding.explained))
    run = search.runs[place[0]]
    other = finding.equal[0]
    sites = {(template, layer) for template in other.changes for _, layer in finding.sites}
    sites = {(t, layer if "{l}" in t else None) for t, layer in sites}
    missing = (name for name in run.steps if name not in run.known)
    for name in missing:
        if _differ(run, name, finding, other, sites):
            return f"save {name} too: the two give different values there"
    for case in _others_of_kit(run, {one.name for one in search.runs}):
        for name in case.steps:
            if _differ(case, name, finding, other, sites):
                return f"run the case {case.name}: the two give different values of {name} there"
    return ""


def _differ(run: CaseRun, name: str, finding: Finding, other: Attempt, sites: set[Site]) -> bool:
    one, two = merged({}, finding.attempt, finding.sites), merged({}, other, sites)
    entry = {entry.name: entry for entry in run.case.entries}.get(name)
    budget = 1e-9 if entry is None else entry.budgets.get("float64") or 1e-9
    if one is None or two is None:
        return False
    try:
        a, b = (Pass(run, changes, WAYS).predicted(name) for changes in (one, two))
    except CannotComputeError:
        return False
    known = Known(lambda: np.asarray(a), "float64", {"float64": budget}, float(np.abs(a).max(initial=0.0)))
    return error_of(name, known, b).times > CLEAR


def _others_of_kit(run: CaseRun, given: set[str]) -> Iterator[CaseRun]:
    """Yield the other cases of the kit with the same model, with the case's own arrays as known ones."""
    for name, (path, _) in cases_beside(run.case.path).items():
        if name in given:
            continue
        try:
            case = Case.read(path)
        except InputError:
            continue
        if case.model == run.case.model:
            yield CaseRun(name, case, {}, run.weights)
