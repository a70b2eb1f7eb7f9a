"""The trace: its names and their order, its arrays, its letters, and that tracing changes no result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptModel, InputError, Trace
from minibiogpt.trace import Recorder, Tap
from tests.support.small import CLASSES, HEADS, NAMES, D, F, H, L, N, V, ids, labels, model, same, situations, traced

every_head = pytest.mark.parametrize("head", HEADS)


@every_head
def test_the_names_are_those_of_the_contract_in_the_order_of_the_steps(head: str) -> None:
    trace = traced(model(head), ids(), labels=labels(head, ids()))
    assert list(trace) == NAMES[head]
    assert list(traced(model(head), ids())) == NAMES[head][:-1], "no labels, no loss"


def test_the_base_model_has_no_head() -> None:
    base = model().biogpt
    assert isinstance(base, BioGptModel)
    assert list(traced(base, ids())) == NAMES["CausalLM"][:-2]


def test_blocked_attention_has_all_but_what_it_does_not_make() -> None:
    inside = (".scores", ".scores_masked", ".probs", ".weights")
    want = [name for name in NAMES["CausalLM"][:-1] if not name.endswith(inside)]
    assert list(traced(model(attention="blocked"), ids())) == want


@every_head
def test_the_arrays_are_those_of_the_output(head: str) -> None:
    for situation, call in situations(head).items():
        trace = Trace()
        out = model(head)(**call, trace=trace, output_attentions=True, output_hidden_states=True)
        states = ["embeddings", *(f"layers.{layer}" for layer in range(L))]
        assert all(np.array_equal(trace[n], x) for n, x in zip(states, out.hidden_states, strict=True)), situation
        weights = [f"layers.{layer}.self_attn.weights" for layer in range(L)]
        assert all(np.array_equal(trace[n], x) for n, x in zip(weights, out.attentions, strict=True)), situation
        assert np.array_equal(trace["logits"], out.logits)
        assert ("loss" in trace) == ("labels" in call)
        if out.loss is not None:
            assert np.array_equal(trace["loss"], out.loss)
            assert trace["loss"].shape == ()


@every_head
def test_looking_changes_no_number(head: str) -> None:
    for call in situations(head).values():
        plain, with_trace = model(head)(**call), model(head)(**call, trace=Trace())
        for got, want in zip(with_trace.to_tuple(), plain.to_tuple(), strict=True):
            pairs = zip(got, want, strict=True) if not hasattr(got, "shape") else [((got,), (want,))]
            assert all(np.array_equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


PATTERNS = [
    "logits", "*", "layers.*.self_attn.probs", "layers.{0..1}", "layers.1.self_attn.{q,k}", "position_ids", "*.fc*",
    ["logits", "layers.0"], ["logits", "l*s"], ["*", "logits"], ["logits", "logits"],
    [f"layers.{layer}.fc1" for layer in range(L)],
]  # fmt: skip


@pytest.mark.parametrize("names", PATTERNS, ids=str)
def test_what_is_chosen_is_that_part_of_the_whole(names: Any) -> None:
    whole, part = traced(model(), ids()), traced(model(), ids(), names=names)
    patterns = [names] if isinstance(names, str) else names
    same(part, whole.select(*patterns))
    assert part.letters == whole.letters
    assert whole.select(*patterns).letters == whole.letters


def test_names_given_as_one_go_are_kept_for_every_call() -> None:
    trace = Trace(name for name in ("logits", "layers.0"))
    for _ in range(2):
        model()(ids(), trace=trace)
        assert list(trace) == ["layers.0", "logits"]


@pytest.mark.parametrize("names", ["layers.0.self_attn.probz", ["logits", "layers.0.self_attn.probz"]])
def test_a_name_that_nothing_is_called_by_is_an_error_with_the_nearest(names: Any) -> None:
    nearest = r"\(nearest: layers.0.self_attn.probs, layers.1.self_attn.probs, layers.0.self_attn.q_proj\)"
    with pytest.raises(
        InputError, match=f"every name of the trace must match an array; .* 'layers.0.self_attn.probz' {nearest}"
    ):
        model()(ids(), trace=Trace(names))
    with pytest.raises(InputError, match=f"the trace holds; found none called 'layers.0.self_attn.probz' {nearest}"):
        traced(model(), ids()).select(*([names] if isinstance(names, str) else names))


def test_what_this_call_does_not_make_is_an_error_that_says_what_it_takes() -> None:
    with pytest.raises(InputError, match="none called 'loss'.*the loss needs labels"):
        model()(ids(), trace=Trace("loss"))
    with pytest.raises(InputError, match="probs'.*arrays inside attention need attn_implementation 'auto' or 'eager'"):
        model(attention="blocked")(ids(), trace=Trace("layers.0.self_attn.probs"))
    with pytest.raises(InputError, match="'logits'"):
        model().biogpt(ids(), trace=Trace(["layer_norm", "logits"]))
    for none in ({}, [], "logits", 1):
        with pytest.raises(InputError, match="trace must be a Trace; found"):
            model()(ids(), trace=none)


def test_the_arrays_are_copies() -> None:
    trace, first, embeds = Trace(), ids(), np.random.default_rng(0).normal(size=(2, 5, D))
    want = model()(first, trace=trace)
    before = {name: x.copy() for name, x in model().named_parameters()}
    for x in trace.values():
        assert x.flags.writeable
        x[...] = 7
    again = model()(first)
    assert np.array_equal(again.logits, want.logits)
    assert all(np.array_equal(x, before[name]) for name, x in model().named_parameters())
    assert all(np.array_equal(a, b) for a, b in zip(want.past_key_values[1], again.past_key_values[1], strict=True))
    kept = embeds.copy()
    model()(inputs_embeds=embeds, trace=trace)
    trace["embed_tokens"][...] = 7
    assert np.array_equal(embeds, kept)


def test_a_later_step_does_not_change_an_earlier_trace() -> None:
    from minibiogpt import KVCache

    empty = KVCache.empty(model().config, 2, 20, dtype="float64")
    trace = Trace()
    past = model()(ids(), past_key_values=empty, trace=trace).past_key_values
    before = {name: x.copy() for name, x in trace.items()}
    model()(ids(1), past_key_values=past)
    same(trace, before)


def test_each_call_empties_the_trace_even_one_that_fails() -> None:
    trace = traced(model(), ids(), labels=ids())
    model()(ids(1, rows=1), trace=trace)
    same(trace, traced(model(), ids(1, rows=1)))
    with pytest.raises(InputError, match="input_ids must lie in"):
        model()([[V]], trace=trace)
    assert not trace
    assert trace.letters == {}


@every_head
def test_the_letters_are_the_sizes(head: str) -> None:
    own = {"D": D, "H": H, "Dh": D // H, "F": F, "V": V, "L": L, "N": N}
    classes = {} if head == "CausalLM" else {"labels": CLASSES}
    tokens = ids()
    trace = traced(model(head), tokens[:, 3:], past_key_values=model()(tokens[:, :3]).past_key_values)
    assert trace.letters == {"B": 2, "T": 2, "S": 5} | own | classes
    assert traced(model(head), tokens).letters == {"B": 2, "T": 5, "S": 5} | own | classes
    for name, axes in {"q": "B H T Dh", "k": "B H S Dh", "probs": "B H T S", "context": "B T D"}.items():
        assert trace[f"layers.1.self_attn.{name}"].shape == tuple(trace.letters[axis] for axis in axes.split())


# Without a trace nothing is recorded and there is no extra work.


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The form of attention that each layer ran."""
    from minibiogpt.model import layers

    calls: list[str] = []
    for kind in ("blocked", "eager"):
        original = getattr(layers, f"attend_{kind}")
        monkeypatch.setattr(
            layers,
            f"attend_{kind}",
            lambda *args, kind=kind, original=original: calls.append(kind) or original(*args),
        )
    return calls


