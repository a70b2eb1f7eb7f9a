"""One tensor of a candidate, and the errors for tensors that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.safetensors import widened

FLOATS = ("float64", "float32", "float16", "bfloat16")
NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' names of FLOATS
MAX_AXES = 32
MAX_ARRAYS = 50_000  # of one candidate; BioGPT-Large has about a thousand per call
MAX_MESSAGE = 200  # characters of another library's error message: some repeat the whole file
SAVE = "save the arrays with safetensors, or numpy.savez"


@dataclass(frozen=True)
class Tensor:
    """One tensor of the candidate. Only its header has been read.

    Attributes
    ----------
    name : its name in the file.
    dtype : "float64", "float32", "float16", "bfloat16", "bool", "int64" or another integer dtype.
    shape : its shape in the file.
    raw : function that returns the stored values, memory-mapped if the file allows, in any byte and memory order;
        bfloat16, which NumPy lacks, as 16-bit patterns. ``decode`` converts them.
    note : how it was read, if the file doesn't say.
    digits : the most significant digits that its numbers are written with, if there are few; else None.
    precision : that of the file's values, if ``raw`` converts them to another dtype; else "".
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    raw: Callable[[], np.ndarray] = field(repr=False, compare=False)
    note: str = ""
    digits: int | None = None
    precision: str = ""

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def as_written(self) -> Tensor:
        """Return integers of JSON as floats: many languages write the number 1.0 as 1."""
        if self.digits is None or self.is_float:
            return self
        return replace(self, dtype="float64", raw=lambda: self.raw().astype(np.float64))

    def decode(self, block: np.ndarray) -> np.ndarray:
        """Return a block of ``raw()`` as float64, or as native integers."""
        if self.dtype == "bfloat16":
            block = widened(block, "BF16")
        with np.errstate(all="ignore"):  # a signaling NaN is a NaN
            return block.astype("float64" if self.is_float else block.dtype.newbyteorder("="))


def in_memory(name: str, x: np.ndarray, *, bfloat16: bool = False, note: str = "", digits: int | None = None) -> Tensor:
    """Return the tensor of an array; with ``bfloat16``, its values are the bit patterns."""
    return Tensor(name, "bfloat16" if bfloat16 else x.dtype.name, x.shape, lambda: x, note, digits)


def check_count(path: Path, count: int) -> None:
    """Check that a candidate has no more arrays than ``MAX_ARRAYS``."""
    if count > MAX_ARRAYS:
        must = f"the candidate {path} must have at most {MAX_ARRAYS} arrays"
        raise InputError(must, str(count), "leave out those that no case has")


def corrupted(path: Path, name: str, found: str) -> InputError:
    shortened = found if len(found) <= MAX_MESSAGE else f"{found[:MAX_MESSAGE]} ..."
    must = f"{short_repr(name)} in {path} must be a complete array"
    return InputError(must, shortened or "none", f"write it again: {SAVE}")


def not_numeric(path: Path, name: str, found: str) -> InputError:
    must = f"{short_repr(name)} in {path} must be floats or integers"
    return InputError(must, found, "save it as float64, float32 or int64 (bfloat16: in safetensors), or leave it out")
