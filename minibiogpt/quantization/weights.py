"""Weights of 4 and of 8 bits: packed arrays and scales in memory, unpacked a tile at a time by ``Backend.product``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np

from minibiogpt.backend import Array
from minibiogpt.backend.products.packed import Layout, PackedWeight
from minibiogpt.quantization import blocks, double, four_bits, rows
from minibiogpt.quantization.code_books import CODE_BOOKS, Q4_0
from minibiogpt.quantization.double import DoubleQuantized

FEW = 1  # rows: with at most so many it is faster to scale the sum of each block than each value
FLOAT32 = np.dtype(np.float32)


def numbers_of(code_book: str) -> np.ndarray:
    """Return what the 16 codes mean, float32 (16,)."""
    return Q4_0 if code_book == "q4_0" else CODE_BOOKS[code_book]


@cache
def four_values(code_book: str) -> np.ndarray:
    """Return the values of each 2 bytes, (65536,): four float32 each, as one complex128 that is copied at once."""
    book = numbers_of(code_book)
    pairs = np.stack(np.broadcast_arrays(book[:, None], book[None, :]), axis=-1).reshape(256, 2)  # high half first
    first, second = np.broadcast_arrays(pairs[None, :], pairs[:, None])  # the low byte is first in memory
    return np.concatenate([first, second], axis=-1).reshape(65536, 4).view(np.complex128).reshape(-1)


def multiply_blocks(given: np.ndarray, codes: np.ndarray, scales: np.ndarray, product: Any, out: np.ndarray) -> None:
    """Write ``given @ (codes * scales).T`` to out, where each scale belongs to a block of codes.

    Few rows: the sum over each block, times its scale. More rows: the codes are scaled first, in place.

    Shapes: given (M, K), codes (N, K), scales (N, blocks), out (M, N).
    """
    (M, K), (N, count) = given.shape, scales.shape
    parts = codes.reshape(N, count, K // count)
    if M > FEW:
        parts *= scales[:, :, None]
        product.multiply(given, codes, out)
        return
    sums = parts.transpose(1, 0, 2) @ given.reshape(M, count, K // count).transpose(1, 2, 0)
    sums *= scales.T[:, :, None]
    out[...] = sums.sum(axis=0).T


@dataclass(eq=False, repr=False)
class FourBits(PackedWeight):
    """A weight of 4-bit codes in blocks of consecutive elements (row by row); a value is code_book[code] * scale.

    Attributes
    ----------
    code_book : "nf4", "fp4" or "q4_0".
    packed : (blocks, block / 2) uint8; of each byte the high half is the first code. The last block may be padded.
    scales : (blocks,) float32 or float16, or absmax quantized itself.
    source : the dtype of what was quantized, which files of bitsandbytes name. Values are float32 whatever it is.
    first : the row of the whole weight that is this one's first: a part has the arrays of the whole.
    """

    code_book: str
    shape: tuple[int, int]
    packed: Array
    scales: Array | DoubleQuantized
    dtype: np.dtype = FLOAT32
    source: np.dtype = FLOAT32
    first: int = 0

    @property
    def arrays(self) -> tuple[Array, ...]:
        if isinstance(self.scales, DoubleQuantized):
            return self.packed, self.scales.codes, self.scales.absmax, self.scales.code_book
        return self.packed, self.scales

    @property
    def layout(self) -> Layout:
        layout = Layout(4, self.packed, self.scales, self.block, numbers_of(self.code_book), first=self.first)
        if not isinstance(self.scales, DoubleQuantized):
            return layout
        codes, absmax, offset, code_book, group = self.scales
        return layout._replace(scales=absmax, nested=(codes, code_book), group=group, offset=float(offset))

    @property
    def block(self) -> int:
        """How many codes have one scale."""
        return int(2 * self.packed.shape[1])

    def with_arrays(self, change: Callable[[Array], Array]) -> Self:
        other = copy.copy(self)
        other.packed = change(self.packed)
        if isinstance(self.scales, DoubleQuantized):
            fields = {name: change(getattr(self.scales, name)) for name in ("codes", "absmax", "code_book")}
            other.scales = self.scales._replace(**fields)
        else:
            other.scales = change(self.scales)
        return other

    def part(self, start: int, stop: int) -> Self:
        other = copy.copy(self)
        other.first, other.shape = self.first + start, (stop - start, self.shape[1])
        return other

    def unpack(self, out: np.ndarray) -> None:
        first, last = self._blocks()
        whole = out.reshape(-1) if self._fits() else np.empty((last - first) * self.block, np.float32)
        codes = whole.reshape(-1, self.block)
        self._look_up(codes)
        codes *= self._scales()[:, None]
        if not self._fits():
            begin = self.first * self.shape[1] - first * self.block
            out.reshape(-1)[...] = whole[begin : begin + out.size]

    def multiply(self, given: Any, product: Any, tile: np.ndarray, out: np.ndarray) -> None:
        if not self._fits() or out.dtype != FLOAT32:
            return super().multiply(given, product, tile, out)
        self._look_up(tile.reshape(-1, self.block))
        multiply_blocks(given, tile, self._scales().reshape(len(tile), -1), product, out)
        return None

    def quantized(self, x: np.ndarray) -> Self:
        other = copy.copy(self)
        x = x.astype(self.source, copy=False)
        if self.code_book == "q4_0":
            other.packed, other.scales = pack_q4_0(x)
        else:
            made = four_bit_weight(x, self.code_book, isinstance(self.scales, DoubleQuantized), self.block)
            other.packed, other.scales = made.packed, made.scales
        return other

    def _fits(self) -> bool:
        """Whether blocks end where rows end."""
        return self.shape[1] % self.block == 0

    def _blocks(self) -> tuple[int, int]:
        """Return the first block that the part has values in, and the one after the last."""
        N, K = self.shape
        return self.first * K // self.block, -(-(self.first + N) * K // self.block)

    def _look_up(self, out: np.ndarray) -> None:
        """Write the codes' values to out (blocks, block), four at a time."""
        first, last = self._blocks()
        places = self.packed[first:last].view("<u2")
        four_values(self.code_book).take(places, out=out.view(np.complex128), mode="clip")

    def _scales(self) -> np.ndarray:
        """Return the scale of each block, float32."""
        first, last = self._blocks()
        if isinstance(self.scales, DoubleQuantized):
            return double.dequantize(self.scales, first, last)
        return self.scales[first:last].astype(np.float32, copy=False)


