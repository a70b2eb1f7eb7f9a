"""Dicts, lists and tuples of arrays or numbers, as pickles and JSON hold them, as tensors with names.

A dict's key and a list's index become parts of the name: ``hidden_states[0]``, ``past_key_values[0][1]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.files.safetensors import DTYPES, convert_dtype
from minibiogpt.golden.candidate.tensor import (
    FLOATS,
    MAX_AXES,
    Tensor,
    check_count,
    corrupted,
    in_memory,
    not_numeric,
)

MAX_WORK = 1 << 25  # values looked at: a pickle may hold one list in itself many times
MAX_DEPTH = 20  # levels of dicts and lists
NUMBERS = {np.dtype(dtype).name for name, dtype in DTYPES.items() if name != "BF16"}
Leaf = Callable[[str, Any], Tensor | None]


class Nested:
    """Finds the tensors of one file.

    Parameters
    ----------
    leaf : function (name, value) that returns the tensor of a value that is no dict, list or number, or None.
    number_note : the note of tensors made from numbers written out, whose precision the file doesn't say.
    """

    def __init__(self, path: Path, leaf: Leaf, number_note: str = "") -> None:
        self.path, self.leaf, self.number_note, self.work = path, leaf, number_note, 0

    def tensors(self, value: Any, name: str) -> dict[str, Tensor]:
        """Return {name: tensor} of all arrays in the value; ``name`` is that of the value itself.

        Raises
        ------
        InputError
            If a list of numbers is not rectangular, or there is too much of anything.
        """
        found: dict[str, Tensor] = {}
        for tensor in self._tensors(value, "", name, 0):
            if tensor.name in found:
                raise corrupted(self.path, tensor.name, "two arrays of this name")
            found[tensor.name] = tensor
            check_count(self.path, len(found))
        return found

    def _tensors(self, value: Any, name: str, alone: str, depth: int) -> Iterator[Tensor]:
        """Yield the tensors of a value called ``name``, or ``alone`` if it has no name because it is the whole file."""
        self._count(1, name or alone)
        if depth > MAX_DEPTH:
            raise corrupted(self.path, name, f"more than {MAX_DEPTH} levels of dicts and lists")
        tensor = self._tensor(value, name or alone)
        if tensor is not None:
            yield tensor
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._tensors(item, _joined(name, str(key)), alone, depth + 1)
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                yield from self._tensors(item, f"{name}[{i}]", alone, depth + 1)

    def _tensor(self, value: Any, name: str) -> Tensor | None:
        if isinstance(value, dict):
            return self._described(value, name) if {"shape", "data"} <= set(value) else None
        if isinstance(value, list | tuple | int | float) and not isinstance(value, bool):
            x = self._numbers(value, name)
            return None if x is None else in_memory(name, x, note=self.number_note)
        return self.leaf(name, value)

    def _described(self, value: dict[Any, Any], name: str) -> Tensor:
        """Return the tensor of {"shape": [2, 3], "data": [...], "dtype": "float32"}; the dtype may be absent."""
        shape, dtype, x = value["shape"], value.get("dtype"), self._numbers(value["data"], name)
        whole = isinstance(shape, list | tuple) and all(is_integer(n) and 0 <= n < 1 << 40 for n in shape)
        if not whole or len(shape) > MAX_AXES:
            raise corrupted(self.path, name, "a shape that is no list of sizes")
        x = np.empty(0) if x is None and value["data"] in ([], ()) else x
        if x is None or x.size != math.prod(shape):
            found = "no" if x is None else str(x.size)
            raise corrupted(self.path, name, f"{found} numbers for the shape {tuple(shape)}")
        x = x.reshape(shape)
        if dtype is None:
            return in_memory(name, x, note=self.number_note)
        if dtype not in FLOATS and dtype not in NUMBERS:
            raise not_numeric(self.path, name, f"dtype {str(dtype)[:80]!a}")
        with np.errstate(over="ignore", invalid="ignore"):
            if dtype == "bfloat16":
                return in_memory(name, convert_dtype(x.astype(np.float32), "F32", "BF16"), bfloat16=True)
            return in_memory(name, x.astype(dtype))

    def _numbers(self, value: Any, name: str) -> np.ndarray | None:
        """Return the array of a number, or of a list of lists of numbers; None if it has other things or none."""
        level, shape = [value], list[int]()
        while level and all(isinstance(x, list | tuple) for x in level):
            sizes = {len(x) for x in level}
            self._count(sum(map(len, level)), name)
            level = [item for x in level for item in x]
            if len(sizes) > 1:
                if level and _is_number(level[0]):
                    raise corrupted(self.path, name, f"lists of {min(sizes)} and of {max(sizes)} in one array")
                return None
            shape += sizes
            if len(shape) > MAX_AXES:
                return None
        if not level or not all(map(_is_number, level)):
            return None
        try:
            x = np.array(level, np.float64 if any(isinstance(x, float) for x in level) else np.int64)
        except OverflowError:  # an integer of more than 64 bits
            try:
                x = np.array(level, np.float64)
            except OverflowError:
                raise corrupted(self.path, name, "a number that float64 cannot represent") from None
        return x.reshape(shape)

    def _count(self, work: int, name: str) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise corrupted(self.path, name, f"more than {MAX_WORK} values in lists")


def _joined(name: str, key: str) -> str:
    """Return the name of an entry of a dict. The prefix of a step ends with a slash."""
    return f"{name}{'/' if name.startswith('step.') and name.count('.') == 1 else '.'}{key}" if name else key


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
