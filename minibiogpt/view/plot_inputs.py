"""What the plots are given: brought to the processor, and refused with one clear error where it cannot be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minibiogpt.backend import backend_of
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError


def of_head(weights: Any, layer: int, head: int, row: int) -> np.ndarray:
    """The (T, S) of one head."""
    if isinstance(weights, Mapping):
        name = f"layers.{layer}.self_attn.probs"
        weights = weights[name] if name in weights else missing(name)
    x = host(weights)
    if not 2 <= x.ndim <= 4:
        raise InputError(
            "weights must be (T, S), (H, T, S) or (B, H, T, S)", f"shape {x.shape}", "take a trace's probs"
        )
    for what, index in (("row", row), ("head", head))[4 - x.ndim :]:
        x = at(x, what, index)
    return x


def at(x: np.ndarray, what: str, index: Any) -> np.ndarray:
    """x[index], which must be there."""
    if not is_integer(index) or not 0 <= index < len(x):
        raise InputError(f"{what} must be a whole number in [0, {len(x)})", repr(index), "choose another")
    return x[index]


def shaped(what: str, x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Truth values of one shape."""
    x = host(x)
    if x.shape != shape:
        raise InputError(f"{what} must have shape {shape}", f"{x.shape}", "hand over True or False for each")
    return x.astype(bool)


def filled(what: str, found: Any) -> dict[str, Any]:
    """Named arrays or numbers, at least one."""
    if not isinstance(found, Mapping) or not found:
        must = f"{what} must be a dictionary with something in it"
        raise InputError(must, repr(found)[:80], "hand over {name: array}")
    return dict(found)


def missing(name: str) -> Any:
    raise InputError(f"the trace must hold {name}", "none", "trace the call again: model(ids, trace=Trace())")


def host(x: Any) -> np.ndarray:
    """NumPy's copy of an array of any backend, halves widened so that everything can be computed with them."""
    try:
        x = np.asarray(x if isinstance(x, list | tuple) else backend_of(x).to_numpy(x))
    except (TypeError, ValueError):
        must, remedy = "there must be an array of numbers", "hand over an array or a list"
        raise InputError(must, type(x).__name__, remedy) from None
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x


def matrix(x: Any, axes: int, must: str) -> np.ndarray:
    x = host(x)
    if x.ndim != axes or not x.size or x.dtype.kind not in "fiub":
        raise InputError(must, f"shape {x.shape} of {x.dtype}", "choose the row, the head or the layer first")
    return x.astype(np.float64)


def labelled(what: str, labels: Any, count: int) -> list[str]:
    """A text for each."""
    if isinstance(labels, str) or not hasattr(labels, "__len__") or len(labels) != count:
        found = f"{len(labels)}" if hasattr(labels, "__len__") else repr(labels)
        raise InputError(f"{what} must be {count} labels", found, "hand over one for each")
    return [plain(label) for label in labels]


def plain(label: Any) -> str:
    """Text that is shown as it stands; matplotlib would read a formula between dollar signs."""
    return str(label).replace("$", r"\$")
