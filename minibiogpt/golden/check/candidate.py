"""Read a candidate, another implementation's arrays, from safetensors, npz or a folder of npy, tensor by tensor."""

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
MAX_HEADER = 10_000  # bytes of an npy header: NumPy's own limit
MAX_AXES = 32
CHUNK = 1 << 20
MAX_MESSAGE = 200  # characters of another library's error message: some repeat the whole file
HEADER_ERRORS = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError)
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
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    raw: Callable[[], np.ndarray] = field(repr=False, compare=False)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def decode(self, block: np.ndarray) -> np.ndarray:
        """Return a block of ``raw()`` as float64, or as native integers."""
        if self.dtype == "bfloat16":
            block = widened(block, "BF16")
        return block.astype("float64" if self.is_float else block.dtype.newbyteorder("="))


@contextmanager
def open_candidate(path: Path) -> Iterator[dict[str, Tensor]]:
    """Yield {name: tensor} of the file or folder, in its order. The tensors can be read inside the ``with`` block.

    Raises
    ------
    InputError
        If there is no such file or folder, it is corrupted, or a tensor is not numeric. The message names the file and
        the tensor.
    """
    try:
        kind = _file_kind(path)
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


def _file_kind(path: Path) -> str:
    """Return "folder", "zip" or "safetensors", from the content and not the file extension."""
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
        raise InputError(must, f"a single npy, {path}", "put it into a folder as NAME.npy, and pass the folder")
    return "zip" if start[:2] == ZIP else "safetensors"


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        stored = read_header(path)[1]
    except InputError as error:
        must = f"the candidate {path} must be a complete safetensors or npz file, or a folder of npy"
        raise InputError(must, error.found, f"write it again: {SAVE}") from None
    return {name: _safetensors_tensor(path, name, tensor) for name, tensor in stored.items()}


def _safetensors_tensor(path: Path, name: str, tensor: StoredTensor) -> Tensor:
    if tensor.dtype not in DTYPES:
        raise _not_numeric(path, name, tensor.dtype)
    if len(tensor.shape) > MAX_AXES:
        raise _corrupted(path, name, f"{len(tensor.shape)} axes")
    dtype = "bfloat16" if tensor.dtype == "BF16" else np.dtype(DTYPES[tensor.dtype]).name
    return Tensor(name, dtype, tensor.shape, tensor.mapped)


@dataclass(frozen=True)
class _Header:
    """A parsed npy header: dtype, shape, whether in Fortran order, and the header's own length in bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    length: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, raw: np.ndarray) -> np.ndarray:
        """Return the array stored in these bytes."""
        return raw.view(self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


def _folder(path: Path) -> dict[str, Tensor]:
    tensors = {}
    for parent, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(file for file in files if file.endswith(".npy")):
            npy = Path(parent, file)
            name = npy.relative_to(path).as_posix().removesuffix(".npy")
            tensors[name] = _npy(npy, name)
    if not tensors:
        must = f"the folder {path} must contain npy files"
        raise InputError(must, "none", f"{SAVE}; or numpy.save('NAME.npy', array)")
    return tensors


def _npy(path: Path, name: str) -> Tensor:
    try:
        check_regular(path)
        with path.open("rb") as file:
            header = _header(file, path, name, path.stat().st_size)
    except (OSError, InputError) as error:
        if isinstance(error, InputError) and str(path) in error.must:
            raise
        raise _corrupted(path, name, getattr(error, "strerror", None) or str(error)) from None

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
    except ZIP_ERRORS as error:
        must = f"the candidate {path} must be a complete npz file"
        raise InputError(must, str(error), f"write it again: {SAVE}") from None
    with archive:
        yield archive


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if not info.filename.endswith(".npy"):
            found = "a pickle of torch.save" if info.filename.endswith(".pkl") else short_repr(info.filename)
            raise InputError(f"the candidate {path} must contain only npy files", found, f"{SAVE}: pickles are not run")
        if name in tensors:
            raise _corrupted(path, name, "two arrays of this name")
        tensors[name] = _member(path, archive, info, name)
    return tensors


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Tensor:
    try:
        with archive.open(info) as file:
            header = _header(file, path, name, info.file_size)
    except ZIP_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise _corrupted(path, name, str(error)) from None

    def raw() -> np.ndarray:
        try:
            with archive.open(info) as file:
                file.read(header.length)
                return header.array(_read_bytes(file, header.nbytes))
        except ZIP_ERRORS as error:
            raise _corrupted(path, name, str(error)) from None

    return Tensor(name, header.dtype.name, header.shape, raw)


def _read_bytes(file: IO[bytes], size: int) -> np.ndarray:
    """Read ``size`` bytes in chunks, up to the end of the file, where zipfile verifies the CRC."""
    raw, at = np.empty(size, np.uint8), 0
    while chunk := file.read(CHUNK):
        raw[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
        at += len(chunk)
    if at < size:
        raise ValueError(f"{at} bytes instead of the {size} its header declares")
    return raw


def _header(file: IO[bytes], path: Path, name: str, size: int) -> _Header:
    """Read and check an npy header. ``size``: bytes of the whole npy file, header and values."""
    try:
        header = _parsed_header(file)
    except HEADER_ERRORS as error:
        raise _corrupted(path, name, str(error)) from None
    if header.dtype.hasobject:
        raise _not_numeric(path, name, "Python objects, a pickle")
    if header.dtype.kind not in "fiub" or (header.dtype.name not in (*FLOATS, "bool") and header.dtype.kind == "f"):
        raise _not_numeric(path, name, f"dtype {header.dtype.str}")
    if size - header.length != header.nbytes:
        found = f"{size - header.length} bytes of values where its header declares {header.nbytes}"
        raise _corrupted(path, name, found)
    return header


def _parsed_header(file: IO[bytes]) -> _Header:
    start = file.read(8)
    if start[:6] != NPY or len(start) < 8:
        raise ValueError("no npy header")
    if start[6] not in (1, 2):
        raise ValueError(f"npy version {start[6]}, not 1 or 2")
    length_field = file.read(2 * start[6])
    length = int.from_bytes(length_field, "little")
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length} bytes, more than {MAX_HEADER}")
    text = io.BytesIO(length_field + file.read(length))
    read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers written by Python 2
        shape, fortran, dtype = read(text)
    if len(shape) > MAX_AXES or any(n < 0 for n in shape):
        raise ValueError(f"the shape {short_repr(shape)}")
    return _Header(dtype, tuple(int(n) for n in shape), fortran, len(start) + len(length_field) + length)


def _corrupted(path: Path, name: str, found: str) -> InputError:
    shortened = found if len(found) <= MAX_MESSAGE else f"{found[:MAX_MESSAGE]} ..."
    must = f"{short_repr(name)} in {path} must be a complete array"
    return InputError(must, shortened or "none", f"write it again: {SAVE}")


def _not_numeric(path: Path, name: str, found: str) -> InputError:
    must = f"{short_repr(name)} in {path} must be floats or integers"
    return InputError(must, found, "save it as float64, float32 or int64 (bfloat16: in safetensors), or leave it out")
