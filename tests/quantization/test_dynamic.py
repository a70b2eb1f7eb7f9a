"""int8-dynamic: activations are quantized on the way, and integers multiplied, in an order that a product chooses."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, get_backend
from minibiogpt.backend.products import base, get_product, why_not
from minibiogpt.backend.products.numpy import NumpyProduct
from minibiogpt.backend.threads import WORKERS
from minibiogpt.quantization import DynamicEightBits, Quantization, dynamic
from tests.budgets import INTEGER_PRODUCT


class Reversed:
    """Codes from the last row to the first."""

    def __init__(self, plain: np.ndarray) -> None:
        self.rows = plain[::-1].copy()


class Reversing(NumpyProduct):
    """A product that reads weights in an order of its own, and counts what it is asked to order."""

    fast_integers = True

    def __init__(self) -> None:
        super().__init__()
        self.ordered: list[int] = []

    def order_integers(self, weight: np.ndarray) -> Any:
        self.ordered.append(len(weight))
        return Reversed(weight)

    def restore_integers(self, ordered: Any) -> np.ndarray:
        return ordered.rows[::-1].copy()

    def multiply_ordered(self, rows: np.ndarray, ordered: Any, out: np.ndarray) -> None:
        out[...] = (rows.astype(np.int32) @ ordered.rows.astype(np.int32).T)[:, ::-1]


@pytest.fixture
def reversing(monkeypatch: pytest.MonkeyPatch) -> Reversing:
    product = Reversing()
    monkeypatch.setattr(dynamic, "integer_product", lambda chosen: product)
    return product


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute integers by NumPy, whatever is installed."""
    monkeypatch.setattr(dynamic, "integer_product", lambda chosen: chosen)


def weight_of(shape: tuple[int, int], seed: int = 0, **options: Any) -> DynamicEightBits:
    x = np.random.default_rng(seed).normal(0, 0.02, shape).astype(np.float32)
    weight = Quantization("int8-dynamic", **options).pack(x, "float32")
    assert isinstance(weight, DynamicEightBits)
    return weight


def product(x: np.ndarray, weight: Any) -> np.ndarray:
    found: np.ndarray = get_backend("numpy", product="numpy").product(x, weight)
    return found


def test_a_dynamic_product_multiplies_integers() -> None:
    rng = np.random.default_rng(6)
    weight = weight_of((50, 300))
    x = rng.normal(size=(7, 300)).astype(np.float32)
    x[3] = 0
    got = product(x, weight)
    absmax = np.abs(x).max(axis=1, keepdims=True)
    codes = np.rint(x * (127 / np.where(absmax > 0, absmax, 1))).astype(np.int64)
    want = (codes @ weight.codes.T.astype(np.int64)) * (absmax / 127) * (weight.scales / 127)
    np.testing.assert_allclose(got, want, rtol=INTEGER_PRODUCT, atol=0)
    assert not np.allclose(got, x @ np.asarray(weight).T, rtol=INTEGER_PRODUCT, atol=0)


def test_outliers_stay_floats() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(4, 64)).astype(np.float32)
    x[1, 5], x[2, 9] = 60, -80
    plain, careful = weight_of((32, 64)), weight_of((32, 64), threshold=6.0)
    exact = x @ np.asarray(plain).T
    coarse, fine = (np.abs(product(x, weight) - exact).max() for weight in (plain, careful))
    assert fine < coarse / 5


