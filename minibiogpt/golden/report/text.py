"""Report the result of a check as text: a table in the order of execution, the first difference, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minibiogpt.catalog.steps import step_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, listed, printable
from minibiogpt.golden.check.calls import inputs_of_call
from minibiogpt.golden.check.compare import LOWEST, Index
from minibiogpt.golden.check.evidence.conventions import Found, found_in
from minibiogpt.golden.check.evidence.numbers import held_in
from minibiogpt.golden.check.outputs import LISTED
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Result, Row
from minibiogpt.golden.report.advice import hints, next_command, verdict, weights_lines

MARKS = {AGREES: "ok", DIFFERS: "X "}
MIN_FOLD = 4  # at least this many consecutive agreeing rows are folded into one line
MAX_REASONS = 4  # why tensors match no array: lines that are shown
MAX_SHOWN = 6  # rows that don't agree and are shown; later ones are folded, except the last
HEAD = ("", "name", "shape", "dtype", "largest", "relative", "x budget", "cosine", "where", "verdict")


def plain(text: object) -> str:
    """Return one line with control characters escaped, because names come from files."""
    line = printable(str(text))
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
        if found.wrong_mark is not None:
            at = format_index(found.wrong_mark, row.axes)
            yield f"{found.wrong_marks} visible {_scores(found.wrong_marks)} that should be hidden, the first at {at}"
        if found.hidden_marks:
            at = format_index(found.hidden_mark, row.axes)
            yield f"{found.hidden_marks} hidden {_scores(found.hidden_marks)} that should be visible, the first at {at}"
        beyond = found.exceeding - found.nan - found.wrong_marks - found.hidden_marks
        if found.worst is not None and beyond:
            values = f"candidate {_format_value(found.candidate)}, reference {_format_value(found.reference)}"
            exceeding = f"{beyond} of {found.compared} elements exceed the budget {found.budget:.2g}"
            yield f"{exceeding}; worst: {values}"
        for what, error, budget in found.sums:
            yield f"{what} of all elements is off by {error:.2g}, budget {budget:.2g}"
        if row.digits is not None and row.precision == "float64" and not row.explained_by("float32"):
            yield f"its numbers have at most {row.digits} significant digits: write 9 of float32, 17 of float64"
        elif row.held is not None and not row.explained_by(row.held):
            rest = "has an error beyond the budget of" if row.budgets.get(row.held) is not None else "has no budget in"
            yield f"its values are {row.held} stored as {row.dtype}, and it {rest} {row.held}, too"
    yield from row.notes


def _scores(count: int) -> str:
    return "score" if count == 1 else "scores"


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
    lines += weights_lines(result)
    if result.names_of:
        lines.append(f"names read as those of {result.names_of} (--names-of {result.names_of})")
    if result.options.real_only:
        lines.append("positions that attention_mask marks as padding are left out (--real-only)")
    if result.options.last:
        lines.append(f"of arrays with an axis T, only the last {result.options.last} positions are compared (--last)")
    lines += [plain(one.sentence) for one in _conventions(result)]
    lines += [plain(one.sentence) for one in held_in(result.rows)]
    moved = [plain(row.name) for row in result.rows_in(AGREES) if any(n.startswith("agrees when") for n in row.notes)]
    lines += [f"accepted with axes in a different order (--accept-layouts): {listed(moved, 3)}"] if moved else []
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
        digits = differing[0].digits
        values = f"{coarser} values stored as {differing[0].dtype}" if digits is None else "numbers of at most 9 digits"
        lines.append(
            f"{which} {values}, and every error is within the {coarser} budget: check with --precision {coarser}"
        )
    elif at_first := result.coarser_at_first:
        lines.append(
            f"it holds {at_first[0]} values, which explain its error; the first array beyond the {at_first[0]} budget "
            f"is {plain(at_first[1].name)}: check with --precision {at_first[0]}"
        )
    if result.padding_only:
        lines.append("all differences are at padding; everything else agrees: to leave padding out, add --real-only")
    lines += hints(result)
    if result.ignored:
        ignored = [f"{plain(name)} ({plain(what)})" for name, what in result.ignored.items()]
        lines.append(f"ignored, because they are no arrays: {listed(ignored, 5)}")
    lines += _unpaired(result)
    if result.absent:
        absent = listed((plain(pair.candidate) for pair in result.absent), 5)
        lines.append(f"not compared, because the case doesn't have them: {absent}")
    counts = ", ".join(f"{n} {what}" for what, n in _counts(result).items())
    return [*lines, counts]


def _conventions(result: Result) -> list[Found]:
    return found_in([*result.inputs, *result.rows])


def _unpaired(result: Result) -> list[str]:
    """Return lines about the tensors that match no array: one for each reason, and one for all without a reason."""
    by_reason: dict[str, list[str]] = {}
    for pair in result.unpaired:
        by_reason.setdefault(plain(pair.reason), []).append(plain(pair.candidate))
    others = by_reason.pop("", [])
    first = [*by_reason.items()][:MAX_REASONS]
    others += [name for names in [*by_reason.values()][MAX_REASONS:] for name in names]
    lines = [f"matches no array of the case: {listed(names, 5)}: {reason}" for reason, names in first]
    return [*lines, *([f"and {len(others)} more that match none: {listed(others, 5)}"] if others else [])]


def expected_equation(result: Result, name: str) -> list[str]:
    """Return lines with the equation of one array, for the config and inputs of its case; none if it has none."""
    case, (prefix, slash, _) = result.case, name.rpartition("/")
    inputs = inputs_of_call(case, prefix + slash)
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


def sentence(result: Result) -> str:
    """Return the verdict in one sentence."""
    word, first = verdict(result), result.first_difference
    if word == "agrees":
        left = f"; not in the candidate: {len(result.rows) - result.compared}" if result.missing else ""
        left += f"; not in the case: {len(result.absent)}" if result.absent else ""
        slim = ", by samples and sums," if result.case.kind == "slim" else ","
        last = f" at the last {result.options.last} positions," if result.options.last else ""
        counted = f"{result.compared} of {len(result.rows)} arrays{slim}{last}"
        accepted = [one.convention for one in _conventions(result) if one.because.startswith("--")]
        left += f"; accepted conventions: {listed(accepted)}" if accepted else ""
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


def last_line(result: Result) -> str:
    return f"{sentence(result)}; next: {next_command(result)}"


def lines_of(result: Result, every: bool = False) -> Iterable[str]:
    """Return the whole report."""
    return [*table(result, every), *findings(result), last_line(result)]
