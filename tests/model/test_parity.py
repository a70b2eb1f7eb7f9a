"""Every array of the forward pass against transformers 4.57: float64 (lane A) and float32 (lane B)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import DynamicCache

from minibiogpt import BioGptForCausalLM, BioGptModel, BioGptTokenizer, Trace
from tests.budgets import LANE_A, lane_b
from tests.compare import assert_close, compare_traces
from tests.reference import build, in_order, replaced, save, tensors, torch_trace
from tests.support.configs import CONFIGS

B, T = 2, 11
LANES = ["float64", "float32"]
every_config = pytest.mark.parametrize("name", CONFIGS)
every_lane = pytest.mark.parametrize("dtype", LANES)


def budget(name: str, dtype: str) -> Any:
    return (lambda tensor: LANE_A) if dtype == "float64" else (lambda tensor: lane_b(name, tensor))


@cache
def reference(name: str, dtype: str) -> Any:
    model = build(**CONFIGS[name])
    return model.float() if dtype == "float32" else model


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return {name: save(build(**CONFIGS[name]), tmp_path_factory.mktemp("model")) for name in CONFIGS}


def ours(folders: Any, name: str, dtype: str, attention: str = "auto") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained(folders[name], dtype=dtype, attn_implementation=attention)


def ids(name: str, rows: int = B, length: int = T) -> np.ndarray:
    return np.random.default_rng(7).integers(3, CONFIGS[name]["vocab_size"], (rows, length))


def mask(side: str) -> np.ndarray:
    m = np.ones((B, T), dtype=np.int64)
    m[0, slice(0, 4) if side == "left" else slice(7, None)] = 0
    return m


def inputs_of(case: str, name: str, dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(11)
    config = CONFIGS[name]
    L, H, D = (config[k] for k in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    inputs: dict[str, dict[str, Any]] = {
        "plain": {},
        "right padding": {"attention_mask": mask("right")},
        "left padding": {"attention_mask": mask("left")},
        "head mask": {"head_mask": rng.random((L, H)).astype(dtype), "attention_mask": mask("left")},
        "positions": {"position_ids": rng.integers(0, 29, (B, T))},
        "inputs_embeds": {"inputs_embeds": rng.normal(size=(B, T, D)).astype(dtype)},
    }
    chosen = inputs[case]
    return chosen if "inputs_embeds" in chosen else {"input_ids": ids(name), **chosen}


CASES = ["plain", "right padding", "left padding", "head mask", "positions", "inputs_embeds"]


@every_lane
@every_config
@pytest.mark.parametrize("case", CASES)
def test_every_array_is_transformers(folders: Any, name: str, case: str, dtype: str) -> None:
    kwargs, trace = inputs_of(case, name, dtype), Trace()
    out = ours(folders, name, dtype)(**kwargs, trace=trace, output_attentions=True, output_hidden_states=True)
    want, theirs = torch_trace(reference(name, dtype), **kwargs)
    layers = CONFIGS[name]["num_hidden_layers"]
    drifts = compare_traces(trace, in_order(want, list(trace)), budget(name, dtype))
    assert len(drifts) == 6 + 19 * layers
    assert set(trace) == set(drifts)
    assert len(out.hidden_states) == layers + 1
    for i, (got, reference_array) in enumerate(zip(out.hidden_states, theirs.hidden_states, strict=True)):
        assert_close(f"hidden_states[{i}]", got, reference_array.numpy(), budget(name, dtype)("layers"))
    for i, (got, reference_array) in enumerate(zip(out.attentions, theirs.attentions, strict=True)):
        assert_close(f"attentions[{i}]", got, reference_array.numpy(), budget(name, dtype)("weights"))


@every_lane
@every_config
@pytest.mark.parametrize("case", CASES)
def test_blocked_attention_gives_the_same_logits(folders: Any, name: str, case: str, dtype: str) -> None:
    kwargs = inputs_of(case, name, dtype)
    want, _ = torch_trace(reference(name, dtype), **kwargs)
    trace = Trace()
    ours(folders, name, dtype, "blocked")(**kwargs, trace=trace)
    assert "layers.0.self_attn.probs" not in trace
    compare_traces(trace, {n: x for n, x in in_order(want, [*trace, *want]).items() if n in trace}, budget(name, dtype))


@every_lane
@every_config
@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_the_cache_in_chunks(folders: Any, name: str, side: str, dtype: str, attention: str) -> None:
    model, theirs = ours(folders, name, dtype, attention), reference(name, dtype)
    tokens, m = ids(name), None if side == "none" else mask("left")
    past, their_past, at = None, DynamicCache(), 0
    for size in (1, 3, 7):
        kwargs = {"input_ids": tokens[:, at : at + size]}
        if m is not None:
            kwargs["attention_mask"] = m[:, : at + size]
        want, their = torch_trace(theirs, **kwargs, past_key_values=their_past, use_cache=True)
        trace = Trace()
        out = model(**kwargs, past_key_values=past, trace=trace)
        seen = {n: x for n, x in in_order(want, [*trace, *want]).items() if attention == "eager" or n in trace}
        assert "logits" in compare_traces(trace, seen, budget(name, dtype))
        past, their_past, at = out.past_key_values, their.past_key_values, at + size
        assert past.seq_length == at == their_past.get_seq_length()
        for layer in range(len(past)):
            pair = their_past.layers[layer].keys, their_past.layers[layer].values
            for got, reference_array in zip(past[layer], pair, strict=True):
                assert_close(f"cache[{layer}]", got, reference_array.numpy(), budget(name, dtype)("k"))


@every_lane
@every_config
def test_the_loss_ignores_what_it_is_told_to(folders: Any, name: str, dtype: str) -> None:
    tokens = ids(name)
    labels = np.where(np.random.default_rng(3).random((B, T)) < 0.4, -100, tokens)
    trace = Trace()
    out = ours(folders, name, dtype)(tokens, labels=labels, trace=trace)
    with torch.no_grad():
        theirs = reference(name, dtype)(torch.tensor(tokens), labels=torch.tensor(labels))
        logits, shifted = theirs.logits[:, :-1].flatten(0, 1), torch.tensor(labels)[:, 1:].flatten()
        exact = F.cross_entropy(logits, shifted)  # transformers itself rounds a float64 model's loss to float32
    assert_close("loss", trace["loss"], exact.numpy(), budget(name, dtype)("loss"))
    assert np.array_equal(out.loss, trace["loss"])
    assert_close("loss", np.float32(out.loss), theirs.loss.float().numpy(), lane_b(name, "loss"))
    nothing = ours(folders, name, dtype)(tokens, labels=np.full((B, T), -100))
    assert np.isnan(nothing.loss)


def their_positions(model: Any, **kwargs: Any) -> np.ndarray:
    """transformers' position ids, without the offset. The module computes them internally, so no hook sees them."""
    original, seen = torch.nn.Embedding.forward, []

    def forward(module: Any, indices: Any) -> Any:
        if module is model.biogpt.embed_positions:
            seen.append((indices - module.offset).numpy())
        return original(module, indices)

    past = kwargs.pop("past_key_values", None)
    with torch.no_grad(), replaced(torch.nn.Embedding, "forward", forward):
        model(**tensors(**kwargs), past_key_values=past)
    (found,) = seen
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_positions_are_transformers(folders: Any, case: str) -> None:
    kwargs, trace = inputs_of(case, "gelu", "float64"), Trace()
    ours(folders, "gelu", "float64")(**kwargs, trace=trace)
    want = np.broadcast_to(their_positions(reference("gelu", "float64"), **kwargs), (B, T))
    assert trace["position_ids"].dtype == want.dtype
    assert np.array_equal(trace["position_ids"], want)


