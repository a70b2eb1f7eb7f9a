"""A golden case: the inputs of one or more model calls, every intermediate array, and the allowed error of each.

A case file is a safetensors file. ``docs/golden-format.md`` describes it for readers without this package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.errors import InputError
from minibiogpt.files.json_text import json_text
from minibiogpt.files.safetensors import StoredTensor, TensorToWrite, read_header, write_tensors
from minibiogpt.files.writing import write_atomically

FORMAT, VERSION = "minibiogpt-golden", "1"
KINDS = ("full", "slim")
INPUT = "inputs/"  # prefix of an input's tensor name
SUMS = "/sums"  # suffix of an array's name: its four sums, in the slim form
WEIGHTS = "weights/"  # prefix of dequantized rows of a weight
PRECISIONS = ("float64", "float32", "bfloat16", "float16")
EIGHT_BITS = "int8-dynamic"  # a precision more, of cases with weights of 8 bits and of q4_0


@dataclass(frozen=True)
class Entry:
    """What a case stores about one array, besides its values.

    Attributes
    ----------
    shape, axes : the sizes and the letters of the axes: (2, 7, 24) and "B T D".
    largest : largest absolute value; masked scores don't count.
    budgets : {precision: largest absolute error that rounding explains}; None if the precision can't represent the
        array.
    samples : slim form only: number of stored elements; ``sample_indices`` returns their indices.
    sums : slim form only: {precision: a budget for each of the four sums of ``sums_of``}.
    rows : of a weight: which of its rows these are.
    """

    name: str
    shape: tuple[int, ...]
    axes: str
    largest: float
    budgets: dict[str, float | None]
    samples: int | None = None
    sums: dict[str, list[float] | None] | None = None
    rows: list[int] | None = None


@dataclass(frozen=True)
class Case:
    """One case file. Only its header has been read; arrays are mapped on request.

    Attributes
    ----------
    name, about : the case's name, and what it shows.
    kind : "full", or "slim" (samples and sums only).
    architecture, config : transformers' name of the model class, and the model's config.
    model : {file: sha256} of the weights.
    budget : how the budgets were measured.
    input_names : the tensors that are inputs, such as "inputs/input_ids".
    entries : the arrays in the order of execution; rows of weights come first.
    quantization : how the weights are quantized; None if they are floats.
    """

    path: Path
    name: str
    about: str
    kind: str
    architecture: str
    config: dict[str, Any]
    model: dict[str, str]
    budget: dict[str, Any]
    input_names: list[str]
    entries: list[Entry]
    tensors: dict[str, StoredTensor]
    quantization: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: str | Path) -> Case:
        """Read the header of a case file.

        Raises
        ------
        InputError
            If the file isn't a golden case, has a different version, or its header doesn't match its tensors.
        """
        path = Path(path)
        metadata, tensors = read_header(path)
        found = f"format {metadata.get('format')!r}, version {metadata.get('version')!r}"
        must = f"{path} must be a golden case, format {FORMAT!r}, version {VERSION!r}"
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
            raise InputError(must, found, "make one: minibiogpt golden record, or minibiogpt golden kit")
        try:
            case = cls(path=path, tensors=tensors, **_parsed_fields(metadata))
            case.check()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(must, f"an incomplete or inconsistent header ({error})", "record the case again") from None
        return case

    def check(self) -> None:
        """Raise ValueError if the header doesn't match the tensors."""
        sums = [entry.name + SUMS for entry in self.entries if entry.sums is not None]
        names = [entry.name for entry in self.entries]
        precisions = set(self.precisions)
        if not set(PRECISIONS) <= precisions <= {*PRECISIONS, EIGHT_BITS}:
            raise ValueError(f"precisions {', '.join(self.precisions)}")
        if sorted([*self.input_names, *names, *sums]) != sorted(self.tensors):
            raise ValueError("its names are not those of the tensors")
        for entry in self.entries:
            stored = entry.shape if entry.samples is None else (entry.samples,)
            tensor = self.tensors[entry.name]
            if (tensor.shape, tensor.dtype in ("F64", "I64")) != (stored, True):
                raise ValueError(f"the tensor {entry.name} has a different shape or dtype")
            if set(entry.budgets) != precisions or set(entry.sums or precisions) != precisions:
                raise ValueError(f"{entry.name} lacks budgets")
        if any(self.tensors[name].shape != (4,) for name in sums):
            raise ValueError("an array must have four sums")
        if self.kind not in KINDS or not names:
            raise ValueError("no arrays" if not names else f"kind {self.kind!r}")

    @property
    def precisions(self) -> list[str]:
        """The precisions that the case has budgets of."""
        return list(self.entries[0].budgets) if self.entries else list(PRECISIONS)

    def entry(self, name: str) -> Entry:
        """Return the entry of one array."""
        return next(entry for entry in self.entries if entry.name == name)

    def array(self, name: str) -> np.ndarray:
        """Return the values of one array or input, memory-mapped: float64 or int64. In the slim form, its samples."""
        return self.tensors[name].mapped()

    def sums(self, name: str) -> np.ndarray | None:
        """Return the four sums over all elements in the slim form, or None."""
        return self.array(name + SUMS) if name + SUMS in self.tensors else None

    def inputs(self) -> dict[str, np.ndarray]:
        """Return {full name: array} of every input."""
        return {name: self.array(name) for name in self.input_names}


