"""The result of one check: a row for each array, and the conclusions from all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minibiogpt.golden.check.compare import BY_BITS, Index, Measure
from minibiogpt.golden.check.mapping import Mapped
from minibiogpt.golden.check.pairing import Pair
from minibiogpt.golden.format.case import PRECISIONS, Case
from minibiogpt.trace.patterns import Pattern

AGREES, DIFFERS, NOT_COMPARABLE = "agrees", "differs", "not comparable"


@dataclass(frozen=True)
class Options:
    """How to check. The fields are the command's options; ``mapped`` is the content of ``map_file``.

    With ``map_of_kit`` the map is for all cases of a kit, so that one case may lack any of its names.

    ``precisions`` are pairs of a pattern of names and the precision of the arrays that match; ``precision`` is that of
    all others. ``accept`` holds conventions.
    """

    precision: str | None = None
    names: list[str] | None = None
    mapped: Mapping[str, Mapped] | None = None
    subset: bool = False
    accept_layouts: bool = False
    real_only: bool = False
    last: int | None = None
    map_file: str | None = None
    skip: list[str] | None = None
    names_of: str | None = None
    map_of_kit: bool = False
    precisions: tuple[tuple[str, str], ...] = ()
    accept: tuple[str, ...] = ()

    def precision_of(self, name: str) -> str | None:
        """Return the precision that is given for this array; the last pattern that matches counts."""
        matching = [precision for pattern, precision in self.precisions if Pattern(pattern).matches(name)]
        return matching[-1] if matching else self.precision


@dataclass
class Row:
    """The result of one array or one input.

    Attributes
    ----------
    name, candidate : the names in the case and in the candidate; candidate is None if it is missing there.
    state : "agrees", "differs" or "not comparable".
    shape, axes, largest, budgets : those of the case.
    found_shape, dtype : those of the candidate.
    precision : the precision whose budget applies; "exact" for integers and inputs.
    measured : the measurements, if it was compared.
    digits : the most significant digits that its numbers are written with, if there are few; else None.
    notes : further remarks for the user.
    aligned : function that returns the candidate's array in the case's shape and layout, as float64 or int64; None if
        it has no such array, or one of another size. It reads the file again, also after the check. An array of the
        case's shape that agrees with its axes in another order is only brought into it with --accept-layouts.
    convention : the convention that the array is in (a key of CONVENTIONS), or "".
    because : why this convention counts as agreement; "" if it doesn't.
    pending : the measurements in this convention, if it doesn't count.
    on_grid : whether its numbers are multiples of a step, as dequantized int8 numbers are.
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
    digits: int | None = None
    notes: list[str] = field(default_factory=list)
    aligned: Callable[[], np.ndarray] | None = field(default=None, repr=False, compare=False)
    convention: str = ""
    because: str = ""
    pending: Measure | None = None
    on_grid: bool = False

    @property
    def relative(self) -> float | None:
        """The largest error divided by the largest absolute value of the reference."""
        return None if self.measured is None else _ratio(self.measured.largest_error, self.largest)

    @property
    def times(self) -> float | None:
        """The largest error divided by the budget."""
        return None if self.measured is None else _ratio(self.measured.largest_error, self.measured.budget)

    @property
    def where(self) -> Index | None:
        """The index to look at: of the first NaN, infinity or score with a wrong mask, or else of the largest error."""
        m = self.measured
        if m is None:
            return None
        marks = (m.not_finite, m.wrong_mark, m.hidden_mark)
        index = next((index for index in marks if index is not None), None)
        return index if index is not None else m.worst if m.largest_error > 0 else None

    @property
    def held(self) -> str | None:
        """The precision of the values, if it is coarser than the one they are judged by: bfloat16 stored as float32."""
        held = None if self.measured is None else self.measured.held
        held = held or ("float32" if self.digits is not None else None)
        coarser = BY_BITS[: BY_BITS.index(str(self.precision))] if self.precision in BY_BITS else BY_BITS
        return held if held in coarser and self.precision in PRECISIONS else None

    def explained_by(self, precision: str) -> bool:
        """Whether every error is within the budget of this precision, which is not finer than that of the values."""
        count_sums = self.held != precision  # else the sums differ because the values are rounded
        return self.measured is not None and self.measured.within(self.budgets.get(precision), count_sums=count_sums)


