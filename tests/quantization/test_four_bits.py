"""NF4 and FP4 against bitsandbytes, bit for bit, and against their own equations."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minibiogpt.errors import InputError
from minibiogpt.quantization.code_books import CODE_BOOKS, FP4, NF4
from minibiogpt.quantization.four_bits import BLOCKS, PIECE, dequantize, quantize
from tests.budgets import QUANTIZATION_ROUNDING
from tests.quantization.tensors import COUNT, LENGTHS, bits, neighbours, tensor, to_numpy, to_torch

F = pytest.importorskip("bitsandbytes", reason="bitsandbytes is the reference of 4-bit weights").functional
torch = pytest.importorskip("torch")

SMALLEST_NORMAL = 2.0**-126
HALVES = (np.float16, ml_dtypes.bfloat16)


@pytest.fixture(autouse=True)
def _without_compiler() -> Iterator[None]:
    """bitsandbytes compiles its dequantization of odd shapes, for each shape again."""
    with torch.compiler.set_stance("force_eager"):
        yield


def midpoints(code_book: np.ndarray) -> np.ndarray:
    values = np.sort(code_book)
    return (values[:-1] + values[1:]) / 2


def assert_equal_to_bitsandbytes(x: np.ndarray, name: str, block: int) -> None:
    packed, absmax = quantize(x, CODE_BOOKS[name], block)
    theirs, state = F.quantize_4bit(to_torch(x), blocksize=block, quant_type=name)
    np.testing.assert_array_equal(packed, theirs.numpy()[:, 0])
    np.testing.assert_array_equal(bits(absmax), bits(state.absmax.numpy()))
    assert (packed.dtype, absmax.dtype) == (np.uint8, np.float32)

    got = dequantize(packed, absmax, CODE_BOOKS[name], x.shape, block, x.dtype.name)
    want = to_numpy(F.dequantize_4bit(theirs, state)).reshape(x.shape)
    assert got.dtype == x.dtype
    if x.dtype == ml_dtypes.bfloat16:  # bitsandbytes rounds subnormal numbers to 0 on some processors
        want = np.where((want == 0) & (np.abs(got) < SMALLEST_NORMAL), got, want)
    if name == "fp4" and x.shape[-1] % 16:  # and some of its zeros are -0
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_array_equal(bits(got), bits(want))


@pytest.mark.parametrize("name", CODE_BOOKS)
def test_code_books(name: str) -> None:
    np.testing.assert_array_equal(bits(CODE_BOOKS[name]), bits(F.get_4bit_type(name, device="cpu").numpy()))
    assert not CODE_BOOKS[name].flags.writeable


@pytest.mark.parametrize("name", CODE_BOOKS)
@pytest.mark.parametrize("kind", range(10))
def test_random_and_adversarial_tensors(name: str, kind: int) -> None:
    for seed in range(kind, COUNT, 10):
        x = tensor(seed, LENGTHS[seed % len(LENGTHS)], neighbours(midpoints(CODE_BOOKS[name])))
        assert_equal_to_bitsandbytes(x, name, BLOCKS[seed // 10 % 4])
        assert_equal_to_bitsandbytes(x, name, 64)


@pytest.mark.parametrize("name", CODE_BOOKS)
def test_ties_at_any_absmax(name: str) -> None:
    """A full block is multiplied by the reciprocal of absmax, the last short one divided by absmax: ties differ."""
    rng = np.random.default_rng(0)
    for largest in np.exp(rng.uniform(-20, 20, 200)).astype(np.float32):
        ties = neighbours(largest * midpoints(CODE_BOOKS[name]))
        x = np.concatenate([[largest], ties[:40], np.zeros(23), [-largest], ties, [0] * 16]).astype(np.float32)
        assert_equal_to_bitsandbytes(x, name, 64)


@pytest.mark.parametrize("name", CODE_BOOKS)
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
def test_sixteen_bits(name: str, dtype: type) -> None:
    for seed in range(COUNT // 4):
        x = tensor(seed, LENGTHS[seed % len(LENGTHS)], midpoints(CODE_BOOKS[name]))
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        x[np.isinf(x)] = 1e4
        assert_equal_to_bitsandbytes(x, name, BLOCKS[1 + seed % 3])


@pytest.mark.parametrize("name", CODE_BOOKS)
@pytest.mark.parametrize("extra", [0, 1, 64, 100])
def test_several_pieces(name: str, extra: int) -> None:
    assert_equal_to_bitsandbytes(tensor(0, 2 * PIECE + extra, NF4), name, 64)
    assert_equal_to_bitsandbytes(tensor(9, PIECE + extra, NF4), name, 4096)


def test_any_shape_and_order() -> None:
    x = tensor(0, 2 * 3 * 64, NF4).reshape(2, 3, 64)
    assert_equal_to_bitsandbytes(x, "nf4", 64)
    packed, absmax = quantize(x.transpose(2, 0, 1), NF4, 64)
    want, state = F.quantize_4bit(torch.from_numpy(x).permute(2, 0, 1).contiguous(), quant_type="nf4")
    np.testing.assert_array_equal(packed, want.numpy()[:, 0])
    np.testing.assert_array_equal(absmax, state.absmax.numpy())
    assert dequantize(packed, absmax, NF4, (64, 2, 3)).shape == (64, 2, 3)


def test_rows_that_end_inside_a_block_are_read_on() -> None:
    x = tensor(9, 4 * 96, NF4).reshape(4, 96)
    packed, absmax = quantize(x, NF4)
    state = F.quantize_4bit(torch.from_numpy(x.reshape(-1)), quant_type="nf4")
    np.testing.assert_array_equal(dequantize(packed, absmax, NF4, (4, 96)), F.dequantize_4bit(*state).reshape(4, 96))


def test_nothing() -> None:
    packed, absmax = quantize(np.empty((0, 5), np.float32), NF4)
    assert (packed.shape, absmax.shape) == ((0,), (0,))
    assert dequantize(packed, absmax, NF4, (0, 5)).shape == (0, 5)


def test_what_is_too_large_for_float16_is_infinite() -> None:
    packed, absmax = quantize(np.array([1e30, -1e30, 0], np.float32), NF4)
    assert dequantize(packed, absmax, NF4, (3,), dtype="float16").tolist() == [np.inf, -np.inf, 0]


finite = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(arrays(np.float32, st.integers(1, 200), elements=finite), st.sampled_from(sorted(CODE_BOOKS)))
def test_the_error_is_at_most_half_the_widest_gap(x: np.ndarray, name: str) -> None:
    packed, absmax = quantize(x, CODE_BOOKS[name])
    error = np.abs(dequantize(packed, absmax, CODE_BOOKS[name], x.shape).astype(np.float64) - x)
    half = np.diff(np.sort(CODE_BOOKS[name]).astype(np.float64)).max() / 2
    assert (error <= (half + QUANTIZATION_ROUNDING) * absmax.repeat(64)[: x.size]).all()


@given(arrays(np.float32, st.integers(1, 200), elements=finite), st.sampled_from(sorted(CODE_BOOKS)))
def test_dequantized_weights_are_quantized_without_error(x: np.ndarray, name: str) -> None:
    book = CODE_BOOKS[name]
    once = dequantize(*quantize(x, book), book, x.shape)
    np.testing.assert_array_equal(dequantize(*quantize(once, book), book, x.shape), once)


@pytest.mark.parametrize("block", [0, -64, 48, 8192])
def test_other_blocks_are_refused(block: int) -> None:
    with pytest.raises(InputError, match="a power of 2 from 32 to 4096"):
        quantize(np.zeros(64, np.float32), NF4, block)
    with pytest.raises(InputError, match="a power of 2 from 32 to 4096"):
        dequantize(np.zeros(32, np.uint8), np.zeros(1, np.float32), NF4, (64,), block)


@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=dtype):
        quantize(np.zeros(64, dtype), NF4)
    with pytest.raises(InputError, match=dtype):
        dequantize(np.zeros(32, np.uint8), np.zeros(1, np.float32), FP4, (64,), dtype=dtype)


@pytest.mark.parametrize(("codes", "scales"), [(31, 1), (33, 1), (32, 0), (32, 2)])
def test_other_lengths_are_refused(codes: int, scales: int) -> None:
    with pytest.raises(InputError, match=f"must have 32 bytes and 1 scales; found {codes} and {scales}"):
        dequantize(np.zeros(codes, np.uint8), np.zeros(scales, np.float32), NF4, (64,))
