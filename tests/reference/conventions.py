"""Other conventions: right arrays in the form that another implementation gives them.

None of them is a mistake. Each function takes a case and its right arrays, and returns what a port with this convention
records, or None if the case has no such array.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from tests.reference.kits import Arrays, KitCase

Change = Callable[[KitCase, Arrays], Arrays | None]
CAPACITY, MORE_IDS = 40, 11  # S of a preallocated cache; rows by which a vocabulary is padded


@dataclass(frozen=True)
class Convention:
    """One convention, and the word of ``--accept`` for it."""

    accept: str
    change: Change


def each(pattern: str, new: Callable[[KitCase, torch.Tensor], torch.Tensor | None]) -> Change:
    """Replace each array whose name, without ``step.{n}/``, matches; keep those for which ``new`` returns None."""

    def change(case: KitCase, arrays: Arrays) -> Arrays | None:
        found = {name: new(case, x) for name, x in arrays.items() if re.fullmatch(rf"(step\.\d+/)?{pattern}", name)}
        found = {name: x for name, x in found.items() if x is not None}
        return arrays | found if found else None

    return change


def q_scaled(case: KitCase, x: torch.Tensor) -> torch.Tensor:
    config = case.model("float64").config
    return x * (config.hidden_size // config.num_attention_heads) ** -0.5


def first_row(case: KitCase, x: torch.Tensor) -> torch.Tensor | None:
    return x[:1] if len(x) > 1 and (x == x[:1]).all() else None


def no_row(case: KitCase, x: torch.Tensor) -> torch.Tensor | None:
    return x[0] if (x == x[:1]).all() else None


def padded(axis: int, size: Callable[[int], int], value: float) -> Callable[[KitCase, torch.Tensor], torch.Tensor]:
    """Pad an axis, counted from the end (-1, -2), at its end."""

    def new(case: KitCase, x: torch.Tensor) -> torch.Tensor:
        more = size(x.shape[axis]) - x.shape[axis]
        return F.pad(x, (0, 0) * (-axis - 1) + (0, more), value=value)

    return new


def preallocated(hidden: float) -> Change:
    """Record keys, values, scores and probabilities of a cache with room for CAPACITY positions."""
    capacity, path = (lambda S: CAPACITY), r"layers\.\d+\.self_attn\."
    parts = [
        each(path + "[kv]", padded(-2, capacity, 0.0)),
        each(path + "(scores|probs|weights)", padded(-1, capacity, 0.0)),
        each(path + "scores_masked", padded(-1, capacity, hidden)),
    ]

    def change(case: KitCase, arrays: Arrays) -> Arrays | None:
        for part in parts:
            if (changed := part(case, arrays)) is None:
                return None
            arrays = changed
        return arrays

    return change


def of_language_model(change: Change) -> Change:
    return lambda case, arrays: change(case, arrays) if case.case.architecture == "BioGptForCausalLM" else None


def filled(value: float) -> Change:
    """Fill hidden scores with ``value``; where it changes no probability, and rows that see nothing stay uniform."""

    def new(case: KitCase, x: torch.Tensor) -> torch.Tensor | None:
        hidden = x < -1e30
        blind = hidden.all(-1, keepdim=True)
        highest = x.masked_fill(hidden, -torch.inf).amax(-1, keepdim=True)
        harmless = bool(((highest > value + 800) | blind).all()) and bool((x[~hidden] > value + 800).all())
        y = x.masked_fill(hidden & ~blind if value == -torch.inf else hidden, value)
        return y if hidden.any() and harmless else None

    return each(r"layers\.\d+\.self_attn\.scores_masked", new)


def hidden_states_5(case: KitCase, arrays: Arrays) -> Arrays | None:
    """Record the list hidden_states of transformers 5.x, whose last entry is the final norm's, and the logits alone."""
    layers = case.model("float64").config.num_hidden_layers
    ours = ["embeddings", *(f"layers.{i}" for i in range(layers - 1)), "layer_norm"]
    steps = sorted(
        {name.rpartition("step.")[2].partition("/")[0] if name.startswith("step.") else "" for name in arrays}
    )
    found: dict[str, Any] = {}
    for step in steps:
        front = f"step.{step}/" if step else ""
        if any(front + name not in arrays for name in ours):
            return None
        found |= {f"{front}hidden_states.{i}": arrays[front + name] for i, name in enumerate(ours)}
        found |= {front + name: arrays[front + name] for name in ("logits",) if front + name in arrays}
    return found


CONVENTIONS: dict[str, Convention] = {
    "q scaled": Convention("q-scaled", each(r"layers\.\d+\.self_attn\.q", q_scaled)),
    "q and q_proj scaled": Convention("q-scaled", each(r"layers\.\d+\.self_attn\.q(_proj)?", q_scaled)),
    "positions (1, T)": Convention("positions-broadcast", each("position_ids", first_row)),
    "positions (T,)": Convention("positions-broadcast", each("position_ids", no_row)),
    "preallocated cache, unused scores -inf": Convention("cache-capacity", preallocated(-torch.inf)),
    "preallocated cache, unused scores lowest": Convention(
        "cache-capacity", preallocated(torch.finfo(torch.float64).min)
    ),
    "vocabulary padded with 0": Convention(
        "padded-vocabulary", of_language_model(each("logits", padded(-1, lambda V: V + MORE_IDS, 0.0)))
    ),
    "vocabulary padded with -inf": Convention(
        "padded-vocabulary", of_language_model(each("logits", padded(-1, lambda V: V + MORE_IDS, -torch.inf)))
    ),
    "logits of the last position (B, 1, V)": Convention(
        "last-positions", of_language_model(each("logits", lambda case, x: x[:, -1:]))
    ),
    "logits of the last position (B, V)": Convention(
        "last-positions", of_language_model(each("logits", lambda case, x: x[:, -1]))
    ),
    "hidden scores -1e4": Convention("mask-fill", filled(-1e4)),
    "hidden scores -1e9": Convention("mask-fill", filled(-1e9)),
    "hidden scores -inf": Convention("mask-fill", filled(-torch.inf)),
    "hidden_states of transformers 5.x": Convention("hidden-states-5", hidden_states_5),
}
