"""The CuPy backend: arrays on an NVIDIA GPU, CUDA kernels, memory errors, and steps captured as CUDA graphs."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any
from weakref import finalize

import numpy as np

from minibiogpt.backend.base import HALVES, Array, Backend, get_backend
from minibiogpt.backend.cublas import HeadProducts
from minibiogpt.backend.kernels import Kernels
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.backend.products.packed_kernels import PackedProducts
from minibiogpt.errors import DeviceMemoryError, InputError

OUT_OF_MEMORY = (
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # cuBLAS reports this when it cannot allocate its own workspace
)

MIN_CUPY = 14  # major version
INSTALL = "pip install 'cupy-cuda13x[ctk]' ml_dtypes (cupy-cuda12x[ctk] if nvidia-smi says CUDA 12)"


class CupyBackend(Backend):
    """CuPy arrays, computed on an NVIDIA GPU.

    Attributes
    ----------
    use_kernels : whether to compute equations by the kernels of kernels.cu where there is one. If False, CuPy runs
        the operations of ops and attention one by one, and no step is captured.
    use_graphs : whether to capture decoding steps as CUDA graphs.

    Raises
    ------
    InputError
        If CuPy, CUDA's libraries or a device is missing, or no kernel can be compiled and run.
    """

    name = "cupy"
    block_elements = 1 << 25  # scores that blocked attention holds at once: 64 MB in float16
    tile = (1024, 1024)  # with smaller tiles, launch overhead dominates

    def __init__(self) -> None:
        self.xp = cupy = import_cupy()
        require_device(cupy)
        cublas = import_cublas()
        self.array_type = cupy.ndarray
        halves = HALVES if "EE->E" in cupy.add.types else HALVES[:1]  # E: bfloat16, if ml_dtypes is installed
        self.float_dtypes = ("float32", "float64", *halves)
        self.kernels, self.use_kernels, self.use_graphs = Kernels(cupy, self.lowest), True, True
        self.products, self.packed_products = HeadProducts(cupy, cublas), PackedProducts(cupy)
        self.graph_pools: list[GraphPool] = []
        self.free_graph_pools: list[GraphPool] = []  # those whose captured step is gone
        self.tf32 = os.environ.get("CUPY_TF32", "0") not in ("", "0")
        self._check_kernels()

    def _check_kernels(self) -> None:
        """Compile and run one kernel, so that a missing library is an error here and not later."""
        try:
            self.kernels.softmax(self.asarray(np.ones((1, 1), np.float32)) * 2)
            self.synchronize()
        except Exception as error:
            must = "backend cupy must be able to compile a kernel and run it"
            raise InputError(must, one_line(error), f"{INSTALL}, and check nvidia-smi") from error

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.xp.asnumpy(x)

    def erf(self, x: Array) -> Array:
        from cupyx.scipy import special

        return special.erf(x)

    @property
    def tf32(self) -> bool:
        """Whether float32 matrix products may round their inputs to TF32 (10 bits instead of 23), which is faster.

        Off by default, unless CuPy's environment variable CUPY_TF32 is 1. Setting it overrides CuPy's own setting, for
        all uses of CuPy in this process.
        """
        return self._tf32

    @tf32.setter
    def tf32(self, enabled: bool) -> None:
        products = self.xp._core._routines_linalg
        compute_type = products.COMPUTE_TYPE_TF32 if enabled else products.COMPUTE_TYPE_FP32
        products.set_compute_type(np.float32, compute_type)
        self._tf32 = bool(enabled)

    def product(self, rows: Array, weight: Array | PackedWeight, bias: Array | None = None) -> Array:
        """Return ``rows @ weight.T + bias``: a few rows by a kernel, more by cuBLAS, which sums float16 in float32."""
        if isinstance(weight, PackedWeight) and (layout := weight.layout):
            return self.packed_products(rows, weight, layout, bias, few=self.use_kernels)
        if isinstance(weight, PackedWeight):
            given, added = (x if x is None else self.to_numpy(x) for x in (rows, bias))
            return self.asarray(get_backend("numpy").product(given, weight.with_arrays(self.to_numpy), added))
        kernel = self.kernel("product", rows, weight, bias)
        y = kernel(rows, weight, bias) if kernel else None
        return super().product(rows, weight, bias) if y is None else y

    def unpack(self, weight: PackedWeight) -> Array:
        layout = weight.layout
        return self.packed_products.unpack(weight, layout) if layout else super().unpack(weight)

    def kernel(self, name: str, *arrays: Array | None) -> Callable[..., Any] | None:
        if not self.use_kernels or not self.kernels.takes(*arrays):
            return None
        return getattr(self.kernels, name, None)

    def head_products(
        self, a: Array, b: Array, *, transposed: bool = False, scale: float = 1.0, out: Array | None = None
    ) -> Array:
        return self.products(a, b, transposed=transposed, scale=scale, out=out, tf32=self.tf32)

    def contiguous(self, x: Array) -> Array:
        """Return x in its own layout: kernels and cuBLAS take strides, and a copy would be another launch."""
        return x

    def cache_capacity(self, positions: int) -> int:
        """Round up to a multiple of 64, so that the memory pool can reuse one cache's memory for the next."""
        return -(-positions // 64) * 64

    def can_capture(self, rows: int, capacity: int, head_size: int, dtype: str) -> bool:
        """Whether kernels can compute the whole step: CuPy cannot capture cuBLAS calls."""
        fits = self.kernels.fits(capacity, head_size, self.dtype(dtype))
        return self.use_kernels and self.use_graphs and rows <= self.kernels.few_rows and fits

    def capture(self, step: Callable[[], None]) -> Callable[[], None] | None:
        """Run ``step`` once, capture it as a CUDA graph, and return a function that replays it.

        The captured step owns the memory of its intermediate arrays as long as it exists. CuPy cannot capture cuBLAS
        calls, so the step must consist of kernels.
        """
        try:
            pool = self.free_graph_pools.pop()
        except IndexError:  # pop instead of a check first: another thread may take the last one in between
            pool = self._new_graph_pool()
        self.synchronize()
        try:
            with self.xp.cuda.using_allocator(pool.memory.malloc), pool.stream:
                self._warm_up(step)
                pool.stream.synchronize()
                graph = pool.capture(step)
        except BaseException as error:
            self.free_graph_pools.append(pool)
            if not isinstance(error, CaptureError):
                raise
            warnings.warn(f"CUDA graph capture failed, so each kernel is launched separately: {error}", stacklevel=2)
            return None
        captured = CapturedStep(graph, self.xp.cuda.get_current_stream)
        finalize(captured, self.free_graph_pools.append, pool).atexit = False
        return captured

    def _new_graph_pool(self) -> GraphPool:
        pool = GraphPool(self.xp.cuda.MemoryPool(), self.xp.cuda.Stream(non_blocking=True))
        self.graph_pools.append(pool)
        return pool

    def _warm_up(self, step: Callable[[], None]) -> None:
        """Run a step, which compiles its kernels and allocates all the memory it needs from the current pool.

        If that fails for lack of memory, free the unused memory of the other pools and try again.
        """
        try:
            step()
        except self.xp.cuda.memory.OutOfMemoryError:
            self.free_unused()
            step()

    @contextmanager
    def memory_errors(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            reason = str(error)
            out_of_memory = isinstance(error, self.xp.cuda.memory.OutOfMemoryError)
            if not out_of_memory and not any(code in reason for code in OUT_OF_MEMORY):
                raise
            traceback.clear_frames(error.__traceback__)  # the frames hold intermediate arrays
        else:
            return
        self.free_unused()
        free, total = self.xp.cuda.runtime.memGetInfo()
        must = f"the device's memory, {total / 1e9:.1f} GB, must hold the model and its arrays"
        found = f"{free / 1e9:.1f} GB left ({reason})"
        raise DeviceMemoryError(must, found, "use a smaller batch, shorter sequences, or a narrower dtype") from None

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def reserved_bytes(self) -> int:
        pools = [self.xp.get_default_memory_pool(), *(graph_pool.memory for graph_pool in self.graph_pools)]
        return sum(pool.total_bytes() for pool in pools)

    def free_unused(self) -> None:
        pools = [self.xp.get_default_memory_pool(), *(graph_pool.memory for graph_pool in self.free_graph_pools)]
        for pool in pools:
            pool.free_all_blocks()

    def device_info(self) -> dict[str, Any]:
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(runtime.getDevice())
        name = properties["name"]
        return {
            "device": name.decode() if isinstance(name, bytes) else name,
            "memory": int(properties["totalGlobalMem"]),
            "multiprocessors": int(properties["multiProcessorCount"]),
            "cupy": self.xp.__version__,
            "cuda": cuda_version(runtime.runtimeGetVersion()),
            "driver_cuda": cuda_version(runtime.driverGetVersion()),
        }


class CaptureError(Exception):
    """Raised when a step does something that a CUDA graph cannot capture."""


class GraphPool:
    """A stream to capture a step on, and a memory pool for its intermediate arrays that nothing else allocates from."""

    def __init__(self, memory: Any, stream: Any) -> None:
        self.memory, self.stream = memory, stream

    def capture(self, step: Callable[[], None]) -> Any:
        """Return CuPy's graph of a step, which capture does not execute.

        Raises
        ------
        CaptureError
            If the step calls cuBLAS, reads a value from the device, or does anything else a graph cannot capture.
        """
        self.stream.begin_capture()
        try:
            step()
        except Exception as error:
            with suppress(Exception):  # fails because the capture is invalid, but makes the stream usable again
                self.stream.end_capture()
            raise CaptureError(error) from error
        try:
            return self.stream.end_capture()
        except Exception as error:
            raise CaptureError(error) from error


class CapturedStep:
    """A captured step. A call replays it on the same arrays, in one launch. The caller must keep these arrays alive."""

    def __init__(self, graph: Any, stream: Callable[[], Any]) -> None:
        self.graph, self.stream = graph, stream

    def __call__(self) -> None:
        self.graph.launch(self.stream())


def cuda_version(number: int) -> str:
    """Format CUDA's version number.

    Examples
    --------
    >>> cuda_version(13020)
    '13.2'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def import_cupy() -> ModuleType | Any:
    """Import CuPy. If it is missing or too old, the InputError says how to install it."""
    try:
        import cupy
    except ImportError as error:
        raise InputError("backend cupy needs the package cupy", one_line(error), INSTALL) from None
    if int(cupy.__version__.partition(".")[0]) < MIN_CUPY:
        raise InputError(f"backend cupy needs CuPy {MIN_CUPY} or later", cupy.__version__, INSTALL)
    return cupy


def import_cublas() -> ModuleType | Any:
    """Import CuPy's cuBLAS module. If the library is missing, the InputError says how to install it."""
    try:
        from cupy_backends.cuda.libs import cublas
    except ImportError as error:
        raise InputError("backend cupy needs CUDA's libraries", one_line(error), INSTALL) from None
    return cublas


def require_device(cupy: ModuleType | Any) -> None:
    """Raise an InputError if CuPy finds no device."""
    try:
        devices, reason = cupy.cuda.runtime.getDeviceCount(), ""
    except cupy.cuda.runtime.CUDARuntimeError as error:
        devices, reason = 0, f" ({error})"
    if not devices:
        remedy = "check nvidia-smi (its CUDA version must be the installed CuPy's, 12 or 13), or use backend numpy"
        raise InputError("backend cupy needs a CUDA device", f"none{reason}", remedy)


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, truncated to 200 characters."""
    return " ".join((str(error) or type(error).__name__).split())[:200]
