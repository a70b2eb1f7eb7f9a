"""Propose a map of names: which of the candidate's arrays is which of ours, by names and by values.

A name that the check understands counts. Otherwise an array counts whose values agree within the budget of the coarsest
precision, in any order of the axes; if none does, the one that is clearly the closest. Every case and every layer votes
for names with ``{l}``, so that arrays with the same values in one case (probs and weights) are told apart by another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.catalog.names import LAYER, STEP
from minibiogpt.errors import InputError, listed
from minibiogpt.golden.candidate.reader import open_candidate
from minibiogpt.golden.candidate.tensor import Tensor
from minibiogpt.golden.check.checker import candidate_of, cases_of_kit, expected, read_case
from minibiogpt.golden.check.compare import LOWEST, MASKED_MARGIN
from minibiogpt.golden.check.layouts import MEMORY_ORDER, Layout, possible_layouts
from minibiogpt.golden.check.outputs import split_layers
from minibiogpt.golden.check.pairing import guess_tool, pair_one
from minibiogpt.golden.format.case import Case, Entry, sample_indices

SAMPLES = 512  # elements of an array by which it is recognized
FEW = 4  # elements that can agree by chance within a coarse budget
CLOSE, CLEARLY = 0.9, 4.0  # least cosine of the closest array, and how many times further away the next must be
HOWS = ("closest", "values", "name")  # the surest last


@dataclass(frozen=True)
class Vote:
    """One array of the candidate that may be one of ours: the entry of a map, and how it was recognized.

    Attributes
    ----------
    theirs : its name. axes : its axes if their order isn't ours, or "".
    how : "name", "values" or "closest". cosine : with ours.
    """

    theirs: str
    axes: str
    how: str
    cosine: float = 1.0


@dataclass
class Proposal:
    """A map in the syntax of ``--map``, and remarks on what it leaves open.

    Attributes
    ----------
    counts : {how: number of entries that were found so}.
    missing : names of ours, with ``{l}``, that nothing was recognized as.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(reversed(HOWS), 0))
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what was found, what was not, and what to check."""
        words = {"name": "by their names", "values": "by their values", "closest": "as the closest"}
        counts = ", ".join(f"{n} {words[how]}" for how, n in self.counts.items() if n)
        found = [f"{len(self.entries)} entries: {counts}"] if self.entries else []
        return [*found, *([f"not found: {listed(self.missing, 20)}"] if self.missing else []), *self.remarks]


def proposed_map(path: Path, theirs: Path, names_of: str | None = None) -> Proposal:
    """Return the map for a case and its candidate, or for a kit and the folder of its candidates.

    Raises
    ------
    InputError
        If the case or the kit is invalid, or no candidate can be read.
    """
    named = cases_of_kit(path, theirs) if path.is_dir() else {"": read_case(path)}
    votes, errors = [], []
    for name, case in named.items():
        try:
            file = candidate_of(theirs, name) if name else theirs
            if file is None:
                continue
            with open_candidate(file, partial(expected, case, {}, names_of)) as tensors:
                votes.append(votes_of(case, split_layers(tensors, case.config), names_of))
        except InputError as error:
            errors.append(error)
    if not votes and errors:
        raise errors[0]
    found = propose(votes)
    found.remarks += [f"left out: {error}" for error in errors]
    return found


def votes_of(case: Case, tensors: Mapping[str, Tensor], tool: str | None = None) -> dict[str, list[Vote]]:
    """Return {array of the case: the candidate's arrays that may be it}, in the order of execution.

    Parameters
    ----------
    tool : whose names the candidate has; None to recognize it.
    """
    known = dict.fromkeys([*(entry.name for entry in case.entries), *case.input_names])
    tool = tool or guess_tool(tensors, known, {})
    entries, samples = {entry.name: entry for entry in case.entries}, _Samples(case)
    found: dict[str, list[Vote]] = {name: [] for name in entries}
    left = dict(tensors)
    for name, tensor in tensors.items():
        one = pair_one(name, known, tool)
        ours = one.reference_name
        if ours is not None:
            del left[name]
        if ours in entries and not found[ours]:
            fit = samples.best(entries[ours], tensor, tensor.raw())
            declared = one.axes if one.axes and one.axes != entries[ours].axes else ""
            found[ours].append(Vote(name, fit.axes if fit and fit.agrees else declared, "name"))
    others = [entry for entry in case.entries if not found[entry.name]]
    fits: dict[str, list[Fit]] = {entry.name: [] for entry in others}
    for tensor in left.values():
        size = math.prod(tensor.shape)
        same = [entry for entry in others if math.prod(entry.shape) == size and entry.largest > 0]
        raw = tensor.raw() if same else np.empty(0)
        fits_here = ((entry.name, samples.best(entry, tensor, raw)) for entry in same)
        for ours, fit in fits_here:
            fits[ours] += [fit] if fit is not None else []
    taken = {fit.name for some in fits.values() for fit in some if fit.agrees}
    for ours, some in fits.items():
        found[ours] += [Vote(fit.name, fit.axes, "values", fit.cosine) for fit in _agreeing(some)]
        free = [] if found[ours] else [fit for fit in some if fit.name not in taken]
        found[ours] += [Vote(fit.name, fit.axes, "closest", fit.cosine) for fit in _closest(free)]
    return found


@dataclass(frozen=True)
class Fit:
    """How well the array ``name`` of the candidate fits, in the order of axes in which it fits best.

    Attributes
    ----------
    error : largest error relative to the largest value of the reference.
    agrees : whether it is within the budget of the coarsest precision.
    """

    name: str
    error: float
    cosine: float
    axes: str
    agrees: bool


def _agreeing(fits: list[Fit]) -> list[Fit]:
    """Return the fits that agree, without those that are clearly worse than the best."""
    best = min((fit.error for fit in fits if fit.agrees), default=math.inf)
    return [fit for fit in fits if fit.agrees and fit.error <= CLEARLY * best + 1e-6]


def _closest(fits: list[Fit]) -> list[Fit]:
    """Return the fit with the highest cosine, if it is clearly the closest."""
    nearest = sorted(fits, key=lambda fit: -fit.cosine)[:2]
    if not nearest or nearest[0].cosine < CLOSE:
        return []
    clear = len(nearest) < 2 or CLEARLY * (1 - nearest[0].cosine) < 1 - nearest[1].cosine
    return nearest[:1] if clear else []


class _Samples:
    """Compares samples of a case's arrays with the candidate's; remembers what is the same for many arrays."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._of: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._layouts: dict[tuple[object, ...], list[Layout]] = {}

    def best(self, entry: Entry, tensor: Tensor, raw: np.ndarray) -> Fit | None:
        """Return how the tensor fits; None if its size doesn't."""
        if not entry.largest or math.prod(tensor.shape) != math.prod(entry.shape):
            return None
        fits = [self._fit(entry, tensor, raw, layout) for layout in self._possible(tensor.shape, entry)]
        return min(fits, key=lambda fit: (fit.error, -fit.cosine), default=None)

    def _possible(self, shape: tuple[int, ...], entry: Entry) -> list[Layout]:
        key = (shape, entry.axes, entry.shape)
        if key not in self._layouts:
            every = possible_layouts(shape, entry, self.case.config)
            self._layouts[key] = [layout for layout in every if layout.axes != MEMORY_ORDER]
        return self._layouts[key]

    def _reference(self, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        """Return indices into the flat array, and the values there."""
        if entry.name not in self._of:
            stored = self.case.array(entry.name).reshape(-1)
            chosen = sample_indices(stored.size, min(SAMPLES, stored.size))
            size = math.prod(entry.shape)
            indices = chosen if entry.samples is None else sample_indices(size, stored.size)[chosen]
            self._of[entry.name] = indices, stored[chosen].astype(np.float64)
        return self._of[entry.name]

    def _fit(self, entry: Entry, tensor: Tensor, raw: np.ndarray, layout: Layout) -> Fit:
        indices, reference = self._reference(entry)
        split = layout.split(raw)
        x = tensor.decode(split[np.unravel_index(indices, split.shape)]).astype(np.float64)
        masked, finite = reference == LOWEST, np.isfinite(x)
        a, b = x[finite & ~masked], reference[finite & ~masked]
        with np.errstate(all="ignore"):
            error = float(np.abs(a - b).max(initial=0.0)) / entry.largest
            norms = float(np.linalg.norm(a) * np.linalg.norm(b))
            cosine = float(a @ b) / norms if 0 < norms < math.inf else 0.0
            wrong = (masked & ~(x < -MASKED_MARGIN)) | (~masked & ~finite)
        error = math.inf if wrong.any() or not a.size else error
        precisions = ("float32",) if len(reference) < FEW else tuple(entry.budgets)
        limit = max(entry.budgets[p] or 0.0 for p in precisions) / entry.largest
        axes = "" if layout.keeps_order else _letters(layout, entry)
        return Fit(tensor.name, error, cosine, axes, error <= limit)


def _letters(layout: Layout, entry: Entry) -> str:
    """Return the candidate's axes, also those of size 1: the map may serve cases with several rows."""
    letters = " ".join(letter for letter, _ in layout.order)
    return letters.replace("H Dh", "D") if "D" in entry.axes.split() else letters


def propose(cases: Iterable[Mapping[str, list[Vote]]]) -> Proposal:
    """Return the map that most cases and layers vote for.

    Examples
    --------
    >>> vote = {"layers.0.fc1": [Vote("h.0.up", "", "values")], "layers.1.fc1": [Vote("h.1.up", "", "values")]}
    >>> propose([vote]).entries
    {'layers.{l}.fc1': 'h.{l}.up'}
    """
    tally: dict[str, dict[str, list[tuple[str, Vote]]]] = {}
    plain_names: dict[str, bool] = {}
    for at, case in enumerate(cases):
        for ours, votes in case.items():
            plain_names[_key(ours)] = plain_names.get(_key(ours), False) or bool(votes)
            for vote in votes:
                for key, theirs in _templates(ours, vote.theirs):
                    tally.setdefault(key, {}).setdefault(theirs, []).append((f"{at} {ours}", vote))
    found = Proposal(missing=[name for name, has_votes in plain_names.items() if not has_votes])
    done: set[str] = set()
    for key in sorted(tally, key=lambda key: "{l}" not in key):  # those of a single layer only where a pattern fails
        _choose(key, tally[key], done, found)
    order = {name: i for i, name in enumerate(plain_names)}
    found.entries = dict(sorted(found.entries.items(), key=lambda item: order.get(_key(item[0]), len(order))))
    return found


def _choose(key: str, ways: Mapping[str, list[tuple[str, Vote]]], done: set[str], found: Proposal) -> None:
    """Add the entry that most arrays vote for, and what else it might be."""
    left = {theirs: [(at, vote) for at, vote in votes if at not in done] for theirs, votes in ways.items()}

    def rank(theirs: str) -> tuple[Any, ...]:
        votes = [vote for _, vote in left[theirs]]
        surest = max((HOWS.index(vote.how) for vote in votes), default=-1)
        return len(votes), surest, not any(vote.axes for vote in votes)

    best = max(left, key=lambda theirs: (*rank(theirs), SequenceMatcher(None, key, theirs).ratio()))
    votes = [vote for _, vote in left[best]]
    if not votes or ("{l}" in key and len({at for some in left.values() for at, _ in some}) > 2 * len(votes)):
        return
    done.update(at for at, _ in left[best])
    axes = max((vote.axes for vote in votes), key=len)  # a case with one row may not show that they are turned
    how = HOWS[max(HOWS.index(vote.how) for vote in votes)]
    found.entries[key] = {"name": best, "axes": axes} if axes else best
    found.counts[how] += 1
    rivals = {theirs: some for theirs, some in left.items() if theirs != best and rank(theirs) == rank(best)}
    rivals = {
        theirs: some for theirs, some in rivals.items() if {v.theirs for _, v in some} != {v.theirs for v in votes}
    }
    if rivals:
        found.remarks.append(f"{key}: {best} was chosen; the same values are in {listed(rivals, 3)}")
    if how == "closest":
        cosine = min(vote.cosine for vote in votes)
        found.remarks.append(f"{key}: no array agrees; {best} is the closest (cosine {cosine:.4f}): check this entry")


def _key(ours: str) -> str:
    return LAYER.sub("layers.{l}", STEP.sub("", ours, count=1).removeprefix("step.{n}/"))


def _templates(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Yield (our name, theirs) with ``{l}`` and ``{n}`` in the places that can stand for this layer and step."""
    step, layer = STEP.match(ours), LAYER.search(ours)
    plain, their = ours[len(step[0]) if step else 0 :], theirs
    if step and theirs.startswith(step[0]):
        their = theirs[len(step[0]) :]
        step = None
    starts = _filled(their, int(step[1]), "n") if step else [their]
    start = "step.{n}/" if step else ""
    for one in starts:
        for template in _filled(one, int(layer[1]), "l") if layer else ():
            yield start + LAYER.sub("layers.{l}", plain), template
        yield start + plain, one


def _filled(name: str, number: int, letter: str) -> list[str]:
    """Return the name with ``{l}`` or ``{l+1}`` for one of its numbers, or for all that are the same."""
    found: dict[str, None] = {}
    for value, hole in ((number, f"{{{letter}}}"), (number + 1, f"{{{letter}+1}}")):
        alone = re.compile(rf"(?<![0-9]){value}(?![0-9])")
        places = [match.span() for match in alone.finditer(name)]
        found |= {alone.sub(hole, name): None} if len(places) > 1 else {}
        found |= {name[:first] + hole + name[last:]: None for first, last in places}
    return list(found)
