"""Trace: every named array of a forward pass, in the order it was made; and the tap that records and replaces it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.backend import Array, backend_of, unwarned
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.files.reading import write_beside
from minibiogpt.files.safetensors import DTYPES, read_header, widened
from minibiogpt.trace.patterns import Pattern, check_met, patterns_of

FORMAT, VERSION = "minibiogpt-trace", "1"
NOTHING: Mapping[str, Any] = MappingProxyType({})
SAVED = {np.dtype(dtype).str for name, dtype in DTYPES.items() if name != "BF16"}
Edit = Callable[[Array], Array]
"""Takes an array on its way, a copy that it may change, and returns one of the same shape and dtype."""


class Trace(dict[str, Array]):
    """An ordered {name: array} that a model call fills: ``model(ids, trace=trace)``.

    The arrays are copies: changing one changes no number of the model, and a later step does not change them.
    Each call starts the trace anew. The names are those of the module paths in transformers (see ``explain``);
    when an array inside attention is wanted, attention runs in its "eager" form.

    Parameters
    ----------
    names : which arrays to keep; all by default. Names, or patterns: ``*`` is any run of signs, ``{0..3}`` a range,
        ``{q,k}`` a list. One that nothing is called by is an InputError at the end of the call.

    Attributes
    ----------
    letters : the sizes of the last call by their letters: {"B": 1, "T": 3, ...}; see ``minibiogpt.config``.
    config, head, inputs : the model's config, its head ("base", "causal", "sequence", "token" or "generate"), and what
        the call was given, {name: dtype}: all that decides by which equations the arrays were made.

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> trace["layers.0.self_attn.probs"].shape
    (1, 4, 3, 3)
    >>> list(trace)[:4]
    ['position_ids', 'embed_tokens', 'embed_positions', 'embeddings']
    >>> probs = Trace(names="layers.*.self_attn.probs")
    >>> output = model([[2, 5, 9]], trace=probs)
    >>> len(probs)
    4
    """

    def __init__(self, names: str | Iterable[str] | None = None) -> None:
        super().__init__()
        self.names = None if names is None else [pattern.text for pattern in patterns_of(names)]
        self._forget()

    def _forget(self) -> None:
        """Empty, and of no call."""
        self.clear()
        self.letters: dict[str, int] = {}
        self.config: BioGptConfig | None = None
        self.head = ""
        self.inputs: dict[str, str] = {}

    def select(self, *names: str) -> Trace:
        """A trace of those arrays alone whose names match; the arrays themselves, not copies."""
        patterns, found = patterns_of(names), Trace()
        found.letters, found.inputs = dict(self.letters), dict(self.inputs)
        found.config, found.head = self.config, self.head
        for name, x in self.items():
            if any([pattern.matches(name) for pattern in patterns]):
                found[name] = x
        check_met(patterns, self, "a trace can be asked for the arrays it holds")
        return found

    def summary(self) -> None:
        """Print a line for each array: name, shape, dtype, mean, and the largest absolute value."""
        width = max(map(len, [*self, "name"]))
        print(f"{'name':{width}}  {'shape':18} {'dtype':8} {'mean':>11} {'largest':>11}")
        for name, x in self.items():
            mean, largest = mean_and_largest(x)
            print(f"{name:{width}}  {x.shape!s:18} {x.dtype!s:8} {mean:11.4g} {largest:11.4g}")

    def explain(self, name: str) -> None:
        """Print what one array is, how it was made, from what, on which line, and what other tools call it.

        Examples
        --------
        >>> from minibiogpt import BioGptForCausalLM
        >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
        >>> output = model([[2, 5, 9]], trace=trace)
        >>> trace.explain("layers.0.self_attn.scores")  # doctest: +ELLIPSIS
        layers.0.self_attn.scores: how well each query fits each key
        shape            (B 1, H 4, T 3, S 3), float32
        equation         q @ k.swapaxes(-1, -2) / sqrt(Dh)
        ...
        """
        from minibiogpt.catalog.explain import explained

        print(explained(self, name))

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write a safetensors file, beside and renamed; names, their order and the letters are in its metadata.

        Arrays come from a device only now. bfloat16 is stored as such, and read back as float32, for NumPy lacks it.

        Raises
        ------
        InputError
            If it cannot be written there, or an array that was added is of a dtype that ``load`` does not read.
        """
        arrays = {name: np.array(backend_of(x).to_numpy(x), order="C") for name, x in self.items()}
        for name, x in arrays.items():
            if x.dtype.str not in SAVED and x.dtype.name != "bfloat16":
                must = "the arrays of a trace must be floats, integers or booleans"
                raise InputError(must, f"{name} of {x.dtype}", "convert it with .astype")
        about = {"format": FORMAT, "version": VERSION, "names": json.dumps(list(self))}
        about["letters"] = json.dumps(self.letters)
        about["config"] = json.dumps(None if self.config is None else self.config.to_dict())
        about["head"], about["inputs"] = self.head, json.dumps(self.inputs)
        write_beside(Path(file), lambda beside: save_file(arrays, beside, metadata=about))

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Read what ``save`` wrote, as NumPy arrays, in order.

        Raises
        ------
        InputError
            If it is no such file.
        """
        path, trace = Path(file), cls()
        if not path.exists():
            raise InputError("a trace must be read from its file", f"no {path}", "write one with Trace.save")
        about, tensors = read_header(path)
        try:
            names, letters = json.loads(about["names"]), json.loads(about["letters"])
            if (about["format"], about["version"], sorted(names)) != (FORMAT, VERSION, sorted(tensors)):
                raise ValueError("another format, or other names")
            trace.letters = {str(letter): int(size) for letter, size in letters.items()}
            trace._remember(about)
            trace.update((name, widened(tensors[name].mapped(), tensors[name].dtype).copy()) for name in names)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            must = f"{path} must be a trace that Trace.save wrote"
            raise InputError(must, "another safetensors file", "read it with safetensors.numpy.load_file") from None
        return trace

    def _remember(self, about: Mapping[str, str]) -> None:
        """What a file says of the call; a file without it is of nobody's call."""
        config = json.loads(about.get("config", "null"))
        self.config = None if config is None else BioGptConfig.from_dict(config)
        self.head = about.get("head", "")
        self.inputs = {str(name): str(dtype) for name, dtype in json.loads(about.get("inputs", "{}")).items()}

    def __repr__(self) -> str:
        size = sum(x.nbytes for x in self.values())
        ends = f", {next(iter(self))} ... {next(reversed(self))}" if self else ""
        return f"<Trace of {len(self)} arrays, {size / 1e6:.1f} MB{ends}>"


