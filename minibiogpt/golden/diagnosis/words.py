"""Report a diagnosis as text: the causes in the order to fix them, what is left, and the next command."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from minibiogpt.errors import listed
from minibiogpt.golden.check.result import AGREES, NOT_COMPARABLE
from minibiogpt.golden.diagnosis.causes import Cause, OwnError
from minibiogpt.golden.diagnosis.library import format_value
from minibiogpt.golden.report.advice import next_command
from minibiogpt.golden.report.text import plain

MAX_CASES = 2  # that are named
NEAR_ROUNDING = 2.0  # budgets up to which no cause can be found
LAYER_OUTPUT = re.compile(r"(^|/)layers\.[0-9]+$")
LONG_SPAN = 10  # steps between known arrays of which none is named
MAX_WHERE, MAX_LEFT, MAX_RULED_OUT = 6, 8, 12
CLOSE = 0.1  # of the error, that the closest cause may leave to be worth a line


class Diagnosis(Protocol):
    """What is put in words; see ``diagnosis.Diagnosis``."""

    causes: list[Cause]
    own_errors: list[OwnError]
    conventions: list[str]
    ruled_out: list[str]
    computed: int
    compared: int

    own_times: dict[str, dict[str, float]]

    @property
    def results(self) -> Mapping[str, Any]: ...
    @property
    def differing(self) -> list[str]: ...
    @property
    def unexplained(self) -> list[OwnError]: ...
    @property
    def verdict(self) -> str: ...
    @property
    def code(self) -> int: ...


def lines_of(diagnosis: Diagnosis) -> list[str]:
    """Return the report."""
    lines = [headline(diagnosis), ""]
    for number, cause in enumerate(diagnosis.causes, 1):
        lines += [*_of_cause(number, cause, len(diagnosis.results)), ""]
    if diagnosis.unexplained:
        lines += [*_of_unexplained(diagnosis), ""]
    lines += [plain(words) for words in diagnosis.conventions]
    lines += _of_check(diagnosis)
    return [*lines, last_line(diagnosis)]


def table_of(diagnosis: Diagnosis) -> list[str]:
    """Return the lines of a table: each array's error against the case, its own error, and the cause."""
    lines = []
    causes = {(error.case, error.name): error.cause for error in diagnosis.own_errors}
    for case, result in diagnosis.results.items():
        rows = [("name", "against the case", "own error", "cause")]
        for row in result.rows:
            own = diagnosis.own_times.get(case, {}).get(row.name)
            if own is not None:
                cause = causes.get((case, row.name), "") or ("not known" if (case, row.name) in causes else "")
                against = "" if row.times is None else _times(row.times)
                rows.append((plain(row.name), against, _times(own), cause))
        widths = [max(len(cells[i]) for cells in rows) for i in range(4)]
        lines += [f"{plain(case)}, errors in budgets:"] * (len(diagnosis.results) > 1)
        lines += ["  ".join([cells[0].ljust(widths[0]), cells[1].rjust(widths[1]), cells[2].rjust(widths[2]), cells[3]])
                  .rstrip() for cells in rows]  # fmt: skip
        lines.append("")
    return lines


def headline(diagnosis: Diagnosis) -> str:
    """Return the first line: how many causes, and how sure."""
    count, left = len(diagnosis.causes), len(diagnosis.unexplained)
    if diagnosis.verdict == "agrees":
        return "no mistake in the arrays that you saved: each is what your own arrays before it give, up to rounding"
    if not count and not left:
        several = len(diagnosis.results) > 1
        times = {plain(name) + f" of {plain(case)}" * several: x for case, own in diagnosis.own_times.items()
                 for name, x in own.items()}  # fmt: skip
        first = max(times, key=times.__getitem__, default="")
        words = "cause not known: no array that can be computed again has an error of its own beyond its budget"
        return f"{words}; the largest is {_times(times[first])} budgets, in {first}" if first else words
    words = f"{count} mistake{'s' * (count != 1)}" if count else "cause not known"
    if left:
        places = f"{left} array{'s' * (left != 1)} with an error of {'their' if left > 1 else 'its'} own"
        return f"{words}; {places} not explained" if count else f"cause not known: {places}"
    return f"{words}, {diagnosis.verdict}"


def _of_cause(number: int, cause: Cause, of: int) -> Iterator[str]:
    yield f"{number}. {cause.id}: {plain(cause.sentence)}"
    yield f"   where       {_where(cause.where)}"
    yield f"   should be   {plain(cause.right)}"
    yield f"   trap        {plain(cause.trap)}"
    yield f"   explains    {cause.explains} of {cause.differing} arrays with an error of their own{_cases(cause, of)}"
    yield f"   largest     {_times(cause.before)} budgets before, {_times(cause.after)} after"
    yield f"   certainty   {cause.certainty}{_why(cause)}"
    if cause.alternatives:
        yield f"   or          {listed(cause.alternatives)} (fits as well)" + (
            f"; {plain(cause.tell_apart)}" if cause.tell_apart else "; nothing here tells them apart"
        )


def _where(names: list[str]) -> str:
    more = f", and {len(names) - MAX_WHERE} more" if len(names) > MAX_WHERE else ""
    return ", ".join(map(plain, names[:MAX_WHERE])) + more


def _cases(cause: Cause, of: int) -> str:
    if of == 1:
        return ""
    return f", in {listed(cause.cases)}" if len(cause.cases) <= MAX_CASES else f", in {len(cause.cases)} cases"