def test_the_positions_behind_a_cache_are_transformers(folders: Any) -> None:
    model, theirs, past, m = (
        ours(folders, "gelu", "float64"),
        reference("gelu", "float64"),
        DynamicCache(),
        mask("left"),
    )
    their_positions(theirs, input_ids=ids("gelu")[:, :3], attention_mask=m[:, :3], past_key_values=past)
    own = model(ids("gelu")[:, :3], m[:, :3]).past_key_values
    trace = Trace()
    model(ids("gelu")[:, 3:], m, past_key_values=own, trace=trace)
    want = their_positions(theirs, input_ids=ids("gelu")[:, 3:], attention_mask=m, past_key_values=past)
    assert np.array_equal(trace["position_ids"], want)
    assert want[0].tolist() == [-1, *range(7)]


def test_a_tuple_has_transformers_order(folders: Any) -> None:
    model, theirs = ours(folders, "gelu", "float64"), reference("gelu", "float64")
    options: dict[str, Any] = {"output_attentions": True, "output_hidden_states": True, "return_dict": False}
    got = model(ids("gelu"), labels=ids("gelu"), **options)
    with torch.no_grad():
        want = theirs(torch.tensor(ids("gelu")), labels=torch.tensor(ids("gelu")), **options)
    assert len(got) == len(want) == 5
    assert_close("logits", got[1], want[1].numpy(), LANE_A)
    for layer, (k, v) in enumerate(got[2]):
        assert_close(f"k[{layer}]", k, want[2].layers[layer].keys.numpy(), LANE_A)
        assert_close(f"v[{layer}]", v, want[2].layers[layer].values.numpy(), LANE_A)
    assert_close("hidden_states[1]", got[3][1], want[3][1].numpy(), LANE_A)
    assert_close("attentions[1]", got[4][1], want[4][1].numpy(), LANE_A)
    base = BioGptModel.from_pretrained(folders["gelu"], dtype="float64")(
        ids("gelu"), return_dict=False, use_cache=False
    )
    assert len(base) == 1
    with torch.no_grad():
        assert_close("base", base[0], theirs.biogpt(torch.tensor(ids("gelu")))[0].numpy(), LANE_A)


