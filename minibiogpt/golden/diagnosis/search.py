"""Find the causes of the errors: explain the first one, apply the explanation, and go on with what is left.

An attempt must explain an array of the candidate up to rounding, and must not make any other array worse, in any case.
Of several, the one that explains most arrays is taken. If none does, pairs of attempts at the same step are tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.diagnosis.findings import Finding, Place, Trial, merged, scopes
from minibiogpt.golden.diagnosis.measure import NONE, Error, error_of
from minibiogpt.golden.diagnosis.run import CONDITIONS, At, CannotComputeError, CaseRun, Changes, Pass, Site, site_of
from minibiogpt.golden.diagnosis.ways import together
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, everywhere
from minibiogpt.golden.diagnosis.ways.dumped import dumped_otherwise
from minibiogpt.golden.diagnosis.ways.norm import NORMS
from minibiogpt.golden.diagnosis.ways.table import LINEAR, TABLE, WAYS, attempts
from minibiogpt.golden.format.rounding import FACTOR, ROUNDING

PAIRED, PAIR_SPAN = 10, 12  # attempts of which pairs are tried, and the most steps between known arrays for that
MAX_WHOLE = 3  # unexplained arrays after which no more are tried of such spans, or large ones of the same step
LARGE = 50_000  # elements of an array for which pairs are not tried
GENERIC = ("factor", "columns-moved", "rows-moved")  # which say less than any other cause
CLEARLY = 0.97  # of the first one, that another number must leave of the errors to be preferred
ROUNDED = 1000.0  # budgets up to which it is measured whether rounding explains an error
UNITS = {precision: unit / ROUNDING["float32"] for precision, unit in ROUNDING.items()}  # in those of float32
LIKELY, LIKELY_FAR = 0.05, 0.002  # of its error an attempt may leave to be likely; after many steps


class Search:
    """The search over all cases of one candidate. ``findings`` and ``unexplained`` are its result."""

    def __init__(self, runs: list[CaseRun]) -> None:
        self.runs = runs
        self.changes: list[dict[Site, dict[str, Any]]] = [{} for _ in runs]
        self.errors: dict[Place, Error] = {}
        self.skipped: set[Place] = set()  # arrays that cannot be computed from the candidate's
        self.findings: list[Finding] = []
        self.unexplained: dict[Place, list[tuple[Attempt, Error]]] = {}
        for i, run in enumerate(runs):
            self._measure(i, run.known)
        self.ruled_out: dict[Place, set[str]] = {}  # causes that were tried at an unexplained array
        self.dumped: dict[Place, tuple[str, Error]] = {}  # arrays saved under another's name: which it is, the error
        for i, saved in enumerate(dumped_otherwise(runs, self.errors)):
            for name, other in saved.items():
                self.dumped[i, name] = other, self.errors.pop((i, name))
            runs[i].forget(saved)
            self._measure(i, [name for name, span in runs[i].spans.items() if saved.keys() & set(span)])
        self.first = {place: error for place, error in self.errors.items() if place not in self.skipped}
        self.first |= {place: error for place, (_, error) in self.dumped.items()}
        self.own = {place: error for place, error in self.first.items() if not error.ok}

    def _measure(self, i: int, names: Iterable[str]) -> None:
        found = Pass(self.runs[i], self.changes[i], WAYS)
        for name in names:
            error = self._error(i, name, found)
            self.errors[i, name] = NONE if error is None else error
            (self.skipped.add if error is None else self.skipped.discard)((i, name))

    def _error(self, i: int, name: str, within: Pass) -> Error | None:
        """Return the error of one array; None if it cannot be computed."""
        known, knobs = self.runs[i].known[name], within.knobs_at(At(within, *self.runs[i].steps[name]))
        flips = knobs.get("table") or knobs.get("inner")
        try:
            computed, ignored = within.predicted(name), None
            if name.endswith(".scores_masked"):  # a mask that is added to NaN leaves NaN
                ignored = np.isnan(within.value(name.removesuffix("_masked")))
            error = error_of(name, known, computed, knobs.get("held"), ignored, flips)
            if within.changes and 1 < error.times < ROUNDED and known.precision in UNITS:
                noise = self._noise(i, name, within.changes, computed)
                error = error_of(name, known, computed, knobs.get("held"), ignored, flips, noise)
            return error
        except CannotComputeError:
            return None

    def _noise(self, i: int, name: str, changes: Changes, computed: np.ndarray) -> float:
        """Return the error that rounding explains where a step is done otherwise: measured in float32."""
        rounded = Pass(self.runs[i], changes, WAYS, "float32").predicted(name)
        finite = np.isfinite(computed) & np.isfinite(rounded) & (computed != LOWEST)
        unit = UNITS[self.runs[i].known[name].precision]
        return FACTOR * unit * float(np.abs(np.where(finite, rounded - computed, 0.0)).max(initial=0.0))

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
            if self._trial(i, [best[:2]]).broken:
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
        for attempt in self._again({site_of(x)[0] for x in span}):
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

    def _again(self, templates: set[str]) -> Iterator[Attempt]:
        """Yield the attempts that have explained something already, at other steps of the same kind."""
        for finding in self.findings:
            attempt = finding.attempt
            if len(attempt.changes) > 1 or attempt.local:
                continue
            ((own, knobs),) = attempt.changes.items()
            for kind in (list(TABLE),) if "held" in knobs else (NORMS, LINEAR):
                for template in templates & set(kind) if own in kind else ():
                    if template != own:
                        yield replace(attempt, changes={template: knobs}, rank=-1)

    def _after(self, i: int, name: str, attempt: Attempt, sites: Iterable[Site], changes: Changes) -> Error | None:
        changed = merged(changes, attempt, sites)
        return None if changed is None else self._error(i, name, Pass(self.runs[i], changed, WAYS))

    def _trials(self, i: int, name: str, attempt: Attempt, sites: frozenset[Site]) -> list[Trial]:
        """Return the attempt where it was made, at all layers, where it fits, or under a condition: those that fit."""
        every = self._everywhere(attempt)
        found = [self._trial(i, [(attempt, sites)])]
        if every != sites:
            whole = self._trial(i, [(attempt, every)])
            found.append(whole)
            broken_layers = {site_of(other)[1] for _, other in whole.broken}
            kept = frozenset(site for site in every if site[1] not in broken_layers)
            if whole.broken and None not in broken_layers and {x for x, _ in kept} == set(attempt.changes):
                found.append(self._trial(i, [(attempt, kept)]))
        fits = [trial for trial in found if not trial.broken and (i, name) in trial.explained]
        if not fits and not attempt.local:
            found = [self._trial(i, [(only, where)]) for only in self._conditional(i, name, attempt)
                     for where in {every, sites}]  # fmt: skip
            fits = [trial for trial in found if not trial.broken and (i, name) in trial.explained]
        return fits

    def _conditional(self, i: int, name: str, attempt: Attempt) -> Iterator[Attempt]:
        """Yield the attempt under each condition that holds for this array, and not for every call."""
        call, step = self.runs[i].steps[name]
        at = At(Pass(self.runs[i], {}, WAYS), call, step)
        for words, holds in CONDITIONS.items():
            if holds(at):
                changes = {template: {**knobs, "when": words} for template, knobs in attempt.changes.items()}
                yield replace(attempt, changes=changes, parameters={**attempt.parameters, "only": words})

    def _everywhere(self, attempt: Attempt) -> frozenset[Site]:
        return everywhere(attempt, max(run.config.num_hidden_layers for run in self.runs))

    def _trial(self, i: int, made: list[tuple[Attempt, frozenset[Site]]]) -> Trial:
        """Return what one or more attempts together do to the errors."""
        explained: dict[Place, tuple[Error, Error]] = {}
        broken: list[Place] = []
        left, local = 0, any(attempt.local for attempt, _ in made)
        every = frozenset(site for _, sites in made for site in sites)
        for r in [i] if local else range(len(self.runs)):
            changed: dict[Site, dict[str, Any]] | None = self.changes[r]
            for attempt, sites in made:
                changed = None if changed is None else merged(changed, attempt, sites)
            if changed is None:
                return Trial(made[0][0], every, {}, [(r, "")], 0)
            within = Pass(self.runs[r], changed, WAYS)
            touched = [n for n, span in self.runs[r].spans.items() if any(site_of(x) in every for x in span)]
            for name in touched:
                before = self.errors[r, name]
                after = self._error(r, name, within)
                if after is not None and after.ok and not before.ok:
                    explained[r, name] = before, after
                elif before.ok and (r, name) not in self.skipped and (after is None or not after.ok):
                    broken.append((r, name))
                elif not before.ok:
                    left += 1
        return Trial(made[0][0], made[0][1], explained, broken, left)

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
            if not trial.broken and (i, name) in trial.explained:
                return [Finding(attempt, sorted(sites, key=str), dict(trial.explained)) for attempt, sites in made]
        return None
