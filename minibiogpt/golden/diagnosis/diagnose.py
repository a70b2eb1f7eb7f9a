"""``minibiogpt.golden.diagnose``: read a candidate, search for the causes, and put the result in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.catalog.names import STEP, template_of
from minibiogpt.errors import InputError
from minibiogpt.golden.check.checker import candidates_of, check_order, read_case
from minibiogpt.golden.check.result import Options, Result
from minibiogpt.golden.diagnosis.apart import tell_apart
from minibiogpt.golden.diagnosis.candidate import as_file, case_run, weights_of
from minibiogpt.golden.diagnosis.causes import CONVENTION, Cause, OwnError
from minibiogpt.golden.diagnosis.diagnosis import Diagnosis, LeftOut
from minibiogpt.golden.diagnosis.findings import Finding, Place
from minibiogpt.golden.diagnosis.library import CAUSES, PRIORITY, format_value, sentence
from minibiogpt.golden.diagnosis.measure import Error, pattern_of
from minibiogpt.golden.diagnosis.run import CannotComputeError, CaseRun, Pass, site_of
from minibiogpt.golden.diagnosis.search import Search
from minibiogpt.golden.diagnosis.ways.table import WAYS
from minibiogpt.golden.diagnosis.weights import Weights
from minibiogpt.golden.format.case import Case

MIN_INTEGERS = 4  # that must be wrong, so that an explanation of them alone can be known
SAME = 0.01  # relative difference of two estimates of one parameter
MIN_OTHER = 3  # kinds of unexplained arrays from which another checkpoint is suspected
WIDENED = "your float64 arrays hold float32 numbers: they are judged as --precision float32"
INPUTS = "inputs-differ"
TRIED = 3  # attempts shown where nothing fits


def diagnose(
    case: str | Path | Case,
    theirs: str | Path | Mapping[str, Any],
    *,
    model: str | Path | None = None,
    options: Options | None = None,
    command: str = "diagnose",
) -> Diagnosis:
    """Say why a candidate differs from a golden case, or from a kit.

    Each array is computed again from the candidate's own arrays, so that a mistake shows only where it is made. Then
    the mistakes of ``minibiogpt golden diagnose --list`` are tried there, alone and in pairs.

    Parameters
    ----------
    case : a case, the path of one, or the folder of a kit.
    theirs : the candidate: a path, as for ``golden check``, or {name: array} for one case.
    model : folder of the weights that the case was recorded with; by default that of the kit which the case lies in.
    options : how to check.
    command : the command's name, for the advice to swap the two paths.

    Raises
    ------
    InputError
        If the candidate cannot be read, or the weights are missing or are not those of the case.

    Examples
    --------
    >>> diagnosis = diagnose("kit", "theirs")  # doctest: +SKIP
    >>> diagnosis.verdict, [cause.id for cause in diagnosis.causes]  # doctest: +SKIP
    ('known', ['norm-eps'])
    """
    options = options or Options()
    path = case.path if isinstance(case, Case) else Path(case)
    folder = None if model is None else Path(model)
    with as_file(theirs) as candidate, np.errstate(all="ignore"):  # attempts at arrays that hold NaN or infinity
        check_order(path, candidate, command)
        if path.is_dir():
            runs, results, left_out = _runs_of_kit(path, candidate, folder, options)
        else:
            one = case if isinstance(case, Case) else read_case(path)
            run, result = case_run(one.name, one, candidate, weights_of(one, folder), options)
            runs, results, left_out = [run], {one.name: result}, {}
        search = Search(runs)
        search.search()
        return replace(_diagnosis(search, results), left_out=left_out)


def _runs_of_kit(
    kit: Path, theirs: Path, model: Path | None, options: Options
) -> tuple[list[CaseRun], dict[str, Result], LeftOut]:
    """Return the cases with a candidate, the results of their checks, and the cases that are left out."""
    weights: dict[Any, Weights] = {}
    runs, results = [], {}
    left_out: LeftOut = {}
    for name, case, path, how in candidates_of(kit, theirs, options):
        if not isinstance(path, Path):
            left_out[name] = path
            continue
        key = tuple(sorted(case.model.items()))
        if key not in weights:
            weights[key] = weights_of(case, model)
        try:
            run, results[name] = case_run(name, case, path, weights[key], how)
            runs.append(run)
        except InputError as error:  # what is wrong with one candidate doesn't end the diagnosis of the others
            left_out[name] = error
    if not runs:
        for one in left_out.values():
            if one is not None:
                raise one
        must = "at least one case must have a candidate"
        raise InputError(must, f"none in {theirs}", "name the files after the cases, as for golden check")
    return runs, results, left_out


def _diagnosis(search: Search, results: dict[str, Result]) -> Diagnosis:
    """Return the result of a search."""
    conventions = [finding for finding in search.findings if finding.attempt.cause == CONVENTION]
    mistakes = [finding for finding in search.findings if finding.attempt.cause != CONVENTION]
    causes = [*_other_inputs(search), *_misnamed(search), *(_cause(search, group) for group in _grouped(mistakes))]
    by_place = {place: f.attempt.cause for f in reversed(search.findings) for place in f.explained}
    by_place |= dict.fromkeys(search.dumped, "array-misnamed") | _other_checkpoint(search, causes)
    own = []
    for place in sorted(search.own, key=lambda place: (place[0], search.runs[place[0]].order[place[1]])):
        run = search.runs[place[0]]
        tried = [
            {"id": attempt.cause, "parameters": dict(attempt.parameters), "after": after.times}
            for attempt, after in search.unexplained.get(place, [])[:TRIED]
        ]
        cause = by_place.get(place)
        pattern = "" if cause is not None else _pattern(search, place)
        times = search.errors[place].times if cause is None else search.own[place].times
        own.append(
            OwnError(run.name, place[1], times, list(run.spans.get(place[1], (place[1],))), cause, tried, pattern)
        )
    words = [sentence(CONVENTION, finding.attempt.parameters) for finding in conventions]
    words += [WIDENED] * any(run.widened for run in search.runs)
    known = sum(len(run.known) + len(run.forgotten) for run in search.runs)
    ruled_out = sorted({one for tried in search.ruled_out.values() for one in tried}, key=PRIORITY.__getitem__)
    own_times: dict[str, dict[str, float]] = {run.name: {} for run in search.runs}
    for i, name in search.first:
        own_times[search.runs[i].name][name] = search.first[i, name].times
    again = known - len(search.skipped)
    return Diagnosis(causes, own, list(dict.fromkeys(words)), results, ruled_out, again, known, own_times)


def _grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Return the findings of the same cause and parameters together, in the order in which they were found.

    Other input ids are one cause, whichever they are.
    """
    groups: list[list[Finding]] = []
    for finding in findings:
        for group in groups:
            first = group[0].attempt
            same = first.cause == INPUTS or _same(first.parameters, finding.attempt.parameters)
            if first.cause == finding.attempt.cause and same:
                group.append(finding)
                break
        else:
            groups.append([finding])
    return groups


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if a.keys() != b.keys():
        return False
    for key, x in a.items():
        y = b[key]
        close = isinstance(x, float) and isinstance(y, float) and math.isclose(x, y, rel_tol=SAME, abs_tol=1e-9)
        if not close and format_value(x) != format_value(y):
            return False
    return True


