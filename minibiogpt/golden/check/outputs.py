"""Outputs of transformers that hold all layers: ``hidden_states``, ``attentions`` and ``past_key_values``.

They are lists with an entry for each layer (``hidden_states[2]``), or one array with an axis for the layers in front.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.golden.candidate.tensor import Tensor

LISTED = re.compile(r"(?:step\.\d+/)?(hidden_states|attentions|past_key_values)\b(?=.*\d)")
# The cache as tuples, as transformers 4.57's DynamicCache, and as that of older versions.
CACHED = re.compile(
    r"past_key_values(?:"
    r"(?:\.layers)?[.\[](?P<layer>\d+)\]?(?:[.\[](?P<half>[01])\]?|\.(?P<word>keys|values))"
    r"|\.(?P<cache>key|value)_cache[.\[](?P<number>\d+)\]?)"
)
PAIR = re.compile(r"past_key_values[.\[]\d+\]?")  # keys and values of one layer, stacked
CACHE_NOTE = "past_key_values holds the keys and values of all S positions, before the scores"


def split_layers(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors, with each stacked output replaced by one tensor for each of its layers.

    hidden_states is (L + 1, B, T, D): the embeddings, and the output of each layer before the final norm. attentions is
    (L, B, H, T, S), past_key_values (L, 2, B, H, S, Dh). An array of another size stays as it is.
    """
    layers: Any = config.get("num_hidden_layers")
    found: dict[str, Tensor] = {}
    for tensor in tensors.values():
        parts = _parts(tensor, layers if is_integer(layers) else -1)
        taken = any(part.name in tensors for part in parts)  # the layers are in the file one by one, too
        found |= {part.name: part for part in ([tensor] if taken else parts)}
    return found


def _parts(tensor: Tensor, layers: int) -> list[Tensor]:
    name, shape = tensor.name.rpartition("/")[2], tensor.shape
    if name == "hidden_states" and len(shape) == 4 and shape[0] == layers + 1:
        return [_part(tensor, _shared(tensor), (i,)) for i in range(layers + 1)]
    if name == "attentions" and len(shape) == 5 and shape[0] == layers:
        return [_part(tensor, _shared(tensor), (i,)) for i in range(layers)]
    if name == "past_key_values" and len(shape) == 6 and shape[:2] == (layers, 2):
        return [_part(tensor, _shared(tensor), (i, j)) for i in range(layers) for j in range(2)]
    if PAIR.fullmatch(name) and len(shape) == 5 and shape[0] == 2:
        return [_part(tensor, _shared(tensor), (j,)) for j in range(2)]
    return [tensor]


def unsplit_reason(name: str, config: Mapping[str, Any]) -> str:
    """Return why a stacked output was not split into its layers; "" for another name."""
    layers: Any = config.get("num_hidden_layers")
    return {
        "hidden_states": f"it must be {layers + 1 if is_integer(layers) else 'L + 1'} arrays: the embeddings and "
        f"{layers} layers, each B T D",
        "attentions": f"it must be {layers} arrays, one for each layer, each B H T S",
        "past_key_values": f"it must be {layers} pairs of keys and values, one for each layer, each B H S Dh",
    }.get(name.rpartition("/")[2], "")


def _shared(tensor: Tensor) -> Callable[[], np.ndarray]:
    """Return ``raw`` of the tensor, which is then read once: in npz, reading a part means reading all of it."""
    return lru_cache(maxsize=1)(tensor.raw)


def _part(tensor: Tensor, raw: Callable[[], np.ndarray], at: tuple[int, ...]) -> Tensor:
    name = tensor.name + "".join(f"[{i}]" for i in at)
    return Tensor(name, tensor.dtype, tensor.shape[len(at) :], lambda: raw()[at], tensor.note)


def cached_name(name: str) -> str | None:
    """Return our name of an array of the cache, or None if the name is another's.

    Examples
    --------
    >>> cached_name("past_key_values[3][0]"), cached_name("past_key_values.layers[3].values")
    ('layers.3.self_attn.k', 'layers.3.self_attn.v')
    """
    found = CACHED.fullmatch(name)
    if not found:
        return None
    layer = found["layer"] or found["number"]
    keys = "0" in (found["half"] or "") or (found["word"] or found["cache"] or "").startswith("key")
    return f"layers.{int(layer)}.self_attn.{'k' if keys else 'v'}" if len(layer) < 9 else None
