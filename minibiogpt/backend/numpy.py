"""NumPy as a backend: arrays in the computer's memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minibiogpt.backend.base import Array, Backend
from minibiogpt.backend.buffers import BufferPool
from minibiogpt.backend.erf import erf as numpy_erf

PAGE = 1 << 21  # bytes of a large page


class NumpyBackend(Backend):
    """Arrays in the computer's memory."""

    name, xp, array_type = "numpy", np, np.ndarray
    float_dtypes = ("float32", "float64")
    block_elements = 1 << 16  # a few arrays of so many float32 stay in a core's cache from one step to the next
    few_rows = 7
    # Numbers of a weight that stay in the caches of two cores. With fewer, OpenBLAS uses one core.
    cache_block = 1 << 19

    def __init__(self) -> None:
        self._memory = BufferPool()

    def to_numpy(self, x: Array) -> np.ndarray:
        return x

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A large one lies where an earlier one lay."""
        return self._memory.empty(shape, dtype)

    def erf(self, x: Array) -> Array:
        return numpy_erf(x)

    def allocate(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """All in one block of memory, from the start of a large page on: decoding waits for weights to be read, and
        large pages are read faster."""
        sizes = [math.prod(shape) for shape in shapes.values()]
        block = np.empty(sum(sizes) + PAGE // np.dtype(dtype).itemsize, dtype)
        place = -block.ctypes.data % PAGE // block.itemsize
        for (name, shape), size in zip(shapes.items(), sizes, strict=True):
            yield name, block[place : place + size].reshape(shape)
            place += size

    def product(self, rows: Array, weight: Array, bias: Array | None = None) -> Array:
        """The same for a few rows with less reading: a matrix times vectors, while a share of it is in the cache.

        A BLAS prepares a matrix for matrix products by copying it, which takes longer than a few rows are worth.
        """
        (M, _), (out, width) = rows.shape, weight.shape
        y = self.empty((M, out), rows.dtype)
        step = max(1, self.cache_block // width)
        whole = out - out % step
        if 2 <= M <= self.few_rows and whole and weight.flags.c_contiguous:
            parts = weight[:whole].reshape(-1, 1, step, width) @ rows[:, :, None]  # share by share, in each row by row
            y[:, :whole].reshape(M, -1, step)[...] = parts[..., 0].transpose(1, 0, 2)
            np.matmul(rows, weight[whole:].T, out=y[:, whole:])
        else:
            np.matmul(rows, weight.T, out=y)
        if bias is not None:
            y += bias
        return y
