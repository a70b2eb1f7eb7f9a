"""GGUF's Q8_0 and Q4_0: blocks of 32 weights of a row, each with a float16 scale and integers of 8 or 4 bits.

    Q8_0   scale = largest |x| / 127;                              x ≈ code · scale,        code from -127 to 127
    Q4_0   scale = x / -8, of the x with the largest |x|;           x ≈ (code - 8) · scale,  code from 0 to 15

Codes are computed from the scale in float32, before it is rounded to float16. Equal to the package gguf 0.19, bit for
bit. ``pack_...`` and ``unpack_...`` convert between the arrays and the bytes of a GGUF file.
"""

import numpy as np

from minibiogpt.errors import InputError
from minibiogpt.quantization.four_bits import DTYPES, PIECE, largest_absolute

BLOCK = 32


def quantize_q8_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes, int8 (N, K), and scales, float16 (N, K / 32): code = round(x / scale), halves away from 0.

    Parameters
    ----------
    x : (N, K) float32, float16 or bfloat16. K must be a multiple of 32.

    Raises
    ------
    InputError
        If the shape or dtype is unsuitable, or a scale is not finite in float16 (|x| above 8.3 million, NaN).

    Notes
    -----
    A block whose largest |x| is so small that 1 / scale overflows (3.7e-37) gets codes of 0.

    Source: ggml-quants.c, quantize_row_q8_0_ref; gguf 0.19, quants.py.

    Examples
    --------
    >>> codes, scales = quantize_q8_0(np.array([[127, -63.5, 0.25] + 29 * [0]], dtype=np.float32))
    >>> codes[0, :4].tolist(), scales.tolist()
    ([127, -64, 0, 0], [[1.0]])
    """
    scales = _empty_scales(x)
    codes = np.empty(x.shape, dtype=np.int8)
    for rows in _pieces(x):
        blocks = x[rows].astype(np.float32, copy=False).reshape(-1, BLOCK)
        scale = largest_absolute(blocks)[:, None] / np.float32(127)
        scales[rows] = _to_float16(scale, x.shape[1])
        scaled = blocks * _reciprocal(scale)
        twice = np.add(scaled, scaled, out=scaled).astype(np.int16)  # truncated: 2 · 1.5 = 3, and 2 · 1.4 gives 2
        codes[rows] = ((twice + (twice > 0)) >> 1).reshape(-1, x.shape[1])  # so 3 gives 2, 2 gives 1, and -3 gives -2
    return codes, scales


def dequantize_q8_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return code · scale, float32 (N, K).

    Examples
    --------
    >>> dequantize_q8_0(np.full((1, 32), -3, np.int8), np.array([[0.5]], np.float16))[0, :2].tolist()
    [-1.5, -1.5]
    """
    return _scale(codes.astype(np.float32), scales)


