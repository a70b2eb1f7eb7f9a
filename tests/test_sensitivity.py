"""Each classic mistake, planted in the PyTorch side, is noticed by at least ten times the budget, and at its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.biogpt import modeling_biogpt as modeling

from minibiogpt import BioGptForCausalLM, Trace
from tests.budgets import LANE_A
from tests.compare import assert_close, first_difference
from tests.configs import CONFIGS
from tests.reference import build, in_order, replaced, save, torch_trace

IDS = np.random.default_rng(5).integers(3, 67, (2, 11))
LEFT = np.ones((2, 11), dtype=np.int64)
LEFT[0, :4] = 0
HEADS = np.random.default_rng(6).random((2, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return save(build(**CONFIGS["gelu"]), tmp_path_factory.mktemp("model"))


Mistake = Callable[[Any], Any]


@contextmanager
def norm_eps(model: Any) -> Iterator[None]:
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    with ExitStack() as stack:
        for norm in norms:
            stack.enter_context(replaced(norm, "eps", model.config.layer_norm_eps))
        yield


@contextmanager
def tanh_gelu(model: Any) -> Iterator[None]:
    for layer in model.biogpt.layers:
        layer.activation_fn = torch.nn.GELU(approximate="tanh")
    yield


def offset(value: int) -> Mistake:
    return lambda model: replaced(model.biogpt.embed_positions, "offset", value)


def no_embedding_scale(model: Any) -> Any:
    return replaced(model.biogpt.embed_tokens, "embed_scale", 1.0)


def scaled_positions(model: Any) -> Any:
    table = model.biogpt.embed_positions
    return replaced(table, "weight", torch.nn.Parameter(table.weight * math.sqrt(model.config.hidden_size)))


def scaled_head(model: Any) -> Any:
    head = model.output_projection
    return replaced(head, "weight", torch.nn.Parameter(head.weight * math.sqrt(model.config.hidden_size)))


@contextmanager
def no_attention_scale(model: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in model.biogpt.layers:
            stack.enter_context(replaced(layer.self_attn, "scaling", 1.0))
        yield


def changed_mask(change: Callable[[Any], Any]) -> Mistake:
    """The additive mask (B, 1, T, S) that transformers makes, changed."""

    def plant(model: Any) -> Any:
        original = modeling.BioGptPreTrainedModel._update_causal_mask

        def update(self: Any, *args: Any) -> Any:
            return change(original(self, *args))

        return replaced(modeling.BioGptPreTrainedModel, "_update_causal_mask", update)

    return plant


def sees_the_future(mask: Any) -> Any:
    return torch.cat([mask[..., 1:, :], mask[..., -1:, :]], dim=-2)


def hides_itself(mask: Any) -> Any:
    return mask.masked_fill(torch.eye(mask.shape[-1], dtype=torch.bool), torch.finfo(mask.dtype).min)


def no_padding_mask(model: Any) -> Any:
    original = modeling.BioGptPreTrainedModel._update_causal_mask

    def update(self: Any, attention_mask: Any, *rest: Any) -> Any:
        return original(self, torch.ones_like(attention_mask), *rest)

    return replaced(modeling.BioGptPreTrainedModel, "_update_causal_mask", update)


def plain_positions(model: Any) -> Any:
    """Positions that count the pads: 5.x's rule, where 4.x derives them from the mask."""
    table = model.biogpt.embed_positions
    original = table.forward

    def forward(mask: Any, past: int = 0, position_ids: Any = None) -> Any:
        return original(mask, past, position_ids=torch.arange(mask.shape[1]).expand_as(mask)[:, past:])

    return replaced(table, "forward", forward)


def _layer_forward(order: Callable[..., Any]) -> Mistake:
    """A decoder layer whose steps come in another order."""

    def plant(model: Any) -> Any:
        def forward(
            self: Any, hidden_states: Any, output_attentions: bool = False, layer_head_mask: Any = None, **rest: Any
        ) -> Any:
            def attend(x: Any) -> Any:
                return self.self_attn(hidden_states=x, layer_head_mask=layer_head_mask, **rest)

            def feed(x: Any) -> Any:
                return self.fc2(self.activation_fn(self.fc1(x)))

            return order(self, hidden_states, attend, feed)

        return replaced(modeling.BioGptDecoderLayer, "forward", forward)

    return plant


