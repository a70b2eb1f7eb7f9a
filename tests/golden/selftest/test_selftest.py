"""The self-test: every trial has the expected outcome, and a broken check would be detected."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minibiogpt import InputError
from minibiogpt.cli import main
from minibiogpt.golden.check import compare, judge, result
from minibiogpt.golden.selftest import runner as selftest
from minibiogpt.golden.selftest.fixtures import CheckRun, NoSuchArray, Trial, Workspace, make_workspace
from minibiogpt.golden.selftest.runner import GOOD, TRIALS, Outcome, find_problem, lines_of, outcome
from tests.support.golden_cases import slim_case, small


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


def in_this_process(arguments: list[str]) -> tuple[int, str]:
    """Run the command without starting Python a hundred times."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(["golden", "check", *arguments])
    return code, output.getvalue()


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "run_command", in_this_process)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("trial", TRIALS, ids=[trial.about for trial in TRIALS])
def test_the_check_does_what_it_must(workspace: Workspace, trial: Trial) -> None:
    found = outcome(workspace, trial)
    assert found.as_expected, found.problem
    assert not found.skipped


@pytest.mark.parametrize("trial", [trial for trial in TRIALS if trial not in GOOD], ids=lambda trial: trial.about)
def test_each_corruption_expects_a_message(workspace: Workspace, trial: Trial) -> None:
    check_run = trial.make(workspace)
    assert check_run.exit_code in (1, 2)
    assert check_run.expected
    assert all(text.strip() for text in check_run.expected)


def test_there_are_enough_trials_and_each_is_another() -> None:
    names = [trial.about for trial in TRIALS]
    assert len(set(names)) == len(names)
    assert len(TRIALS) - len(GOOD) >= 40
    assert len(GOOD) >= 10


