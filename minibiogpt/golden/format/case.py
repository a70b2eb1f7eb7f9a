"""A case: the inputs of one or more model calls, every array on the way, and how far each may be off.

A case file is a safetensors file; ``docs/golden-format.md`` describes it for readers without this package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.errors import InputError
from minibiogpt.files.safetensors import StoredTensor, read_header
from minibiogpt.files.writing import write_atomically

FORMAT, VERSION = "minibiogpt-golden", "1"
KINDS = ("full", "slim")
INPUT = "inputs/"  # in front of the name of an input
SUMS = "/sums"  # behind the name of an array: its three sums, in the slim form
PRECISIONS = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Entry:
    """What a case says of one array.

    Attributes
    ----------
    shape, axes : its sizes, and their letters: (2, 7, 24) and "B T D".
    largest : the largest absolute value, marks of hidden scores left out.
    budgets : {precision: the largest absolute error that rounding can explain}; None: it cannot represent the case.
    samples : of the slim form: how many elements are stored; ``sample_places`` tells which.
    sums : of the slim form: {precision: a budget for each of the four sums of ``sums_of``}.
    """

    name: str
    shape: tuple[int, ...]
    axes: str
    largest: float
    budgets: dict[str, float | None]
    samples: int | None = None
    sums: dict[str, list[float] | None] | None = None


@dataclass(frozen=True)
class Case:
    """One case file, its header read and its arrays not yet.

    Attributes
    ----------
    name, about : what it is called, and what it shows.
    kind : "full", or "slim": samples and sums.
    architecture, config : the model class as transformers calls it, and its config.
    model : {file: sha256} of the weights.
    budget : how the budgets were made.
    input_names : the tensors that are inputs, "inputs/input_ids" and so on.
    entries : the arrays in the order of execution.
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

    @classmethod
    def read(cls, path: str | Path) -> Case:
        """The header of a case file.

        Raises
        ------
        InputError
            If it is none, or one of a later version, or its header and its tensors do not belong together.
        """
        path = Path(path)
        about, tensors = read_header(path)
        found = f"format {about.get('format')!r}, version {about.get('version')!r}"
        must = f"{path} must be a golden case, format {FORMAT!r}, version {VERSION!r}"
        if (about.get("format"), about.get("version")) != (FORMAT, VERSION):
            raise InputError(must, found, "make one: minibiogpt golden record, or minibiogpt golden kit")
        try:
            case = cls(path=path, tensors=tensors, **_facts(about))
            case.check()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(must, f"a header that is not whole ({error})", "make it again") from None
        return case

    def check(self) -> None:
        """ValueError if header and tensors do not belong together."""
        sums = [entry.name + SUMS for entry in self.entries if entry.sums is not None]
        names = [entry.name for entry in self.entries]
        if sorted([*self.input_names, *names, *sums]) != sorted(self.tensors):
            raise ValueError("tensors of other names")
        for entry in self.entries:
            stored = entry.shape if entry.samples is None else (entry.samples,)
            tensor = self.tensors[entry.name]
            if (tensor.shape, tensor.dtype in ("F64", "I64")) != (stored, True):
                raise ValueError(f"{entry.name} of another shape or dtype")
            if set(entry.budgets) != set(PRECISIONS) or set(entry.sums or PRECISIONS) != set(PRECISIONS):
                raise ValueError(f"{entry.name} without budgets")
        if any(self.tensors[name].shape != (4,) for name in sums):
            raise ValueError("sums that are not four")
        if self.kind not in KINDS or not names:
            raise ValueError("no arrays" if not names else f"kind {self.kind!r}")

    def entry(self, name: str) -> Entry:
        """What is said of one array."""
        return next(entry for entry in self.entries if entry.name == name)

    def array(self, name: str) -> np.ndarray:
        """The numbers of one array or input, mapped: float64, or int64. In the slim form its samples."""
        return self.tensors[name].mapped()

    def sums(self, name: str) -> np.ndarray | None:
        """Of the slim form: the four sums over all elements; or None."""
        return self.array(name + SUMS) if name + SUMS in self.tensors else None

    def inputs(self) -> dict[str, np.ndarray]:
        """{name: array} of every input, by its whole name."""
        return {name: self.array(name) for name in self.input_names}


