"""Products with packed weights on a device: a few rows by the kernels of packed.cu, more by cuBLAS, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend.kernels import ROWS, SOURCE, THREADS, WARP, CompiledKernels
from minibiogpt.backend.products.packed import Array, Layout, PackedWeight

TILE = 1 << 22  # values that are unpacked at a time: 8 MB in float16, large enough for cuBLAS at full speed
ALIGNED = 64  # outputs of a tile are a multiple of this, as tensor cores need a multiple of 8
EXACT = 1024  # terms of two 8-bit integers whose sum is exact in float32: 1024 * 127 * 128 < 2^24


class PackedProducts(CompiledKernels):
    """A callable: ``rows @ weight.T + bias`` for a packed weight on a device, and ``unpack``."""

    sources = (SOURCE, Path(__file__).with_name("packed.cu"))

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self._numbers: dict[bytes, Array] = {}  # of the code books, on the device

    def __call__(
        self, rows: Array, weight: PackedWeight, layout: Layout, bias: Array | None, few: bool = True
    ) -> Array:
        """Return rows (M, K) @ weight (N, K).T + bias (N,) or None, (M, N) in the dtype of rows.

        Parameters
        ----------
        layout : of the weight.
        few : whether kernels may multiply, if there are at most ``few_rows`` rows. They read the weight in its packed
            form, and a CUDA graph can capture them. Otherwise cuBLAS multiplies.
        """
        rows = self.xp.ascontiguousarray(rows)
        if few and len(rows) <= self.few_rows and weight.size and self.takes(rows, bias):
            bias = None if bias is None else self.xp.ascontiguousarray(bias)
            multiply = self._few if layout.threshold is None else self._few_integers
            return multiply(rows, weight.shape, layout, bias)
        y = self.xp.empty((len(rows), len(weight)), dtype=rows.dtype)
        if not y.size:
            return y
        if layout.threshold is None:
            for columns in _tiles(*weight.shape):
                y[:, columns] = rows @ self._unpacked(layout, weight.shape[1], columns, rows.dtype).T
        else:
            self._integers(rows, layout, layout.threshold, y)
        if bias is not None:
            y += bias
        return y

    def unpack(self, weight: PackedWeight, layout: Layout) -> Array:
        """Return the values of a weight as an array (N, K), in its dtype."""
        N, K = weight.shape
        return self._unpacked(layout, K, slice(0, N), weight.dtype)

    def _unpacked(self, layout: Layout, K: int, columns: slice, dtype: Any) -> Array:
        """Return some rows of a weight, which are columns of the product: (columns, K), in this dtype."""
        N = columns.stop - columns.start
        y = self.xp.empty((N, K), dtype=dtype)
        if y.size:
            arrays, numbers = self._arguments(layout)
            blocks = math.ceil(N * K / THREADS)
            self._launch("unpack", y.dtype, blocks, *arrays, y, *numbers, N, K, layout.first + columns.start)
        return y

    def _few(self, rows: Array, shape: tuple[int, int], layout: Layout, bias: Array | None) -> Array:
        """Multiply a few rows (M, K), C-contiguous, with the values of a weight of shape (N, K)."""
        (M, K), N = rows.shape, shape[0]
        y = self.xp.empty((M, N), dtype=rows.dtype)
        arrays, numbers = self._arguments(layout)
        eights = K % 8 == 0 and self._is_packed(rows, step=K) and layout.codes.data.ptr % 8 == 0
        sizes = M, N, K, layout.first, int(eights)
        self._launch_rows(
            "packed_product", rows.dtype, M, N, rows, *arrays, 0 if bias is None else bias, y, *numbers, *sizes
        )
        return y

    def _few_integers(self, rows: Array, shape: tuple[int, int], layout: Layout, bias: Array | None) -> Array:
        """Multiply a few rows (M, K), C-contiguous, with a weight of shape (N, K), both as integers."""
        (M, K), N = rows.shape, shape[0]
        codes, scales, outliers = self._quantized(rows, layout.threshold or 0.0, layout.unit)
        y = self.xp.empty((M, N), dtype=rows.dtype)
        weight, weight_scales = (self.xp.ascontiguousarray(x) for x in (layout.codes, layout.scales))
        eights = K % 8 == 0 and codes.data.ptr % 8 == 0 and weight.data.ptr % 8 == 0
        given = rows, 0 if outliers is None else outliers, 0 if bias is None else bias
        both = codes, scales, weight, weight_scales, layout.unit
        self._launch_rows("integer_product", rows.dtype, M, N, *both, *given, y, M, N, K, int(eights))
        return y

    def _integers(self, rows: Array, layout: Layout, threshold: float, out: Array) -> None:
        """Write rows (M, K) times weight (N, K), both as integers, to out (M, N), by exact float32 products."""
        xp, K = self.xp, rows.shape[1]
        codes, scales, outliers = self._quantized(rows, threshold, layout.unit)
        wide = "float64" if str(out.dtype) == "float64" else "float32"
        columns = None if outliers is None else xp.nonzero(outliers)[0]
        for few in _tiles(out.shape[1], K):
            weight, weight_scales = layout.codes[few], layout.scales[few] * np.float32(layout.unit)
            sums = xp.zeros((len(rows), len(weight)), dtype="int32")
            for start in range(0, K, EXACT):
                terms = slice(start, start + EXACT)
                part = codes[:, terms].astype("float32") @ weight[:, terms].astype("float32").T
                sums += part.astype("int32")
            y = sums.astype(wide) * (scales[:, None] * weight_scales)
            if columns is not None and columns.size:
                values = weight[:, columns].astype("float32") * weight_scales[:, None]
                y += rows[:, columns].astype("float32") @ values.T
            out[:, few] = y

    def _quantized(self, rows: Array, threshold: float, unit: float) -> tuple[Array, Array, Array | None]:
        """Return rows (M, K) as int8, the scale of each (M,), and whether each column has outliers, (K,) uint8."""
        (M, K), xp = rows.shape, self.xp
        outliers = None
        if threshold:
            outliers = xp.empty((K,), dtype="uint8")
            self._launch("find_outliers", rows.dtype, math.ceil(K / THREADS), rows, outliers, M, K, threshold)
        codes, scales = xp.empty((M, K), dtype="int8"), xp.empty((M,), dtype="float32")
        given = rows, 0 if outliers is None else outliers, codes, scales, K, threshold, unit
        self._launch("quantize_rows", rows.dtype, M, *given)
        return codes, scales, outliers

    def _launch_rows(self, name: str, dtype: Any, M: int, N: int, *args: Any) -> None:
        """Launch a kernel in which each warp computes one column of (M, N), for one row or for up to ``ROWS``."""
        rows = 1 if M == 1 else ROWS
        blocks = math.ceil(N / (THREADS // WARP)) * math.ceil(M / rows)
        self._launch(f"{name}_{rows}", dtype, blocks, *args)

    def _arguments(self, layout: Layout) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the arrays and the numbers that describe a weight to the kernels, in the order of their arguments."""
        codes, scales, *nested = (self.xp.ascontiguousarray(x) for x in (layout.codes, layout.scales, *layout.nested))
        both = (codes, 0) if layout.bits == 4 else (0, codes)
        numbers = 0 if layout.numbers is None else self._on_device(layout.numbers)
        either = (0, scales) if str(scales.dtype) == "float16" else (scales, 0)
        block, group = layout.block.bit_length() - 1, layout.group.bit_length() - 1
        arrays = *both, numbers, *either, *(nested or (0, 0))
        return arrays, (block, group, layout.offset, layout.unit)

    def _on_device(self, numbers: np.ndarray) -> Array:
        key = numbers.tobytes()
        if key not in self._numbers:
            self._numbers[key] = self.xp.asarray(numbers)
        return self._numbers[key]


def _tiles(N: int, K: int) -> Iterator[slice]:
    """Yield the outputs of each tile of a weight (N, K)."""
    step = max(1, TILE // max(K, 1))
    step = step // ALIGNED * ALIGNED or step
    for start in range(0, N, step):
        yield slice(start, min(start + step, N))
