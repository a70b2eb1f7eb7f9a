"""The interface of a library of matrix products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import local
from typing import Any

import numpy as np

from minibiogpt.backend.threads import Workers

MIN_WORK = 1 << 20  # multiplications: a smaller product ends before a second thread has started
HIGHEST = 65504.0  # of float16
BLOCK = 512  # terms of uint8 times int8 whose sum is exact in float32: 512 * 255 * 128 < 2^24
TILE = 1 << 20  # elements of a 16-bit weight that are widened at a time: in smaller ones threads wait for each other


class Product(ABC):
    """A library of matrix products: how ``rows @ weight.T + bias`` is computed, which is the same for all layers.

    Attributes
    ----------
    name : as ``get_backend("numpy", product=name)`` takes it.
    bfloat16 : whether it multiplies bfloat16 itself, faster than float32. Otherwise weights are widened tile by tile.
    own_rows : the fewest rows that it multiplies itself; fewer are NumPy's.
    """

    name: str
    bfloat16 = False
    own_rows = 1

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

    def linear(
        self, rows: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, out: np.ndarray, workers: Workers
    ) -> None:
        """Write ``rows @ weight.T + bias`` to out; each worker computes some of the outputs.

        Shapes: rows (M, K), weight (N, K), bias (N,) or None, out (M, N); all of one dtype.
        """
        (M, K), N = rows.shape, len(weight)
        narrow = out.dtype.itemsize == 2
        native = narrow and self.bfloat16 and out.dtype.name == "bfloat16"
        if narrow and not native:
            rows = rows.astype(np.float32)

        def part(i: int) -> None:
            columns = slice(i * step, min((i + 1) * step, N))
            y = out[:, columns]
            if native:
                y = np.empty(y.shape, np.float32)
                self.multiply_bfloat16(rows, weight[columns], y)
            elif narrow:
                y = self._multiply_in_tiles(rows, weight[columns])
            else:
                self.multiply(rows, weight[columns], y)
            if bias is not None:
                y += bias[columns]
            if narrow:
                out[:, columns] = y

        threads = workers.count if M * K * N >= MIN_WORK else 1
        # Two parts a thread, as a thread may start late; of a 16-bit weight one, as each needs more of Python.
        parts = threads * (1 if narrow or threads == 1 else 2)
        step = max(1, -(-N // parts))
        workers.run(part, -(-N // step))

    def _multiply_in_tiles(self, rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return ``rows @ weight.T`` in float32, for a weight of 16 bits, which is widened a tile at a time."""
        N, K = weight.shape
        y = np.empty((len(rows), N), np.float32)
        step = max(1, TILE // K)
        tile = _SCRATCH.tile(min(step, N) * K).reshape(-1, K)
        for start in range(0, N, step):
            few = weight[start : start + step]
            wide = tile[: len(few)]
            widen(few, wide)
            self.multiply(rows, wide, y[:, start : start + step])
        return y

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


class _Scratch(local):
    """Memory of each thread that its tiles use again: fresh memory is slow."""

    memory = np.empty(0, np.float32)

    def tile(self, size: int) -> np.ndarray:
        if self.memory.size < size:
            self.memory = np.empty(size, np.float32)
        return self.memory[:size]


_SCRATCH = _Scratch()
