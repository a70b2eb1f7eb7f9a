"""The parts of BioGPT that hold weights, and the order of the steps within them.

Weights keep the checkpoint's names and shapes: ``layer.self_attn.q_proj.weight`` is (out, in), as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array
from minibiogpt.config import LAYER_NORM_EPS, POSITION_OFFSET, BioGptConfig
from minibiogpt.model.attention import AttentionMask, attend_blocked, attend_eager, merge_heads, split_heads
from minibiogpt.model.cache import KVCache, PlacedCache
from minibiogpt.model.ops import ACTIVATION_FUNCTIONS, embedding, layer_norm, linear
from minibiogpt.trace import Tap

Weights = dict[str, Array]


def below(weights: Weights, path: str) -> Weights:
    """The weights whose names start with ``path.``, without it."""
    return {name[len(path) + 1 :]: x for name, x in weights.items() if name.startswith(f"{path}.")}


def named_parameters(module: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    """Every weight and bias in a module and the modules within it, by its checkpoint name."""
    for name, part in vars(module).items():
        full = f"{path}.{name}" if path else name
        if name in ("weight", "bias"):
            if part is not None:
                yield full, part
        elif isinstance(part, list):
            for i, one in enumerate(part):
                yield from named_parameters(one, f"{full}.{i}")
        elif type(part) in _PARTS:
            yield from named_parameters(part, full)


@dataclass
class Linear:
    """y = x W^T + b; weight (out, in), bias (out,) or None."""

    weight: Array
    bias: Array | None = None

    def __call__(self, x: Array) -> Array:
        return linear(x, self.weight, self.bias)


@dataclass
class LayerNorm:
    """LN(x) g + b with eps 1e-5 whatever the config says; weight and bias (D,)."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return layer_norm(x, self.weight, self.bias, LAYER_NORM_EPS)


@dataclass
class ScaledEmbedding:
    """E[ids] * scale, the scale sqrt(D); weight (V, D). The LM head uses the same matrix unscaled."""

    weight: Array
    scale: float

    def __call__(self, ids: Array) -> Array:
        x = embedding(ids, self.weight)
        return (x * self.scale).astype(x.dtype, copy=False)


@dataclass
class LearnedPositions:
    """P[position + 2]; weight (N + 2, D). Row 1, position -1, belongs to pads; row 0 to nobody."""

    weight: Array

    def __call__(self, position_ids: Array) -> Array:
        return embedding(position_ids + POSITION_OFFSET, self.weight)


@dataclass
class ForwardContext:
    """What every layer of one forward pass is told besides x."""

    mask: AttentionMask
    cache: KVCache | PlacedCache | None  # already extended by T; None when nothing is kept
    blocked: bool


class SelfAttention:
    """Project, split into heads, attend, merge, project."""

    def __init__(self, config: BioGptConfig, weights: Weights) -> None:
        self.heads = config.num_attention_heads
        self.k_proj = Linear(**below(weights, "k_proj"))
        self.v_proj = Linear(**below(weights, "v_proj"))
        self.q_proj = Linear(**below(weights, "q_proj"))
        self.out_proj = Linear(**below(weights, "out_proj"))

    def __call__(
        self, x: Array, layer: int, context: ForwardContext, head_mask: Array | None, tap: Tap
    ) -> tuple[Array, Array | None]:
        """x (B, T, D) to (B, T, D), and the attention weights (B, H, T, S), or None from the blocked form."""
        q = tap("q_proj", self.q_proj(x))  # (B, T, D)
        k = tap("k_proj", self.k_proj(x))  # (B, T, D)
        v = tap("v_proj", self.v_proj(x))  # (B, T, D)
        q = tap("q", split_heads(q, self.heads))  # (B, H, T, Dh)
        k = split_heads(k, self.heads)  # (B, H, T, Dh)
        v = split_heads(v, self.heads)  # (B, H, T, Dh)
        if context.cache is not None:
            k, v = context.cache.write(layer, k, v)
        k = tap("k", k)  # (B, H, S, Dh)
        v = tap("v", v)  # (B, H, S, Dh)
        weights = None
        if context.blocked:
            mixed = attend_blocked(q, k, v, context.mask, head_mask)  # (B, H, T, Dh)
        else:
            mixed, weights = attend_eager(q, k, v, context.mask, head_mask, tap)
        x = tap("context", merge_heads(mixed))  # (B, T, D)
        return tap("out_proj", self.out_proj(x)), weights


class DecoderLayer:
    """Pre-norm: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: BioGptConfig, weights: Weights) -> None:
        self.self_attn = SelfAttention(config, below(weights, "self_attn"))
        self.activation_fn = ACTIVATION_FUNCTIONS[config.hidden_act]
        self.self_attn_layer_norm = LayerNorm(**below(weights, "self_attn_layer_norm"))
        self.fc1 = Linear(**below(weights, "fc1"))
        self.fc2 = Linear(**below(weights, "fc2"))
        self.final_layer_norm = LayerNorm(**below(weights, "final_layer_norm"))  # before the feed-forward

    def __call__(
        self, x: Array, layer: int, context: ForwardContext, head_mask: Array | None, tap: Tap
    ) -> tuple[Array, Array | None]:
        """x (B, T, D) to (B, T, D), and the attention weights as self-attention returns them."""
        h = tap("self_attn_layer_norm", self.self_attn_layer_norm(x))  # (B, T, D)
        h, weights = self.self_attn(h, layer, context, head_mask, tap.under("self_attn"))
        x = tap("attn_residual", x + h)  # (B, T, D)
        h = tap("final_layer_norm", self.final_layer_norm(x))  # (B, T, D)
        h = tap("fc1", self.fc1(h))  # (B, T, F)
        h = tap("activation_fn", self.activation_fn(h))  # (B, T, F)
        h = tap("fc2", self.fc2(h))  # (B, T, D)
        return tap("", x + h), weights


_PARTS = (Linear, LayerNorm, ScaledEmbedding, LearnedPositions, SelfAttention, DecoderLayer)