def _post_norm(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(x)
    x = layer.self_attn_layer_norm(x + h)
    return layer.final_layer_norm(x + feed(x)), weights


def _swapped_norms(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(layer.final_layer_norm(x))
    x = x + h
    return x + feed(layer.self_attn_layer_norm(x)), weights


def _no_residual(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(layer.self_attn_layer_norm(x))
    return h + feed(layer.final_layer_norm(h)), weights


def dropped_bias(part: str) -> Mistake:
    def plant(model: Any) -> Any:
        module = model.biogpt.layers[0].get_submodule(part)
        return replaced(module, "bias", torch.nn.Parameter(torch.zeros_like(module.bias)))

    return plant


def head_mask_before_softmax(model: Any) -> Any:
    def attention(
        module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float, head_mask: Any = None, **rest: Any
    ) -> Any:
        scores = torch.matmul(q, k.transpose(2, 3)) * scaling * head_mask.view(1, -1, 1, 1)
        weights = torch.softmax(scores + mask, dim=-1)
        return torch.matmul(weights, v).transpose(1, 2).contiguous(), weights

    return replaced(modeling, "eager_attention_forward", attention)


def dropped_final_norm(model: Any) -> Any:
    return replaced(model.biogpt, "layer_norm", torch.nn.Identity())


def transposed_projection(model: Any) -> Any:
    module = model.biogpt.layers[0].self_attn.q_proj
    return replaced(module, "weight", torch.nn.Parameter(module.weight.T))


FIRST = "layers.0.self_attn"
# mistake: (how it is planted, the first tensor that must differ)
MISTAKES: dict[str, tuple[Mistake, str]] = {
    "norm eps 1e-12": (norm_eps, "layers.0.self_attn_layer_norm"),
    "tanh GELU": (tanh_gelu, "layers.0.activation_fn"),
    "position offset 0": (offset(0), "embed_positions"),
    "position offset 1": (offset(1), "embed_positions"),
    "no embedding scale": (no_embedding_scale, "embed_tokens"),
    "scaled positions": (scaled_positions, "embed_positions"),
    "scaled head": (scaled_head, "logits"),
    "no attention scale": (no_attention_scale, f"{FIRST}.scores"),
    "mask sees the future": (changed_mask(sees_the_future), f"{FIRST}.scores_masked"),
    "mask hides itself": (changed_mask(hides_itself), f"{FIRST}.scores_masked"),
    "head mask before the softmax": (head_mask_before_softmax, f"{FIRST}.weights"),
    "no padding mask": (no_padding_mask, f"{FIRST}.scores_masked"),
    "positions count pads": (plain_positions, "embed_positions"),
    "post-norm": (_layer_forward(_post_norm), f"{FIRST}_layer_norm"),
    "swapped norms": (_layer_forward(_swapped_norms), f"{FIRST}_layer_norm"),
    "no residual": (_layer_forward(_no_residual), "layers.0.attn_residual"),
    "no final norm": (dropped_final_norm, "layer_norm"),
    "transposed q_proj": (transposed_projection, f"{FIRST}.q_proj"),
} | {
    f"dropped bias of {part}": (dropped_bias(part), f"layers.0.{part}")
    for part in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2",
        "self_attn_layer_norm", "final_layer_norm",
    )
}  # fmt: skip


INPUTS: dict[str, dict[str, Any]] = {
    "left padding": {"attention_mask": LEFT},
    "position offset 0": {"attention_mask": np.ones_like(LEFT)},  # with pads PyTorch refuses that itself
    "head mask before the softmax": {"attention_mask": LEFT, "head_mask": HEADS},
}


def inputs_for(mistake: str) -> dict[str, Any]:
    return INPUTS.get(mistake, INPUTS["left padding"])


def ours(folder: Any, given: dict[str, Any]) -> Trace:
    trace = Trace()
    BioGptForCausalLM.from_pretrained(folder, dtype="float64")(IDS, **given, trace=trace)
    return trace


@pytest.mark.parametrize("given", INPUTS)
def test_without_a_mistake_all_agree(folder: Any, given: str) -> None:
    trace = ours(folder, INPUTS[given])
    want, _ = torch_trace(build(**CONFIGS["gelu"]), input_ids=IDS, **INPUTS[given])
    assert len(want) == 43
    assert first_difference(trace, in_order(want, list(trace)), lambda tensor: LANE_A) is None


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen_first_where_it_is_made(folder: Any, mistake: str) -> None:
    plant, where = MISTAKES[mistake]
    given = inputs_for(mistake)
    model, trace = build(**CONFIGS["gelu"]), ours(folder, given)
    with plant(model):
        want, _ = torch_trace(model, input_ids=IDS, **given)
    assert len(want) == 43
    found = first_difference(trace, in_order(want, list(trace)), lambda tensor: LANE_A)
    assert found is not None, "not noticed"
    name, times = found
    assert (name, times > 10) == (where, True), f"first seen at {name}, {times:.0f} times the budget"


def test_a_bias_of_the_keys_cancels_in_the_softmax(folder: Any) -> None:
    """It adds the same to every score of a row: only the keys and the scores show that it is missing."""
    model, trace = build(**CONFIGS["gelu"]), ours(folder, inputs_for("k"))
    with dropped_bias("self_attn.k_proj")(model):
        want, _ = torch_trace(model, input_ids=IDS, attention_mask=LEFT)
    for part in ("k_proj", "k", "scores"):
        name = f"{FIRST}.{part}"
        found = first_difference(trace, {name: want[name]}, lambda tensor: LANE_A)
        assert found is not None, name
        assert found[1] > 10, name
    assert_close(f"{FIRST}.probs", trace[f"{FIRST}.probs"], want[f"{FIRST}.probs"], LANE_A)


@pytest.mark.parametrize("mistake", ["norm eps 1e-12", "tanh GELU"])
def test_what_a_comparison_of_tokens_does_not_see(folder: Any, mistake: str) -> None:
    """Why every array is compared: these two leave the most probable token of every position as it is."""
    plant, _ = MISTAKES[mistake]
    model = build(**CONFIGS["gelu"])
    with torch.no_grad(), plant(model):
        theirs = model(torch.tensor(IDS)).logits.numpy()
    mine = BioGptForCausalLM.from_pretrained(folder, dtype="float64")(IDS).logits
    assert np.array_equal(theirs.argmax(-1), mine.argmax(-1))
    assert np.abs(theirs - mine).max() > 1e-8
