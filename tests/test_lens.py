"""The lens: computed by hand on a model of known weights, checked as sums, and by an independent computation."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, Trace
from minibiogpt.config import LAYER_NORM_EPS
from minibiogpt.lens import ablation_table, head_out, logit_attribution, logit_lens
from tests.budgets import LANE_A, LENS_FLOAT32, LENS_FLOAT64
from tests.compare import assert_close
from tests.support.demo import ours, tokenizer
from tests.support.small import DH, HEADS, D, H, L, V, ids, labels, left_mask, model, same, situations, traced

every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
every_head = pytest.mark.parametrize("head", HEADS)
PARTS = [
    "embed_tokens", "embed_positions",
    "layers.0.self_attn.heads.0", "layers.0.self_attn.heads.1", "layers.0.self_attn.heads.2",
    "layers.0.self_attn.out_proj.bias", "layers.0.fc2",
    "layers.1.self_attn.heads.0", "layers.1.self_attn.heads.1", "layers.1.self_attn.heads.2",
    "layers.1.self_attn.out_proj.bias", "layers.1.fc2", "layer_norm.bias",
]  # fmt: skip


def budget(dtype: str) -> float:
    return LENS_FLOAT64 if dtype == "float64" else LENS_FLOAT32


def prompt() -> np.ndarray:
    return tokenizer()("Mutations in BRCA1 cause hereditary breast cancer.")["input_ids"]


# The logit lens.


@every_dtype
@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_the_last_layers_lens_is_the_logits(attention: str, dtype: str) -> None:
    for inputs in situations("CausalLM").values():
        if dtype == "float32" and "past_key_values" in inputs:
            continue
        trace = traced(model("CausalLM", attention, dtype), **inputs)
        lens = logit_lens(model("CausalLM", attention, dtype), trace, position=None)
        assert list(lens) == ["embeddings", "layers.0", "layers.1"]
        assert np.array_equal(lens["layers.1"], trace["logits"])
        T = trace["logits"].shape[1]
        for position in (-1, 0, T - 1, -T):
            one = logit_lens(model("CausalLM", attention, dtype), trace, position)
            for name, x in one.items():
                assert_close(name, x, lens[name][:, position], budget(dtype))
    same(logit_lens(model(), traced(model(), ids())), logit_lens(model(), traced(model(), ids()), -1))


def test_the_lens_has_the_final_norm_and_the_unscaled_embedding() -> None:
    trace = traced(model(), ids())
    x, weights = trace["layers.0"], dict(model().named_parameters())
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + LAYER_NORM_EPS)
    normed = (x - x.mean(axis=-1, keepdims=True)) / spread * weights["biogpt.layer_norm.weight"]
    want = (normed + weights["biogpt.layer_norm.bias"]) @ weights["biogpt.embed_tokens.weight"].T
    got = logit_lens(model(), trace, None)["layers.0"]
    assert_close("layers.0", got, want, LANE_A)
    assert np.abs(got - x @ weights["biogpt.embed_tokens.weight"].T).max() > 1, "without the norm the values differ"


# What each head writes.


@every_head
def test_the_heads_sum_to_the_projection(head: str) -> None:
    trace = traced(model(head), ids(), left_mask())
    for layer in range(L):
        parts = head_out(model(head), trace, layer)
        assert parts.shape == (2, 5, H, D)
        bias = model(head).biogpt.layers[layer].self_attn.out_proj.bias
        assert_close("sum", parts.sum(axis=2) + bias, trace[f"layers.{layer}.self_attn.out_proj"], LENS_FLOAT64)
    assert np.array_equal(head_out(model(head).biogpt, trace, 0), head_out(model(head), trace, 0))


def test_a_head_writes_what_is_missing_without_it() -> None:
    """Not a slice of the projection's output, where the heads are already mixed."""
    trace = traced(model(), ids())
    for layer, head in np.ndindex(L, H):
        name = f"layers.{layer}.self_attn.out_proj"
        without = traced(model(), ids(), ablate=[(layer, head)])
        got = head_out(model(), trace, layer)[:, :, head]
        assert_close(name, got, trace[name] - without[name], LANE_A)
        assert got[..., : head * DH].any() or not head
        assert not head_out(model(), without, layer)[:, :, head].any()


