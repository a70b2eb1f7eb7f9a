"""Q8_0 and Q4_0 against the package gguf, byte for byte."""

from __future__ import annotations

from types import ModuleType

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minibiogpt.errors import InputError
from minibiogpt.quantization import blocks
from minibiogpt.quantization.four_bits import PIECE
from tests.budgets import QUANTIZATION_ROUNDING
from tests.quantization.tensors import COUNT, bits, neighbours, tensor

gguf: ModuleType = pytest.importorskip("gguf", reason="gguf is the reference of its formats")

FORMATS = ("q8_0", "q4_0")
SHAPES = ((1, 32), (3, 96), (7, 64), (2, 1024), (17, 128))
TIES = {"q8_0": (np.arange(-126, 127) + 0.5) / 127, "q4_0": (np.arange(-7, 8) + 0.5) / 8}
STEPS = {"q8_0": 127, "q4_0": 8}


def matrix(name: str, seed: int) -> np.ndarray:
    shape = SHAPES[seed % len(SHAPES)]
    x = tensor(seed, shape[0] * shape[1], neighbours(TIES[name])).reshape(shape)
    return np.clip(x, -5e5, 5e5)  # scales are float16


def quantize(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return getattr(blocks, f"quantize_{name}")(x)


def dequantize(name: str, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return getattr(blocks, f"dequantize_{name}")(codes, scales)


def reference(name: str) -> int:
    return gguf.GGMLQuantizationType[name.upper()]


def assert_equal_to_gguf(name: str, x: np.ndarray) -> None:
    codes, scales = quantize(name, x)
    packed = getattr(blocks, f"pack_{name}")(codes, scales)
    with np.errstate(all="ignore"):
        want = gguf.quantize(x, reference(name))
        smallest = np.abs(x.astype(np.float32)).reshape(-1, 32).max(axis=1) / STEPS[name]
    assert packed.shape == want.shape
    width = packed.shape[1] // (x.shape[1] // 32)
    defined = (smallest == 0) | (smallest > 3e-39)  # elsewhere gguf converts NaN and infinities to integers
    np.testing.assert_array_equal(packed.reshape(-1, width)[defined], want.reshape(-1, width)[defined])
    np.testing.assert_array_equal(packed.reshape(-1, width)[:, :2], want.reshape(-1, width)[:, :2])

    back = getattr(blocks, f"unpack_{name}")(packed)
    for got, made in zip(back, (codes, scales), strict=True):
        np.testing.assert_array_equal(got, made)
        assert got.dtype == made.dtype
    got, theirs = dequantize(name, *back), gguf.dequantize(packed, reference(name))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(bits(got), bits(theirs))
    assert not got.reshape(-1, 32)[~defined].any()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", range(10))
def test_random_and_adversarial_matrices(name: str, kind: int) -> None:
    for seed in range(kind, COUNT, 10):
        assert_equal_to_gguf(name, matrix(name, seed))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_sixteen_bits(name: str, dtype: type) -> None:
    for seed in range(COUNT // 4):
        assert_equal_to_gguf(name, np.clip(matrix(name, seed), -6e4, 6e4).astype(dtype))


@pytest.mark.parametrize("name", FORMATS)
def test_several_pieces(name: str) -> None:
    assert_equal_to_gguf(name, tensor(0, PIECE // 4 * 9, TIES[name]).reshape(9, PIECE // 4))


def test_of_two_largest_weights_the_first_decides_the_sign_of_the_scale() -> None:
    for first in (-8, 8):
        x = np.array([[0, first, -first] + 29 * [0]], np.float32)
        codes, scales = quantize("q4_0", x)
        assert scales.tolist() == [[-first / 8]]
        assert (codes[0, :3] & 15).tolist() == [8, 0, 15]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(0, 32), (3, 0)])
def test_nothing(name: str, shape: tuple[int, int]) -> None:
    codes, scales = quantize(name, np.empty(shape, np.float32))
    assert dequantize(name, codes, scales).shape == shape
    assert getattr(blocks, f"pack_{name}")(codes, scales).shape == (shape[0], shape[1] // 32 * (34, 18)[name == "q4_0"])


moderate = arrays(
    np.float32, st.tuples(st.integers(1, 3), st.just(64)), elements=st.floats(-(2.0**18), 2.0**18, width=32)
)


@pytest.mark.parametrize("name", FORMATS)
@given(x=moderate)
def test_the_error_is_at_most_half_a_step_of_a_rounded_scale(name: str, x: np.ndarray) -> None:
    """Q4_0 has no code for +8: the error of the weight opposite to the largest one is a whole step."""
    got = dequantize(name, *quantize(name, x)).astype(np.float64)
    largest = np.abs(x).reshape(-1, 32).max(axis=1).repeat(32).reshape(x.shape).astype(np.float64)
    step = largest / STEPS[name]
    error = np.abs(got - x)
    half = np.where(np.abs(x) > 7.5 * step, step, step / 2) if name == "q4_0" else step / 2
    scale_error = np.maximum(step * 2.0**-11, 2.0**-25)  # of float16, of whose scale up to STEPS are taken
    assert (error <= half + STEPS[name] * scale_error + QUANTIZATION_ROUNDING * largest).all()


@pytest.mark.parametrize("name", FORMATS)
@given(x=moderate)
def test_dequantized_weights_are_quantized_without_error(name: str, x: np.ndarray) -> None:
    once = dequantize(name, *quantize(name, x))
    np.testing.assert_array_equal(dequantize(name, *quantize(name, once)), once)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "x", [np.zeros((2, 33), np.float32), np.zeros(32, np.float32), np.zeros((2, 32)), np.zeros((1, 2, 32), np.float32)]
)
def test_other_shapes_and_dtypes_are_refused(name: str, x: np.ndarray) -> None:
    with pytest.raises(InputError, match="with rows of a multiple of 32"):
        quantize(name, x)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [1e7, -3e38, np.nan, np.inf])
def test_a_scale_must_be_finite(name: str, value: float) -> None:
    x = np.zeros((2, 64), np.float32)
    x[1, 40] = value
    with pytest.raises(InputError, match="the scale of a block must be finite in float16"):
        quantize(name, x)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [np.zeros((2, 33), np.uint8), np.zeros(34 * 18, np.uint8), np.zeros((2, 306))])
def test_packed_bytes_of_another_shape_are_refused(name: str, packed: np.ndarray) -> None:
    with pytest.raises(InputError, match="packed weights must be a uint8 matrix"):
        getattr(blocks, f"unpack_{name}")(packed)
