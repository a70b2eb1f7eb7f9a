"""Dicts, lists and tuples of arrays or numbers, as pickles and JSON hold them, as tensors with names.

A dict's key and a list's index become parts of the name: ``hidden_states[0]``, ``past_key_values[0][1]``. What is no
array, such as a text, is ignored and said: under the name of an array it would look like one that was compared.
"""

from __future__ import annotations

import math
import re
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
SIZES, VALUES, KINDS = ("shape", "dims"), ("data", "cpuData", "values"), ("dtype", "type")  # of described arrays
SHORT = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i64": "int64", "i32": "int32"}
LISTED = ("hidden_states", "attentions", "past_key_values")  # outputs that are tuples: a file may hold one of them
INDICES = re.compile(r"(\[\d+\])+$")
NULL_NOTE = "null is read as NaN, though JavaScript also writes it for infinities: write a masked score as -1e30"
FLOAT32_DIGITS = 9  # significant digits that every float32 number needs at most
MAX_DIGITS_READ = 1000  # values whose digits are counted
Leaf = Callable[[str, Any], Tensor | str | None]


class Nested:
    """Finds the tensors of one file.

    Parameters
    ----------
    leaf : function (name, value) that returns the tensor of a value that is no dict, list or number; or what it is
        instead, "text"; or None if it is nothing.
    number_note : the note of tensors made from numbers written out, whose precision the file doesn't say.
    from_json : whether the numbers were written out by any language, JavaScript for example: null is NaN, an object
        with the keys "0", "1", ... is a typed array, and numbers may have few digits.

    Attributes
    ----------
    ignored : {name: what it is} of the values that are no arrays.
    """

    def __init__(self, path: Path, leaf: Leaf, number_note: str = "", *, from_json: bool = False) -> None:
        self.path, self.leaf, self.number_note, self.work = path, leaf, number_note, 0
        self.from_json, self.has_null, self.ignored = from_json, False, dict[str, str]()

    def tensors(self, value: Any, name: str) -> dict[str, Tensor]:
        """Return {name: tensor} of all arrays in the value; ``name`` is that of the value itself.

        Raises
        ------
        InputError
            If a list of numbers is not rectangular, or there is too much of anything.
        """
        found: dict[str, Tensor] = {}
        prefix = name if name in LISTED and isinstance(value, list | tuple) else ""
        for tensor in self._tensors(value, prefix, name, 0):
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
        if isinstance(tensor, Tensor):
            yield tensor
        elif tensor is not None:
            self.ignored.setdefault(INDICES.sub("", name or alone) or name, tensor)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._tensors(item, _joined(name, str(key)), alone, depth + 1)
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                yield from self._tensors(item, f"{name}[{i}]", alone, depth + 1)

    def _tensor(self, value: Any, name: str) -> Tensor | str | None:
        if isinstance(value, dict) and not (self.from_json and _is_typed_array(value)):
            sizes, values, kind = (next((key for key in keys if key in value), "") for keys in (SIZES, VALUES, KINDS))
            described = sizes and values if self.from_json else {"shape", "data"} <= set(value)
            return self._described(value[sizes], value[values], value.get(kind), name) if described else None
        if isinstance(value, dict | list | tuple | int | float) and not isinstance(value, bool):
            x = self._numbers(value, name)
            if x is None:
                nothing = self.from_json and isinstance(value, list) and value and set(map(type, value)) == {type(None)}
                return "only null" if nothing else None
            return in_memory(name, x, note=self._note(), digits=self._digits(x))
        return "text" if isinstance(value, str) else self.leaf(name, value)

    def _note(self, stated: bool = False) -> str:
        """Return the note of the array whose numbers were read last. ``stated``: whether its dtype is."""
        return "; ".join(filter(None, ("" if stated else self.number_note, NULL_NOTE if self.has_null else "")))

    def _digits(self, x: np.ndarray) -> int | None:
        """Return how many significant digits the numbers of JSON have if float32 needs no more, or else None."""
        if not self.from_json:
            return None
        read = x[np.isfinite(x)].reshape(-1)[:MAX_DIGITS_READ].astype(np.float64).tolist()
        if any(float(f"{value:.{FLOAT32_DIGITS}g}") != value for value in read):
            return None
        return max((_digits_of(value) for value in read), default=None)

    def _described(self, shape: Any, data: Any, dtype: Any, name: str) -> Tensor:
        """Return the tensor of {"shape": [2, 3], "data": [...], "dtype": "float32"}; the dtype may be absent."""
        x = self._numbers(data, name, all_null=True)
        dtype = SHORT.get(dtype.lower(), dtype) if isinstance(dtype, str) and self.from_json else dtype
        whole = isinstance(shape, list | tuple) and all(is_integer(n) and 0 <= n < 1 << 40 for n in shape)
        if not whole or len(shape) > MAX_AXES:
            raise corrupted(self.path, name, "a shape that is no list of sizes")
        x = np.empty(0) if x is None and isinstance(data, list | tuple | dict) and not data else x
        if x is None or x.size != math.prod(shape):
            found = "no" if x is None else str(x.size)
            raise corrupted(self.path, name, f"{found} numbers for the shape {tuple(shape)}")
        x = x.reshape(shape)
        if dtype is None:
            return in_memory(name, x, note=self._note(), digits=self._digits(x))
        if not isinstance(dtype, str) or (dtype not in FLOATS and dtype not in NUMBERS):
            raise not_numeric(self.path, name, f"dtype {str(dtype)[:80]!a}")
        with np.errstate(all="ignore"):  # whatever the caller's is
            if dtype == "bfloat16":
                bits = convert_dtype(x.astype(np.float32), "F32", "BF16")
                return in_memory(name, bits, bfloat16=True, note=self._note(stated=True))
            return in_memory(name, x.astype(dtype), note=self._note(stated=True))

    def _numbers(self, value: Any, name: str, all_null: bool = False) -> np.ndarray | None:
        """Return the array of a number, or of a list of lists of numbers; None if it has other things or none.

        In JSON, null is NaN beside numbers, in lists of lists, and with ``all_null``.
        """
        level, shape = [self._plain(value)], list[int]()
        while level and all(isinstance(x, list | tuple) for x in level):
            sizes = {len(x) for x in level}
            self._count(sum(map(len, level)), name)
            level = [self._plain(item) for x in level for item in x]
            if len(sizes) > 1:
                if level and _is_number(level[0]):
                    raise corrupted(self.path, name, f"lists of {min(sizes)} and of {max(sizes)} in one array")
                return None
            shape += sizes
            if len(shape) > MAX_AXES:
                return None
        self.has_null = self.from_json and any(x is None for x in level)
        if self.has_null and (all_null or len(shape) > 1 or any(map(_is_number, level))):
            level = [math.nan if x is None else x for x in level]
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

    def _plain(self, value: Any) -> Any:
        """Return a typed array of JavaScript as a list."""
        return list(value.values()) if self.from_json and isinstance(value, dict) and _is_typed_array(value) else value

    def _count(self, work: int, name: str) -> None:
        self.work += work
        if self.work > MAX_WORK:
            raise corrupted(self.path, name, f"more than {MAX_WORK} values in lists")


def _joined(name: str, key: str) -> str:
    """Return the name of an entry of a dict. The prefix of a step ends with a slash."""
    return f"{name}{'/' if name.startswith('step.') and name.count('.') == 1 else '.'}{key}" if name else key


def _is_typed_array(value: dict[Any, Any]) -> bool:
    """Whether an object of JSON is what JavaScript writes for a typed array: {"0": 1.5, "1": null, "2": 2}."""
    if "0" not in value or not all(x is None or _is_number(x) for x in value.values()):
        return False
    return all(key == str(i) for i, key in enumerate(value))


def _digits_of(value: float) -> int:
    """Return the number of significant digits that the shortest text of a number has.

    Examples
    --------
    >>> _digits_of(0.0120), _digits_of(1.25e-7), _digits_of(2000.0)
    (2, 3, 1)
    """
    return len(repr(value).lstrip("-").partition("e")[0].replace(".", "").strip("0")) or 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
