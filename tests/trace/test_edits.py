"""Interventions: an edit changes exactly the arrays that depend on it; patches and ablations do what they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minibiogpt import InputError, Trace
from tests.support.small import HEADS, NAMES, D, H, L, ids, labels, left_mask, model, same, situations, traced

every_head = pytest.mark.parametrize("head", HEADS)
WITHIN: dict[str, list[str]] = {  # within one layer: {array: the arrays it is computed from}
    "self_attn_layer_norm": ["in"],
    **{f"self_attn.{x}_proj": ["self_attn_layer_norm"] for x in "qkv"},
    **{f"self_attn.{x}": [f"self_attn.{x}_proj"] for x in "qkv"},
    "self_attn.scores": ["self_attn.q", "self_attn.k"],
    "self_attn.scores_masked": ["self_attn.scores"],
    "self_attn.probs": ["self_attn.scores_masked"],
    "self_attn.weights": ["self_attn.probs"],
    "self_attn.context": ["self_attn.weights", "self_attn.v"],
    "self_attn.out_proj": ["self_attn.context"],
    "attn_residual": ["in", "self_attn.out_proj"],
    "final_layer_norm": ["attn_residual"],
    "fc1": ["final_layer_norm"],
    "activation_fn": ["fc1"],
    "fc2": ["activation_fn"],
    "": ["attn_residual", "fc2"],
}


def sources(head: str) -> dict[str, list[str]]:
    """{array: the arrays it is computed from} for the whole model."""
    graph: dict[str, list[str]] = {"position_ids": [], "embed_tokens": [], "embed_positions": ["position_ids"]}
    graph["embeddings"] = ["embed_tokens", "embed_positions"]
    stream = "embeddings"
    for layer in range(L):
        path = f"layers.{layer}"
        for name, parts in WITHIN.items():
            full = [stream if part == "in" else f"{path}.{part}" for part in parts]
            graph[f"{path}.{name}" if name else path] = full
        stream = path
    last = {"SequenceClassification": {"score": ["layer_norm"], "logits": ["score"]}}
    return graph | {"layer_norm": [stream]} | last.get(head, {"logits": ["layer_norm"]}) | {"loss": ["logits"]}


def reached_from(name: str, graph: dict[str, list[str]]) -> set[str]:
    found = {name}
    for one, parts in graph.items():  # in order, so that one pass is enough
        if found & set(parts):
            found.add(one)
    return found


def disturbed(x: np.ndarray) -> np.ndarray:
    """Different values of the same dtype; positions stay within the table."""
    if x.dtype.kind == "i":
        return x[:, ::-1] + 3
    return x + np.random.default_rng(1).normal(size=x.shape)


@every_head
def test_an_edit_of_each_array_changes_all_that_depends_on_it_and_nothing_else(head: str) -> None:
    graph, tokens = sources(head), ids()
    inputs = {"input_ids": tokens, "labels": labels(head, tokens)}
    want = traced(model(head), **inputs)
    assert set(graph) == set(want) == set(NAMES[head])
    for name in want:
        got = Trace()
        out = model(head)(**inputs, trace=got, edits={name: disturbed}, output_attentions=True)
        assert list(got) == list(want)
        assert np.array_equal(got[name], disturbed(want[name]))
        changed = {one for one in want if not np.array_equal(got[one], want[one])}
        assert changed == reached_from(name, graph), name
        assert np.array_equal(out.loss, got["loss"])
        assert np.array_equal(out.logits, got["logits"])
        assert np.array_equal(out.attentions[1], got["layers.1.self_attn.weights"])


def test_an_edit_in_a_blocked_call_reaches_the_output_too() -> None:
    one, want = model(attention="blocked"), model(attention="blocked")(ids()).logits
    for name in traced(one, ids()):
        assert not np.array_equal(one(ids(), edits={name: disturbed}).logits, want), name


@every_head
def test_outputs_include_the_edits(head: str) -> None:
    options: dict[str, Any] = {"output_attentions": True, "output_hidden_states": True}
    edits = {f"layers.0.self_attn.{name}": np.zeros_like for name in ("weights", "out_proj")}
    edits |= {"embeddings": np.ones_like, "layers.1": lambda x: 0 * x + 2, "logits": lambda x: 0 * x + 3}
    out = model(head)(ids(), edits=edits, **options)
    assert not out.attentions[0].any()
    assert [float(x.min()) for x in (out.hidden_states[0], out.hidden_states[-1], out.logits)] == [1, 2, 3]
    plain = model(head)(ids(), edits=edits, return_dict=False, **options)
    assert len(plain) == len(out.to_tuple())
    assert (plain[0] == 3).all()
    assert np.array_equal(plain[-1][0], out.attentions[0])


@every_head
def test_the_loss_can_be_edited_though_arithmetic_makes_it_a_number(head: str) -> None:
    inputs = {"input_ids": ids(), "labels": labels(head, ids())}
    want = model(head)(**inputs).loss
    out = model(head)(**inputs, edits={"loss": lambda x: x * 2})
    assert out.loss == 2 * want
    assert isinstance(out.loss, np.ndarray)
    with pytest.raises(InputError, match=r"an edit of loss must return .* shape \(\), float64; found float;"):
        model(head)(**inputs, edits={"loss": float})


def test_patterns_edit_all_they_match_in_the_order_given() -> None:
    got = traced(model(), ids(), edits={"layers.*.fc1": np.zeros_like, "*.fc1": lambda x: x + 1, "layers.1.*": abs})
    assert (got["layers.0.fc1"] == 1).all()
    assert (got["layers.1.fc1"] == 1).all()
    assert all((x >= 0).all() for name, x in got.items() if name.startswith("layers.1."))
    seen: list[tuple[int, ...]] = []
    model()(ids(), edits={"*": lambda x: seen.append(x.shape) or x})
    assert len(seen) == len(NAMES["CausalLM"]) - 1


def test_an_edit_without_a_trace_is_that_of_a_traced_call() -> None:
    edits = {"layers.0.self_attn.probs": np.zeros_like}
    trace = Trace()
    assert np.array_equal(model()(ids(), edits=edits).logits, model()(ids(), edits=edits, trace=trace).logits)
    assert not trace["layers.0.self_attn.probs"].any()
    assert np.array_equal(model(attention="auto")(ids(), edits=edits).logits, trace["logits"]), "eager was selected"


# The inputs of a call stay unchanged.


def fill(x: np.ndarray) -> np.ndarray:
    x[...] = 1
    return x


@every_head
def test_a_function_that_edits_in_place_changes_nothing_but_its_copy(head: str) -> None:
    before = {name: x.copy() for name, x in model(head).named_parameters()}
    for situation, inputs in situations(head).items():
        past = inputs.get("past_key_values")
        kept = {name: x.copy() for name, x in inputs.items() if hasattr(x, "copy")}
        cache = [x.copy() for pair in past or () for x in pair]
        got = traced(model(head), **inputs, edits={"*": fill})
        assert all((x == 1).all() for x in got.values()), situation
        assert all(np.array_equal(x, before[name]) for name, x in model(head).named_parameters()), situation
        assert all(np.array_equal(inputs[name], x) for name, x in kept.items()), situation
        assert all(np.array_equal(a, b) for a, b in zip([x for pair in past or () for x in pair], cache, strict=True))


def test_an_array_that_a_function_keeps_stays_its_own() -> None:
    mine, seen = np.ones((2, 5, D)), []
    out = model().biogpt(ids(), edits={"layer_norm": lambda x: mine, "layers.0": lambda x: seen.append(x) or x})
    out.last_hidden_state[...] = 7
    assert (mine == 1).all()
    kept = seen[0].copy()
    seen[0][...] = 7
    assert np.array_equal(model().biogpt(ids(), output_hidden_states=True).hidden_states[1], kept)


def test_the_cache_keeps_edited_projections_but_no_edited_keys() -> None:
    want = model()(ids()).past_key_values
    zeros: dict[str, Any] = {f"layers.0.self_attn.{name}": np.zeros_like for name in ("k", "v")}
    trace = Trace()
    past = model()(ids(), trace=trace, edits=zeros).past_key_values
    assert not trace["layers.0.self_attn.k"].any()
    assert all(np.array_equal(a, b) for a, b in zip(past[0], want[0], strict=True))
    zeros = {f"layers.0.self_attn.{name}_proj": np.zeros_like for name in "kv"}
    past = model()(ids(), edits=zeros).past_key_values
    assert not any(x.any() for x in past[0])
    longer = traced(model(), ids(1), past_key_values=past)
    assert not longer["layers.0.self_attn.k"][:, :, :5].any()
    assert longer["layers.0.self_attn.k"][:, :, 5:].all()


# Patching.


@every_head
def test_patching_a_run_with_its_own_arrays_changes_nothing(head: str) -> None:
    for inputs in situations(head).values():
        want = traced(model(head), **inputs)
        same(traced(model(head), **inputs, patch_from=want), want)
        for name in want:
            same(traced(model(head), **inputs, patch_from=want.select(name)), want)
        trace = Trace()
        model(head)(**inputs, trace=trace)
        model(head)(**inputs, trace=trace, patch_from=trace)
        same(trace, want)


@pytest.mark.parametrize("layer", range(L))
def test_from_a_patched_layer_on_the_run_is_the_other_run(layer: int) -> None:
    want, other, name = traced(model(), ids()), traced(model(), ids(1)), f"layers.{layer}"
    got = traced(model(), ids(), patch_from={name: other[name]})
    at = list(want).index(name)
    for i, one in enumerate(want):
        assert np.array_equal(got[one], (want if i < at else other)[one]), one
    assert not np.array_equal(want["logits"], other["logits"])


def test_patches_come_first_then_ablations_then_edits() -> None:
    name = "layers.0.self_attn.context"
    options: dict[str, Any] = {"patch_from": {name: np.full((2, 5, D), 2.0)}, "ablate": [(0, 1)]}
    got = traced(model(), ids(), **options, edits={name: lambda x: x + 1})[name]
    assert got[0, 0].tolist() == [3.0] * 7 + [1.0] * 7 + [3.0] * 7


def test_the_patches_are_left_as_they_are() -> None:
    array = np.ones((2, 5, D))
    model()(ids(), patch_from={"embeddings": array}, edits={"embeddings": fill, "*": fill})
    out = model()(ids(), patch_from={"layers.1": array}, output_hidden_states=True)
    out.hidden_states[-1][...] = 7
    assert (array == 1).all()


# Ablating.


@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_ablating_a_head_is_a_head_mask_of_zero_and_an_edit_of_its_part(attention: str) -> None:
    one = model(attention=attention)
    for inputs in ({}, {"attention_mask": left_mask()}):
        plain = one(ids(), **inputs).logits
        for layer, head in np.ndindex(L, H):

            def part(x: np.ndarray, head: int = head) -> np.ndarray:
                x[..., head * 7 : head * 7 + 7] = 0
                return x

            mask = np.ones((L, H))
            mask[layer, head] = 0
            name = f"layers.{layer}.self_attn.context"
            want = traced(one, ids(), **inputs, head_mask=mask)
            got = traced(one, ids(), **inputs, ablate=[(layer, head)])
            later = list(want)[list(want).index(name) :]
            same(got.select(*later), want.select(*later))
            same(traced(one, ids(), **inputs, edits={name: part}), got)
            assert not np.array_equal(got["logits"], plain)


def test_several_heads_are_ablated_together() -> None:
    pairs, mask = [(0, 0), (0, 2), (1, 1), (1, 1)], np.array([[0, 1, 0], [1, 0, 1]])
    want = model()(ids(), head_mask=mask).logits
    for ablate in (pairs, iter(pairs), np.array(pairs), [list(pair) for pair in pairs], {pair: 1 for pair in pairs}):
        assert np.array_equal(model()(ids(), ablate=ablate).logits, want)
    everything = traced(model(), ids(), ablate=[*np.ndindex(L, H)])
    assert not everything["layers.1.self_attn.context"].any()
    for none in ([], (), None, np.zeros((0, 2), dtype=int)):
        assert np.array_equal(model()(ids(), ablate=none).logits, model()(ids()).logits)


# Errors.

EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "another shape": (
        {"layers.0.fc1": lambda x: x[:1]},
        r"an edit of layers.0.fc1 must .* \(2, 5, 37\), float64; found",
    ),
    "more axes": ({"logits": lambda x: x[None]}, r"found shape \(1, 2, 5, 67\), float64; modify and return the array"),
    "another dtype": (
        {"logits": lambda x: x.astype("float32")},
        r"found shape \(2, 5, 67\), float32; modify and return",
    ),
    "no integers": ({"position_ids": lambda x: x * 1.0}, r"shape \(2, 5\), int64; found shape \(2, 5\), float64"),
    "nothing": ({"logits": lambda x: None}, "found NoneType; modify and return the array that is passed in"),
    "a list": ({"logits": lambda x: x.tolist()}, "found list;"),
    "a number": ({"logits": lambda x: 0.0}, "found float;"),
    "a position too far": ({"position_ids": lambda x: x + 31}, "at most N = 31 real positions"),
    "a position too low": ({"position_ids": lambda x: x - 2}, "a position must be -1 .* found -2; correct the edit"),
    "no function": ({"logits": np.zeros((2, 5))}, "edits must be {name: function}; found"),
    "a hook of TransformerLens": (
        {"layers.0.fc1": lambda x, hook: x},
        "an edit must be a function of one array; found a function of x, hook for 'layers.0.fc1'; write lambda x: ",
    ),
    "no parameter": ({"layers.0.fc1": lambda: 0}, "one array; found a function of nothing for 'layers.0.fc1'; "),
    "no names": ({5: np.zeros_like}, "a name or pattern must be a string; found 5"),
    "a typo": (
        {"layers.0.fc3": np.zeros_like},
        "every edit or patch must match an editable array; found none called 'layers.0.fc3' .nearest: ",
    ),
    "one of two": ({"logits": fill, "layers.7.fc1": fill}, "found none called 'layers.7.fc1' .nearest: layers."),
    "no labels": ({"loss": fill}, "none called 'loss'; the loss needs labels$"),
}


@every_head
@pytest.mark.parametrize(("edits", "message"), EDITS.values(), ids=EDITS)
def test_an_edit_that_cannot_be_is_one_clear_line(head: str, edits: Any, message: str) -> None:
    if "logits" in edits and r"\(" in message and head != "CausalLM":
        message = "an edit of logits must return an array of numpy, shape .*; found shape"
    with pytest.raises(InputError, match=message) as error:
        model(head)(ids(), edits=edits)
    assert "\n" not in str(error.value)


NO_DICTIONARIES = {"a list": [], "a name": "logits", "a number": 5, "a function": fill, "pairs": [("logits", fill)]}


@pytest.mark.parametrize("edits", NO_DICTIONARIES.values(), ids=NO_DICTIONARIES)
def test_edits_that_are_no_dictionary_are_refused(edits: Any) -> None:
    with pytest.raises(InputError, match=r"edits must be \{name: function\}; found"):
        model()(ids(), edits=edits)


def test_what_blocked_attention_does_not_make_cannot_be_edited() -> None:
    for name in ("scores", "scores_masked", "probs", "weights"):
        with pytest.raises(
            InputError,
            match="every edit or patch must match an editable array.*need attn_implementation 'auto' or 'eager'",
        ):
            model(attention="blocked")(ids(), edits={f"layers.0.self_attn.{name}": fill})


PATCHES: dict[str, tuple[Any, str]] = {
    "a list": ({"logits": [1.0]}, "patch_from must be a Trace, or {name: array}; found"),
    "no dictionary": ([np.ones(3)], "patch_from must be a Trace, or {name: array}; found"),
    "a trace of no call": (Trace(), "patch_from must be a trace that a call has filled; found an empty one"),
    "another shape": (
        {"layers.0": np.ones((2, 4, D))},
        r"patch_from must hold layers.0 .*; found shape \(2, 4, 21\)",
    ),
    "one row": ({"layers.0": np.ones((1, 5, D))}, r"found shape \(1, 5, 21\), float64"),
    "another dtype": ({"layers.0": np.ones((2, 5, D), "float32")}, r"found shape \(2, 5, 21\), float32"),
    "a typo": (
        {"layers.9": np.ones((2, 5, D))},
        "every edit or patch must match an editable array; found none called 'layers.9'",
    ),
    "loss without labels": ({"loss": np.array(1.0)}, "the loss needs labels"),
}


@pytest.mark.parametrize(("arrays", "message"), PATCHES.values(), ids=PATCHES)
def test_a_patch_that_cannot_be_is_one_clear_line(arrays: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        model()(ids(), patch_from=arrays)
    assert "\n" not in str(error.value)


BAD_PAIRS = [
    (0, 1), [0], [(0,)], [(0, 1, 2)], [(2, 0)], [(0, 3)], [(-1, 0)], [(0, -1)], [(0.0, 1)], [(True, 0)], ["01"], "ab",
    5, 0, [None], np.ones((3, 2)), [(0, 1), (9, 9)],
]  # fmt: skip


@pytest.mark.parametrize("pairs", BAD_PAIRS, ids=repr)
def test_heads_that_are_not_there_cannot_be_ablated(pairs: Any) -> None:
    must = r"ablate must be pairs \(layer, head\), layers in \[0, 2\) and heads in \[0, 3\); found"
    with pytest.raises(InputError, match=must) as error:
        model()(ids(), ablate=pairs)
    assert "\n" not in str(error.value)
