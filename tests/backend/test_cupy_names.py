"""The real CuPy beside its stand-in: what can be compared without a device, where CuPy is installed."""

import inspect
import re

import pytest

from tests.support import emulated

CUDA_KINDS = {"32F": "float32", "64F": "float64", "16F": "float16", "16BF": "bfloat16"}


def test_cupy_has_what_the_stand_in_has() -> None:
    """CuPy need not see a device for this: its names, and the arguments of what is not documented."""
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
    assert "EE->E" in cupy.add.types  # bfloat16, for ml_dtypes is here
    runtime = cupy.cuda.runtime
    assert {getattr(runtime, f"CUDA_R_{kind}"): dtype for kind, dtype in CUDA_KINDS.items()} == dict(
        emulated.Cublas.kinds
    )
    libraries = pytest.importorskip("cupy_backends.cuda.libs", reason="CuPy is not installed")
    try:
        cublas = libraries.cublas
    except ImportError:
        pytest.skip("cuBLAS is not installed, so its arguments cannot be compared")
    told = cublas.gemmStridedBatchedEx.__doc__.partition("\n")[0]
    words = re.findall(r"(\w+)[,)]", told)
    assert words == list(inspect.signature(emulated.Cublas.gemmStridedBatchedEx).parameters)[1:]
    for name in ("OP_N", "OP_T", "GEMM_DEFAULT", "COMPUTE_32F", "COMPUTE_64F", "COMPUTE_32F_FAST_TF32"):
        assert getattr(cublas, f"CUBLAS_{name}") == getattr(emulated.Cublas, f"CUBLAS_{name}")
