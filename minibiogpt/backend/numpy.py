"""The NumPy backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from minibiogpt.backend.base import HALVES, Array, Backend, ignore_overflow
from minibiogpt.backend.buffers import BufferPool
from minibiogpt.backend.erf import erf as numpy_erf
from minibiogpt.backend.forks import PRODUCTS
from minibiogpt.backend.products.base import Product
from minibiogpt.backend.products.numpy import NumpyProduct
from minibiogpt.backend.threads import WORKERS

HUGE_PAGE = 1 << 21  # bytes
BUFFERS = BufferPool()  # of all instances


class NumpyBackend(Backend):
    """NumPy arrays, computed on the CPU."""

    name, xp, array_type = "numpy", np, np.ndarray
    block_elements = 1 << 17  # a few float32 arrays of this size stay in a core's cache between operations

    def __init__(self, product: Product | None = None) -> None:
        self.products, self._buffers = product or NumpyProduct(), BUFFERS

    @cached_property
    def float_dtypes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the compute dtypes. NumPy has no bfloat16 of its own: the package ml_dtypes defines it."""
        try:
            import ml_dtypes  # noqa: F401
        except ImportError:
            return ("float32", "float64", "float16")
        return ("float32", "float64", *HALVES)

    @property
    def product_name(self) -> str:
        return self.products.name

    @property
    def threads(self) -> int:  # type: ignore[override]
        """As many as NumPy's BLAS library was given."""
        return WORKERS.count

    def run_parts(self, function: Callable[[int], None], count: int) -> None:
        """Call ``function(i)`` for each part, on all threads."""
        WORKERS.run(function, count)

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
        """Return ``rows @ weight.T + bias``, computed by ``products``."""
        y = self.empty((len(rows), len(weight)), rows.dtype)
        self.products.linear(rows, weight, bias, y, WORKERS)
        return y

    def head_products(
        self, a: Array, b: Array, *, transposed: bool = False, scale: float = 1.0, out: Array | None = None
    ) -> Array:
        """Return ``scale * a @ b`` for each head. float16 and bfloat16 are multiplied in float32."""
        dtype = a.dtype
        if dtype.itemsize == 2:
            a, b = a.astype(np.float32), b.astype(np.float32)
        with PRODUCTS:
            y = super().head_products(a, b, transposed=transposed, scale=scale, out=out)
        return y if out is not None else y.astype(dtype, copy=False)

    def sum_dtype(self, dtype: Any) -> Any:
        return np.float32 if np.dtype(dtype).itemsize == 2 else dtype
