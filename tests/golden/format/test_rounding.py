"""Rounding noise: sums are really reordered, values are really rounded, and the budgets are computed from both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, Trace
from minibiogpt.golden.format import rounding
from minibiogpt.golden.format.case import PRECISIONS, Case
from minibiogpt.golden.format.record import record
from minibiogpt.golden.format.rounding import (
    FACTOR,
    ROUNDING,
    Noise,
    in_precision,
    measure_noise,
    reordered,
    rounded,
    run_calls,
)
from minibiogpt.trace import Recorder
from tests.budgets import SUMMED
from tests.support.configs import PRIMES

RNG = np.random.default_rng


def model(**changes: Any) -> BioGptForCausalLM:
    return BioGptForCausalLM.from_config(BioGptConfig(**(PRIMES | changes)), seed=3, dtype="float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_product_in_another_order_is_the_same_but_for_rounding(dtype: str) -> None:
    a, b = (RNG(0).standard_normal(shape).astype(dtype) for shape in ((5, 300), (300, 7)))
    others = [np.asarray(reordered(a, RNG(seed)) @ b) for seed in range(6)]
    assert all(other.dtype == dtype for other in others)
    assert len({other.tobytes() for other in others}) == 6, "each seed has its own order"
    assert np.asarray(reordered(a, RNG(2)) @ b).tobytes() == others[2].tobytes(), "and always the same one"
    exact = a.astype(np.float64) @ b.astype(np.float64)
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    assert all((np.abs(other - exact) <= 300 * np.finfo(dtype).eps * size).all() for other in others)


def test_whichever_operand_is_reordered_it_is_noticed() -> None:
    a, b = RNG(0).standard_normal((5, 300)), RNG(1).standard_normal((300, 7))
    left, right = np.asarray(reordered(a, RNG(4)) @ b), np.asarray(a @ reordered(b, RNG(4)))
    assert left.tobytes() == right.tobytes() != (a @ b).tobytes()


@pytest.mark.parametrize("method", ["sum", "mean"])
def test_sums_and_means_run_in_another_order(method: str) -> None:
    x = RNG(0).standard_normal((4, 999)).astype(np.float32)
    plain = getattr(x, method)(axis=-1, keepdims=True)
    others = [np.asarray(getattr(reordered(x, RNG(s)), method)(axis=-1, keepdims=True)) for s in range(4)]
    assert len({other.tobytes() for other in [plain, *others]}) > 2
    exact = getattr(x.astype(np.float64), method)(axis=-1, keepdims=True)
    size = np.abs(x).astype(np.float64).sum(axis=-1, keepdims=True)
    assert all(other.shape == plain.shape for other in others)
    assert all((np.abs(other - exact) <= 999 * np.finfo(np.float32).eps * size).all() for other in others)


def test_what_is_done_in_place_stays_reordered() -> None:
    x = reordered(np.ones(3), RNG(0))
    before = x
    x += np.array([1.0, 2.0, 3.0])
    assert x is before
    assert x.tolist() == [2.0, 3.0, 4.0]
    assert reordered(np.arange(3), RNG(0)).dtype.kind == "i", "integers are unchanged"


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_rounding_is_that_of_pytorch(precision: str, dtype: torch.dtype) -> None:
    x = RNG(0).standard_normal((50, 41)).astype(np.float32) * 10.0 ** RNG(1).integers(-4, 4, (50, 41))
    want = torch.from_numpy(x.astype(np.float32)).to(dtype).float().numpy()
    assert np.array_equal(rounded(x.astype(np.float32), precision), want)
    assert rounded(x.astype(np.float32).T, precision).shape == (41, 50)


def test_the_mark_of_a_hidden_score_stays_and_the_others_may_overflow() -> None:
    lowest = np.finfo(np.float32).min
    got = rounded(np.array([lowest, 70000.0, 1.0], np.float32), "float16")
    assert got.tolist() == [lowest, np.inf, 1.0]
    assert rounded(np.array([lowest], np.float32), "bfloat16").tolist() == [lowest]
    x = np.array([0.1])
    assert rounded(x, "float32") is x
    assert rounded(np.array([1, 2]), "bfloat16").dtype.kind == "i"


def test_every_product_and_every_sum_of_a_forward_pass_is_reordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """np.where and the cache return plain arrays, which the tap must wrap again."""
    counted = {"products": 0, "sums": 0}
    product, total = rounding._product, rounding._sum

    def counting_product(*args: Any) -> Any:
        counted["products"] += 1
        return product(*args)

    def counting_sum(*args: Any, **options: Any) -> Any:
        counted["sums"] += 1
        return total(*args, **options)

    monkeypatch.setattr(rounding, "_product", counting_product)
    monkeypatch.setattr(rounding, "_sum", counting_sum)
    lm = model()
    run_calls(in_precision(lm, "float32"), [{"input_ids": [[2, 5, 9]]}], Noise({}, "float32", 0))
    L = lm.config.num_hidden_layers
    assert counted == {"products": 8 * L + 1, "sums": 2 * (2 * L + 1) + L}  # norms take two means, a softmax one sum


def test_the_rounded_model_has_the_weights_of_that_precision() -> None:
    lm = model()
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)):
        near = dict(in_precision(lm, precision).named_parameters())
        for name, x in lm.named_parameters():
            want = torch.from_numpy(x).to(torch.float32).to(dtype).float().numpy()
            assert np.array_equal(near[name], want), name
    assert in_precision(lm, "float64") is lm


class Kept(Noise):
    """Noise that also keeps the rounded arrays."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.arrays: dict[str, np.ndarray] = {}

    def intercept(self, name: str, x: np.ndarray) -> np.ndarray:
        self.arrays[name] = np.array(super().intercept(name, x))
        return reordered(self.arrays[name], self.rng)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_noise_is_the_largest_error_of_the_runs(precision: str) -> None:
    lm, calls, trace = model(), [{"input_ids": np.array([[2, 5, 9, 11]])}], Trace()
    run_calls(lm, calls, Recorder(trace))
    errors, runs = [], set()
    for seed in range(3):
        kept = Kept(trace, precision, seed)
        run_calls(in_precision(lm, precision), calls, kept)
        errors.append(float(np.abs(kept.arrays["logits"].astype(np.float64) - trace["logits"]).max()))
        assert kept.errors["logits"] == errors[-1] > 0
        runs.add(kept.arrays["logits"].tobytes())
    assert measure_noise(lm, calls, trace, seeds=3)[precision][0]["logits"] == max(errors)
    assert len(runs) == 3 or precision in ("bfloat16", "float16"), "each seed has its own order of sums"


