"""What another implementation computed: safetensors, npz or a folder of npy; its tensors are read one at a time."""

from __future__ import annotations

import io
import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.reading import check_regular
from minibiogpt.files.safetensors import DTYPES, StoredTensor, read_header, widened

FLOATS = ("float64", "float32", "float16", "bfloat16")
NPY, ZIP = b"\x93NUMPY", b"PK"
MOST_HEADER = 10_000  # bytes of one npy header: NumPy's own limit for what it parses
MOST_AXES = 32
CHUNK = 1 << 20
LONGEST = 200  # signs of what others say of a file: some repeat all of it
SPOILT = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError)
SAVE = "save the arrays with safetensors, or numpy.savez"


@dataclass(frozen=True)
class Tensor:
    """One tensor of the candidate; nothing but its header has been read.

    Attributes
    ----------
    name : as the file calls it.
    dtype : "float64", "float32", "float16", "bfloat16", "bool", "int64" and the other integers.
    shape : as the file gives it.
    raw : reads it: the stored numbers, mapped where the file allows, in any byte and memory order; bfloat16, which
        NumPy lacks, as 16-bit patterns. ``numbers`` says what they stand for.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    raw: Callable[[], np.ndarray] = field(repr=False, compare=False)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def numbers(self, block: np.ndarray) -> np.ndarray:
        """A part of ``raw()`` as float64, or as native integers."""
        if self.dtype == "bfloat16":
            block = widened(block, "BF16")
        return block.astype("float64" if self.is_float else block.dtype.newbyteorder("="))


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors that ``path`` holds by their names, in the file's order; they can be read inside the ``with``.

    Raises
    ------
    InputError
        If there is no such file or folder, it is spoilt, or a tensor is no numbers: one line that names both.
    """
    try:
        kind = _kind(path)
        if kind == "folder":
            yield _folder(path)
        elif kind == "zip":
            with _archive(path) as archive:
                yield _members(path, archive)
        else:
            yield _safetensors(path)
    except OSError as error:
        must = f"the candidate {path} must be readable"
        raise InputError(must, error.strerror or str(error), "check the path and its permissions") from None


def _kind(path: Path) -> str:
    """Told by what is there, not by the name's ending."""
    try:
        if path.is_dir():
            return "folder"
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(6)
    except FileNotFoundError:
        raise InputError("the candidate must be a file or a folder", f"no {path}", "check the path") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise InputError(f"the candidate {path} must be a file or a folder", error.found, SAVE) from None
        raise InputError("the candidate must be a file or a folder", short_repr(str(path)), "check the path") from None
    if start == NPY:
        must = "a candidate must be safetensors, npz, or a folder of npy"
        raise InputError(must, f"one npy, {path}", "put it into a folder, named NAME.npy, and name the folder")
    return "zip" if start[:2] == ZIP else "safetensors"


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        stored = read_header(path)[1]
    except InputError as error:
        must = f"the candidate {path} must be a whole safetensors or npz file, or a folder of npy"
        raise InputError(must, error.found, f"write it again: {SAVE}") from None
    return {name: _stored(path, name, tensor) for name, tensor in stored.items()}


def _stored(path: Path, name: str, tensor: StoredTensor) -> Tensor:
    if tensor.dtype not in DTYPES:
        raise _no_numbers(path, name, tensor.dtype)
    if len(tensor.shape) > MOST_AXES:
        raise _spoilt(path, name, f"{len(tensor.shape)} axes")
    dtype = "bfloat16" if tensor.dtype == "BF16" else np.dtype(DTYPES[tensor.dtype]).name
    return Tensor(name, dtype, tensor.shape, tensor.mapped)