def test_the_command_itself_is_run_and_a_broken_check_is_missed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own; then with a sitecustomize that makes everything agree."""
    chosen = [trial for trial in TRIALS if trial.about in ("float64", "nothing but NaN")]
    assert [outcome(workspace, trial).as_expected for trial in chosen] == [True, True]
    broken = "import minibiogpt.golden.check.compare as c\nc.Measure.agrees = property(lambda self: True)\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), os.getcwd()])
    monkeypatch.setenv("PYTHONPATH", path)
    found = {trial.about: outcome(workspace, trial) for trial in chosen}
    assert found["float64"].as_expected
    assert found["nothing but NaN"].problem == "exit code 0 instead of 1"


def only_numbers(found: compare.Measure) -> bool:
    """Judge by largest_error <= budget alone, which misses NaN."""
    return found.compared > 0 and found.largest_error <= found.budget and not found.wrong_marks and not found.sums


# What is broken in the check: a trial that then ends otherwise, and the fault.
BROKEN: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "budgets are ignored": (
        "one element changed: the first of the first array",
        lambda m: m.setattr(compare.Measure, "agrees", property(lambda self: self.compared > 0)),
    ),
    "NaN passes": ("nan in one element", lambda m: m.setattr(compare.Measure, "agrees", property(only_numbers))),
    "every score counts as masked": (
        "masked scores visible",
        lambda m: m.setattr(compare, "_masked", lambda c: c == c),
    ),
    "missing arrays pass": ("a step with a cache missing", lambda m: m.setattr(result.Result, "incomplete", 0)),
    "different layouts pass": (
        "a step with a cache missing",
        lambda m: m.setattr(judge, "NOT_COMPARABLE", result.AGREES),
    ),
    "different inputs pass": ("different inputs", lambda m: m.setattr(result.Result, "wrong_inputs", [])),
    "comparing nothing passes": ("an empty candidate", lambda m: m.setattr(result.Result, "compared", 1)),
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_check_is_detected(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    about, break_it = BROKEN[what]
    (trial,) = [trial for trial in TRIALS if trial.about == about]
    assert outcome(workspace, trial).as_expected
    break_it(monkeypatch)
    assert not outcome(workspace, trial).as_expected


def test_what_counts_as_a_problem() -> None:
    check_run = CheckRun([], ["first difference at x"], 1)
    assert find_problem(check_run, 1, "... first difference at x, ...") == ""
    assert find_problem(check_run, 0, "first difference at x") == "exit code 0 instead of 1"
    assert find_problem(check_run, 2, "first difference at x") == "exit code 2 instead of 1"
    assert find_problem(check_run, 1, "first difference at y") == "not in the output: 'first difference at x'"
    assert find_problem(check_run, 1, "first difference at x\nTraceback (most recent call last)") == "a traceback"


def test_the_lines_and_the_verdict() -> None:
    good, bad = Outcome("a", True, True), Outcome("b", False, True)

    def report(*outcomes: Outcome) -> list[tuple[str, bool]]:
        return list(lines_of(iter(outcomes)))

    assert report(good, bad) == [
        ("passes  a", True), ("caught  b", True),
        ("correct candidates passed: 1, wrong ones caught: 1, unexpected results: 0: the check is reliable", True),
    ]  # fmt: skip
    assert report(good, bad, Outcome("c", False, False, "exit code 0 instead of 1"))[2:] == [
        ("MISSED  c: exit code 0 instead of 1", False),
        ("correct candidates passed: 1, wrong ones caught: 1, unexpected results: 1: "
         "do not rely on the check, and report this", False),
    ]  # fmt: skip
    skipped = Outcome("c", False, True, skipped=True)
    assert not report(good, skipped)[-1][1], "no wrong candidate was tried"
    assert not report(bad)[-1][1], "no correct candidate was tried"
    assert not report()[-1][1]
    assert "1 skipped (the case has no such arrays)" in report(good, bad, skipped)[-1][0]


@pytest.mark.usefixtures("one_process")
def test_a_case_of_ones_own(tmp_path: Path) -> None:
    """A hand-written case without F and with one layer: trials that need other arrays are skipped, none is missed."""
    case = small(tmp_path / "own.safetensors")
    found = list(selftest.selftest(case.path, workers=1))
    assert [one for one in found if not one.as_expected] == []
    skipped = [one.about for one in found if one.skipped]
    assert "one masked score visible" in skipped
    assert 0 < len(skipped) < 40


def test_a_slim_case_of_ones_own_is_refused(tmp_path: Path) -> None:
    from tests.support.golden_cases import normal

    case = slim_case(tmp_path / "slim.safetensors", "x", "B T", normal(4, 5), 5)
    with pytest.raises(InputError, match="the self-test needs a full case"):
        next(selftest.selftest(case.path))


def test_an_array_that_is_not_there_is_skipped(workspace: Workspace) -> None:
    with pytest.raises(NoSuchArray):
        workspace.find("B T nothing")
    assert outcome(workspace, Trial("x", lambda b: b.check_changed(b.find("Q"), lambda x: x))).skipped


def lines(outcomes: Iterator[Outcome]) -> list[str]:
    return [line for line, _ in lines_of(outcomes)]


def test_the_command_prints_and_fails_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wrong = [Outcome("a", True, True), Outcome("b", False, False, "exit code 0 instead of 1")]
    monkeypatch.setattr(selftest, "selftest", lambda case: iter(wrong))
    assert main(["golden", "selftest"]) == 1
    assert capsys.readouterr().out.splitlines() == lines(iter(wrong))
    right = [Outcome("a", True, True), Outcome("b", False, True)]
    monkeypatch.setattr(selftest, "selftest", lambda case: iter(right))
    assert main(["golden", "selftest"]) == 0
    assert main(["golden", "selftest", "--case", str(tmp_path / "none")]) == 2
    assert "CASE must be a case file or the folder of a kit; found no " in capsys.readouterr().err


def test_a_command_that_never_ends_is_a_wrong_answer(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("x", 1)

    monkeypatch.setattr(selftest.subprocess, "run", slow)
    found = outcome(workspace, GOOD[0])
    assert (found.as_expected, found.problem) == (False, "exit code -1 instead of 0")
