"""The real CuPy compared with its stand-in, as far as possible without a device. Runs if CuPy is installed."""

import inspect
import re

import pytest

from tests.support import emulated

CUDA_TYPES = {"32F": "float32", "64F": "float64", "16F": "float16", "16BF": "bfloat16"}


def test_cupy_has_what_the_stand_in_has() -> None:
    """Compare names, constants, and the arguments of undocumented functions. This needs no device."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so its names cannot be compared")
    named = {
        cupy: "RawModule ndarray add asnumpy ascontiguousarray get_default_memory_pool __version__",
        cupy.cuda: "MemoryPool Stream using_allocator get_current_stream get_cublas_handle runtime memory",
        cupy.cuda.MemoryPool: "malloc total_bytes free_all_blocks",
        cupy.cuda.Stream: "synchronize begin_capture end_capture",
        cupy.cuda.memory: "OutOfMemoryError",
        cupy.cuda.runtime: """getDeviceCount getDevice getDeviceProperties runtimeGetVersion driverGetVersion memGetInfo
            CUDARuntimeError CUDA_R_32F CUDA_R_64F CUDA_R_16F CUDA_R_16BF""",
        cupy._core._routines_linalg: "set_compute_type COMPUTE_TYPE_FP32 COMPUTE_TYPE_TF32",
    }
    assert [(of, name) for of, names in named.items() for name in names.split() if not hasattr(of, name)] == []
    assert "EE->E" in cupy.add.types  # bfloat16, because ml_dtypes is installed
    runtime = cupy.cuda.runtime
    assert {getattr(runtime, f"CUDA_R_{kind}"): dtype for kind, dtype in CUDA_TYPES.items()} == dict(
        emulated.Cublas.kinds
    )
    libraries = pytest.importorskip("cupy_backends.cuda.libs", reason="CuPy is not installed")
    try:
        cublas = libraries.cublas
    except ImportError:
        pytest.skip("cuBLAS is not installed, so its arguments cannot be compared")
    signature = cublas.gemmStridedBatchedEx.__doc__.partition("\n")[0]
    parameters = re.findall(r"(\w+)[,)]", signature)
    assert parameters == list(inspect.signature(emulated.Cublas.gemmStridedBatchedEx).parameters)[1:]
    for name in ("OP_N", "OP_T", "GEMM_DEFAULT", "COMPUTE_32F", "COMPUTE_64F", "COMPUTE_32F_FAST_TF32"):
        assert getattr(cublas, f"CUBLAS_{name}") == getattr(emulated.Cublas, f"CUBLAS_{name}")
