"""Trace: every named array of a forward pass, in the order of computation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from minibiogpt.backend import Array, backend_of, ignore_overflow
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.arrays import NPZ, array_file, write_arrays
from minibiogpt.files.json_text import json_text
from minibiogpt.files.safetensors import DTYPES, read_header, widened
from minibiogpt.idioms import no_attribute
from minibiogpt.trace.lookup import Held, check_selected
from minibiogpt.trace.patterns import patterns_of, warn_of_differences

if TYPE_CHECKING:
    from minibiogpt.catalog.explain import CallFacts

FORMAT, VERSION = "minibiogpt-trace", "1"
SAVED = {np.dtype(dtype).str for name, dtype in DTYPES.items() if name != "BF16"}
OF_A_CACHE = {
    "cache_dict": "a trace is a dictionary: dict(trace)",
    "stack_head_results": "write minibiogpt.lens.head_out(model, trace, layer)",
    "compute_head_results": "write minibiogpt.lens.head_out(model, trace, layer)",
    "logit_attrs": "write minibiogpt.lens.logit_attribution(model, trace, token)",
    "accumulated_resid": "write trace.select('embeddings', 'layers.{0..3}')",
    "decompose_resid": "write trace.select(['embeddings', 'layers.*.self_attn.out_proj', 'layers.*.fc2'])",
    "stack_activation": "write numpy.stack(list(trace.select('layers.*.fc2').values()))",
    "remove_batch_dim": "write x[0] for each array x",
}
"""{attribute of TransformerLens' ActivationCache: what to write instead}."""


class Trace(dict[str, Array]):
    """An ordered {name: array} that a model call fills: ``model(ids, trace=trace)``.

    The arrays are copies: changing one changes nothing in the model, and later calls don't change them. Each call
    empties the trace first. The names follow the module paths in transformers (see ``explain``). If you request an
    array inside attention, attention runs in its "eager" form.

    Parameters
    ----------
    names : which arrays to keep; all by default. Names or patterns: ``*`` matches any run of characters, ``{0..3}``
        is a range, ``{q,k}`` a list. Names of transformers, TransformerLens and llama.cpp work too; a warning says
        where our array has other axes. A name that matches no array raises an InputError at the end of the call.

    Attributes
    ----------
    letters : the sizes of the last call by letter: {"B": 1, "T": 3, ...}; see ``minibiogpt.config``.
    config, head, inputs : the model's config, its head ("base", "causal", "sequence", "token" or "generate"), and the
        inputs of the call, {name: dtype}. Together they determine the equations of the arrays.

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
        patterns = [] if names is None else patterns_of(names)
        self.names = None if names is None else [pattern.text for pattern in patterns]
        self._reset()
        warn_of_differences(patterns)

    def _reset(self) -> None:
        """Clear the arrays and everything about the last call."""
        self.clear()
        self.letters: dict[str, int] = {}
        self.config: BioGptConfig | None = None
        self.head = ""
        self.inputs: dict[str, str] = {}

    def select(self, *names: str) -> Trace:
        """Return a trace of the arrays whose names match. The arrays are not copied."""
        if len(names) == 1 and isinstance(names[0], list | tuple | set) and all(isinstance(x, str) for x in names[0]):
            must = "select must have names one by one"
            raise InputError(must, short_repr(names[0]), "put a * before the list: trace.select(*names)")
        patterns, found = patterns_of(names), Trace()
        found.letters, found.inputs = dict(self.letters), dict(self.inputs)
        found.config, found.head = self.config, self.head
        for name, x in self.items():
            if any([pattern.matches(name) for pattern in patterns]):
                found[name] = x
        check_selected(patterns, self._held())
        warn_of_differences(patterns)
        return found

    def __getitem__(self, name: str) -> Array:
        """Return the array of a name of ours, or of transformers, TransformerLens or llama.cpp.

        ``in`` and ``get`` know the names of the trace only.

        Raises
        ------
        UnknownNameError
            If the trace does not hold it: an InputError, and a KeyError as for every dictionary.
        """
        if isinstance(name, str) and name in self:
            return super().__getitem__(name)
        return self._held().lookup(name)

    def _held(self) -> Held:
        return Held(dict(self), self.config, self.head, self.inputs)

    def summary(self) -> None:
        """Print one line per array: name, shape, dtype, mean and largest absolute value."""
        width = max(map(len, [*self, "name"]))
        print(f"{'name':{width}}  {'shape':18} {'dtype':8} {'mean':>11} {'largest':>11}")
        for name, x in self.items():
            mean, largest = mean_and_largest(x)
            print(f"{name:{width}}  {x.shape!s:18} {x.dtype!s:8} {mean:11.4g} {largest:11.4g}")

    def explain(self, name: str) -> None:
        """Print what one array is, its equation and sources, the line that computes it, and its names in other tools.

        Examples
        --------
        >>> from minibiogpt import BioGptForCausalLM
        >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
        >>> output = model([[2, 5, 9]], trace=trace)
        >>> trace.explain("layers.0.self_attn.scores")  # doctest: +ELLIPSIS
        layers.0.self_attn.scores: attention scores before the mask: scaled dot products of queries and keys
        shape            (B 1, H 4, T 3, S 3), float32
        equation         q @ k.swapaxes(-1, -2) / sqrt(Dh)
        ...
        """
        from minibiogpt.catalog.explain import explain

        print(explain(self.facts(), name))

    def facts(self) -> CallFacts:
        """Return what ``minibiogpt.catalog.explain`` needs to know about the call.

        Raises
        ------
        InputError
            If no call has filled the trace.
        """
        from minibiogpt.catalog.explain import CallFacts

        if self.config is None:
            must = "a trace must be filled by a call before it can explain"
            raise InputError(must, "a trace without a call", "pass it to a model: model(ids, trace=trace)")
        shapes = {name: x.shape for name, x in self.items()}
        dtypes = {name: str(x.dtype) for name, x in self.items()}
        return CallFacts(self.config, self.head, dict(self.inputs), dict(self.letters), shapes, dtypes)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write a safetensors file atomically; its metadata holds the names in order, the letters and the call.

        If the name ends in ``.npz``, write NumPy's format instead, for ``numpy.load``: the arrays without the metadata,
        so ``load`` does not read it.

        Arrays are copied from the device only now. bfloat16 is stored as such and read back as float32, since NumPy
        lacks it.

        Raises
        ------
        InputError
            If the file cannot be written, its name has a different ending, or an array that you added has a dtype that
            ``load`` does not read.
        """
        path = array_file(file, "the file of a trace")
        arrays = {name: np.array(backend_of(x).to_numpy(x), order="C") for name, x in self.items()}
        for name, x in arrays.items():
            if x.dtype.str not in SAVED and x.dtype.name != "bfloat16":
                must = "the arrays of a trace must be floats, integers or booleans"
                raise InputError(must, f"{name} of {x.dtype}", "convert it with .astype")
        metadata = {"format": FORMAT, "version": VERSION, "names": json_text(list(self))}
        metadata["letters"] = json_text(self.letters)
        metadata["config"] = json_text(None if self.config is None else self.config.to_dict())
        metadata["head"], metadata["inputs"] = self.head, json_text(self.inputs)
        write_arrays(path, arrays, metadata)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Read a file written by ``save``, as NumPy arrays, in order.

        Raises
        ------
        InputError
            If the file is missing, or ``save`` did not write it.
        """
        if not isinstance(file, str | os.PathLike) or not isinstance(os.fspath(file), str):
            raise InputError("the file of a trace must be a path", short_repr(file), "pass that of Trace.save")
        path, trace = Path(file), cls()
        if path.suffix.lower() == NPZ:
            remedy = "read it with numpy.load, or save the trace as .safetensors"
            raise InputError("Trace.load must read a safetensors file", str(path), remedy)
        if not path.exists():
            raise InputError("the file of a trace must exist", f"no {path}", "write one with Trace.save")
        metadata, tensors = read_header(path)
        try:
            names, letters = json.loads(metadata["names"]), json.loads(metadata["letters"])
            if (metadata["format"], metadata["version"], sorted(names)) != (FORMAT, VERSION, sorted(tensors)):
                raise ValueError("different format or names")
            trace.letters = {str(letter): int(size) for letter, size in letters.items()}
            trace._read_call(metadata)
            trace.update((name, widened(tensors[name].mapped(), tensors[name].dtype).copy()) for name in names)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            must = f"{path} must be a trace written by Trace.save"
            raise InputError(must, "a different safetensors file", "read it with safetensors.numpy.load_file") from None
        return trace

    def _read_call(self, metadata: Mapping[str, str]) -> None:
        """Read the config, head and inputs of the call; older files lack them."""
        config = json.loads(metadata.get("config", "null"))
        self.config = None if config is None else BioGptConfig.from_dict(config)
        self.head = metadata.get("head", "")
        self.inputs = {str(name): str(dtype) for name, dtype in json.loads(metadata.get("inputs", "{}")).items()}

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name, dict.fromkeys(self, f'write trace["{name}"]') | OF_A_CACHE)

    def __repr__(self) -> str:
        size = sum(x.nbytes for x in self.values())
        ends = f", {next(iter(self))} ... {next(reversed(self))}" if self else ""
        return f"<Trace of {len(self)} array{'s' * (len(self) != 1)}, {size / 1e6:.1f} MB{ends}>"


@ignore_overflow
def mean_and_largest(x: Array) -> tuple[float, float]:
    """Return the mean and the largest absolute value in float64, ignoring masked scores (finfo.min, -inf)."""
    backend = backend_of(x)
    host = backend.to_numpy(x).astype("float64")
    if x.dtype.kind not in "biu":
        host = host[~(host <= backend.lowest(x.dtype))]  # NaN stays visible
    return (float(host.mean()), float(abs(host).max())) if host.size else (0.0, 0.0)