def _cause(search: Search, group: list[Finding]) -> Cause:
    attempt = group[0].attempt
    explained = {place: errors for finding in group for place, errors in finding.explained.items()}
    places = sorted(explained, key=lambda place: search.runs[place[0]].order[place[1]])
    sites = {site for finding in group for site in finding.sites}
    made = [x for i, name in places for x in search.runs[i].spans[name] if site_of(x) in sites]
    made.sort(key=lambda x: next(run.order[x] for run in search.runs if x in run.order))
    where = list(dict.fromkeys(STEP.sub("", x, count=1) for x in made))
    touches = sum(any(site_of(x) in sites for x in span) for run in search.runs for span in run.spans.values())
    equal = list({one.cause: one for finding in group for one in finding.equal}.values())
    remain = sum(site_of(name) in sites for _, name in search.unexplained)  # not those computed over other steps too
    certain = all(finding.known for finding in group) and not (equal or remain) and _telling(search, explained)
    run = search.runs[places[0][0]]
    return Cause(
        id=attempt.cause,
        sentence=sentence(attempt.cause, attempt.parameters),
        right=_equation(run, places[0][1], [site[0] for finding in group for site in finding.sites]),
        trap=CAUSES[attempt.cause].trap,
        where=where,
        parameters=dict(attempt.parameters),
        estimated=list(attempt.estimated),
        explains=len(explained),
        differing=len(search.own),
        before=max(before.times for before, _ in explained.values()),
        after=max(after.times for _, after in explained.values()),
        certainty="known" if certain else "likely",
        cases=list(dict.fromkeys(search.runs[i].name for i, _ in places)),
        alternatives=[one.cause for one in equal],
        tell_apart=tell_apart(search, next(one for one in group if one.equal)) if equal else "",
        touches=touches,
        remain=remain,
    )


def _telling(search: Search, explained: Mapping[Place, tuple[Error, Error]]) -> bool:
    """Whether what is explained says enough: a float, or several wrong integers."""
    arrays = [(search.runs[i].known[name].value, before) for (i, name), (before, _) in explained.items()]
    if any(x.dtype.kind == "f" for x, _ in arrays):
        return True
    return sum(round(before.bad * x.size) for x, before in arrays) >= MIN_INTEGERS


