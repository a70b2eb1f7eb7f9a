"""The part of the page below the causes: the table of a kit's cases, and for each case its graph and its arrays."""

from __future__ import annotations

from collections.abc import Mapping

from minibiogpt.catalog.names import STEP
from minibiogpt.catalog.steps import Step, steps
from minibiogpt.config import BioGptConfig
from minibiogpt.golden.check.calls import inputs_of_call
from minibiogpt.golden.diagnosis.drawing import marks as states
from minibiogpt.golden.diagnosis.drawing.graph import column_of, css_of, graph, short_name
from minibiogpt.golden.diagnosis.drawing.marks import ABSENT_MARK, Diagnosed, Mark, safe
from minibiogpt.golden.format.case import Case

SEVERITY = (states.UNEXPLAINED, states.EXPLAINED, states.ACCEPTED, states.INHERITED, states.BETWEEN, states.AGREES)
KEY = {
    states.EXPLAINED: "an error of its own, made by cause 1",
    states.UNEXPLAINED: "an error of its own, not explained",
    states.ACCEPTED: "another convention, no mistake",
    states.INHERITED: "differs only because its sources do",
    states.AGREES: "agrees",
    states.BETWEEN: "not in the candidate; computed on the way to an error",
    states.ABSENT: "not in the candidate",
}
Calls = list[tuple[str, dict[str, Step]]]  # of a case: its name, and {full name: step}


def calls_of(case: Case) -> Calls:
    """Return the calls of a case."""
    config = BioGptConfig.from_dict(case.config)
    found = [STEP.match(name) for name in [*(entry.name for entry in case.entries), *case.input_names]]
    numbers = {int(call[1]): call[0] for call in found if call}
    return [
        (prefix, {prefix + x.name: x for x in steps(config, case.architecture, inputs_of_call(case, prefix))})
        for prefix in ([numbers[n] for n in sorted(numbers)] or [""])
    ]


def link(case: str, numbers: Mapping[str, int]) -> str:
    """Return a link to the graph of a case. ``numbers`` are those of the cases that have one."""
    return f'<a href="#case-{numbers[case]}">{safe(case)}</a>' if case in numbers else safe(case)


def forward_pass(diagnosis: Diagnosed, marks: Mapping[str, Mapping[str, Mark]], numbers: Mapping[str, int]) -> str:
    """Return the key, the table of the cases if there are several, and the graphs.

    Parameters
    ----------
    marks : {case: {array: mark}}, see ``marks_of``.
    numbers : {case: number in the links}.
    """
    calls = {name: calls_of(result.case) for name, result in diagnosis.results.items()}
    table = _kit(calls, marks, numbers) if len(marks) > 1 else ""
    css = "kit-cases" if table else "pass"
    shown = [marks[case].get(name, ABSENT_MARK) for case, found in calls.items() for _, x in found for name in x]
    to_correct = next((mark for mark in shown if mark.to_correct), None)
    words = _words({mark.state for mark in shown}, to_correct)
    return (
        f'<div class="{css}"><h2>The forward pass, coloured by own error</h2>{words}{table}'
        f"{_cases(diagnosis, calls, marks)}</div>"
    )


def _words(seen: set[str], to_correct: Mark | None) -> str:
    """Return what the picture shows, and the key to the states that occur in it."""
    numbered = {states.EXPLAINED: 1, states.BETWEEN: int(states.EXPLAINED in seen)}
    marks = [(Mark(state, numbered.get(state, 0)), text) for state, text in KEY.items() if state in seen]
    if to_correct:
        marks.append((to_correct, "the first step to correct, not in the candidate"))
    items = "".join(f'<span><b class="{css_of(mark)}">{mark.sign}</b>{text}</span> ' for mark, text in marks)
    if seen & set(states.WRONG):
        items += '<span><b class="ringed"></b>the first error of its own</span>'
    return (
        '<p class="soft">Each array is computed again from the candidate’s own sources: its own error is what is left. '
        f'Errors are in units of the budget of rounding. Point at a box for its numbers.</p><p class="key">{items}</p>'
    )


