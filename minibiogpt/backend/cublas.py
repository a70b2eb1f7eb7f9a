"""Products of many small matrices by one call of cuBLAS: each array as it lies, halves summed in float32.

CuPy's own ``@`` copies what is not contiguous, computes float16 by way of float32 arrays, and has no bfloat16 here
(14.2). The function that is called is the one it calls itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Array = Any
# dtype: CUDA's name of it, of the arithmetic, and NumPy's dtype of the scale
KINDS = {
    "float32": ("CUDA_R_32F", "CUBLAS_COMPUTE_32F", np.float32),
    "float64": ("CUDA_R_64F", "CUBLAS_COMPUTE_64F", np.float64),
    "float16": ("CUDA_R_16F", "CUBLAS_COMPUTE_32F", np.float32),
    "bfloat16": ("CUDA_R_16BF", "CUBLAS_COMPUTE_32F", np.float32),
}
TF32 = "CUBLAS_COMPUTE_32F_FAST_TF32"


class HeadProducts:
    """a (B, H, M, K) times b for each row and head.

    Parameters
    ----------
    xp : CuPy. library : its module cublas.
    """

    def __init__(self, xp: Any, library: Any) -> None:
        self.xp, self.library = xp, library
        self.scalar, self.name = cache(self._scalar), cache(str)

    def __call__(
        self, a: Array, b: Array, *, transposed: bool, scale: float, out: Array | None, tf32: bool = False
    ) -> Array:
        """``scale`` times a times b (B, H, K, N), or times b (B, H, N, K) transposed: (B, H, M, N)."""
        (B, H, M, K), N = a.shape, b.shape[2 if transposed else 3]
        c = self.xp.empty((B, H, M, N), dtype=a.dtype) if out is None or not regular(out) else out
        a, b = (x if regular(x) else self.xp.ascontiguousarray(x) for x in (a, b))
        dtype = self.name(a.dtype)
        kind, arithmetic, _ = KINDS[dtype]
        kind = getattr(self.xp.cuda.runtime, kind)
        arithmetic = getattr(self.library, TF32 if tf32 and dtype == "float32" else arithmetic)
        # cuBLAS reads an array with its rows side by side as its transpose, so c^T = b^T a^T is what it is asked for
        self.library.gemmStridedBatchedEx(
            self.xp.cuda.get_cublas_handle(),
            self.library.CUBLAS_OP_T if transposed else self.library.CUBLAS_OP_N,
            self.library.CUBLAS_OP_N,
            *(N, M, K),
            self.scalar(dtype, scale).ctypes.data,
            *described(b, kind),
            *described(a, kind),
            self.scalar(dtype, 0.0).ctypes.data,
            *described(c, kind),
            B * H,
            arithmetic,
            self.library.CUBLAS_GEMM_DEFAULT,
        )
        if out is not None and c is not out:
            out[...] = c
            return out
        return c

    @staticmethod
    def _scalar(dtype: str, value: float) -> np.ndarray:
        return np.array(value, dtype=KINDS[dtype][2])


def regular(x: Array) -> bool:
    """Whether numbers of a row lie side by side, rows equally far apart, and so do the matrices of all heads."""
    B, H, rows, width = x.shape
    batch, head, row, number = x.strides
    size = x.itemsize
    side_by_side = (number == size or width == 1) and (rows == 1 or row >= width * size)
    return side_by_side and (B == 1 or batch == H * head)


def described(x: Array, kind: int) -> tuple[int, int, int, int]:
    """Where an array begins, its type, and how many numbers on are its next row and its next matrix."""
    _, H, rows, width = x.shape
    batch, head, row, _ = x.strides
    leading = row // x.itemsize if rows > 1 else width
    return x.data.ptr, kind, leading, (head if H > 1 else batch) // x.itemsize
