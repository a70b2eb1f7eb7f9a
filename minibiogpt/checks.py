"""Checks of numbers from a caller or a file, shared by the whole package."""

from __future__ import annotations

import math
import numbers
from typing import Any

from minibiogpt.errors import InputError


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer, Python's or NumPy's; a bool is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_finite_number(value: Any) -> bool:
    """Whether ``value`` is a finite real number that fits a float; a bool is not."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int in [low, high], or raise an InputError that names it."""
    if not is_integer(value) or value < low or (high is not None and value > high):
        bounds = f"{low} or more" if high is None else f"{low} to {high}"
        raise InputError(f"{name} must be an integer, {bounds}", repr(value), f"correct {name}")
    return int(value)
