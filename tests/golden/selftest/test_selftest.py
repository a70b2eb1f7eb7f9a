"""The self-test: every trial comes out as it must, and a check that were broken would be found out."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibiogpt import InputError
from minibiogpt.cli import main
from minibiogpt.golden.check import compare, judge, result
from minibiogpt.golden.selftest import runner as selftest
from minibiogpt.golden.selftest.fixtures import Absent, Attempt, Bench, Trial, make_bench
from minibiogpt.golden.selftest.runner import GOOD, TRIALS, Outcome, fault, lines_of, outcome
from tests.support.golden_cases import slim_case, small


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


def in_this_process(arguments: list[str]) -> tuple[int, str]:
    """What the command does, without starting Python a hundred times."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["golden", "check", *arguments])
    return code, said.getvalue()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "typed", in_this_process)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("trial", TRIALS, ids=[trial.about for trial in TRIALS])
def test_the_check_does_what_it_must(bench: Bench, trial: Trial) -> None:
    found = outcome(bench, trial)
    assert found.caught, found.found
    assert not found.skipped


@pytest.mark.parametrize("trial", [trial for trial in TRIALS if trial not in GOOD], ids=lambda trial: trial.about)
def test_each_damage_says_what_must_be_said(bench: Bench, trial: Trial) -> None:
    attempt = trial.make(bench)
    assert attempt.code in (1, 2)
    assert attempt.words
    assert all(word.strip() for word in attempt.words)


def test_there_are_enough_of_them_and_each_is_another() -> None:
    names = [trial.about for trial in TRIALS]
    assert len(set(names)) == len(names)
    assert len(TRIALS) - len(GOOD) >= 40
    assert len(GOOD) >= 10


def test_the_command_itself_is_run_and_a_broken_check_is_missed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a process of its own; then with a sitecustomize that makes everything agree."""
    chosen = [trial for trial in TRIALS if trial.about in ("float64", "nothing but NaN")]
    assert [outcome(bench, trial).caught for trial in chosen] == [True, True]
    broken = "import minibiogpt.golden.check.compare as c\nc.Measure.agrees = property(lambda self: True)\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), os.getcwd()])
    monkeypatch.setenv("PYTHONPATH", path)
    found = {trial.about: outcome(bench, trial) for trial in chosen}
    assert found["float64"].caught
    assert found["nothing but NaN"].found == "exit code 0 instead of 1"


def only_numbers(found: compare.Measure) -> bool:
    """As largest_error <= budget alone would have it."""
    return found.compared > 0 and found.largest_error <= found.budget and not found.wrong_marks and not found.sums


BROKEN = {
    "no budget is kept": lambda m: m.setattr(compare.Measure, "agrees", property(lambda self: self.compared > 0)),
    "NaN passes": lambda m: m.setattr(compare.Measure, "agrees", property(only_numbers)),
    "marks pass": lambda m: m.setattr(compare, "_hidden", lambda c: c == c),
    "what is missing passes": lambda m: m.setattr(result.Result, "incomplete", 0),
    "layouts pass": lambda m: m.setattr(judge, "NOT_COMPARABLE", result.AGREES),
    "inputs pass": lambda m: m.setattr(result.Result, "wrong_inputs", []),
    "nothing is enough": lambda m: m.setattr(result.Result, "compared", 1),
}  # fmt: skip


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_check_is_found_out(bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    BROKEN[what](monkeypatch)
    assert any(not outcome(bench, trial).caught for trial in TRIALS)


def test_what_counts_as_a_fault() -> None:
    attempt = Attempt([], ["first difference at x"], 1)
    assert fault(attempt, 1, "... first difference at x, ...") == ""
    assert fault(attempt, 0, "first difference at x") == "exit code 0 instead of 1"
    assert fault(attempt, 2, "first difference at x") == "exit code 2 instead of 1"
    assert fault(attempt, 1, "first difference at y") == "no word of 'first difference at x'"
    assert fault(attempt, 1, "first difference at x\nTraceback (most recent call last)") == "a traceback"


def test_the_lines_and_the_verdict() -> None:
    good, bad = Outcome("a", True, True), Outcome("b", False, True)

    def told(*outcomes: Outcome) -> list[tuple[str, bool]]:
        return list(lines_of(iter(outcomes)))

    assert told(good, bad) == [
        ("passes  a", True), ("caught  b", True),
        ("1 right candidates pass, 1 wrong ones are caught, 0 answers are wrong: the check can be relied on", True),
    ]  # fmt: skip
    assert told(good, bad, Outcome("c", False, False, "exit code 0 instead of 1"))[2:] == [
        ("MISSED  c: exit code 0 instead of 1", False),
        ("1 right candidates pass, 1 wrong ones are caught, 1 answers are wrong: "
         "do not rely on the check, and report this", False),
    ]  # fmt: skip
    assert not told(good, Outcome("c", False, True, skipped=True))[-1][1], "nothing wrong was tried"
    assert not told(bad)[-1][1], "nothing right was tried"
    assert not told()[-1][1]
    assert "1 skipped (the case has no such arrays)" in told(good, bad, Outcome("c", False, True, skipped=True))[-1][0]


@pytest.mark.usefixtures("here")
def test_a_case_of_ones_own(tmp_path: Path) -> None:
    """By hand, without F and with one layer: what needs other arrays is skipped, and nothing is missed."""
    case = small(tmp_path / "own.safetensors")
    found = list(selftest.selftest(case.path, workers=1))
    assert [one for one in found if not one.caught] == []
    skipped = [one.about for one in found if one.skipped]
    assert "one hidden score visible" in skipped
    assert 0 < len(skipped) < 40


def test_a_slim_case_of_ones_own_is_refused(tmp_path: Path) -> None:
    from tests.support.golden_cases import normal

    case = slim_case(tmp_path / "slim.safetensors", "x", "B T", normal(4, 5), 5)
    with pytest.raises(InputError, match="the self-test needs a full case"):
        next(selftest.selftest(case.path))


def test_an_array_that_is_not_there_is_skipped(bench: Bench) -> None:
    with pytest.raises(Absent):
        bench.find("B T nothing")
    assert outcome(bench, Trial("x", lambda b: b.changed(b.find("Q"), lambda x: x))).skipped


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


def test_a_command_without_an_end_is_a_wrong_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("x", 1)

    monkeypatch.setattr(selftest.subprocess, "run", slow)
    found = outcome(bench, GOOD[0])
    assert (found.caught, found.found) == (False, "exit code -1 instead of 0")
