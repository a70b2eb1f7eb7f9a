"""A cause that was found, and an array with an error of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VERDICTS = ("agrees", "known", "likely", "not known")
CONVENTION = "convention"


@dataclass(frozen=True)
class Cause:
    """Why arrays of the candidate differ.

    Attributes
    ----------
    id : its name in ``library.CAUSES``.
    sentence, right, trap : what the candidate does instead, the right equation, and why ports get it wrong.
    where : names of the steps that are done in this way, in the order of execution, without ``step.{n}/``.
    parameters : {name: value}; ``estimated`` names those that were estimated from the candidate's arrays.
    explains, differing : how many errors of arrays' own it explains, and how many there are in all.
    before, after : the largest error of those arrays, in budgets, before and after.
    certainty : "known" if what remains is within the budgets, and no other cause fits as well; else "likely".
    cases : names of the cases in which it shows.
    touches : how many arrays are computed through these steps, in all cases. One that is not what this cause makes of
        it would refute it.
    remain : how many of them are made by one of these steps alone, and have an error that it does not explain.
    alternatives : ids of the causes that fit as well. tell_apart : what would decide between them; "" if nothing here.
    """

    id: str
    sentence: str
    right: str
    trap: str
    where: list[str]
    parameters: dict[str, Any]
    estimated: list[str]
    explains: int
    differing: int
    before: float
    after: float
    certainty: str
    cases: list[str]
    alternatives: list[str] = field(default_factory=list)
    tell_apart: str = ""
    touches: int = 0
    remain: int = 0

    @property
    def support(self) -> str:
        """What the other arrays that it touches say of it, in words; "" if there are none."""
        if self.touches < 2:
            return ""
        of = f"of the {self.touches} arrays that it touches"
        if self.remain:
            return f"{self.remain} {of} remain{'s' * (self.remain == 1)} wrong"
        return f"none {of} contradicts it"


@dataclass(frozen=True)
class OwnError:
    """An array that differs from what its own sources give.

    Attributes
    ----------
    times : the largest error in budgets; infinite for NaN, another shape, or scores that should be hidden.
    span : the arrays that were computed between the nearest arrays that the candidate has and this one.
    cause : the id of the cause that explains it, or None. attempts : the best ones, where none does.
    pattern : which elements are wrong, where no cause explains it: "13 of 273, all at d=20".
    """

    case: str
    name: str
    times: float
    span: list[str]
    cause: str | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    pattern: str = ""
