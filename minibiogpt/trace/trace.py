"""Trace: every named array of a forward pass, in the order it was made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.backend import Array, backend_of, ignore_overflow
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.files.safetensors import DTYPES, read_header, widened
from minibiogpt.files.writing import write_atomically
from minibiogpt.trace.patterns import check_all_matched, patterns_of

if TYPE_CHECKING:
    from minibiogpt.catalog.explain import CallFacts

FORMAT, VERSION = "minibiogpt-trace", "1"
SAVED = {np.dtype(dtype).str for name, dtype in DTYPES.items() if name != "BF16"}


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
        check_all_matched(patterns, self, "a trace can be asked for the arrays it holds")
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
        from minibiogpt.catalog.explain import explain

        print(explain(self.facts(), name))

    def facts(self) -> CallFacts:
        """What ``minibiogpt.catalog.explain`` needs to know of the call.

        Raises
        ------
        InputError
            If no call has filled the trace.
        """
        from minibiogpt.catalog.explain import CallFacts

        if self.config is None:
            must = "a trace must be filled before it can explain"
            raise InputError(must, "one of no call", "hand it to a model: model(ids, trace=trace)")
        shapes = {name: x.shape for name, x in self.items()}
        dtypes = {name: str(x.dtype) for name, x in self.items()}
        return CallFacts(self.config, self.head, dict(self.inputs), dict(self.letters), shapes, dtypes)

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
        write_atomically(Path(file), lambda beside: save_file(arrays, beside, metadata=about))

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


@ignore_overflow
def mean_and_largest(x: Array) -> tuple[float, float]:
    """The mean and the largest absolute value, in float64, without the marks of hidden scores (finfo.min, -inf)."""
    backend = backend_of(x)
    host = backend.to_numpy(x).astype("float64")
    if x.dtype.kind not in "biu":
        host = host[~(host <= backend.lowest(x.dtype))]  # NaN stays: it is to be seen
    return (float(host.mean()), float(abs(host).max())) if host.size else (0.0, 0.0)
