"""Find the causes of the errors: explain the first one, apply the explanation, and go on with what is left.

An attempt must explain an array of the candidate up to rounding, and must not make any other array worse, in any case.
Of several, the one that explains most arrays is taken. If none does, pairs of attempts at the same step are tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minibiogpt.golden.diagnosis.library import PRIORITY
from minibiogpt.golden.diagnosis.measure import NONE, Error, error_of
from minibiogpt.golden.diagnosis.run import At, CannotComputeError, CaseRun, Changes, Knobs, Pass, Site, site_of
from minibiogpt.golden.diagnosis.ways.attempt import Attempt
from minibiogpt.golden.diagnosis.ways.table import WAYS, attempts

Place = tuple[int, str]  # index of the case, and name of an array
PAIRED, PAIR_SPAN = 10, 12  # attempts of which pairs are tried, and the most steps between known arrays for that
LIKELY = 0.05  # of its error an attempt must leave no more to be likely
TELLING = 2.0  # budgets that an error must reach before an explanation can be known


@dataclass
class Finding:
    """An attempt that explains something, and what it explains.

    Attributes
    ----------
    sites : the steps that are done otherwise.
    explained : {place: (error before, error after)}.
    equal : attempts that explain the same arrays as well.
    """

    attempt: Attempt
    sites: list[Site]
    explained: dict[Place, tuple[Error, Error]]
    equal: list[Attempt] = field(default_factory=list)

    @property
    def known(self) -> bool:
        before = max(error.times for error, _ in self.explained.values())
        return all(after.ok for _, after in self.explained.values()) and before >= TELLING


@dataclass(frozen=True)
class Trial:
    """An attempt at certain sites, and what it does to the errors."""

    attempt: Attempt
    sites: frozenset[Site]
    run: int | None
    explained: dict[Place, tuple[Error, Error]]
    broken: list[Place]

    @property
    def order(self) -> tuple[Any, ...]:
        certain = sum(before.times >= TELLING for before, _ in self.explained.values())
        return (-certain, self.attempt.rank, PRIORITY.get(self.attempt.cause, 99), len(self.attempt.changes))


class Search:
    """The search over all cases of one candidate. ``findings`` and ``unexplained`` are its result."""

    def __init__(self, runs: list[CaseRun], report: Callable[[str], None] = lambda line: None) -> None:
        self.runs, self.report = runs, report
        self.changes: list[dict[Site, dict[str, Any]]] = [{} for _ in runs]
        self.errors: dict[Place, Error] = {}
        self.skipped: set[Place] = set()  # arrays that cannot be computed from the candidate's
        self.findings: list[Finding] = []
        self.unexplained: dict[Place, list[tuple[Attempt, Error]]] = {}
        for i, run in enumerate(runs):
            self._measure(i, run.known)
        self.ruled_out: dict[Place, set[str]] = {}  # causes that were tried at an unexplained array
        self.own = {place: error for place, error in self.errors.items() if not error.ok}

    def _measure(self, i: int, names: Iterable[str]) -> None:
        found = Pass(self.runs[i], self.changes[i], WAYS)
        for name in names:
            error = self._error(i, name, found)
            self.errors[i, name] = NONE if error is None else error
            (self.skipped.add if error is None else self.skipped.discard)((i, name))

    def _error(self, i: int, name: str, within: Pass) -> Error | None:
        """Return the error of one array; None if it cannot be computed."""
        held = within.changes.get(site_of(name), {}).get("held")
        try:
            return error_of(name, self.runs[i].known[name], within.predicted(name), held)
        except CannotComputeError:
            return None

    def search(self) -> None:
        """Explain one error after another, each the first in the order of execution that is left."""
        while (place := self._first_left()) is not None:
            found = self._explain(place)
            if found is None:
                continue
            for finding in found:
                self.findings.append(finding)
                self._apply(finding)

    def _first_left(self) -> Place | None:
        left = [place for place, error in self.errors.items() if not error.ok and place not in self.unexplained]
        return min(left, key=self._rank, default=None)

    def _rank(self, place: Place) -> tuple[int, int, int]:
        run = self.runs[place[0]]
        call, _ = run.steps[place[1]]
        return call.number, run.order[place[1]] - run.order[next(iter(call.steps))], place[0]

    def _apply(self, finding: Finding) -> None:
        only = {i for i, _ in finding.explained} if finding.attempt.local else set(range(len(self.runs)))
        for i in only:
            changed = merged(self.changes[i], finding.attempt, finding.sites)
            if changed is not None:
                self.changes[i] = changed
        templates = {template for template, _ in finding.sites}
        for i in only:
            self._measure(i, self._touched(i, templates))

    def _touched(self, i: int, templates: set[str]) -> list[str]:
        """Return the known arrays that a change of steps with these templates can change."""
        run = self.runs[i]
        return [name for name, span in run.spans.items() if any(site_of(x)[0] in templates for x in span)]

    # Explaining one error

    def _explain(self, place: Place) -> list[Finding] | None:
        """Return what explains the error at one place; None after having noted that nothing does."""
        i, name = place
        before = self.errors[place]
        tried: list[tuple[Attempt, frozenset[Site], Error]] = []
        fits: list[Trial] = []
        for attempt, sites in self._attempts(i, name, self.changes[i]):
            after = self._after(i, name, attempt, sites, self.changes[i])
            if after is None:
                continue
            tried.append((attempt, sites, after))
            if after.ok:
                fits += self._trials(i, attempt, sites)
        fits = [trial for trial in fits if not trial.broken and place in trial.explained]
        if fits:
            return [self._finding(fits)]
        tried.sort(key=lambda item: item[2].size)
        paired = self._pair(i, name, before, tried)
        if paired is not None:
            return paired
        best = min(tried, key=lambda item: (item[2].times, item[2].bad), default=None)
        some = best is not None and math.isfinite(before.times)
        if best is not None and some and best[2].times <= LIKELY * before.times and best[2].bad <= before.bad:
            return [Finding(best[0], sorted(best[1], key=str), {place: (before, best[2])})]
        self.ruled_out[place] = {attempt.cause for attempt, _, _ in tried}
        shown = sorted(tried, key=lambda item: (item[2].times, item[2].bad))[:3]
        self.unexplained[place] = [(attempt, after) for attempt, _, after in shown if after.size < before.size]
        return None

    def _attempts(self, i: int, name: str, changes: Changes) -> Iterator[tuple[Attempt, frozenset[Site]]]:
        """Yield every attempt at the steps between the nearest known arrays and this one, and where it is made."""
        run, seen = self.runs[i], set[Any]()
        within = Pass(run, changes, WAYS)
        span = run.spans[name]
        layers = sorted({layer for x in span if (layer := site_of(x)[1]) is not None})
        for one in span:
            call, step = run.steps[one]
            at = At(within, call, step)
            y = run.known[name].value if one == name else None
            try:
                found = list(attempts(at, y, changes.get(at.site, {})))
            except CannotComputeError:
                continue
            for attempt in found:
                for scope in _scopes(attempt, at.layer, layers, one == name):
                    key = (attempt.key, scope)
                    if key not in seen:
                        seen.add(key)
                        yield attempt, scope

    def _after(self, i: int, name: str, attempt: Attempt, sites: Iterable[Site], changes: Changes) -> Error | None:
        changed = merged(changes, attempt, sites)
        return None if changed is None else self._error(i, name, Pass(self.runs[i], changed, WAYS))

    def _trials(self, i: int, attempt: Attempt, sites: frozenset[Site]) -> list[Trial]:
        """Return the attempt at the sites that it was made for, and at all layers at once or those where it fits."""
        every = self._everywhere(attempt)
        found = [self._trial(i, attempt, sites)]
        if every != sites:
            whole = self._trial(i, attempt, every)
            found.append(whole)
            broken_layers = {site_of(name)[1] for _, name in whole.broken}
            if whole.broken and None not in broken_layers:
                kept = frozenset(site for site in every if site[1] not in broken_layers)
                if kept and kept != sites:
                    found.append(self._trial(i, attempt, kept))
        return found

    def _everywhere(self, attempt: Attempt) -> frozenset[Site]:
        """Return the attempt's sites at all layers."""
        layers = range(max(run.config.num_hidden_layers for run in self.runs))
        found: set[Site] = set()
        for template in attempt.changes:
            found |= {(template, layer) for layer in layers} if "{l}" in template else {(template, None)}
        return frozenset(found)

    def _trial(self, i: int, attempt: Attempt, sites: frozenset[Site]) -> Trial:
        explained: dict[Place, tuple[Error, Error]] = {}
        broken: list[Place] = []
        for r in [i] if attempt.local else range(len(self.runs)):
            changed = merged(self.changes[r], attempt, sites)
            if changed is None:
                continue
            within = Pass(self.runs[r], changed, WAYS)
            touched = [n for n, span in self.runs[r].spans.items() if any(site_of(x) in sites for x in span)]
            for name in touched:
                before = self.errors[r, name]
                after = self._error(r, name, within)
                if after is None:
                    continue
                if after.ok and not before.ok:
                    explained[r, name] = before, after
                elif before.ok and not after.ok:
                    broken.append((r, name))
        return Trial(attempt, sites, i if attempt.local else None, explained, broken)

    def _finding(self, fits: list[Trial]) -> Finding:
        """Return the trial that explains most, with those that explain as much by another cause."""
        fits.sort(key=lambda trial: trial.order)
        best = fits[0]
        equal: dict[str, Attempt] = {}
        for trial in fits[1:]:
            same = trial.explained.keys() >= best.explained.keys()
            if same and trial.attempt.cause != best.attempt.cause:
                equal.setdefault(trial.attempt.cause, trial.attempt)
        sites = sorted(best.sites, key=str)
        return Finding(best.attempt, sites, dict(best.explained), list(equal.values()))

    # Two causes at one step

    def _pair(
        self, i: int, name: str, before: Error, tried: list[tuple[Attempt, frozenset[Site], Error]]
    ) -> list[Finding] | None:
        """Return two findings that explain the error together."""
        if len(self.runs[i].spans[name]) > PAIR_SPAN:
            return None
        usable = [item for item in tried if item[2].size < 0.98 * before.size][:PAIRED]
        for attempt, sites, _ in usable:
            changed = merged(self.changes[i], attempt, sites)
            if changed is None:
                continue
            for other, others in self._attempts(i, name, changed):
                if other.key == attempt.key:
                    continue
                after = self._after(i, name, other, others, changed)
                if after is not None and after.ok:
                    return self._both(i, name, (attempt, sites), (other, others), before, after)
        return None

    def _both(self, i: int, name: str, one: Any, two: Any, before: Error, after: Error) -> list[Finding]:
        found = []
        for attempt, sites in (one, two):
            wider = self._everywhere(attempt)
            found.append(Finding(attempt, sorted(wider if self._safe(one, two, wider, i) else sites, key=str),
                                 {(i, name): (before, after)}))  # fmt: skip
        return found

    def _safe(self, one: Any, two: Any, sites: frozenset[Site], i: int) -> bool:
        """Whether both together break no array where they are made at all layers."""
        for r in range(len(self.runs)):
            changed: dict[Site, dict[str, Any]] | None = self.changes[r]
            for attempt, _ in (one, two):
                changed = None if changed is None else merged(changed, attempt, self._everywhere(attempt))
            if changed is None:
                return False
            within = Pass(self.runs[r], changed, WAYS)
            for name in self._touched(r, {template for template, _ in sites}):
                after = self._error(r, name, within)
                if self.errors[r, name].ok and after is not None and not after.ok:
                    return False
        return True


def _scopes(attempt: Attempt, layer: int | None, layers: list[int], here: bool) -> list[frozenset[Site]]:
    """Return the sites at which an attempt is first made: the layer of its step, or all layers of the span."""

    def at(chosen: Iterable[int]) -> frozenset[Site]:
        found: set[Site] = set()
        for template in attempt.changes:
            found |= {(template, x) for x in chosen} if "{l}" in template else {(template, None)}
        return frozenset(found)

    if layer is None and not any("{l}" in template for template in attempt.changes):
        return [at([])]
    if layer is None:
        return [at(layers or [0])]
    return [at([layer])] if here or len(layers) < 2 else [at(layers), at([layer])]


def merged(changes: Mapping[Site, Knobs], attempt: Attempt, sites: Iterable[Site]) -> dict[Site, dict[str, Any]] | None:
    """Return the changes with those of the attempt; None if they contradict each other."""
    found = {site: dict(knobs) for site, knobs in changes.items()}
    for site in sites:
        own, new = found.setdefault(site, {}), attempt.changes[site[0]]
        if any(key in own for key in new):
            return None
        own |= new
    return found
