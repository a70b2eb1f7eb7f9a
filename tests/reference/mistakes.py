"""Mistakes that ports make, each planted in the PyTorch model, with the tensor that must be the first to differ.

``with mistake.plant(model): dump_torch.record(model, ...)`` runs a port with that mistake. If an input can't show the
mistake (a missing padding mask on an input without padding), nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from tests.reference import wrong
from tests.reference.causes import CAUSES, Expected
from tests.reference.planting import (
    Plant,
    attention,
    attribute,
    decoder_layer,
    forward,
    head_loss,
    layers,
    lm_loss,
    mask,
    named,
    only,
    options,
    parameter,
    past,
    pooled,
    positions,
)

Calls = Sequence[Mapping[str, Any]]
Table = list[tuple[str, Plant, Callable[[Calls, Any], str]]]


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes
    ----------
    name : a few words.
    plant : function from a transformers model to a context manager that makes the mistake in it.
    first : function from a case's calls (their inputs) and the model's config to the tensor that must differ first, in
        a case designed to show the mistake.
    expected : the cause that ``golden diagnose`` must name, and its parameters.
    """

    name: str
    plant: Plant
    first: Callable[[Calls, Any], str]
    expected: Expected

    @property
    def cause(self) -> str:
        return self.expected.cause


def at(name: str, step: int = 0) -> Callable[[Calls, Any], str]:
    """Return a ``first`` function for a tensor; {last} is the last layer, ``step`` the call if there are several."""

    def first(calls: Calls, config: Any) -> str:
        full = name.format(last=config.num_hidden_layers - 1)
        return f"step.{step}/{full}" if len(calls) > 1 else full

    return first