def test_the_legacy_form_of_the_cache_is_taken(folders: Any) -> None:
    model = ours(folders, "gelu", "float64")
    past = model(ids("gelu")[:, :4]).past_key_values
    want = model(ids("gelu")[:, 4:], past_key_values=past).logits
    assert np.array_equal(model(ids("gelu")[:, 4:], past_key_values=tuple(past)).logits, want)


@every_lane
@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_one_head_mask_row_is_transformers_with_that_row_in_each_layer(
    folders: Any, dtype: str, attention: str
) -> None:
    row = np.array([0.0, 0.5, 1.0], dtype=dtype)
    kwargs = {"input_ids": ids("relu"), "attention_mask": mask("left")}
    want, _ = torch_trace(reference("relu", dtype), **kwargs, head_mask=np.tile(row, (3, 1)))
    trace = Trace()
    ours(folders, "relu", dtype, attention)(**kwargs, head_mask=row, trace=trace)
    seen = {n: x for n, x in in_order(want, [*trace, *want]).items() if attention == "eager" or n in trace}
    assert "logits" in compare_traces(trace, seen, budget("relu", dtype))


def test_rows_that_see_nothing_are_uniform_over_all_positions(folders: Any) -> None:
    trace = Trace()
    ours(folders, "gelu", "float64")(ids("gelu"), mask("left"), trace=trace)
    assert np.array_equal(trace["layers.0.self_attn.probs"][0, :, :4], np.full((3, 4, T), 1 / T))
    assert trace["position_ids"][0].tolist() == [-1] * 4 + list(range(7))
    assert trace["position_ids"][1].tolist() == list(range(11))


def test_a_head_mask_for_all_layers_is_that_row_for_each(folders: Any) -> None:
    model, row = ours(folders, "relu", "float64"), np.array([0.0, 0.5, 2.0])
    for attention in ("eager", "blocked"):
        model.biogpt.attn_implementation = attention
        assert np.array_equal(
            model(ids("relu"), head_mask=row).logits, model(ids("relu"), head_mask=np.tile(row, (3, 1))).logits
        )


@every_lane
def test_the_demo_model_on_real_text(dtype: str) -> None:
    from transformers import BioGptForCausalLM as Theirs

    tokens = BioGptTokenizer.from_pretrained("demo")("Mutations in BRCA1 cause hereditary breast cancer.")["input_ids"]
    from minibiogpt.files.hub import find_model

    theirs = Theirs.from_pretrained(find_model("demo"), attn_implementation="eager").to(getattr(torch, dtype)).eval()
    trace = Trace()
    BioGptForCausalLM.from_pretrained("demo", dtype=dtype)(tokens, trace=trace)
    want, _ = torch_trace(theirs, input_ids=tokens)
    compare_traces(trace, in_order(want, list(trace)), budget("demo", dtype))