def quantize_q4_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return packed codes, uint8 (N, K / 2), and scales, float16 (N, K / 32): code = ⌊x / scale + 8.5⌋, at most 15.

    The weight with the largest |x| gets code 0, so it is exact up to the rounding of the scale; of several, the first
    one decides the sign of the scale. Byte i of a block has the code of its weight i in the low four bits, and that of
    weight i + 16 in the high ones.

    Parameters
    ----------
    x : (N, K) float32, float16 or bfloat16. K must be a multiple of 32.

    Raises
    ------
    InputError
        If the shape or dtype is unsuitable, or a scale is not finite in float16 (|x| above 524,000, NaN).

    Notes
    -----
    A block whose largest |x| is so small that 1 / scale overflows (2.4e-38) gets codes of 8, which mean 0.

    Source: ggml-quants.c, quantize_row_q4_0_ref; gguf 0.19, quants.py.

    Examples
    --------
    The largest |x| is -8, so the scale is 1; weight 1 is 3, and weight 17 is -1.

    >>> x = np.array([[-8, 3] + 15 * [0] + [-1] + 14 * [0]], dtype=np.float32)
    >>> codes, scales = quantize_q4_0(x)
    >>> [f"{byte:02x}" for byte in codes[0, :3]], scales.tolist()
    (['80', '7b', '88'], [[1.0]])
    """
    scales = _empty_scales(x)
    codes = np.empty((len(x), x.shape[1] // 2), dtype=np.uint8)
    for rows in _pieces(x):
        blocks = x[rows].astype(np.float32, copy=False).reshape(-1, BLOCK)
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
        scale = largest / np.float32(-8)
        scales[rows] = _to_float16(scale, x.shape[1])
        scaled = blocks * _reciprocal(scale)
        scaled += np.float32(8.5)
        unpacked = np.minimum(scaled.astype(np.uint8), 15)
        half = BLOCK // 2
        codes[rows] = (unpacked[:, :half] | unpacked[:, half:] << 4).reshape(-1, x.shape[1] // 2)
    return codes, scales


def dequantize_q4_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return (code - 8) · scale, float32 (N, K), from packed codes (N, K / 2).

    Examples
    --------
    >>> x = dequantize_q4_0(np.full((1, 16), 0x7B, np.uint8), np.array([[0.5]], np.float16))
    >>> x[0, [0, 15, 16, 31]].tolist()
    [1.5, 1.5, -0.5, -0.5]
    """
    blocks = codes.reshape(-1, BLOCK // 2)
    unpacked = np.concatenate([blocks & 15, blocks >> 4], axis=1).astype(np.float32)
    unpacked -= 8
    return _scale(unpacked.reshape(len(codes), 2 * codes.shape[1]), scales)


def pack_q8_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return GGUF's bytes, uint8 (N, K / 32 · 34): for each block its scale, little-endian, and its 32 codes.

    Examples
    --------
    >>> pack_q8_0(np.full((1, 32), -1, np.int8), np.ones((1, 1), np.float16))[0, :4].tolist()  # float16 1 is 0x3C00
    [0, 60, 255, 255]
    """
    return _join(codes.view(np.uint8), scales, BLOCK)


def unpack_q8_0(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes and scales in GGUF's bytes, uint8 (N, K / 32 · 34)."""
    codes, scales = _split(packed, BLOCK)
    return codes.view(np.int8), scales


def pack_q4_0(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return GGUF's bytes, uint8 (N, K / 32 · 18): for each block its scale, little-endian, and its 16 bytes of codes.

    Examples
    --------
    >>> pack_q4_0(np.full((1, 16), 0x88, np.uint8), np.ones((1, 1), np.float16))[0, :4].tolist()
    [0, 60, 136, 136]
    """
    return _join(codes, scales, BLOCK // 2)


def unpack_q4_0(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the packed codes and scales in GGUF's bytes, uint8 (N, K / 32 · 18)."""
    return _split(packed, BLOCK // 2)


def _empty_scales(x: np.ndarray) -> np.ndarray:
    """Check the weights; return room for their scales."""
    if x.ndim != 2 or x.shape[1] % BLOCK or x.dtype.name not in DTYPES:
        must = f"weights must be a matrix of {', '.join(DTYPES)}, with rows of a multiple of 32"
        raise InputError(must, f"{x.dtype.name} {x.shape}", "quantize it with another format")
    return np.empty((len(x), x.shape[1] // BLOCK), dtype=np.float16)


def _pieces(x: np.ndarray) -> list[slice]:
    """Return slices of rows that hold about PIECE weights each."""
    rows = max(1, PIECE // max(1, x.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(x) if x.size else 0, rows)]


def _reciprocal(scale: np.ndarray) -> np.ndarray:
    """Return 1 / scale, and 0 where that is infinite."""
    with np.errstate(divide="ignore", over="ignore"):
        reciprocal = 1 / scale
    reciprocal[np.isinf(reciprocal)] = 0
    return reciprocal


def _to_float16(scale: np.ndarray, columns: int) -> np.ndarray:
    """Return the scales of blocks in rows of so many columns, rounded to float16."""
    with np.errstate(over="ignore"):
        halves = scale.astype(np.float16).reshape(-1, columns // BLOCK)
    if not np.isfinite(halves).all():
        largest = f"{np.abs(scale).max():.3g}"
        raise InputError("the scale of a block must be finite in float16", largest, "quantize it with another format")
    return halves


def _scale(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Multiply the codes of each block by its scale, in place."""
    blocks = codes.reshape(-1, BLOCK)
    blocks *= scales.astype(np.float32).reshape(-1, 1)
    return codes


def _join(codes: np.ndarray, scales: np.ndarray, width: int) -> np.ndarray:
    """Return the bytes of scales and codes, block by block, each with ``width`` bytes of codes."""
    heads = scales.astype("<f2").reshape(-1, 1).view(np.uint8)
    return np.concatenate([heads, codes.reshape(-1, width)], axis=1).reshape(len(codes), scales.shape[1] * (width + 2))


def _split(packed: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of codes, and the scales, of blocks with ``width`` bytes of codes."""
    if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[1] % (width + 2):
        must = f"packed weights must be a uint8 matrix with rows of a multiple of {width + 2} bytes"
        raise InputError(must, f"{packed.dtype} {packed.shape}", "pass a whole tensor of a GGUF file, by rows")
    rows, blocks = len(packed), packed.shape[1] // (width + 2)
    parts = packed.reshape(rows, blocks, width + 2)
    scales = np.ascontiguousarray(parts[:, :, :2]).view("<f2").astype(np.float16).reshape(rows, blocks)
    return np.ascontiguousarray(parts[:, :, 2:]).reshape(rows, blocks * width), scales
