"""Changes that are no mistake of any list, each with the array that it changes first; and pairs of mistakes.

``golden diagnose`` knows no cause for a perturbation: it must say so, and where the error is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch

from tests.reference.mistakes import ATTN, EMBED, POSITIONS, Calls, at
from tests.reference.more_mistakes import EVERY
from tests.reference.more_wrong import other_weights
from tests.reference.planting import Find, Plant, attention, decoder_layer, forward, named, parameter
from tests.reference.variations import combined
from tests.reference.wrong import HEADS


@dataclass(frozen=True)
class Perturbation:
    """A change of no mistake.

    Attributes
    ----------
    plant : function from a transformers model to a context manager that makes the change in it.
    first : as ``Mistake.first``.
    causes : ids that describe the change rightly all the same.
    """

    plant: Plant
    first: Callable[[Calls, Any], str]
    causes: tuple[str, ...] = ()


def draw(x: Any, seed: int = 11) -> Any:
    """Return normal noise in the shape and dtype of x; the same in each precision."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(x.dtype)


def noise(size: float) -> Callable[[Any], Any]:
    """Return a function that adds noise of ``size`` times the root mean square."""
    return lambda x: x + size * x.square().mean().sqrt() * draw(x)


def rotation(x: Any) -> Any:
    """Rotate the last axis by a random orthogonal matrix."""
    return x @ torch.linalg.qr(draw(torch.empty(x.shape[-1], x.shape[-1]), 5).double())[0].to(x.dtype)


def result(find: Find, change: Callable[[Any], Any]) -> Plant:
    """Change the result of modules."""

    def new(module: Any, original: Any, *arguments: Any, **options: Any) -> Any:
        output = original(*arguments, **options)
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return forward(find, new)


def residuals(change: Callable[[Any], Any], feed_by: float = 1.0) -> Plant:
    """Change the residual between attention and feed-forward; multiply what the feed-forward adds."""

    def order(layer: Any, x: Any, attend: Any, feed: Any) -> Any:
        h, weights = attend(layer.self_attn_layer_norm(x))
        x = change(x + h)
        return x + feed_by * feed(layer.final_layer_norm(x)), weights

    return decoder_layer(order)


