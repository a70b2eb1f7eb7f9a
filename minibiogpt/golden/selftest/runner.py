"""Run the self-test: every correct candidate must pass, and every wrong one must be caught."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import minibiogpt
from minibiogpt.errors import InputError
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.selftest.corruptions import FILES, GOOD
from minibiogpt.golden.selftest.fixtures import CheckRun, NoSuchArray, Trial, Workspace, make_workspace
from minibiogpt.golden.selftest.mutations import SHAPES, VALUES

TRIALS = (*GOOD, *VALUES, *SHAPES, *FILES)
TIMEOUT = 300  # seconds per command


@dataclass(frozen=True)
class Outcome:
    """The outcome of one trial.

    Attributes
    ----------
    correct : whether the candidate is a correct one.
    as_expected : whether the check did what it must.
    problem : what it did instead; "" if all is as expected.
    skipped : whether the trial was skipped because the case has no such array.
    """

    about: str
    correct: bool
    as_expected: bool
    problem: str = ""
    skipped: bool = False


def selftest(case: Path | None = None, workers: int | None = None) -> Iterator[Outcome]:
    """Run every trial through the command line, several in parallel, and yield the outcomes in order.

    Parameters
    ----------
    case : a full case to use instead of the small one.
    workers : commands that run at the same time.

    Raises
    ------
    InputError
        If ``case`` isn't a full case.
    """
    if case is not None and Case.read(case).kind != "full":
        raise InputError("the self-test needs a full case", "a slim one", "record one without --slim")
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder), case)
        with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
            yield from pool.map(lambda trial: outcome(workspace, trial), TRIALS)


def outcome(workspace: Workspace, trial: Trial) -> Outcome:
    """Write the candidate, run the command, and compare its output with what is expected."""
    correct = trial in GOOD
    try:
        check_run = trial.make(workspace)
    except NoSuchArray:
        return Outcome(trial.about, correct, True, skipped=True)
    problem = find_problem(check_run, *run_command(check_run.arguments))
    return Outcome(trial.about, correct, not problem, problem)


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run ``minibiogpt golden check`` and return its exit code and output."""
    package = str(Path(minibiogpt.__file__).parent.parent)
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    line = [sys.executable, "-m", "minibiogpt", "golden", "check", *arguments]
    environment = os.environ | {"PYTHONPATH": search, "PYTHONIOENCODING": "utf-8"}
    try:
        run = subprocess.run(line, capture_output=True, env=environment, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return -1, f"no answer in {TIMEOUT} s"
    return run.returncode, (run.stdout + run.stderr).decode("utf-8", "replace")


def find_problem(check_run: CheckRun, exit_code: int, output: str) -> str:
    """Return what is wrong with the command's result, or ""."""
    if "Traceback" in output:
        return "a traceback"
    if exit_code != check_run.exit_code:
        return f"exit code {exit_code} instead of {check_run.exit_code}"
    missing = [text for text in check_run.expected if text not in output]
    return f"not in the output: {', '.join(map(repr, missing))}" if missing else ""


def lines_of(outcomes: Iterator[Outcome]) -> Iterator[tuple[str, bool]]:
    """Yield a line for each trial and a summary, each with whether everything so far is as expected."""
    passed = caught = failed = skipped = 0
    for one in outcomes:
        word = "skipped" if one.skipped else "MISSED" if not one.as_expected else "passes" if one.correct else "caught"
        passed += one.correct and one.as_expected and not one.skipped
        caught += not one.correct and one.as_expected and not one.skipped
        failed += not one.as_expected
        skipped += one.skipped
        yield f"{word:8}{one.about}{': ' + one.problem if one.problem else ''}", not failed
    rest = f", {skipped} skipped (the case has no such arrays)" if skipped else ""
    counts = f"correct candidates passed: {passed}, wrong ones caught: {caught}, unexpected results: {failed}{rest}"
    verdict = "the check is reliable" if not failed else "do not rely on the check, and report this"
    yield f"{counts}: {verdict}", not failed and bool(passed) and bool(caught)