@unwarned
def mean_and_largest(x: Array) -> tuple[float, float]:
    """The mean and the largest absolute value, in float64, without the marks of hidden scores (finfo.min, -inf)."""
    backend = backend_of(x)
    host = backend.to_numpy(x).astype("float64")
    if x.dtype.kind not in "biu":
        host = host[~(host <= backend.lowest(x.dtype))]  # NaN stays: it is to be seen
    return (float(host.mean()), float(abs(host).max())) if host.size else (0.0, 0.0)


class Watch:
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
        check_met((pattern for pattern, _ in self.edits), replaceable, "an edit must be reached", why)
        check_met(self.kept or (), self.seen, "a name of the trace must occur in the call", why)

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

    def __init__(self, watch: Watch | None = None, path: str = "", *, whole: bool = False) -> None:
        self.watch, self.path, self.whole = watch, path, whole

    def __call__(self, name: str, x: Array) -> Array:
        """x as ``path.name`` (as ``path`` itself when the name is empty), or what an edit puts in its place."""
        return x if self.watch is None else self.watch.see(self._full(name), x)

    def note(self, name: str, x: Array) -> None:
        """Record what no edit can replace."""
        if self.watch is not None:
            self.watch.note(self._full(name), x)

    def under(self, path: str) -> Tap:
        """The tap of a module within this one; without a watch, this very tap."""
        return self if self.watch is None else Tap(self.watch, self._full(path))

    def step(self, n: int) -> Tap:
        """The tap of one step of a generation: its names start with ``step.{n}/``."""
        return self if self.watch is None else Tap(self.watch, f"step.{n}/")

    def asks(self, names: Iterable[str]) -> bool:
        """Whether any of these names, below this tap's path, is to be recorded or replaced."""
        return self.watch is not None and self.watch.asks(self._full(name) for name in names)

    def tell(
        self, head: str, sizes: Mapping[str, int] = NOTHING, config: BioGptConfig | None = None, **given: Any
    ) -> None:
        """Let the trace know what ``explain`` needs: head, sizes by their letters, config, and the inputs given.

        A model with a head tells it after the base model, and has the last word.
        """
        trace = None if self.watch is None else self.watch.trace
        if trace is not None:
            trace.head, trace.config = head, config or trace.config
            trace.letters |= {**sizes, **(config.letters if config else NOTHING)}
            trace.inputs |= {name: _dtype(x) for name, x in given.items() if x is not None}

    def part(self) -> Tap:
        """The same for a call within the call: what it does not reach may still be reached."""
        return self.under("")

    def finish(self) -> None:
        """The call is over; see Watch.finish."""
        if self.watch is not None and self.whole:
            self.watch.finish()

    def _full(self, name: str) -> str:
        return f"{self.path}.{name}" if name and self.path and not self.path.endswith("/") else self.path + name


def _dtype(x: Any) -> str:
    """Of an array or of a list."""
    return str(getattr(x, "dtype", None) or np.asarray(x).dtype)
