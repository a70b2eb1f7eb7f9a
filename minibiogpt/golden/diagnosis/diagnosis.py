"""The result of a diagnosis: the causes in the order to fix them, and what is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minibiogpt.errors import InputError, listed
from minibiogpt.golden.check.result import DIFFERS, Result
from minibiogpt.golden.diagnosis.causes import Cause, OwnError
from minibiogpt.golden.diagnosis.words import lines_of, table_of
from minibiogpt.golden.report.text import plain

LeftOut = dict[str, InputError | None]  # {case of a kit: why its candidate cannot be checked, or None if it has none}


@dataclass
class Diagnosis:
    """Why a candidate differs from a case, or from the cases of a kit.

    Attributes
    ----------
    causes : in the order to fix them.
    own_errors : in the order of execution of each case.
    conventions : what the candidate does in another way that is no mistake.
    results : the results of the check, one for each case.
    ruled_out : ids of the causes that were tried at unexplained arrays, and do not fit.
    computed, compared : how many arrays were computed again, and how many the candidate has.
    own_times : {case: {array: its own error in budgets}} of every array that was computed again.
    left_out : the cases of the kit that are not diagnosed: {case: the error of its candidate; None if it has none}.
    """

    causes: list[Cause]
    own_errors: list[OwnError]
    conventions: list[str]
    results: dict[str, Result]
    ruled_out: list[str] = field(default_factory=list)
    computed: int = 0
    compared: int = 0
    own_times: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=dict)

    @property
    def errors(self) -> list[InputError]:
        """The errors of the candidates that cannot be checked."""
        return [error for error in self.left_out.values() if error is not None]

    @property
    def unexplained(self) -> list[OwnError]:
        return [error for error in self.own_errors if error.cause is None]

    @property
    def differing(self) -> list[str]:
        """The names of the cases in which an array or an input differs."""
        return [name for name, result in self.results.items() if result.rows_in(DIFFERS) or result.wrong_inputs]

    @property
    def verdict(self) -> str:
        """Return "agrees", "known", "likely" or "not known"."""
        if not self.causes and not self.unexplained:
            nothing = not any(result.compared for result in self.results.values())
            return "not known" if self.differing or nothing else "agrees"
        if self.unexplained:
            return "not known"
        return "likely" if any(cause.certainty != "known" for cause in self.causes) else "known"

    @property
    def code(self) -> int:
        """The exit code: that of the check; 1 if an array has an error of its own."""
        codes = [result.code for result in self.results.values()]
        if self.errors or (codes and min(codes) == 2):
            return 2
        incomplete = bool(self.left_out) and not all(result.options.subset for result in self.results.values())
        return 1 if self.causes or self.unexplained or any(codes) or incomplete else 0

    def as_json(self) -> dict[str, Any]:
        """Return what the command prints with --json: numbers that are not finite are null."""
        return {
            "verdict": self.verdict,
            "exit_code": self.code,
            "causes": [_plain(asdict(cause)) for cause in self.causes],
            "own_errors": [_plain(asdict(error)) for error in self.own_errors],
            "unexplained": [_plain(asdict(error)) for error in self.unexplained],
            "conventions": list(self.conventions),
            "ruled_out": list(self.ruled_out),
            "arrays": {"computed again": self.computed, "of the candidate": self.compared},
            "cases": {name: {"exit_code": result.code} for name, result in self.results.items()},
            "left_out": {name: None if error is None else str(error) for name, error in self.left_out.items()},
        }

    def table(self) -> list[str]:
        """Return a line for each array: its error against the case, and its own."""
        return table_of(self)

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        *lines, last = lines_of(self)
        lines += [
            f"?   {plain(name)}  not checked: {plain(str(error))}" for name, error in self.left_out.items() if error
        ]
        if absent := [plain(name) for name, error in self.left_out.items() if error is None]:
            lines.append(f"{len(absent)} case{'s' * (len(absent) > 1)} without a candidate: {listed(absent, 5)}")
        return [*lines, last]


def _plain(x: Any) -> Any:
    """Return x as JSON can hold it."""
    if isinstance(x, Mapping):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple | np.ndarray):
        return [_plain(item) for item in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x
