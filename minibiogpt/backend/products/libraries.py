"""Matrix products called in shared libraries with the C interface of BLAS, by ctypes, on the calling thread alone."""

from __future__ import annotations

import ctypes
import os
import site
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend.processor import this_processor
from minibiogpt.backend.products.base import Product
from minibiogpt.backend.products.numpy import NumpyProduct
from minibiogpt.backend.products.packed import PackedWeight, Weight
from minibiogpt.backend.threads import Workers
from minibiogpt.errors import InputError

ROWS, PLAIN, TRANSPOSED, FIXED_OFFSET = 101, 111, 112, 173  # CBLAS's enumerations
POINTER, FLOAT, DOUBLE, BYTE = ctypes.c_void_p, ctypes.c_float, ctypes.c_double, ctypes.c_byte
NAMES = ("libmkl_rt.so*", "libmkl_rt*.dylib", "mkl_rt*.dll")


class LibraryProduct(Product):
    """Products by ``cblas_sgemm`` and ``cblas_dgemm`` of a library, which computes on one thread.

    Fewer than ``own_rows`` rows are left to NumPy: block by block it is as fast, and a call costs less.

    Raises
    ------
    InputError
        If the library lacks a function, or computes a small product wrongly.
    """

    own_rows = 9

    def __init__(self, path: Path, remedy: str, *, name_of: str = "{}", integer: Any = ctypes.c_int) -> None:
        self.few = NumpyProduct()
        self.path, self.remedy, self.name_of, self.integer = path, remedy, name_of, integer
        try:
            self.library = ctypes.CDLL(str(path))
        except OSError as error:
            raise InputError(f"product {self.name} must be able to load {path.name}", str(error), remedy) from None
        self.prepare()
        self.gemm = self.find_products()
        self.check()

    def prepare(self) -> None:
        """Set the library to one thread."""

    def find_products(self) -> dict[Any, Any]:
        """Return {dtype: what ``call`` multiplies it by}. Other dtypes are left to NumPy."""
        functions = self.function("cblas_sgemm", FLOAT), self.function("cblas_dgemm", DOUBLE)
        return dict(zip((np.dtype("f4"), np.dtype("f8")), functions, strict=True))

    def function(self, name: str, scalar: Any, extra: int = 0) -> Any:
        """Return a function C = alpha A B + beta C of CBLAS's form; ``extra``: whether A, B and C have offsets."""
        try:
            found = getattr(self.library, self.name_of.format(name))
        except AttributeError:
            must = f"{self.path.name} must have the function {name}"
            raise InputError(must, "an older or another library", self.remedy) from None
        found.restype, i = None, self.integer
        offset = [BYTE] if extra else []
        sizes = [ctypes.c_int] * (4 if extra else 3) + [i, i, i]
        found.argtypes = [*sizes, scalar, POINTER, i, *offset, POINTER, i, *offset, scalar, POINTER, i]
        if extra:
            found.argtypes = [*found.argtypes, POINTER]
        return found

    def check(self) -> None:
        """Multiply once, so that a broken library is an error here and not later."""
        a = np.arange(12.0).reshape(3, 4)
        for dtype in self.gemm:
            rows, weight, out = a.astype(dtype), a[:2].astype(dtype), np.empty((3, 2), dtype)
            self.call(self.gemm[out.dtype], rows, weight, out)
            if not np.array_equal(out, rows @ weight.T):
                raise InputError(f"{self.path.name} must multiply matrices", "a wrong product", self.remedy)

    def linear(
        self, rows: np.ndarray, weight: Weight, bias: np.ndarray | None, out: np.ndarray, workers: Workers
    ) -> None:
        if len(rows) >= self.own_rows or out.dtype.itemsize == 2 or isinstance(weight, PackedWeight):
            self.few.last_rows = 0
            super().linear(rows, weight, bias, out, workers)
        else:
            self.few.linear(rows, weight, bias, out, workers)

    def multiply(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        if len(rows) < self.own_rows or out.dtype not in self.gemm:
            self.few.multiply(rows, weight, out)
        elif out.size:
            self.call(self.gemm[out.dtype], rows, weight, out)

    def call(self, gemm: Any, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Call a function of CBLAS's form for ``out = rows @ weight.T``."""
        (M, K), N = rows.shape, len(weight)
        rows, weight = with_contiguous_rows(rows), with_contiguous_rows(weight)
        at = (ROWS, PLAIN, TRANSPOSED, M, N, K, 1.0, *place(rows), *place(weight), 0.0, *place(out))
        gemm(*at)


class OpenBlasProduct(LibraryProduct):
    """OpenBLAS of the package scipy-openblas64: newer kernels than NumPy's, or NumPy has another library."""

    name = "openblas"
    install = "pip install scipy-openblas64"

    def __init__(self) -> None:
        try:
            import scipy_openblas64
        except ImportError:
            must = "product openblas needs the package scipy-openblas64"
            raise InputError(must, "not installed", self.install) from None
        folder = Path(scipy_openblas64.get_lib_dir())
        path = next((p for p in folder.glob("*openblas64_*") if p.suffix in (".so", ".dylib", ".dll")), None)
        if path is None:
            must = "product openblas needs the library of scipy-openblas64"
            raise InputError(must, f"none in {folder}", "pip install --force-reinstall scipy-openblas64")
        super().__init__(path, f"{self.install} --force-reinstall", name_of="scipy_{}64_", integer=ctypes.c_int64)

    def prepare(self) -> None:
        with suppress(AttributeError):
            self.library.scipy_openblas_set_num_threads64_(1)

    def describe(self) -> dict[str, Any]:
        found = {"library": "openblas", "path": str(self.path)}
        with suppress(AttributeError):
            for key, name in (
                ("library", "scipy_openblas_get_config64_"),
                ("kernel", "scipy_openblas_get_corename64_"),
            ):
                function = getattr(self.library, name)
                function.restype = ctypes.c_char_p
                found[key] = function().decode()
        return found | {"library": " ".join(found["library"].split()[:2]).lower()}


class MklProduct(LibraryProduct):
    """Intel's oneMKL, of the package mkl: float32, bfloat16 and int8.

    Attributes
    ----------
    bfloat16 : whether it multiplies bfloat16 faster than float32: on Intel's processors with AMX or AVX512-BF16.
    fast_integers : whether it sums products of uint8 and int8 without saturation, which is tried.
    """

    name = "mkl"
    install = "pip install 'mkl>=2025'"

    def __init__(self) -> None:
        path = next(find_mkl(), None)
        if path is None:
            raise InputError("product mkl needs the package mkl", "no library mkl_rt", self.install)
        # The functions with 64-bit sizes, which no setting of MKL's interface (MKL_INTERFACE_LAYER) changes.
        super().__init__(path, f"{self.install} --force-reinstall", name_of="{}_64", integer=ctypes.c_int64)
        self.narrow = self.function("cblas_gemm_bf16bf16f32", FLOAT)
        self.integers = self.function("cblas_gemm_s8u8s32", FLOAT, 1)
        processor = this_processor()
        self.bfloat16 = processor.vendor == "GenuineIntel" and bool({"amx_bf16", "avx512_bf16"} & processor.flags)
        self.fast_integers = sums_exactly(self._multiply_integers)

    def prepare(self) -> None:
        """Find the function that sets a thread's own limit: the whole library's would be PyTorch's, too."""
        self.set_limit = getattr(self.library, "MKL_Set_Num_Threads_Local", lambda threads: 0)

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Context manager in which MKL computes on the calling thread alone."""
        before = self.set_limit(1)
        try:
            yield
        finally:
            self.set_limit(before)

    def call(self, gemm: Any, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        with self.one_thread():
            super().call(gemm, rows, weight, out)

    def multiply_bfloat16(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        if out.size:
            self.call(self.narrow, rows, weight, out)

    def multiply_integers(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        if self.fast_integers and out.size:
            self._multiply_integers(rows, weight, out)
        else:
            super().multiply_integers(rows, weight, out)

    def _multiply_integers(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Compute the transpose, weight @ rows.T: MKL's signed matrix is on the left."""
        (M, K), N = rows.shape, len(weight)
        rows, weight = with_contiguous_rows(rows), with_contiguous_rows(weight)
        y, zero = np.empty((N, M), np.int32), np.zeros(1, np.int32)
        sizes = (ROWS, PLAIN, TRANSPOSED, FIXED_OFFSET, N, M, K)
        with self.one_thread():
            self.integers(*sizes, 1.0, *place(weight), 0, *place(rows), 0, 0.0, *place(y), zero.ctypes.data)
        out[...] = y.T

    def describe(self) -> dict[str, Any]:
        found = {"library": "mkl", "path": str(self.path)}
        with suppress(AttributeError):
            text = ctypes.create_string_buffer(256)
            self.library.MKL_Get_Version_String(text, len(text))
            words = text.value.decode().split()
            found["library"] = "mkl " + next((w.partition("-")[0] for w in words if w[:1].isdigit()), "")
        return found


def find_mkl() -> Iterator[Path]:
    """Yield the paths of MKL's library: of the package mkl (pip or conda), of MKLROOT."""
    folders = installed_folders()
    if root := os.environ.get("MKLROOT"):
        folders += [Path(root) / sub for sub in ("lib", "lib/intel64", "bin")]
    yield from find_libraries(folders, NAMES)


def installed_folders() -> list[Path]:
    """Return the folders where pip and conda install libraries that are not part of a module."""
    return [Path(base) / sub for base in (sys.prefix, site.getuserbase()) for sub in ("lib", "Library/bin")]


def find_libraries(folders: Iterable[Path], names: Iterable[str]) -> Iterator[Path]:
    """Yield the files that have one of the names, which may have ``*``, in one of the folders."""
    for folder in folders:
        for name in names:
            yield from sorted(folder.glob(name))


def sums_exactly(multiply: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> bool:
    """Whether a product of uint8 and int8 is right, and doesn't saturate, as many do with instructions before VNNI."""
    numbers, out = np.arange(8 * 64).reshape(8, 64) * 37 % 256, np.zeros((3, 5), np.int32)
    for rows, weight in (numbers[:3], numbers[3:] - 128), (np.full((3, 64), 255), np.full((5, 64), -128)):
        multiply(rows.astype(np.uint8), weight.astype(np.int8), out)
        if not np.array_equal(out, rows @ weight.T):
            return False
    return True


def with_contiguous_rows(x: np.ndarray) -> np.ndarray:
    """Return x, or a copy if BLAS can't read it: it reads rows whose elements are contiguous."""
    size = x.itemsize
    fits = x.strides[1] == size and x.strides[0] % size == 0 and x.strides[0] >= size * x.shape[1]
    return x if fits or x.size == 0 else np.ascontiguousarray(x)


def place(x: np.ndarray) -> tuple[int, int]:
    """Return the address of a matrix and the distance of its rows in elements."""
    return x.ctypes.data, max(x.strides[0] // x.itemsize if len(x) > 1 else 0, x.shape[1], 1)