@dataclass(frozen=True)
class _Header:
    """What an npy header says: the dtype, the shape, the order, and how many bytes the header itself has."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    length: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, raw: np.ndarray) -> np.ndarray:
        """The array that these bytes are."""
        return raw.view(self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


def _folder(path: Path) -> dict[str, Tensor]:
    tensors = {}
    for place, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(file for file in files if file.endswith(".npy")):
            one = Path(place, file)
            name = one.relative_to(path).as_posix().removesuffix(".npy")
            tensors[name] = _npy(one, name)
    if not tensors:
        raise InputError(f"the folder {path} must hold npy files", "none", f"{SAVE}; or numpy.save('NAME.npy', array)")
    return tensors


def _npy(path: Path, name: str) -> Tensor:
    try:
        check_regular(path)
        with path.open("rb") as file:
            header = _header(file, path, name, path.stat().st_size)
    except (OSError, InputError) as error:
        if isinstance(error, InputError) and str(path) in error.must:
            raise
        raise _spoilt(path, name, getattr(error, "strerror", None) or str(error)) from None

    def raw() -> np.ndarray:
        if not header.nbytes:
            return np.empty(header.shape, header.dtype)
        mapped = np.memmap(path, np.uint8, "r", header.length, (header.nbytes,))
        return header.array(np.asarray(mapped))

    return Tensor(name, header.dtype.name, header.shape, raw)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except BROKEN_ZIP as error:
        must = f"the candidate {path} must be a whole npz file"
        raise InputError(must, str(error), f"write it again: {SAVE}") from None
    with archive:
        yield archive


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if not info.filename.endswith(".npy"):
            found = "a pickle of torch.save" if info.filename.endswith(".pkl") else short_repr(info.filename)
            raise InputError(f"the candidate {path} must hold npy files only", found, f"{SAVE}: pickles are not run")
        if name in tensors:
            raise _spoilt(path, name, "two of this name")
        tensors[name] = _member(path, archive, info, name)
    return tensors


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Tensor:
    try:
        with archive.open(info) as file:
            header = _header(file, path, name, info.file_size)
    except BROKEN_ZIP as error:
        if isinstance(error, InputError):
            raise
        raise _spoilt(path, name, str(error)) from None

    def raw() -> np.ndarray:
        try:
            with archive.open(info) as file:
                file.read(header.length)
                return header.array(_filled(file, header.nbytes))
        except BROKEN_ZIP as error:
            raise _spoilt(path, name, str(error)) from None

    return Tensor(name, header.dtype.name, header.shape, raw)


def _filled(file: IO[bytes], size: int) -> np.ndarray:
    """So many bytes, in chunks; the zip's own sum is checked at the end of them."""
    raw, at = np.empty(size, np.uint8), 0
    while chunk := file.read(CHUNK):
        raw[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
        at += len(chunk)
    if at < size:
        raise ValueError(f"{at} bytes of the {size} its header says")
    return raw


def _header(file: IO[bytes], path: Path, name: str, size: int) -> _Header:
    """Read and check an npy header; ``size`` is what the whole npy file has, header and numbers."""
    try:
        header = _parsed(file)
    except SPOILT as error:
        raise _spoilt(path, name, str(error)) from None
    if header.dtype.hasobject:
        raise _no_numbers(path, name, "Python objects, a pickle")
    if header.dtype.kind not in "fiub" or (header.dtype.name not in (*FLOATS, "bool") and header.dtype.kind == "f"):
        raise _no_numbers(path, name, f"dtype {header.dtype.str}")
    if size - header.length != header.nbytes:
        found = f"{size - header.length} bytes of numbers where its header says {header.nbytes}"
        raise _spoilt(path, name, found)
    return header


def _parsed(file: IO[bytes]) -> _Header:
    start = file.read(8)
    if start[:6] != NPY or len(start) < 8:
        raise ValueError("no npy header")
    if start[6] not in (1, 2):
        raise ValueError(f"npy version {start[6]}, where numbers need 1 or 2")
    told = file.read(2 * start[6])
    length = int.from_bytes(told, "little")
    if length > MOST_HEADER:
        raise ValueError(f"a header of {length} bytes, more than {MOST_HEADER}")
    text = io.BytesIO(told + file.read(length))
    read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers that Python 2 wrote
        shape, fortran, dtype = read(text)
    if len(shape) > MOST_AXES or any(n < 0 for n in shape):
        raise ValueError(f"the shape {short_repr(shape)}")
    return _Header(dtype, tuple(int(n) for n in shape), fortran, len(start) + len(told) + length)


def _spoilt(path: Path, name: str, found: str) -> InputError:
    told = found if len(found) <= LONGEST else f"{found[:LONGEST]} ..."
    return InputError(f"{short_repr(name)} in {path} must be a whole array", told or "none", f"write it again: {SAVE}")


def _no_numbers(path: Path, name: str, found: str) -> InputError:
    must = f"{short_repr(name)} in {path} must be floats or integers"
    return InputError(must, found, "save it as float64, float32 or int64 (bfloat16: in safetensors), or leave it away")
