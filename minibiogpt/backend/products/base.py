"""The interface of a library of matrix products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from threading import local
from typing import Any

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight, Weight
from minibiogpt.backend.threads import Workers

MIN_WORK = 1 << 20  # multiplications: a smaller product ends before a second thread has started
INTEGER_WORK = 1 << 25  # the same of integers, which are faster than it takes to start a thread
HIGHEST = 65504.0  # of float16
BLOCK = 512  # terms of uint8 times int8 whose sum is exact in float32: 512 * 255 * 128 < 2^24
TILE = 1 << 20  # elements of a narrow weight that are widened at a time: in smaller ones threads wait for each other


class Product(ABC):
    """A library of matrix products: how ``rows @ weight.T + bias`` is computed, which is the same for all layers.

    Attributes
    ----------
    name : as ``get_backend("numpy", product=name)`` takes it.
    bfloat16 : whether it multiplies bfloat16 itself, faster than float32. Otherwise weights are widened tile by tile.
    own_rows : the fewest rows that it multiplies itself; fewer are NumPy's.
    fast_integers : whether ``multiply_integers`` is faster than float32, and exact as everywhere.
    """

    name: str
    bfloat16 = False
    own_rows = 1
    fast_integers = False

    @abstractmethod
    def multiply(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Write ``rows @ weight.T`` to out, on this thread alone. All are float32 or all float64.

        Shapes: rows (M, K), weight (N, K), out (M, N). The elements of a row are contiguous.
        """

    def multiply_bfloat16(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Write ``rows @ weight.T``, bfloat16 with float32 sums, to out, float32, on this thread alone."""
        raise NotImplementedError(f"product {self.name} does not multiply bfloat16")

    def multiply_integers(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Write ``rows @ weight.T`` to out, int32, exactly: rows (M, K) uint8, weight (N, K) int8.

        By default in float32, whose sums of at most ``BLOCK`` such terms are exact.
        """
        out[...] = 0
        for start in range(0, rows.shape[1], BLOCK):
            block = slice(start, start + BLOCK)
            part = np.empty(out.shape, np.float32)
            self.multiply(rows[:, block].astype(np.float32), weight[:, block].astype(np.float32), part)
            out += part.astype(np.int32)

    def order_integers(self, weight: np.ndarray) -> Any:
        """Return a weight (N, K), int8, in the form that ``multiply_ordered`` reads fastest; by default itself.

        It can't be cut: order the part of each thread on its own.
        """
        return weight

    def restore_integers(self, ordered: Any) -> np.ndarray:
        """Return the weight (N, K), int8, that was ordered."""
        weight: np.ndarray = ordered
        return weight

    def multiply_ordered(self, rows: np.ndarray, ordered: Any, out: np.ndarray) -> None:
        """Compute what ``multiply_integers`` does, with a weight of ``order_integers``."""
        self.multiply_integers(rows, ordered, out)

    def linear(
        self, rows: np.ndarray, weight: Weight, bias: np.ndarray | None, out: np.ndarray, workers: Workers
    ) -> None:
        """Write ``rows @ weight.T + bias`` to out; each worker computes some of the outputs.

        Shapes: rows (M, K), weight (N, K), bias (N,) or None, out (M, N); all of one dtype.
        """
        if isinstance(weight, PackedWeight) and not weight.in_tiles:
            self._share_rows(rows, weight, bias, out, workers)
            return
        (M, K), N = rows.shape, len(weight)
        packed, narrow = isinstance(weight, PackedWeight), out.dtype.itemsize == 2
        native = narrow and self.bfloat16 and out.dtype.name == "bfloat16" and not packed
        if narrow and not native:
            rows = rows.astype(np.float32)
        if isinstance(weight, PackedWeight):
            rows = weight.prepared(rows)

        def part(i: int) -> None:
            columns = slice(i * step, min((i + 1) * step, N))
            y = np.empty((M, columns.stop - columns.start), np.float32) if narrow else out[:, columns]
            if isinstance(weight, PackedWeight):
                self._multiply_packed(rows, weight.part(columns.start, columns.stop), y)
            elif native:
                self.multiply_bfloat16(rows, weight[columns], y)
            elif narrow:
                self._multiply_in_tiles(rows, weight[columns], y)
            else:
                self.multiply(rows, weight[columns], y)
            if bias is not None:
                y += bias[columns]
            if narrow:
                out[:, columns] = y

        threads = workers.count if M * K * N >= MIN_WORK else 1
        # Two parts a thread, as a thread may start late; of a narrow weight one, as each needs more of Python.
        parts = threads * (1 if narrow or packed or threads == 1 else 2)
        step = max(1, -(-N // parts))
        workers.run(part, -(-N // step))

    def _share_rows(
        self, rows: np.ndarray, weight: PackedWeight, bias: np.ndarray | None, out: np.ndarray, workers: Workers
    ) -> None:
        """Write ``rows @ weight.T + bias`` to out; each worker multiplies some of the rows with the whole weight."""
        (M, K), (N, _), narrow = rows.shape, weight.shape, out.dtype.itemsize == 2
        given = weight.prepared(rows)

        def part(i: int) -> None:
            some = slice(i * step, (i + 1) * step)
            y = np.empty(out[some].shape, np.float32) if narrow else out[some]
            weight.multiply(given[some], self, _SCRATCH.memory, y)
            if bias is not None:
                y += bias
            if narrow:
                out[some] = y

        threads = workers.count if M * K * N >= INTEGER_WORK else 1
        step = max(1, -(-M // threads))
        workers.run(part, -(-M // step))

    def _multiply_in_tiles(self, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        """Write ``rows @ weight.T`` to out, float32, for a weight of 16 bits, which is widened a tile at a time."""
        for few, tile in _tiles(*weight.shape):
            widen(weight[few], tile)
            self.multiply(rows, tile, out[:, few])

    def _multiply_packed(self, rows: np.ndarray, weight: PackedWeight, out: np.ndarray) -> None:
        """Write ``rows @ weight.T`` to out, for a packed weight, which is unpacked a tile at a time."""
        for few, tile in _tiles(*weight.shape):
            weight.part(few.start, few.stop).multiply(rows, self, tile, out[:, few])

    def describe(self) -> dict[str, Any]:
        """Return what the library says of itself: its version, its kernels, its file."""
        return {}


def widen(x: np.ndarray, out: np.ndarray) -> None:
    """Write x, float16 or bfloat16, to out, float32 and contiguous. Every value stays what it is.

    NumPy converts float16 number by number. Its bits, moved to where float32 has sign, exponent and fraction, are a
    float32 that is 2^112 times too small, because the exponents' biases are 15 and 127: six times faster.

    Examples
    --------
    >>> out = np.empty(3, np.float32)
    >>> widen(np.array([1.5, -65504, 2**-24], np.float16), out)
    >>> out.tolist()
    [1.5, -65504.0, 5.960464477539063e-08]
    """
    if x.dtype != np.float16:
        np.copyto(out, x)
        return
    bits = out.view(np.int32)
    np.copyto(bits, x.view(np.int16))  # 16 copies of the sign, then 15 bits
    bits <<= 13
    bits &= np.int32(-0x70002000)  # 0x8fffe000: the sign, 5 bits of the exponent, 10 of the fraction
    out *= np.float32(2.0**112)
    if out.size and not -HIGHEST <= out.min() <= out.max() <= HIGHEST:  # infinity and NaN: no exponent like others
        np.copyto(out, x)


def _tiles(N: int, K: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield each part of N outputs, and memory (part, K) of this thread for its values, float32."""
    step = max(1, TILE // max(K, 1))
    memory = _SCRATCH.tile(min(step, N) * K)
    for start in range(0, N, step):
        few = slice(start, min(start + step, N))
        yield few, memory[: (few.stop - start) * K].reshape(-1, K)


class _Scratch(local):
    """Memory of each thread that its tiles use again: fresh memory is slow."""

    memory = np.empty(0, np.float32)

    def tile(self, size: int) -> np.ndarray:
        if self.memory.size < size:
            self.memory = np.empty(size, np.float32)
        return self.memory[:size]


_SCRATCH = _Scratch()
