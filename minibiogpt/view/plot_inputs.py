"""Inputs of the plots: copied to host memory and validated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minibiogpt.backend import backend_of
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.tokenizer.tokens.labels import labels_of_pieces

PROBS = re.compile(r"layers\.([0-9]{1,6})\.self_attn\.probs")


def head_weights(weights: Any, layer: int, head: int, row: int) -> np.ndarray:
    """Return the attention weights of one head, (T, S)."""
    if isinstance(weights, Mapping):
        if not is_integer(layer) or not 0 <= layer < 10**6:
            raise InputError("layer must be an integer, 0 or more", short_repr(layer), "choose a layer of the trace")
        name = f"layers.{layer}.self_attn.probs"
        traced = [int(match[1]) for key in weights if (match := PROBS.fullmatch(str(key)))]
        if traced and layer not in traced:
            raise InputError("layer must be one of the trace", f"{layer}", f"choose one of {listed(traced, 20)}")
        weights = weights[name] if name in weights else missing(name)
    x = host(weights)
    if not 2 <= x.ndim <= 4:
        raise InputError(
            "weights must be (T, S), (H, T, S) or (B, H, T, S)", f"shape {x.shape}", "pass the probs of a trace"
        )
    for what, index in (("row", row), ("head", head))[4 - x.ndim :]:
        x = at(x, what, index)
    return x


def at(x: np.ndarray, what: str, index: Any) -> np.ndarray:
    """Return x[index] after a bounds check."""
    if not is_integer(index) or not 0 <= index < len(x):
        raise InputError(f"{what} must be an integer in [0, {len(x)})", short_repr(index), "choose a valid index")
    return x[index]


def boolean(what: str, x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return x as a boolean array of the given shape."""
    x = host(x)
    if x.shape != shape:
        raise InputError(f"{what} must have shape {shape}", f"{x.shape}", "pass one True or False for each element")
    return x.astype(bool)


def nonempty(what: str, values: Any) -> dict[str, Any]:
    """Return a dictionary of named arrays or numbers, at least one."""
    if not isinstance(values, Mapping) or not values:
        must = f"{what} must be a non-empty dictionary"
        raise InputError(must, short_repr(values), "pass {name: array}")
    return dict(values)


def missing(name: str) -> Any:
    eager = ", with attn_implementation 'auto' or 'eager'" if "self_attn" in name else ""
    raise InputError(
        f"the trace must contain {name}", "none", f"trace the call again: model(ids, trace=Trace()){eager}"
    )


def host(x: Any) -> np.ndarray:
    """Return a NumPy copy of an array of any backend, 16-bit floats widened to float32."""
    try:
        x = np.asarray(x if isinstance(x, list | tuple) else backend_of(x).to_numpy(x))
    except (TypeError, ValueError):
        must, remedy = "the input must be an array of numbers", "pass an array or a list"
        raise InputError(must, type(x).__name__, remedy) from None
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x


def matrix(x: Any, axes: int, must: str) -> np.ndarray:
    x = host(x)
    if x.ndim != axes or not x.size or x.dtype.kind not in "fiub":
        raise InputError(must, f"shape {x.shape} of {x.dtype}", "select a row, head or layer first")
    return x.astype(np.float64)


def labeled(what: str, labels: Any, count: int) -> list[str]:
    """Return ``count`` labels as plain text."""
    sized = hasattr(labels, "__len__") and getattr(labels, "shape", None) != ()
    if isinstance(labels, str) or not sized or len(labels) != count:
        found = f"{len(labels)}" if sized else short_repr(labels)
        raise InputError(f"{what} must be {count} labels", found, "pass one label for each")
    return [plain(label) for label in labels]


def shown_tokens(tokens: Any, count: int) -> list[str]:
    """Return the labels of ``count`` tokens, given as pieces of the vocabulary or as labels."""
    labeled("tokens", tokens, count)
    return labels_of_pieces(tokens)


def plain(label: Any) -> str:
    """Escape dollar signs, between which matplotlib would typeset a formula."""
    return str(label).replace("$", r"\$")
