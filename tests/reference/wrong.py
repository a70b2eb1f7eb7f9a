"""The wrong computations: norms, masks, softmaxes, layers and losses as mistaken ports write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn import LayerNorm

from tests.reference.planting import Plant, attribute, base, forward, layers, modules, named, removing
from tools.dump_torch import replaced

NORMS = modules(LayerNorm)
ATTENTIONS = layers("self_attn", every=True)
HEADS = named("output_projection", "score", "classifier")
KINDS = ("self_attn_layer_norm", "final_layer_norm", "layer_norm")


def norms(kind: str) -> Any:
    """Find the norms of one kind; "layer_norm" is the model's final norm only."""
    return named("layer_norm") if kind == "layer_norm" else layers(kind, every=True)


def norm_with(deviation: Callable[[Any, float], Any], centre: bool = True) -> Plant:
    def new(norm: Any, original: Any, x: Any) -> Any:
        centred = x - x.mean(-1, keepdim=True) if centre else x
        return centred / deviation(centred, norm.eps) * norm.weight + norm.bias

    return forward(NORMS, new)


def activation(function: Callable[[Any], Any]) -> Plant:
    return forward(layers("activation_fn", every=True), lambda module, original, x: function(x))


def scale(power: Callable[[Any], float]) -> Plant:
    return attribute(ATTENTIONS, "scaling", power)


def lowest(x: Any) -> float:
    return float(torch.finfo(x.dtype).min)


def sees_the_future(hidden: Any, real: Any) -> Any:
    return torch.cat([hidden[..., 1:, :], hidden[..., -1:, :]], dim=-2)


def hides_itself(hidden: Any, real: Any) -> Any:
    T, S = hidden.shape[-2:]
    return hidden.masked_fill(torch.eye(S, dtype=torch.bool)[S - T :], lowest(hidden))


def without_offset(hidden: Any, real: Any) -> Any:
    T, S = hidden.shape[-2:]
    return hidden.masked_fill(torch.ones(T, S).triu(1).bool(), lowest(hidden))


def only_padding(hidden: Any, real: Any) -> Any:
    return torch.zeros_like(hidden).masked_fill(real[:, None, None, :] == 0, lowest(hidden))


def only_causal(hidden: Any, real: Any) -> Any:
    T, S = hidden.shape[-2:]
    return torch.zeros_like(hidden).masked_fill(torch.ones(T, S).triu(S - T + 1).bool(), lowest(hidden))


def padded_queries(hidden: Any, real: Any) -> Any:
    blind = real[:, None, -hidden.shape[-2] :, None] == 0
    return only_causal(hidden, real).masked_fill(blind, lowest(hidden))


def inverted_padding(hidden: Any, real: Any) -> Any:
    return only_causal(hidden, real).masked_fill(real[:, None, None, :] != 0, lowest(hidden))


def low_precision(masked: Any) -> Any:
    finite = masked.clamp(min=torch.finfo(torch.bfloat16).min)
    return F.softmax(finite.bfloat16(), dim=-1).to(masked.dtype)


def blind_rows_zero(masked: Any) -> Any:
    return F.softmax(masked, dim=-1).masked_fill((masked <= lowest(masked)).all(-1, keepdim=True), 0)


def counted(position_ids: Any, real: Any) -> Any:
    return torch.arange(real.shape[1])[-position_ids.shape[1] :].expand_as(position_ids)


def from_zero(position_ids: Any, real: Any) -> Any:
    B, T = position_ids.shape
    return position_ids if real.shape[1] == T else torch.arange(T).expand(B, T)


def one_number_a_layer(probs: Any, heads: Any, module: Any) -> Any:
    return probs if heads is None else probs * heads[module.layer_idx % len(heads)]


def renormalised(probs: Any, heads: Any, module: Any) -> Any:
    if heads is None:
        return probs
    weights = probs * heads.view(1, -1, 1, 1)
    return weights / weights.sum(-1, keepdim=True)


def interleaved(x: Any) -> Any:
    """Return (B, H, S, Dh), split from the columns as if they were in the order (Dh, H)."""
    B, H, S, Dh = x.shape
    return x.transpose(1, 2).reshape(B, S, Dh, H).permute(0, 3, 1, 2)


