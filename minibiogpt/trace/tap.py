"""The tap: ``x = tap("scores", x)`` returns x; with a recorder it also records x or replaces it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.trace.missing import check_all_matched, in_lists, with_eager
from minibiogpt.trace.patterns import Pattern
from minibiogpt.trace.trace import Trace

EMPTY: Mapping[str, Any] = MappingProxyType({})
Edit = Callable[[Array], Array]
"""Takes a copy of an array, which it may change, and returns an array of the same shape and dtype."""


class Recorder:
    """The trace and the edits of one call, and the names seen so far; all taps of the call share it.

    Parameters
    ----------
    trace : the trace to fill; None to apply edits only.
    edits : (pattern, function) pairs, in the order in which they are applied.
    """

    def __init__(self, trace: Trace | None, edits: Iterable[tuple[str, Edit]] = ()) -> None:
        self.trace = trace
        self.edits = [(Pattern(text), edit) for text, edit in edits]
        self.patterns = None if trace is None or trace.names is None else [Pattern(text) for text in trace.names]
        self.seen: dict[str, bool] = {}  # {name: whether an edit could have replaced it}
        if trace is not None:
            trace._reset()

    def intercept(self, name: str, x: Array) -> Array:
        """Apply the edits to x, record it if requested, and return it."""
        for pattern, edit in self.edits:
            if pattern.matches(name):
                x = apply_edit(name, x, edit)
        self.record(name, x, replaceable=True)
        return x

    def record(self, name: str, x: Array, replaceable: bool = False) -> None:
        """Record x if the trace requests it."""
        self.seen[name] = replaceable
        if self.trace is not None and self._is_wanted(name):
            self.trace[name] = x.copy()

    def wants(self, names: Iterable[str]) -> bool:
        """Whether any of these names is to be recorded or edited.

        A pattern that matches one counts as matched, so the caller must then compute the array.
        """
        patterns = [*(pattern for pattern, _ in self.edits), *(self.patterns or ())]
        everything = self.trace is not None and self.patterns is None
        return everything or any(pattern.matches(name) for name in names for pattern in patterns)

    def finish(self) -> None:
        """Check, at the end of the call, that every edit and every name of the trace has matched an array."""
        edited, replaceable = (
            [pattern for pattern, _ in self.edits],
            [name for name, can_be in self.seen.items() if can_be],
        )
        must = "every edit or patch must match an editable array"
        check_all_matched(in_lists(edited, replaceable), with_eager(replaceable), must, made=self.seen, editing=True)
        must, hint = "every name of the trace must match an array", ", or leave names out to record all"
        check_all_matched(in_lists(self.patterns or (), self.seen), with_eager(self.seen), must, hint, self.seen)

    def _is_wanted(self, name: str) -> bool:
        return self.patterns is None or any([pattern.matches(name) for pattern in self.patterns])


def apply_edit(name: str, x: Array, edit: Edit) -> Array:
    """Return ``edit`` of a copy of x, checked for the same shape, dtype and backend."""
    backend = backend_of(x)
    new: Array = edit(x.copy())
    if x.ndim == 0 and isinstance(new, np.generic):  # NumPy's arithmetic turns 0-d arrays into scalars
        new = backend.asarray(new)
    is_array = isinstance(new, backend.array_type)
    found = f"shape {new.shape}, {new.dtype}" if is_array else type(new).__name__
    if found != f"shape {x.shape}, {x.dtype}":
        must = f"an edit of {name} must return an array of {backend.name}, shape {x.shape}, {x.dtype}"
        raise InputError(must, found, "modify and return the array that is passed in")
    return new.copy()  # the edit may keep a reference to its array


class Tap:
    """``x = tap("scores", x)``: returns x, recorded or replaced if there is a recorder.

    Parameters
    ----------
    recorder : of this call; None if there is no trace and no edit.
    path : of the module that the tap belongs to; names start with it.
    outermost : whether the tap belongs to the outermost call; ``finish`` then checks that every pattern has matched.
    """

    def __init__(self, recorder: Recorder | None = None, path: str = "", *, outermost: bool = False) -> None:
        self.recorder, self.path, self.outermost = recorder, path, outermost

    def __call__(self, name: str, x: Array) -> Array:
        """Return x, or what an edit replaces it with, under the name ``path.name`` (``path`` if the name is empty)."""
        return x if self.recorder is None else self.recorder.intercept(self._full_name(name), x)

    def record(self, name: str, x: Array) -> None:
        """Record an array that no edit can replace."""
        if self.recorder is not None:
            self.recorder.record(self._full_name(name), x)

    def under(self, path: str) -> Tap:
        """Return the tap of a submodule; without a recorder, this tap itself."""
        return self if self.recorder is None else Tap(self.recorder, self._full_name(path))

    def step(self, n: int) -> Tap:
        """Return the tap of one step of a ``generate`` call, whose names start with ``step.{n}/``."""
        return self if self.recorder is None else Tap(self.recorder, f"step.{n}/")

    def wants(self, names: Iterable[str]) -> bool:
        """Whether any of these names, relative to this tap's path, is to be recorded or edited."""
        return self.recorder is not None and self.recorder.wants(self._full_name(name) for name in names)

    def describe_call(
        self, head: str, sizes: Mapping[str, int] = EMPTY, config: BioGptConfig | None = None, **inputs: Any
    ) -> None:
        """Store in the trace what ``explain`` needs: head, {letter: size}, config, and the inputs of the call.

        A model with a head calls this after its base model and overwrites the head.
        """
        trace = None if self.recorder is None else self.recorder.trace
        if trace is not None:
            trace.head, trace.config = head, config or trace.config
            trace.letters |= {**sizes, **(config.letters if config else EMPTY)}
            trace.inputs |= {name: _dtype(x) for name, x in inputs.items() if x is not None}

    def nested(self) -> Tap:
        """Return the tap for a call inside this call, at whose end patterns may still be unmatched."""
        return self.under("")

    def finish(self) -> None:
        """End the call; see Recorder.finish."""
        if self.recorder is not None and self.outermost:
            self.recorder.finish()

    def _full_name(self, name: str) -> str:
        return f"{self.path}.{name}" if name and self.path and not self.path.endswith("/") else self.path + name


def _dtype(x: Any) -> str:
    """The dtype of an array or of a list."""
    return str(getattr(x, "dtype", None) or np.asarray(x).dtype)
