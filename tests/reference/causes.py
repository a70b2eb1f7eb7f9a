"""The cause that ``golden diagnose`` must name for each planted mistake, and the parameters that it must estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Parameter = float | Callable[[Any], float]


@dataclass(frozen=True)
class Expected:
    """What must be said about one mistake.

    Attributes
    ----------
    cause : the id of the cause.
    parameters : {parameter: its true value, or a function from the model's config to it}.
    also : ids that are right too, because in some cases the mistake is the same computation as theirs.
    """

    cause: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    def values(self, config: Any) -> dict[str, float]:
        """Return {parameter: true value} for a model of this config."""
        return {name: x(config) if callable(x) else x for name, x in self.parameters.items()}


def hidden_size(power: float) -> Callable[[Any], float]:
    return lambda config: config.hidden_size**power


def head_width(power: float) -> Callable[[Any], float]:
    return lambda config: (config.hidden_size / config.num_attention_heads) ** power


def expected(cause: str, *also: str, **parameters: Parameter) -> Expected:
    return Expected(cause, parameters, also)


TINY_EPS = expected("norm-eps", eps=1e-12)
NO_NORM_BIAS, NO_BIAS, TRANSPOSED = (expected(x) for x in ("norm-bias-missing", "bias-missing", "weight-transposed"))
KINDS = ("self_attn_layer_norm", "final_layer_norm", "layer_norm")
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
CAUSES: dict[str, Expected] = {
    "norm eps 1e-12": TINY_EPS,
    **{f"eps 1e-12 in {kind}": TINY_EPS for kind in KINDS},
    "norm eps 1e-6": expected("norm-eps", eps=1e-6),
    "eps outside the root": expected("norm-eps-outside-root"),
    "variance with N-1": expected("norm-variance-unbiased"),
    "mean not subtracted": expected("norm-no-mean"),
    "norms without gain": expected("norm-gain-missing"),
    **{f"no bias in {kind}": NO_NORM_BIAS for kind in KINDS},
    "tanh GELU": expected("gelu-tanh"),
    "sigmoid GELU": expected("gelu-sigmoid"),
    "ReLU for GELU": expected("activation-other"),
    "no activation": expected("activation-missing"),
    "position offset 0": expected("position-offset", offset=0),
    "position offset 1": expected("position-offset", offset=1),
    # With given position_ids, these two are mistakes about the given ones.
    "positions count pads": expected("positions-ignore-mask", "position-ids-ignored"),
    "pads get position 0": expected("positions-pad-value", "positions-clipped", value=0),
    "positions from 0 in each cached step": expected("positions-restart"),
    "scaled positions": expected("positions-scaled", factor=hidden_size(0.5)),
    "no positions": expected("positions-missing"),
    "no embedding scale": expected("embed-scale", factor=1),
    "inputs_embeds scaled again": expected("embed-scale", factor=hidden_size(0.5)),
    "embeddings off by one row": expected("embed-row-offset", rows=1),
    "no attention scale": expected("attention-scale", scale=1),
    "scale by sqrt(D)": expected("attention-scale", scale=hidden_size(-0.5)),
    "attention scaled twice": expected("attention-scale", scale=head_width(-1)),
    "mask sees the future": expected("causal-mask-offset", offset=1),
    "mask hides itself": expected("causal-mask-offset", offset=-1),
    "mask adds -1e4": expected("mask-finite", constant=-1e4),
    "mask multiplies": expected("mask-multiplied"),
    "mask of -inf": expected("mask-infinite"),
    "rows of pads become 0": expected("mask-infinite"),
    "causal mask without the past": expected("causal-mask-ignores-past"),
    "no causal mask": expected("causal-mask-missing"),
    "no padding mask": expected("padding-mask-missing"),
    "padding mask on queries alone": expected("padding-mask-on-queries"),
    "padding mask inverted": expected("padding-mask-inverted"),
    "head mask before the softmax": expected("head-mask-before-softmax"),
    "head mask renormalised": expected("head-mask-wrong"),
    "head mask (H,) as one number a layer": expected("head-mask-wrong"),
    "head mask ignored": expected("head-mask-missing"),
    "softmax over the queries": expected("softmax-axis"),
    "softmax in bfloat16": expected("precision-bfloat16"),
    "q and k swapped": expected("qkv-order"),
    "k and v swapped": expected("qkv-order"),
    "heads interleaved": expected("heads-split"),
    "one head": expected("heads-split"),
    "heads not merged back": expected("heads-merge"),
    **{f"transposed {part}": TRANSPOSED for part in PARTS},
    **{f"no bias in {part}": NO_BIAS for part in (*PARTS, "fc1", "fc2")},
    "post-norm": expected("norm-post"),
    "swapped norms": expected("norms-swapped"),
    "no residual of attention": expected("residual-missing"),
    "no residual of the feed-forward": expected("residual-missing"),
    "residual taken behind the norm": expected("residual-from-norm"),
    "attention and feed-forward in parallel": expected("parallel-layers"),
    "layers in reverse": expected("layer-weights"),
    "layer 0 everywhere": expected("layer-weights"),
    "last layer's result unused": expected("layer-skipped"),
    "no final norm": expected("norm-final-missing"),
    "final norm twice": expected("norm-twice"),
    "final norm before the last layer": expected("norm-final-early"),
    "head reads before the final norm": expected("norm-final-missing"),
    "head scaled": expected("logits-scale", factor=hidden_size(0.5)),
    "head off by one row": expected("logits-weights", "embed-row-offset"),
    "tied head where it is untied": expected("logits-weights"),
    "no bias in the classifier": NO_BIAS,
    "cached keys one row late": expected("cache-offset", "cache-order"),
    "a stale row among the cached keys": expected("cache-overwritten"),
    "a cached value overwritten": expected("cache-overwritten"),
    "rows of the batch mixed in the cache": expected("cache-batch"),
    "loss without the shift": expected("label-shift"),
    "loss counts -100": expected("loss-ignore-index", "loss-reduction"),
    "loss summed": expected("loss-reduction"),
    "loss of tokens counts pads": expected("loss-over-padding"),
    "loss of tokens shifted": expected("label-shift"),
    "loss of classes by squares": expected("loss-other"),
    "sigmoid missing from several labels": expected("loss-other"),
    "several labels by a softmax": expected("loss-other"),
    "class read at the first token": expected("pooling-index"),
    "class read at the last token": expected("pooling-index"),
    "class read at the number of tokens - 1": expected("pooling-index"),
    # tests/reference/more_mistakes.py
    "norm over the positions": expected("norm-axis"),
    "the first norm's weights in both norms": expected("norm-weights"),
    "the first norm's bias in both norms": expected("norm-bias-other"),
    "the first norm's gain in both norms": expected("norm-gain-other"),
    "1 added to each norm's gain": expected("norm-gain-other", added=1),
    "norms add their bias twice": expected("norm-bias-other", factor=2),
    "bias of fc2 added twice": expected("bias-other", factor=2),
    "v_proj's bias in out_proj": expected("bias-other"),
    **{f"GELU with erf by {formula}": expected("gelu-erf") for formula in ("7.1.25", "7.1.26")},
    "bias added after the activation": expected("bias-after-activation"),
    "embeddings scaled twice": expected("embed-scale", factor=hidden_size(1)),
    "embeddings scaled by 32": expected("embed-scale", factor=32),
    "embedding of the pad is 0": expected("embed-pad-row"),
    "position table cut at N rows": expected("positions-clipped", largest=lambda c: c.max_position_embeddings - 3),
    "positions of the mask though some are given": expected("position-ids-ignored"),
    "positions and mask made from the ids": expected("mask-from-ids"),
    "rotary positions too": expected("positional-other"),
    "ALiBi too": expected("positional-other"),
    "sinusoidal positions": expected("positional-other"),
    "window of 3": expected("window", width=3),
    "the first row's padding for all": expected("padding-mask-batch"),
    "mask after the softmax": expected("mask-after-softmax"),
    "mask adds -30": expected("mask-finite", constant=-30),
    # Where it only makes rows that see nothing NaN, it is the same as a mask of -inf.
    "softmax without taking the largest away": expected("softmax-no-max", "mask-infinite"),
    "head mask of the first layer for all": expected("head-mask-wrong"),
    "head mask taken as 0 or 1": expected("head-mask-wrong"),
    "head mask cut to 0 to 1": expected("head-mask-wrong"),
    "keys and values of the first head for all": expected("heads-shared"),
    "fused projections read head by head": expected("qkv-layout"),
    **{f"memory of {part} read transposed": TRANSPOSED for part in ("fc1", "fc2")},
    "layer 1's fc1 in layer 0": expected("layer-weights"),
    "layer 1's norms in layer 0": expected("layer-weights", "norm-weights"),
    "logits scaled down by sqrt(D)": expected("logits-scale", factor=hidden_size(-0.5)),
    "cached values of layer 1 in layer 0": expected("cache-layer"),
    "new keys before the cached ones": expected("cache-order"),
    "dropout active": expected("dropout-active"),
    "dropout of attention active": expected("dropout-active"),
    # float16 and tf32 have the same number of bits: only numbers too large or too small for float16 differ.
    "products of float16 numbers": expected("precision-float16", "precision-tf32"),
    "products of bfloat16 numbers": expected("precision-bfloat16"),
    "products of tf32 numbers": expected("precision-tf32", "precision-float16"),
    **{f"every result rounded to {name}": expected(f"precision-{name}") for name in ("float16", "bfloat16")},
    "exp from a float16 table": expected("table-float16"),
    "GELU from ggml's float16 table": expected("table-float16", "gelu-tanh"),
    "weights in int8 by row": expected("weights-int8"),
    "weights in int4 by row": expected("weights-int4"),
    "weights in int4 by blocks of 7": expected("weights-int4", block=7),
    "another id": expected("inputs-differ"),
    "another checkpoint of the same training": expected("checkpoint-differs"),
}
