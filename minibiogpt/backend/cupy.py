"""CuPy as a backend: arrays on an NVIDIA device, its kernels, its memory, and steps recorded as CUDA graphs."""

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

from minibiogpt.backend.base import HALVES, Array, Backend
from minibiogpt.backend.cublas import HeadProducts
from minibiogpt.backend.kernels import Kernels
from minibiogpt.errors import DeviceMemoryError, InputError

FULL = (
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # what cuBLAS says when there is no memory for itself
)

LEAST = 14  # of CuPy's versions
INSTALL = "pip install 'cupy-cuda13x[ctk]' ml_dtypes (cupy-cuda12x[ctk] if nvidia-smi says CUDA 12)"


class CupyBackend(Backend):
    """Arrays on an NVIDIA device.

    Attributes
    ----------
    use_kernels : whether the equations that have a kernel (kernels.cu) are computed by it. Without, they are CuPy's own
        operations one by one, as they are written in ops and attention, and no step is recorded.
    use_graphs : whether decoding steps are recorded.

    Raises
    ------
    InputError
        If CuPy, CUDA's libraries or a device is absent, or no kernel can be compiled and run.
    """

    name = "cupy"
    block_elements = 1 << 25  # scores of blocked attention that live together: 64 MB in float16
    tile = (1024, 1024)  # a launch takes longer than small tiles are worth

    def __init__(self) -> None:
        self.xp = cupy = imported()
        require_device(cupy)
        library = cublas()
        self.array_type = cupy.ndarray
        halves = HALVES if "EE->E" in cupy.add.types else HALVES[:1]  # E, bfloat16: where ml_dtypes is installed
        self.float_dtypes = ("float32", "float64", *halves)
        self.kernels, self.use_kernels, self.use_graphs = Kernels(cupy, self.lowest), True, True
        self.products = HeadProducts(cupy, library)
        self.pools: list[GraphPool] = []
        self.spare: list[GraphPool] = []  # of the pools, those whose recording is gone
        self.tf32 = os.environ.get("CUPY_TF32", "0") not in ("", "0")
        self._try()

    def _try(self) -> None:
        """Have one kernel compiled and run, so that what is missing is missed here."""
        try:
            self.kernels.softmax(self.asarray(np.ones((1, 1), np.float32)) * 2)
            self.synchronize()
        except Exception as error:
            must = "backend cupy must be able to compile a kernel and run it"
            raise InputError(must, short(error), f"{INSTALL}, and check nvidia-smi") from error

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.xp.asnumpy(x)

    def erf(self, x: Array) -> Array:
        from cupyx.scipy import special

        return special.erf(x)

    def lowest(self, dtype: Any) -> float:
        if str(dtype) == "bfloat16":
            return -float.fromhex("0x1.fep127")  # NumPy's finfo does not know it
        return float(self.xp.finfo(dtype).min)

    @property
    def tf32(self) -> bool:
        """Whether products of float32 may round their factors to TF32 (10 bits instead of 23), which is faster.

        Off, unless CuPy's own variable CUPY_TF32 is 1. It holds for all of CuPy in this process, whatever was set there
        before.
        """
        return self._tf32

    @tf32.setter
    def tf32(self, wanted: bool) -> None:
        products = self.xp._core._routines_linalg
        kind = products.COMPUTE_TYPE_TF32 if wanted else products.COMPUTE_TYPE_FP32
        products.set_compute_type(np.float32, kind)
        self._tf32 = bool(wanted)

    def product(self, rows: Array, weight: Array, bias: Array | None = None) -> Array:
        """Few rows by a kernel, more by cuBLAS, which sums float16 in float32."""
        kernel = self.kernel("product", rows, weight, bias)
        y = kernel(rows, weight, bias) if kernel else None
        return super().product(rows, weight, bias) if y is None else y

    def kernel(self, name: str, *arrays: Array | None) -> Callable[..., Any] | None:
        if not self.use_kernels or not self.kernels.takes(*arrays):
            return None
        return getattr(self.kernels, name, None)

    def head_products(
        self, a: Array, b: Array, *, transposed: bool = False, scale: float = 1.0, out: Array | None = None
    ) -> Array:
        return self.products(a, b, transposed=transposed, scale=scale, out=out, tf32=self.tf32)

    def contiguous(self, x: Array) -> Array:
        """x as it lies: kernels and cuBLAS take it so, and a copy is a launch."""
        return x

    def capacity(self, positions: int) -> int:
        """A multiple of 64, so that the memory of one text's cache fits that of the next."""
        return -(-positions // 64) * 64

    def can_capture(self, rows: int, capacity: int, head_size: int, dtype: str) -> bool:
        """What would be cuBLAS's work cannot be recorded: CuPy does not let it."""
        fits = self.kernels.fits(capacity, head_size, self.dtype(dtype))
        return self.use_kernels and self.use_graphs and rows <= self.kernels.few_rows and fits

    def capture(self, step: Callable[[], None]) -> Callable[[], None] | None:
        """As a CUDA graph. It keeps the memory that its arrays pass through for itself, as long as it lives.

        CuPy records no call of cuBLAS, so the step must be made of kernels.
        """
        try:
            pool = self.spare.pop()
        except IndexError:  # asked for so, and not before, for the sake of threads
            pool = self._new_pool()
        self.synchronize()
        try:
            with self.xp.cuda.using_allocator(pool.pool.malloc), pool.stream:
                self._once(step)  # compiles what is not compiled, and leaves in the pool all the memory a step takes
                pool.stream.synchronize()
                graph = pool.recorded(step)
        except BaseException as error:
            self.spare.append(pool)
            if not isinstance(error, CaptureError):
                raise
            warnings.warn(f"steps are launched kernel by kernel, as no graph can be recorded: {error}", stacklevel=2)
            return None
        recording = CapturedStep(graph, self.xp.cuda.get_current_stream)
        finalize(recording, self.spare.append, pool).atexit = False
        return recording

    def _new_pool(self) -> GraphPool:
        pool = GraphPool(self.xp.cuda.MemoryPool(), self.xp.cuda.Stream(non_blocking=True))
        self.pools.append(pool)
        return pool

    def _once(self, step: Callable[[], None]) -> None:
        """Run a step; once more if memory was wanting that the other pool only keeps."""
        try:
            step()
        except self.xp.cuda.memory.OutOfMemoryError:
            self.release()
            step()

    @contextmanager
    def memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            full = isinstance(error, self.xp.cuda.memory.OutOfMemoryError) or any(sign in str(error) for sign in FULL)
            if not full:
                raise
            reason = str(error)
            traceback.clear_frames(error.__traceback__)  # which hold the arrays that were under way
        else:
            return
        self.release()
        free, whole = self.xp.cuda.runtime.memGetInfo()
        must = f"the device's memory, {whole / 1e9:.1f} GB, must take the model and its arrays"
        found = f"{free / 1e9:.1f} GB left ({reason})"
        raise DeviceMemoryError(must, found, "use fewer rows, shorter ones, or a narrower dtype") from None

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def reserved(self) -> int:
        pools = [self.xp.get_default_memory_pool(), *(pool.pool for pool in self.pools)]
        return sum(pool.total_bytes() for pool in pools)

    def release(self) -> None:
        for pool in (self.xp.get_default_memory_pool(), *(pool.pool for pool in self.spare)):
            pool.free_all_blocks()

    def facts(self) -> dict[str, Any]:
        runtime = self.xp.cuda.runtime
        found = runtime.getDeviceProperties(runtime.getDevice())
        name = found["name"]
        return {
            "device": name.decode() if isinstance(name, bytes) else name,
            "memory": int(found["totalGlobalMem"]),
            "multiprocessors": int(found["multiProcessorCount"]),
            "cupy": self.xp.__version__,
            "cuda": version(runtime.runtimeGetVersion()),
            "driver_cuda": version(runtime.driverGetVersion()),
        }


class CaptureError(Exception):
    """A step that does what no graph can hold."""


class GraphPool:
    """A stream that records, and a pool for the memory that recorded arrays pass through: nobody else may have it."""

    def __init__(self, pool: Any, stream: Any) -> None:
        self.pool, self.stream = pool, stream

    def recorded(self, step: Callable[[], None]) -> Any:
        """CuPy's graph of a step, which is not run.

        Raises
        ------
        CaptureError
            If it calls cuBLAS, asks the device for a number, or whatever else a graph cannot hold.
        """
        self.stream.begin_capture()
        try:
            step()
        except Exception as error:
            with suppress(Exception):  # the recording is invalid, which is known; the stream can be used again
                self.stream.end_capture()
            raise CaptureError(error) from error
        try:
            return self.stream.end_capture()
        except Exception as error:
            raise CaptureError(error) from error


class CapturedStep:
    """A recorded step. Calling it launches the whole of it, on the same arrays, which are the caller's to keep."""

    def __init__(self, graph: Any, stream: Callable[[], Any]) -> None:
        self.graph, self.stream = graph, stream

    def __call__(self) -> None:
        self.graph.launch(self.stream())


def version(number: int) -> str:
    """CUDA's way to write a version.

    Examples
    --------
    >>> version(13020)
    '13.2'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def imported() -> ModuleType | Any:
    """CuPy; without it, an InputError that says which extra installs it."""
    try:
        import cupy
    except ImportError as error:
        raise InputError("backend cupy needs the package cupy", short(error), INSTALL) from None
    if int(cupy.__version__.partition(".")[0]) < LEAST:
        raise InputError(f"backend cupy needs CuPy {LEAST} or later", cupy.__version__, INSTALL)
    return cupy


def cublas() -> ModuleType | Any:
    """CuPy's module of cuBLAS; without the library, an InputError that says which extra installs it."""
    try:
        from cupy_backends.cuda.libs import cublas
    except ImportError as error:
        raise InputError("backend cupy needs CUDA's libraries", short(error), INSTALL) from None
    return cublas


def require_device(cupy: ModuleType | Any) -> None:
    """An InputError where CuPy sees no device."""
    try:
        devices, why = cupy.cuda.runtime.getDeviceCount(), ""
    except cupy.cuda.runtime.CUDARuntimeError as error:
        devices, why = 0, f" ({error})"
    if not devices:
        remedy = "check nvidia-smi (its CUDA must be that of the CuPy installed, 12 or 13), or use backend numpy"
        raise InputError("backend cupy needs a CUDA device", f"none{why}", remedy)


def short(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join((str(error) or type(error).__name__).split())[:200]
