"""A kit's cases run by PyTorch with something planted, and what ``golden check`` says of what comes out.

Which tensor must be named first is worked out without the kit: see ``true_first``.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from minibiogpt import InputError
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.result import AGREES, Options, Row
from minibiogpt.golden.format.case import Case
from tests.reference.mistakes import MISTAKES
from tests.reference.planting import Plant, corrected
from tools import dump_torch

Arrays = dict[str, torch.Tensor]
PRECISIONS = ("float64", "float32", "bfloat16")
MARKED = 1e25  # times a budget: no number of a model, but the mark of a hidden score
HIDDEN, FAR, DEEP = -1e300, 800.0, -6e4  # see "hidden in effect" in docs/golden-format.md


@dataclass(frozen=True)
class KitCase:
    """A case of a kit, and the PyTorch model that it belongs to."""

    name: str
    path: Path
    folder: Path

    @property
    def case(self) -> Case:
        return _case(self.path)

    def model(self, dtype: str) -> Any:
        return _model(self.folder, self.case.architecture, dtype)

    @property
    def inputs(self) -> dump_torch.Case:
        return _inputs(self.path)


_inputs = cache(dump_torch.read_case)
_case = cache(Case.read)


@cache
def _model(folder: Path, architecture: str, dtype: str) -> Any:
    return dump_torch.load(folder, architecture, dtype, "cpu")


def cases_of(kit: Path, only: list[str] | None = None) -> list[KitCase]:
    """The cases of a kit's manifest; those named, if any are."""
    listed = json.loads((kit / "manifest.json").read_text())["cases"]
    return [
        KitCase(one["name"], kit / one["file"], kit / one["model"]) for one in listed if not only or one["name"] in only
    ]


def run(case: KitCase, dtype: str, plant: Plant, inputs: dump_torch.Case | None = None) -> Arrays | None:
    """Every array of transformers, its pooling mended, with something planted; None if PyTorch refuses to run that."""
    model = case.model(dtype)
    try:
        with corrected(model), plant(model):
            return dump_torch.record_case(model, inputs or case.inputs)
    except (IndexError, RuntimeError, ValueError):
        return None


def true_first(right: Arrays, wrong: Arrays) -> str | None:
    """The first tensor of the right run that the wrong one lacks, or has otherwise; None if there is none."""
    for name, x in right.items():
        y = wrong.get(name)
        if y is None or y.shape != x.shape or not _equal(name, x, y):
            return name
    return None


def _equal(name: str, x: torch.Tensor, y: torch.Tensor) -> bool:
    """Bit for bit, NaN unlike itself; what x hides must be hidden in y by its effect on the softmax."""
    if not name.endswith(".scores_masked"):
        return torch.equal(x, y)
    marks = x < HIDDEN
    top, low = y.amax(-1, keepdim=True), y.amin(-1, keepdim=True)
    hides = (y < top - FAR) | ((top == low) & (top < DEEP))
    return bool(torch.where(marks, hides, x == y).all())


@dataclass(frozen=True)
class Verdict:
    """What the check said: its exit code, the first tensor it did not let pass, and by how many budgets."""

    code: int
    first: str | None = None
    times: float = 0.0

    @classmethod
    def of(cls, case: KitCase, arrays: Mapping[str, Any], subset: bool = False, real_only: bool = False) -> Verdict:
        """Through a file, as for any candidate. What the precision cannot represent at all is left out."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "theirs.safetensors"
            save_file({name: torch.as_tensor(x) for name, x in arrays.items()}, path)
            try:
                result = check(case.case, path, Options(subset=subset, real_only=real_only))
            except InputError:
                return cls(2)
        bad = [row for row in result.rows if row.state != AGREES and _counts(row, subset)]
        if not bad:
            return cls(0 if result.compared else 2)
        return cls(1, bad[0].name, _times(bad[0]))


def _counts(row: Row, subset: bool) -> bool:
    if row.candidate is None:
        return not subset
    return row.dtype not in row.budgets or row.budgets[row.dtype] is not None


def _times(row: Row) -> float:
    """How many budgets; without end for NaN, a mark too few or too many, another shape, a whole number."""
    if row.measured is None or row.times is None or row.measured.nan or row.measured.wrong_marks:
        return math.inf
    return row.times if row.times < MARKED else math.inf


@dataclass
class Pair:
    """One mistake in one case. ``first``: what must be named; None: the case cannot show it, or PyTorch refuses."""

    mistake: str
    case: str
    refused: bool = False
    first: str | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def right(self, precision: str) -> bool:
        return self.verdicts[precision].first == self.first

    @property
    def sign(self) -> str:
        """For the table: caught at its place, caught elsewhere, missed, refused by PyTorch, nothing to see."""
        if self.first is None:
            return "-" if self.refused else "."
        seen = self.verdicts["float64"]
        return "o" if seen.code == 0 else "X" if self.right("float64") else "x"


def pair_of(mistake: str, case: KitCase, precisions: tuple[str, ...] = PRECISIONS) -> Pair:
    """Plant one mistake in one case, and check what comes out."""
    pair, plant = Pair(mistake, case.name), MISTAKES[mistake].plant
    right, wrong = _right(case), run(case, "float64", plant)
    pair.refused = wrong is None
    pair.first = None if wrong is None else true_first(right, wrong)
    if pair.first is not None:
        for precision in precisions:
            found = wrong if precision == "float64" else run(case, precision, plant)
            pair.verdicts[precision] = Verdict(2) if found is None else Verdict.of(case, found)
    return pair


@cache
def _right(case: KitCase) -> Arrays:
    found = run(case, "float64", lambda model: ExitStack())
    assert found is not None, f"{case.name}: PyTorch refuses the case itself"
    return found
