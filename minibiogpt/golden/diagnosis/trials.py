"""Measure the candidate's arrays against what is computed for them, as it stands and with an attempt on trial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.findings import CLOSER, Place, Trial, merged
from minibiogpt.golden.diagnosis.measure import NONE, UNITS, Error, error_of, rounding_of
from minibiogpt.golden.diagnosis.run import At, CannotComputeError, CaseRun, Changes, Pass, Site, site_of
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, everywhere
from minibiogpt.golden.diagnosis.ways.conditions import CONDITIONS
from minibiogpt.golden.diagnosis.ways.table import WAYS

ROUNDED = 1000.0  # budgets up to which it is measured whether rounding explains an error


class Trials:
    """All cases of one candidate.

    Attributes
    ----------
    changes : for each case, the steps that are done otherwise.
    errors : each array's own error with these changes.
    skipped : the arrays that cannot be computed from the candidate's.
    """

    def __init__(self, runs: list[CaseRun]) -> None:
        self.runs = runs
        self.changes: list[dict[Site, dict[str, Any]]] = [{} for _ in runs]
        self.errors: dict[Place, Error] = {}
        self.skipped: set[Place] = set()
        for i, run in enumerate(runs):
            self._measure(i, run.known)

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
            before = self.errors.get((i, name), NONE)
            closer = before.ok or error.size < CLOSER * before.size  # else rounding alone would be the explanation
            if within.changes and closer and 1 < error.times < ROUNDED and known.precision in UNITS:
                noise = rounding_of(self.runs[i], name, within.changes, computed)
                error = error_of(name, known, computed, knobs.get("held"), ignored, flips, noise)
            return error
        except CannotComputeError:
            return None

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
                     for where in dict.fromkeys((every, sites))]  # fmt: skip
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
        left: list[Place] = []
        local = any(attempt.local for attempt, _ in made)
        every = frozenset(site for _, sites in made for site in sites)
        for r in [i] if local else range(len(self.runs)):
            changed: dict[Site, dict[str, Any]] | None = self.changes[r]
            for attempt, sites in made:
                changed = None if changed is None else merged(changed, attempt, sites)
            if changed is None:
                return Trial(made[0][0], every, {}, [(r, "")])
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
                    left.append((r, name))
        return Trial(made[0][0], made[0][1], explained, broken, left)
