"""Products by NumPy's own ``@``, which calls the BLAS library that NumPy was built with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend.forks import PRODUCTS
from minibiogpt.backend.products.base import Product
from minibiogpt.backend.products.packed import PackedWeight, Weight
from minibiogpt.backend.threads import WORKERS, Workers


class FewRows(NamedTuple):
    """How 2 to ``most`` rows are multiplied with a weight: block by block, each by a faster routine than the whole.

    A product of matrices first packs (copies) the weight. With few rows that takes longer than it saves.

    Attributes
    ----------
    small : as products of small matrices, which OpenBLAS doesn't pack where it has kernels for them: a block has at
        most ``size`` multiplications. Otherwise as products of a matrix and a vector: a block is multiplied by one
        row after another while it is in the cache, and has ``size`` elements.
    """

    small: bool
    size: int
    most: int


LARGE = 1 << 18  # elements of a weight from which on blocks pay
# By OpenBLAS's kernels. Measured: tools/few_rows.py and its table in docs/performance.md. Its kernels for small
# matrices take M * N * K <= 10^6; it has them for AVX-512 only.
VECTORS = FewRows(False, 1 << 16, 8)
KERNELS = {"SkylakeX": FewRows(True, 10**6, 48), "Cooperlake": FewRows(True, 10**6, 48)}


class NumpyProduct(Product):
    """What ``@`` computes, with few rows block by block."""

    name = "numpy"

    def __init__(self) -> None:
        self.last_rows = 0  # of the product before

    @property
    def few_rows(self) -> FewRows:
        return KERNELS.get(WORKERS.blas.kernel, VECTORS)

    def linear(
        self, rows: np.ndarray, weight: Weight, bias: np.ndarray | None, out: np.ndarray, workers: Workers
    ) -> None:
        """Write ``rows @ weight.T + bias`` to out.

        One row after another is left to BLAS and its threads, which start faster than workers. A single one isn't:
        these threads keep their cores busy for a while afterwards.
        """
        packed = isinstance(weight, PackedWeight)
        decoding, self.last_rows = self.last_rows == len(rows) == 1, 0 if packed else len(rows)
        if decoding and out.dtype.itemsize > 2 and isinstance(weight, np.ndarray):
            with PRODUCTS:
                np.matmul(rows, weight.T, out=out)
            if bias is not None:
                out += bias
        else:
            super().linear(rows, weight, bias, out, workers)

    def multiply(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Write ``rows @ weight.T`` to out. The outputs beyond the last whole block are multiplied at once."""
        (M, K), N, few = rows.shape, len(weight), self.few_rows
        step = _power_of_two(few.size // (M * K if few.small else K)) if 2 <= M <= few.most else 0
        blocks = N // step if step > 1 and self._is_large(weight) else 0
        whole = blocks * step
        if blocks and few.small:
            out[:, :whole] = (weight[:whole].reshape(blocks, step, K) @ rows.T).reshape(whole, M).T
        elif blocks:
            parts = weight[:whole].reshape(blocks, 1, step, K) @ rows[:, :, None]
            out[:, :whole] = parts.reshape(blocks, M, step).transpose(1, 0, 2).reshape(M, whole)
        if whole < N:
            np.matmul(rows, weight[whole:].T, out=out[:, whole:])

    def _is_large(self, weight: np.ndarray) -> bool:
        """Whether blocks pay: the parts of all workers together are a few times as large as a cache."""
        return weight.size * WORKERS.count >= LARGE and weight.flags.c_contiguous

    def describe(self) -> dict[str, Any]:
        blas = WORKERS.blas
        versions = [f"{one.internal_api} {one.version}" for one in blas.libraries]
        return {"library": ", ".join(versions) or "unknown", "kernel": blas.kernel or "unknown"}


def _power_of_two(x: int) -> int:
    """Return the largest power of two that is at most x; 0 for 0."""
    return 1 << x.bit_length() >> 1