@pytest.mark.usefixtures("plain")
def test_integer_products_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def multiply(self: Any, rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        seen.append((rows.dtype.name, weight.dtype.name))
        out[...] = rows.astype(np.int32) @ weight.astype(np.int32).T

    monkeypatch.setattr(base.Product, "multiply_integers", multiply)
    x = np.random.default_rng(8).normal(size=(2, 64)).astype(np.float32)
    product(x, weight_of((32, 64)))
    assert set(seen) == {("uint8", "int8")}


def test_codes_are_ordered_once_and_kept_once(reversing: Reversing) -> None:
    weight, x = weight_of((48, 64)), np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    codes = weight.codes.copy()
    want = product(x, weight)
    assert reversing.ordered == [48]
    assert isinstance(weight.store.form[1], Reversed)
    for _ in range(3):
        np.testing.assert_array_equal(product(x, weight), want)
    assert reversing.ordered == [48]
    np.testing.assert_array_equal(weight.codes, codes)
    np.testing.assert_array_equal(weight.part(5, 9).codes, codes[5:9])
    assert (weight.nbytes, weight.size) == (48 * 64 + 48 * 8, 48 * 64)
    for other in (
        copy.deepcopy(weight),
        pickle.loads(pickle.dumps(weight)),
        weight.astype("float64"),
        copy.copy(weight),
    ):
        np.testing.assert_array_equal(np.asarray(other), np.asarray(weight))
        np.testing.assert_array_equal(product(x, other.astype("float32")), want)


def test_threads_share_the_rows(reversing: Reversing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "INTEGER_WORK", 5 * 64 * 48)
    monkeypatch.setattr(WORKERS.blas, "count", 2)
    weight, rng, shared = weight_of((48, 64)), np.random.default_rng(2), []
    monkeypatch.setattr(WORKERS, "run", lambda part, count: shared.append(count) or [part(i) for i in range(count)])
    for M in (0, 1, 4, 5, 9, 40):
        x = rng.normal(size=(M, 64)).astype(np.float32)
        np.testing.assert_allclose(
            product(x, weight), NumpyDynamic(weight_of((48, 64)))(x), rtol=INTEGER_PRODUCT, atol=0
        )
    assert shared == [0, 1, 1, 2, 2, 2]
    assert reversing.ordered == [48]


def test_threads_find_the_same_outliers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(4).normal(size=(6, 64)).astype(np.float32)
    x[5, 7] = 50  # the column stays a float in every row, whichever thread has it
    want = product(x, weight_of((48, 64), threshold=6.0))
    monkeypatch.setattr(base, "INTEGER_WORK", 0)
    monkeypatch.setattr(WORKERS.blas, "count", 3)
    np.testing.assert_array_equal(product(x, weight_of((48, 64), threshold=6.0)), want)


class NumpyDynamic:
    """The equation of a dynamic product, in NumPy."""

    def __init__(self, weight: DynamicEightBits) -> None:
        self.codes, self.scales = weight.codes.astype(np.int64), weight.scales / 127

    def __call__(self, x: np.ndarray) -> np.ndarray:
        absmax = np.abs(x).max(axis=1, initial=0, keepdims=True)
        return (np.rint(x * (127 / absmax)).astype(np.int64) @ self.codes.T) * (absmax / 127) * self.scales


def test_another_product_gets_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Reversing(), Reversing()
    weight, x = weight_of((48, 64)), np.ones((1, 64), np.float32)
    found = []
    for chosen in (one, two, one):
        monkeypatch.setattr(dynamic, "integer_product", lambda _, chosen=chosen: chosen)
        found.append(product(x, weight))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert (one.ordered, two.ordered) == ([48, 48], [48])


def test_what_is_not_finite_is_not_hidden() -> None:
    weight = weight_of((8, 64))
    for value in (np.nan, np.inf, -np.inf):
        x = np.ones((2, 64), np.float32)
        x[0, 3] = value
        with np.errstate(all="ignore"):
            got = product(x, weight)
        assert not np.isfinite(got[0]).any()
        assert np.isfinite(got[1]).all()


@pytest.mark.parametrize("name", ["onednn", "mkl"])
def test_every_product_gives_the_same_integers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not(name):
        pytest.skip(reason)
    rng = np.random.default_rng(3)
    for shape in ((48, 64), (1024, 1024), (33, 100)):
        for M in (1, 2, 8, 70):
            x = rng.normal(size=(M, shape[1])).astype(np.float32)
            monkeypatch.setattr(dynamic, "integer_product", lambda _: get_product(name))
            got = product(x, weight_of(shape))
            monkeypatch.setattr(dynamic, "integer_product", lambda chosen: chosen)
            np.testing.assert_array_equal(got, product(x, weight_of(shape)))


def test_a_model_that_has_been_used_is_saved_as_it_was(reversing: Reversing, tmp_path: Any) -> None:
    model = BioGptForCausalLM.from_pretrained("demo", quantization="int8-dynamic")
    model.save_pretrained(tmp_path / "before")
    model([[2, 45, 30]])
    assert reversing.ordered
    model.save_pretrained(tmp_path / "after")
    one, two = ((tmp_path / when / "model.safetensors").read_bytes() for when in ("before", "after"))
    assert one == two
