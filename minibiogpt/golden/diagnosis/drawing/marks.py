"""What the page says about each array: the state of its own error, the cause, and what the check measured."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from minibiogpt.catalog.names import STEP
from minibiogpt.golden.check.result import DIFFERS, Result, Row
from minibiogpt.golden.diagnosis.causes import CONVENTION, Cause, OwnError
from minibiogpt.golden.report.text import plain

EXPLAINED, UNEXPLAINED, INHERITED, AGREES = "explained", "unexplained", "inherited", "agrees"
ACCEPTED, BETWEEN, ABSENT = "accepted", "between", "absent"
WRONG = (EXPLAINED, UNEXPLAINED)
SIGNS = {UNEXPLAINED: "?", INHERITED: "·", ACCEPTED: "~"}


class Diagnosed(Protocol):
    """What is drawn; see ``diagnosis.Diagnosis``."""

    causes: list[Cause]
    own_errors: list[OwnError]

    @property
    def results(self) -> Mapping[str, Result]: ...


@dataclass(frozen=True)
class Mark:
    """The state of one array.

    Attributes
    ----------
    state : "explained" (an error of its own, with a cause), "unexplained" (one without), "accepted" (another
        convention), "inherited" (it differs from the case only because its sources do), "agrees", "between" (the
        candidate does not have it; it was computed on the way to an array with an error), or "absent".
    number : of the cause, from 1; 0 if there is none.
    own : the error of its own, if it has one. row : the result of the check, if the case has the array.
    to_correct : whether it is the step of the cause's right equation, but the candidate does not have it.
    """

    state: str
    number: int = 0
    own: OwnError | None = None
    row: Row | None = None
    to_correct: bool = False

    @property
    def sign(self) -> str:
        """What is written into the box: the number of the cause, or a sign, so that no colour is needed."""
        return str(self.number) if self.state == EXPLAINED or self.to_correct else SIGNS.get(self.state, "")

    @property
    def own_error(self) -> str:
        """The error of its own, in words."""
        if self.own is not None:
            return times_in_words(self.own.times)
        return "not in the candidate" if self.state in (BETWEEN, ABSENT) else "within its budget"

    @property
    def checked(self) -> str:
        """The difference from the case, which includes what is inherited, in words."""
        if self.row is None:
            return "not in the case"
        if self.row.candidate is None:
            return "not in the candidate"
        found, times = self.row.measured, self.row.times
        if found is None or times is None:
            return self.row.state
        if found.wrong_marks:
            return f"{found.wrong_marks} visible scores that should be hidden"
        return "differs" if self.row.state == DIFFERS and times <= 1 else times_in_words(times)


ABSENT_MARK = Mark(ABSENT)


def marks_of(diagnosis: Diagnosed) -> dict[str, dict[str, Mark]]:
    """Return {case: {array: mark}} for the arrays that the case or the candidate has, and those between them."""
    return {name: _of_case(name, result, diagnosis) for name, result in diagnosis.results.items()}


def _of_case(case: str, result: Result, diagnosis: Diagnosed) -> dict[str, Mark]:
    found = {row.name: _without_error(row) for row in result.rows}
    own = [error for error in diagnosis.own_errors if error.case == case]
    for error in own:
        number = number_of(error, diagnosis.causes)
        state = EXPLAINED if number else ACCEPTED if error.cause == CONVENTION else UNEXPLAINED
        before = found.get(error.name)
        found[error.name] = Mark(state, number, error, None if before is None else before.row)
        for name in error.span:
            if name != error.name and found.get(name, ABSENT_MARK).state == ABSENT:
                right = diagnosis.causes[number - 1].right if number else ""
                to_correct = right.startswith(f"{STEP.sub('', name, count=1)} = ")
                found[name] = Mark(BETWEEN, number, None, None if name not in found else found[name].row, to_correct)
    return found


def _without_error(row: Row) -> Mark:
    if row.aligned is None:
        return Mark(ABSENT, row=row)
    return Mark(INHERITED if row.state == DIFFERS else AGREES, row=row)


def number_of(error: OwnError, causes: list[Cause]) -> int:
    """Return the number of the cause of an error; of two with the same id, the one that names the array."""
    name = STEP.sub("", error.name, count=1)
    same = [number for number, cause in enumerate(causes, 1) if cause.id == error.cause]
    named = [n for n in same if name in causes[n - 1].where and error.case in causes[n - 1].cases]
    return next(iter([*named, *same]), 0)


def safe(text: object) -> str:
    """Return text from a file as HTML."""
    return html.escape(plain(text))


def times_in_words(times: float) -> str:
    """Return an error in budgets.

    Examples
    --------
    >>> times_in_words(0.41234), times_in_words(1234567), times_in_words(float("inf"))
    ('0.412 budgets', '1.23e+06 budgets', 'beyond any budget')
    """
    return f"{times:.3g} budgets" if math.isfinite(times) else "beyond any budget"
