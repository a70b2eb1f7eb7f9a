"""The self-test's workspace: small cases, a correct candidate, and methods that write variants of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.config import BioGptConfig
from minibiogpt.files.json_text import json_text
from minibiogpt.golden.format.case import Case, Entry
from minibiogpt.golden.format.record import record
from minibiogpt.heads import BioGptForCausalLM

Arrays = dict[str, np.ndarray]
VOCABULARY = 30011  # large enough that the logits are compared in more than one block
SIZES: dict[str, Any] = {"hidden_size": 21, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 37}


@dataclass(frozen=True)
class CheckRun:
    """One run of ``minibiogpt golden check``: its arguments and the expected outcome.

    Attributes
    ----------
    arguments : the command's arguments.
    expected : strings that must all be in the output.
    exit_code : expected exit code: 0 agrees, 1 differs or incomplete, 2 unusable input.
    """

    arguments: list[str]
    expected: list[str]
    exit_code: int = 1


class NoSuchArray(Exception):
    """Raised when the case has no array of the axes that a trial needs. The trial is then skipped."""


MakeRun = Callable[["Workspace"], CheckRun]


@dataclass(frozen=True)
class Trial:
    """One trial of the self-test.

    Attributes
    ----------
    about : how the candidate is changed.
    make : writes the candidate and returns the run; may raise NoSuchArray.
    """

    about: str
    make: MakeRun


def trial(about: str, into: list[Trial]) -> Callable[[MakeRun], MakeRun]:
    """Return a decorator that appends a function as a trial to a list."""

    def decorate(make: MakeRun) -> MakeRun:
        into.append(Trial(about, make))
        return make

    return decorate


@dataclass
class Workspace:
    """A folder with small cases, and the arrays of the main case.

    Attributes
    ----------
    path : the main case.
    arrays : its reference arrays, a candidate that agrees.
    entries, inputs : its entries and inputs, by name.
    steps, slim, other : a case of two calls with a cache, a slim case, and a case of a different model.
    stale : arrays of the same model for different ids.
    """

    folder: Path
    path: Path
    steps: Path
    slim: Path
    other: Path
    stale: Arrays
    arrays: Arrays = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    inputs: Arrays = field(default_factory=dict)
    heads: int = 1
    counter: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        case = Case.read(self.path)
        self.entries = {entry.name: entry for entry in case.entries}
        self.arrays, self.inputs = arrays_of(self.path), case.inputs()
        self.heads = int(case.config.get("num_attention_heads", 1))

    def new_path(self, ending: str) -> Path:
        return self.folder / f"{next(self.counter)}{ending}"

    def write_candidate(self, arrays: Mapping[str, np.ndarray]) -> str:
        """Write a safetensors file of these arrays, and return its path."""
        path = self.new_path(".safetensors")
        save_file({name: np.array(x, order="C") for name, x in arrays.items()}, path)
        return str(path)

    def map_options(self, content: Any) -> list[str]:
        """Write a map file, and return the options that select it."""
        path = self.new_path(".json")
        path.write_text(json_text(content), encoding="utf-8")
        return ["--map", str(path)]

    def find(self, axes: str, last: bool = False, ending: str = "") -> str:
        """Return the name of the first (or last) array with these axes, none of size 1; raise NoSuchArray if none."""
        names = [
            name
            for name, entry in self.entries.items()
            if entry.axes == axes and name.endswith(ending) and min(entry.shape, default=2) > 1
        ]
        if not names:
            raise NoSuchArray
        return names[-1 if last else 0]

    def budget(self, name: str) -> float:
        return float(self.entries[name].budgets["float64"] or 0.0)

    def check_with(self, changed: Mapping[str, np.ndarray | None], *expected: str, exit_code: int = 1) -> CheckRun:
        """Return a run with some arrays of the correct candidate replaced, or left out if None."""
        arrays = {name: x for name, x in {**self.arrays, **changed}.items() if x is not None}
        return CheckRun([str(self.path), self.write_candidate(arrays)], list(expected), exit_code)

    def check_changed(self, name: str, change: Callable[[np.ndarray], Any], *expected: str) -> CheckRun:
        """Return a run with one array changed, in place or by return value; by default it's the first difference."""
        x = self.arrays[name].copy()
        result = change(x)
        x = x if result is None else np.asarray(result)
        return self.check_with({name: x}, *(expected or (f"first difference at {name}",)))


def arrays_of(path: Path) -> Arrays:
    """Return {name: array} of every array of a case."""
    case = Case.read(path)
    return {entry.name: np.array(case.array(entry.name)) for entry in case.entries}


def make_workspace(folder: Path, case: Path | None = None) -> Workspace:
    """Record small cases with random weights; ``case`` replaces the main one."""
    rng = np.random.default_rng(0)
    ids, others = rng.integers(3, VOCABULARY, (2, 2, 5))
    mask = np.array([[0, 1, 1, 1, 1], [1] * 5])
    model, call = _model(VOCABULARY, 0), {"input_ids": ids, "attention_mask": mask}
    small, small_call = _model(67, 1), {"input_ids": ids % 67}
    stale, main = folder / "stale.safetensors", folder / "main.safetensors"
    record(model, [call], main, name="main", seeds=1)
    record(model, [call], folder / "slim.safetensors", name="slim", slim=True, seeds=1)
    record(model, [{"input_ids": others, "attention_mask": mask}], stale, name="stale", seeds=1)
    record(small, [call | small_call], folder / "other.safetensors", name="other", seeds=1)
    record(small, [small_call, {"input_ids": others[:, :2] % 67}], folder / "steps.safetensors", name="steps", seeds=1)
    steps, slim, other = (folder / f"{name}.safetensors" for name in ("steps", "slim", "other"))
    return Workspace(folder, case or main, steps, slim, other, arrays_of(stale))


def _model(vocabulary: int, seed: int) -> BioGptForCausalLM:
    config = BioGptConfig(vocab_size=vocabulary, max_position_embeddings=31, initializer_range=0.2, **SIZES)
    return BioGptForCausalLM.from_config(config, dtype="float64", seed=seed)


def npz_of(w: Workspace, arrays: Arrays) -> str:
    """Write the arrays as a new .npz file, and return its path."""
    path = w.new_path(".npz")
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def folder_of(w: Workspace, arrays: Arrays) -> Path:
    """Write the arrays as .npy files in a new folder, and return its path."""
    folder = w.new_path("")
    for name, x in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, x)
    return folder
