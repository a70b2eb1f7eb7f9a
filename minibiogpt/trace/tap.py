"""The tap: ``x = tap("scores", x)`` hands an array on, recorded or replaced where a call is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.trace.patterns import Pattern, check_all_matched, patterns_of
from minibiogpt.trace.trace import Trace

NOTHING: Mapping[str, Any] = MappingProxyType({})
Edit = Callable[[Array], Array]
"""Takes an array on its way, a copy that it may change, and returns one of the same shape and dtype."""


class Recorder:
    """What one call is to record and to replace, and what it has met so far; shared by all its taps.

    Parameters
    ----------
    trace : what is filled; None when only edits are made.
    edits : (pattern, function), in the order in which they are made.
    """

    def __init__(self, trace: Trace | None, edits: Iterable[tuple[str, Edit]] = ()) -> None:
        self.trace = trace
        self.edits = [(Pattern(text), edit) for text, edit in edits]
        self.kept = None if trace is None or trace.names is None else patterns_of(trace.names)
        self.seen: dict[str, bool] = {}  # whether an edit could have replaced it
        if trace is not None:
            trace._forget()

    def see(self, name: str, x: Array) -> Array:
        """Replace x as the edits say, record it if it is wanted, and hand it on."""
        for pattern, edit in self.edits:
            if pattern.matches(name):
                x = edited(name, x, edit)
        self.note(name, x, replaceable=True)
        return x

    def note(self, name: str, x: Array, replaceable: bool = False) -> None:
        """Record x if it is wanted."""
        self.seen[name] = replaceable
        if self.trace is not None and self._keeps(name):
            self.trace[name] = x.copy()

    def asks(self, names: Iterable[str]) -> bool:
        """Whether any of these is to be recorded or replaced; the caller then makes it, so that it counts as met."""
        patterns = [*(pattern for pattern, _ in self.edits), *(self.kept or ())]
        everything = self.trace is not None and self.kept is None
        return everything or any(pattern.matches(name) for name in names for pattern in patterns)

    def finish(self) -> None:
        """The call is over: every edit must have been reached, and every name of the trace must have occurred."""
        why = "; arrays inside attention need attn_implementation 'auto' or 'eager', the loss needs labels"
        replaceable = [name for name, can_be in self.seen.items() if can_be]
        check_all_matched((pattern for pattern, _ in self.edits), replaceable, "an edit must be reached", why)
        check_all_matched(self.kept or (), self.seen, "a name of the trace must occur in the call", why)

    def _keeps(self, name: str) -> bool:
        return self.kept is None or any([pattern.matches(name) for pattern in self.kept])


def edited(name: str, x: Array, edit: Edit) -> Array:
    """What ``edit`` makes of a copy of x, with the same shape, dtype and backend."""
    backend = backend_of(x)
    new: Array = edit(x.copy())
    if x.ndim == 0 and isinstance(new, np.generic):  # NumPy's arithmetic turns 0 axes into a number
        new = backend.asarray(new)
    is_array = isinstance(new, backend.array_type)
    found = f"shape {new.shape}, {new.dtype}" if is_array else type(new).__name__
    if found != f"shape {x.shape}, {x.dtype}":
        must = f"an edit of {name} must return an array of {backend.name}, shape {x.shape}, {x.dtype}"
        raise InputError(must, found, "return the array that was handed over, changed")
    return new.copy()  # the function's own array stays its own


class Tap:
    """``x = tap("scores", x)``: hands x on, recorded or replaced if somebody watches.

    Parameters
    ----------
    watch : of this call; None when nobody looks.
    path : of the module that the tap belongs to; names start with it.
    whole : whether the call that holds it is the whole of what is watched; ``finish`` then asks whether all was met.
    """

    def __init__(self, recorder: Recorder | None = None, path: str = "", *, whole: bool = False) -> None:
        self.recorder, self.path, self.whole = recorder, path, whole

    def __call__(self, name: str, x: Array) -> Array:
        """x as ``path.name`` (as ``path`` itself when the name is empty), or what an edit puts in its place."""
        return x if self.recorder is None else self.recorder.see(self._full(name), x)

    def note(self, name: str, x: Array) -> None:
        """Record what no edit can replace."""
        if self.recorder is not None:
            self.recorder.note(self._full(name), x)

    def under(self, path: str) -> Tap:
        """The tap of a module within this one; without a watch, this very tap."""
        return self if self.recorder is None else Tap(self.recorder, self._full(path))

    def step(self, n: int) -> Tap:
        """The tap of one step of a generation: its names start with ``step.{n}/``."""
        return self if self.recorder is None else Tap(self.recorder, f"step.{n}/")

    def asks(self, names: Iterable[str]) -> bool:
        """Whether any of these names, below this tap's path, is to be recorded or replaced."""
        return self.recorder is not None and self.recorder.asks(self._full(name) for name in names)

    def describe_call(
        self, head: str, sizes: Mapping[str, int] = NOTHING, config: BioGptConfig | None = None, **given: Any
    ) -> None:
        """Let the trace know what ``explain`` needs: head, sizes by their letters, config, and the inputs given.

        A model with a head tells it after the base model, and has the last word.
        """
        trace = None if self.recorder is None else self.recorder.trace
        if trace is not None:
            trace.head, trace.config = head, config or trace.config
            trace.letters |= {**sizes, **(config.letters if config else NOTHING)}
            trace.inputs |= {name: _dtype(x) for name, x in given.items() if x is not None}

    def part(self) -> Tap:
        """The same for a call within the call: what it does not reach may still be reached."""
        return self.under("")

    def finish(self) -> None:
        """The call is over; see Recorder.finish."""
        if self.recorder is not None and self.whole:
            self.recorder.finish()

    def _full(self, name: str) -> str:
        return f"{self.path}.{name}" if name and self.path and not self.path.endswith("/") else self.path + name


def _dtype(x: Any) -> str:
    """Of an array or of a list."""
    return str(getattr(x, "dtype", None) or np.asarray(x).dtype)
