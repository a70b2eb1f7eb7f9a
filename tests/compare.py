"""The comparator of the whole suite: shape, dtype, finite values, and a drift within the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

HIDDEN = -1e30  # a score below this is masked, whatever value marks it


def _without_masked(got: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both in float64, with 0 where both are masked: masked scores count as equal."""
    both = (got <= HIDDEN) & (want <= HIDDEN)
    return np.where(both, 0, got).astype(np.float64), np.where(both, 0, want).astype(np.float64)


def drift(got: np.ndarray, want: np.ndarray) -> float:
    """Return the largest difference relative to the largest value of the reference; masked scores count as equal."""
    got, want = _without_masked(got, want)
    difference, size = np.abs(got - want).max(), np.abs(want).max()
    return float(difference / size) if size else (0.0 if difference == 0 else float("inf"))


def assert_close(name: str, got: np.ndarray, want: np.ndarray, budget: float, last_good: str = "none") -> float:
    """Fail unless ``got`` equals ``want`` within the budget; the message says where, by how much and what was good."""
    got, want = np.asarray(got), np.asarray(want)
    label = f"{name} (last good tensor: {last_good})"
    assert got.size > 0, f"{label}: nothing to compare"
    assert got.shape == want.shape, f"{label}: shape {got.shape}, not {want.shape}"
    assert got.dtype == want.dtype, f"{label}: dtype {got.dtype}, not {want.dtype}"
    left, right = _without_masked(got, want)
    assert np.isfinite(left).all(), f"{label}: not finite"
    assert np.isfinite(right).all(), f"{label}: the reference is not finite"
    found = drift(got, want)
    if found > budget:
        worst = np.unravel_index(np.abs(left - right).argmax(), got.shape)
        index = tuple(int(i) for i in worst)
        values = f"{got[worst]!r}, not {want[worst]!r}"
        raise AssertionError(f"{label}: drift {found:.2e} exceeds {budget:.2e}, worst at {index}: {values}")
    return found


def compare_traces(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], budget: Callable[[str], float]
) -> dict[str, float]:
    """Compare every tensor of ``want``, in order; return the drift of each."""
    drifts: dict[str, float] = {}
    for name, reference in want.items():
        assert name in got, f"{name} is missing"
        drifts[name] = assert_close(name, got[name], reference, budget(name), next(reversed(drifts), "none"))
    assert drifts, "nothing was compared"
    return drifts


def first_difference(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], budget: Callable[[str], float]
) -> tuple[str, float] | None:
    """Return the first tensor in order that exceeds its budget, and by what factor; None if all agree.

    An empty reference, a missing name, or another shape or dtype is an error. NaN is a difference.
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
