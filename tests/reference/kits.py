"""Run a kit's cases in PyTorch with a planted change, and check the result with ``golden check``.

``true_first`` determines, without the kit, which tensor must be reported first.
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
MARK_TIMES = 1e25  # error in budgets that only the value of a masked score can cause, no value of a model
MARK_BELOW = -1e300  # lower values are masked scores
MASKED_MARGIN, MASKED_ROW_BELOW = 800.0, -6e4  # see "masked in effect" in docs/golden-format.md


@dataclass(frozen=True)
class KitCase:
    """A case of a kit, and its PyTorch model."""

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
    """Return the cases in a kit's manifest, or only those named."""
    entries = json.loads((kit / "manifest.json").read_text())["cases"]
    return [KitCase(e["name"], kit / e["file"], kit / e["model"]) for e in entries if not only or e["name"] in only]


def run(case: KitCase, dtype: str, plant: Plant, inputs: dump_torch.Case | None = None) -> Arrays | None:
    """Return transformers' arrays, with its pooling fixed and ``plant`` applied; None if PyTorch raises an error."""
    model = case.model(dtype)
    try:
        with corrected(model), plant(model):
            return dump_torch.record_case(model, inputs or case.inputs)
    except (IndexError, RuntimeError, ValueError):
        return None


def true_first(right: Arrays, wrong: Arrays) -> str | None:
    """Return the first tensor of the right run that is missing or different in the wrong one; None if there is none."""
    for name, x in right.items():
        y = wrong.get(name)
        if y is None or y.shape != x.shape or not _equal(name, x, y):
            return name
    return None


def _equal(name: str, x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether x and y are bitwise equal (NaN is never equal); scores masked in x must be masked in effect in y."""
    if not name.endswith(".scores_masked"):
        return torch.equal(x, y)
    marks = x < MARK_BELOW
    highest, lowest = y.amax(-1, keepdim=True), y.amin(-1, keepdim=True)
    masked = (y < highest - MASKED_MARGIN) | ((highest == lowest) & (highest < MASKED_ROW_BELOW))
    return bool(torch.where(marks, masked, x == y).all())


@dataclass(frozen=True)
class Verdict:
    """The check's result: exit code, the first tensor that doesn't agree, and its error in budgets."""

    code: int
    first: str | None = None
    times: float = 0.0

    @classmethod
    def of(cls, case: KitCase, arrays: Mapping[str, Any], subset: bool = False, real_only: bool = False) -> Verdict:
        """Check arrays through a file, like any candidate. Arrays the precision can't represent don't count."""
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
    """Return the error in budgets; infinite for NaN, missing or extra marks, another shape, and integers."""
    found = row.measured
    if found is None or row.times is None or found.nan or found.wrong_marks or found.hidden_marks:
        return math.inf
    return row.times if row.times < MARK_TIMES else math.inf


@dataclass
class Pair:
    """One mistake in one case.

    Attributes
    ----------
    refused : whether PyTorch raises an error.
    first : the tensor that must be reported first; None if the case can't show the mistake, or PyTorch refuses.
    verdicts : {precision: verdict}.
    """

    mistake: str
    case: str
    refused: bool = False
    first: str | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def right(self, precision: str) -> bool:
        return self.verdicts[precision].first == self.first

    @property
    def sign(self) -> str:
        """The table's symbol: X caught where it is made, x caught elsewhere, o missed, - refused, . no difference."""
        if self.first is None:
            return "-" if self.refused else "."
        verdict = self.verdicts["float64"]
        return "o" if verdict.code == 0 else "X" if self.right("float64") else "x"


def pair_of(mistake: str, case: KitCase, precisions: tuple[str, ...] = PRECISIONS) -> Pair:
    """Plant one mistake in one case, and check the result."""
    pair, plant = Pair(mistake, case.name), MISTAKES[mistake].plant
    right, wrong = right_arrays(case), run(case, "float64", plant)
    pair.refused = wrong is None
    pair.first = None if wrong is None else true_first(right, wrong)
    if pair.first is not None:
        for precision in precisions:
            found = wrong if precision == "float64" else run(case, precision, plant)
            pair.verdicts[precision] = Verdict(2) if found is None else Verdict.of(case, found)
    return pair


@cache
def right_arrays(case: KitCase) -> Arrays:
    found = run(case, "float64", lambda model: ExitStack())
    assert found is not None, f"{case.name}: PyTorch cannot run the unchanged case"
    return found
