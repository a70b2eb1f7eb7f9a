"""What one check found: a row for each array, and what follows from all rows together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minibiogpt.golden.check.compare import Index, Measure
from minibiogpt.golden.check.pairing import Mapped, Pair
from minibiogpt.golden.format.case import PRECISIONS, Case

AGREES, DIFFERS, NOT_COMPARABLE = "agrees", "differs", "not comparable"


@dataclass(frozen=True)
class Options:
    """How to check; the fields are the command's options. ``mapped``: what the map file says."""

    precision: str | None = None
    names: list[str] | None = None
    mapped: Mapping[str, Mapped] | None = None
    subset: bool = False
    accept_layouts: bool = False
    real_only: bool = False


@dataclass
class Row:
    """What is said of one array, or one input.

    Attributes
    ----------
    name, candidate : our name and the candidate's; candidate is None where it is missing.
    state : "agrees", "differs" or "not comparable".
    precision : whose budget was taken; "exact" for integers and inputs.
    measured : the numbers, where there are any.
    notes : what else a reader should know.
    """

    name: str
    candidate: str | None
    state: str
    shape: tuple[int, ...] = ()
    axes: str = ""
    largest: float = 0.0
    budgets: Mapping[str, float | None] = field(default_factory=dict)
    found_shape: tuple[int, ...] | None = None
    dtype: str | None = None
    precision: str | None = None
    measured: Measure | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def relative(self) -> float | None:
        """The largest error over the largest value of the reference."""
        return None if self.measured is None else _over(self.measured.largest_error, self.largest)

    @property
    def times(self) -> float | None:
        """The largest error over the budget."""
        return None if self.measured is None else _over(self.measured.largest_error, self.measured.budget)

    @property
    def where(self) -> Index | None:
        """The place to look at: the first NaN, infinity or wrong mark, or else the largest error."""
        m = self.measured
        if m is None:
            return None
        found = m.not_finite if m.not_finite is not None else m.wrong_mark
        return found if found is not None else m.worst if m.largest_error > 0 else None


def _over(error: float, scale: float) -> float:
    return error / scale if scale > 0 else 0.0 if error == 0 else math.inf


@dataclass
class Result:
    """All that one check found.

    Attributes
    ----------
    inputs : rows of the candidate's inputs. rows : of the arrays of the case, in the order of execution.
    unpaired : tensors of the candidate that stand for nothing.
    """

    case: Case
    theirs: Path
    options: Options
    inputs: list[Row]
    rows: list[Row]
    unpaired: list[Pair]

    def of(self, state: str) -> list[Row]:
        return [row for row in self.rows if row.state == state]

    @property
    def missing(self) -> list[Row]:
        return [row for row in self.rows if row.candidate is None]

    @property
    def compared(self) -> int:
        return len(self.rows) - len(self.of(NOT_COMPARABLE))

    @property
    def first_difference(self) -> Row | None:
        return next(iter(self.of(DIFFERS)), None)

    @property
    def last_good(self) -> Row | None:
        """The last array that agrees before the first that differs (of all, if none differs)."""
        first = self.first_difference
        before = self.rows if first is None else self.rows[: self.rows.index(first)]
        return next((row for row in reversed(before) if row.state == AGREES), None)

    @property
    def wrong_inputs(self) -> list[Row]:
        return [row for row in self.inputs if row.state != AGREES]

    @property
    def incomplete(self) -> int:
        """What had to be compared and could not be; of a subset, only what both have."""
        rows = [row for row in self.of(NOT_COMPARABLE) if row.candidate is not None or not self.options.subset]
        extra = [] if self.options.subset or self.options.names else self.unpaired
        return len(rows) + len(extra)

    @property
    def code(self) -> int:
        """The exit code: 0 all agree, 1 something differs or is missing, 2 nothing was compared."""
        if not self.compared:
            return 2
        return 1 if self.of(DIFFERS) or self.incomplete or self.wrong_inputs else 0

    @property
    def coarser(self) -> str | None:
        """A coarser precision in which all that differs was computed, as its numbers show, and would agree."""
        bad = [row for row in self.of(DIFFERS) if row.precision in PRECISIONS]
        if not bad or len(bad) < len(self.of(DIFFERS)):
            return None
        start = max(PRECISIONS.index(str(row.precision)) for row in bad)
        for precision in sorted(PRECISIONS[start + 1 :], key=["float32", "float16", "bfloat16"].index):
            if all(row.measured and row.measured.only_coarser(precision, row.budgets[precision]) for row in bad):
                return precision
        return None
