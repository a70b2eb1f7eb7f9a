"""That the check can fail: a right candidate must pass in every form, and every wrong one must be caught."""

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
from minibiogpt.golden.selftest.fixtures import Absent, Attempt, Bench, Trial, make_bench
from minibiogpt.golden.selftest.mutations import NUMBERS, SHAPES

TRIALS = (*GOOD, *NUMBERS, *SHAPES, *FILES)
LONGEST = 300  # seconds for one command


@dataclass(frozen=True)
class Outcome:
    """What came of one trial.

    Attributes
    ----------
    good : whether a right candidate was checked. caught : whether the check did what it must.
    found : what it did instead; "" when it was right. skipped : the case has no such array.
    """

    about: str
    good: bool
    caught: bool
    found: str = ""
    skipped: bool = False


def selftest(case: Path | None = None, workers: int | None = None) -> Iterator[Outcome]:
    """Run every trial through the command itself, a few at a time, in order.

    Parameters
    ----------
    case : takes the place of the small case; a full one.

    Raises
    ------
    InputError
        If it is none.
    """
    if case is not None and Case.read(case).kind != "full":
        raise InputError("the self-test needs a full case", "a slim one", "record one without --slim")
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder), case)
        with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
            yield from pool.map(lambda trial: outcome(bench, trial), TRIALS)


def outcome(bench: Bench, trial: Trial) -> Outcome:
    """Make the candidate, type the command, look at what it says."""
    good = trial in GOOD
    try:
        attempt = trial.make(bench)
    except Absent:
        return Outcome(trial.about, good, True, skipped=True)
    found = fault(attempt, *typed(attempt.arguments))
    return Outcome(trial.about, good, not found, found)


def typed(arguments: list[str]) -> tuple[int, str]:
    """The exit code of the command, and all that it printed."""
    package = str(Path(minibiogpt.__file__).parent.parent)
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    line = [sys.executable, "-m", "minibiogpt", "golden", "check", *arguments]
    environment = os.environ | {"PYTHONPATH": search, "PYTHONIOENCODING": "utf-8"}
    try:
        run = subprocess.run(line, capture_output=True, env=environment, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return -1, f"no answer in {LONGEST} s"
    return run.returncode, (run.stdout + run.stderr).decode("utf-8", "replace")


def fault(attempt: Attempt, code: int, told: str) -> str:
    """What is wrong with an answer, or nothing."""
    if "Traceback" in told:
        return "a traceback"
    if code != attempt.code:
        return f"exit code {code} instead of {attempt.code}"
    missing = [word for word in attempt.words if word not in told]
    return f"no word of {', '.join(map(repr, missing))}" if missing else ""


def lines_of(outcomes: Iterator[Outcome]) -> Iterator[tuple[str, bool]]:
    """A line for each trial and a summary, each with whether all is well so far."""
    passed = caught = failed = skipped = 0
    for one in outcomes:
        word = "skipped" if one.skipped else "MISSED" if not one.caught else "passes" if one.good else "caught"
        passed += one.good and one.caught and not one.skipped
        caught += not one.good and one.caught and not one.skipped
        failed += not one.caught
        skipped += one.skipped
        yield f"{word:8}{one.about}{': ' + one.found if one.found else ''}", not failed
    rest = f", {skipped} skipped (the case has no such arrays)" if skipped else ""
    told = f"{passed} right candidates pass, {caught} wrong ones are caught, {failed} answers are wrong{rest}"
    verdict = "the check can be relied on" if not failed else "do not rely on the check, and report this"
    yield f"{told}: {verdict}", not failed and bool(passed) and bool(caught)