# Direct attribution.


@every_dtype
def test_the_parts_sum_to_the_logit(dtype: str) -> None:
    one = model("CausalLM", "eager", dtype)
    trace = traced(one, ids(), left_mask())
    largest = np.abs(trace["logits"]).max()
    for position, token in [(-1, 5), (3, 0), (-5, V - 1), (4, [7, 9]), (2, np.array([0, 66]))]:
        parts = logit_attribution(one, trace, token, position)
        assert list(parts) == PARTS
        assert all(x.shape == (2,) and str(x.dtype) == dtype for x in parts.values())
        want = trace["logits"][[0, 1], position, token]
        assert np.abs(sum(parts.values()) - want).max() <= budget(dtype) * largest


@every_dtype
def test_the_parts_sum_to_the_logit_of_the_demo_model(dtype: str) -> None:
    trace = traced(ours(dtype), prompt())
    largest = np.abs(trace["logits"]).max()
    for position in range(prompt().shape[1]):
        token = int(trace["logits"][0, position].argmax())
        parts = logit_attribution(ours(dtype), trace, token, position)
        assert len(parts) == 2 + 4 * (4 + 2) + 1
        assert abs(sum(parts.values())[0] - trace["logits"][0, position, token]) <= budget(dtype) * largest


def test_with_two_tokens_the_difference_is_decomposed() -> None:
    trace = traced(model(), ids())
    one, other = (logit_attribution(model(), trace, token) for token in (5, 9))
    for against in (9, [9, 9], np.array([9, 9])):
        both = logit_attribution(model(), trace, 5, against=against)
        for name, x in both.items():
            assert_close(name, x, one[name] - other[name], LANE_A)
    same_token = logit_attribution(model(), trace, 5, against=5)
    assert list(same_token) == PARTS
    assert not any(x.any() for x in same_token.values())


def test_a_part_adds_what_the_logit_loses_without_it_at_the_same_scale() -> None:
    """Independent computation: center the part, divide by the scale of the stream, multiply by gain and embedding."""
    trace, weights = traced(model(), ids()), dict(model().named_parameters())
    x = trace["layers.1"][:, -1]
    scale = np.sqrt(x.var(axis=-1, keepdims=True) + LAYER_NORM_EPS)
    centering = np.eye(D) - 1 / D
    read = np.diag(weights["biogpt.layer_norm.weight"]) @ weights["biogpt.embed_tokens.weight"].T
    parts = [logit_attribution(model(), trace, token) for token in range(V)]
    heads = [head_out(model(), trace, layer)[:, -1] for layer in range(L)]
    written = {name: trace[name][:, -1] for name in ("embed_tokens", "embed_positions", "layers.0.fc2", "layers.1.fc2")}
    for layer, head in np.ndindex(L, H):
        written[f"layers.{layer}.self_attn.heads.{head}"] = heads[layer][:, head]
    for layer in range(L):
        bias = weights[f"biogpt.layers.{layer}.self_attn.out_proj.bias"]
        written[f"layers.{layer}.self_attn.out_proj.bias"] = np.stack([bias, bias])
    assert sorted([*written, "layer_norm.bias"]) == sorted(PARTS)
    for name, part in written.items():
        want = (part @ centering / scale) @ read
        assert_close(name, np.stack([one[name] for one in parts], axis=1), want, LANE_A)
    last = np.stack([one["layer_norm.bias"] for one in parts], axis=1)
    want = weights["biogpt.layer_norm.bias"] @ weights["biogpt.embed_tokens.weight"].T
    assert_close("layer_norm.bias", last, np.stack([want, want]), LANE_A)