def _facts(about: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a Case that the metadata tells."""
    return {
        "name": about["case"],
        "about": about["about"],
        "kind": about["kind"],
        "architecture": about["architecture"],
        "config": dict(json.loads(about["config"])),
        "model": dict(json.loads(about["model"])),
        "budget": dict(json.loads(about["budget"])),
        "input_names": [str(name) for name in json.loads(about["inputs"])],
        "entries": [_entry(one) for one in json.loads(about["arrays"])],
    }


def _entry(one: Mapping[str, Any]) -> Entry:
    """An entry from its JSON, every number a number."""
    sums = one.get("sums")
    return Entry(
        str(one["name"]),
        tuple(int(size) for size in one["shape"]),
        str(one["axes"]),
        float(one["largest"]),
        {precision: _number(budget) for precision, budget in one["budgets"].items()},
        None if one.get("samples") is None else int(one["samples"]),
        None if sums is None else {p: None if b is None else [_number(x) or 0.0 for x in b] for p, b in sums.items()},
    )


def _number(budget: Any) -> float | None:
    """A budget, which is a number that bounds something; None where there is none."""
    if budget is not None and not 0 <= float(budget) < math.inf:
        raise ValueError(f"a budget of {budget}")
    return None if budget is None else float(budget)


def write_case(
    path: str | Path,
    facts: Mapping[str, Any],
    inputs: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Write a case file, beside and renamed.

    Parameters
    ----------
    facts : case, about, kind, architecture (texts); config, model, budget (written as JSON).
    inputs : by their whole names. arrays : what is stored of each entry, and the sums of the slim form.
    """
    metadata = {name: one if isinstance(one, str) else json.dumps(one) for name, one in facts.items()}
    metadata |= {"format": FORMAT, "version": VERSION, "dtype": "float64", "inputs": json.dumps(list(inputs))}
    metadata["arrays"] = json.dumps([{k: v for k, v in asdict(e).items() if v is not None} for e in entries])
    stored = {name: np.array(x, order="C") for name, x in {**inputs, **arrays}.items()}
    write_atomically(Path(path), lambda beside: save_file(stored, beside, metadata=metadata))


def sample_places(size: int, samples: int) -> np.ndarray:
    """The flat indices of the samples, (samples,) int64: one in each of so many equal parts, at no regular distance.

    Sample j stands at j * size // samples + (scrambled(j) >> 8) % (size // samples): on a regular grid the same
    columns would be looked at in every row.

    Examples
    --------
    >>> sample_places(3, 3).tolist(), sample_places(40, 4).tolist()
    ([0, 1, 2], [9, 13, 23, 36])
    """
    j = np.arange(samples, dtype=np.int64)
    return j * size // samples + (scrambled(0, samples) >> 8) % max(1, size // max(1, samples))


def scrambled(start: int, count: int) -> np.ndarray:
    """(i + 1) * 2654435761 mod 2^32 for i from ``start``: (count,) int64 in [0, 2^32), in no order.

    Source: the multiplier of Knuth, The Art of Computer Programming, volume 3, section 6.4.
    """
    i = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    return (i * np.uint64(2654435761) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def sums_of(x: np.ndarray, start: int = 0) -> np.ndarray:
    """(4,) in float64: the sums of x, of |x|, of x^2, and of x w, where w tells the places apart.

    w of the element at the flat index i is scrambled(i) / 2^32 - 1/2. ``start`` is the flat index of the first one.
    """
    wide = x.astype(np.float64, copy=False).reshape(-1)
    weighted = np.dot(wide, weights_of(wide.size, start))
    return np.array([wide.sum(), np.abs(wide).sum(), np.square(wide).sum(), weighted])


def weights_of(count: int, start: int = 0) -> np.ndarray:
    """w of each place from ``start``: (count,) float64 in [-1/2, 1/2)."""
    return scrambled(start, count) / 2.0**32 - 0.5
