"""Report the result of a kit as text: a line for each case, and the details of the first that doesn't agree."""

from __future__ import annotations

from dataclasses import replace

from minibiogpt.errors import InputError
from minibiogpt.golden.check.result import Options, Result
from minibiogpt.golden.report.advice import SELFTEST, check_command
from minibiogpt.golden.report.text import findings, last_line, plain, sentence, table

KitResults = list[tuple[str, Result | InputError | None]]


def results_of(results: KitResults) -> list[Result]:
    """Return the results of the cases whose candidates could be checked."""
    return [result for _, result in results if isinstance(result, Result)]


def errors_of(results: KitResults) -> list[InputError]:
    """Return the errors of the cases whose candidates could not be checked."""
    return [result for _, result in results if isinstance(result, InputError)]


def kit_code(results: KitResults, subset: bool) -> int:
    """Return the exit code of a kit.

    0: all cases agree. 1: a case differs, or has no candidate (unless ``subset``). 2: a candidate could not be
    checked, or nothing was compared.
    """
    found = results_of(results)
    if errors_of(results) or not any(result.compared for result in found):
        return 2
    return int(any(result.code for result in found) or (len(found) < len(results) and not subset))


def kit_lines(results: KitResults, kit: object, theirs: object, options: Options, every: bool = False) -> list[str]:
    """Return a line for each case, the details of the first that doesn't agree, and the verdict."""
    width = max(len(name) for name, _ in results)
    lines = [f"{_mark(result)}  {plain(name):{width}}  {_words(result)}" for name, result in results]
    found, unread = results_of(results), len(errors_of(results))
    failing = next((result for result in found if result.code), None)
    if failing is not None:
        lines += [
            "",
            f"{plain(failing.case.name)}: {plain(failing.case.about)}",
            *table(failing, every),
            *findings(failing),
        ]
    good = sum(result.code == 0 for result in found)
    none = sum(result is None for _, result in results)
    cannot = f"{unread} that could not be checked, " if unread else ""
    counts = f"{len(found)} cases compared, {good} agree, {cannot}{none} without a candidate, {len(results)} in all"
    if kit_code(results, options.subset) == 0:
        return [*lines, counts, f"agrees: {good} of {len(results)} cases; next: {SELFTEST}"]
    if failing is not None:
        return [*lines, counts, f"{plain(failing.case.name)} {last_line(failing)}"]
    if unread:
        again = check_command(kit, theirs, options)
        return [*lines, counts, f"incomplete: {unread} of {len(results)} cases could not be checked; next: {again}"]
    again = check_command(kit, theirs, replace(options, subset=True))
    return [*lines, counts, f"incomplete: {none} of {len(results)} cases have no candidate; next: {again}"]


def _mark(result: Result | InputError | None) -> str:
    if not isinstance(result, Result) or not result.compared:
        return "? "
    return "ok" if result.code == 0 else "X "


def _words(result: Result | InputError | None) -> str:
    if isinstance(result, InputError):
        return plain(f"not checked: {result}")
    return "not comparable: no candidate" if result is None else sentence(result)
