"""Correct variations of the computation: other orders of sums, other forms of a formula, planted like mistakes.

The check must not report any of them as a difference. They represent correct ports: fused or split products, streamed
attention, erf computed by another function, wider accumulators, a library's other kernels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from tests.reference.planting import Plant, attention, attribute, forward, layers, modules, named
from tools.dump_torch import replaced

Product = Callable[[Any, Any], Any]  # (x (..., in), W (out, in)) -> x W^T
LINEARS = modules(torch.nn.Linear)
NORMS = modules(torch.nn.LayerNorm)


def order(size: int, seed: int) -> Any:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def linear(product: Product) -> Plant:
    """Compute every Linear with another product; the bias is added last."""

    def new(module: Any, original: Any, x: Any) -> Any:
        y = product(x, module.weight)
        return y if module.bias is None else y + module.bias

    return forward(LINEARS, new)


def permuted(seed: int) -> Product:
    def product(x: Any, w: Any) -> Any:
        p = order(w.shape[1], seed)
        return x[..., p] @ w[:, p].T

    return product


def other_rows(seed: int) -> Product:
    """Permute the rows of the weight (in the head, the vocabulary), and permute the result back."""

    def product(x: Any, w: Any) -> Any:
        p = order(len(w), seed)
        return (x @ w[p].T)[..., torch.argsort(p)]

    return product


def in_parts(parts: int) -> Product:
    def product(x: Any, w: Any) -> Any:
        pairs = zip(x.tensor_split(parts, -1), w.tensor_split(parts, -1), strict=True)
        return torch.stack([a @ b.T for a, b in pairs]).sum(0)

    return product


def in_output_parts(x: Any, w: Any) -> Any:
    return torch.cat([x @ part.T for part in w.tensor_split(3)], dim=-1)


def token_by_token(x: Any, w: Any) -> Any:
    rows = [w @ row for row in x.reshape(-1, x.shape[-1])]
    return torch.stack(rows).reshape(*x.shape[:-1], len(w))


def in_float64(x: Any, w: Any) -> Any:
    return (x.double() @ w.double().T).to(x.dtype)


def transposed(x: Any, w: Any) -> Any:
    return (w @ x.transpose(-1, -2)).transpose(-1, -2)


def element_by_element(x: Any, w: Any) -> Any:
    """Multiply element by element, then sum, without a matrix product kernel."""
    return torch.stack([(x * row).sum(-1) for row in w], dim=-1)


@contextmanager
def fused_projections(model: Any) -> Iterator[None]:
    """Compute q, k and v with one product."""
    with ExitStack() as stack:
        for attention in layers("self_attn", every=True)(model):
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            w, b = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
            for i, part in enumerate(parts):

                def third(_: Any, __: Any, x: Any, i: int = i, w: Any = w, b: Any = b) -> Any:
                    return F.linear(x, w, b).tensor_split(3, dim=-1)[i]

                stack.enter_context(forward(lambda _, part=part: [part], third)(model))
        yield


def norm(formula: Callable[[Any, float], Any]) -> Plant:
    return forward(NORMS, lambda module, original, x: formula(x, module.eps) * module.weight + module.bias)


def _two_passes(x: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)


def _wide_squares(x: Any, eps: float) -> Any:
    wide = x.double()
    mean = wide.mean(-1, keepdim=True)
    variance = wide.square().mean(-1, keepdim=True) - mean.square() if x.dtype != torch.float64 else wide.var(
        -1, correction=0, keepdim=True)  # fmt: skip
    return ((wide - mean) / (variance + eps).sqrt()).to(x.dtype)


def _other_order(x: Any, eps: float) -> Any:
    p = order(x.shape[-1], 3)
    return _two_passes(x[..., p], eps)[..., torch.argsort(p)]


def activation(function: Callable[[Any], Any]) -> Plant:
    """Replace the activation, only in models that use the exact GELU."""
    plant = forward(layers("activation_fn", every=True), lambda module, original, x: function(x))
    return lambda model: plant(model) if model.config.hidden_act == "gelu" else ExitStack()


def _score_in_order(q: Any, k: Any, scaling: float) -> Any:
    p = order(q.shape[-1], 1)
    return q[..., p] @ k[..., p].transpose(2, 3) * scaling


def keys_permuted(seed: int) -> Plant:
    def normalise(masked: Any) -> Any:
        p = order(masked.shape[-1], seed)
        return F.softmax(masked[..., p], dim=-1)[..., torch.argsort(p)]

    def mix(weights: Any, v: Any) -> Any:
        p = order(v.shape[-2], seed)
        return weights[..., p] @ v[..., p, :]

    return attention(normalise=normalise, mix=mix)


def streamed(block: int) -> Plant:
    """Process keys in blocks, with a running maximum, a running total and a running weighted sum."""

    def normalise(masked: Any) -> Any:
        largest, total = masked[..., :1], torch.zeros_like(masked[..., :1])
        for part in masked.split(block, dim=-1):
            new = torch.maximum(largest, part.amax(-1, keepdim=True))
            total = total * (largest - new).exp() + (part - new).exp().sum(-1, keepdim=True)
            largest = new
        return (masked - largest).exp() / total

    def mix(weights: Any, v: Any) -> Any:
        return sum(a @ b for a, b in zip(weights.split(block, -1), v.split(block, -2), strict=True))

    return attention(normalise=normalise, mix=mix)


def _without_maximum(masked: Any) -> Any:
    safe = masked.amax(-1, keepdim=True)
    e = torch.where(safe.abs() < 30, masked, masked - safe).exp()
    return e / e.sum(-1, keepdim=True)


def _wide_softmax(masked: Any) -> Any:
    return F.softmax(masked.clamp(min=torch.finfo(masked.dtype).min).double(), dim=-1).to(masked.dtype)


def _filled(scores: Any, mask: Any, heads: Any) -> Any:
    """Fill hidden scores with -inf, and with the lowest finite number in rows in which all keys are hidden."""
    hidden = (mask != 0).expand_as(scores)
    blind = hidden.all(-1, keepdim=True)
    return scores.masked_fill(hidden & ~blind, -math.inf).masked_fill(blind, torch.finfo(scores.dtype).min)


def _head_by_head(q: Any, k: Any, scaling: float) -> Any:
    return torch.stack([q[:, h] @ k[:, h].transpose(1, 2) * scaling for h in range(q.shape[1])], dim=1)


def _one_hot(module: Any, original: Any, ids: Any) -> Any:
    return F.one_hot(ids, len(module.weight)).to(module.weight.dtype) @ (module.weight * module.embed_scale)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_it_is(model: Any) -> Any:
    return ExitStack()


LINEAR: dict[str, Plant] = {
    "transformers' own products": as_it_is,
    **{f"inner sums permuted, seed {seed}": linear(permuted(seed)) for seed in range(4)},
    **{f"rows of weights permuted, seed {seed}": linear(other_rows(seed)) for seed in range(2)},
    **{f"products in {parts} parts": linear(in_parts(parts)) for parts in (2, 3, 5)},
    "products in parts of the output": linear(in_output_parts),
    "token by token": linear(token_by_token),
    "sums in float64": linear(in_float64),
    "products transposed": linear(transposed),
    "element by element": linear(element_by_element),
    "bias apart": linear(lambda x, w: x @ w.T),
    "by einsum": linear(lambda x, w: torch.einsum("bti,oi->bto", x, w)),
    "fused qkv": fused_projections,
}
ATTENTION: dict[str, Plant] = {
    "transformers' own attention": as_it_is,
    **{f"keys permuted, seed {seed}": keys_permuted(seed) for seed in range(4)},
    **{f"streamed in blocks of {block}": streamed(block) for block in (1, 2, 3)},
    "q scaled": attention(score=lambda q, k, scaling: (q * scaling) @ k.transpose(2, 3)),
    "q and k scaled": attention(score=lambda q, k, s: (q * s**0.5) @ (k * s**0.5).transpose(2, 3)),
    "scores divided": attention(score=lambda q, k, scaling: q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])),
    "sums over Dh permuted": attention(score=_score_in_order),
    "head by head": attention(score=_head_by_head),
    "by einsum": attention(score=lambda q, k, s: torch.einsum("bhtd,bhsd->bhts", q, k) * s,
                           mix=lambda w, v: torch.einsum("bhts,bhsd->bhtd", w, v)),
    "softmax without its maximum": attention(normalise=_without_maximum),
    "softmax by logarithms": attention(normalise=lambda x: F.log_softmax(x, dim=-1).exp()),
    "softmax in float64": attention(normalise=_wide_softmax),
    "masked with -inf": attention(hide=_filled),
}  # fmt: skip
ACTIVATION: dict[str, Plant] = {
    "transformers' own GELU": as_it_is,
    "GELU by erf": activation(lambda x: x / 2 * (1 + torch.erf(x / math.sqrt(2)))),
    "GELU by erfc": activation(lambda x: x / 2 * torch.erfc(-x / math.sqrt(2))),
    "GELU by the normal distribution": activation(lambda x: x * torch.special.ndtr(x)),
    "GELU in float64": activation(lambda x: F.gelu(x.double()).to(x.dtype)),
}
NORM: dict[str, Plant] = {
    "transformers' own norm": as_it_is,
    "norm in two passes": norm(_two_passes),
    "norm from wide squares": norm(_wide_squares),
    "norm in another order": norm(_other_order),
}
EMBEDDING: dict[str, Plant] = {
    "transformers' own embedding": as_it_is,
    "embedding by one-hot rows": forward(named("embed_tokens"), _one_hot),
    "embedding scaled beforehand": attribute(
        named("embed_tokens"), "forward", lambda table: lambda ids: F.embedding(ids, table.weight * table.embed_scale)
    ),
}
LIBRARY: dict[str, Plant] = {
    "one thread": lambda model: threads(1),
    "two threads": lambda model: threads(2),
    "without oneDNN": lambda model: replaced(torch.backends.mkldnn, "enabled", False),
}
GROUPS = (LINEAR, ATTENTION, ACTIVATION, NORM, EMBEDDING, LIBRARY)


def combined(plants: list[Plant]) -> Plant:
    @contextmanager
    def plant(model: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for inner in plants:
                stack.enter_context(inner(model))
            yield

    return plant


def variations(mixtures: int) -> dict[str, Plant]:
    """Return every variation by itself, and ``mixtures`` random combinations of one from each group."""
    alone = {name: plant for group in GROUPS for name, plant in group.items() if plant is not as_it_is}
    rng, mixed = random.Random(0), {}
    for n in range(mixtures):
        chosen = [rng.choice(list(group.items())) for group in GROUPS]
        mixed[f"mixture {n}: {', '.join(name for name, _ in chosen)}"] = combined([plant for _, plant in chosen])
    return {"as it is": as_it_is, **alone, **mixed}
