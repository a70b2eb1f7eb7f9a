"""The values that 4-bit and 8-bit codes mean, as fractions of the largest absolute value of a block (absmax)."""

import numpy as np

# Quantiles of the normal distribution, scaled to [-1, 1]: of weights that are normally distributed, about as many fall
# to each value. The eighth is exactly 0, so there are 7 values below and 8 above it.
# Source: Dettmers et al. 2023 (QLoRA), appendix E; bitsandbytes, get_4bit_type("nf4").
NF4 = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    dtype=np.float32,
)

# One sign bit, then three bits that name one of 0, 1/16, 8, 12, 4, 6, 2, 3, all divided by 12 (float4 with 2 bits of
# exponent and 1 of mantissa, but in an order of its own). Codes 0 and 8 both mean 0.
# Source: bitsandbytes, get_4bit_type("fp4").
FP4 = np.array(
    [0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3],
    dtype=np.float32,
) / np.float32(12)

# The integers from -8 to 7, of which q4_0 of GGUF takes multiples.
Q4_0 = np.arange(-8, 8, dtype=np.float32)

CODE_BOOKS = {"nf4": NF4, "fp4": FP4}  # of bitsandbytes, whose scale is absmax


def dynamic_code_book() -> np.ndarray:
    """Return the 256 values of the signed dynamic map, float32 (256,), in rising order.

    For each decade below 1, that is (0.1, 1], (0.01, 0.1] and so on down to (1e-7, 1e-6], the middles of equal
    intervals: 64 in the largest decade, 32 in the next, and 1 in the smallest, each with both signs. Then 0 and 1.
    Small values thus keep a similar relative precision with fewer digits.

    Notes
    -----
    The interval bounds are rounded as ``torch.linspace`` rounds them on processors with AVX2: counted from the nearer
    end, product and sum rounded once to float32. Without AVX2 it rounds the product too, and 42 of the values differ in
    the last bit. A checkpoint therefore stores the map that it was made with.

    Source: Dettmers 2015 (8-bit approximations for parallelism in deep learning); bitsandbytes, create_dynamic_map().

    Examples
    --------
    >>> book = dynamic_code_book()
    >>> [f"{value:.3g}" for value in book[[0, 127, 128, 129, 254, 255]]]
    ['-0.993', '0', '5.5e-07', '3.25e-06', '0.993', '1']
    """
    values: list[np.ndarray] = [np.array([0, 1], dtype=np.float32)]
    low, high = np.float32(0.1), np.float32(1)
    for decade in range(7):
        intervals = 2**decade
        step = np.float64((high - low) / np.float32(intervals))
        i = np.arange(intervals + 1)
        bounds = np.where(i < (intervals + 1) // 2, low + step * i, high - step * (intervals - i)).astype(np.float32)
        middles = (bounds[:-1] + bounds[1:]) / 2 * np.float32(10.0 ** (decade - 6))
        values += [middles, -middles]
    return np.sort(np.concatenate(values))


DYNAMIC = dynamic_code_book()

for book in (NF4, FP4, Q4_0, DYNAMIC):
    book.setflags(write=False)
