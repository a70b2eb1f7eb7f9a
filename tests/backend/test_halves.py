"""float16 and bfloat16 on the processor: every array within its budget, and what the weights are widened to.

The budgets are those of the same dtypes on a device (tests/budgets.py), or 1.5 times the error that PyTorch makes in
the same dtype, where that is more: a text whose activations grow large loses more digits, in PyTorch too. Each library
of products is tried, and MKL's own bfloat16 also where it would not be chosen, because widening is faster there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptForCausalLM, Trace, get_backend
from minibiogpt.backend import HALVES
from minibiogpt.backend.products import base
from minibiogpt.backend.products.base import Product, widen
from minibiogpt.backend.threads import WORKERS
from minibiogpt.files.hub import find_model
from minibiogpt.model.cache import KVCache
from tests.backend.test_cupy import INPUTS, PROMPTS, replace_masked
from tests.backend.test_products import available
from tests.budgets import lane_c
from tests.compare import HIDDEN, assert_close
from tests.reference import tensors
from tests.support.device import demo, host
from tools import dump_torch

pytest.importorskip("ml_dtypes")
PRODUCTS = [(name, dtype) for name in ("numpy", "openblas", "mkl", "onednn") for dtype in HALVES]
PRODUCTS += [("mkl, native", "bfloat16"), ("onednn, native", "bfloat16")]


@pytest.fixture(params=HALVES)
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=PRODUCTS, ids="-".join)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Product, str]]:
    """A product and a dtype."""
    name, _, native = request.param[0].partition(", ")
    found = available(name)
    if name == "onednn" and native and not found.bfloat16:
        pytest.skip("oneDNN computes bfloat16 only where the processor does")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "bfloat16", bool(native))
        yield found, request.param[1]


def of_torch(dtype: str, **inputs: Any) -> dict[str, np.ndarray]:
    """Return {name: array} of what transformers computes in that dtype, as float64."""
    model = transformers.BioGptForCausalLM.from_pretrained(
        find_model("demo"), dtype=getattr(torch, dtype), attn_implementation="eager"
    )
    arrays, _ = dump_torch.run(model.eval(), **tensors(**inputs))
    return {name: x.double().numpy() for name, x in arrays.items()}


def drift(got: np.ndarray, want: np.ndarray) -> float:
    """Return the largest error relative to the largest value, masked scores aside."""
    seen = want > HIDDEN
    return float(np.abs(got - want)[seen].max() / np.abs(want[seen]).max())


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_every_array_is_within_its_budget(case: tuple[Product, str], inputs: dict[str, Any]) -> None:
    product, dtype = case
    want, got, theirs = Trace(), Trace(), of_torch(dtype, **inputs)
    demo("numpy", "float64")(**inputs, trace=want)
    backend = get_backend("numpy", product.name)
    model = BioGptForCausalLM.from_pretrained("demo", dtype=dtype, product=product.name)
    model(**inputs, trace=got)
    assert list(got) == list(want)
    for name, x in got.items():
        assert x.dtype.name in (dtype, "int64", *(["float32"] if name == "loss" else [])), f"{name} is {x.dtype}"
        budget = lane_c(dtype, name)
        if name in theirs and budget:
            budget = max(budget, 1.5 * drift(theirs[name], want[name]))
        assert_close(name, replace_masked(host(x), want[name], x.dtype, backend), want[name], budget)
    blocked = BioGptForCausalLM.from_pretrained(
        "demo", dtype=dtype, product=product.name, attn_implementation="blocked"
    )
    assert_close("logits", host(blocked(**inputs).logits), want["logits"], lane_c(dtype, "logits"))


def test_every_job_runs_in_16_bits(dtype: str) -> None:
    model, wide = demo("numpy", dtype), demo("numpy")
    ids = model.generate(PROMPTS[:1], max_new_tokens=6)
    assert ids[0, :6].tolist() == wide.generate(PROMPTS[:1], max_new_tokens=6)[0, :6].tolist()
    assert model.generate(PROMPTS, max_new_tokens=6, num_beams=3, attention_mask=np.ones((2, 5))).shape[0] == 2
    assert model.generate(PROMPTS[:1], max_new_tokens=6, do_sample=True, top_p=0.9, seed=1).shape == (1, 11)
    assert_close("score", host(model.score(PROMPTS).total), host(wide.score(PROMPTS).total), lane_c(dtype, "loss"))
    assert_close(
        "embed", host(model.biogpt.embed(PROMPTS)), host(wide.biogpt.embed(PROMPTS)), lane_c(dtype, "layer_norm")
    )


def test_weights_and_cache_take_half_the_memory(dtype: str, tmp_path: Path) -> None:
    model, wide = demo("numpy", dtype), demo("numpy")
    assert {x.dtype.name for x in model.parameters()} == {dtype}
    assert sum(x.nbytes for x in model.parameters()) * 2 == sum(x.nbytes for x in wide.parameters())
    caches: list[KVCache] = [m(PROMPTS, use_cache=True).past_key_values for m in (model, wide)]
    assert caches[0].nbytes * 2 == caches[1].nbytes
    model.save_pretrained(tmp_path)
    again = BioGptForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert all(np.array_equal(x, y) for x, y in zip(model.parameters(), again.parameters(), strict=True))


def test_auto_is_float32_for_a_file_of_16_bits(dtype: str, tmp_path: Path) -> None:
    demo("numpy", dtype).save_pretrained(tmp_path)
    assert BioGptForCausalLM.from_pretrained(tmp_path, dtype="auto").dtype == "float32"


@pytest.mark.parametrize("tile", [1, 100, 1 << 20])
def test_a_weight_is_widened_tile_by_tile(dtype: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "TILE", tile)
    monkeypatch.setattr(base, "MIN_WORK", 0)
    rng, backend = np.random.default_rng(0), get_backend("numpy", "numpy")
    for M in (1, 3, 20):
        rows, weight, bias = (rng.normal(size=s).astype(dtype) for s in ((M, 40), (31, 40), (31,)))
        want = rows.astype(float) @ weight.T.astype(float) + bias.astype(float)
        for b, exact in ((bias, want), (None, want - bias.astype(float))):
            got = backend.product(rows, weight, b)
            assert got.dtype == rows.dtype
            assert np.abs(got.astype(float) - exact).max() < 2.0 ** (-8 if dtype == "bfloat16" else -11) * 40


def test_every_number_of_16_bits_stays_what_it_is(dtype: str) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    finite = x[np.isfinite(x.astype(np.float32))]
    for numbers in (x, finite, x[:0], np.array([np.inf, 1], dtype), np.array([np.nan, 1], dtype)):
        out = np.empty(numbers.shape, np.float32)
        widen(numbers, out)
        want = numbers.astype(np.float32)
        assert np.array_equal(out, want, equal_nan=True)
        assert np.array_equal(np.signbit(out[~np.isnan(out)]), np.signbit(want[~np.isnan(want)]))


def test_two_threads_widen_into_memory_of_their_own(dtype: str) -> None:
    rng, backend = np.random.default_rng(0), get_backend("numpy", "numpy")
    rows, weight = rng.normal(size=(3, 1024)).astype(dtype), rng.normal(size=(2048, 1024)).astype(dtype)
    given = WORKERS.blas.count
    try:
        WORKERS.blas.count = 1
        want = backend.product(rows, weight).astype(np.float32)
        WORKERS.blas.count = 2
        for _ in range(20):
            got = backend.product(rows, weight).astype(np.float32)
            assert np.abs(got - want).max() <= 2.0**-6 * np.abs(want).max()
    finally:
        WORKERS.blas.count = given
