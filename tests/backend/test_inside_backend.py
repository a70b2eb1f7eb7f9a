"""Traces, edits and the lens on another backend, tested with the stand-in that refuses what CuPy refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, InputError, Trace, get_backend
from minibiogpt.backend import register_backend
from minibiogpt.lens import ablation_table, head_out, logit_attribution, logit_lens
from tests.backend.test_backend import MASK, PROMPTS, load, plain
from tests.support.small import same
from tests.support.strict import StrictArray, StrictBackend

register_backend("strict", StrictBackend)
INPUTS: dict[str, Any] = {"attention_mask": MASK, "labels": PROMPTS}


def call(backend: str, trace: Trace | None = None, **options: Any) -> tuple[Any, Trace]:
    trace = Trace() if trace is None else trace
    return load(backend)(PROMPTS, trace=trace, **INPUTS, **options), trace


def assert_same(got: Trace, want: Trace) -> None:
    assert list(got) == list(want)
    for name, x in got.items():
        assert np.array_equal(plain(x), want[name]), name
    assert got.letters == want.letters


def smaller(x: Any) -> Any:
    x[...] = x * 0.75
    return x


def minus(x: Any) -> Any:
    return -1 * x


WAYS: dict[str, dict[str, Any]] = {
    "edits": {"edits": {"layers.1.fc1": smaller, "layers.*.self_attn.probs": minus, "loss": minus, "logits": smaller}},
    "all in place": {"edits": {"layers.*": smaller}},
    "ablate": {"ablate": [(0, 1), (3, 3)]},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_interventions_stay_on_the_backend(options: dict[str, Any]) -> None:
    (got, got_trace), (want, want_trace) = call("strict", **options), call("numpy", **options)
    assert_same(got_trace, want_trace)
    assert np.array_equal(plain(got.loss), want.loss)
    assert np.array_equal(plain(got.logits), want.logits)


def test_patches_are_brought_over() -> None:
    other = Trace()
    load("numpy")([PROMPTS[1], PROMPTS[0]], trace=other)
    _, want = call("numpy", patch_from=other.select("layers.1"))
    theirs = Trace()
    load("strict")([PROMPTS[1], PROMPTS[0]], trace=theirs)
    for patch in (other.select("layers.1"), theirs.select("layers.1")):
        assert_same(call("strict", patch_from=patch)[1], want)
        assert_same(call("strict", patch_from=call("strict")[1])[1], call("numpy")[1])
    assert np.array_equal(call("numpy", patch_from=theirs.select("layers.1"))[1]["logits"], want["logits"])


def test_an_edit_must_return_an_array_of_the_models_backend() -> None:
    for wrong in (plain, lambda x: plain(x).copy(), lambda x: 1.0):
        with pytest.raises(InputError, match="an edit of logits must return an array of strict, shape .*; found"):
            call("strict", edits={"logits": wrong})
    with pytest.raises(
        InputError, match="an edit of logits must return an array of numpy, shape .*; found StrictArray"
    ):
        call("numpy", edits={"logits": get_backend("strict").asarray})


def test_a_trace_is_saved_and_summed_up_from_any_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_, got), (_, want) = call("strict"), call("numpy")
    got.save(tmp_path / "got")
    want.save(tmp_path / "want")
    back = Trace.load(tmp_path / "got")
    same(back, Trace.load(tmp_path / "want"))
    assert all(isinstance(x, np.ndarray) for x in back.values())
    assert_same(got, back)
    got.summary()
    first = capsys.readouterr().out
    want.summary()
    assert capsys.readouterr().out == first
    assert repr(got) == repr(want)
    assert_same(got.select("*.fc{1..2}"), want.select("*.fc{1..2}"))


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "top_k": 9}, {"num_beams": 2}], ids=str)
def test_a_generation_is_looked_at_on_the_backend(options: dict[str, Any]) -> None:
    traces = []
    for backend in ("strict", "numpy"):
        trace = Trace()
        options = options | {"max_new_tokens": 3, "repetition_penalty": 1.3, "attention_mask": MASK}
        edits = {"step.1/logits": smaller, "*.activation_fn": smaller}
        load(backend).generate(PROMPTS, trace=trace, edits=edits, ablate=[(2, 0)], **options)
        traces.append(trace)
    assert_same(*traces)


def as_numpy(x: Any) -> np.ndarray:
    assert isinstance(x, StrictArray), "a result left the backend"
    return plain(x)


def test_the_lens_stays_on_the_backend() -> None:
    (_, got), (_, want) = call("strict"), call("numpy")
    one, other = load("strict"), load("numpy")
    for trace in (got, want):  # NumPy arrays, such as a saved trace's, are moved to the backend
        pairs = [
            (logit_lens(one, trace), logit_lens(other, want)),
            (logit_lens(one, trace, None), logit_lens(other, want, None)),
            (logit_attribution(one, trace, 7), logit_attribution(other, want, 7)),
            (logit_attribution(one, trace, [7, 9], 2, 3), logit_attribution(other, want, [7, 9], 2, 3)),
            ({"0": head_out(one, trace, 0)}, {"0": head_out(other, want, 0)}),
        ]
        for mine, theirs in pairs:
            assert list(mine) == list(theirs)
            assert all(np.array_equal(as_numpy(x), theirs[name]) for name, x in mine.items())


def test_an_ablation_table_is_of_the_models_backend() -> None:
    def table(model: BioGptForCausalLM) -> Any:
        return ablation_table(model, PROMPTS, lambda output: output.loss, **INPUTS)

    assert np.array_equal(as_numpy(table(load("strict"))), table(load("numpy")))
