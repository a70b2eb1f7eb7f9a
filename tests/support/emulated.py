"""The CuPy backend on a CPU: a stand-in for the module cupy, with arrays that refuse what CuPy's refuse (strict.py),
kernels compiled for the CPU (cuda_on_host), and streams that capture.

``EmulatedCupy`` is ``CupyBackend`` with this stand-in instead of CuPy: the whole backend runs except the import.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minibiogpt.backend import cupy as cuda
from minibiogpt.backend import register_backend
from minibiogpt.backend.erf import erf
from tests.support.cuda_on_host import Function
from tests.support.strict import GraphCapture, StrictArray, StrictModule, applied

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which adds bfloat16 to NumPy, is not installed")
assert np.dtype("bfloat16") == ml_dtypes.bfloat16  # importing ml_dtypes registers the name


class EmulatedArray(StrictArray):
    """An array on the emulated device."""

    max_bytes: int | None = None  # of a new array; None: unlimited

    def __init__(self, array: np.ndarray) -> None:
        if self.max_bytes is not None and array.base is None and array.nbytes > self.max_bytes:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes:,} bytes")
        super().__init__(array)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._array.ctypes.data)


EmulatedArray.__module__ = "emulated"


class OutOfMemoryError(MemoryError):
    """CuPy's class of this name."""


class CUDARuntimeError(RuntimeError):
    """CuPy's class of this name."""


CURRENT: dict[str, Any] = {"stream": None, "pool": None}  # None: the default one


class Pool:
    """A memory pool that allocates nothing, and counts how often it was freed."""

    def __init__(self) -> None:
        self.freed = 0

    def malloc(self, size: int) -> None:
        raise NotImplementedError("the stand-in does not allocate memory")

    def total_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        self.freed += 1


