"""Report the result of a check as JUnit XML, which continuous integration shows: a suite per case, a test per array.

A suite has a failure or an error exactly if its case doesn't agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from minibiogpt.files.writing import write_atomically
from minibiogpt.golden.check.result import AGREES, DIFFERS, Result, Row
from minibiogpt.golden.kit.tokens import COMPARED, TokenReport
from minibiogpt.golden.report.kit_text import KitResults, results_of
from minibiogpt.golden.report.text import expected_equation, format_index, notes_of, plain, sentence

Outcome = tuple[str, str, str, list[str]]  # name of the test; "" or "failure", "error", "skipped"; message; details
Suites = list[tuple[str, list[Outcome]]]
DIFFERENCE = re.compile(rf": ((?:{'|'.join(COMPARED)}) )")  # after the text in a line of a TokenReport


def write_junit(path: Path, suites: Suites) -> None:
    """Write the suites atomically."""
    text = junit(suites)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def junit(suites: Suites) -> str:
    """Return the XML of the suites.

    Examples
    --------
    >>> print(junit([("ordinary", [("layers.0", "", "", []), ("logits", "failure", "12 x budget", ["b=0 t=1"])])]))
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="minibiogpt golden check" tests="2" failures="1" errors="0" skipped="0">
      <testsuite name="ordinary" tests="2" failures="1" errors="0" skipped="0">
        <testcase classname="ordinary" name="layers.0" />
        <testcase classname="ordinary" name="logits">
          <failure message="12 x budget">b=0 t=1</failure>
        </testcase>
      </testsuite>
    </testsuites>
    <BLANKLINE>
    """
    every = [outcome for _, outcomes in suites for outcome in outcomes]
    root = ElementTree.Element("testsuites", _counts("minibiogpt golden check", every))
    for name, outcomes in suites:
        suite = ElementTree.SubElement(root, "testsuite", _counts(plain(name), outcomes))
        for test, state, message, details in outcomes:
            case = ElementTree.SubElement(suite, "testcase", {"classname": plain(name), "name": plain(test)})
            if state:
                found = ElementTree.SubElement(case, state, {"message": plain(message)})
                found.text = "\n".join(map(plain, details)) or None
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _counts(name: str, outcomes: list[Outcome]) -> dict[str, str]:
    states = [state for _, state, _, _ in outcomes]
    kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"name": name, "tests": str(len(states))} | {key: str(states.count(kind)) for key, kind in kinds.items()}


def suites_of(results: KitResults, subset: bool) -> Suites:
    """Return the suites of a kit, or of one case. A case without a candidate has one test, named "candidate"."""
    compared = any(result.compared for result in results_of(results))
    suites: Suites = []
    for name, result in results:
        if isinstance(result, Result):
            suites.append((name, list(_tests(result))))
        elif result is None:
            state = "error" if not compared else "skipped" if subset else "failure"
            suites.append((name, [("candidate", state, "not comparable: no candidate", [])]))
        else:
            suites.append((name, [("candidate", "error", str(result), [])]))
    return suites


def token_suites(report: TokenReport) -> Suites:
    """Return the suite of a tokenizer: a test for each text that differs or is missing, and one for all others."""
    tests: list[Outcome] = []
    for line in report.differing:
        parts = DIFFERENCE.split(line, maxsplit=1)
        tests.append((parts[0], "failure", "".join(parts[1:]), []))
    tests += [(text, "failure", "no ids", []) for text in report.missing]
    agree = report.compared - len(report.differing)
    return [("tokenizer", [*tests, *([(f"{agree} texts that agree", "", "", [])] if agree else [])])]


def _tests(result: Result) -> Iterator[Outcome]:
    first = result.first_difference
    for row in [*result.inputs, *result.rows]:
        if row.state == AGREES:
            yield row.name, "", "", []
        elif row.state == DIFFERS or row in result.inputs:
            notes = list(notes_of(row))
            message = f"{_error(row, notes)}{'; first difference' if row is first else ''}"
            yield row.name, "failure", message, [*notes, *(expected_equation(result, row.name) if row is first else [])]
        else:
            state = "skipped" if row.candidate is None and result.options.subset else "failure"
            yield row.name, state, "; ".join(row.notes) or row.state, []
    if not (result.options.subset or result.options.names):
        yield from ((p.candidate, "failure", p.reason or "matches no array of the case", []) for p in result.unpaired)
    if not result.compared:
        yield "compared", "error", sentence(result), []


def _error(row: Row, notes: list[str]) -> str:
    """Return what is wrong in one line."""
    found = row.measured
    if notes and (found is None or found.nan or found.inf or found.wrong_marks):
        return notes[0]
    return f"{row.times or 0.0:.2g} x budget at {format_index(row.where, row.axes) or 'its only element'}"
