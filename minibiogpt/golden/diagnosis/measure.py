"""Measure an array of the candidate against one that was computed for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minibiogpt.golden.check.compare import LOWEST, MASKED_MARGIN, MASKED_ROW_BELOW
from minibiogpt.golden.diagnosis.run import CaseRun, Changes, Known, Pass
from minibiogpt.golden.diagnosis.ways.precision import reduced
from minibiogpt.golden.diagnosis.ways.table import WAYS
from minibiogpt.golden.format.rounding import FACTOR, ROUNDING


@dataclass(frozen=True)
class Error:
    """How far an array is from the computed one.

    Attributes
    ----------
    times : the largest error, in budgets; infinite for NaN, another shape, or a score that should be hidden.
    bad : the fraction of elements beyond the budget.
    size : the root of the mean square of the errors, over that of the computed array; to compare two attempts.
    """

    times: float
    bad: float
    size: float

    @property
    def ok(self) -> bool:
        return self.times <= 1 and self.bad == 0


UNITS = {precision: unit / ROUNDING["float32"] for precision, unit in ROUNDING.items()}  # in those of float32
MAX_FLIPS = 0.05  # of the elements, that may be rounded the other way
NONE, EVERYTHING = Error(0.0, 0.0, 0.0), Error(math.inf, 1.0, math.inf)


def error_of(
    name: str, known: Known, computed: np.ndarray, precision: str | None = None, ignored: np.ndarray | None = None,
    flips: str | None = None,
    noise: float = 0.0,
) -> Error:  # fmt: skip
    """Return the error of the candidate's array; the budget grows with the computed values.

    Parameters
    ----------
    precision : judge by this precision instead of the array's own. ignored : where nothing is compared, or None.
    flips : a precision that the computed array is rounded to: a few elements may have been rounded the other way.
    noise : an error that rounding explains, if it is larger than the budget.
    """
    y, x = known.value, computed
    budget = known.budget if precision is None else known.budgets.get(precision)
    if budget is None:
        return NONE
    budget = max(budget, noise)
    if precision is not None and y.dtype.kind == "f" and not _holds(y, precision):
        return EVERYTHING
    if y.shape != x.shape:
        if y.size != x.size or _squeezed(y.shape) != _squeezed(x.shape):
            return EVERYTHING
        x = x.reshape(y.shape)
    if not y.size:
        return NONE
    if y.dtype.kind != "f" or x.dtype.kind != "f":
        wrong = (y != x) & _kept(known, y.shape)
        return Error(math.inf, float(wrong.mean()), float(wrong.mean())) if wrong.any() else NONE
    found = _of_floats(name, known, y, x, budget, ignored)
    coarse = None if flips is None or found.bad > MAX_FLIPS else known.budgets.get(flips)
    if found.ok or coarse is None:
        return found
    other = _of_floats(name, known, y, x, coarse, ignored)
    return other if other.ok else found


def rounding_of(run: CaseRun, name: str, changes: Changes, computed: np.ndarray) -> float:
    """Return the error that rounding explains where a step is done otherwise: measured in float32."""
    rounded = Pass(run, changes, WAYS, "float32").predicted(name)
    finite = np.isfinite(computed) & np.isfinite(rounded) & (computed != LOWEST)
    unit = UNITS[run.known[name].precision]
    return FACTOR * unit * float(np.abs(np.where(finite, rounded - computed, 0.0)).max(initial=0.0))


def _of_floats(
    name: str, known: Known, y: np.ndarray, x: np.ndarray, budget: float, ignored: np.ndarray | None
) -> Error:
    counted = _kept(known, y.shape)
    counted = counted if ignored is None or ignored.shape != y.shape else counted & ~ignored
    every = counted
    wrong = np.isnan(y) != np.isnan(x)
    if name.endswith(".scores_masked"):
        masked, hidden = x == LOWEST, in_effect(y)
        wrong |= masked & (~hidden | (y == -np.inf).all(-1, keepdims=True))  # the softmax of -inf alone is NaN
        wrong |= (x == -np.inf) & ~hidden
        counted = counted & ~masked & (x != -np.inf)
    visible = counted & ~wrong & ~np.isnan(x)
    with np.errstate(all="ignore"):
        errors = np.where(visible & (y != x), np.abs(np.where(y == x, 0.0, y - x)), 0.0)
        top = float(np.abs(np.where(visible & np.isfinite(x), x, 0.0)).max())
        budget = budget * max(1.0, top / known.largest) if known.largest > 0 else budget
        beyond = ~(errors <= budget) | (wrong & every)
        size = math.sqrt(float(np.square(np.minimum(errors, 1e150)).mean())) + float((wrong & every).mean())
        scale = math.sqrt(float(np.square(np.where(visible & np.isfinite(x), x, 0.0)).mean())) or 1.0
    if (wrong & every).any():
        return Error(math.inf, float(beyond.mean()), size / scale)
    largest = float(errors.max())
    return Error(largest / budget if budget > 0 else (math.inf if largest else 0.0), float(beyond.mean()), size / scale)


def _holds(y: np.ndarray, precision: str) -> bool:
    """Whether all finite values of y, hidden scores aside, are numbers of the precision."""
    finite = y[np.isfinite(y) & (y > -1e30)]
    return np.array_equal(reduced(finite, precision), finite)


def _kept(known: Known, shape: tuple[int, ...]) -> np.ndarray:
    if known.keep is None:
        return np.ones(shape, bool)
    try:
        return np.broadcast_to(known.keep, shape)
    except ValueError:
        return np.ones(shape, bool)


def in_effect(y: np.ndarray) -> np.ndarray:
    """Whether each score is hidden: its softmax is 0, or its row is hidden as a whole and its softmax uniform."""
    highest, lowest = (f.reduce(y, axis=-1, keepdims=True) for f in (np.fmax, np.fmin))
    with np.errstate(all="ignore"):
        return (y == -np.inf) | (y < highest - MASKED_MARGIN) | ((highest == lowest) & (highest < MASKED_ROW_BELOW))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def pattern_of(known: Known, computed: np.ndarray, axes: str) -> str:
    """Return which elements are wrong, and the two values at the worst: "13 of 273, all at d=20; ..."; "" if none is.

    Parameters
    ----------
    axes : the letters of the array's axes.
    """
    y, x = known.value, computed
    letters = axes.lower().split()
    if y.shape != x.shape or not y.size or len(letters) != y.ndim or known.budget is None:
        return ""
    hidden = (x == LOWEST) & in_effect(np.atleast_1d(y)).reshape(y.shape)
    same = (x == y) | (np.isnan(x) & np.isnan(y)) | hidden
    with np.errstate(all="ignore"):
        errors = np.where(same, 0.0, np.abs(y - x))
    nan = np.isnan(errors)
    wrong = (errors > known.budget) | nan
    if not wrong.any():
        return ""
    where = np.argwhere(wrong)
    alike = [at for a in range(y.ndim) if (at := _only_at(letters[a], np.unique(where[:, a]), y.shape[a]))]
    worst = tuple(where[0]) if nan.any() else tuple(np.unravel_index(int(np.argmax(errors)), y.shape))
    at = ", ".join(f"{letter}={int(i)}" for letter, i in zip(letters, worst, strict=True))
    words = f"{len(where)} of {y.size} elements" + (f", all at {', '.join(alike)}" if alike and len(where) > 1 else "")
    if y.ndim > 1 and not nan.any() and wrong.reshape(-1, y.shape[-1]).any(0).sum() > 1:
        rows = np.where(same, 0.0, y - x).reshape(-1, y.shape[-1])
        if len(rows) > 1 and (np.ptp(rows, axis=0) <= 2 * known.budget).all():
            words += f", by the same numbers at every {', '.join(letters[:-1])}"
    yours, right = (f"{v[worst]:.6g}" for v in (y, x))
    if yours == right:
        yours, right = (f"{v[worst]:.9g}" for v in (y, x))
    return f"{words}; {f'at {at} ' if at else ''}yours is {yours}, and should be {right}"


def _only_at(letter: str, found: np.ndarray, size: int) -> str:
    """Return which indices of an axis are meant, "s=5" or "s=0 to 4"; "" if all are, or some without an order."""
    if len(found) == size or np.ptp(found) != len(found) - 1:
        return ""
    return f"{letter}={found[0]}" + (f" to {found[-1]}" if len(found) > 1 else "")
