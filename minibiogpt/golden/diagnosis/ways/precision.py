"""Numbers as fewer bits hold them: floats with short significands, and weights on a grid of integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minibiogpt.golden.format.rounding import rounded

BITS = {"tf32": 11, "bfloat16": 8, "float16": 11}  # of the significand, the leading one included
Grid = tuple[int, Any, str]  # bits, block ("row", "tensor", "column" or a number of columns), kind
GRIDS: tuple[Grid, ...] = (
    *((bits, block, "absmax") for bits in (8, 4) for block in ("row", "tensor", "column", 32, 64, 128, 16, 8, 7, 21)),
    *((bits, block, "minmax") for bits in (8, 4) for block in ("row", "tensor", 32, 64, 128, 7, 21)),
    *((bits, block, "full") for bits in (8, 4) for block in ("row", "tensor", 32, 64, 7, 21)),
    *((bits, block, "absmax in float32") for bits in (8, 4) for block in ("row", "tensor")),
    (4, 32, "q4_0"), (4, 7, "q4_0"), (4, 21, "q4_0"), (4, 64, "q4_0"),
    (16, "each", "float16"), (16, "each", "bfloat16"),
)  # fmt: skip


def reduced(x: np.ndarray, precision: str) -> np.ndarray:
    """Return x rounded to the precision, in float64.

    Examples
    --------
    >>> reduced(np.array([1 + 2**-10, 1 + 2**-12]), "tf32").tolist()
    [1.0009765625, 1.0]
    """
    if precision == "tf32":
        significand, exponent = np.frexp(x)
        return np.ldexp(np.round(significand * 2.0**11) / 2.0**11, exponent)
    if precision == "float32":
        return x.astype(np.float32).astype(np.float64)
    return rounded(np.asarray(x, np.float64), precision)


def quantized(W: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the weight as it is read back from a grid of 2^bits numbers for each block.

    Parameters
    ----------
    grid : (bits, block, kind). Kinds: "absmax", steps of max|w| / (2^(bits - 1) - 1); "full", of max|w| / 2^(bits - 1);
        "minmax", of (max - min) / (2^bits - 1) from the minimum; "q4_0", of the number of largest magnitude / -8, as
        in ggml; "absmax in float32" computes in float32, where numbers between two steps may go the other way.

    Raises
    ------
    ValueError
        If the rows cannot be cut into blocks of that many columns.

    Examples
    --------
    >>> quantized(np.array([[1.27, 0.304]]), (8, "row", "absmax")).round(6).tolist()
    [[1.27, 0.3]]
    """
    bits, block, kind = grid
    if kind in ("float16", "bfloat16"):
        return reduced(W, kind)
    if kind == "absmax in float32":
        return quantized(W.astype(np.float32), (bits, block, "absmax")).astype(np.float64)
    blocks = _cut(W, block)
    half = 2.0 ** (bits - 1)
    with np.errstate(all="ignore"):
        if kind == "minmax":
            low = blocks.min(-1, keepdims=True)
            step = (blocks.max(-1, keepdims=True) - low) / (2.0**bits - 1)
            back = np.round((blocks - low) / step) * step + low
        elif kind == "q4_0":
            largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
            step = largest / -half
            back = (np.minimum(np.floor(blocks / step + half + 0.5), 2 * half - 1) - half) * step
        else:
            top = np.abs(blocks).max(-1, keepdims=True)
            step = top / (half - 1 if kind == "absmax" else half)
            back = np.clip(np.round(blocks / step), -half, half - 1) * step
    back = np.where(np.isfinite(back), back, 0.0)
    return back.T if block == "column" else back.reshape(W.shape)


def _cut(W: np.ndarray, block: Any) -> np.ndarray:
    if block == "tensor":
        return W.reshape(1, -1)
    if block == "row":
        return W
    if block == "column":
        return np.ascontiguousarray(W.T)
    if W.shape[-1] % block:
        raise ValueError(f"rows of {W.shape[-1]} cannot be cut into blocks of {block}")
    return W.reshape(*W.shape[:-1], -1, block)