@dataclass(eq=False, repr=False)
class EightBits(PackedWeight):
    """A weight of 8-bit integers; a value is code * scale.

    Attributes
    ----------
    codes : (N, K) int8.
    scales : (N,) float32, the largest absolute value of each row (``int8``: the scale is 1 / 127 of it); or
        (N, K / 32) float16, the scale of each block (``q8_0``).
    """

    shape: tuple[int, int]
    codes: Array
    scales: Array
    dtype: np.dtype = FLOAT32

    @property
    def arrays(self) -> tuple[Array, ...]:
        return self.codes, self.scales

    def with_arrays(self, change: Callable[[Array], Array]) -> Self:
        other = copy.copy(self)
        other.codes, other.scales = change(self.codes), change(self.scales)
        return other

    @property
    def layout(self) -> Layout:
        if self.scales.ndim == 1:
            return Layout(8, self.codes, self.scales, 0, unit=float(rows.STEP))
        return Layout(8, self.codes, self.scales, self.shape[1] // self.scales.shape[1])

    def part(self, start: int, stop: int) -> Self:
        other = self.with_arrays(lambda x: x[start:stop])
        other.shape = stop - start, self.shape[1]
        return other

    def unpack(self, out: np.ndarray) -> None:
        np.copyto(out, self.codes)
        if self.scales.ndim == 1:
            out *= self.scales[:, None]
            out *= rows.STEP
        else:
            parts = out.reshape(*self.scales.shape, -1)
            parts *= self.scales.astype(np.float32)[:, :, None]

    def multiply(self, given: Any, product: Any, tile: np.ndarray, out: np.ndarray) -> None:
        if out.dtype != FLOAT32:
            return super().multiply(given, product, tile, out)
        np.copyto(tile, self.codes)
        if self.scales.ndim == 1:
            product.multiply(given, tile, out)
            out *= self._scales()
        else:
            multiply_blocks(given, tile, self.scales.astype(np.float32), product, out)
        return None

    def quantized(self, x: np.ndarray) -> Self:
        other = copy.copy(self)
        other.codes, other.scales = rows.quantize(x) if self.scales.ndim == 1 else blocks.quantize_q8_0(x)
        return other

    def _scales(self) -> np.ndarray:
        """Return the scale of each row, float32."""
        return self.scales * rows.STEP


def four_bit_weight(x: np.ndarray, code_book: str, double_quant: bool = True, block: int = 64) -> FourBits:
    """Return x (N, K), of floats, as a weight of 4 bits: "nf4" or "fp4", with absmax quantized itself or not."""
    packed, absmax = four_bits.quantize(x, CODE_BOOKS[code_book], block)
    scales = double.quantize(absmax) if double_quant else absmax
    return FourBits(code_book, (len(x), x.shape[1]), whole_blocks(packed, block), scales, source=x.dtype)


def whole_blocks(packed: np.ndarray, block: int) -> np.ndarray:
    """Return packed codes (bytes,) as (blocks, block / 2), padded with zeros."""
    count = -(-packed.size // (block // 2))
    padded = packed
    if packed.size != count * (block // 2):
        padded = np.zeros(count * (block // 2), np.uint8)
        padded[: packed.size] = packed
    return padded.reshape(count, block // 2)


def pack_q4_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x (N, K) in q4_0, as ``FourBits`` holds it: codes in order, (blocks, 16), and scales (blocks,)."""
    codes, scales = blocks.quantize_q4_0(x)
    return in_order(codes), scales.reshape(-1)


def in_order(codes: np.ndarray) -> np.ndarray:
    """Return the bytes of q4_0, which hold elements i and i + 16 of a block, as bytes of elements 2i and 2i + 1."""
    halves = codes.reshape(-1, 16)
    each = np.concatenate([halves & 15, halves >> 4], axis=1)  # (blocks, 32): one code a byte
    return each[:, 0::2] << 4 | each[:, 1::2]


def out_of_order(packed: np.ndarray) -> np.ndarray:
    """Return bytes of elements 2i and 2i + 1 as the bytes of q4_0: the inverse of ``in_order``."""
    pairs = packed.reshape(-1, 16)
    each = np.stack([pairs >> 4, pairs & 15], axis=-1).reshape(-1, 32)
    return each[:, 16:] << 4 | each[:, :16]