def by_hand() -> BioGptForCausalLM:
    """D = 4, one layer, two heads; all weights are zero except embeddings, values and one output element of head 1."""
    config = BioGptConfig(
        vocab_size=5, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=3,
        max_position_embeddings=6, scale_embedding=False,
    )  # fmt: skip
    built = BioGptForCausalLM.from_config(config, dtype="float64")
    weights = dict(built.named_parameters())
    for name, x in weights.items():
        x[...] = 1 if name.endswith("layer_norm.weight") else 0
    weights["biogpt.embed_tokens.weight"][3] = [1, -1, 1, -1]
    weights["biogpt.embed_tokens.weight"][4] = [0, 0, 1, 0]
    attention = "biogpt.layers.0.self_attn."
    weights[attention + "v_proj.weight"][...] = np.eye(4)
    weights[attention + "out_proj.weight"][3, 3] = 1
    weights["biogpt.layer_norm.bias"][...] = [0, 0, 0.5, 0]
    return built


def test_by_hand() -> None:
    """One token, [1, -1, 1, -1], equal to its norm up to eps; head 1 adds its last element, -1, at index 3.

    x = [1, -1, 1, -2], mean -1/4, s^2 = (25 + 9 + 25 + 49) / 64 = 27/16. Token 4 reads index 2. There the embedding
    adds 1 / s; the head's [0, 0, 0, -1] minus its mean is 1/4, so it adds 1 / (4 s); the bias adds 1/2.
    """
    trace = traced(by_hand(), [[3]])
    parts = logit_attribution(by_hand(), trace, token=4)
    s = np.sqrt(27 / 16)
    want = {"embed_tokens": 1 / s, "layers.0.self_attn.heads.1": 1 / (4 * s), "layer_norm.bias": 0.5}
    assert {name for name, x in parts.items() if x[0] != 0} == set(want)
    for name, value in want.items():
        assert abs(parts[name][0] - value) < LAYER_NORM_EPS, name
    assert head_out(by_hand(), trace, 0)[0, 0, 0].tolist() == [0, 0, 0, 0]
    assert np.abs(head_out(by_hand(), trace, 0)[0, 0, 1] - [0, 0, 0, -1]).max() < LAYER_NORM_EPS
    table = ablation_table(by_hand(), [[3]], lambda output: output.logits[0, -1, 4])
    assert table.shape == (1, 2)
    assert table[0, 0] == 0
    assert abs(table[0, 1] - (1.25 / s - 1)) < 2 * LAYER_NORM_EPS, "without head 1, x is the embedding: s = 1, mean 0"


# Ablation tables.


@every_head
def test_an_entry_is_what_a_head_mask_takes_away(head: str) -> None:
    inputs: dict[str, Any] = {"attention_mask": left_mask(), "labels": labels(head, ids())}
    table = ablation_table(model(head), ids(), lambda output: output.loss, **inputs)
    assert (table.shape, table.dtype) == ((L, H), np.float64)
    whole = model(head)(ids(), **inputs).loss
    for layer, one in np.ndindex(L, H):
        mask = np.ones((L, H))
        mask[layer, one] = 0
        assert table[layer, one] == whole - model(head)(ids(), **inputs, head_mask=mask).loss
        assert table[layer, one] != 0


def test_a_table_may_start_from_an_ablated_model_and_a_cache() -> None:
    def measure(output: Any) -> float:
        return float(output.logits[0, -1, 5])

    table = ablation_table(model(), ids(), measure, ablate=np.array([(0, 1)]))
    assert table[0, 1] == 0
    whole = measure(model()(ids(), ablate=[(0, 1)]))
    assert table[1, 2] == whole - measure(model()(ids(), ablate=[(0, 1), (1, 2)]))
    past = model()(ids()).past_key_values
    table = ablation_table(model(), ids(1), measure, past_key_values=past)
    want = measure(model()(ids(1), past_key_values=past))
    assert table[0, 2] == want - measure(model()(ids(1), past_key_values=past, ablate=[(0, 2)]))
    assert past.seq_length == 5
    kept: list[bool] = []
    for options in ({}, {"use_cache": True}):
        ablation_table(model(), ids(), lambda out: kept.append(out.past_key_values is not None) or 0, **options)
    assert kept == [False] * (L * H + 1) + [True] * (L * H + 1), "no cache unless use_cache is set"
    assert ablation_table(model().biogpt, ids(), lambda out: out.last_hidden_state[0, -1, 3]).all()