def _ratio(error: float, scale: float) -> float:
    return error / scale if scale > 0 else 0.0 if error == 0 else math.inf


@dataclass
class Result:
    """The result of checking one candidate against one case.

    Attributes
    ----------
    theirs : path of the candidate.
    inputs : rows of the candidate's inputs.
    rows : rows of the case's arrays, in the order of execution.
    unpaired : tensors of the candidate that match no array of the case's calls.
    absent : tensors that are arrays of the case's calls, which the case doesn't have. They are not compared.
    ignored : {name: what it is} of the candidate's values that are no tensors.
    names_of : the tool that the candidate's names were recognized to be from; "" if none was looked for or found.
    map_keys : the keys of the map whose arrays both the case and the candidate have.
    padding_only : whether arrays differ only at positions that attention_mask marks as padding.
    """

    case: Case
    theirs: Path
    options: Options
    inputs: list[Row]
    rows: list[Row]
    unpaired: list[Pair]
    absent: list[Pair] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    names_of: str = ""
    map_keys: frozenset[str] = frozenset()
    padding_only: bool = False

    def rows_in(self, state: str) -> list[Row]:
        """Return the rows of arrays in this state."""
        return [row for row in self.rows if row.state == state]

    @property
    def missing(self) -> list[Row]:
        return [row for row in self.rows if row.candidate is None]

    @property
    def compared(self) -> int:
        return len(self.rows) - len(self.rows_in(NOT_COMPARABLE))

    @property
    def first_difference(self) -> Row | None:
        return next(iter(self.rows_in(DIFFERS)), None)

    @property
    def last_good(self) -> Row | None:
        """The last array that agrees before the first difference (the last of all if nothing differs)."""
        first = self.first_difference
        before = self.rows if first is None else self.rows[: self.rows.index(first)]
        return next((row for row in reversed(before) if row.state == AGREES), None)

    @property
    def wrong_inputs(self) -> list[Row]:
        return [row for row in self.inputs if row.state != AGREES]

    @property
    def incomplete(self) -> int:
        """How many tensors should have been compared and could not be.

        With --subset, only arrays present in both the case and the candidate count. Absent ones never do.
        """
        rows = [row for row in self.rows_in(NOT_COMPARABLE) if row.candidate is not None or not self.options.subset]
        rows = [row for row in rows if not row.because]
        extra = [] if self.options.subset or self.options.names else self.unpaired
        return len(rows) + len(extra)

    @property
    def code(self) -> int:
        """The exit code: 0 all agree, 1 something differs or is missing, 2 nothing was compared."""
        if not self.compared:
            return 2
        return 1 if self.rows_in(DIFFERS) or self.incomplete or self.wrong_inputs else 0

    @property
    def coarser_precision(self) -> str | None:
        """The coarser precision that explains all differences.

        Every error is within its budget. The first array that differs holds values of that precision; the others hold
        such values too, or finer ones, as where only some of the operations are computed in it.
        """
        differing = self.rows_in(DIFFERS)
        if not differing or any(row.precision not in PRECISIONS or row.measured is None for row in differing):
            return None
        precision = differing[0].held
        explained = precision is not None and all(row.explained_by(precision) for row in differing)
        return precision if explained else None

    @property
    def coarser_at_first(self) -> tuple[str, Row] | None:
        """The coarser precision that explains the first difference but not all, and the first array beyond it.

        The first difference is then only rounding; the mistake is further on.
        """
        differing = self.rows_in(DIFFERS)
        precision = differing[0].held if differing else None
        if precision is None or not differing[0].explained_by(precision):
            return None
        beyond = next((row for row in differing if not row.explained_by(precision)), None)
        return None if beyond is None else (precision, beyond)
