"""Compare one array with its reference, block by block: errors, their locations, and masked scores by their effect.

The *relative* error is the largest absolute error over the largest absolute value of the whole reference array.
Dividing each error by its own element would make rounding noise near zero look like a difference. An array agrees when
no error exceeds the case's measured budget. The relative error and the cosine are informative only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from minibiogpt.golden.format.case import PRECISIONS, sample_indices, sums_of
from minibiogpt.golden.format.rounding import rounded

LOWEST = float(np.finfo(np.float64).min)  # the reference's value of a masked score
MASKED_MARGIN = 800.0  # a masked score is more than this below the largest of its row: exp(-800) is 0 in float64
MASKED_ROW_BELOW = -6e4  # a fully masked row holds one value below this: float16's lowest number is -65504
BLOCK = 1 << 18  # elements compared at once
BY_BITS = ("bfloat16", "float16", "float32")  # fewest significant bits first: 8, 11, 24
TF32_BITS = 11  # significant bits: 10 are stored
MIN_TELLING = 8  # values that must need more than four bits before a precision is recognized from them
Index = tuple[int, ...]


@dataclass
class Measure:
    """The result of comparing one array; ``agrees`` is the verdict.

    Attributes
    ----------
    compared : number of elements compared.
    largest_error : largest absolute error; infinities count; NaN and scores with a wrong mask don't.
    worst : index of the largest error; ``reference`` and ``candidate`` are the two values there.
    exceeding : number of elements beyond the budget, including NaN and scores with a wrong mask.
    nan, inf : how many the candidate has; ``not_finite`` is the index of the first.
    wrong_marks : number of scores that only the reference masks; ``wrong_mark`` is the index of the first.
    hidden_marks : number of scores that only the candidate masks; ``hidden_mark`` is the index of the first.
    fill : the smallest and the largest of the candidate's values where both mask, if there is one.
    sums : slim form: (description, error, budget) of each sum beyond its budget.
    products : dot products of candidate and reference, candidate and candidate, reference and reference.
    representable, reference_representable : the precisions that represent every finite value of the candidate exactly,
        and every value of the reference.
    bits, reference_bits : the significant bits that the values need in float32; not counted further beyond TF32's.
    telling : number of the candidate's values that need more than four significant bits, counted up to ``MIN_TELLING``.
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
    hidden_marks: int = 0
    hidden_mark: Index | None = None
    fill: tuple[float, float] | None = None
    sums: list[tuple[str, float, float]] = field(default_factory=list)
    products: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    representable: set[str] = field(default_factory=lambda: set(PRECISIONS))
    reference_representable: set[str] = field(default_factory=lambda: set(PRECISIONS))
    bits: int = 0
    reference_bits: int = 0
    telling: int = 0

    @property
    def agrees(self) -> bool:
        return self.compared > 0 and self.exceeding == 0 and not self.sums

    @property
    def cosine(self) -> float | None:
        """Cosine similarity over the elements that are visible, kept and finite; None if one vector is zero."""
        dot, c, r = self.products
        length = math.sqrt(c) * math.sqrt(r) if min(c, r) > 0 and math.isfinite(c) else 0.0
        return max(-1.0, min(1.0, dot / length)) if length > 0 else None

    def within(self, budget: float | None, *, count_sums: bool = True) -> bool:
        """Whether every error is within the budget of another precision. That of the slim form's sums is unknown."""
        unexplained = self.nan + self.wrong_marks + self.hidden_marks + len(self.sums) * count_sums
        return budget is not None and not unexplained and self.largest_error <= budget

    @property
    def held(self) -> str | None:
        """The precision whose values the candidate holds, whatever it stores them as; None if too few values tell.

        The one with the fewest significant bits counts: bfloat16 values of moderate size are float16 values, too. If
        the reference is representable as well (as weights made for it are), the values tell nothing.
        """
        found = [p for p in BY_BITS if p in self.representable and p not in self.reference_representable]
        return found[0] if found and self.telling >= MIN_TELLING else None

    @property
    def is_tf32(self) -> bool:
        """Whether the values have the 11 significant bits of TF32, and those of the reference have more."""
        few = "float32" in self.representable and self.bits <= TF32_BITS < self.reference_bits
        return few and self.telling >= MIN_TELLING


