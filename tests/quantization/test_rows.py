"""LLM.int8's 8 bits by row against bitsandbytes, bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minibiogpt.errors import InputError
from minibiogpt.quantization.four_bits import PIECE
from minibiogpt.quantization.rows import dequantize, quantize
from tests.budgets import QUANTIZATION_ROUNDING
from tests.quantization.tensors import COUNT, bits, neighbours, tensor, to_torch

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is the reference of 8-bit rows")
torch = pytest.importorskip("torch")

SHAPES = ((1, 1), (1, 64), (3, 37), (5, 96), (64, 16), (2, 1000), (17, 128))
TIES = neighbours((np.arange(-126, 127) + 0.5) / 127)
OVERFLOW = 127 / float(np.finfo(np.float32).max)


def matrix(seed: int) -> np.ndarray:
    shape = SHAPES[seed % len(SHAPES)]
    return tensor(seed, shape[0] * shape[1], TIES).reshape(shape)


def assert_equal_to_bitsandbytes(x: np.ndarray) -> None:
    codes, absmax = quantize(x)
    want, stats, _ = bitsandbytes.functional.int8_vectorwise_quant(to_torch(x))
    want, stats = want.numpy(), stats.numpy()
    np.testing.assert_array_equal(bits(absmax), bits(stats))
    defined = absmax > OVERFLOW * 1.01  # elsewhere bitsandbytes converts NaN and infinities to int8
    np.testing.assert_array_equal(codes[defined], want[defined])
    assert not codes[~defined].any()
    assert (codes.dtype, absmax.dtype) == (np.int8, np.float32)
    theirs = bitsandbytes.functional.int8_vectorwise_dequant(torch.from_numpy(codes), torch.from_numpy(absmax)).numpy()
    np.testing.assert_array_equal(bits(dequantize(codes, absmax)), bits(theirs))


@pytest.mark.parametrize("kind", range(10))
def test_random_and_adversarial_matrices(kind: int) -> None:
    for seed in range(kind, COUNT, 10):
        assert_equal_to_bitsandbytes(matrix(seed))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_sixteen_bits(dtype: type) -> None:
    for seed in range(COUNT):
        with np.errstate(over="ignore"):
            x = matrix(seed).astype(dtype)
        x[np.isinf(x)] = 1e4
        if dtype == np.float16:
            assert_equal_to_bitsandbytes(x)
        codes, absmax = quantize(x)
        for got, want in zip((codes, absmax), quantize(x.astype(np.float32)), strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_weight_of_a_linear_layer() -> None:
    for seed in (0, 2, 6, 9):
        x = matrix(seed + 20)
        weight = bitsandbytes.nn.Int8Params(torch.from_numpy(x.copy()), requires_grad=False).to("cpu")
        codes, absmax = quantize(x.astype(np.float16))
        np.testing.assert_array_equal(codes, weight.CB.numpy())
        np.testing.assert_array_equal(bits(absmax), bits(weight.SCB.numpy()))


def test_several_pieces() -> None:
    x = tensor(0, PIECE // 4 * 9, TIES).reshape(9, PIECE // 4)
    assert_equal_to_bitsandbytes(x)
    assert_equal_to_bitsandbytes(x.T)


def test_rows_of_zeros_and_of_very_small_values() -> None:
    codes, absmax = quantize(np.array([[0, 0], [1e-38, -1e-39], [1, -1]], np.float32))
    assert codes.tolist() == [[0, 0], [0, 0], [127, -127]]
    np.testing.assert_array_equal(dequantize(codes, absmax)[:2], 0)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing(shape: tuple[int, int]) -> None:
    codes, absmax = quantize(np.empty(shape, np.float32))
    assert (codes.shape, absmax.tolist()) == (shape, [0] * shape[0])
    assert dequantize(codes, absmax).shape == shape


moderate = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 50)), elements=moderate))
def test_the_error_is_at_most_half_a_step(x: np.ndarray) -> None:
    codes, absmax = quantize(x)
    error = np.abs(dequantize(codes, absmax).astype(np.float64) - x)
    step = absmax[:, None].astype(np.float64) / 127
    rounding = QUANTIZATION_ROUNDING * absmax[:, None] + OVERFLOW
    assert (error <= step / 2 + rounding).all()


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 50)), elements=moderate))
def test_dequantized_weights_get_the_same_codes(x: np.ndarray) -> None:
    codes, absmax = quantize(x)
    np.testing.assert_array_equal(quantize(dequantize(codes, absmax))[0], codes)


@pytest.mark.parametrize("x", [np.zeros(4, np.float32), np.zeros((2, 2)), np.zeros((1, 2, 2), np.float32)])
def test_other_shapes_and_dtypes_are_refused(x: np.ndarray) -> None:
    with pytest.raises(InputError, match="weights must be a matrix of float32"):
        quantize(x)
