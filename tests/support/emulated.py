"""The CuPy backend itself, on an ordinary processor: a module with CuPy's names, arrays that refuse what CuPy's refuse
(strict.py), kernels compiled for this computer (cuda_on_host), and streams that record.

``EmulatedCupy`` is ``CupyBackend`` with this module in CuPy's place: every line of it runs but the import.
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
from tests.support.strict import StrictArray, StrictModule, Tape, applied

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed, which has bfloat16 for NumPy")
assert np.dtype("bfloat16") == ml_dtypes.bfloat16  # importing it tells NumPy the name


class EmulatedArray(StrictArray):
    """One array on the device that is not there."""

    most: int | None = None  # bytes of a new array; None: any number

    def __init__(self, array: np.ndarray) -> None:
        if self.most is not None and array.base is None and array.nbytes > self.most:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes:,} bytes")
        super().__init__(array)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._array.ctypes.data)


EmulatedArray.__module__ = "emulated"


class OutOfMemoryError(MemoryError):
    """CuPy's."""


class CUDARuntimeError(RuntimeError):
    """CuPy's."""


ENTERED: dict[str, Any] = {"stream": None, "pool": None}  # what is current besides the default


class Pool:
    """A memory pool that hands out nothing, and counts how often it was emptied."""

    def __init__(self) -> None:
        self.freed = 0

    def malloc(self, size: int) -> None:
        raise NotImplementedError("the stand-in does not hand out memory")

    def total_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        self.freed += 1


class Stream:
    """A stream that is always done, and records on a tape."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.non_blocking, self.tape, self.waited = non_blocking, None, 0
        self.launched: list[Any] = []  # graphs

    def __enter__(self) -> Stream:
        ENTERED["stream"] = self
        return self

    def __exit__(self, *error: Any) -> None:
        ENTERED["stream"] = None

    def synchronize(self) -> None:
        Tape.forbid("synchronize()")
        self.waited += 1

    def begin_capture(self) -> None:
        assert self.non_blocking, "operation not permitted on the default stream"
        self.tape = Tape().__enter__()

    def end_capture(self) -> Any:
        tape, self.tape = self.tape, None
        tape.__exit__()
        graph = SimpleNamespace()

        def launch(stream: Stream) -> None:
            stream.launched.append(graph)
            tape.again()

        graph.launch = launch
        return graph


class RawModule:
    """Kernels compiled for this computer, launched by CuPy's rules; a launch is a step of a recording."""

    launched: list[str]  # names, for tests to look at

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self.code, self.options = code, tuple(option for option in options)

    def get_function(self, name: str) -> Callable[..., None]:
        function = Function(self.code, self.options, name, address)

        def launch(grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
            EmulatedModule.launched.append(name)
            arrays = [one._array for one in args if isinstance(one, StrictArray)]
            Tape.note(lambda: function(grid, block, args, shared_mem=shared_mem), arrays)

        return launch


def address(x: Any) -> tuple[int, str]:
    assert type(x) is EmulatedArray, f"a kernel was given a {type(x)}"
    return x._array.ctypes.data, str(x.dtype)


class Cublas:
    """cuBLAS's product of many matrices, column after column as it counts, by NumPy on the addresses it is given."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_GEMM_DEFAULT = 0, 1, -1
    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_32F_FAST_TF32 = 68, 70, 77
    kinds = MappingProxyType({0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"})
    asked: list[int] = []  # noqa: RUF012, the arithmetic of each call, for tests to look at

    def gemmStridedBatchedEx(
        self, handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int,
        strideA: int, B: int, Btype: int, ldb: int, strideB: int, beta: int, C: int, Ctype: int, ldc: int, strideC: int,
        batchCount: int, computeType: int, algo: int,
    ) -> None:  # fmt: skip
        if Tape.now is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        assert handle == 7
        assert Atype == Btype == Ctype
        assert lda >= (k if transa else m)
        assert ldb >= (n if transb else k)
        assert ldc >= m
        self.asked.append(computeType)
        exact = "float64" if computeType == self.CUBLAS_COMPUTE_64F else "float32"
        assert (self.kinds[Atype] == "float64") == (exact == "float64")
        scale, keep = number(alpha, exact), number(beta, exact)
        a = columns(A, self.kinds[Atype], (k, m) if transa else (m, k), lda, strideA, batchCount)
        b = columns(B, self.kinds[Btype], (n, k) if transb else (k, n), ldb, strideB, batchCount)
        c = columns(C, self.kinds[Ctype], (m, n), ldc, strideC, batchCount)
        assert keep == 0
        left, right = (x.transpose(0, 2, 1) if turned else x for x, turned in ((a, transa), (b, transb)))
        c[...] = scale * (left.astype(exact) @ right.astype(exact))


def number(address: int, dtype: str) -> Any:
    return np.frombuffer((ctypes.c_char * np.dtype(dtype).itemsize).from_address(address), dtype)[0]


def columns(address: int, dtype: str, shape: tuple[int, int], leading: int, stride: int, count: int) -> np.ndarray:
    """(count, rows, columns) of matrices whose columns are ``leading`` numbers apart, and they ``stride``."""
    size, (rows, across) = np.dtype(dtype).itemsize, shape
    numbers = (count - 1) * stride + (across - 1) * leading + rows
    flat = np.frombuffer((ctypes.c_char * (numbers * size)).from_address(address), dtype)
    return np.lib.stride_tricks.as_strided(flat, (count, rows, across), (stride * size, size, leading * size))


class EmulatedModule(StrictModule):
    """What the package uses of the module cupy."""

    array_type = ndarray = EmulatedArray
    launched: list[str] = []  # noqa: RUF012, the kernels that were launched, for tests to look at
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
        Tape.forbid("an array for the host")
        return x._array.copy()


@contextmanager
def allocating(malloc: Any) -> Iterator[None]:
    ENTERED["pool"] = malloc.__self__
    try:
        yield
    finally:
        ENTERED["pool"] = None


def entered_stream() -> Any:
    return ENTERED["stream"]


def entered_pool() -> Any:
    return ENTERED["pool"]


class EmulatedCupy(cuda.CupyBackend):
    """CupyBackend upon the stand-in."""

    name = "emulated"

    def erf(self, x: Any) -> Any:
        return applied(EmulatedArray, erf, [x], {})


def make() -> EmulatedCupy:
    """The backend, with the stand-in where CuPy would be imported."""
    real = cuda.imported, cuda.cublas
    cuda.imported, cuda.cublas = EmulatedModule, Cublas
    try:
        return EmulatedCupy()
    finally:
        cuda.imported, cuda.cublas = real


def register() -> None:
    """Offer it as backend "emulated"."""
    register_backend("emulated", make)


@contextmanager
def little_memory(most: int = 1 << 20) -> Iterator[None]:
    """While it is entered, no array of more bytes can be made."""
    EmulatedArray.most = most
    try:
        yield
    finally:
        EmulatedArray.most = None