class Stream:
    """A stream that never has work left, and can capture."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.non_blocking, self.capture, self.synchronized = non_blocking, None, 0
        self.launched: list[Any] = []  # graphs

    def __enter__(self) -> Stream:
        CURRENT["stream"] = self
        return self

    def __exit__(self, *error: Any) -> None:
        CURRENT["stream"] = None

    def synchronize(self) -> None:
        GraphCapture.forbid("synchronize()")
        self.synchronized += 1

    def begin_capture(self) -> None:
        assert self.non_blocking, "operation not permitted on the default stream"
        self.capture = GraphCapture().__enter__()

    def end_capture(self) -> Any:
        capture, self.capture = self.capture, None
        capture.__exit__()
        graph = SimpleNamespace()

        def launch(stream: Stream) -> None:
            stream.launched.append(graph)
            capture.replay()

        graph.launch = launch
        return graph


class RawModule:
    """Kernels compiled for the CPU, launched by CuPy's rules. A launch is one operation of a capture."""

    launched: list[str]  # kernel names, for tests

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self.code, self.options = code, tuple(option for option in options)

    def get_function(self, name: str) -> Callable[..., None]:
        function = Function(self.code, self.options, name, address)

        def launch(grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
            EmulatedModule.launched.append(name)
            arrays = [one._array for one in args if isinstance(one, StrictArray)]
            GraphCapture.run(lambda: function(grid, block, args, shared_mem=shared_mem), arrays)

        return launch


def address(x: Any) -> tuple[int, str]:
    """Return an array's address and dtype, as a kernel's argument."""
    assert type(x) is EmulatedArray, f"a kernel got a {type(x)}"
    return x._array.ctypes.data, str(x.dtype)


class Cublas:
    """cuBLAS's strided batched product, column-major as in cuBLAS, computed by NumPy on the given addresses."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_GEMM_DEFAULT = 0, 1, -1
    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_32F_FAST_TF32 = 68, 70, 77
    kinds = MappingProxyType({0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"})
    compute_types: list[int] = []  # noqa: RUF012, of each call, for tests

    def gemmStridedBatchedEx(
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int,
        strideA: int, B: int, Btype: int, ldb: int, strideB: int, beta: int, C: int, Ctype: int, ldc: int, strideC: int,
        batchCount: int, computeType: int, algo: int,
    ) -> None:  # fmt: skip
        if GraphCapture.active is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        assert handle == 7
        assert Atype == Btype == Ctype
        assert lda >= (k if transa else m)
        assert ldb >= (n if transb else k)
        assert ldc >= m
        self.compute_types.append(computeType)
        exact = "float64" if computeType == self.CUBLAS_COMPUTE_64F else "float32"
        assert (self.kinds[Atype] == "float64") == (exact == "float64")
        scale, beta_value = scalar(alpha, exact), scalar(beta, exact)
        a = columns(A, self.kinds[Atype], (k, m) if transa else (m, k), lda, strideA, batchCount)
        b = columns(B, self.kinds[Btype], (n, k) if transb else (k, n), ldb, strideB, batchCount)
        c = columns(C, self.kinds[Ctype], (m, n), ldc, strideC, batchCount)
        assert beta_value == 0
        left, right = (x.transpose(0, 2, 1) if transposed else x for x, transposed in ((a, transa), (b, transb)))
        c[...] = scale * (left.astype(exact) @ right.astype(exact))


def scalar(address: int, dtype: str) -> Any:
    return np.frombuffer((ctypes.c_char * np.dtype(dtype).itemsize).from_address(address), dtype)[0]


def columns(address: int, dtype: str, shape: tuple[int, int], leading: int, stride: int, count: int) -> np.ndarray:
    """Return column-major matrices as a view (count, rows, columns); leading and stride are in elements."""
    size, (rows, width) = np.dtype(dtype).itemsize, shape
    elements = (count - 1) * stride + (width - 1) * leading + rows
    flat = np.frombuffer((ctypes.c_char * (elements * size)).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(flat, (count, rows, width), (stride * size, size, leading * size))


class EmulatedModule(StrictModule):
    """The part of the module cupy that the package uses."""

    array_type = ndarray = EmulatedArray
    launched: list[str] = []  # noqa: RUF012, names of the launched kernels, for tests
    __version__ = "14.2.0 (stand-in)"
    RawModule = RawModule
    add = SimpleNamespace(types=["ee->e", "EE->E", "ff->f"])

    def __init__(self) -> None:
        self.pool, self.stream, self.compute_types = Pool(), Stream(), {}
        products = SimpleNamespace(
            COMPUTE_TYPE_FP32=4, COMPUTE_TYPE_TF32=7, set_compute_type=self.compute_types.__setitem__
        )
        self._core = SimpleNamespace(_routines_linalg=products)
        runtime = SimpleNamespace(
            getDeviceCount=lambda: 1,
            getDevice=lambda: 0,
            getDeviceProperties=lambda number: {
                "name": b"no device",
                "totalGlobalMem": 1 << 30,
                "multiProcessorCount": 1,
            },
            runtimeGetVersion=lambda: 13000,
            driverGetVersion=lambda: 13020,
            memGetInfo=lambda: (1 << 20, 1 << 30),
            CUDARuntimeError=CUDARuntimeError,
            **{"CUDA_R_32F": 0, "CUDA_R_64F": 1, "CUDA_R_16F": 2, "CUDA_R_16BF": 14},
        )
        self.cuda = SimpleNamespace(
            MemoryPool=Pool,
            Stream=Stream,
            using_allocator=allocating,
            get_current_stream=lambda: self.stream,
            get_cublas_handle=lambda: 7,
            runtime=runtime,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        )

    def get_default_memory_pool(self) -> Pool:
        return self.pool

    def asnumpy(self, x: EmulatedArray) -> np.ndarray:
        GraphCapture.forbid("a copy to the host")
        return x._array.copy()


@contextmanager
def allocating(malloc: Any) -> Iterator[None]:
    CURRENT["pool"] = malloc.__self__
    try:
        yield
    finally:
        CURRENT["pool"] = None


def current_stream() -> Any:
    return CURRENT["stream"]


def current_pool() -> Any:
    return CURRENT["pool"]


class EmulatedCupy(cuda.CupyBackend):
    """CupyBackend on the stand-in."""

    name = "emulated"

    def erf(self, x: Any) -> Any:
        return applied(EmulatedArray, erf, [x], {})


def make() -> EmulatedCupy:
    """Create the backend, with the stand-in instead of CuPy."""
    original = cuda.import_cupy, cuda.import_cublas
    cuda.import_cupy, cuda.import_cublas = EmulatedModule, Cublas
    try:
        return EmulatedCupy()
    finally:
        cuda.import_cupy, cuda.import_cublas = original


def register() -> None:
    """Register the backend as "emulated"."""
    register_backend("emulated", make)


@contextmanager
def little_memory(max_bytes: int = 1 << 20) -> Iterator[None]:
    """Context manager in which no array larger than ``max_bytes`` can be created."""
    EmulatedArray.max_bytes = max_bytes
    try:
        yield
    finally:
        EmulatedArray.max_bytes = None
