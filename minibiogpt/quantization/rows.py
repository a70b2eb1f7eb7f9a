"""Eight bits by row (LLM.int8): each row has a scale (absmax), and each weight an integer from -127 to 127.

    quantize    code = round(x · (127 · (1 / absmax))), ties to even
    dequantize  x ≈ code · absmax · (1 / 127)

Both equal ``int8_vectorwise_quant`` and ``int8_vectorwise_dequant`` of bitsandbytes 0.50 on the CPU, bit for bit.
``Linear8bitLt`` converts a weight to float16 before it quantizes it, so to get the codes of its ``Int8Params``, pass
``x.astype(np.float16)``. A weight above 65,504 becomes infinite there.
"""

import numpy as np

from minibiogpt.errors import InputError
from minibiogpt.quantization.four_bits import DTYPES, PIECE, largest_absolute

LARGEST, STEP = np.float32(127), np.float32(1 / 127)


def quantize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes of x, int8 (N, K), and the absmax of its rows, float32 (N,).

    Parameters
    ----------
    x : (N, K) float32, float16 or bfloat16, finite. It is multiplied in float32.

    Raises
    ------
    InputError
        If x has another number of axes or another dtype.

    Notes
    -----
    The reciprocal is rounded before it is multiplied by 127, because PyTorch computes 127 / absmax so.

    A row whose absmax is 0, or so small that this factor overflows (3.7e-37), gets codes of 0. bitsandbytes multiplies
    by infinity there, and converts NaN and infinities to int8, which C leaves undefined; on x86-64 it gives 0 as well.

    Source: Dettmers et al. 2022 (LLM.int8), section 2; bitsandbytes 0.50, backends/default/ops.py.

    Examples
    --------
    >>> codes, absmax = quantize(np.array([[127, -63, 0.5, 1.5], [0, 0, 0, 0]], dtype=np.float32))
    >>> codes.tolist(), absmax.tolist()
    ([[127, -63, 0, 2], [0, 0, 0, 0]], [127.0, 0.0])
    """
    if x.ndim != 2 or x.dtype.name not in DTYPES:
        must = f"weights must be a matrix of {', '.join(DTYPES)}"
        raise InputError(must, f"{x.dtype.name} {x.shape}", "convert them")
    codes = np.empty(x.shape, dtype=np.int8)  # (N, K)
    absmax = np.empty(len(x), dtype=np.float32)  # (N,)
    rows = max(1, PIECE // max(1, x.shape[1]))  # that are quantized at a time
    for start in range(0, len(x), rows):
        piece = x[start : start + rows].astype(np.float32, copy=False)
        largest = absmax[start : start + rows]
        largest[:] = largest_absolute(piece)
        with np.errstate(divide="ignore", over="ignore"):
            factor = LARGEST * (1 / largest)
        factor[np.isinf(factor)] = 0
        scaled = piece * factor[:, None]
        codes[start : start + rows] = np.rint(scaled, out=scaled)
    return codes, absmax


def dequantize(codes: np.ndarray, absmax: np.ndarray) -> np.ndarray:
    """Return codes · absmax · (1 / 127), each product rounded to float32 (and infinite for absmax above 2.6e36).

    Parameters
    ----------
    codes : (N, K) int8.
    absmax : (N,) float32.

    Examples
    --------
    >>> dequantize(np.array([[127, -127, 0]], dtype=np.int8), np.array([2], dtype=np.float32)).tolist()
    [[2.0, -2.0, 0.0]]
    """
    with np.errstate(over="ignore"):
        return codes * absmax[:, None] * STEP  # (N, K)