@pytest.mark.parametrize(
    "measure", [lambda out: out.logits, lambda out: None, lambda out: "high", lambda out: out.logits[0, 0, :1]]
)
def test_a_measure_must_give_a_number(measure: Any) -> None:
    with pytest.raises(InputError, match="measure must return one number; found"):
        ablation_table(model(), ids(), measure)


# Errors.


def test_a_missing_array_is_an_error_that_says_which_to_request() -> None:
    one = model()
    some = traced(one, ids(), names=["embeddings", "layers.0", "layers.0.self_attn.context"])
    with pytest.raises(
        InputError, match=r"must hold embeddings, layers.\{0..1\}; found no layers.1; trace .* names=\['emb"
    ):
        logit_lens(one, some)
    with pytest.raises(
        InputError, match=r"found no layers.1.self_attn.context; .* names=\['layers.1.self_attn.context'\]"
    ):
        head_out(one, some, 1)
    with pytest.raises(InputError, match="found no embed_tokens, embed_positions, layers.1.self.* and 3 more;"):
        logit_attribution(one, some, 5)
    assert head_out(one, some, 0).shape == (2, 5, H, D)
    with pytest.raises(InputError, match="found no"):
        logit_lens(one, Trace())


def test_the_names_that_an_error_asks_for_are_enough() -> None:
    whole = traced(model(attention="blocked"), ids())
    for call in (logit_lens, lambda *args: logit_attribution(*args, 5), lambda *args: {"": head_out(*args, 1)}):
        with pytest.raises(InputError) as error:
            call(model(), Trace())
        names = ast.literal_eval(error.value.remedy.partition("names=")[2])
        same(call(model(), traced(model(attention="auto"), ids(), names=names)), call(model(), whole))


def test_another_models_trace_is_refused() -> None:
    must = r"the trace must come from this model: embeddings \(B, T, 21\), float64; found shape "
    with pytest.raises(
        InputError, match="must come from this model: D = 128, .*L = 4, .*; found D = 21, .*L = 2, .*; run"
    ):
        logit_lens(ours("float64"), traced(model(), ids()))
    with pytest.raises(InputError, match=must + r"\(2, 5, 21\), float32; run"):
        logit_lens(model(), traced(model(dtype="float32"), ids()))
    plain = dict(traced(model(), ids()))
    same(logit_lens(model(), plain), logit_lens(model(), traced(model(), ids())))
    with pytest.raises(InputError, match=must + r"\(2, 5, 20\)"):
        logit_lens(model(), plain | {"embeddings": np.ones((2, 5, 20))})
    with pytest.raises(InputError, match=must + r"\(5, 21\)"):
        logit_lens(model(), plain | {"embeddings": np.ones((5, 21))})
    with pytest.raises(InputError, match=r"must come from one call; found shapes \(2, 4, 21\), \(2, 5, 21\)"):
        logit_lens(model(), plain | {"layers.0": np.ones((2, 4, 21))})
    deeper = Trace()
    deeper.update(plain)
    deeper.letters = model().config.letters | {"L": 3}
    with pytest.raises(InputError, match="must come from this model: L = 2; found L = 3"):
        logit_attribution(model(), deeper, 5)
    deeper.letters = model().config.letters | {"B": 9}
    assert logit_lens(model(), deeper)


