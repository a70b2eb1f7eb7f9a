"""How many bytes a quantized weight takes in memory, computed from its shape."""

from __future__ import annotations

import math

from minibiogpt.quantization import double
from minibiogpt.quantization.code_books import DYNAMIC

FLOAT32, FLOAT16, INT32 = 4, 2, 4  # bytes
BLOCK = 32  # weights with one scale in q8_0 and q4_0


def packed_bytes(
    kind: str, shape: tuple[int, ...], *, double_quant: bool = True, block: int = 64, group: int = double.BLOCK
) -> int:
    """Return the bytes of a weight (N, K) in the format ``kind``, scales included: its ``nbytes`` once it is packed.

    Parameters
    ----------
    double_quant, block, group : of nf4 and fp4: whether absmax is quantized itself, how many weights have one absmax,
        and how many of these form a group.

    Examples
    --------
    A row of 64 weights in nf4 is 32 bytes of codes and an absmax of 4 bytes; in q8_0 two blocks of 32 + 2 bytes.

    >>> packed_bytes("nf4", (1, 64), double_quant=False), packed_bytes("q8_0", (1, 64)), packed_bytes("int8", (1, 64))
    (36, 68, 68)
    """
    rows, size = shape[0], math.prod(shape)
    if kind in ("nf4", "fp4"):
        count = -(-size // block)
        codes = count * block // 2
        if not double_quant:
            return codes + count * FLOAT32
        return codes + count + -(-count // group) * FLOAT32 + DYNAMIC.nbytes
    if kind in ("q8_0", "q4_0"):
        return size // (1 if kind == "q8_0" else 2) + size // BLOCK * FLOAT16
    return size + rows * (FLOAT32 + (INT32 if kind == "int8-dynamic" else 0))


def fits(kind: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight of this shape can be quantized so: blocks of q8_0 and q4_0 end where rows do."""
    return kind not in ("q8_0", "q4_0") or shape[1] % BLOCK == 0
