"""NumPy's files: a single npy, and the npz archive of several. Headers are parsed here, values are read on request."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.reading import check_regular
from minibiogpt.golden.candidate.tensor import (
    FLOATS,
    MAX_AXES,
    SAVE,
    Tensor,
    check_count,
    corrupted,
    not_numeric,
)

NPY = b"\x93NUMPY"
LITTER = "__MACOSX/"  # what macOS adds to an archive
MAX_HEADER = 10_000  # bytes of an npy header: NumPy's own limit
CHUNK = 1 << 20
HEADER_ERRORS = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError)


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


def read_npy(path: Path, name: str) -> Tensor:
    try:
        check_regular(path)
        with path.open("rb") as file:
            header = _header(file, path, name, path.stat().st_size)
    except (OSError, InputError) as error:
        if isinstance(error, InputError) and str(path) in error.must:
            raise
        raise corrupted(path, name, getattr(error, "strerror", None) or str(error)) from None

    def raw() -> np.ndarray:
        if not header.nbytes:
            return np.empty(header.shape, header.dtype)
        mapped = np.memmap(path, np.uint8, "r", header.length, (header.nbytes,))
        return header.array(np.asarray(mapped))

    return Tensor(name, header.dtype.name, header.shape, raw)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        must = f"the candidate {path} must be a complete npz file"
        raise InputError(must, str(error), f"write it again: {SAVE}") from None
    with archive:
        yield archive


def members_of(path: Path, archive: zipfile.ZipFile) -> dict[str, Tensor]:
    check_count(path, len(archive.infolist()))
    tensors: dict[str, Tensor] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if info.is_dir() or info.filename.startswith(LITTER):  # which zip tools add
            continue
        if not info.filename.endswith(".npy") and not _is_npy(archive, info):
            found = "a pickle of torch.save" if info.filename.endswith(".pkl") else short_repr(info.filename)
            raise InputError(f"the candidate {path} must contain only npy files", found, f"{SAVE}: pickles are not run")
        if name in tensors:
            raise corrupted(path, name, "two arrays of this name")
        tensors[name] = _member(path, archive, info, name)
    return tensors


def _is_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Whether a member without the ending is an npy file, as other languages' libraries write them."""
    try:
        with archive.open(info) as file:
            return file.read(len(NPY)) == NPY
    except ZIP_ERRORS:
        return False


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Tensor:
    try:
        with archive.open(info) as file:
            header = _header(file, path, name, info.file_size)
    except ZIP_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise corrupted(path, name, str(error)) from None

    def raw() -> np.ndarray:
        try:
            with ExitStack() as stack:
                opened = archive if archive.fp is not None else stack.enter_context(zipfile.ZipFile(path))
                file = stack.enter_context(opened.open(info))
                file.read(header.length)
                return header.array(_read_bytes(file, header.nbytes))
        except ZIP_ERRORS as error:
            raise corrupted(path, name, str(error)) from None

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
        raise corrupted(path, name, str(error)) from None
    if header.dtype.hasobject:
        raise not_numeric(path, name, "Python objects, a pickle")
    if header.dtype.kind not in "fiub" or (header.dtype.name not in (*FLOATS, "bool") and header.dtype.kind == "f"):
        raise not_numeric(path, name, f"dtype {header.dtype.str}")
    if size - header.length != header.nbytes:
        found = f"{size - header.length} bytes of values where its header declares {header.nbytes}"
        raise corrupted(path, name, found)
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