ATTN = "layers.0.self_attn"
EMBED, POSITIONS = named("embed_tokens"), named("embed_positions")
_norm_paths = {kind: f"layers.0.{kind}" for kind in ("self_attn_layer_norm", "final_layer_norm")}
_parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
# Every mistake: name, how it is planted, what must differ first.
_TABLE: Table = [
    ("norm eps 1e-12", attribute(wrong.NORMS, "eps", lambda _: 1e-12), at("layers.0.self_attn_layer_norm")),
    *((f"eps 1e-12 in {kind}", attribute(wrong.norms(kind), "eps", lambda _: 1e-12), at(_norm_paths.get(kind, kind)))
      for kind in wrong.KINDS),
    ("norm eps 1e-6", attribute(wrong.NORMS, "eps", lambda _: 1e-6), at("layers.0.self_attn_layer_norm")),
    ("eps outside the root", wrong.norm_with(lambda x, eps: x.square().mean(-1, keepdim=True).sqrt() + eps),
     at("layers.0.self_attn_layer_norm")),
    ("variance with N-1", wrong.norm_with(lambda x, eps: (x.var(-1, keepdim=True) + eps).sqrt()),
     at("layers.0.self_attn_layer_norm")),
    ("mean not subtracted",
     wrong.norm_with(lambda x, eps: (x.square().mean(-1, keepdim=True) + eps).sqrt(), centre=False),
     at("layers.0.self_attn_layer_norm")),
    ("norms without gain", parameter(wrong.NORMS, "weight", torch.ones_like), at("layers.0.self_attn_layer_norm")),
    *((f"no bias in {kind}", parameter(wrong.norms(kind), "bias", torch.zeros_like), at(_norm_paths.get(kind, kind)))
      for kind in wrong.KINDS),
    ("tanh GELU", wrong.activation(lambda x: F.gelu(x, approximate="tanh")), at("layers.0.activation_fn")),
    ("sigmoid GELU", wrong.activation(lambda x: x * torch.sigmoid(1.702 * x)), at("layers.0.activation_fn")),
    ("ReLU for GELU", wrong.activation(F.relu), at("layers.0.activation_fn")),
    ("no activation", wrong.activation(lambda x: x), at("layers.0.activation_fn")),
    ("position offset 0", attribute(POSITIONS, "offset", lambda _: 0), at("embed_positions")),
    ("position offset 1", attribute(POSITIONS, "offset", lambda _: 1), at("embed_positions")),
    ("positions count pads", positions(wrong.counted), at("position_ids")),
    ("positions from 0 in each cached step", positions(wrong.from_zero), at("position_ids", step=1)),
    ("pads get position 0", positions(lambda position_ids, real: position_ids.clamp(min=0)), at("position_ids")),
    ("scaled positions", parameter(POSITIONS, "weight", lambda x: x * math.sqrt(x.shape[1])), at("embed_positions")),
    ("no positions", parameter(POSITIONS, "weight", torch.zeros_like), at("embed_positions")),
    ("no embedding scale", attribute(EMBED, "embed_scale", lambda _: 1.0), at("embed_tokens")),
    ("inputs_embeds scaled again", options(wrong.scaled_embeds), at("embed_tokens")),
    ("embeddings off by one row", parameter(EMBED, "weight", lambda x: x.roll(1, 0)), at("embed_tokens")),
    ("no attention scale", wrong.scale(lambda _: 1.0), at(f"{ATTN}.scores")),
    ("scale by sqrt(D)", wrong.scale(lambda x: x.embed_dim**-0.5), at(f"{ATTN}.scores")),
    ("attention scaled twice", wrong.scale(lambda x: x.head_dim**-1.0), at(f"{ATTN}.scores")),
    ("mask sees the future", mask(wrong.sees_the_future), at(f"{ATTN}.scores_masked")),
    ("mask hides itself", mask(wrong.hides_itself), at(f"{ATTN}.scores_masked")),
    ("mask adds -1e4", mask(lambda hidden, real: hidden.clamp(min=-1e4)), at(f"{ATTN}.scores_masked")),
    ("mask multiplies", attention(hide=lambda scores, hidden, heads: scores * (hidden == 0)),
     at(f"{ATTN}.scores_masked")),
    ("mask of -inf", attention(hide=lambda scores, hidden, heads: scores.masked_fill(hidden != 0, -math.inf)),
     at(f"{ATTN}.probs")),
    ("rows of pads become 0", attention(normalise=wrong.blind_rows_zero), at(f"{ATTN}.probs")),
    ("causal mask without the past", mask(wrong.without_offset), at(f"{ATTN}.scores_masked", step=1)),
    ("no causal mask", mask(wrong.only_padding), at(f"{ATTN}.scores_masked")),
    ("no padding mask", mask(wrong.only_causal), at(f"{ATTN}.scores_masked")),
    ("padding mask on queries alone", mask(wrong.padded_queries), at(f"{ATTN}.scores_masked")),
    ("padding mask inverted", mask(wrong.inverted_padding), at(f"{ATTN}.scores_masked")),
    ("head mask before the softmax", attention(
        hide=lambda scores, hidden, heads: (scores if heads is None else scores * heads.view(1, -1, 1, 1)) + hidden),
     at(f"{ATTN}.scores_masked")),
    ("head mask renormalised", attention(weigh=wrong.renormalised), at(f"{ATTN}.weights")),
    ("head mask (H,) as one number a layer", attention(weigh=wrong.one_number_a_layer), at(f"{ATTN}.weights")),
    ("head mask ignored", attention(weigh=lambda probs, heads, module: probs), at(f"{ATTN}.weights")),
    ("softmax over the queries", attention(normalise=lambda x: F.softmax(x, dim=-2)), at(f"{ATTN}.probs")),
    ("softmax in bfloat16", attention(normalise=wrong.low_precision), at(f"{ATTN}.probs")),
    ("q and k swapped", wrong.exchanged("q_proj", "k_proj"), at(f"{ATTN}.q_proj")),
    ("k and v swapped", wrong.exchanged("k_proj", "v_proj"), at(f"{ATTN}.k_proj")),
    ("heads interleaved", attention(
        split=lambda *qkv: [wrong.interleaved(x) for x in qkv], merge=lambda mixed: mixed.permute(0, 2, 3, 1)),
     at(f"{ATTN}.q")),
    ("one head", attribute(wrong.ATTENTIONS, "head_dim", lambda x: x.embed_dim), at(f"{ATTN}.q")),
    ("heads not merged back", attention(merge=lambda mixed: mixed), at(f"{ATTN}.context")),
    *((f"transposed {part}", parameter(layers(part), "weight", torch.t), at(f"layers.0.{part}")) for part in _parts),
    *((f"no bias in {part}", parameter(layers(part), "bias", torch.zeros_like), at(f"layers.0.{part}"))
      for part in (*_parts, "fc1", "fc2")),
    ("post-norm", decoder_layer(wrong.post_norm), at("layers.0.self_attn_layer_norm")),
    ("swapped norms", decoder_layer(wrong.swapped_norms), at("layers.0.self_attn_layer_norm")),
    ("no residual of attention", decoder_layer(wrong.no_attention_residual), at("layers.0.attn_residual")),
    ("no residual of the feed-forward", decoder_layer(wrong.no_feed_forward_residual), at("layers.0")),
    ("residual taken behind the norm", decoder_layer(wrong.residual_behind_the_norm), at("layers.0.attn_residual")),
    ("attention and feed-forward in parallel", decoder_layer(wrong.parallel), at("layers.0.attn_residual")),
    ("layers in reverse", wrong.layers_of(lambda all_layers: all_layers[::-1]), at("layers.0.self_attn_layer_norm")),
    ("layer 0 everywhere", wrong.layers_of(wrong.all_the_first), at("layers.1.self_attn_layer_norm")),
    ("last layer's result unused", forward(wrong.last, wrong.unused), at("layers.{last}")),
    ("no final norm", forward(wrong.norms("layer_norm"), lambda norm, original, x: x), at("layer_norm")),
    ("final norm twice", forward(wrong.norms("layer_norm"), lambda norm, original, x: original(original(x))),
     at("layer_norm")),
    ("final norm before the last layer", wrong.norm_before_the_last_layer, at("layers.{last}.self_attn_layer_norm")),
    ("head reads before the final norm", wrong.head_reads_before_the_norm, at("logits")),
    ("head scaled", parameter(wrong.HEADS, "weight", lambda x: x * math.sqrt(x.shape[1])), at("logits")),
    ("head off by one row", parameter(wrong.HEADS, "weight", lambda x: x.roll(1, 0)), at("logits")),
    ("tied head where it is untied", only(wrong.untied, wrong.tied), at("logits")),
    ("no bias in the classifier", parameter(named("classifier"), "bias", torch.zeros_like), at("logits")),
    ("cached keys one row late", past(keys=lambda x: x.roll(1, -2)), at(f"{ATTN}.k", step=1)),
    ("a stale row among the cached keys", past(keys=wrong.stale_row), at(f"{ATTN}.k", step=1)),
    ("a cached value overwritten", past(values=wrong.stale_row), at(f"{ATTN}.v", step=1)),
    ("rows of the batch mixed in the cache", past(lambda x: x.flip(0), lambda x: x.flip(0)), at(f"{ATTN}.k", step=1)),
    ("loss without the shift", lm_loss(wrong.cross_entropy), at("loss")),
    ("loss counts -100", lm_loss(wrong.ignored_counted), at("loss")),
    ("loss summed", lm_loss(lambda logits, labels: wrong.shifted(logits, labels, reduction="sum")), at("loss")),
    ("loss of tokens counts pads", head_loss("classifier", wrong.cross_entropy), at("loss")),
    ("loss of tokens shifted", head_loss("classifier", wrong.shifted), at("loss")),
    ("loss of classes by squares", head_loss("score", wrong.squared), at("loss")),
    ("sigmoid missing from several labels", head_loss("score", wrong.multi_label(
        lambda logits, labels: F.binary_cross_entropy(logits.clamp(0, 1), labels))), at("loss")),
    ("several labels by a softmax", head_loss("score", wrong.multi_label(F.cross_entropy)), at("loss")),
    ("class read at the first token", pooled(lambda no_pad, mask: torch.zeros(len(no_pad), dtype=torch.int64)),
     at("logits")),
    ("class read at the last token", pooled(lambda no_pad, mask: torch.full((len(no_pad),), no_pad.shape[1] - 1)),
     at("logits")),
    ("class read at the number of tokens - 1", pooled(lambda no_pad, mask: no_pad.sum(-1) - 1), at("logits")),
]  # fmt: skip


def mistakes_of(table: Table) -> dict[str, Mistake]:
    """Return {name: mistake}."""
    found = {name: Mistake(name, plant, first, CAUSES[name]) for name, plant, first in table}
    assert len(found) == len(table), "two mistakes have the same name"
    return found


MISTAKES = mistakes_of(_TABLE)
