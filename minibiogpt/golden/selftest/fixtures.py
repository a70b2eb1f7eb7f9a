"""Where the self-test works: cases, a candidate that is right, and ways to write it down with something changed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.config import BioGptConfig
from minibiogpt.golden.format.case import Case, Entry
from minibiogpt.golden.format.record import record
from minibiogpt.heads import BioGptForCausalLM

Arrays = dict[str, np.ndarray]
VOCABULARY = 30011  # so that the logits are more than is compared at once
SIZES: dict[str, Any] = {"hidden_size": 21, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 37}


@dataclass(frozen=True)
class Attempt:
    """What to type after ``minibiogpt golden check``, and what must come of it.

    Attributes
    ----------
    words : each must be in what is printed.
    code : 0 agrees, 1 differs or incomplete, 2 unusable.
    """

    arguments: list[str]
    words: list[str]
    code: int = 1


class Absent(Exception):
    """The case has no array of the kind that a trial needs."""


Make = Callable[["Bench"], Attempt]


@dataclass(frozen=True)
class Trial:
    """Something done to the candidate, and how; ``make`` may raise Absent."""

    about: str
    make: Make


def trial(about: str, into: list[Trial]) -> Callable[[Make], Make]:
    """Put a function that makes an attempt into a list of trials."""

    def put(make: Make) -> Make:
        into.append(Trial(about, make))
        return make

    return put


@dataclass
class Bench:
    """A folder with cases, and the arrays of the main one.

    Attributes
    ----------
    path : the main case. arrays : its reference, which is a candidate that agrees.
    steps, slim, other : a case of two calls with a cache, one of samples, and one of another model.
    stale : the arrays of the same model for other ids.
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
    number: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        case = Case.read(self.path)
        self.entries = {entry.name: entry for entry in case.entries}
        self.arrays, self.inputs = arrays_of(self.path), case.inputs()
        self.heads = int(case.config.get("num_attention_heads", 1))

    def new(self, ending: str) -> Path:
        return self.folder / f"{next(self.number)}{ending}"

    def written(self, arrays: Mapping[str, np.ndarray]) -> str:
        """A safetensors file of these."""
        path = self.new(".safetensors")
        save_file({name: np.array(x, order="C") for name, x in arrays.items()}, path)
        return str(path)

    def mapped(self, content: Any) -> list[str]:
        """The options of a map file."""
        path = self.new(".json")
        path.write_text(json.dumps(content), encoding="utf-8")
        return ["--map", str(path)]

    def find(self, axes: str, last: bool = False, ending: str = "") -> str:
        """The first array of these axes, or the last, of more than one number along each; Absent if there is none."""
        names = [
            name
            for name, entry in self.entries.items()
            if entry.axes == axes and name.endswith(ending) and min(entry.shape, default=2) > 1
        ]
        if not names:
            raise Absent
        return names[-1 if last else 0]

    def budget(self, name: str) -> float:
        return float(self.entries[name].budgets["float64"] or 0.0)

    def attempt(self, changed: Mapping[str, np.ndarray | None], *words: str, code: int = 1) -> Attempt:
        """Check the right candidate with some arrays changed, or None for left away."""
        arrays = {name: x for name, x in {**self.arrays, **changed}.items() if x is not None}
        return Attempt([str(self.path), self.written(arrays)], list(words), code)

    def changed(self, name: str, change: Callable[[np.ndarray], Any], *words: str) -> Attempt:
        """Check with one array changed, in place or by what is returned; it must be named as the first difference."""
        x = self.arrays[name].copy()
        found = change(x)
        x = x if found is None else np.asarray(found)
        return self.attempt({name: x}, *(words or (f"first difference at {name}",)))


def arrays_of(path: Path) -> Arrays:
    """Every array of a case, by name."""
    case = Case.read(path)
    return {entry.name: np.array(case.array(entry.name)) for entry in case.entries}


def make_bench(folder: Path, case: Path | None = None) -> Bench:
    """Small cases with random weights; ``case`` takes the place of the main one."""
    rng = np.random.default_rng(0)
    ids, others = rng.integers(3, VOCABULARY, (2, 2, 5))
    mask = np.array([[0, 1, 1, 1, 1], [1] * 5])
    model, call = _model(VOCABULARY, 0), {"input_ids": ids, "attention_mask": mask}
    small, twice = _model(67, 1), {"input_ids": ids % 67}
    stale, main = folder / "stale.safetensors", folder / "main.safetensors"
    record(model, [call], main, name="main", seeds=1)
    record(model, [call], folder / "slim.safetensors", name="slim", slim=True, seeds=1)
    record(model, [{"input_ids": others, "attention_mask": mask}], stale, name="stale", seeds=1)
    record(small, [call | twice], folder / "other.safetensors", name="other", seeds=1)
    record(small, [twice, {"input_ids": others[:, :2] % 67}], folder / "steps.safetensors", name="steps", seeds=1)
    steps, slim, other = (folder / f"{name}.safetensors" for name in ("steps", "slim", "other"))
    return Bench(folder, case or main, steps, slim, other, arrays_of(stale))


def _model(vocabulary: int, seed: int) -> BioGptForCausalLM:
    config = BioGptConfig(vocab_size=vocabulary, max_position_embeddings=31, initializer_range=0.2, **SIZES)
    return BioGptForCausalLM.from_config(config, dtype="float64", seed=seed)