def _pattern(search: Search, place: Place) -> str:
    """Return which elements of an array are wrong, in words."""
    run, name = search.runs[place[0]], place[1]
    try:
        computed = Pass(run, search.changes[place[0]], WAYS).predicted(name)
    except CannotComputeError:
        return ""
    return pattern_of(run.known[name], computed, run.steps[name][1].axes)


def _equation(run: CaseRun, name: str, templates: list[str]) -> str:
    """Return the right equation of the first step of the span that is done otherwise, and its sources."""
    one = next((x for x in run.spans.get(name, ()) if template_of(x) in templates), name)
    _, step = run.steps[one]
    terms = {**step.terms, **step.where}
    name = STEP.sub("", one, count=1)
    own_call = one.removesuffix(name)

    def named(source: str) -> str:
        earlier = " of the call before" * (STEP.match(source) is not None and not source.startswith(own_call))
        return STEP.sub("", source, count=1) + earlier

    where = ", ".join(f"{symbol} = {named(source)}" for symbol, source in terms.items())
    return f"{name} = {step.equation}" + (f", where {where}" if where else "")


def _other_inputs(search: Search) -> list[Cause]:
    """Return the cause that the candidate ran on other inputs, which it has saved."""
    runs = [run for run in search.runs if run.other_inputs]
    if not runs:
        return []
    names = list(dict.fromkeys(STEP.sub("", name, count=1) for run in runs for name in run.other_inputs))
    left = max((error.times for (i, _), error in search.errors.items() if search.runs[i].other_inputs), default=0.0)
    count = sum(len(run.known) for run in runs)
    words = f"it ran on other inputs than the case's: {', '.join(names)}"
    certainty = "known" if left <= 1 else "likely"
    cases = [run.name for run in runs]
    right = "the inputs of the case are in its file, as inputs/NAME"
    trap = CAUSES[INPUTS].trap
    return [Cause(INPUTS, words, right, trap, names, {}, [], count, count, math.inf, left, certainty, cases)]


def _misnamed(search: Search) -> list[Cause]:
    """Return the cause that arrays were saved under the names of others, one for each pair of names."""
    groups: dict[tuple[str, str], list[Place]] = {}
    for (i, name), (other, _) in search.dumped.items():
        key = (template_of(name), template_of(other) if other else "")
        groups.setdefault(key, []).append((i, name))
    found = []
    for (_, other), places in groups.items():
        saved = list(dict.fromkeys(STEP.sub("", search.dumped[place][0], count=1) for place in places))
        parameters = {"saved": ", ".join(saved[:2]) + (", ..." if len(saved) > 2 else "")} if other else {}
        names = list(dict.fromkeys(STEP.sub("", name, count=1) for _, name in places))
        cases = list(dict.fromkeys(search.runs[i].name for i, _ in places))
        info = CAUSES["array-misnamed"]
        run = search.runs[places[0][0]]
        right = _equation(run, places[0][1], [])
        before = max(search.dumped[place][1].times for place in places)
        certainty = "known" if other else "likely"
        explains = sum(not search.dumped[place][1].ok for place in places)
        if not explains:
            continue
        found.append(Cause(info.id, sentence(info.id, parameters), right, info.trap, names, parameters, [], explains,
                           len(search.own), before, 0.0, certainty, cases, touches=len(places)))  # fmt: skip
    return found


def _other_checkpoint(search: Search, causes: list[Cause]) -> dict[tuple[int, str], str]:
    """Suspect another checkpoint if nearly every array made from weights is unexplained, and no other array is."""
    places = search.unexplained
    with_weights = {
        (i, name)
        for i, run in enumerate(search.runs)
        for name in run.known
        if any(run.steps[x][1].where.values() and _has_weights(run, x) for x in run.spans[name])
    }
    kinds = {site_of(name)[0] for _, name in places}
    wrong = with_weights & places.keys()
    if len(kinds) < MIN_OTHER or set(places) - with_weights or len(wrong) < 0.8 * len(with_weights):
        return {}
    ordered = sorted(wrong, key=lambda place: search.runs[place[0]].order[place[1]])
    where = list(dict.fromkeys(STEP.sub("", name, count=1) for _, name in ordered))
    info = CAUSES["checkpoint-differs"]
    before = max(search.own[place].times for place in wrong if place in search.own)
    cases = list(dict.fromkeys(search.runs[i].name for i, _ in ordered))
    right = "the sha256 of the weights is in the case: minibiogpt golden inspect CASE"
    causes.append(Cause(info.id, info.sentence, right, info.trap, where, {}, [], len(wrong), len(search.own), before,
                        before, "likely", cases))  # fmt: skip
    return dict.fromkeys(wrong, info.id)


def _has_weights(run: CaseRun, name: str) -> bool:
    return any(source.endswith((".weight", ".bias")) for source in run.steps[name][1].where.values())
