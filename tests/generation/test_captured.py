"""Generation on the CuPy backend: the same texts as on NumPy, and decoding steps that are captured and replayed.

Each test runs on the emulated backend (emulated.py), and on a device if there is one.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, Trace
from minibiogpt.backend.cupy import CupyBackend
from minibiogpt.generation.captured import CapturedDecodingStep
from minibiogpt.model import ops
from tests.backend.test_cupy import MASK, PROMPTS, SHORT
from tests.budgets import KERNEL
from tests.compare import assert_close
from tests.support import emulated
from tests.support.device import absent, demo, device, host, small
from tests.support.paths import ROOT
from tests.support.strict import GraphCapture

GENERATION: dict[str, dict[str, Any]] = {
    "greedy": {},
    "one row": {"input_ids": SHORT[:1]},
    "padded": {"input_ids": SHORT, "attention_mask": MASK},
    "several each": {"do_sample": True, "seed": 3, "top_k": 20, "num_return_sequences": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 2},
    "beams, padded": {"input_ids": SHORT, "attention_mask": MASK, "num_beams": 2},
    "fairseq": {"num_beams": 3, "scoring": "fairseq"},
    "beams of one id": {"input_ids": [[2]], "num_beams": 3},
    "several of one id": {"input_ids": [[2]], "do_sample": True, "seed": 4, "num_return_sequences": 3},
    "fairseq of one id": {"input_ids": [[2]], "num_beams": 3, "scoring": "fairseq"},
    "sampled": {"do_sample": True, "seed": 5},
    "uncached": {"use_cache": False, "max_new_tokens": 4},
}


@pytest.mark.parametrize("options", GENERATION.values(), ids=GENERATION)
def test_generation_is_numpys(backend: CupyBackend, options: dict[str, Any]) -> None:
    kwargs = {"input_ids": [SHORT[0]] * 2, "max_new_tokens": 12, "eos_token_id": None} | options
    want = small("numpy").generate(**kwargs)
    got = small(backend.name).generate(**kwargs)
    assert type(got) is backend.array_type
    assert np.array_equal(host(got), want)


def test_sixty_four_greedy_tokens_are_those_of_float64(backend: CupyBackend) -> None:
    want = demo("numpy", "float64").generate(PROMPTS, attention_mask=MASK, max_new_tokens=64, eos_token_id=None)
    got = demo(backend.name).generate(PROMPTS, attention_mask=MASK, max_new_tokens=64, eos_token_id=None)
    assert np.array_equal(host(got), want)


@pytest.mark.parametrize("options", [{}, {"attention_mask": MASK}, {"num_beams": 2}], ids=["plain", "padded", "beams"])
def test_a_captured_step_is_the_step_itself(backend: CupyBackend, dtype: str, options: dict[str, Any]) -> None:
    """Bit for bit: the same kernels on the same data."""
    model, found = small(backend.name, dtype), []
    kwargs: dict[str, Any] = {"max_new_tokens": 9, "eos_token_id": None, "return_dict_in_generate": True}
    kwargs |= {"output_logits": True, "output_scores": True}
    for graphs in (True, False):
        backend.use_graphs = graphs
        try:
            found.append(model.generate(SHORT, **kwargs, **options))
        finally:
            backend.use_graphs = True
    captured, eager = found
    assert np.array_equal(host(captured.sequences), host(eager.sequences))
    assert len(captured.logits) == 9
    pairs = [*zip(captured.logits, eager.logits, strict=True), *zip(captured.scores, eager.scores, strict=True)]
    for one, other in pairs:
        assert str(one.dtype) == ("float64" if dtype == "float64" else "float32")
        assert np.array_equal(host(one), host(other))
    (k, v), (other_k, other_v) = captured.past_key_values[1], eager.past_key_values[1]
    assert captured.past_key_values.seq_length == eager.past_key_values.seq_length == 13
    assert np.array_equal(host(k), host(other_k))
    assert np.array_equal(host(v), host(other_v))


def test_steps_are_captured_when_they_are_many_and_alike() -> None:
    backend = device("emulated")
    model, captures = small("emulated"), []
    original = CapturedDecodingStep.__init__

    def counting_init(self: CapturedDecodingStep, *args: Any) -> None:
        captures.append(1)
        original(self, *args)

    cases: list[tuple[dict[str, Any], int]] = [
        ({"max_new_tokens": 8}, 1),
        ({"max_new_tokens": 4}, 0),  # too few steps left
        ({"max_new_tokens": 8, "use_cache": False}, 0),
        ({"max_new_tokens": 8, "trace": Trace("tokens")}, 0),  # traced
        ({"max_new_tokens": 8, "num_beams": 17}, 0),  # 34 rows: too many for the product kernel, so cuBLAS is used
    ]
    eager = BioGptForCausalLM(model.config, dict(model.biogpt.named_parameters()), backend, "eager")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CapturedDecodingStep, "__init__", counting_init)
        for options, times in cases:
            captures.clear()
            model.generate(SHORT, eos_token_id=None, **options)
            assert len(captures) == times, options
        captures.clear()
        eager.generate(SHORT, eos_token_id=None, max_new_tokens=8)
        assert not captures
        backend.use_kernels = False
        try:
            model.generate(SHORT, eos_token_id=None, max_new_tokens=8)
        finally:
            backend.use_kernels = True
        assert not captures


def test_logits_that_are_no_numbers_are_reported_in_a_captured_step(backend: CupyBackend) -> None:
    model = BioGptForCausalLM.from_config(small("numpy").config, seed=5, backend=backend)
    model.biogpt.embed_positions.weight[2 + 9] = float("nan")
    with pytest.raises(InputError, match="logits must be finite.*after 10 tokens"):
        model.generate(SHORT, max_new_tokens=9, eos_token_id=None)


def test_nothing_is_left_of_a_text(backend: CupyBackend) -> None:
    """The captured step and its cache are freed after generation, and the next capture reuses the memory pool."""
    steps: list[weakref.ref[CapturedDecodingStep]] = []
    original = CapturedDecodingStep.__init__

    def tracking_init(self: CapturedDecodingStep, *args: Any) -> None:
        steps.append(weakref.ref(self))
        original(self, *args)

    small(backend.name).generate(SHORT, max_new_tokens=8, eos_token_id=None)
    pools = len(backend.graph_pools)
    gc.collect()
    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CapturedDecodingStep, "__init__", tracking_init)
            for _ in range(3):
                small(backend.name).generate(SHORT, max_new_tokens=8, eos_token_id=None)
    finally:
        gc.enable()
    assert [step() for step in steps] == [None] * 3
    assert len(backend.graph_pools) == pools


def test_a_capture_launches_kernels_alone_and_once() -> None:
    """Replaying runs no Python: no kernel is launched individually after the capture."""
    device("emulated")
    launched, model = emulated.EmulatedModule.launched, small("emulated")
    counts = []
    for new in (8, 20):
        launched.clear()
        model.generate(SHORT, max_new_tokens=new, eos_token_id=None)
        counts.append(len(launched))
    assert counts[0] == counts[1] > 0


def test_what_cannot_be_captured_is_reported_and_run_anyway(backend: CupyBackend) -> None:
    x = backend.asarray([1.0])

    def step() -> None:
        x[...] = x + 1
        if float(x[0]) < 0:  # this waits for the device
            raise AssertionError

    with pytest.warns(UserWarning, match="CUDA graph capture failed, so each kernel is launched separately"):
        replay = backend.capture(step)
    assert GraphCapture.active is None
    assert host(x).tolist() == [2.0]
    assert replay is None
    assert backend.to_numpy(backend.xp.arange(3)).tolist() == [0, 1, 2]  # the device still works


def test_without_a_capture_the_steps_are_run_one_by_one(backend: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"max_new_tokens": 9, "eos_token_id": None, "do_sample": True, "seed": 3}
    want, attempts = host(small(backend.name).generate(SHORT, **options)), []

    def failing_capture(step: Any) -> None:
        attempts.append(1)
        step()

    monkeypatch.setattr(backend, "capture", failing_capture)
    assert np.array_equal(host(small(backend.name).generate(SHORT, **options)), want)
    assert len(attempts) == 1  # it is tried once


def test_a_captured_step_changes_nothing_until_it_is_replayed(backend: CupyBackend) -> None:
    x, y = backend.asarray(np.ones((2, 4), "float32")), backend.asarray(np.zeros((2, 4), "float32"))

    def step() -> None:
        y[...] = backend.kernels.gelu(x) + y
        x[...] = x + 1

    replay = backend.capture(step)
    assert host(x).tolist() == [[2.0] * 4] * 2
    replay()
    backend.synchronize()
    assert host(x).tolist() == [[3.0] * 4] * 2
    want = ops.gelu(np.ones((2, 4))) + ops.gelu(np.full((2, 4), 2.0))
    assert_close("y", host(y), want, KERNEL["float32"])


def test_two_thousand_tokens_take_no_more_memory() -> None:
    """On a device only: the emulated backend has no memory of its own."""
    reason = absent("cupy")
    if reason:
        pytest.skip(reason)
    backend = device("cupy")
    config = BioGptConfig.from_pretrained(ROOT / "minibiogpt" / "demo")
    config = config.changed(max_position_embeddings=2100)
    model = BioGptForCausalLM.from_config(config, backend="cupy", dtype="float16")
    held = []

    def note(ids: Any, scores: Any) -> Any:
        if ids.shape[1] % 100 == 0:
            held.append(backend.reserved_bytes())
        return ids[:, 0] != ids[:, 0]

    model.generate([[2, 5]], max_new_tokens=2000, min_new_tokens=2000, stopping_criteria=[note], progress=False)
    assert len(held) == 20
    assert held[-1] == held[1]