def post_norm(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(x)
    x = layer.self_attn_layer_norm(x + h)
    return layer.final_layer_norm(x + feed(x)), weights


def swapped_norms(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(layer.final_layer_norm(x))
    x = x + h
    return x + feed(layer.self_attn_layer_norm(x)), weights


def no_attention_residual(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(layer.self_attn_layer_norm(x))
    return h + feed(layer.final_layer_norm(h)), weights


def no_feed_forward_residual(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(layer.self_attn_layer_norm(x))
    return feed(layer.final_layer_norm(x + h)), weights


def residual_behind_the_norm(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    x = layer.self_attn_layer_norm(x)
    h, weights = attend(x)
    return x + h + feed(layer.final_layer_norm(x + h)), weights


def parallel(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
    h, weights = attend(layer.self_attn_layer_norm(x))
    return x + h + feed(layer.final_layer_norm(x)), weights


def layers_of(order: Callable[[list[Any]], list[Any]]) -> Plant:
    return attribute(lambda model: [base(model)], "layers", lambda b: torch.nn.ModuleList(order(list(b.layers))))


def all_the_first(all_layers: list[Any]) -> list[Any]:
    copies = [all_layers[0], *(deepcopy(all_layers[0]) for _ in all_layers[1:])]
    for i, layer in enumerate(copies):
        layer.self_attn.layer_idx = i
    return copies


def last(model: Any) -> Any:
    return base(model).layers[-1:]


def unused(layer: Any, original: Any, x: Any, **rest: Any) -> Any:
    return (x, *original(x, **rest)[1:])


def exchanged(one: str, other: str) -> Plant:
    @contextmanager
    def plant(model: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for module in ATTENTIONS(model):
                pair = getattr(module, other), getattr(module, one)
                for name, projection in zip((one, other), pair, strict=True):
                    stack.enter_context(replaced(module, name, projection))
            yield

    return plant


def tied(model: Any) -> Any:
    return replaced(model.output_projection, "weight", base(model).embed_tokens.weight)


def stale_row(cached: Any) -> Any:
    """Overwrite the last cached row with the one before it."""
    cached[:, :, -1] = cached[:, :, -2] if cached.shape[2] > 1 else 0
    return cached


def head_reads_before_the_norm(model: Any) -> Any:
    kept: list[Any] = []
    keep = base(model).layer_norm.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    return removing(keep, *(head.register_forward_pre_hook(lambda _, args: (kept.pop(),)) for head in HEADS(model)))


@contextmanager
def norm_before_the_last_layer(model: Any) -> Iterator[None]:
    norm = base(model).layer_norm
    early = forward(last, lambda layer, original, x, **rest: original(norm(x), **rest))
    with early(model), attribute(lambda model: [base(model)], "layer_norm", lambda _: torch.nn.Identity())(model):
        yield


def scaled_embeds(kwargs: dict[str, Any]) -> None:
    if (embeds := kwargs.get("inputs_embeds")) is not None:
        kwargs["inputs_embeds"] = embeds * math.sqrt(embeds.shape[-1])


def cross_entropy(logits: Any, labels: Any, **options: Any) -> Any:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), **options)


def shifted(logits: Any, labels: Any, **options: Any) -> Any:
    return cross_entropy(logits[:, :-1], labels[:, 1:], **options)


def ignored_counted(logits: Any, labels: Any) -> Any:
    return shifted(logits, labels, reduction="sum") / labels[:, 1:].numel()


def squared(logits: Any, labels: Any) -> Any:
    if labels.is_floating_point():
        return None
    return F.mse_loss(logits, F.one_hot(labels.reshape(-1).clamp(0), logits.shape[-1]).to(logits.dtype))


def multi_label(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Apply a loss only to multi-label classification: float labels in the shape of several logits."""

    def new(logits: Any, labels: Any) -> Any:
        is_multi_label = labels.is_floating_point() and labels.shape == logits.shape and logits.shape[-1] > 1
        return loss(logits, labels) if is_multi_label else None

    return new


def untied(model: Any) -> bool:
    return hasattr(model, "output_projection") and not model.config.tie_word_embeddings