@every_head
def test_without_a_trace_nothing_is_recorded(head: str, monkeypatch: pytest.MonkeyPatch, spied: list[str]) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("something is recorded")

    monkeypatch.setattr(Recorder, "__init__", refuse)
    monkeypatch.setattr(Recorder, "intercept", refuse)
    model(head, "auto")(ids(), labels=labels(head, ids()))
    model(head, "auto")(ids(), trace=None, edits={}, ablate=[], patch_from={})
    model(head, "auto").biogpt(ids())
    assert spied == ["blocked"] * 3 * L
    if head == "CausalLM":
        model(head, "auto").generate(ids(), max_new_tokens=3, eos_token_id=None)
        assert spied == ["blocked"] * 6 * L
    with pytest.raises(AssertionError, match="something is recorded"):
        model(head, "auto")(ids(), trace=Trace())


def test_a_tap_without_a_recorder_is_the_same_in_all_submodules() -> None:
    tap, x = Tap(), np.ones(2)
    assert tap.under("layers.0") is tap
    assert tap.step(3) is tap
    assert tap("logits", x) is x
    assert not tap.wants(["logits"])
    tap.record("logits", x)
    tap.describe_call("base", {"B": 1})
    tap.finish()


def test_a_tap_returns_what_it_records() -> None:
    trace, x = Trace(), np.ones(2)
    tap = Tap(Recorder(trace))
    assert tap.under("layers.0").under("self_attn")("q", x) is x
    assert tap.under("layers.0")("", x) is x
    tap.step(3).under("layers.0").record("fc1", x)
    assert list(trace) == ["layers.0.self_attn.q", "layers.0", "step.3/layers.0.fc1"]
    assert all(kept is not x for kept in trace.values())


INSIDE_ATTENTION = [
    "layers.1.self_attn.probs",
    "*",
    "layers.*.self_attn.scores",
    "layers.*",
    ["logits", "*.scores_masked"],
]
OUTSIDE_ATTENTION = ["logits", ["embeddings", "layers.{0..1}"], "layers.*.fc1", "*.self_attn.{q,k,v,context}", "*_proj"]


@pytest.mark.parametrize("names", INSIDE_ATTENTION, ids=str)
def test_requesting_an_array_inside_attention_selects_the_eager_form(names: Any, spied: list[str]) -> None:
    traced(model(attention="auto"), ids(), names=names)
    assert spied == ["eager"] * L


@pytest.mark.parametrize("names", OUTSIDE_ATTENTION, ids=str)
def test_requesting_no_array_inside_attention_keeps_the_blocked_form(names: Any, spied: list[str]) -> None:
    got = traced(model(attention="auto"), ids(), names=names)
    assert spied == ["blocked"] * L
    same(got, traced(model(attention="blocked"), ids(), names=names))
