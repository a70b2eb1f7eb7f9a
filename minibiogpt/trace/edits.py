"""Interventions: what a call's edits, ablate and patch_from ask for, as edits of named arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minibiogpt.backend import Array, Backend
from minibiogpt.checks import is_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.trace.tap import Edit, Recorder, Tap
from minibiogpt.trace.trace import Trace


def make_tap(
    config: BioGptConfig,
    backend: Backend,
    trace: Trace | None = None,
    edits: Mapping[str, Edit] | None = None,
    ablate: Iterable[tuple[int, int]] | None = None,
    patch_from: Mapping[str, Any] | None = None,
) -> Tap:
    """The tap of one model call; one that does nothing when nothing is asked for.

    Parameters
    ----------
    trace : emptied, then filled.
    edits : {name or pattern: function of the array, which returns one of the same shape and dtype}.
    ablate : (layer, head) pairs: the head's part of that layer's context becomes 0, as a head mask of 0 makes it.
    patch_from : {name: array}, such as the trace of another call: each array takes the place of this call's.
        They come first, then the ablations, then the edits.

    Raises
    ------
    InputError
        If one of them cannot be; at the end of the call, if one was never reached.
    """
    if trace is not None and not isinstance(trace, Trace):
        raise InputError("trace must be a Trace", type(trace).__name__, "make one: trace = Trace()")
    chosen = [*_patches(patch_from, backend), *_ablations(ablate, config), *_functions(edits)]
    return Tap(Recorder(trace, chosen), whole=True) if chosen or trace is not None else Tap()


def _functions(edits: Any) -> list[tuple[str, Edit]]:
    if not isinstance(edits, Mapping | None) or not all(map(callable, (edits or {}).values())):
        must = "edits must be {name: function}"
        raise InputError(must, _on_one_line(edits), 'give functions: {"layers.0.fc1": lambda x: 0 * x}')
    return list((edits or {}).items())


def _ablations(pairs: Any, config: BioGptConfig) -> list[tuple[str, Edit]]:
    L, H = config.num_hidden_layers, config.num_attention_heads
    must = f"ablate must be pairs (layer, head), layers in [0, {L}) and heads in [0, {H})"
    remedy = "give a list of pairs: [(0, 1)]"
    try:
        pairs = [] if pairs is None else [tuple(pair) for pair in pairs]
    except TypeError:
        raise InputError(must, _on_one_line(pairs), remedy) from None
    for pair in pairs:
        if len(pair) != 2 or not all(map(is_integer, pair)) or not (0 <= pair[0] < L and 0 <= pair[1] < H):
            raise InputError(must, _on_one_line(pair), remedy)
    return [(f"layers.{layer}.self_attn.context", _without(head, config.head_size)) for layer, head in pairs]


def _without(head: int, width: int) -> Callable[[Array], Array]:
    """Sets to 0 what one head has mixed."""

    def ablated(context: Array) -> Array:
        context[..., head * width : (head + 1) * width] = 0  # context (B, T, D), heads side by side
        return context

    return ablated


def _patches(arrays: Any, backend: Backend) -> list[tuple[str, Edit]]:
    if not isinstance(arrays, Mapping | None) or not all(hasattr(x, "dtype") for x in (arrays or {}).values()):
        must = "patch_from must be a Trace, or {name: array}"
        raise InputError(must, _on_one_line(arrays), "fill one: trace=Trace()")
    if isinstance(arrays, Trace) and not arrays:
        raise InputError("patch_from must be a trace that a call has filled", "an empty one", "run that call first")
    here = {name: backend.asarray(x) for name, x in (arrays or {}).items()}
    return [(name, _put(name, x)) for name, x in here.items()]


def _put(name: str, array: Array) -> Callable[[Array], Array]:
    """Puts this array, of which ``edited`` makes a copy, in the place of whatever comes."""

    def put(x: Array) -> Array:
        if (array.shape, array.dtype) != (x.shape, x.dtype):
            must = f"patch_from must hold {name} as this call makes it, shape {x.shape}, {x.dtype}"
            raise InputError(must, f"shape {array.shape}, {array.dtype}", "trace inputs of the same shape and dtype")
        return array

    return put


def _on_one_line(value: object) -> str:
    return " ".join(short_repr(value).split())
