"""More wrong computations: other position codes, masks, fused layouts, dropout, and numbers of lower precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from tests.reference.planting import Plant, attention, attribute, base, forward, layers, parameter
from tests.reference.variations import LINEARS, combined, linear
from tests.reference.wrong import ATTENTIONS, lowest
from tools.dump_torch import replaced

PAD = 1


def over_the_positions(norm: Any, original: Any, x: Any) -> Any:
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def shared(pairs: Callable[[Any], list[tuple[Any, Any]]], names: tuple[str, ...] = ("weight", "bias")) -> Plant:
    """Give the first module of each pair the parameters of the second."""

    @contextmanager
    def plant(model: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for one, other in pairs(model):
                for name in names:
                    stack.enter_context(replaced(one, name, getattr(other, name)))
            yield

    return plant


def both_norms(model: Any) -> list[tuple[Any, Any]]:
    return [(layer.final_layer_norm, layer.self_attn_layer_norm) for layer in base(model).layers]


def output_and_values(model: Any) -> list[tuple[Any, Any]]:
    return [(layer.self_attn.out_proj, layer.self_attn.v_proj) for layer in base(model).layers]


def gelu_25(x: Any) -> Any:
    """Return GELU with erf by formula 7.1.25 of Abramowitz and Stegun."""
    z = abs(x) * 0.5**0.5
    t = 1 / (1 + 0.47047 * z)
    erf = 1 - (0.3480242 * t - 0.0958798 * t**2 + 0.7478556 * t**3) * torch.exp(-(z**2))
    return x * (1 + torch.sign(x) * erf) / 2


def gelu_26(x: Any) -> Any:
    """Return GELU with erf by formula 7.1.26 of Abramowitz and Stegun."""
    z = abs(x) * 0.5**0.5
    t = 1 / (1 + 0.3275911 * z)
    numbers = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    erf = 1 - sum(a * t ** (i + 1) for i, a in enumerate(numbers)) * torch.exp(-(z**2))
    return x * (1 + torch.sign(x) * erf) / 2


def of_layer_1(*parts: str) -> Plant:
    def pairs(model: Any) -> list[tuple[Any, Any]]:
        first, second = base(model).layers[:2]
        return [(first.get_submodule(part), second.get_submodule(part)) for part in parts]

    return shared(pairs)


def bias_after_activation(model: Any) -> ExitStack:
    """Leave the bias out of fc1, and add it to the activation's result."""

    def added_to(bias: Any) -> Callable[..., Any]:
        return lambda module, original, x: original(x) + bias

    stack = ExitStack()
    for layer in base(model).layers:
        stack.enter_context(forward(lambda _, part=layer.activation_fn: [part], added_to(layer.fc1.bias))(model))
    stack.enter_context(parameter(layers("fc1", every=True), "bias", torch.zeros_like)(model))
    return stack


def without_row(table: Any) -> Any:
    table = table.clone()
    table[PAD] = 0
    return table


def cut(table: Any) -> Any:
    """Return the position table with N rows, the last of them taken for those beyond it."""
    N = len(table) - 2
    return table[torch.arange(len(table)).clamp(max=N - 1)]


def from_mask(position_ids: Any, real: Any) -> Any:
    return (real.cumsum(1) * real - 1).long()[:, -position_ids.shape[1] :]


def mask_of_ids(kwargs: dict[str, Any]) -> None:
    """Derive the new columns of the attention mask from the ids."""
    if (ids := kwargs.get("input_ids")) is None:
        return
    mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
    past = cache.get_seq_length() if cache is not None else 0
    before = torch.ones(len(ids), past, dtype=torch.int64) if mask is None else mask[:, :past]
    kwargs["attention_mask"] = torch.cat([before, (ids != PAD).long()], dim=1)


def other_id(kwargs: dict[str, Any]) -> None:
    if (ids := kwargs.get("input_ids")) is not None:
        ids = ids.clone()
        ids[0, 0] += 1 if ids[0, 0] < 5 else -1
        kwargs["input_ids"] = ids


