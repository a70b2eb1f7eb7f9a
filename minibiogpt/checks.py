"""Checks of numbers from a caller or a file, shared by the whole package."""

from __future__ import annotations

import math
import numbers
import os
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer, Python's or NumPy's; a bool is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_finite_number(value: Any) -> bool:
    """Whether ``value`` is a finite real number that fits a float; a bool is not."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def plain(value: Any) -> Any:
    """Return an array, a tensor or a column of a table as a list or a number, also inside lists and tuples.

    Examples
    --------
    >>> import numpy as np
    >>> plain([np.array([[2, 5]]), np.int64(7), "text"])
    [[[2, 5]], 7, 'text']
    """
    try:
        return _plain(value)
    except RecursionError:
        must, remedy = "lists must be nested at most a few levels deep", "pass a row of numbers, or a list of rows"
        raise InputError(must, "hundreds of levels", remedy) from None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def plain_row(value: Any) -> Any:
    """Return ``plain(value)``; an array (1, n), such as the input_ids of one text, as a list of n.

    Examples
    --------
    >>> import numpy as np
    >>> plain_row(np.array([[2, 5]])), plain_row([[2, 5]])
    ([2, 5], [[2, 5]])
    """
    found = plain(value)
    one = found is not value and isinstance(found, list) and not isinstance(value, list) and len(found) == 1
    return found[0] if one and isinstance(found[0], list) else found


def checked_folder(name: str, folder: Any) -> Path:
    """Return the path of a folder to write to; it need not exist."""
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise InputError(f"{name} must be the path of a folder", short_repr(folder), 'pass a path such as "my-model"')
    return Path(folder)


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int in [low, high], or raise an InputError that names it."""
    if not is_integer(value) or value < low or (high is not None and value > high):
        bounds = f"{low} or more" if high is None else f"{low} to {high}"
        raise InputError(f"{name} must be an integer, {bounds}", short_repr(value), f"correct {name}")
    return int(value)
