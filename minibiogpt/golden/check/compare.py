"""One array against its reference, block by block: errors, where they are, and hidden scores by their meaning.

The largest *relative* error is the largest absolute one over the largest value of the whole reference array: dividing
each error by its own element makes noise at an element near zero look like a difference. An array agrees when no
error is above the case's budget, which was measured; the relative error and the cosine are for the reader only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from minibiogpt.golden.format.case import PRECISIONS, sample_places, sums_of
from minibiogpt.golden.format.rounding import rounded

LOWEST = float(np.finfo(np.float64).min)  # what the reference holds where a score is hidden
FAR = 800.0  # below the largest score of its row: exp(-800) is 0 in float64
DEEP = -6e4  # a row that sees nothing holds one value below this: float16's lowest number is -65504
BLOCK = 1 << 18  # elements compared at once
Index = tuple[int, ...]


@dataclass
class Measure:
    """What comparing one array found; ``agrees`` is all there is to decide.

    Attributes
    ----------
    compared : elements looked at.
    largest_error : absolute; NaN and wrong marks are not in it, infinities are.
    worst : its place, with both values.
    exceeding : elements beyond the budget, NaN and wrong marks among them.
    nan, inf : how many the candidate holds; ``not_finite`` is the first place.
    wrong_marks : places that the reference hides and the candidate does not; ``wrong_mark`` is the first.
    sums : of the slim form: (what, error, budget) of each sum beyond its budget.
    held : the precisions that hold all numbers of every block in which something is beyond the budget.
    """

    budget: float
    compared: int = 0
    largest_error: float = 0.0
    worst: Index | None = None
    reference: float = 0.0
    candidate: float = 0.0
    exceeding: int = 0
    nan: int = 0
    inf: int = 0
    not_finite: Index | None = None
    wrong_marks: int = 0
    wrong_mark: Index | None = None
    sums: list[tuple[str, float, float]] = field(default_factory=list)
    products: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    held: set[str] = field(default_factory=lambda: set(PRECISIONS))

    @property
    def agrees(self) -> bool:
        return self.compared > 0 and self.exceeding == 0 and not self.sums

    @property
    def cosine(self) -> float | None:
        """Of the angle between both as vectors, without what is hidden, left out or not finite; None if one is zero."""
        dot, c, r = self.products
        length = math.sqrt(c) * math.sqrt(r) if min(c, r) > 0 and math.isfinite(c) else 0.0
        return max(-1.0, min(1.0, dot / length)) if length > 0 else None

    def only_coarser(self, precision: str, budget: float | None) -> bool:
        """Whether it was computed in a coarser precision: it holds such numbers only, and agrees by that budget."""
        unmeasured = self.nan + self.wrong_marks + len(self.sums)
        return precision in self.held and budget is not None and not unmeasured and self.largest_error <= budget


def blocks(shape: tuple[int, ...], most: int = BLOCK) -> Iterator[tuple[slice, ...]]:
    """Slices that cut an array, in memory's order, into blocks of at most ``most`` elements.

    Examples
    --------
    >>> list(blocks((3, 2), 4))
    [(slice(0, 2, None), slice(None, None, None)), (slice(2, 4, None), slice(None, None, None))]
    """
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    if inner > most:
        for i in range(shape[0]):
            for rest in blocks(shape[1:], most):
                yield (slice(i, i + 1), *rest)
        return
    step = max(1, most // max(1, inner))
    for start in range(0, shape[0], step):
        yield (slice(start, start + step), *[slice(None)] * (len(shape) - 1))


def measure(
    candidate: np.ndarray,
    reference: np.ndarray,
    budget: float,
    numbers: Callable[[np.ndarray], np.ndarray],
    *,
    marks: bool = False,
    keep: np.ndarray | None = None,
    most: int = BLOCK,
) -> Measure:
    """Compare two arrays of one shape.

    Parameters
    ----------
    numbers : what a block of the candidate stands for: float64, or integers where the reference is int64.
    marks : whether the reference holds marks of hidden scores; a row of the last axis is then never cut.
    keep : bool, broadcast against both: False = left out. None: all are compared.
    """
    found = Measure(budget)
    outer = reference.shape[:-1] if marks else reference.shape
    width = reference.shape[-1] if marks else 1
    keep = None if keep is None else np.broadcast_to(keep, reference.shape)
    for at in blocks(outer, max(1, most // max(1, width))):
        kept = np.ones(reference[at].shape, bool) if keep is None else keep[at]
        c = numbers(candidate[at])
        _add_block(found, at, c, reference[at], kept, _hidden(c) if marks else None)
    return found


def _add_block(
    found: Measure, at: tuple, c: np.ndarray, r: np.ndarray, kept: np.ndarray, hidden_there: np.ndarray | None
) -> None:
    """``hidden_there``: where the candidate hides in effect; None where the reference holds no marks."""
    hidden = np.zeros(r.shape, bool) if hidden_there is None else (r == LOWEST) & kept
    seen = kept & ~hidden
    error = np.asarray(_errors(c, r))  # of a single number NumPy would make a scalar
    nan, inf = np.isnan(c) & kept, np.isinf(c) & seen
    wrong = hidden if hidden_there is None else hidden & ~hidden_there & ~nan
    error[~seen | nan] = 0.0
    bad = ~(error <= found.budget) | nan | wrong
    found.compared += int(kept.sum())
    found.exceeding += int(bad.sum())
    found.nan += int(nan.sum())
    found.inf += int(inf.sum())
    found.wrong_marks += int(wrong.sum())
    if bad.any():
        found.held &= held_by(c)
    if found.not_finite is None:
        found.not_finite = _first(nan | inf, at)
    if found.wrong_mark is None:
        found.wrong_mark = _first(wrong, at)
    _note_worst(found, at, error, seen & ~nan, c, r)
    inside = seen & np.isfinite(c)
    x, y = c[inside].astype(np.float64), r[inside].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for i, (a, b) in enumerate(((x, y), (x, x), (y, y))):
            found.products[i] += float(np.dot(a, b))


def held_by(c: np.ndarray) -> set[str]:
    """The precisions that hold each of these numbers exactly.

    Examples
    --------
    >>> [sorted(held_by(np.array([x]))) for x in (0.1, 1 + 2**-10)]
    [['float64'], ['float16', 'float32', 'float64']]
    """
    seen = c[np.isfinite(c)].astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = seen.astype(np.float32)
    return {p for p in PRECISIONS if p == "float64" or np.array_equal(rounded(narrow, p).astype(np.float64), seen)}


def _errors(c: np.ndarray, r: np.ndarray) -> np.ndarray:
    """|c - r| in float64; of unequal integers at least 1, as float64 cannot tell all of them apart."""
    if r.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            return np.abs(c - r)
    apart = np.abs(c.astype(np.float64) - r.astype(np.float64))
    return np.where(c != r, np.maximum(apart, 1.0), 0.0)


def _hidden(c: np.ndarray) -> np.ndarray:
    """Where a score is hidden in effect: its softmax is 0, or its whole row is uniform as that of nothing but marks."""
    top = np.fmax.reduce(c, axis=-1, initial=-np.inf, keepdims=True)
    low = np.fmin.reduce(c, axis=-1, initial=np.inf, keepdims=True)
    return (c == -np.inf) | (c < top - FAR) | ((top == low) & (top < DEEP))


def _note_worst(found: Measure, at: tuple, error: np.ndarray, seen: np.ndarray, c: np.ndarray, r: np.ndarray) -> None:
    if not seen.any():
        return
    flat = int(np.argmax(np.where(seen, error, -1.0)))
    largest = float(error.flat[flat])
    if found.worst is None or largest > found.largest_error:
        found.worst = _place(flat, error.shape, at)
        found.largest_error = largest
        found.candidate, found.reference = c.flat[flat].item(), r.flat[flat].item()


def _first(where: np.ndarray, at: tuple) -> Index | None:
    return _place(int(np.argmax(where)), where.shape, at) if where.any() else None


def _place(flat: int, shape: tuple[int, ...], at: tuple) -> Index:
    """The place in the whole array of an element of the block ``at``."""
    starts = [part.start or 0 for part in at] + [0] * (len(shape) - len(at))
    return tuple(int(i) + start for i, start in zip(np.unravel_index(flat, shape), starts, strict=True))


SUMS = ("the sum", "the sum of absolute values", "the sum of squares", "the sum weighted by place")


def measure_slim(
    candidate: np.ndarray,
    samples: np.ndarray,
    budget: float,
    numbers: Callable[[np.ndarray], np.ndarray],
    *,
    sums: np.ndarray | None = None,
    sum_budgets: list[float] | None = None,
    marks: bool = False,
    keep: np.ndarray | None = None,
) -> Measure:
    """Compare a whole candidate with samples and sums; places are those in the whole array.

    With ``keep``, which a sum of all elements cannot heed, only samples are compared.
    """
    candidate = np.atleast_1d(candidate)  # a loss has no axes
    places = np.unravel_index(sample_places(candidate.size, samples.size), candidate.shape)
    kept = np.broadcast_to(True if keep is None else keep, candidate.shape)[places]
    found = Measure(budget)
    there = None
    if marks:  # a mark is judged in its row, which the samples do not show
        there = _hidden(numbers(candidate[places[:-1]]))[np.arange(samples.size), places[-1]]
    _add_block(found, (slice(0, None),), numbers(candidate[places]), samples, kept, there)
    for name in ("worst", "not_finite", "wrong_mark"):
        place = getattr(found, name)
        if place is not None:
            setattr(found, name, tuple(int(axis[place[0]]) for axis in places))
    if sums is not None and sum_budgets is not None and keep is None:
        errors = np.abs(_sums(candidate, numbers) - sums)
        found.sums = [
            (what, float(error), b) for what, error, b in zip(SUMS, errors, sum_budgets, strict=True) if not error <= b
        ]
    return found


def _sums(candidate: np.ndarray, numbers: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    total, start = np.zeros(len(SUMS)), 0
    with np.errstate(over="ignore", invalid="ignore"):
        for at in blocks(candidate.shape):
            x = numbers(candidate[at])
            total += sums_of(x, start)
            start += x.size
    return total
