"""One comparator for the whole suite: shape, dtype, finite values, and a drift within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

HIDDEN = -1e30  # below this a score is a mask's mark, whichever number stands for it


def _unmarked(got: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, with 0 where both hold the mark of a hidden score: such marks count as equal."""
    both = (got <= HIDDEN) & (want <= HIDDEN)
    return np.where(both, 0, got).astype(np.float64), np.where(both, 0, want).astype(np.float64)


def drift(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference over the largest value of the reference; marks of hidden scores count as equal."""
    got, want = _unmarked(got, want)
    difference, size = np.abs(got - want).max(), np.abs(want).max()
    return float(difference / size) if size else (0.0 if difference == 0 else float("inf"))


def assert_close(name: str, got: np.ndarray, want: np.ndarray, budget: float, last_good: str = "none") -> float:
    """Fail unless ``got`` is ``want`` to the budget; the message says where, how much, and what was right before."""
    got, want = np.asarray(got), np.asarray(want)
    told = f"{name} (last good tensor: {last_good})"
    assert got.size > 0, f"{told}: nothing to compare"
    assert got.shape == want.shape, f"{told}: shape {got.shape}, not {want.shape}"
    assert got.dtype == want.dtype, f"{told}: dtype {got.dtype}, not {want.dtype}"
    left, right = _unmarked(got, want)
    assert np.isfinite(left).all(), f"{told}: not finite"
    assert np.isfinite(right).all(), f"{told}: the reference is not finite"
    found = drift(got, want)
    if found > budget:
        worst = np.unravel_index(np.abs(left - right).argmax(), got.shape)
        place = tuple(int(i) for i in worst)
        values = f"{got[worst]!r}, not {want[worst]!r}"
        raise AssertionError(f"{told}: drift {found:.2e} exceeds {budget:.2e}, worst at {place}: {values}")
    return found


def compare_traces(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], budget: Callable[[str], float]
) -> dict[str, float]:
    """Every tensor of ``want``, in order; returns each one's drift."""
    drifts: dict[str, float] = {}
    for name, reference in want.items():
        assert name in got, f"{name} is missing"
        drifts[name] = assert_close(name, got[name], reference, budget(name), next(reversed(drifts), "none"))
    assert drifts, "nothing was compared"
    return drifts


def first_difference(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], budget: Callable[[str], float]
) -> tuple[str, float] | None:
    """The first tensor in order that is beyond its budget, and by how many times; None when all agree.

    An empty reference, a missing name, another shape or dtype is an error; NaN is a difference.
    """
    assert want, "nothing was compared"
    for name, reference in want.items():
        assert name in got, f"{name} is missing"
        assert got[name].shape == reference.shape, f"{name}: shape {got[name].shape}, not {reference.shape}"
        assert got[name].dtype == reference.dtype, f"{name}: dtype {got[name].dtype}, not {reference.dtype}"
        found = drift(got[name], reference)
        if not found <= budget(name):
            return name, found / budget(name)
    return None
