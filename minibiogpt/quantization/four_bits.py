"""Four bits a weight: each block of weights has a scale (absmax), and each weight the nearest value of a code book.

    quantize    code = index of the value of the code book that is nearest to x / absmax
    dequantize  x ≈ code_book[code] · absmax

Both equal ``quantize_4bit`` and ``dequantize_4bit`` of bitsandbytes 0.50 on the CPU, bit for bit, for finite weights.
Exceptions, all in its native ``dequantize_4bit``: with AVX-512 it takes scales of wrong blocks if the length of a row
is a multiple of 16, but not of the block; with AVX-512 BF16 it rounds bfloat16 results below 1.2e-38 to 0; and if the
length of a row is no multiple of 16, code 8 of FP4 is -0 instead of 0.
"""

import math
from collections.abc import Sequence

import numpy as np

from minibiogpt.errors import InputError

PIECE = 2**17  # weights quantized at a time: 0.5 MB in float32, which stays in the processor's cache
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
DTYPES = ("float32", "float16", "bfloat16")
# The reciprocal of anything smaller may overflow float32.
SMALLEST_ABSMAX = np.float32(1e-38)


def quantize(x: np.ndarray, code_book: np.ndarray, block: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes of x in pairs, and the largest absolute value of each block.

    The scaled weight v = x · (1 / absmax) gets the code of the nearest value: of the midpoints between neighboring
    values of the code book, v exceeds as many as there are smaller values. A v on a midpoint gets the smaller value.

    Parameters
    ----------
    x : any shape, float32, float16 or bfloat16, finite; read row by row. n is its size. NaN and infinities are not
        detected, and their blocks become meaningless.
    code_book : (16,) float32, in any order; ``CODE_BOOKS["nf4"]`` or ``CODE_BOOKS["fp4"]``.
    block : weights per block, a power of 2 from 32 to 4096. The last block may be shorter.

    Returns
    -------
    packed : (⌈n / 2⌉,) uint8. Byte i has the code of weight 2i in its high four bits and that of weight 2i + 1 in its
        low ones. For odd n, the last byte has the code of 0 there.
    absmax : (⌈n / block⌉,) float32.

    Raises
    ------
    InputError
        If the dtype is another one, or the block.

    Notes
    -----
    As in bitsandbytes, a shorter last block is divided by its absmax instead of multiplied by the reciprocal, and its
    absmax is at least 1e-38. Of FP4's two zeros, tiny positive weights get code 8 and all others code 0 (bitsandbytes
    on a GPU: tiny negative ones get code 8).

    Source: Dettmers et al. 2023 (QLoRA), equations 1 and 2; bitsandbytes 0.50, backends/default/ops.py.

    Examples
    --------
    Of a block of 32 weights with absmax 2, the first two are 2 and -2: values 1 and -1, the last and the first of NF4.
    The other 30 are 0, which is value 7.

    >>> from minibiogpt.quantization.code_books import NF4
    >>> packed, absmax = quantize(np.array([2, -2] + 30 * [0], dtype=np.float32), NF4, block=32)
    >>> [f"{byte:02x}" for byte in packed[:3]], absmax.tolist()
    (['f0', '77', '77'], [2.0])
    """
    _check_block(block)
    if x.dtype.name not in DTYPES:
        raise InputError(f"weights must be {', '.join(DTYPES)}", x.dtype.name, "convert them to float32")
    order = np.argsort(code_book, kind="stable").astype(np.uint8)
    values = code_book[order]
    midpoints = (values[:-1] + values[1:]) / 2
    pair_codes = (order[:, None] << 4 | order).reshape(256)  # of two ranks in one byte
    flat = x.reshape(-1)  # (n,)
    packed = np.empty((flat.size + 1) // 2, dtype=np.uint8)
    absmax = np.empty(-(-flat.size // block), dtype=np.float32)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE].astype(np.float32, copy=False)
        blocks = absmax[start // block : (start + PIECE) // block]
        ranks = _ranks(_scale(piece, block, blocks), midpoints)
        pairs = ranks.view("<u2")  # the even weight is in the low byte, the odd one in the high byte
        pairs = (pairs << 4 | pairs >> 8).astype(np.uint8)
        if (order[1:] < order[:-1]).any():
            pairs = pair_codes[pairs]
        packed[start // 2 : (start + PIECE) // 2] = pairs
    return packed, absmax


def dequantize(
    packed: np.ndarray,
    absmax: np.ndarray,
    code_book: np.ndarray,
    shape: Sequence[int],
    block: int = 64,
    dtype: str = "float32",
) -> np.ndarray:
    """Return code_book[code] · absmax, multiplied in float32 and then rounded to dtype.

    Parameters
    ----------
    packed, absmax, code_book, block : as ``quantize`` takes and returns them.
    shape : the shape of the weights.
    dtype : "float32", "float16" or "bfloat16" (with the package ml_dtypes). What is too large for float16 becomes inf.

    Raises
    ------
    InputError
        If packed or absmax have another length than the shape needs, or on an unknown dtype or block.

    Examples
    --------
    >>> from minibiogpt.quantization.code_books import FP4
    >>> packed = np.array([0x3F, 0x50], dtype=np.uint8)  # the values 1, -1/4, 1/2 and 0
    >>> dequantize(packed, np.array([2], dtype=np.float32), FP4, (2, 2)).tolist()
    [[2.0, -0.5], [1.0, 0.0]]
    """
    _check_block(block)
    n = math.prod(shape)
    found = (packed.size, absmax.size)
    if found != ((n + 1) // 2, -(-n // block)):
        must = f"{n} weights in blocks of {block} must have {(n + 1) // 2} bytes and {-(-n // block)} scales"
        raise InputError(must, f"{found[0]} and {found[1]}", "pass the shape and the block they were quantized with")
    # The two values of each byte, as one item of 8 bytes, so that one lookup finds both.
    pairs = np.stack([code_book.repeat(16), np.tile(code_book, 16)], axis=1).view(np.uint64).reshape(256)
    flat, codes, scales = np.empty(n, dtype=_dtype(dtype)), packed.reshape(-1), absmax.reshape(-1)
    for start in range(0, n, PIECE):
        out = flat[start : start + PIECE]
        values = pairs[codes[start // 2 : (start + PIECE) // 2]].view(np.float32)[: out.size]
        _multiply(values, scales[start // block : (start + PIECE) // block], block)
        with np.errstate(over="ignore"):
            out[...] = values
    return flat.reshape(shape)


def largest_absolute(x: np.ndarray) -> np.ndarray:
    """Return the largest |x| of each row: float32 (N,), from float32 (N, K).

    Floats that are not negative have the order of their bits, and NumPy finds the largest integer in half the time.
    """
    return np.abs(x).view(np.int32).max(axis=1, initial=0).view(np.float32)


def _check_block(block: int) -> None:
    """Raise an InputError unless bitsandbytes knows this block size."""
    if block not in BLOCKS:
        raise InputError("a block must be a power of 2 from 32 to 4096", str(block), "quantize with block=64")


def _dtype(name: str) -> np.dtype:
    """Return the dtype of this name. Of the three, NumPy does not have bfloat16 without the package ml_dtypes."""
    if name not in DTYPES:
        raise InputError(f"a dtype must be {', '.join(DTYPES)}", name, "choose one of these")
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError:
        raise InputError("bfloat16 needs the package ml_dtypes", "none", "pip install ml_dtypes") from None
    return np.dtype(ml_dtypes.bfloat16)


def _scale(x: np.ndarray, block: int, absmax: np.ndarray) -> np.ndarray:
    """Return x / absmax by blocks, in float32, padded with a 0 to an even length; write the absmax of each block."""
    full = x.size // block * block
    scaled = np.empty(x.size + x.size % 2, dtype=np.float32)
    scaled[x.size :] = 0
    blocks, out = x[:full].reshape(-1, block), scaled[:full].reshape(-1, block)
    absmax[: len(blocks)] = largest_absolute(blocks)
    reciprocal = 1 / np.maximum(absmax[: len(blocks)], SMALLEST_ABSMAX)
    np.multiply(blocks, reciprocal[:, None], out=out)
    if full < x.size:
        absmax[-1] = max(np.abs(x[full:]).max(), SMALLEST_ABSMAX)
        np.divide(x[full:], absmax[-1], out=scaled[full : x.size])
    return scaled


def _ranks(scaled: np.ndarray, midpoints: np.ndarray) -> np.ndarray:
    """Return how many midpoints each value exceeds, as uint8."""
    ranks = (scaled > midpoints[0]).view(np.uint8)
    exceeds = np.empty(scaled.size, dtype=bool)
    for midpoint in midpoints[1:]:
        np.greater(scaled, midpoint, out=exceeds)
        ranks += exceeds
    return ranks


def _multiply(values: np.ndarray, absmax: np.ndarray, block: int) -> None:
    """Multiply each block of the values by its absmax, in place."""
    full = values.size // block * block
    blocks = values[:full].reshape(-1, block)
    blocks *= absmax[: len(blocks), None]
    if full < values.size:
        values[full:] *= absmax[-1]
