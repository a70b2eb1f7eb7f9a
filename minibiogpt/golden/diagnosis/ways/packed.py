"""Quantized weights as ports dequantize them wrongly."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.quantization import EightBits, FourBits, format_of
from minibiogpt.quantization.code_books import CODE_BOOKS, Q4_0
from minibiogpt.quantization.double import DoubleQuantized

Unpack = Callable[[FourBits], np.ndarray]  # shape: N, K


def _book(x: FourBits) -> np.ndarray:
    return Q4_0 if x.code_book == "q4_0" else CODE_BOOKS[x.code_book]


def _codes(x: FourBits) -> np.ndarray:
    """Return the codes in the order of the elements, (blocks, block)."""
    return np.stack([x.packed >> 4, x.packed & 15], axis=-1).reshape(len(x.packed), -1)


def _values(x: FourBits, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return code_book[codes] times scales, either (blocks, block) or of that many elements, as (N, K)."""
    found = _book(x)[codes.reshape(-1)] * np.broadcast_to(scales, codes.shape).reshape(-1)
    return found[: x.size].reshape(x.shape)


def _scales(x: FourBits) -> np.ndarray:
    """Return the scale of each block, (blocks, 1): by a code book that has only ones."""
    ones = copy.copy(x)
    ones.packed = np.zeros_like(x.packed)
    ones.shape = len(x.packed), x.block
    return np.asarray(ones)[:, :1] / _book(x)[0]


def _halves_swapped(x: FourBits) -> np.ndarray:
    return _values(x, _codes(x).reshape(-1, 2)[:, ::-1].reshape(len(x.packed), -1), _scales(x))


def _neighbors(x: FourBits) -> np.ndarray:
    """Return q4_0 with the two codes of a byte, elements i and i + 16 of a block, as elements 2i and 2i + 1."""
    codes = _codes(x)
    return _values(x, np.stack([codes[:, :16], codes[:, 16:]], axis=-1).reshape(codes.shape), _scales(x))


def _other_blocks(x: FourBits, block: int) -> np.ndarray:
    """Return the values with the scale of element i taken at i // block."""
    codes, scales = _codes(x), _scales(x).reshape(-1)
    places = np.minimum(np.arange(codes.size) // block, len(scales) - 1)
    return _values(x, codes, scales[places].reshape(codes.shape))


def _without_offset(x: FourBits) -> np.ndarray:
    assert isinstance(x.scales, DoubleQuantized)
    return _values(x, _codes(x), _scales(x) - np.float32(x.scales.offset))


def _other_code_book(x: FourBits) -> np.ndarray:
    other = copy.copy(x)
    other.code_book = {"nf4": "fp4", "fp4": "nf4"}[x.code_book]
    return np.asarray(other)


FOUR_BITS: dict[str, Unpack] = {
    "the two halves of a byte are swapped": _halves_swapped,
    "blocks of 32": lambda x: _other_blocks(x, 32),
    "blocks of 128": lambda x: _other_blocks(x, 128),
}
BOOKS: dict[str, Unpack] = {"the code book of the other format": _other_code_book}
NESTED: dict[str, Unpack] = {"the offset of double quantization is not added": _without_offset}
GGUF: dict[str, Unpack] = {
    "the two halves of a byte are neighbors": _neighbors,
    "the two halves of a byte are swapped": lambda x: np.roll(np.asarray(x).reshape(-1, 32), 16, 1).reshape(x.shape),
}
MISTAKE_OF_ROWS = "scale / 128 instead of / 127"


def mistakes_in(x: PackedWeight | None) -> list[str]:
    """Return the names of the mistakes that can be made with a weight; none with one of floats."""
    if isinstance(x, FourBits):
        if x.code_book == "q4_0":
            return list(GGUF)
        return [*FOUR_BITS, *BOOKS, *(NESTED if isinstance(x.scales, DoubleQuantized) else ())]
    return [MISTAKE_OF_ROWS] if isinstance(x, EightBits) and format_of(x) != "q8_0" else []


def dequantized(x: PackedWeight | None, mistake: str) -> np.ndarray:
    """Return a weight with one of its mistakes, float64.

    Raises
    ------
    ValueError
        If the mistake can't be made with it.
    """
    if mistake not in mistakes_in(x) or x is None:
        raise ValueError(f"no weight in which {mistake}")
    if not isinstance(x, FourBits):
        return np.asarray(x, np.float64) * 127 / 128
    every = GGUF if x.code_book == "q4_0" else FOUR_BITS | BOOKS | NESTED
    return every[mistake](x).astype(np.float64)