@pytest.mark.parametrize("head", HEADS[1:])
def test_only_a_language_model_has_logits_of_tokens(head: str) -> None:
    trace = traced(model(head), ids())
    for call in (logit_lens, lambda one, trace: logit_attribution(one, trace, 5)):
        with pytest.raises(InputError, match=f"model must be a BioGptForCausalLM; found BioGptFor{head}; load"):
            call(model(head), trace)
    with pytest.raises(InputError, match="found BioGptModel"):
        logit_lens(model(head).biogpt, trace)


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "too far": ({"position": 5}, r"position must be an integer in \[-5, 5\); found 5; -1 is the last"),
    "too far back": ({"position": -6}, "found -6"),
    "not an integer": ({"position": 1.0}, "found 1.0"),
    "none": ({"position": None}, "found None"),
    "not an id": ({"token": V}, rf"token must lie in \[0, {V}\); found {V}"),
    "below": ({"token": -1}, "token must lie in"),
    "a text": ({"token": "a"}, "token must be integers"),
    "a float": ({"token": 5.0}, "token must be integers"),
    "another": ({"against": V}, "against must lie in"),
    "too few": ({"token": [5]}, r"token must be one id, or one for each of 2 rows; found shape \(1,\)"),
    "too deep": ({"token": [[5, 6]]}, r"token must be integers of shape \(B\); found shape \(1, 2\)"),
}


@pytest.mark.parametrize(("changes", "message"), INVALID.values(), ids=INVALID)
def test_positions_and_tokens_must_be_there(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        logit_attribution(model(), traced(model(), ids()), **{"token": 5} | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layer", [-1, L, 0.0, None, True])
def test_a_layer_must_be_there(layer: Any) -> None:
    with pytest.raises(InputError, match=r"layer must be an integer in \[0, 2\); found"):
        head_out(model(), traced(model(), ids()), layer)


BIG = 10**5000
NO_MODEL = [None, 5, BIG, "demo", [], object()]
NO_TRACE = [None, 5, BIG, "logits", [1], object()]


@pytest.mark.parametrize("one", NO_MODEL, ids=lambda x: type(x).__name__)
def test_what_is_no_model_is_one_line(one: Any) -> None:
    trace = traced(model(), ids())
    for call in (
        lambda: logit_lens(one, trace),
        lambda: head_out(one, trace, 0),
        lambda: logit_attribution(one, trace, 5),
        lambda: ablation_table(one, ids(), lambda output: 1.0),
    ):
        with pytest.raises(InputError, match="model must be a BioGPT model; found"):
            call()


@pytest.mark.parametrize("trace", NO_TRACE, ids=lambda x: type(x).__name__)
def test_what_is_no_trace_is_one_line(trace: Any) -> None:
    for call in (
        lambda: logit_lens(model(), trace),
        lambda: head_out(model(), trace, 0),
        lambda: logit_attribution(model(), trace, 5),
    ):
        with pytest.raises(InputError, match="trace must be a Trace; found") as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "index", [BIG, -BIG, "0", b"0", [0], np.array([0]), np.array(0.0), 1j], ids=lambda x: type(x).__name__
)
def test_an_index_must_be_an_integer_that_exists(index: Any) -> None:
    trace = traced(model(), ids())
    for call in (
        lambda: logit_lens(model(), trace, position=index),
        lambda: head_out(model(), trace, index),
        lambda: logit_attribution(model(), trace, 5, position=index),
        lambda: model()(ids(), ablate=[(0, index)]),
        lambda: model()(ids(), ablate=[(index, 0)]),
    ):
        with pytest.raises(InputError, match="must be (an integer|pairs)") as error:
            call()
        assert "\n" not in str(error.value)


def test_a_table_needs_a_function_and_pairs() -> None:
    for measure in (None, 5, "loss"):
        with pytest.raises(InputError, match="measure must be a function of the model's output; found"):
            ablation_table(model(), ids(), measure)  # type: ignore[arg-type]
    for ablate in (5, BIG, 1.5, np.array(1)):
        with pytest.raises(InputError, match=r"ablate must be pairs \(layer, head\); found"):
            ablation_table(model(), ids(), lambda output: 1.0, ablate=ablate)
