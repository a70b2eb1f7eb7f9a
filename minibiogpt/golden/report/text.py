"""Report the result of a check as text: a table in the order of execution, the first difference, and a verdict."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from minibiogpt.catalog.steps import step_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, listed
from minibiogpt.golden.check.compare import LOWEST, Index
from minibiogpt.golden.check.outputs import LISTED
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Result, Row
from minibiogpt.golden.format.case import INPUT

MARKS = {AGREES: "ok", DIFFERS: "X "}
MIN_FOLD = 4  # at least this many consecutive agreeing rows are folded into one line
MAX_SHOWN = 6  # rows that don't agree and are shown; later ones are folded, except the last
HEAD = ("", "name", "shape", "dtype", "largest", "relative", "x budget", "cosine", "where", "verdict")


def plain(text: object) -> str:
    """Return one line with control characters escaped, because names come from files."""
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))
    return line if len(line) <= 400 else f"{line[:400]} ..."


def format_index(where: Index | None, axes: str) -> str:
    """Return an index with the letters of its axes.

    Examples
    --------
    >>> format_index((1, 2, 3, 4), "B H T S")
    'b=1 h=2 t=3 s=4'
    """
    letters = axes.lower().split()
    if where is None or len(letters) != len(where):
        return "" if where is None else str(list(where)) if where else ""
    return " ".join(f"{letter}={i}" for letter, i in zip(letters, where, strict=True))


def table(result: Result, every: bool = False) -> list[str]:
    """Return a line for each array in the order of execution; unless ``every``, most rows are folded."""
    rows = [*[row for row in result.inputs if every or row.state != AGREES], *result.rows]
    kept = {id(row) for row in rows} if every else _unfolded(rows, result)
    lines: list[tuple[str, ...] | str] = [HEAD]
    folded: list[Row] = []
    for row in [*rows, None]:
        if folded and (row is None or id(row) in kept):
            lines.append(_fold(folded))
            folded = []
        if row is not None and id(row) not in kept:
            folded.append(row)
        elif row is not None:
            lines.append(_cells(row))
            lines += [f"     {plain(note)}" for note in notes_of(row)]
    return _aligned(lines)


def _unfolded(rows: list[Row], result: Result) -> set[int]:
    """Return the ids of rows that are shown.

    These are the first rows that don't agree and the last of them, the last good row, inputs, and short runs of
    agreeing rows.
    """
    bad = [row for row in rows if row.state != AGREES]
    differ = [row for row in rows if row.state == DIFFERS]
    shown = [*bad[:MAX_SHOWN], *differ[:MAX_SHOWN], *bad[-1:], result.last_good]
    kept = {id(row) for row in shown} | {id(row) for row in result.inputs}
    run: list[Row] = []
    for row in [*rows, None]:
        if row is not None and row.state == AGREES and id(row) not in kept:
            run.append(row)
            continue
        kept |= {id(agreeing) for agreeing in run} if len(run) < MIN_FOLD else set()
        run = []
    return kept


def _fold(rows: list[Row]) -> str:
    """Return one line that stands for several rows."""
    states = {state: sum(row.state == state for row in rows) for state in (AGREES, DIFFERS, NOT_COMPARABLE)}
    mark = "X " if states[DIFFERS] else "ok" if states[AGREES] == len(rows) else "? "
    words = {AGREES: "agree", DIFFERS: "differ", NOT_COMPARABLE: "not comparable"}
    counts = ", ".join(f"{n} {words[state]}" for state, n in states.items() if n)
    worst = max((row.times or 0.0 for row in rows), default=0.0)
    names = rows[0].name if len(rows) == 1 else f"{rows[0].name} to {rows[-1].name}"
    return f"{mark}   ... {counts}: {names}, at most {worst:.2g} x budget"


def _cells(row: Row) -> tuple[str, ...]:
    found = row.measured
    shape = (row.shape if row.found_shape is None else row.found_shape) or "()"
    cells = [MARKS.get(row.state, "? "), plain(row.name), str(shape), row.dtype or ""]
    if found is None:
        return (*cells, "", "", "", "", "", row.state)
    cosine = "" if found.cosine is None else f"{found.cosine:.6f}"
    errors = [f"{x:.2g}" for x in (found.largest_error, row.relative or 0.0, row.times or 0.0)]
    return (*cells, *errors, cosine, format_index(row.where, row.axes), row.state)


def notes_of(row: Row) -> Iterator[str]:
    """Yield the lines below a row."""
    found = row.measured
    if row.state != AGREES and row.candidate not in (None, row.name):
        yield f"the candidate calls it {row.candidate}"
    if row.state == DIFFERS and found is not None:
        if found.nan or found.inf:
            yield f"{found.nan} NaN and {found.inf} infinite, the first at {format_index(found.not_finite, row.axes)}"
        if found.wrong_marks:
            at = format_index(found.wrong_mark, row.axes)
            yield f"scores that should be masked are not: {found.wrong_marks}, the first at {at}"
        if found.worst is not None and found.largest_error > 0:
            values = f"candidate {_format_value(found.candidate)}, reference {_format_value(found.reference)}"
            exceeding = f"{found.exceeding} of {found.compared} elements exceed the budget {found.budget:.2g}"
            yield f"{exceeding}; worst: {values}"
        for what, error, budget in found.sums:
            yield f"{what} of all elements is off by {error:.2g}, budget {budget:.2g}"
        if row.held is not None and not row.explained_by(row.held):
            rest = "has an error beyond the budget of" if row.budgets.get(row.held) is not None else "has no budget in"
            yield f"its values are {row.held} stored as {row.dtype}, and it {rest} {row.held}, too"
    yield from row.notes


def _format_value(x: float) -> str:
    return "masked" if x == LOWEST else f"{x:.9g}"


def _aligned(lines: list[tuple[str, ...] | str]) -> list[str]:
    rows = [line for line in lines if isinstance(line, tuple)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    right_aligned = range(4, 8)
    aligned = []
    for line in lines:
        if isinstance(line, str):
            aligned.append(plain(line))
            continue
        pairs = enumerate(zip(line, widths, strict=True))
        cells = (cell.rjust(width) if i in right_aligned else cell.ljust(width) for i, (cell, width) in pairs)
        aligned.append("  ".join(cells).rstrip())
    return aligned


def findings(result: Result) -> list[str]:
    """Return the lines between the table and the verdict."""
    lines = []
    if result.wrong_inputs:
        names = listed(plain(row.name) for row in result.wrong_inputs)
        lines.append(
            f"the candidate ran on different inputs ({names}): fix this first, it may explain all other differences"
        )
    if result.options.real_only:
        lines.append("positions that attention_mask marks as padding are left out (--real-only)")
    if result.options.last:
        lines.append(f"of arrays with an axis T, only the last {result.options.last} positions are compared (--last)")
    indexed = [f"{plain(row.candidate)} = {row.name}" for row in result.rows if LISTED.match(row.candidate or "")]
    lines += [f"read by position: {listed(indexed, 3)}"] if indexed else []
    first, good = result.first_difference, result.last_good
    if first is not None:
        before = result.rows[: result.rows.index(first)]
        unknown = sum(row.state != AGREES for row in before)
        rest = f"; {unknown} before it not compared" if unknown else ""
        what = "everything" if not unknown else "everything compared"
        agree = f", {what} before it agrees up to rounding" if before and unknown < len(before) else ""
        lines.append(f"first difference at {plain(first.name)}{agree}{rest}")
        lines.append(f"last good: {plain(good.name) if good else 'none'}")
        lines += expected_equation(result, first.name)
    if coarser := result.coarser_precision:
        differing = result.rows_in(DIFFERS)
        held = sum(row.held == coarser for row in differing)
        which = "every array that differs has" if held == len(differing) else f"{held} of {len(differing)} have"
        lines.append(
            f"{which} {coarser} values stored as {differing[0].dtype}, and every error is within the {coarser} budget: "
            f"check with --precision {coarser}"
        )
    with_reason = [pair for pair in result.unpaired if pair.reason]
    lines += [f"matches no array of the case: {plain(pair.candidate)}: {plain(pair.reason)}" for pair in with_reason]
    left = len(result.unpaired) - len(with_reason)
    lines += [f"and {left} more that match none"] if left else []
    counts = ", ".join(f"{n} {what}" for what, n in _counts(result).items())
    return [*lines, counts]


def expected_equation(result: Result, name: str) -> list[str]:
    """Return lines with the equation of one array, for the config and inputs of its case; none if it has none."""
    case, (prefix, slash, _) = result.case, name.rpartition("/")
    names = [key.removeprefix(prefix + slash).removeprefix(INPUT) for key in case.input_names if key.startswith(prefix)]
    inputs = {key: str(case.array(f"{prefix}{slash}{INPUT}{key}").dtype) for key in names}
    inputs |= {"past_key_values": "cache"} if slash and prefix != "step.0" else {}
    try:
        step = step_of(name, BioGptConfig.from_dict(case.config), case.architecture, inputs)
    except InputError:
        return []
    where = ", ".join(f"{symbol} = {source}" for symbol, source in {**step.terms, **step.where}.items())
    lines = [f"it should be: {step.equation}", f"where {where}"] if step.equation else []
    return [*lines, *([f"note: {step.note}"] if step.note else [])]


def _counts(result: Result) -> dict[str, int]:
    total = len(result.rows)
    return {
        "compared": result.compared,
        "agree": len(result.rows_in(AGREES)),
        "differ": len(result.rows_in(DIFFERS)),
        "not compared": total - result.compared,
        "in all": total,
    }


def verdict(result: Result) -> str:
    """Return "agrees", "differs", "incomplete" or "nothing compared"."""
    if not result.compared:
        return "nothing compared"
    if result.rows_in(DIFFERS) or result.wrong_inputs:
        return "differs"
    return "incomplete" if result.incomplete else "agrees"


def sentence(result: Result) -> str:
    """Return the verdict in one sentence."""
    word, first = verdict(result), result.first_difference
    if word == "agrees":
        left = f"; not in the candidate: {len(result.rows) - result.compared}" if result.missing else ""
        slim = ", by samples and sums," if result.case.kind == "slim" else ","
        last = f" at the last {result.options.last} positions," if result.options.last else ""
        counted = f"{result.compared} of {len(result.rows)} arrays{slim}{last}"
        return f"agrees: {counted} up to rounding in {_precisions(result)}{left}"
    if word == "differs" and first is None:
        return "differs: the candidate ran on different inputs"
    if first is not None:
        return f"differs: {len(result.rows_in(DIFFERS))} of {len(result.rows)} arrays, first at {plain(first.name)}"
    if word == "incomplete":
        agree = f"{result.compared} of {len(result.rows)} arrays agree" if result.compared else "none"
        return f"incomplete: {agree}, {result.incomplete} could not be compared"
    return "nothing was compared, so nothing agrees"


def _precisions(result: Result) -> str:
    found = {row.precision for row in result.rows_in(AGREES)} - {"exact", None}
    return " and ".join(sorted(map(str, found))) or "integers"


def next_command(result: Result) -> str:
    """Return the command to run next."""
    base = f"minibiogpt golden check {shlex.quote(str(result.case.path))} {shlex.quote(str(result.theirs))}"
    base += f" --last {result.options.last}" if result.options.last else ""
    notes = [note for row in result.rows if row.state != AGREES for note in row.notes]
    if verdict(result) == "agrees":
        return "minibiogpt golden selftest"
    if result.wrong_inputs:
        return f"minibiogpt golden inspect {shlex.quote(str(result.case.path))}"
    if result.coarser_precision:
        return f"{base} --precision {result.coarser_precision}"
    if any(note.startswith("agrees when") for note in notes) and not result.options.accept_layouts:
        return f"{base} --accept-layouts"
    partial = [note.rpartition("--last ")[2] for note in notes if "add --last " in note]
    if partial and not result.options.last:
        subset = " --subset" if result.missing else ""
        return f"{base} --last {partial[0]}{subset}"
    first = result.first_difference
    if first is not None:
        step, slash, rest = first.name.rpartition("/")
        layer = ".".join(rest.split(".")[:2]) + "*" if rest.startswith("layers.") else rest
        return f"{base} --all --names {shlex.quote(f'{step}{slash}{layer}')}"
    only_missing = not result.unpaired and all(row.candidate is None for row in result.rows if row.state != AGREES)
    if result.compared and (only_missing or result.unpaired) and not result.options.subset:
        return f"{base} --subset"
    return f"minibiogpt golden inspect {shlex.quote(str(result.case.path))}"


def last_line(result: Result) -> str:
    return f"{sentence(result)}; next: {next_command(result)}"


def lines_of(result: Result, every: bool = False) -> Iterable[str]:
    """Return the whole report."""
    return [*table(result, every), *findings(result), last_line(result)]


def kit_code(results: list[tuple[str, Result | None]], subset: bool) -> int:
    """Return the exit code of a kit.

    0: all cases agree. 1: a case differs, or has no candidate (unless ``subset``). 2: nothing was compared.
    """
    found = [result for _, result in results if result is not None]
    if not any(result.compared for result in found):
        return 2
    return int(any(result.code for result in found) or (len(found) < len(results) and not subset))


def kit_lines(
    results: list[tuple[str, Result | None]], kit: object, theirs: object, subset: bool, every: bool = False
) -> list[str]:
    """Return a line for each case, the details of the first that doesn't agree, and the verdict."""
    width = max(len(name) for name, _ in results)
    lines = []
    for name, result in results:
        mark = "? " if result is None or not result.compared else "ok" if result.code == 0 else "X "
        verdict_text = "not comparable: no candidate" if result is None else sentence(result)
        lines.append(f"{mark}  {plain(name):{width}}  {verdict_text}")
    failing = next((result for _, result in results if result is not None and result.code), None)
    if failing is not None:
        lines += [
            "",
            f"{plain(failing.case.name)}: {plain(failing.case.about)}",
            *table(failing, every),
            *findings(failing),
        ]
    good = sum(result is not None and result.code == 0 for _, result in results)
    none = sum(result is None for _, result in results)
    lines.append(
        f"{len(results) - none} cases compared, {good} agree, {none} without a candidate, {len(results)} in all"
    )
    code = kit_code(results, subset)
    if code == 0:
        return [*lines, f"agrees: {good} of {len(results)} cases; next: minibiogpt golden selftest"]
    if failing is not None:
        return [*lines, f"{plain(failing.case.name)} {last_line(failing)}"]
    again = f"minibiogpt golden check {shlex.quote(str(kit))} {shlex.quote(str(theirs))} --subset"
    return [*lines, f"incomplete: {none} of {len(results)} cases have no candidate; next: {again}"]
