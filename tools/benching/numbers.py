"""Medians, ratios, spreads, and linear fits."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median, minimum and maximum.

    Examples
    --------
    >>> spread([4, 1, 2])
    Spread(median=2, least=1, largest=4)
    """

    median: float
    least: float
    largest: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the ratio of the medians, and the smallest and largest ratio within one round; below 1, ours is faster.

    The ratio of the medians is nearly always, but not necessarily, between the other two.

    Examples
    --------
    >>> ratio([1, 3, 2], [4, 4, 8])
    Spread(median=0.5, least=0.25, largest=0.75)
    """
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Spread(statistics.median(ours) / statistics.median(theirs), min(each), max(each))


class Line(NamedTuple):
    """seconds = fixed + each * operations."""

    fixed: float
    each: float

    def at(self, operations: float) -> float:
        return self.fixed + self.each * operations


def fitted(operations: Sequence[float], seconds: Sequence[float]) -> Line:
    """Fit a line by least squares.

    Examples
    --------
    >>> line = fitted([1, 2, 4], [3, 5, 9])
    >>> round(line.fixed, 9), round(line.each, 9)
    (1.0, 2.0)
    """
    x, y = np.array(operations, dtype=np.float64), np.array(seconds, dtype=np.float64)
    centered = x - x.mean()
    each = float((centered * (y - y.mean())).sum() / (centered * centered).sum())
    return Line(float(y.mean()) - each * float(x.mean()), each)


def growth(operations: Sequence[float], seconds: Sequence[float]) -> dict[str, Any]:
    """Return the fit, and the deviation of each point from it in percent."""
    line = fitted(operations, seconds)
    predicted = [line.at(x) for x in operations]
    return {
        "fixed_seconds": line.fixed,
        "seconds_an_operation": line.each,
        "gflops": 1e-9 / line.each if line.each > 0 else None,
        "fitted_seconds": predicted,
        "percent": [100 * (y - p) / p for y, p in zip(seconds, predicted, strict=True)],
    }