def _kit(calls: Mapping[str, Calls], marks: Mapping[str, Mapping[str, Mark]], numbers: Mapping[str, int]) -> str:
    """Return the table of cases by steps; a cell has the worst array of all layers and calls."""
    columns: list[tuple[bool, str]] = []
    cells: dict[str, dict[tuple[bool, str], list[Mark]]] = {}
    for case, its_calls in calls.items():
        found, at = cells.setdefault(case, {}), -1
        for name in (name for _, its_steps in its_calls for name in its_steps):
            key = (isinstance(column_of(name, False), int), short_name(name))
            if key not in columns:
                columns.insert(at + 1, key)  # behind the step before it: some cases have a score, others a loss
            at = columns.index(key)
            found.setdefault(key, []).append(marks[case].get(name, ABSENT_MARK))
    heads = "".join(f'<th scope="col"><span>{safe(short)}</span></th>' for _, short in columns)
    rows = "".join(
        f'<tr><th scope="row">{link(case, numbers)}</th>'
        f"{''.join(_cell(found.get(key, []), f'{case}: {key[1]}') for key in columns)}</tr>"
        for case, found in cells.items()
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="own errors of all cases"><table class="kit">'
        f"<thead><tr><td>case</td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(marks: list[Mark], title: str) -> str:
    """Return the cell of one step: the worst state, and the numbers of all causes."""
    if not marks:
        return "<td></td>"
    worst = min(marks, key=lambda mark: (SEVERITY.index(mark.state) if mark.state in SEVERITY else 9, mark.number))
    causes = sorted({mark.number for mark in marks if mark.state == states.EXPLAINED})
    unknown = [worst.sign] if worst.state == states.UNEXPLAINED else []
    sign = ",".join([*unknown, *map(str, causes)]) or worst.sign
    words = f"{title}: {_state(worst)}, {worst.own_error}"
    return f'<td class="cell {css_of(worst)}" title="{safe(words)}">{sign}</td>'


def _cases(diagnosis: Diagnosed, calls: Mapping[str, Calls], marks: Mapping[str, Mapping[str, Mark]]) -> str:
    wrong = [name for name, found in marks.items() if any(mark.state in states.WRONG for mark in found.values())]
    shown = next(iter([*wrong, *marks]), "")
    if len(marks) == 1:
        return _case(shown, calls[shown], marks[shown])
    parts = []
    for i, name in enumerate(marks):
        own = sum(mark.state in states.WRONG for mark in marks[name].values())
        words = (
            f"{own} array{'s' * (own != 1)} with an error of {'its' if own == 1 else 'their'} own"
            if own
            else "no error of its own"
        )
        about = safe(diagnosis.results[name].case.about)
        parts.append(
            f'<details class="case" id="case-{i}"{" open" * (name == shown)}><summary>{safe(name)}: {words}</summary>'
            f'<p class="soft">{about}</p>{_case(name, calls[name], marks[name])}</details>'
        )
    return f"<h2>The cases</h2>{''.join(parts)}"


def _case(name: str, calls: Calls, marks: Mapping[str, Mark]) -> str:
    """Return the graph of each call, and the same as a table."""
    every = [array for _, its_steps in calls for array in its_steps]
    first = next((array for array in every if marks.get(array, ABSENT_MARK).state in states.WRONG), None)
    graphs = []
    for call, its_steps in calls:
        heading = f"<h3>call {safe(call.rstrip('/'))}</h3>" if call else ""
        label = f"arrays of {call}{name} and their own errors; the table below has the same"
        graphs.append(f"<section>{heading}{graph(its_steps, marks, label, first)}</section>")
    return f'<div class="calls">{"".join(graphs)}</div>{_table(name, every, marks)}'


def _table(case: str, names: list[str], marks: Mapping[str, Mark]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("state", "array", "own error", "against the case"))
    rows = "".join(_row(name, marks.get(name, ABSENT_MARK)) for name in names)
    return (
        f'<details class="rows"><summary>{safe(case)}: all arrays as a table</summary><div class="wide" tabindex="0" '
        f'role="region" aria-label="arrays of {safe(case)}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _row(name: str, mark: Mark) -> str:
    sign = f'<span class="{css_of(mark)}">{mark.sign}</span> ' if mark.sign else ""
    return (
        f'<tr><td class="state">{sign}{_state(mark)}</td><td>{safe(name)}</td>'
        f"<td>{mark.own_error}</td><td>{mark.checked}</td></tr>"
    )


def _state(mark: Mark) -> str:
    words = {
        states.EXPLAINED: f"cause {mark.number}",
        states.UNEXPLAINED: "not explained",
        states.ACCEPTED: "another convention",
        states.BETWEEN: f"to correct for cause {mark.number}" if mark.to_correct else "computed on the way",
        states.ABSENT: "absent",
    }
    return words.get(mark.state, mark.state)
