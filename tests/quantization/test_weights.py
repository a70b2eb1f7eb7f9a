"""Packed weights: what they unpack to, and that a product with one is the product with these values."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minibiogpt import get_backend
from minibiogpt.backend.products import base
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.backend.threads import WORKERS
from minibiogpt.model.ops import linear
from minibiogpt.quantization import FORMATS, Quantization, blocks, double, four_bits, rows
from minibiogpt.quantization.code_books import CODE_BOOKS
from minibiogpt.quantization.weights import EightBits, FourBits, in_order, out_of_order, whole_blocks
from tests.budgets import HALF_PRODUCT_ABSOLUTE, TILED_PRODUCT

FLOATS = [one for one in FORMATS if one != "int8-dynamic"]
SIZES = ((64, 128), (97, 64), (33, 32), (300, 192))
ODD = ((7, 10), (5, 13), (129, 100), (3, 65), (64, 96))  # blocks of 64 that don't end where rows end


def weight_of(kind: str, shape: tuple[int, int], seed: int = 0, **options: Any) -> PackedWeight:
    x = np.random.default_rng(seed).normal(0, 0.02, shape).astype(np.float32)
    return Quantization(kind, **options).pack(x, "float32")


def shapes_of(kind: str) -> tuple[tuple[int, int], ...]:
    return SIZES + ODD if kind in ("nf4", "fp4", "int8") else tuple(one for one in SIZES if one[1] % 32 == 0)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(base, "MIN_WORK", 0)
    given = WORKERS.blas.count
    WORKERS.blas.count = request.param
    yield request.param
    WORKERS.blas.count = given


def values(kind: str, x: np.ndarray, double_quant: bool) -> np.ndarray:
    """Return what x becomes, by the equations alone."""
    if kind in ("nf4", "fp4"):
        packed, absmax = four_bits.quantize(x, CODE_BOOKS[kind])
        absmax = double.dequantize(double.quantize(absmax)) if double_quant else absmax
        return four_bits.dequantize(packed, absmax, CODE_BOOKS[kind], x.shape, dtype=x.dtype)
    if kind == "q8_0":
        return blocks.dequantize_q8_0(*blocks.quantize_q8_0(x))
    if kind == "q4_0":
        return blocks.dequantize_q4_0(*blocks.quantize_q4_0(x))
    return rows.dequantize(*rows.quantize(x))


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("kind", FORMATS)
def test_it_unpacks_to_what_the_equations_give(kind: str, double_quant: bool) -> None:
    for shape in shapes_of(kind):
        x = np.random.default_rng(1).normal(0, 0.02, shape).astype(np.float32)
        weight = Quantization(kind, double_quant).pack(x, "float32")
        want = values(kind, x, double_quant)
        np.testing.assert_array_equal(np.asarray(weight), want)
        for start, stop in ((0, 1), (1, 3), (shape[0] - 1, shape[0])):
            np.testing.assert_array_equal(np.asarray(weight.part(start, stop)), want[start:stop])
            if stop - start > 1:
                np.testing.assert_array_equal(np.asarray(weight.part(start, stop).part(1, 2)), want[start + 1 : stop])


def test_values_are_float32_whatever_was_quantized() -> None:
    """bitsandbytes multiplies with values in the dtype of the activations, not in that of the original weights."""
    x = np.random.default_rng(2).normal(0, 0.02, (9, 64)).astype(np.float16)
    weight = Quantization("nf4").pack(x, "float32")
    assert isinstance(weight, FourBits)
    assert weight.source == "float16"
    got = np.asarray(weight)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, values("nf4", x.astype(np.float32), True))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.usefixtures("threads")
def test_a_product_is_the_product_with_its_values(kind: str) -> None:
    backend, rng = get_backend("numpy"), np.random.default_rng(3)
    for shape in shapes_of(kind):
        weight = weight_of(kind, shape)
        exact = np.asarray(weight).astype(np.float64)
        bias = rng.normal(size=shape[0])
        for M in (0, 1, 2, 8, 9, 40):
            given = rng.normal(size=(M, shape[1]))
            for dtype, rounding in (("float64", 2.0**-53), ("float32", 2.0**-24)):
                x, b = given.astype(dtype), bias.astype(dtype)
                want = x.astype(np.float64) @ exact.T + b
                bound = (shape[1] + 3) * rounding * (np.abs(x) @ np.abs(exact).T + np.abs(b))
                got = backend.product(x, weight.astype(dtype), b)
                assert got.dtype == dtype
                assert got.shape == want.shape
                assert (np.abs(got - want) <= bound).all()


@pytest.mark.usefixtures("threads")
def test_a_tile_is_smaller_than_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "TILE", 1000)
    weight, x = weight_of("nf4", (300, 192)), np.random.default_rng(4).normal(size=(3, 192)).astype(np.float32)
    sizes = []

    def unpack(self: FourBits, out: np.ndarray) -> None:
        sizes.append(out.size)
        original(self, out)

    original = FourBits._look_up
    monkeypatch.setattr(FourBits, "_look_up", unpack)
    got = get_backend("numpy").product(x, weight)
    np.testing.assert_allclose(got, x @ np.asarray(weight).T, rtol=0, atol=TILED_PRODUCT * np.abs(got).max())
    assert max(sizes[:-1]) <= 1000
    assert len(sizes) > 50


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_activations_are_summed_in_float32(dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    weight = weight_of("nf4", (64, 128)).astype(dtype)
    x = np.random.default_rng(5).normal(size=(3, 128)).astype(dtype)
    got = get_backend("numpy").product(x, weight)
    assert got.dtype == dtype
    want = (x.astype(np.float64) @ np.asarray(weight, np.float32).astype(np.float64).T).astype(dtype)
    step = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    got, want = got.astype(float), want.astype(float)
    assert (np.abs(got - want) <= step * np.abs(want) + HALF_PRODUCT_ABSOLUTE).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_it_has_what_is_asked_of_an_array(kind: str) -> None:
    weight = weight_of(kind, (64, 128))
    assert (weight.shape, weight.ndim, weight.size, len(weight)) == ((64, 128), 2, 8192, 64)
    assert weight.dtype == "float32"
    bits = {"nf4": 4.13, "fp4": 4.13, "int8": 8.26, "int8-dynamic": 8.51, "q8_0": 8.5, "q4_0": 4.5}[kind]
    extra = 8 * 1024 if kind in ("nf4", "fp4") else 0  # the code book of double quantization
    assert weight.nbytes * 8 - extra <= bits * weight.size + 64
    for other in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight)), weight.astype("float32")):
        assert other is not weight
        np.testing.assert_array_equal(np.asarray(other), np.asarray(weight))
    wide = weight.astype("float64")
    assert (wide.dtype, weight.dtype) == ("float64", "float32")
    assert np.asarray(wide).dtype == "float64"
    assert np.asarray(weight, "float16").dtype == "float16"
    x = np.ones((2, 128), np.float32)
    assert linear(x[None], weight).shape == (1, 2, 64)


@pytest.mark.parametrize("kind", FORMATS)
def test_other_values_get_the_same_format(kind: str) -> None:
    a, b = (np.random.default_rng(seed).normal(size=(64, 128)).astype(np.float32) for seed in (0, 1))
    one, two = (Quantization(kind).pack(x, "float32") for x in (a, b))
    changed = one.quantized(b)
    assert type(changed) is type(one)
    np.testing.assert_array_equal(np.asarray(changed), np.asarray(two))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(Quantization(kind).pack(a, "float32")))
    assert [x.dtype for x in changed.arrays] == [x.dtype for x in one.arrays]


def test_it_is_printed_in_one_line() -> None:
    assert repr(weight_of("q4_0", (64, 128))) == "<FourBits (64, 128), 4.50 bits a value>"
    assert repr(weight_of("q8_0", (64, 128))) == "<EightBits (64, 128), 8.50 bits a value>"


def test_the_order_of_q4_0_and_back() -> None:
    x = np.random.default_rng(9).normal(size=(5, 64)).astype(np.float32)
    codes, _ = blocks.quantize_q4_0(x)
    again = out_of_order(in_order(codes))
    np.testing.assert_array_equal(again.reshape(codes.shape), codes)


def test_codes_are_padded_to_whole_blocks() -> None:
    assert whole_blocks(np.arange(32, dtype=np.uint8), 64).shape == (1, 32)
    padded = whole_blocks(np.arange(1, 34, dtype=np.uint8), 64)
    assert padded.shape == (2, 32)
    assert padded.reshape(-1)[:34].tolist() == [*range(1, 34), 0]


def test_a_row_of_zeros_is_zero() -> None:
    for kind in FORMATS:
        x = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
        x[2] = 0
        weight = Quantization(kind, double_quant=False).pack(x, "float32")
        assert (np.asarray(weight)[2] == 0).all()
        got = get_backend("numpy").product(np.ones((1, 64), np.float32), weight)
        assert got[0, 2] == 0
        assert np.isfinite(got).all()


def test_a_weight_of_8_bits_by_row_has_one_scale_a_row() -> None:
    weight = weight_of("int8", (6, 64))
    assert isinstance(weight, EightBits)
    assert weight.scales.shape == (6,)
