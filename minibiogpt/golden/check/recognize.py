"""Recognize the candidate's arrays by their names and, where these say nothing, by their values.

An array counts whose values agree within the budget of the coarsest precision, in any order of the axes; if none does,
the one that is clearly the closest. Samples of each array are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from minibiogpt.golden.candidate.tensor import Tensor
from minibiogpt.golden.check.calls import names_of
from minibiogpt.golden.check.compare import LOWEST, MASKED_MARGIN
from minibiogpt.golden.check.layouts import MEMORY_ORDER, Layout, axes_of, possible_layouts
from minibiogpt.golden.check.pairing import guess_tool, pair_one
from minibiogpt.golden.format.case import Case, Entry, sample_indices

SAMPLES = 512  # elements of an array by which it is recognized
FEW = 4  # elements that can agree by chance within a coarse budget
CLOSE, CLEARLY = 0.9, 4.0  # least cosine of the closest array, and how many times further away the next must be


@dataclass(frozen=True)
class Vote:
    """One array of the candidate that may be one of ours.

    Attributes
    ----------
    theirs : its name. how : "name", "values" or "closest".
    order, ours : the letters of its axes, with D as H and Dh, and those of ours. large : those of sizes above 1, whose
        order is known.
    same_rank : whether it has as many axes as ours; q and q_proj have the same values.
    """

    theirs: str
    how: str
    order: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    large: frozenset[str] = frozenset()
    same_rank: bool = True

    def has_order(self, letters: Iterable[str]) -> bool:
        return [x for x in letters if x in self.large] == [x for x in self.order if x in self.large]


def votes_of(case: Case, tensors: Mapping[str, Tensor], tool: str | None = None) -> dict[str, list[Vote]]:
    """Return {array of the case: the candidate's arrays that may be it}, in the order of execution.

    Parameters
    ----------
    tool : whose names the candidate has; None to recognize it.
    """
    known = names_of(case)
    tool = tool or guess_tool(tensors, known, {})
    entries = {entry.name: entry for entry in case.entries}
    found: dict[str, list[Vote]] = {name: [] for name in entries}
    left = dict(tensors)
    for name, tensor in tensors.items():
        one = pair_one(name, known, tool)
        ours = one.reference_name
        if ours is not None:
            del left[name]
        if ours in entries and not found[ours]:
            fit = next(iter(_Group(case, [entries[ours]]).fits(tensor).values()), None)
            letters = _letters(one.axes or entries[ours].axes, entries[ours], case)
            found[ours].append(fit.vote("name") if fit and fit.agrees else Vote(name, "name", *letters))
    fits: dict[str, list[Fit]] = {name: [] for name in entries if not found[name]}
    groups = _groups(case, [entries[name] for name in fits])
    for tensor in left.values():
        for group in groups:
            for ours, fit in group.fits(tensor).items():
                fits[ours].append(fit)
    taken = {fit.name for some in fits.values() for fit in some if fit.agrees}
    for ours, some in fits.items():
        found[ours] += [fit.vote("values") for fit in _agreeing(some)]
        free = [] if found[ours] else [fit for fit in some if fit.name not in taken and fit.error < math.inf]
        found[ours] += [fit.vote("closest") for fit in _closest(free)]
    return found


def _letters(axes: str, entry: Entry, case: Case) -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    """Return the last three fields of a vote for an array with these axes, as an alias declares them."""
    every = axes_of(entry, case.config)
    split = "D" in entry.axes.split() and "D" not in dict(every)
    order = (axes.replace("D", "H Dh") if split and "Dh" not in axes else axes).split()
    return tuple(order), tuple(letter for letter, _ in every), frozenset(letter for letter, n in every if n > 1)


@dataclass(frozen=True)
class Fit:
    """How well the array ``name`` of the candidate fits, in the layout in which it fits best.

    Attributes
    ----------
    error : largest error relative to the largest value of the reference. agrees : whether it is within the budget of
        the coarsest precision. cosine : with ours; 0 for too few values.
    """

    name: str
    error: float
    agrees: bool
    cosine: float
    layout: Layout
    same_rank: bool

    def vote(self, how: str) -> Vote:
        letters = tuple(letter for letter, _ in self.layout.order)
        large = frozenset(letter for letter, size in self.layout.order if size > 1)
        return Vote(self.name, how, letters, tuple(letters[axis] for axis in self.layout.back), large, self.same_rank)


def _agreeing(fits: list[Fit]) -> list[Fit]:
    """Return the fits that agree, without those that are clearly worse than the best."""
    best = min((fit.error for fit in fits if fit.agrees), default=math.inf)
    return [fit for fit in fits if fit.agrees and fit.error <= CLEARLY * best + 1e-6]


def _closest(fits: list[Fit]) -> list[Fit]:
    """Return the fit with the highest cosine, if it is clearly the closest."""
    fits = [fit for fit in fits if fit.same_rank and fit.cosine >= CLOSE] or fits
    nearest = sorted(fits, key=lambda fit: -fit.cosine)[:2]
    if not nearest or nearest[0].cosine < CLOSE:
        return []
    clear = len(nearest) < 2 or CLEARLY * (1 - nearest[0].cosine) < 1 - nearest[1].cosine
    return nearest[:1] if clear else []


def _groups(case: Case, entries: Iterable[Entry]) -> list[_Group]:
    """Return the arrays in groups of the same shape, axes and number of samples."""
    found: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if entry.largest > 0 and math.prod(entry.shape) > 0:
            found.setdefault((entry.shape, entry.axes, entry.samples), []).append(entry)
    return [_Group(case, some) for some in found.values()]


class _Group:
    """Arrays of the same shape and axes, of which samples are compared with those of one tensor at once."""

    def __init__(self, case: Case, entries: list[Entry]) -> None:
        self.case, self.entries, self._layouts = case, entries, dict[tuple[int, ...], list[Layout]]()
        stored = [case.array(entry.name).reshape(-1) for entry in entries]
        chosen = sample_indices(stored[0].size, min(SAMPLES, stored[0].size))
        size = math.prod(entries[0].shape)
        self.indices = chosen if entries[0].samples is None else sample_indices(size, stored[0].size)[chosen]
        self.reference = np.stack([x[chosen].astype(np.float64) for x in stored])  # (arrays, samples)
        self.masked = self.reference == LOWEST
        self.visible = np.where(self.masked, 0.0, self.reference)

    def fits(self, tensor: Tensor) -> dict[str, Fit]:
        """Return how the tensor fits each array of the group, in its best layout; none if its size is another."""
        if math.prod(tensor.shape) != math.prod(self.entries[0].shape):
            return {}
        raw, best = tensor.raw(), dict[str, Fit]()
        for layout in self._possible(tensor.shape):
            for fit_of, fit in self._compared(tensor, raw, layout):
                if fit_of not in best or (fit.error, -fit.cosine) < (best[fit_of].error, -best[fit_of].cosine):
                    best[fit_of] = fit
        return best

    def _possible(self, shape: tuple[int, ...]) -> list[Layout]:
        if shape not in self._layouts:
            every = possible_layouts(shape, self.entries[0], self.case.config)
            orders: dict[tuple[object, ...], Layout] = {}
            for layout in (one for one in every if one.axes != MEMORY_ORDER):
                orders.setdefault(tuple(axis for axis in layout.order if axis[1] != 1), layout)
            self._layouts[shape] = list(orders.values())
        return self._layouts[shape]

    def _compared(self, tensor: Tensor, raw: np.ndarray, layout: Layout) -> Iterator[tuple[str, Fit]]:
        split = np.atleast_1d(layout.split(raw))  # a loss has no axes
        x = tensor.decode(split[np.unravel_index(self.indices, split.shape)]).astype(np.float64)
        finite = np.isfinite(x)
        seen = np.where(finite, x, 0.0)
        with np.errstate(all="ignore"):
            wrong = np.where(self.masked, ~(x < -MASKED_MARGIN), ~finite).any(axis=1)
            errors = np.where(self.masked, 0.0, np.abs(seen - self.visible)).max(axis=1)
            norms = np.sqrt(((seen**2) * ~self.masked).sum(axis=1) * (self.visible**2).sum(axis=1))
            cosines = np.where((norms > 0) & np.isfinite(norms), self.visible @ seen / norms, 0.0)
        wrong |= self.masked.all(axis=1)
        few = len(x) < FEW
        same_rank = sum(n != 1 for n in tensor.shape) == sum(n != 1 for n in self.entries[0].shape)
        for i, entry in enumerate(self.entries):
            scale = entry.largest or 1.0
            error = math.inf if wrong[i] else float(errors[i]) / scale
            limit = max(entry.budgets[p] or 0.0 for p in (("float32",) if few else entry.budgets)) / scale
            cosine = 0.0 if few else float(cosines[i])
            yield entry.name, Fit(tensor.name, error, error <= limit, cosine, layout, same_rank)