def _parsed_fields(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a Case that are stored in the metadata."""
    return {
        "name": metadata["case"],
        "about": metadata["about"],
        "kind": metadata["kind"],
        "architecture": metadata["architecture"],
        "config": dict(json.loads(metadata["config"])),
        "model": dict(json.loads(metadata["model"])),
        "budget": dict(json.loads(metadata["budget"])),
        "input_names": [str(name) for name in json.loads(metadata["inputs"])],
        "entries": [_parsed_entry(item) for item in json.loads(metadata["arrays"])],
        "quantization": _parsed_quantization(metadata.get("quantization")),
    }


def _parsed_quantization(text: str | None) -> dict[str, Any] | None:
    """Return how the weights are quantized, with the fields that are used converted to their types."""
    if text is None:
        return None
    found = dict(json.loads(text))
    skip = [str(name) for name in found["skip"]]
    return found | {"format": str(found["format"]), "double_quant": bool(found["double_quant"]), "skip": skip}


def _parsed_entry(item: Mapping[str, Any]) -> Entry:
    """Return an entry from its JSON object, with every field converted to its type."""
    sums = item.get("sums")
    return Entry(
        str(item["name"]),
        tuple(int(size) for size in item["shape"]),
        str(item["axes"]),
        float(item["largest"]),
        {precision: _parsed_budget(budget) for precision, budget in item["budgets"].items()},
        None if item.get("samples") is None else int(item["samples"]),
        None
        if sums is None
        else {
            p: None if budgets is None else [_parsed_budget(b) or 0.0 for b in budgets] for p, budgets in sums.items()
        },
        None if item.get("rows") is None else [int(row) for row in item["rows"]],
    )


def _parsed_budget(budget: Any) -> float | None:
    """Return a budget, checked to be finite and at least 0; None if there is none."""
    if budget is not None and not 0 <= float(budget) < math.inf:
        raise ValueError(f"a budget of {budget}")
    return None if budget is None else float(budget)


def write_case(
    path: str | Path,
    fields: Mapping[str, Any],
    inputs: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Write a case file atomically. The same arguments give the same bytes: the metadata's keys are sorted.

    Parameters
    ----------
    fields : case, about, kind, architecture (strings); config, model, budget, quantization (written as JSON).
    inputs : {full name: array}.
    arrays : {name: array}: what is stored for each entry, and the sums of the slim form.
    """
    metadata = {name: value if isinstance(value, str) else json_text(value) for name, value in fields.items()}
    metadata |= {"format": FORMAT, "version": VERSION, "dtype": "float64", "inputs": json_text(list(inputs))}
    metadata["arrays"] = json_text([{k: v for k, v in asdict(e).items() if v is not None} for e in entries])
    stored = {name: _to_write(x) for name, x in {**inputs, **arrays}.items()}
    ordered = dict(sorted(metadata.items()))
    write_atomically(Path(path), lambda temporary: write_tensors(temporary, stored, ordered))


def _to_write(x: np.ndarray) -> TensorToWrite:
    return TensorToWrite("F64" if x.dtype.kind == "f" else "I64", x.shape, lambda: [x])


def sample_indices(size: int, samples: int) -> np.ndarray:
    """Return the flat indices of the samples, (samples,) int64: one in each of ``samples`` equal parts, irregular.

    Sample j is at j * size // samples + (hashed(j) >> 8) % (size // samples). A regular grid would sample the same
    columns in every row.

    Examples
    --------
    >>> sample_indices(3, 3).tolist(), sample_indices(40, 4).tolist()
    ([0, 1, 2], [9, 13, 23, 36])
    """
    j = np.arange(samples, dtype=np.int64)
    return j * size // samples + (hashed_indices(0, samples) >> 8) % max(1, size // max(1, samples))


def hashed_indices(start: int, count: int) -> np.ndarray:
    """Return (i + 1) * 2654435761 mod 2^32 for i from ``start``: (count,) int64 in [0, 2^32), in scrambled order.

    This is multiplicative hashing. Source of the multiplier: Knuth, The Art of Computer Programming, volume 3,
    section 6.4.
    """
    i = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    return (i * np.uint64(2654435761) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def sums_of(x: np.ndarray, start: int = 0) -> np.ndarray:
    """Return the sums of x, |x|, x^2 and x w, (4,) float64, where the weight w depends on the element's index.

    w of the element at the flat index i is hashed(i) / 2^32 - 1/2. ``start`` is the flat index of x's first element.
    """
    wide = x.astype(np.float64, copy=False).reshape(-1)
    weighted = np.dot(wide, index_weights(wide.size, start))
    return np.array([wide.sum(), np.abs(wide).sum(), np.square(wide).sum(), weighted])


def index_weights(count: int, start: int = 0) -> np.ndarray:
    """Return the weight w of each flat index from ``start``: (count,) float64 in [-1/2, 1/2)."""
    return hashed_indices(start, count) / 2.0**32 - 0.5
