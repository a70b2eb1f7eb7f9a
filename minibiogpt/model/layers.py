"""The modules of BioGPT that hold weights, and the order of operations in a decoder layer.

Weights keep the names and shapes of the checkpoint: ``layer.self_attn.q_proj.weight`` is (out, in), as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, Backend
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.config import LAYER_NORM_EPS, POSITION_OFFSET, BioGptConfig
from minibiogpt.model.attention import AttentionMask, attend_blocked, attend_eager, merge_heads, split_heads
from minibiogpt.model.cache import KVCache, StaticCache
from minibiogpt.model.ops import ACTIVATION_FUNCTIONS, embedding, layer_norm, linear
from minibiogpt.trace import Tap

Weights = dict[str, Array]


def weights_under(weights: Weights, path: str) -> Weights:
    """Return the weights whose names start with ``path.``, with that prefix removed."""
    return {name[len(path) + 1 :]: x for name, x in weights.items() if name.startswith(f"{path}.")}


def named_parameters(module: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    """Yield (checkpoint name, array) of every weight and bias of a module and its submodules."""
    for name, value in vars(module).items():
        full_name = f"{path}.{name}" if path else name
        if name in ("weight", "bias"):
            if value is not None:
                yield full_name, value
        elif isinstance(value, list):
            for i, submodule in enumerate(value):
                yield from named_parameters(submodule, f"{full_name}.{i}")
        elif type(value) in MODULE_TYPES:
            yield from named_parameters(value, full_name)


def unpacked(x: Array | PackedWeight, backend: Backend) -> Array:
    """Return a quantized weight as an array of its values, in its ``dtype``; an array is returned unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> from minibiogpt.backend import get_backend
    >>> from minibiogpt.quantization import Quantization
    >>> weight = Quantization("int8").pack(np.array([[12.7, -3.04]], np.float32), "float64")
    >>> unpacked(weight, get_backend("numpy")).round(3).tolist()
    [[12.7, -3.0]]
    """
    return backend.unpack(x) if isinstance(x, PackedWeight) else x


@dataclass
class Linear:
    """y = x W^T + b; weight (out, in), bias (out,) or None."""

    weight: Array
    bias: Array | None = None

    def __call__(self, x: Array) -> Array:
        return linear(x, self.weight, self.bias)


@dataclass
class LayerNorm:
    """``ops.layer_norm`` with eps = 1e-5, whatever config.json says; weight and bias (D,)."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return layer_norm(x, self.weight, self.bias, LAYER_NORM_EPS)


@dataclass
class ScaledEmbedding:
    """E[ids] * scale, where scale is sqrt(D); weight (V, D). The LM head uses the same matrix unscaled."""

    weight: Array
    scale: float

    def __call__(self, ids: Array) -> Array:
        x = embedding(ids, self.weight)
        return (x * self.scale).astype(x.dtype, copy=False)


@dataclass
class LearnedPositions:
    """P[position + 2]; weight (N + 2, D). Row 1 (position -1) is for pads, row 0 is unused."""

    weight: Array

    def __call__(self, position_ids: Array) -> Array:
        return embedding(position_ids + POSITION_OFFSET, self.weight)


@dataclass
class ForwardContext:
    """What every layer of one forward pass needs besides x."""

    mask: AttentionMask
    cache: KVCache | StaticCache | None  # already extended by T; None without a cache
    blocked: bool  # blocked attention instead of eager


class SelfAttention:
    """Multi-head attention: project to q, k and v, split into heads, attend, merge, project."""

    def __init__(self, config: BioGptConfig, weights: Weights) -> None:
        self.heads = config.num_attention_heads
        self.k_proj = Linear(**weights_under(weights, "k_proj"))
        self.v_proj = Linear(**weights_under(weights, "v_proj"))
        self.q_proj = Linear(**weights_under(weights, "q_proj"))
        self.out_proj = Linear(**weights_under(weights, "out_proj"))

    def __call__(
        self, x: Array, layer: int, context: ForwardContext, head_mask: Array | None, tap: Tap
    ) -> tuple[Array, Array | None]:
        """Return the output (B, T, D) and the attention weights (B, H, T, S); None for them in blocked attention."""
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
            heads = attend_blocked(q, k, v, context.mask, head_mask)  # (B, H, T, Dh)
        else:
            heads, weights = attend_eager(q, k, v, context.mask, head_mask, tap)
        x = tap("context", merge_heads(heads))  # (B, T, D)
        return tap("out_proj", self.out_proj(x)), weights


class DecoderLayer:
    """Pre-norm: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: BioGptConfig, weights: Weights) -> None:
        self.self_attn = SelfAttention(config, weights_under(weights, "self_attn"))
        self.activation_fn = ACTIVATION_FUNCTIONS[config.hidden_act]
        self.self_attn_layer_norm = LayerNorm(**weights_under(weights, "self_attn_layer_norm"))
        self.fc1 = Linear(**weights_under(weights, "fc1"))
        self.fc2 = Linear(**weights_under(weights, "fc2"))
        self.final_layer_norm = LayerNorm(**weights_under(weights, "final_layer_norm"))  # before the feed-forward

    def __call__(
        self, x: Array, layer: int, context: ForwardContext, head_mask: Array | None, tap: Tap
    ) -> tuple[Array, Array | None]:
        """Return the new x, (B, T, D), and the attention weights as self-attention returns them."""
        h = tap("self_attn_layer_norm", self.self_attn_layer_norm(x))  # (B, T, D)
        h, weights = self.self_attn(h, layer, context, head_mask, tap.under("self_attn"))
        x = tap("attn_residual", x + h)  # (B, T, D)
        h = tap("final_layer_norm", self.final_layer_norm(x))  # (B, T, D)
        h = tap("fc1", self.fc1(h))  # (B, T, F)
        h = tap("activation_fn", self.activation_fn(h))  # (B, T, F)
        h = tap("fc2", self.fc2(h))  # (B, T, D)
        return tap("", x + h), weights


MODULE_TYPES = (Linear, LayerNorm, ScaledEmbedding, LearnedPositions, SelfAttention, DecoderLayer)
