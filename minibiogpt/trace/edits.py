"""Interventions: the options edits, ablate and patch_from of a call, as edits of named arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Any

from minibiogpt.backend import Array, Backend
from minibiogpt.checks import is_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.trace.patterns import Pattern, differences
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
    """Return the tap of one model call; it does nothing if there is no trace and no intervention.

    Parameters
    ----------
    trace : is emptied, then filled.
    edits : {name or pattern: function of the array that returns an array of the same shape and dtype}.
    ablate : (layer, head) pairs. The head's part of that layer's context is set to 0, as with a head mask of 0.
    patch_from : {name: array}, such as the trace of a different call. Each array replaces this call's array.
        Patches are applied first, then ablations, then edits.

    Raises
    ------
    InputError
        If one of them is invalid; at the end of the call, if one matched no array.
    """
    if trace is not None and not isinstance(trace, Trace):
        raise InputError("trace must be a Trace", type(trace).__name__, "create one: trace = Trace()")
    given = [*_patches(patch_from, backend), *_ablations(ablate, config), *_functions(edits)]
    chosen = [(_with_our_axes(name), edit) for name, edit in given]
    return Tap(Recorder(trace, chosen), outermost=True) if chosen or trace is not None else Tap()


def _with_our_axes(name: str) -> str:
    """Return the name; refuse one of another tool if its array has other axes there: an edit would mix them up."""
    found = differences([Pattern(name)])
    if found:
        raise InputError("an edit must name an array with the axes it has here", found[0], "edit it by our name")
    return name


def _functions(edits: Any) -> list[tuple[str, Edit]]:
    if not isinstance(edits, Mapping | None) or not all(map(callable, (edits or {}).values())):
        must = "edits must be {name: function}"
        raise InputError(must, _on_one_line(edits), 'pass functions: {"layers.0.fc1": lambda x: 0 * x}')
    for name, edit in (edits or {}).items():
        _check_parameters(name, edit)
    return list((edits or {}).items())


def _check_parameters(name: object, edit: Edit) -> None:
    """Check that a function can be called with one array; some of NumPy's do not tell."""
    try:
        expected = signature(edit)
    except (TypeError, ValueError):
        return
    try:
        expected.bind(None)
    except TypeError:
        found = f"a function of {listed(expected.parameters)} for {short_repr(name)}"
        raise InputError("an edit must be a function of one array", found, "write lambda x: 0 * x") from None


def _ablations(pairs: Any, config: BioGptConfig) -> list[tuple[str, Edit]]:
    L, H = config.num_hidden_layers, config.num_attention_heads
    must = f"ablate must be pairs (layer, head), layers in [0, {L}) and heads in [0, {H})"
    remedy = "pass a list of pairs: [(0, 1)]"
    try:
        pairs = [] if pairs is None else [tuple(pair) for pair in pairs]
    except TypeError:
        raise InputError(must, _on_one_line(pairs), remedy) from None
    for pair in pairs:
        if len(pair) != 2 or not all(map(is_integer, pair)) or not (0 <= pair[0] < L and 0 <= pair[1] < H):
            raise InputError(must, _on_one_line(pair), remedy)
    return [(f"layers.{layer}.self_attn.context", _zero_head(head, config.head_size)) for layer, head in pairs]


def _zero_head(head: int, width: int) -> Callable[[Array], Array]:
    """Return an edit that sets one head's part of the context to 0."""

    def zero(context: Array) -> Array:
        context[..., head * width : (head + 1) * width] = 0  # context (B, T, D), heads concatenated
        return context

    return zero


def _patches(arrays: Any, backend: Backend) -> list[tuple[str, Edit]]:
    if not isinstance(arrays, Mapping | None) or not all(hasattr(x, "dtype") for x in (arrays or {}).values()):
        must = "patch_from must be a Trace, or {name: array}"
        raise InputError(must, _on_one_line(arrays), "record one: trace=Trace()")
    if isinstance(arrays, Trace) and not arrays:
        raise InputError("patch_from must be a trace that a call has filled", "an empty one", "run that call first")
    patches = {name: backend.asarray(x) for name, x in (arrays or {}).items()}
    return [(name, _replace_with(name, x)) for name, x in patches.items()]


def _replace_with(name: str, array: Array) -> Callable[[Array], Array]:
    """Return an edit that replaces any array with this one; ``apply_edit`` copies it."""

    def replace(x: Array) -> Array:
        if (array.shape, array.dtype) != (x.shape, x.dtype):
            must = f"patch_from must hold {listed([name])} with the shape and dtype of this call, {x.shape}, {x.dtype}"
            raise InputError(must, f"shape {array.shape}, {array.dtype}", "trace inputs of the same shape and dtype")
        return array

    return replace


def _on_one_line(value: object) -> str:
    return " ".join(short_repr(value).split())