def _why(cause: Cause) -> str:
    estimated = [f"{name} = {format_value(cause.parameters[name])}" for name in cause.estimated
                 if name in cause.parameters]  # fmt: skip
    words = f", estimated from your arrays: {', '.join(estimated)}" if estimated else ""
    if cause.certainty == "known":
        words += ", nothing beyond rounding remains"
    return words + (f"; {cause.support}" if cause.support else "")


def _times(times: float) -> str:
    if math.isinf(times):
        return "∞"
    return f"{times:.2g}" if times < 100 else f"{times:.0f}" if times < 1e5 else f"{times:.0e}"


def _of_unexplained(diagnosis: Diagnosis) -> Iterator[str]:
    left = diagnosis.unexplained
    yield "not explained: these differ from what your own arrays before them give"
    for error in left[:MAX_LEFT]:
        yield f"   {_named(error, diagnosis)}: {_times(error.times)} budgets{_span(error)}"
        if error.pattern:
            yield f"      {plain(error.pattern)}"
        if error.times < NEAR_ROUNDING:
            yield "      too close to rounding to name a cause"
        if attempt := closest(error):
            yield f"      closest: {attempt['id']}, {_times(attempt['after'])} budgets left"
    if len(left) > MAX_LEFT:
        yield f"   and {len(left) - MAX_LEFT} more"
    if diagnosis.ruled_out:
        yield f"   {tried_there(left)}: {listed(diagnosis.ruled_out, MAX_RULED_OUT)}"


def closest(error: OwnError) -> dict[str, Any] | None:
    """Return the best attempt at an error that no cause explains, if it leaves little of it."""
    best = next(iter(error.attempts), None)
    return best if best is not None and best["after"] <= CLOSE * error.times < math.inf else None


def tried_there(left: list[OwnError]) -> str:
    """Return how the causes that are ruled out were tried."""
    far = any(len(error.span) > 1 for error in left)
    return f"tried there,{' over several steps only with usual numbers,' * far} and do not fit"


def _named(error: OwnError, diagnosis: Diagnosis) -> str:
    return f"{plain(error.case)}: {plain(error.name)}" if len(diagnosis.results) > 1 else plain(error.name)


def _span(error: OwnError) -> str:
    between = [name for name in error.span if name != error.name]
    if not between:
        return ""
    if len(between) > LONG_SPAN:
        return f" (computed over {len(error.span)} steps from the nearest arrays you have)"
    return f" (computed from the nearest arrays you have; {listed(map(plain, between), 3)} are not among them)"


def _of_check(diagnosis: Diagnosis) -> Iterator[str]:
    of = f"{diagnosis.computed} of your {diagnosis.compared} arrays computed again from your own"
    if len(diagnosis.results) > 1:
        of += f"; {len(diagnosis.differing)} of {len(diagnosis.results)} cases differ"
    yield of
    missing = sum(len(result.missing) for result in diagnosis.results.values())
    unknown = sum(len(result.unpaired) for result in diagnosis.results.values())
    if missing:
        of = "cases" if len(diagnosis.results) > 1 else "case"
        are = "arrays of the {} are" if missing > 1 else "array of the {} is"
        yield f"{missing} {are.format(of)} missing; more arrays tell more"
    if unknown:
        match = "match" if unknown > 1 else "matches"
        yield f"{unknown} of your arrays {match} no name: minibiogpt golden map proposes a map"
    if not diagnosis.causes and not diagnosis.unexplained:
        rows = [row for result in diagnosis.results.values() for row in result.rows if row.state != AGREES]
        notes = [f"{plain(row.name)}: {plain(row.notes[0])}" for row in rows if row.candidate and row.notes]
        yield from notes[:3]


def last_line(diagnosis: Diagnosis) -> str:
    """Return the verdict, and what to do next."""
    if diagnosis.verdict == "agrees" and diagnosis.code:
        open_ = [result for result in diagnosis.results.values() if result.code]
        if open_ and not any(result.missing and not result.options.subset for result in open_):
            return f"incomplete: what was compared agrees; next: {next_command(open_[0])}"
        return "incomplete: what was compared agrees; add what is missing, or --subset, and run this again"
    if diagnosis.verdict == "agrees":
        return "agrees; next: minibiogpt golden selftest"
    causes = [cause for cause in diagnosis.causes if cause.certainty == "known" or not diagnosis.unexplained]
    if causes:
        verdict = "not all known" if diagnosis.unexplained else diagnosis.verdict
        return f"{verdict}: fix {causes[0].id} first, then run this again"
    if diagnosis.unexplained:
        first = diagnosis.unexplained[0]
        if len(first.span) > 1:
            between = [name for name in first.span if name != first.name]
            outputs = [name for name in between if LAYER_OUTPUT.search(name)]
            most_telling = outputs[len(outputs) // 2] if outputs else between[len(between) // 2]
            return f"not known: save the arrays between, such as {plain(most_telling)}, and run this again"
        return f"not known: compare your computation of {plain(first.name)} with its equation, line by line"
    if not any(result.rows_in(NOT_COMPARABLE) for result in diagnosis.results.values()):
        return "not known: too close to rounding to name a cause; try a case that shows the error more clearly"
    if any(result.missing for result in diagnosis.results.values()):
        return (
            "not known: save more arrays, those inside attention and the feed-forward network too, and run this again"
        )
    return "not known: see what minibiogpt golden check says of the arrays that it could not compare"
