"""Raw values without a header, NAME.f32 or NAME.bin: little-endian, with the dtype and shape that fit the case's array.

The size in bytes decides. A file of another size is read as one axis, and the report then says which shape is expected.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minibiogpt.files.reading import check_regular
from minibiogpt.golden.candidate.tensor import Tensor, corrupted

ENDINGS = {
    ".f64": ("float64",), ".f32": ("float32",), ".f16": ("float16",), ".bf16": ("bfloat16",),
    ".bin": ("float32", "float64"), ".raw": ("float32", "float64"),
}  # fmt: skip
INTEGERS = {"float32": "int32", "float64": "int64"}  # what values of that size are where the case has integers
STORED = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int64": "<i8", "int32": "<i4"}


def read_raw(path: Path, name: str, expected: tuple[tuple[int, ...], bool] | None) -> Tensor:
    """Return the tensor of a raw file.

    Parameters
    ----------
    expected : the shape of the case's array of this name, and whether it has integers; None if there is none.

    Raises
    ------
    InputError
        If the file's size is no multiple of that of a value.
    """
    check_regular(path)
    size, dtypes = path.stat().st_size, ENDINGS[path.suffix]
    shape, is_integer = expected or ((), False)
    count = math.prod(shape)
    for dtype in dtypes:
        if expected is not None and size == count * np.dtype(STORED[dtype]).itemsize:
            dtype = INTEGERS.get(dtype, dtype) if is_integer else dtype
            note = f"read as raw little-endian {dtype} of the shape {shape}, which has exactly its {size} bytes"
            return _tensor(path, name, dtype, shape, note)
    itemsize = np.dtype(STORED[dtypes[0]]).itemsize
    halves = expected is not None and size == 2 * count and len(dtypes) > 1
    if size % itemsize and not halves:
        raise corrupted(path, name, f"{size} bytes, no multiple of the {itemsize} of a {dtypes[0]}")
    note = f"{size} bytes, read as raw {dtypes[0]}"
    if halves:
        note = f"{size} bytes, two for each value: name the file .f16 or .bf16"
    return _tensor(path, name, dtypes[0], (size // itemsize,), note)


def _tensor(path: Path, name: str, dtype: str, shape: tuple[int, ...], note: str) -> Tensor:
    def raw() -> np.ndarray:
        if not math.prod(shape):
            return np.empty(shape, STORED[dtype])
        return np.asarray(np.memmap(path, STORED[dtype], "r", 0, shape))

    return Tensor(name, dtype, shape, raw, note)
