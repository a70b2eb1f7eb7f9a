"""Find the causes of the errors: explain the first one, apply the explanation, and go on with what is left.

An attempt must explain an array of the candidate up to rounding, and must not make any other array worse, in any case.
Of several, the one that explains most arrays is taken. If none does, pairs of attempts at the same step are tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.findings import Finding, Place, Trial, merged, scopes
from minibiogpt.golden.diagnosis.measure import Error
from minibiogpt.golden.diagnosis.run import At, CaseRun, Changes, Pass, Site, site_of
from minibiogpt.golden.diagnosis.trials import Trials
from minibiogpt.golden.diagnosis.ways import together
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, everywhere
from minibiogpt.golden.diagnosis.ways.dumped import Saved, dumped_otherwise, unread
from minibiogpt.golden.diagnosis.ways.table import WAYS, attempts

PAIRED, PAIR_SPAN = 10, 12  # attempts of which pairs are tried, and the most steps between known arrays for that
MAX_WHOLE = 3  # unexplained arrays after which no more are tried of such spans, or large ones of the same step
LARGE = 50_000  # elements of an array for which pairs are not tried
GENERIC = ("factor", "columns-moved", "rows-moved")  # which say less than any other cause
CLEARLY = 0.97  # of the first one, that another number must leave of the errors to be preferred
LIKELY, LIKELY_FAR = 0.05, 0.002  # of its error an attempt may leave to be likely; after many steps


class Search(Trials):
    """The search over all cases of one candidate. ``findings`` and ``unexplained`` are its result."""

    def __init__(self, runs: list[CaseRun]) -> None:
        super().__init__(runs)
        self.findings: list[Finding] = []
        self.unexplained: dict[Place, list[tuple[Attempt, Error]]] = {}
        self.ruled_out: dict[Place, set[str]] = {}  # causes that were tried at an unexplained array
        self.dumped: dict[Place, tuple[str, Error]] = {}  # arrays saved under another's name: which it is, the error
        self.first: dict[Place, Error] = {}  # each array's own error, before anything is explained
        for i, saved in enumerate(dumped_otherwise(runs, self.errors)):
            self._set_aside(i, saved)
        self.first = {place: error for place, error in self.errors.items() if place not in self.skipped}
        self.first |= {place: error for place, (_, error) in self.dumped.items()}

    @property
    def own(self) -> dict[Place, Error]:
        """The arrays with an error of their own."""
        return {place: error for place, error in self.first.items() if not error.ok}

    def _set_aside(self, i: int, saved: Saved) -> None:
        """Go on without arrays that were saved under another's name."""
        for name, other in saved.items():
            error = self.errors.pop((i, name))
            self.dumped[i, name] = other, self.first.get((i, name), error)
            for finding in self.findings:
                finding.explained.pop((i, name), None)
        self.runs[i].forget(saved)
        for finding in [one for one in self.findings if not one.explained]:
            self._withdraw(finding)
        affected = [name for name, span in self.runs[i].spans.items() if saved.keys() & set(span)]
        self._measure(i, affected)
        for place in [(i, name) for name in [*saved, *affected]]:
            self.unexplained.pop(place, None)
            if place in self.first and place in self.errors:
                self.first[place] = self.errors[place]

    def search(self) -> None:
        """Explain one error after another, each the first in the order of execution that is left.

        Where nothing explains what is computed from an array, it may be one that nothing reads.
        """
        self._explain_all()
        for i, run in enumerate(self.runs):
            wrong, left = ({name for r, name in places if r == i} for places in (self.own, self.unexplained))
            if saved := unread(run, wrong, left):
                self._set_aside(i, saved)
        self._explain_all()

    def _explain_all(self) -> None:
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

    def _change(self, finding: Finding) -> list[int]:
        """Do the steps of a finding in its way from now on; return in which cases."""
        only = sorted({i for i, _ in finding.explained} if finding.attempt.local else range(len(self.runs)))
        for i in only:
            changed = merged(self.changes[i], finding.attempt, finding.sites)
            if changed is not None:
                self.changes[i] = changed
        return only

    def _withdraw(self, finding: Finding) -> None:
        """Undo a finding that explains nothing any more, and try again what it touches."""
        self.findings = [one for one in self.findings if one is not finding]
        self.changes = [{} for _ in self.runs]
        for one in self.findings:
            self._change(one)
        for i in range(len(self.runs)):
            touched = self._touched(i, {template for template, _ in finding.sites})
            self._measure(i, touched)
            for name in touched:
                self.unexplained.pop((i, name), None)

    def _apply(self, finding: Finding) -> None:
        templates = {template for template, _ in finding.sites}
        for i in self._change(finding):
            touched = self._touched(i, templates)
            before = {name: self.errors[i, name] for name in touched}
            self._measure(i, touched)
            for name, error in before.items():
                if self.errors[i, name].ok and not error.ok:
                    finding.explained.setdefault((i, name), (error, self.errors[i, name]))
                    self.unexplained.pop((i, name), None)

    def _touched(self, i: int, templates: set[str]) -> list[str]:
        """Return the known arrays that a change of steps with these templates can change."""
        run = self.runs[i]
        return [name for name, span in run.spans.items() if any(site_of(x)[0] in templates for x in span)]

    # Explaining one error

    def _explain(self, place: Place) -> list[Finding] | None:
        """Return what explains the error at one place; None after having noted that nothing does."""
        i, name = place
        before = self.errors[place]
        large = self.runs[i].known[name].value.size > LARGE
        alike = sum(site_of(other)[0] == site_of(name)[0] for _, other in self.unexplained)
        whole = len(self.runs[i].spans[name]) > PAIR_SPAN and len(self.unexplained) >= MAX_WHOLE
        if whole or (large and alike >= MAX_WHOLE):
            self.unexplained[place] = []
            return None
        tried: list[tuple[Attempt, frozenset[Site], Error]] = []
        fits: list[Trial] = []
        for attempt, sites in self._attempts(i, name, self.changes[i]):
            after = self._after(i, name, attempt, sites, self.changes[i])
            if after is None:
                continue
            tried.append((attempt, sites, after))
            if after.ok:
                fits += self._trials(i, name, attempt, sites)
        if not fits and len(self.runs[i].spans[name]) > 1 and self.runs[i].known[name].value.size <= LARGE:
            for attempt, sites in self._together(i, name):
                after = self._after(i, name, attempt, sites, self.changes[i])
                if after is not None:
                    tried.append((attempt, sites, after))
                    fits += self._trials(i, name, attempt, sites) if after.ok else []
        fits = [trial for trial in [*fits, *self._refitted(fits)] if trial.telling]
        if fits:
            return [self._finding(fits)]
        tried.sort(key=lambda item: item[2].size)
        paired = self._pair(i, name, before, tried)
        if paired is not None:
            return paired
        best = min(tried, key=lambda item: (item[2].times, item[2].bad), default=None)
        some = best is not None and math.isfinite(before.times)
        part = LIKELY if len(self.runs[i].spans[name]) <= PAIR_SPAN else LIKELY_FAR
        most = part * before.times, part * before.size
        if best is not None and some and best[2].times <= most[0] and best[2].size <= most[1]:
            trial = self._trial(i, [best[:2]])
            if trial.broken or trial.leaves_many:
                best = None
            else:
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
        for attempt in together.again([one.attempt for one in self.findings], {site_of(x)[0] for x in span}):
            sites = self._everywhere(attempt)
            seen.add((attempt.key, sites))
            yield attempt, sites
        layers = sorted({layer for x in span if (layer := site_of(x)[1]) is not None})
        for one in span:
            call, step = run.steps[one]
            at = At(within, call, step)
            y = run.known[name].value if one == name else None
            try:
                with np.errstate(all="ignore"):
                    found = list(attempts(at, y, changes.get(at.site, {})))
            except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError):  # shapes that do not fit
                continue
            for attempt in found:
                for scope in scopes(attempt, at.layer, layers, one == name):
                    key = (attempt.key, scope)
                    if key not in seen:
                        seen.add(key)
                        yield attempt, scope

    def _together(self, i: int, name: str) -> Iterator[tuple[Attempt, frozenset[Site]]]:
        """Yield the causes that are made at many steps at once, and those with a number, looked for in a range."""
        span, L = [site_of(x) for x in self.runs[i].spans[name]], self.runs[i].config.num_hidden_layers
        yield from together.proposed(span, L)

        def size(attempt: Attempt) -> float:
            after = self._after(i, name, attempt, everywhere(attempt, L), self.changes[i])
            return math.inf if after is None else after.size

        for attempt in together.numbers({template for template, _ in span}, size):
            yield attempt, everywhere(attempt, L)

    def _refitted(self, fits: list[Trial]) -> list[Trial]:
        """Return the cause that explains most, its number estimated from the largest error that it leaves, if any."""
        first = min(fits, key=lambda trial: trial.order, default=None)
        if first is None or not first.left or not first.attempt.estimated:
            return []
        i, name = max(first.left, key=lambda place: self.errors[place].times)
        found: list[Trial] = []
        for attempt, sites in self._attempts(i, name, self.changes[i]):
            if attempt.cause == first.attempt.cause:
                after = self._after(i, name, attempt, sites, self.changes[i])
                found += self._trials(i, name, attempt, sites) if after is not None and after.ok else []
        return found

    def _finding(self, fits: list[Trial]) -> Finding:
        """Return the trial that explains most, with those that explain as much by another cause."""
        fits.sort(key=lambda trial: trial.order)
        first = fits[0]
        alike = [one for one in fits if one.attempt.cause == first.attempt.cause and one.order[:3] == first.order[:3]]
        best = min(alike, key=lambda one: one.size * (CLEARLY if one is first else 1.0))
        equal: dict[str, Attempt] = {}
        for trial in fits:
            same = trial.explained.keys() >= best.explained.keys()
            if same and trial.attempt.cause not in (best.attempt.cause, *GENERIC):
                equal.setdefault(trial.attempt.cause, trial.attempt)
        sites = sorted(best.sites, key=str)
        return Finding(best.attempt, sites, dict(best.explained), list(equal.values()))

    def _pair(
        self, i: int, name: str, before: Error, tried: list[tuple[Attempt, frozenset[Site], Error]]
    ) -> list[Finding] | None:
        """Return two findings that explain the error together."""
        if len(self.runs[i].spans[name]) > PAIR_SPAN or self.runs[i].known[name].value.size > LARGE:
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
                if after is not None and after.ok and (found := self._both(i, name, (attempt, sites), (other, others))):
                    return found
        return None

    def _both(
        self, i: int, name: str, one: tuple[Attempt, frozenset[Site]], two: tuple[Attempt, frozenset[Site]]
    ) -> list[Finding] | None:
        """Return the findings of two attempts that together make no other array worse; None if they do."""
        wide = [(attempt, self._everywhere(attempt)) for attempt, _ in (one, two)]
        for made in (wide, [one, two], [wide[0], two], [one, wide[1]]):
            trial = self._trial(i, made)
            if not trial.broken and (i, name) in trial.explained and trial.telling:
                return [Finding(attempt, sorted(sites, key=str), dict(trial.explained)) for attempt, sites in made]
        return None
