"""Double quantization: the absmax of each block, quantized to 8 bits in turn.

    quantize    offset = mean of all absmax;  code ≈ (absmax - offset) / (largest |absmax - offset| of 256 blocks)
    dequantize  absmax ≈ code_book[code] · (that largest value) + offset

With blocks of 64 weights, absmax then costs 8 / 64 + 32 / (64 · 256) = 0.127 bits a weight instead of 0.5.

Equal, bit for bit, to what ``quantize_4bit(..., compress_statistics=True)`` of bitsandbytes 0.50 does on an x86-64 CPU
in one thread. Only the offset can differ, by 1 or 2 units in the last place: with several threads, PyTorch sums 32,768
values or more in as many parts, and the mean then depends on the number of threads. For the same offset, the codes are
equal.

On a GPU, and without its native library, bitsandbytes chooses the nearest value itself. Its CPU library, and this
module, round to a grid of 65,536 steps first. Its steps are wider than the gaps around 0, so 7 of the 256 codes are
never used, and small values get a code up to 4 positions from the nearest.
"""

from typing import NamedTuple

import numpy as np

from minibiogpt.quantization.code_books import DYNAMIC

BLOCK = 256
STEPS = 65535  # of the grid over [-1, 1]


class DoubleQuantized(NamedTuple):
    """The absmax of a weight's blocks in 8 bits.

    codes : (blocks,) uint8, one for each block of weights.
    absmax : (⌈blocks / block⌉,) float32, the largest |absmax - offset| of each group of blocks.
    offset : the mean, a float32 value.
    code_book : (256,) float32, in rising order.
    block : how many values of absmax form a group.
    """

    codes: np.ndarray
    absmax: np.ndarray
    offset: float
    code_book: np.ndarray = DYNAMIC
    block: int = BLOCK


def quantize(absmax: np.ndarray) -> DoubleQuantized:
    """Quantize the absmax of all blocks of one weight.

    Parameters
    ----------
    absmax : (blocks,) float32, finite.

    Notes
    -----
    A group whose values all equal the offset gets code 0 and absmax 0.

    Source: Dettmers et al. 2023 (QLoRA), section 3; bitsandbytes 0.50, quantize_4bit and quantize_blockwise.

    Examples
    --------
    The mean of 1, 2 and 6 is 3, and the differences are -2, -1 and 3. Divided by 3, the last is 1, which has the last
    code. The dynamic map has no -2/3: the nearest value is -0.6695.

    >>> double = quantize(np.array([1, 2, 6], dtype=np.float32))
    >>> double.offset, double.absmax.tolist(), double.codes.tolist()
    (3.0, [3.0], [23, 47, 255])
    >>> [f"{value:.3f}" for value in dequantize(double)]
    ['0.991', '2.004', '6.000']
    """
    offset = mean(absmax)
    codes, largest = quantize_groups(absmax - offset)
    return DoubleQuantized(codes, largest, float(offset))


def quantize_groups(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes of x, uint8 (n,), and the largest |x| of each 256 values, float32 (⌈n / 256⌉,).

    Parameters
    ----------
    x : (n,) float32, finite, with both signs.

    Examples
    --------
    The dynamic map has no -1: the nearest value is -0.993, code 0. And 0 is in the map, code 127, but not on the grid:
    its neighbour is 1 / 65,535, to which the value of code 131 is nearest.

    >>> codes, largest = quantize_groups(np.array([-2, 0, 2], dtype=np.float32))
    >>> codes.tolist(), largest.tolist()
    ([0, 131, 255], [2.0])
    """
    starts = np.arange(0, x.size, BLOCK)
    largest = np.maximum.reduceat(np.abs(x), starts) if x.size else x
    # A largest value of 0, or a subnormal one, has an infinite reciprocal, and 0 · inf is NaN, which counts as -1.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scaled = np.clip(x * (1 / largest).repeat(BLOCK)[: x.size], -1, 1)
    scaled[np.isnan(scaled)] = -1
    position = (scaled + 1) / 2 * np.float32(STEPS) + np.float32(0.5)  # from 0.5 to STEPS + 0.5
    return _nearest_on_grid(DYNAMIC)[position.astype(np.uint16)], largest


def dequantize(double: DoubleQuantized, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Return code_book[code] · absmax + offset in float32, of the blocks from start up to stop (None: to the end).

    Examples
    --------
    >>> double = DoubleQuantized(np.array([255, 127], np.uint8), np.array([3], np.float32), 0.5)  # the values 1 and 0
    >>> dequantize(double).tolist(), dequantize(double, 1).tolist()
    ([3.5, 0.5], [0.5])
    """
    start, stop, _ = slice(start, stop).indices(double.codes.size)
    groups = np.arange(start, stop) // double.block
    return double.code_book[double.codes[start:stop]] * double.absmax[groups] + np.float32(double.offset)


def mean(x: np.ndarray) -> np.float32:
    """Return the mean of x as PyTorch computes it in float32 on one thread.

    The sum depends on the order of its additions. PyTorch adds 8 lanes side by side (a vector of AVX2), each in 4
    interleaved chains. What remains after the last full vector is summed apart.

    Parameters
    ----------
    x : (n,) float32. The mean of nothing is 0 here, and NaN in PyTorch.
    """
    lanes = 8 if x.size >= 8 else 1
    full = x.size // lanes * lanes
    sums = _sum_rows(x[:full].reshape(-1, lanes))  # (lanes,)
    rest = _sum_in_order(x[full:, None])  # (1,)
    total = _sum_in_order(np.concatenate([rest, sums])[:, None])[0]
    return np.float32(total / np.float32(max(x.size, 1)))


def _sum_rows(rows: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis of rows (R, lanes): rows 0, 4, 8, ... form the first of 4 chains."""
    chains, lanes = 4, rows.shape[1]
    full = len(rows) // chains * chains
    sums = _cascade(rows[:full].reshape(-1, chains * lanes)).reshape(chains, lanes)
    first = _sum_in_order(np.concatenate([sums[:1], rows[full:]]))
    return _sum_in_order(np.concatenate([first[None], sums[1:]]))


def _cascade(rows: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis of rows (R, columns): first in runs of 16, then runs of 16 of those sums.

    Partial sums of similar size lose less to rounding than one long sum. (Beyond 16 million values, PyTorch has longer
    runs.)
    """
    run, remainders = 16, []
    for _ in range(3):
        full = len(rows) // run * run
        remainders.append(_sum_in_order(rows[full:]))
        rows = _sum_in_order(rows[:full].reshape(-1, run, rows.shape[1]).swapaxes(0, 1))
    return _sum_in_order(np.stack([*remainders, _sum_in_order(rows)]))


def _sum_in_order(rows: np.ndarray) -> np.ndarray:
    """Return rows[0] + rows[1] + ..., each sum rounded; np.sum may add in another order."""
    total = np.zeros(rows.shape[1:], dtype=np.float32)
    for row in rows:
        total = total + row
    return total


def _nearest_on_grid(code_book: np.ndarray) -> np.ndarray:
    """Return the codes nearest to -1, -1 + 2 / STEPS, ..., 1, as uint8 (STEPS + 1,); of two, the smaller."""
    grid = np.arange(STEPS + 1, dtype=np.float32) * 2 / np.float32(STEPS) - 1
    return np.searchsorted((code_book[:-1] + code_book[1:]) / 2, grid).astype(np.uint8)
