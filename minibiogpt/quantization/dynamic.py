"""Weights of 8 bits that are multiplied with activations of 8 bits: int8-dynamic.

Each row of activations is quantized on the way into a product, as a row of a weight is: the largest absolute value
becomes 127. The product is one of integers, which is exact, and each sum is multiplied with both scales:

    y[m, n] = (sum over k of a[m, k] w[n, k]) * scale_a[m] * scale_w[n]

Source: LLM.int8 (Dettmers et al. 2022), section 2; dynamic quantization in PyTorch and ONNX Runtime is the same, but
for a zero point of the activations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from threading import Lock
from typing import Any, Self

import numpy as np

from minibiogpt.backend import Array
from minibiogpt.backend.products import integer_product
from minibiogpt.backend.products.packed import Layout
from minibiogpt.quantization import rows
from minibiogpt.quantization.weights import FLOAT32, EightBits

ZERO = 128  # added to integers of activations, as processors multiply uint8 with int8


class QuantizedRows:
    """Rows that were quantized to 8 bits on the way into a product.

    Attributes
    ----------
    codes : (M, K) uint8, the integers plus ``ZERO``.
    scales : (M, 1) float32.
    outliers : the columns that stay floats, and their values (M, columns); None if there are none.
    """

    def __init__(self, given: np.ndarray, threshold: float) -> None:
        given = given.astype(np.float32, copy=False)
        size = np.abs(given)
        self.outliers: tuple[np.ndarray, np.ndarray] | None = None
        columns = np.empty(0, np.intp)
        if threshold:
            large = size >= threshold
            columns = np.flatnonzero(large.any(axis=0))
            size[large] = 0
        absmax = size.max(axis=1, initial=0, keepdims=True)
        with np.errstate(divide="ignore", over="ignore"):
            steps = rows.LARGEST * (1 / absmax)
        steps[~np.isfinite(steps)] = 0
        codes = given * steps
        np.rint(codes, out=codes)
        if columns.size:
            codes[:, columns] = 0
            self.outliers = columns, given[:, columns]
        codes += ZERO
        self.codes, self.scales = codes.astype(np.uint8), absmax * rows.STEP

    def __getitem__(self, some: slice) -> Self:
        """Return some of the rows."""
        other = copy.copy(self)
        other.codes, other.scales = self.codes[some], self.scales[some]
        if self.outliers is not None:
            columns, values = self.outliers
            other.outliers = columns, values[some]
        return other


class Codes:
    """The int8 codes (N, K) of a weight, in the order that the product reads fastest, once one has used them.

    They are in memory once: ``plain`` restores their own order.
    """

    def __init__(self, plain: np.ndarray) -> None:
        self.form: tuple[Any, Any] = None, plain  # the product whose order it is, and the codes in it
        self.lock = Lock()

    def ordered(self, product: Any) -> Any:
        """Return the codes in the order of a product."""
        form = self.form
        if form[0] is not product:
            with self.lock:
                if self.form[0] is not product:
                    self.form = product, product.order_integers(self.plain())
                form = self.form
        return form[1]

    def plain(self) -> np.ndarray:
        """Return the codes row by row."""
        product, codes = self.form
        plain: np.ndarray = codes if product is None else product.restore_integers(codes)
        return plain

    def __reduce__(self) -> tuple[Any, ...]:
        return Codes, (self.plain(),)


class DynamicEightBits(EightBits):
    """A weight of 8-bit integers that is multiplied with integers: rows are quantized to 8 bits on the way.

    Attributes
    ----------
    store : the codes.
    scales : (N,) float32, the largest absolute value of each row: the scale is 1 / 127 of it.
    threshold : columns with a number of at least this size are multiplied as floats (LLM.int8); 0: none.
    correction : (N,) int32, ``ZERO`` times the sum of each row's codes: what ``ZERO`` adds to a product.
    """

    in_tiles = False

    def __init__(
        self, shape: tuple[int, int], codes: Array, scales: Array, threshold: float = 0.0, dtype: np.dtype = FLOAT32
    ) -> None:
        self.shape, self.scales, self.threshold, self.dtype = shape, scales, threshold, dtype
        self.store, self.correction = Codes(codes), ZERO * codes.sum(axis=1, dtype=np.int32)

    @property
    def codes(self) -> Array:
        """(N, K) int8."""
        return self.store.plain()

    @property
    def arrays(self) -> tuple[Array, ...]:
        return self.codes, self.scales, self.correction

    @property
    def sample(self) -> Array:
        return self.scales

    @property
    def nbytes(self) -> int:
        return self.size + self.scales.nbytes + self.correction.nbytes

    def with_arrays(self, change: Callable[[Array], Array]) -> Self:
        return type(self)(self.shape, change(self.codes), change(self.scales), self.threshold, self.dtype)

    @property
    def layout(self) -> Layout:
        return super().layout._replace(threshold=self.threshold)

    def quantized(self, x: np.ndarray) -> Self:
        return type(self)(self.shape, *rows.quantize(x), self.threshold, self.dtype)

    def prepared(self, rows: np.ndarray) -> Any:
        return QuantizedRows(rows, self.threshold)

    def multiply(self, given: QuantizedRows, product: Any, tile: np.ndarray, out: np.ndarray) -> None:
        """Write the product to out: integers times integers, times the scales; outliers as floats."""
        integers, sums = integer_product(product), np.empty(out.shape, np.int32)
        integers.multiply_ordered(given.codes, self.store.ordered(integers), sums)
        sums -= self.correction
        out[...] = sums * (given.scales * self._scales())
        if given.outliers is not None:
            columns, values = given.outliers
            out += values @ (self.codes[:, columns] * self._scales()[:, None]).T
