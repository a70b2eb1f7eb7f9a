"""A case: the inputs of one or more model calls, every array on the way, and how far each may be off.

A case file is a safetensors file; ``docs/golden-format.md`` describes it for readers without this package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.errors import InputError
from minibiogpt.files import write_beside
from minibiogpt.stored import StoredTensor, read_header

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
    samples : of the slim form: how many elements are stored. Sample j is at the flat index j * size // samples.
    sums : of the slim form: {precision: three budgets}, for the sum, the sum of |x|, and the sum of x^2.
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
        if self.kind not in KINDS or not names:
            raise ValueError("no arrays" if not names else f"kind {self.kind!r}")

    def entry(self, name: str) -> Entry:
        """What is said of one array."""
        return next(entry for entry in self.entries if entry.name == name)

    def array(self, name: str) -> np.ndarray:
        """The numbers of one array or input, mapped: float64, or int64. In the slim form its samples."""
        return self.tensors[name].mapped()

    def sums(self, name: str) -> np.ndarray | None:
        """Of the slim form: the sum of all elements, of their absolute values, and of their squares; or None."""
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
        None if sums is None else {p: None if b is None else [float(x) for x in b] for p, b in sums.items()},
    )


def _number(budget: Any) -> float | None:
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
    write_beside(Path(path), lambda beside: save_file(stored, beside, metadata=metadata))


def sample_places(size: int, samples: int) -> np.ndarray:
    """The flat indices of the samples: j * size // samples for each j, (samples,) int64.

    Examples
    --------
    >>> sample_places(10, 4).tolist()
    [0, 2, 5, 7]
    """
    return np.arange(samples, dtype=np.int64) * size // samples


def sums_of(x: np.ndarray) -> np.ndarray:
    """(3,) the sum, the sum of |x| and the sum of x^2, in float64."""
    wide = x.astype(np.float64, copy=False)
    return np.array([wide.sum(), np.abs(wide).sum(), np.square(wide).sum()])
