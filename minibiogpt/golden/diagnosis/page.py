"""Report a diagnosis as one HTML page: the causes, and the graph of the forward pass coloured by own error.

No network. The only script opens the case that a link in the table of a kit leads to; without it, the link leads to
the closed case.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from minibiogpt.files.writing import write_atomically
from minibiogpt.golden.diagnosis.causes import Cause, OwnError
from minibiogpt.golden.diagnosis.diagnosis import Diagnosis
from minibiogpt.golden.diagnosis.drawing.cases import forward_pass, link
from minibiogpt.golden.diagnosis.drawing.graph import css_of
from minibiogpt.golden.diagnosis.drawing.marks import EXPLAINED, Mark, marks_of, safe, times_in_words
from minibiogpt.golden.diagnosis.drawing.style import STYLE
from minibiogpt.golden.diagnosis.library import format_value
from minibiogpt.golden.diagnosis.words import closest, headline, last_line, tried_there
from minibiogpt.golden.report.page import STYLE as CHECK_STYLE

MAX_NAMES, MAX_ERRORS = 6, 12  # names, and errors without a cause, that are shown at once; the others are folded
SCRIPT = """
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();
"""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)


def write_page(path: Path, diagnosis: Diagnosis) -> None:
    """Write the page atomically."""
    text = page(diagnosis)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def page(diagnosis: Diagnosis) -> str:
    """Return the whole page. Text that comes from files is escaped."""
    marks = marks_of(diagnosis)
    numbers = {name: i for i, name in enumerate(marks)}
    title = safe(headline(diagnosis))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{CHECK_STYLE}{STYLE}</style></head><body><main>"
        f"<header><h1>{title}</h1>{_about(diagnosis)}<p>{safe(last_line(diagnosis))}</p></header>"
        f"{_why(diagnosis, numbers)}{forward_pass(diagnosis, marks, numbers)}"
        f"</main><script>{SCRIPT}</script></body></html>\n"
    )


def _about(diagnosis: Diagnosis) -> str:
    cases = [result.case for result in diagnosis.results.values()]
    what = f"Case {safe(cases[0].name)}. {safe(cases[0].about)}" if len(cases) == 1 else f"{len(cases)} cases of a kit."
    theirs = "".join(f" Candidate {safe(result.theirs)}." for result in diagnosis.results.values() if len(cases) == 1)
    computed = f"Computed again from the candidate’s own arrays: {diagnosis.computed} of its {diagnosis.compared}."
    return f'<p class="soft">{what}{theirs} {computed}</p>'


def _why(diagnosis: Diagnosis, numbers: Mapping[str, int]) -> str:
    parts = f"{_causes(diagnosis, numbers)}{_unexplained(diagnosis)}{_conventions(diagnosis)}"
    return f'<div class="why">{parts}</div>' if parts else ""


def _causes(diagnosis: Diagnosis, numbers: Mapping[str, int]) -> str:
    if not diagnosis.causes:
        return ""
    cards = "".join(_cause(number, cause, numbers) for number, cause in enumerate(diagnosis.causes, 1))
    return f"<h2>Causes, in the order to fix them</h2>{cards}"


def _cause(number: int, cause: Cause, numbers: Mapping[str, int]) -> str:
    css = css_of(Mark(EXPLAINED, number)).split()[1]
    items = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in _facts(cause, numbers))
    return (
        f'<section class="cause {css}"><h3><span class="badge">{number}</span>{safe(cause.id)}: '
        f"{safe(cause.sentence)}</h3><dl>{items}</dl></section>"
    )


def _facts(cause: Cause, numbers: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield pairs of a term and what is known of it."""
    yield "should be", f"<code>{safe(cause.right)}</code>"
    yield "where", _names(cause.where)
    yield "trap", safe(cause.trap)
    budgets = f"{times_in_words(cause.before)} before, {times_in_words(cause.after)} after"
    yield "explains", f"{cause.explains} of {cause.differing} errors; {budgets}"
    estimated = [f"{name} = {format_value(cause.parameters[name])}" for name in cause.estimated
                 if name in cause.parameters]  # fmt: skip
    rest = ["nothing beyond rounding remains"] * (cause.certainty == "known") + [cause.support] * bool(cause.support)
    yield "certainty", safe("; ".join([cause.certainty, *rest]))
    if estimated:
        yield "estimated", f"{safe(', '.join(estimated))}, from the candidate’s arrays"
    if cause.alternatives:
        apart = cause.tell_apart or "nothing here tells them apart"
        yield "fits as well", f"{safe(', '.join(cause.alternatives))}; {safe(apart)}"
    if len(numbers) > 1:
        yield "cases", ", ".join(link(name, numbers) for name in cause.cases)


def _names(names: list[str]) -> str:
    """Return names; many are folded."""
    text = _listed(names)
    if len(names) <= MAX_NAMES:
        return text
    return f"<details><summary>{len(names)} arrays, the first {safe(names[0])}</summary>{text}</details>"


def _unexplained(diagnosis: Diagnosis) -> str:
    left = diagnosis.unexplained
    if not left:
        return ""
    items = [f"<li>{_left(error, len(diagnosis.results) > 1)}</li>" for error in left]
    shown, folded = "".join(items[:MAX_ERRORS]), "".join(items[MAX_ERRORS:])
    more = f"<details><summary>{len(items) - MAX_ERRORS} more</summary><ul>{folded}</ul></details>" if folded else ""
    words = tried_there(left).capitalize()
    ruled_out = f'<p class="soft">{words}: {_listed(diagnosis.ruled_out)}.</p>' if diagnosis.ruled_out else ""
    return (
        '<h2>Not explained</h2><section class="cause lost"><p>These arrays differ from what the candidate’s own arrays '
        f"before them give.</p><ul>{shown}</ul>{more}{ruled_out}</section>"
    )


def _left(error: OwnError, with_case: bool) -> str:
    name = f"{safe(error.case)}: {safe(error.name)}" if with_case else safe(error.name)
    between = [one for one in error.span if one != error.name]
    missing = f"; computed from the nearest arrays that it has, by way of {_names(between)}" if between else ""
    best = closest(error)
    near = f"; closest: {safe(best['id'])}, {times_in_words(best['after'])} left" if best else ""
    pattern = f'<div class="soft">{safe(error.pattern)}</div>' if error.pattern else ""
    return f"{name}: {times_in_words(error.times)}{near}{missing}{pattern}"


def _conventions(diagnosis: Diagnosis) -> str:
    items = "".join(f"<li>{safe(words)}</li>" for words in diagnosis.conventions)
    return f"<h2>Conventions, no mistakes</h2><ul>{items}</ul>" if items else ""


def _listed(names: list[str]) -> str:
    return ", ".join(map(safe, names))
