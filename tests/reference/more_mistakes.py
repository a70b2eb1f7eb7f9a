"""More mistakes, for the causes of ``golden diagnose`` that tests/reference/mistakes.py doesn't have.

They are planted and tested in the same way, but docs/sensitivity.md and the traps count only the others.
"""

from __future__ import annotations

from tests.reference import more_wrong as wrong
from tests.reference.mistakes import ATTN, EMBED, MISTAKES, POSITIONS, Mistake, Table, at, mistakes_of
from tests.reference.planting import (
    attention,
    attribute,
    forward,
    layers,
    mask,
    options,
    parameter,
    positions,
)
from tests.reference.wrong import HEADS, NORMS, activation

_TABLE: Table = [
    ("norm over the positions", forward(NORMS, wrong.over_the_positions), at("layers.0.self_attn_layer_norm")),
    ("the first norm's weights in both norms", wrong.shared(wrong.both_norms), at("layers.0.final_layer_norm")),
    ("the first norm's bias in both norms", wrong.shared(wrong.both_norms, ("bias",)), at("layers.0.final_layer_norm")),
    ("the first norm's gain in both norms", wrong.shared(wrong.both_norms, ("weight",)),
     at("layers.0.final_layer_norm")),
    ("1 added to each norm's gain", parameter(NORMS, "weight", lambda x: x + 1), at("layers.0.self_attn_layer_norm")),
    ("norms add their bias twice", parameter(NORMS, "bias", lambda x: 2 * x), at("layers.0.self_attn_layer_norm")),
    ("bias of fc2 added twice", parameter(layers("fc2", every=True), "bias", lambda x: 2 * x), at("layers.0.fc2")),
    ("v_proj's bias in out_proj", wrong.shared(wrong.output_and_values, ("bias",)), at(f"{ATTN}.out_proj")),
    ("GELU with erf by 7.1.25", activation(wrong.gelu_25), at("layers.0.activation_fn")),
    ("GELU with erf by 7.1.26", activation(wrong.gelu_26), at("layers.0.activation_fn")),
    ("bias added after the activation", wrong.bias_after_activation, at("layers.0.fc1")),
    ("embeddings scaled twice", attribute(EMBED, "embed_scale", lambda x: x.embedding_dim * 1.0), at("embed_tokens")),
    ("embeddings scaled by 32", attribute(EMBED, "embed_scale", lambda _: 32.0), at("embed_tokens")),
    ("embedding of the pad is 0", parameter(EMBED, "weight", wrong.without_row), at("embed_tokens")),
    ("position table cut at N rows", parameter(POSITIONS, "weight", wrong.cut), at("embed_positions")),
    ("positions of the mask though some are given", positions(wrong.from_mask), at("position_ids")),
    ("positions and mask made from the ids", options(wrong.mask_of_ids), at("position_ids")),
    ("rotary positions too", attention(split=wrong.rotary), at(f"{ATTN}.q")),
    ("ALiBi too", attention(score=wrong.alibi), at(f"{ATTN}.scores")),
    ("sinusoidal positions", parameter(POSITIONS, "weight", wrong.sinusoidal), at("embed_positions")),
    ("window of 3", mask(wrong.window(3)), at(f"{ATTN}.scores_masked")),
    ("the first row's padding for all", mask(lambda hidden, real: hidden[:1].expand_as(hidden)),
     at(f"{ATTN}.scores_masked")),
    ("mask after the softmax", wrong.mask_after_softmax(), at(f"{ATTN}.scores_masked")),
    ("mask adds -30", mask(lambda hidden, real: hidden.clamp(min=-30)), at(f"{ATTN}.scores_masked")),
    ("softmax without taking the largest away", attention(normalise=wrong.no_maximum), at(f"{ATTN}.probs")),
    ("head mask of the first layer for all", options(wrong.heads_changed(lambda x: x[:1].expand_as(x))),
     at("layers.1.self_attn.weights")),
    ("head mask taken as 0 or 1", options(wrong.heads_changed(lambda x: (x != 0).to(x.dtype))), at(f"{ATTN}.weights")),
    ("head mask cut to 0 to 1", options(wrong.heads_changed(lambda x: x.clamp(0, 1))), at(f"{ATTN}.weights")),
    ("keys and values of the first head for all", attention(
        split=lambda q, k, v: (q, k[:, :1].expand_as(k), v[:, :1].expand_as(v))), at(f"{ATTN}.k")),
    ("fused projections read head by head", wrong.head_by_head, at(f"{ATTN}.q_proj")),
    *((f"memory of {part} read transposed", parameter(layers(part, every=True), "weight", wrong.read_transposed),
       at(f"layers.0.{part}")) for part in ("fc1", "fc2")),
    ("layer 1's fc1 in layer 0", wrong.of_layer_1("fc1"), at("layers.0.fc1")),
    ("layer 1's norms in layer 0", wrong.of_layer_1("self_attn_layer_norm", "final_layer_norm"),
     at("layers.0.self_attn_layer_norm")),
    ("logits scaled down by sqrt(D)", parameter(HEADS, "weight", lambda x: x * x.shape[1] ** -0.5), at("logits")),
    ("cached values of layer 1 in layer 0", options(wrong.values_of_layer_1), at(f"{ATTN}.v", step=1)),
    ("new keys before the cached ones", attention(split=wrong.new_first), at(f"{ATTN}.k", step=1)),
    ("dropout active", wrong.DROPOUT, at("embeddings")),
    ("dropout of attention active", wrong.combined([wrong.seeded, attention(weigh=wrong.dropped)]),
     at(f"{ATTN}.weights")),
    *((f"products of {kind} numbers", wrong.rounded_products(kind), at(f"{ATTN}.q_proj"))
      for kind in ("float16", "bfloat16", "tf32")),
    *((f"every result rounded to {kind}", wrong.rounded_results(kind), at("embed_tokens"))
      for kind in ("float16", "bfloat16")),
    ("exp from a float16 table", attention(normalise=wrong.table_softmax), at(f"{ATTN}.probs")),
    ("GELU from ggml's float16 table", activation(wrong.table_gelu), at("layers.0.activation_fn")),
    ("weights in int8 by row", wrong.quantised(8), at(f"{ATTN}.q_proj")),
    ("weights in int4 by row", wrong.quantised(4), at(f"{ATTN}.q_proj")),
    ("weights in int4 by blocks of 7", wrong.quantised(4, 7), at(f"{ATTN}.q_proj")),
    ("another id", options(wrong.other_id), at("embed_tokens")),
    ("another checkpoint of the same training", wrong.other_weights(wrong.trained_on), at("embed_tokens")),
]  # fmt: skip
MORE: dict[str, Mistake] = mistakes_of(_TABLE)
EVERY = MISTAKES | MORE
assert len(EVERY) == len(MISTAKES) + len(MORE), "two mistakes have the same name"
