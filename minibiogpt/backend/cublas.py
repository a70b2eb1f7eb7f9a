"""Batched matrix products by one cuBLAS call: each array in its own layout, half precision summed in float32.

CuPy's own ``@`` copies non-contiguous arrays, computes float16 through float32 arrays, and has no batched bfloat16
(14.2). The cuBLAS function called here is the one that CuPy calls itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = Any
# dtype: CUDA's data type, cuBLAS's compute type, and the NumPy dtype of alpha and beta
TYPES = {
    "float32": ("CUDA_R_32F", "CUBLAS_COMPUTE_32F", np.float32),
    "float64": ("CUDA_R_64F", "CUBLAS_COMPUTE_64F", np.float64),
    "float16": ("CUDA_R_16F", "CUBLAS_COMPUTE_32F", np.float32),
    "bfloat16": ("CUDA_R_16BF", "CUBLAS_COMPUTE_32F", np.float32),
}
TF32 = "CUBLAS_COMPUTE_32F_FAST_TF32"


class HeadProducts:
    """Matrix products of all rows and heads, by one gemmStridedBatchedEx.

    Parameters
    ----------
    xp : the module cupy.
    cublas : CuPy's cuBLAS module.
    """

    def __init__(self, xp: Any, cublas: Any) -> None:
        self.xp, self.cublas = xp, cublas
        self._scalar, self._dtype_name = cache(self._make_scalar), cache(str)

    def __call__(
        self, a: Array, b: Array, *, transposed: bool, scale: float, out: Array | None, tf32: bool = False
    ) -> Array:
        """Return ``scale * a @ b``: a (B, H, M, K), b (B, H, K, N), or (B, H, N, K) if transposed; (B, H, M, N)."""
        (B, H, M, K), N = a.shape, b.shape[2 if transposed else 3]
        c = self.xp.empty((B, H, M, N), dtype=a.dtype) if out is None or not is_strided_batch(out) else out
        a, b = (x if is_strided_batch(x) else self.xp.ascontiguousarray(x) for x in (a, b))
        dtype = self._dtype_name(a.dtype)
        data_type, compute_type, _ = TYPES[dtype]
        data_type = getattr(self.xp.cuda.runtime, data_type)
        compute_type = getattr(self.cublas, TF32 if tf32 and dtype == "float32" else compute_type)
        # cuBLAS is column-major: it reads a row-major array as its transpose, so it computes c^T = b^T a^T
        self.cublas.gemmStridedBatchedEx(
            self.xp.cuda.get_cublas_handle(),
            self.cublas.CUBLAS_OP_T if transposed else self.cublas.CUBLAS_OP_N,
            self.cublas.CUBLAS_OP_N,
            *(N, M, K),
            self._scalar(dtype, scale).ctypes.data,
            *matrix_arguments(b, data_type),
            *matrix_arguments(a, data_type),
            self._scalar(dtype, 0.0).ctypes.data,
            *matrix_arguments(c, data_type),
            B * H,
            compute_type,
            self.cublas.CUBLAS_GEMM_DEFAULT,
        )
        if out is not None and c is not out:
            out[...] = c
            return out
        return c

    @staticmethod
    def _make_scalar(dtype: str, value: float) -> np.ndarray:
        return np.array(value, dtype=TYPES[dtype][2])


def is_strided_batch(x: Array) -> bool:
    """Whether x (B, H, rows, width) has contiguous rows, and one constant stride between the matrices of all heads."""
    B, H, rows, width = x.shape
    per_batch, per_head, per_row, per_element = x.strides
    size = x.itemsize
    row_major = (per_element == size or width == 1) and (rows == 1 or per_row >= width * size)
    return row_major and (B == 1 or per_batch == H * per_head)


def matrix_arguments(x: Array, data_type: int) -> tuple[int, int, int, int]:
    """Return x's address, its type, its leading dimension, and the stride between matrices (both in elements)."""
    _, H, rows, width = x.shape
    per_batch, per_head, per_row, _ = x.strides
    leading = per_row // x.itemsize if rows > 1 else width
    return x.data.ptr, data_type, leading, (per_head if H > 1 else per_batch) // x.itemsize
