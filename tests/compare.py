"""One comparator for the whole suite: shape, dtype, finite values, and a drift within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

HIDDEN = -1e30  # below this a score is a mask's mark, whichever number stands for it


def drift(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference over the largest value of the reference; marks of hidden scores count as equal."""
    both = (got <= HIDDEN) & (want <= HIDDEN)
    got, want = np.where(both, 0, got).astype(np.float64), np.where(both, 0, want).astype(np.float64)
    difference, size = np.abs(got - want).max(), np.abs(want).max()
    return float(difference / size) if size else (0.0 if difference == 0 else float("inf"))


def assert_close(name: str, got: np.ndarray, want: np.ndarray, budget: float, last_good: str = "none") -> float:
    """Fail unless ``got`` is ``want`` to the budget; the message says where, how much, and what was right before."""
    got, want = np.asarray(got), np.asarray(want)
    told = f"{name} (last good tensor: {last_good})"
    assert got.size > 0, f"{told}: nothing to compare"
    assert got.shape == want.shape, f"{told}: shape {got.shape}, not {want.shape}"
    assert got.dtype == want.dtype, f"{told}: dtype {got.dtype}, not {want.dtype}"
    assert np.isfinite(got).all(), f"{told}: not finite"
    assert np.isfinite(want).all(), f"{told}: the reference is not finite"
    found = drift(got, want)
    if found > budget:
        worst = np.unravel_index(np.abs(got.astype(np.float64) - want).argmax(), got.shape)
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
    """The first tensor in order that is beyond its budget, and by how many times; None when all agree."""
    for name, reference in want.items():
        times = drift(got[name], reference) / budget(name)
        if times > 1:
            return name, times
    return None