def blocks(shape: tuple[int, ...], max_size: int = BLOCK) -> Iterator[tuple[slice, ...]]:
    """Yield slices that cut an array, in memory order, into blocks of at most ``max_size`` elements.

    Examples
    --------
    >>> list(blocks((3, 2), 4))
    [(slice(0, 2, None), slice(None, None, None)), (slice(2, 4, None), slice(None, None, None))]
    """
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    if inner > max_size:
        for i in range(shape[0]):
            for rest in blocks(shape[1:], max_size):
                yield (slice(i, i + 1), *rest)
        return
    step = max(1, max_size // max(1, inner))
    for start in range(0, shape[0], step):
        yield (slice(start, start + step), *[slice(None)] * (len(shape) - 1))


def measure(
    candidate: np.ndarray,
    reference: np.ndarray,
    budget: float,
    decode: Callable[[np.ndarray], np.ndarray],
    *,
    has_masked: bool = False,
    keep: np.ndarray | None = None,
    max_size: int = BLOCK,
) -> Measure:
    """Compare two arrays of the same shape.

    Parameters
    ----------
    decode : converts a block of the candidate to float64, or to integers if the reference is int64.
    has_masked : whether the array has masked scores. If so, rows along the last axis are never split.
    keep : bool, broadcastable to both arrays; elements where it is False are skipped. None compares all.
    max_size : largest number of elements compared at once.
    """
    found = Measure(budget)
    outer = reference.shape[:-1] if has_masked else reference.shape
    width = reference.shape[-1] if has_masked else 1
    keep = None if keep is None else np.broadcast_to(keep, reference.shape)
    for at in blocks(outer, max(1, max_size // max(1, width))):
        kept = np.ones(reference[at].shape, bool) if keep is None else keep[at]
        c = decode(candidate[at])
        _add_block(found, at, c, reference[at], kept, _masked(c) if has_masked else None)
    return found


def _add_block(
    found: Measure, at: tuple, c: np.ndarray, r: np.ndarray, kept: np.ndarray, candidate_masked: np.ndarray | None
) -> None:
    """Add one block to ``found``. ``candidate_masked``: where the candidate's scores are masked in effect, or None."""
    masked = np.zeros(r.shape, bool) if candidate_masked is None else (r == LOWEST) & kept
    visible = kept & ~masked
    error = np.asarray(_errors(c, r))  # NumPy returns a scalar for arrays without axes
    hidden = np.zeros(r.shape, bool) if candidate_masked is None else candidate_masked & visible & (c < r)
    nan, inf = np.isnan(c) & kept, np.isinf(c) & visible & ~hidden
    wrong = masked if candidate_masked is None else masked & ~candidate_masked & ~nan
    hidden &= ~(error <= found.budget)
    error[~visible | nan | hidden] = 0.0
    bad = ~(error <= found.budget) | nan | wrong | hidden
    found.compared += int(kept.sum())
    found.exceeding += int(bad.sum())
    found.nan += int(nan.sum())
    found.inf += int(inf.sum())
    found.wrong_marks += int(wrong.sum())
    found.hidden_marks += int(hidden.sum())
    _add_precisions(found, c, r)
    if found.not_finite is None:
        found.not_finite = _first(nan | inf, at)
    if found.wrong_mark is None:
        found.wrong_mark = _first(wrong, at)
    if found.hidden_mark is None:
        found.hidden_mark = _first(hidden, at)
    if (fill := c[masked & ~wrong & ~nan]).size:
        low, high = found.fill or (math.inf, -math.inf)
        found.fill = (min(low, float(fill.min())), max(high, float(fill.max())))
    _update_worst(found, at, error, visible & ~nan & ~hidden, c, r)
    finite = visible & ~hidden & np.isfinite(c)
    x, y = c[finite].astype(np.float64), r[finite].astype(np.float64)
    with np.errstate(all="ignore"):
        for i, (a, b) in enumerate(((x, y), (x, x), (y, y))):
            found.products[i] += float(np.dot(a, b))


def _add_precisions(found: Measure, c: np.ndarray, r: np.ndarray) -> None:
    """Note which precisions represent the values of one block, and count those that tell."""
    if r.dtype.kind != "f":
        return
    found.representable = exact_precisions(c, found.representable)
    if not found.representable.isdisjoint(BY_BITS):
        found.reference_representable = exact_precisions(r[r != LOWEST], found.reference_representable)
        if found.bits <= TF32_BITS:
            found.bits = max(found.bits, bits_of(c[np.isfinite(c)]))
            found.reference_bits = max(found.reference_bits, bits_of(r[r != LOWEST]))
        if found.telling < MIN_TELLING:
            significands = 16 * np.frexp(c[np.isfinite(c)])[0]
            found.telling += int((significands != np.trunc(significands)).sum())


def exact_precisions(c: np.ndarray, among: Iterable[str] = PRECISIONS) -> set[str]:
    """Return the precisions in ``among`` that represent every finite value of c exactly.

    Examples
    --------
    >>> [sorted(exact_precisions(np.array([x]))) for x in (0.1, 1 + 2**-10)]
    [['float64'], ['float16', 'float32', 'float64']]
    """
    finite = c[np.isfinite(c)].astype(np.float64)
    with np.errstate(all="ignore"):
        narrow = finite.astype(np.float32)
    if not np.array_equal(narrow, finite):  # the coarser ones are contained in float32
        return {"float64"} & set(among)
    return {p for p in among if p == "float64" or np.array_equal(rounded(narrow, p), narrow)}


def bits_of(x: np.ndarray) -> int:
    """Return the most significant bits that a value of x needs in float32; 0 without values.

    Examples
    --------
    >>> [bits_of(np.array(x)) for x in ([], [4.0], [0.75, 5.0], [1 + 2**-10], [0.1])]
    [0, 1, 3, 11, 24]
    """
    if not x.size:
        return 0
    with np.errstate(all="ignore"):
        significand = np.abs(np.frexp(x.astype(np.float32))[0])
    whole = (significand * np.float32(2**24)).astype(np.int64)
    used = int(np.bitwise_or.reduce(whole, axis=None))
    return 24 - (used & -used).bit_length() + 1 if used else 1


def _errors(c: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return |c - r| in float64; for unequal integers at least 1, since float64 doesn't represent all integers."""
    if r.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return np.abs(c - r)
    difference = np.abs(c.astype(np.float64) - r.astype(np.float64))
    return np.where(c != r, np.maximum(difference, 1.0), 0.0)


def _masked(c: np.ndarray) -> np.ndarray:
    """Where a score is masked in effect: its softmax is 0, or its row is fully masked and its softmax uniform."""
    highest = np.fmax.reduce(c, axis=-1, initial=-np.inf, keepdims=True)
    lowest = np.fmin.reduce(c, axis=-1, initial=np.inf, keepdims=True)
    return (c == -np.inf) | (c < highest - MASKED_MARGIN) | ((highest == lowest) & (highest < MASKED_ROW_BELOW))


def _update_worst(
    found: Measure, at: tuple, error: np.ndarray, counted: np.ndarray, c: np.ndarray, r: np.ndarray
) -> None:
    if not counted.any():
        return
    flat = int(np.argmax(np.where(counted, error, -1.0)))
    largest = float(error.flat[flat])
    if found.worst is None or largest > found.largest_error:
        found.worst = _index_in_array(flat, error.shape, at)
        found.largest_error = largest
        found.candidate, found.reference = c.flat[flat].item(), r.flat[flat].item()


def _first(where: np.ndarray, at: tuple) -> Index | None:
    return _index_in_array(int(np.argmax(where)), where.shape, at) if where.any() else None


def _index_in_array(flat: int, shape: tuple[int, ...], at: tuple) -> Index:
    """Return the index in the whole array of the element at the flat index ``flat`` of the block ``at``."""
    starts = [axis.start or 0 for axis in at] + [0] * (len(shape) - len(at))
    return tuple(int(i) + start for i, start in zip(np.unravel_index(flat, shape), starts, strict=True))


SUMS = ("the sum", "the sum of absolute values", "the sum of squares", "the index-weighted sum")


def measure_slim(
    candidate: np.ndarray,
    samples: np.ndarray,
    budget: float,
    decode: Callable[[np.ndarray], np.ndarray],
    *,
    sums: np.ndarray | None = None,
    sum_budgets: list[float] | None = None,
    has_masked: bool = False,
    keep: np.ndarray | None = None,
) -> Measure:
    """Compare a whole candidate with samples and sums; indices in the result refer to the whole array.

    With ``keep``, only samples are compared, because the sums include the skipped elements.
    """
    candidate = np.atleast_1d(candidate)  # a loss has no axes
    indices = np.unravel_index(sample_indices(candidate.size, samples.size), candidate.shape)
    kept = np.broadcast_to(True if keep is None else keep, candidate.shape)[indices]
    found = Measure(budget)
    candidate_masked = None
    if has_masked:  # whether a score is masked depends on its whole row
        candidate_masked = _masked(decode(candidate[indices[:-1]]))[np.arange(samples.size), indices[-1]]
    _add_block(found, (slice(0, None),), decode(candidate[indices]), samples, kept, candidate_masked)
    for name in ("worst", "not_finite", "wrong_mark"):
        sample = getattr(found, name)
        if sample is not None:
            setattr(found, name, tuple(int(axis[sample[0]]) for axis in indices))
    if sums is not None and sum_budgets is not None and keep is None:
        errors = np.abs(_sums(candidate, decode) - sums)
        found.sums = [
            (what, float(error), b) for what, error, b in zip(SUMS, errors, sum_budgets, strict=True) if not error <= b
        ]
    return found


def _sums(candidate: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    total, start = np.zeros(len(SUMS)), 0
    with np.errstate(all="ignore"):
        for at in blocks(candidate.shape):
            x = decode(candidate[at])
            total += sums_of(x, start)
            start += x.size
    return total
