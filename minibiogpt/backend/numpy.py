"""The NumPy backend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minibiogpt.backend.base import Array, Backend, ignore_overflow
from minibiogpt.backend.buffers import BufferPool
from minibiogpt.backend.erf import erf as numpy_erf
from minibiogpt.backend.forks import PRODUCTS

HUGE_PAGE = 1 << 21  # bytes


class NumpyBackend(Backend):
    """NumPy arrays, computed on the CPU."""

    name, xp, array_type = "numpy", np, np.ndarray
    float_dtypes = ("float32", "float64")
    block_elements = 1 << 16  # a few float32 arrays of this size stay in a core's cache between operations
    few_rows = 7
    # Elements of a weight block that fits in the caches of two cores. For smaller blocks OpenBLAS uses one core.
    cache_block = 1 << 19

    def __init__(self) -> None:
        self._buffers = BufferPool()

    def to_numpy(self, x: Array) -> np.ndarray:
        return x

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an uninitialized array. Large arrays reuse memory from a buffer pool."""
        return self._buffers.empty(shape, dtype)

    @ignore_overflow
    def erf(self, x: Array) -> Array:
        return numpy_erf(x)

    def allocate(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """Yield an uninitialized array for each name, all in one block aligned to a huge page.

        Decoding is bound by reading the weights, and huge pages are read faster.
        """
        sizes = [math.prod(shape) for shape in shapes.values()]
        block = np.empty(sum(sizes) + HUGE_PAGE // np.dtype(dtype).itemsize, dtype)
        offset = -block.ctypes.data % HUGE_PAGE // block.itemsize
        for (name, shape), size in zip(shapes.items(), sizes, strict=True):
            yield name, block[offset : offset + size].reshape(shape)
            offset += size

    def product(self, rows: Array, weight: Array, bias: Array | None = None) -> Array:
        """Return ``rows @ weight.T + bias``. With a few rows, each block of the weight is reused while cached.

        For a matrix product BLAS first packs (copies) the matrix. With few rows that takes longer than it saves, so
        each block is multiplied by one row at a time (matrix times vector).
        """
        (M, _), (out, width) = rows.shape, weight.shape
        y = self.empty((M, out), rows.dtype)
        step = max(1, self.cache_block // width)
        whole = out - out % step
        with PRODUCTS:
            if 2 <= M <= self.few_rows and whole and weight.flags.c_contiguous:
                blocks = weight[:whole].reshape(-1, 1, step, width)
                parts = blocks @ rows[:, :, None]  # block by block, one row at a time
                y[:, :whole].reshape(M, -1, step)[...] = parts[..., 0].transpose(1, 0, 2)
                np.matmul(rows, weight[whole:].T, out=y[:, whole:])
            else:
                np.matmul(rows, weight.T, out=y)
        if bias is not None:
            y += bias
        return y

    def head_products(
        self, a: Array, b: Array, *, transposed: bool = False, scale: float = 1.0, out: Array | None = None
    ) -> Array:
        with PRODUCTS:
            return super().head_products(a, b, transposed=transposed, scale=scale, out=out)
