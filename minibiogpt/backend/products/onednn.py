"""Intel's oneDNN, which multiplies int8 and bfloat16 fast on AMD's processors, too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend.processor import this_processor
from minibiogpt.backend.products.libraries import (
    BYTE,
    FLOAT,
    POINTER,
    LibraryProduct,
    find_libraries,
    installed_folders,
    place,
    sums_exactly,
    with_contiguous_rows,
)
from minibiogpt.backend.products.primitives import BFLOAT16, FLOAT32, INT8, Primitives, Shape, bits_of_bfloat16
from minibiogpt.errors import InputError

NAMES = ("libdnnl.so*", "libdnnl*.dylib", "dnnl*.dll")
# What computes in a build of the library: one thread, OpenMP, or threads that the caller would have to give. Builds
# for TBB or SYCL start threads of their own, which their C interface can't prevent.
QUIET = {1: "one thread", 2: "OpenMP", 8: "threadpool"}
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}  # instructions that sum four products of uint8 and int8 in int32


class Version(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("major", "minor", "patch")),
        ("hash", ctypes.c_char_p),
        ("runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    )


class Ordered(NamedTuple):
    """A weight (N, K), int8, in oneDNN's own order."""

    shape: tuple[int, ...]
    data: np.ndarray


class OneDnnProduct(LibraryProduct):
    """oneDNN of the package onednn-cpu-gomp, or another build: float32 of many rows, bfloat16 and int8.

    It has no float64, and is no faster than NumPy with up to 48 rows in float32: both are left to NumPy.

    Attributes
    ----------
    bfloat16 : whether the processor multiplies bfloat16: AVX512-BF16 (Intel's and AMD's) or AMX.
    fast_integers : whether it has instructions for uint8 times int8, and sums without saturation, which is tried.
    """

    name = "onednn"
    install = "pip install onednn-cpu-gomp"
    own_rows = 49

    def __init__(self) -> None:
        path = next(find_onednn(), None)
        if path is None:
            raise InputError("product onednn needs the package onednn-cpu-gomp", "no library libdnnl", self.install)
        flags = this_processor().flags
        self.bfloat16 = bool({"avx512_bf16", "amx_bf16"} & flags)
        super().__init__(path, f"{self.install} --force-reinstall")
        self.fast_integers = bool(VNNI & flags) and sums_exactly(self._multiply_integers)

    def prepare(self) -> None:
        """Find the functions, and those of OpenMP that set the number of a thread's own threads."""
        self.library.dnnl_version.restype = ctypes.POINTER(Version)
        self.version = self.library.dnnl_version().contents
        if self.version.runtime not in QUIET:
            raise InputError(
                f"{self.path.name} must compute on the thread that calls it (a build for OpenMP)",
                "a build for TBB or SYCL",
                self.remedy,
            )
        short = ctypes.PyDLL(str(self.path))
        self.threads = getattr(short, "omp_get_max_threads", lambda: 1)
        self.set_threads = getattr(short, "omp_set_num_threads", lambda threads: None)
        self.integers = self.library.dnnl_gemm_u8s8s32
        size = ctypes.c_int64
        operands: list[Any] = [POINTER, size, ctypes.c_ubyte, POINTER, size, BYTE, FLOAT, POINTER, size, POINTER]
        self.integers.argtypes = [*[ctypes.c_char] * 3, *[size] * 3, FLOAT, *operands]
        self.primitives = Primitives(self.path, self.remedy)

    def find_products(self) -> dict[Any, Any]:
        return {np.dtype("f4"): FLOAT32}

    def check(self) -> None:
        super().check()
        a = np.arange(12, dtype=np.float32).reshape(3, 4)
        for M in (1, 3) if self.bfloat16 else ():
            out = np.empty((M, 2), np.float32)
            self.multiply_bfloat16(bits_of_bfloat16(a[:M]), bits_of_bfloat16(a[:2]), out)
            if not np.array_equal(out, a[:M] @ a[:2].T):
                raise InputError(f"{self.path.name} must multiply bfloat16", "a wrong product", self.remedy)

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Context manager in which oneDNN computes on the calling thread alone; other threads' OpenMP is untouched."""
        before = self.threads()
        self.set_threads(1)
        try:
            yield
        finally:
            self.set_threads(before)

    def call(self, gemm: Any, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Multiply matrices of the data type ``gemm``."""
        rows, weight = with_contiguous_rows(rows), with_contiguous_rows(weight)
        (M, K), N = rows.shape, len(weight)
        addresses, steps = zip(place(rows), place(weight), place(out), strict=True)
        with self.one_thread():
            self.primitives.multiply(Shape(gemm, M, N, K, *steps), *addresses)

    def multiply_bfloat16(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        if out.size:
            self.call(BFLOAT16, rows, weight, out)

    def multiply_integers(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        if self.fast_integers and out.size:
            self._multiply_integers(rows, weight, out)
        else:
            super().multiply_integers(rows, weight, out)

    def _multiply_integers(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        rows, weight = with_contiguous_rows(rows), with_contiguous_rows(weight)
        (M, K), N, zero = rows.shape, len(weight), ctypes.c_int32(0)
        operands = *place(rows), 0, *place(weight), 0, 0.0, *place(out), ctypes.addressof(zero)
        with self.one_thread():
            self.primitives.require(self.integers(b"N", b"T", b"F", M, N, K, 1.0, *operands))

    def order_integers(self, weight: np.ndarray) -> Ordered | np.ndarray:
        """Return a weight (N, K), int8, in the order that oneDNN chooses. It takes as many bytes as before."""
        if not self.fast_integers or not weight.size:
            return weight
        weight = np.ascontiguousarray(weight)
        with self.one_thread():
            return Ordered(weight.shape, self.primitives.layout(*weight.shape).pack(weight))

    def restore_integers(self, ordered: Ordered | np.ndarray) -> np.ndarray:
        if isinstance(ordered, np.ndarray):
            return ordered
        weight = np.empty(ordered.shape, np.int8)
        with self.one_thread():
            self.primitives.layout(*ordered.shape).unpack(ordered.data, weight)
        return weight

    def multiply_ordered(self, rows: np.ndarray, ordered: Ordered | np.ndarray, out: np.ndarray) -> None:
        if isinstance(ordered, np.ndarray):
            self.multiply_integers(rows, ordered, out)
        elif out.size:
            rows, (N, K) = with_contiguous_rows(rows), ordered.shape
            (row_at, row_step), (out_at, out_step) = place(rows), place(out)
            shape = Shape(INT8, len(rows), N, K, row_step, K, out_step)
            with self.one_thread():
                self.primitives.multiply(shape, row_at, ordered.data.ctypes.data, out_at)

    def describe(self) -> dict[str, Any]:
        version = self.version
        name = f"onednn {version.major}.{version.minor}.{version.patch}"
        return {"library": name, "path": str(self.path)}


def find_onednn() -> Iterator[Path]:
    """Yield the paths of oneDNN's library: of DNNLROOT or ONEDNNROOT, of a package (pip or conda)."""
    folders: list[Path] = []
    for variable in ("DNNLROOT", "ONEDNNROOT"):
        with suppress(KeyError):
            folders += [Path(os.environ[variable]) / sub for sub in ("lib", "lib64", "bin")]
    yield from find_libraries(folders + installed_folders(), NAMES)