def test_lower_precision_means_larger_budgets_and_their_size_is_that_of_the_precision(tmp_path: Any) -> None:
    record(model(), [{"input_ids": [[2, 5, 9, 11, 3]]}], tmp_path / "c", name="c")
    for entry in Case.read(tmp_path / "c").entries:
        b = entry.budgets
        if entry.name == "position_ids":
            assert set(b.values()) == {0.0}
            continue
        assert b["float64"] < b["float32"] < b["float16"] < b["bfloat16"], entry.name  # type: ignore[operator]
        for precision in PRECISIONS:
            least = FACTOR * ROUNDING[precision] * entry.largest
            assert least <= b[precision] <= 1000 * least, entry.name  # type: ignore[operator]


def test_what_a_precision_cannot_hold_has_no_budget(tmp_path: Any) -> None:
    """Scores of 1e5 overflow float16; the arrays before them don't."""
    lm = model()
    for layer in lm.biogpt.layers:
        layer.self_attn.q_proj.weight *= 1e4
        layer.self_attn.k_proj.weight *= 1e4
    record(lm, [{"input_ids": [[2, 5, 9, 11, 3]]}], tmp_path / "c", name="c")
    case = Case.read(tmp_path / "c")
    assert case.entry("layers.0.self_attn.scores").largest > 65504
    assert case.entry("layers.0.self_attn.scores").budgets["float16"] is None
    assert case.entry("logits").budgets["float16"] is None
    assert case.entry("layers.0.self_attn_layer_norm").budgets["float16"] is not None
    assert case.entry("logits").budgets["bfloat16"] is not None


@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_a_plain_run_in_float32_is_within_the_budget(tmp_path: Any, attention: str) -> None:
    lm = model(vocab_size=71)
    ids, mask = np.array([[2, 5, 9, 11, 3], [1, 1, 2, 8, 4]]), np.array([[1] * 5, [0, 0, 1, 1, 1]])
    record(lm, [{"input_ids": ids, "attention_mask": mask, "labels": ids}], tmp_path / "c", name="c")
    case, trace = Case.read(tmp_path / "c"), Trace()
    near = in_precision(lm, "float32")
    near.biogpt.attn_implementation = attention  # type: ignore[attr-defined]
    near(ids, mask, labels=ids, trace=trace)  # type: ignore[operator]
    assert (len(trace) == len(case.entries)) == (attention == "eager")
    for name, x in trace.items():
        want, budget = case.array(name), case.entry(name).budgets["float32"]
        seen = want > np.finfo(np.float64).min
        assert np.abs(np.where(seen, x, 0) - np.where(seen, want, 0)).max() <= budget, name  # type: ignore[operator]


def test_the_budget_is_the_stated_factor_times_the_noise(tmp_path: Any) -> None:
    config = BioGptConfig(**PRIMES, num_labels=5)
    classifier = BioGptForSequenceClassification.from_config(config, seed=4, dtype="float64")
    calls = [{"input_ids": np.array([[2, 5, 9]]), "labels": np.array([1])}]
    record(classifier, calls, tmp_path / "c", name="c", seeds=2)
    case, trace = Case.read(tmp_path / "c"), Trace()
    classifier(**calls[0], trace=trace)
    noise = measure_noise(classifier, calls, trace, seeds=2)
    assert case.budget["factor"] == FACTOR
    for entry in case.entries:
        if entry.name != "position_ids":
            for precision in PRECISIONS:
                want = FACTOR * max(noise[precision][0][entry.name], ROUNDING[precision] * entry.largest)
                assert entry.budgets[precision] == want, (entry.name, precision)


def test_an_error_has_no_sign() -> None:
    for off in (0.5, -0.5):
        noise = Noise({"x": np.array([1.0, 2.0])}, "float64", 0)
        noise.intercept("x", np.array([1.0 + off, 2.0]))
        squares = max(abs((1 + off) ** 2 - 1), 2 * 1.0 * 0.5)  # the actual error, and the first-order one
        weighted = abs(off) * abs(2654435761 / 2**32 - 0.5)
        assert noise.errors["x"] == 0.5
        assert noise.sums["x"].tolist() == pytest.approx([0.5, 0.5, squares, weighted], rel=SUMMED)


def test_the_noise_of_a_sum_is_not_that_of_errors_that_cancel() -> None:
    noise = Noise({"x": np.array([3.0, 3.0])}, "float64", 0)
    noise.intercept("x", np.array([3.5, 2.5]))
    assert noise.sums["x"][0] == pytest.approx(math.sqrt(0.5), rel=SUMMED), "although the sum itself is correct"