def at_index(*index: int, to: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that changes one element or one row."""

    def change(x: Any) -> Any:
        x = x.clone()
        x[index] = to(x[index])
        return x

    return change


def exchanged(one: int, other: int, axis: int) -> Callable[[Any], Any]:
    def change(x: Any) -> Any:
        order = torch.arange(x.shape[axis])
        order[[one, other]] = order[[other, one]]
        return x.index_select(axis, order)

    return change


def another(x: Any, generator: torch.Generator) -> Any:
    """Draw other weights of the same size and mean."""
    drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)
    return x.mean() + x.std(correction=0) * drawn


def shuffled(table: Any) -> Any:
    return table[torch.randperm(len(table), generator=torch.Generator().manual_seed(1))]


NOISY = {
    "embed_tokens": 1e-3, "embed_positions": 1e-2, "layers.0.self_attn_layer_norm": 1e-2, f"{ATTN}.q_proj": 1e-3,
    "layers.1.self_attn.k_proj": 0.1, f"{ATTN}.v_proj": 1.0, "layers.1.self_attn.out_proj": 1e-2,
    "layers.0.final_layer_norm": 0.1, "layers.1.fc1": 1e-3, "layers.0.activation_fn": 1e-2, "layers.1.fc2": 1.0,
    "layers.0": 0.1, "layers.1": 1e-3, "layer_norm": 0.1,
}  # fmt: skip
ROTATED = ("embed_tokens", f"{ATTN}.q_proj", "layers.1.fc1", "layers.0.fc2", "layer_norm")
STAGES: dict[str, Plant] = {
    "noise in q": attention(split=lambda q, k, v: (noise(1e-2)(q), k, v)),
    "noise in scores": attention(score=lambda q, k, scaling: noise(1e-2)(q @ k.transpose(2, 3) * scaling)),
    "noise in probs": attention(normalise=lambda masked: noise(1e-2)(masked.softmax(-1))),
    "noise in context": attention(merge=lambda mixed: noise(1e-2)(mixed).transpose(1, 2)),
    "rotation of v": attention(split=lambda q, k, v: (q, k, rotation(v))),
    "rotation of context": attention(merge=lambda mixed: rotation(mixed).transpose(1, 2)),
}
# {name: (module, parameter, change)}
CHANGED: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "one weight of fc1 changed": ("layers.0.fc1", "weight", at_index(3, 5, to=lambda x: x + 0.5)),
    "one weight of q_proj changed": (f"{ATTN}.q_proj", "weight", at_index(2, 1, to=lambda x: x + 0.5)),
    "one weight of fc2 changed": ("layers.1.fc2", "weight", at_index(7, 7, to=lambda x: x - 1)),
    "one gain changed": ("layers.0.final_layer_norm", "weight", at_index(4, to=lambda x: x + 0.5)),
    "one row of v_proj scaled": (f"{ATTN}.v_proj", "weight", at_index(3, to=lambda x: 1.5 * x)),
    "one row of out_proj negated": ("layers.1.self_attn.out_proj", "weight", at_index(5, to=lambda x: -x)),
    "two columns of fc1 exchanged": ("layers.0.fc1", "weight", exchanged(2, 9, 1)),
    "two columns of fc2 exchanged": ("layers.1.fc2", "weight", exchanged(0, 20, 1)),
    "two rows of k_proj exchanged": (f"{ATTN}.k_proj", "weight", exchanged(1, 12, 0)),
    "two elements of fc1's bias exchanged": ("layers.1.fc1", "bias", exchanged(3, 4, 0)),
    "bias of q_proj one column late": (f"{ATTN}.q_proj", "bias", lambda x: x.roll(1)),
    "gain squared": ("layers.0.self_attn_layer_norm", "weight", lambda x: x * x),
}
_SHUFFLED = parameter(POSITIONS, "weight", shuffled)
PERTURBATIONS: dict[str, Perturbation] = {
    **{f"noise of {size:g} in {name}": Perturbation(result(named(name), noise(size)), at(name))
       for name, size in NOISY.items()},
    **{f"rotation of {name}": Perturbation(result(named(name), rotation), at(name)) for name in ROTATED},
    **{name: Perturbation(plant, at(f"{ATTN}.{name.split()[-1]}")) for name, plant in STAGES.items()},
    **{name: Perturbation(parameter(named(module), part, change), at(module))
       for name, (module, part, change) in CHANGED.items()},
    "noise in attn_residual": Perturbation(residuals(noise(0.1)), at("layers.0.attn_residual")),
    "noise in the head": Perturbation(result(HEADS, noise(1e-3)), at("logits")),
    "two columns of embed_tokens exchanged": Perturbation(
        parameter(EMBED, "weight", exchanged(3, 8, 1)), at("embed_tokens"), ("columns-moved",)),
    "positions shuffled": Perturbation(_SHUFFLED, at("embed_positions")),
    "feed-forward halved": Perturbation(residuals(lambda x: x, 0.5), at("layers.0")),
    "another checkpoint": Perturbation(other_weights(another), at("embed_tokens"), ("checkpoint-differs",)),
}  # fmt: skip

# Mistakes at twelve different steps; each two of them are made at once.
TWELVE = (
    "no embedding scale", "position offset 1", "variance with N-1", "transposed self_attn.v_proj", "scale by sqrt(D)",
    "no causal mask", "heads not merged back", "no bias in self_attn.out_proj", "no residual of attention",
    "no bias in fc1", "tanh GELU", "head scaled",
)  # fmt: skip
PAIRS = {
    (one, other): combined([EVERY[one].plant, EVERY[other].plant]) for one, other in combinations(TWELVE, 2)
}  # fmt: skip
