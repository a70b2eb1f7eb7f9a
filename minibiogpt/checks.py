"""Questions about numbers that a caller or a file hands over, asked in the same way everywhere."""

from __future__ import annotations

import math
import numbers
from typing import Any

from minibiogpt.errors import InputError


def is_integer(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_finite_number(value: Any) -> bool:
    """Whether it is a number that a float can hold, and finite."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """A whole number in [low, high], or an InputError that names it."""
    if not is_integer(value) or value < low or (high is not None and value > high):
        rule = f"{low} or more" if high is None else f"{low} to {high}"
        raise InputError(f"{name} must be a whole number, {rule}", repr(value), f"correct {name}")
    return int(value)