def values_of_layer_1(kwargs: dict[str, Any]) -> None:
    """Give layer 0 the cached values of layer 1."""
    cache = kwargs.get("past_key_values")
    if cache is not None and cache.get_seq_length():
        cache.layers[0].values = cache.layers[1].values.clone()


def heads_changed(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    """Change the head mask (L, H) of a call."""

    def new(kwargs: dict[str, Any]) -> None:
        if kwargs.get("head_mask") is not None:
            kwargs["head_mask"] = change(kwargs["head_mask"])

    return new


def rotated(x: Any, start: int) -> Any:
    """Rotate pairs of columns (i, i + half) by angles that grow with the position; an odd last column stays."""
    half = x.shape[-1] // 2
    at = torch.arange(start, start + x.shape[2], dtype=x.dtype)
    angles = at[:, None] * 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    a, b = x[..., :half], x[..., half : 2 * half]
    turned = [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()]
    return torch.cat([*turned, x[..., 2 * half :]], dim=-1)


def rotary(q: Any, k: Any, v: Any) -> Any:
    return rotated(q, k.shape[2] - q.shape[2]), rotated(k, 0), v


def alibi_slopes(H: int) -> list[float]:
    """Return the slopes of the ALiBi paper: powers of 2^(-8 / H); if H is no power of 2, some of those of 2 H too."""
    power = 1 << (H.bit_length() - 1)
    return [2 ** (-8 * (i + 1) / power) for i in range(power)] + [
        2 ** (-4 * (2 * i + 1) / power) for i in range(H - power)
    ]


def alibi(q: Any, k: Any, scaling: float) -> Any:
    T, S = q.shape[2], k.shape[2]
    slopes = torch.tensor(alibi_slopes(q.shape[1]), dtype=q.dtype)
    distance = torch.arange(S, dtype=q.dtype) - torch.arange(S - T, S, dtype=q.dtype)[:, None]
    return q @ k.transpose(2, 3) * scaling + slopes[:, None, None] * distance


def sinusoidal(table: Any) -> Any:
    N, D = table.shape
    frequencies = torch.exp(torch.arange(D // 2, dtype=table.dtype) * -(math.log(10000) / (D // 2 - 1)))
    angles = torch.arange(N, dtype=table.dtype)[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, D % 2))


def window(size: int) -> Callable[[Any, Any], Any]:
    """Let a query see itself and the ``size`` - 1 keys before it."""

    def hide(hidden: Any, real: Any) -> Any:
        T, S = hidden.shape[-2:]
        return hidden.masked_fill(torch.ones(T, S).tril(S - T - size).bool(), lowest(hidden))

    return hide


def mask_after_softmax() -> Plant:
    kept: dict[str, Any] = {}

    def hide(scores: Any, hidden: Any, heads: Any) -> Any:
        kept["visible"] = hidden == 0
        return scores

    return attention(hide=hide, normalise=lambda scores: F.softmax(scores, dim=-1) * kept["visible"])


def no_maximum(masked: Any) -> Any:
    e = masked.exp()
    return e / e.sum(-1, keepdim=True)


def head_by_head(model: Any) -> ExitStack:
    """Read fused weights, q then k then v, as if the rows of each head's q, k and v were together."""
    stack = ExitStack()
    for module in ATTENTIONS(model):
        parts = (module.q_proj, module.k_proj, module.v_proj)
        for name in ("weight", "bias"):
            fused = torch.cat([getattr(part, name).detach() for part in parts])
            by_head = fused.unflatten(0, (module.num_heads, 3, -1))
            for i, part in enumerate(parts):
                wrong = torch.nn.Parameter(by_head[:, i].flatten(0, 1).clone())
                stack.enter_context(replaced(part, name, wrong))
    return stack


def new_first(q: Any, k: Any, v: Any) -> Any:
    """Put the keys and values of this call before the cached ones."""
    T = q.shape[2]
    return q, *(torch.cat([x[:, :, -T:], x[:, :, :-T]], dim=2) for x in (k, v))


def read_transposed(weight: Any) -> Any:
    """Return the matrix (out, in) whose memory, row by row, was taken for (in, out)."""
    return weight.reshape(weight.shape[::-1]).T


@contextmanager
def seeded(model: Any) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def training(model: Any) -> Any:
    """Leave the dropout of hidden states on."""
    return [base(model), *base(model).layers]


DROPOUT = combined(
    [seeded, attribute(training, "training", lambda _: True), attribute(training, "dropout", lambda _: 0.1)]
)


def dropped(probs: Any, heads: Any, module: Any) -> Any:
    weights = probs if heads is None else probs * heads.view(1, -1, 1, 1)
    return F.dropout(weights, 0.1, training=True)


def rounded(x: Any, kind: str) -> Any:
    """Round to float16, bfloat16, or tf32 (float32 with 10 bits after the point), and return to the dtype of x."""
    if kind != "tf32":
        return x.to(getattr(torch, kind)).to(x.dtype)
    bits = x.float().contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32).to(x.dtype)


def rounded_products(kind: str) -> Plant:
    """Round the factors of every matrix product."""

    def product(a: Any, b: Any) -> Any:
        return rounded(a, kind) @ rounded(b, kind)

    within = attention(score=lambda q, k, scaling: product(q, k.transpose(2, 3)) * scaling, mix=product)
    return combined([linear(lambda x, w: product(x, w.T)), within])


def rounded_results(kind: str) -> Plant:
    """Round the result of every module and of every stage of attention."""

    def leaves(model: Any) -> list[Any]:
        return [x for name, x in model.named_modules() if name and not list(x.children())]

    every = forward(leaves, lambda module, original, *args, **rest: rounded(original(*args, **rest), kind))
    within = attention(
        score=lambda q, k, scaling: rounded(q @ k.transpose(2, 3) * scaling, kind),
        normalise=lambda masked: rounded(F.softmax(masked, dim=-1), kind),
        mix=lambda weights, v: rounded(weights @ v, kind),
    )
    return combined([every, within])


def table_softmax(masked: Any) -> Any:
    below = rounded(masked - masked.amax(-1, keepdim=True), "float16")
    e = rounded(below.exp(), "float16")
    return e / e.sum(-1, keepdim=True)


def table_gelu(x: Any) -> Any:
    return rounded(F.gelu(rounded(x, "float16"), approximate="tanh"), "float16")


def quantised(bits: int, block: int | None = None) -> Plant:
    """Round every weight of a Linear to a grid of whole numbers, by row or by blocks of columns of a row."""
    most = 2 ** (bits - 1) - 1

    def on_grid(weight: Any) -> Any:
        parts = weight.split(block or weight.shape[1], dim=1)
        scales = [part.abs().amax(1, keepdim=True).clamp(min=1e-30) / most for part in parts]
        return torch.cat([(part / scale).round() * scale for part, scale in zip(parts, scales, strict=True)], dim=1)

    return parameter(LINEARS, "weight", on_grid)


def other_weights(change: Callable[[Any, torch.Generator], Any]) -> Plant:
    """Replace every parameter by ``change(parameter, generator)``; tied parameters stay tied."""

    @contextmanager
    def plant(model: Any) -> Iterator[None]:
        generator, new = torch.Generator().manual_seed(3), {}
        for one in model.parameters():
            new[id(one)] = torch.nn.Parameter(change(one.detach(), generator))
        with ExitStack() as stack:
            for module in model.modules():
                for name, one in list(module.named_parameters(recurse=False)):
                    stack.enter_context(replaced(module, name, new[id(one)]))
            yield

    return plant


def trained_on(x: Any, generator: torch.Generator) -> Any:
    return x * (1 + 0.05 * torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype))
