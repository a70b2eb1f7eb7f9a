"""tools/check_kills.py: a command that writes correctly, and one with each fault that must be found."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from minibiogpt.errors import InputError
from tools import check_kills
from tools.killing import tracing
from tools.killing.commands import ALL
from tools.killing.kinds import KINDS, drawn
from tools.killing.trials import Finding, Plan, Tally, run_all

pytestmark = pytest.mark.skipif(not tracing.possible(), reason="tracing a child needs Linux on x86-64")

DATA = b"the new result\n" * 900  # four pages
Run = Callable[[argparse.Namespace], None]


def correct(options: argparse.Namespace) -> None:
    """Write to a private folder, then rename; remove what a killed run left."""
    path = Path(options.output)
    new = path.with_name(f".{path.name}.ours")
    if not new.is_symlink():
        new.unlink(missing_ok=True)
    try:
        with new.open("xb", buffering=0) as file:
            for start in range(0, len(DATA), 4096):
                file.write(DATA[start : start + 4096])
        os.replace(new, path)
    except OSError as error:
        raise InputError(f"{path} must be writable", str(error), "free some space") from None
    finally:
        new.unlink(missing_ok=True)


# Faults planted in the command: each writes page.html.


def in_place(options: argparse.Namespace) -> None:
    try:
        with open(options.output, "wb", buffering=0) as file:
            for start in range(0, len(DATA), 4096):
                file.write(DATA[start : start + 4096])
    except OSError as error:
        raise InputError("a", str(error), "b") from None


def forgotten(options: argparse.Namespace) -> None:
    handle, name = tempfile.mkstemp(dir=".")
    try:
        os.write(handle, DATA)
        os.fsync(handle)
        os.chmod(name, 0o644)
        os.replace(name, options.output)
    except OSError as error:
        raise InputError("a", str(error), "b") from None


def uncaught(options: argparse.Namespace) -> None:
    try:
        correct(options)
    except InputError as error:
        raise RuntimeError("no space") from error


def told_twice(options: argparse.Namespace) -> None:
    try:
        correct(options)
    except InputError as error:
        print("minibiogpt: error: no space", file=sys.stderr)
        raise error


def interrupted(code: int, message: str) -> Run:
    def run(options: argparse.Namespace) -> None:
        try:
            correct(options)
        except KeyboardInterrupt:
            print(message, file=sys.stderr)
            sys.exit(code)

    return run


def locked(options: argparse.Namespace) -> None:
    lock = Path("page.html.lock")
    try:
        lock.open("x").close()
    except OSError as error:
        raise InputError("a", str(error), "b") from None
    correct(options)
    lock.unlink()


def waiting(options: argparse.Namespace) -> None:
    while Path("page.html.lock").exists():
        pass
    Path("page.html.lock").touch()
    correct(options)
    Path("page.html.lock").unlink()


def predictable(options: argparse.Namespace) -> None:
    Path("page.html.new").write_bytes(DATA)
    os.replace("page.html.new", options.output)


def tidy(options: argparse.Namespace) -> None:
    correct(options)
    for path in Path().glob("*~"):
        path.unlink()


def again(options: argparse.Namespace) -> None:
    existed = Path(options.output).exists()
    correct(options)
    if existed:
        with open(options.output, "ab") as file:
            file.write(b"again")


def vanishing(options: argparse.Namespace) -> None:
    if Path(options.output).exists():
        os.unlink(options.output)
    else:
        correct(options)


def process(options: argparse.Namespace) -> None:
    Path(options.output).write_text(f"{os.getpid()}\n")


FAULTS: dict[str, tuple[Run, str, str, str]] = {
    "in place": (in_place, "SIGKILL", "half-written", "page.html is neither"),
    "in place, no space": (in_place, "failing", "half-written", "page.html is neither"),
    "in place, too large": (in_place, "limited", "half-written", "page.html is neither"),
    "in place, a full disk": (in_place, "full", "half-written", "page.html is neither"),
    "a temporary left by a kill": (forgotten, "SIGTERM", "left behind", "tmp"),
    "a temporary left by an error": (forgotten, "failing", "left behind", "after an error"),
    "another exception": (uncaught, "failing", "exit code", "RuntimeError: no space"),
    "two lines of error": (told_twice, "failing", "message", "not one line"),
    "an interrupt as an error": (interrupted(2, ""), "SIGINT", "exit code", "2 after SIGINT"),
    "an interrupt without a line": (interrupted(130, ""), "SIGINT", "message", "interrupted"),
    "an interrupt with a traceback": (interrupted(130, "Traceback"), "SIGINT", "traceback", "Traceback"),
    "a lock that stays": (locked, "SIGKILL", "not repeatable", "File exists"),
    "a lock without an end": (waiting, "paused", "hang", "did not end"),
    "a name that others may use": (predictable, "squatted", "foreign", "outside/kept was changed"),
    "a file of others removed": (tidy, "undisturbed", "foreign", "page.html~ was removed"),
    "other bytes when repeated": (again, "SIGKILL", "different", "page.html has other bytes"),
    "no file when repeated": (vanishing, "SIGKILL", "lost", "page.html is missing"),
    "other bytes in each process": (process, "undisturbed", "different", "page.html has other bytes"),
}


def tried(run: Run, monkeypatch: pytest.MonkeyPatch, *kinds: str, start: str = "new", count: int = 40) -> list[Tally]:
    """Run the trials of ``view``, whose work ``run`` does."""
    monkeypatch.setattr("minibiogpt.cli.view.run", run)
    monkeypatch.setattr("tools.killing.site.Site.spawn", spawned)
    return list(run_all(Plan(count, commands=("view",), kinds=kinds, starts=(start,))))


def spawned(self, after: float, signum: int):  # type: ignore[no-untyped-def]
    """A new process would not have the fault; a forked one has."""
    return self.fork().wait(), 0.1


def found(tallies: list[Tally]) -> list[Finding]:
    return [finding for tally in tallies for finding in tally.findings]


@pytest.mark.parametrize("name", ["score", "embed-npy", "view", "check", "convert", "save-model"])
def test_killed_runs_of_the_package_lose_nothing(name: str) -> None:
    tallies = list(run_all(Plan(2, seed=1, commands=(name,), kinds=("SIGKILL", "SIGINT", "twice", "paused"))))
    assert sum(tally.runs for tally in tallies) == 10
    assert not found(tallies)


@pytest.mark.parametrize("start", ["new", "old"])
def test_a_correct_command_has_no_findings(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [name for name, kind in KINDS.items() if kind.possible() and not kind.spawned]
    tallies = tried(correct, monkeypatch, *kinds, start=start, count=5)
    assert not found(tallies)
    assert {tally.kind for tally in tallies} == {"undisturbed", *kinds} - ({"squatted"} if start == "old" else set())
    assert all(tally.runs for tally in tallies)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, kind, what, detail = FAULTS[name]
    if not (kind == "undisturbed" or KINDS[kind].possible()):
        pytest.skip(f"{kind} needs root")
    monkeypatch.setattr("tools.killing.children.SECONDS", 1)
    few = {"limited": 15, "paused": 2}.get(kind, 40)
    findings = found(tried(run, monkeypatch, kind if kind in KINDS else "stdout", count=few))
    assert any(one.kind == kind and one.what == what and detail in one.detail for one in findings), findings


def test_the_command_prints_a_table_and_lines_that_reproduce_the_findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.killing.site.Site.spawn", spawned)
    monkeypatch.setattr("minibiogpt.cli.view.run", correct)
    line = ["--command", "view", "--kind", "SIGKILL", "--start", "new"]
    assert check_kills.main([*line, "--moments", "3"]) == 0
    heads, undisturbed, killed, in_all = capsys.readouterr().out.splitlines()
    assert heads.split() == ["command", "kind", "runs", "findings", "seconds"]
    assert (undisturbed.split()[:4], killed.split()[:4]) == (
        ["view", "undisturbed", "1", "0"],
        ["view", "SIGKILL", "3", "0"],
    )
    assert in_all.split()[:4] == ["in", "all", "4", "0"]
    monkeypatch.setattr("minibiogpt.cli.view.run", in_place)
    assert check_kills.main(line) == 1
    out = capsys.readouterr().out
    replays = [text.partition("check_kills.py ")[2].split() for text in out.splitlines() if "half-written: " in text]
    assert len(replays) == 1, out
    assert check_kills.main([*replays[0], "--json"]) == 1
    _, tally = json.loads(capsys.readouterr().out)
    assert (tally["command"], tally["kind"], tally["runs"]) == ("view", "SIGKILL", 1)
    assert {(one["what"], one["at"]) for one in tally["findings"]} == {("half-written", int(replays[0][-1]))}


def test_the_moments_are_the_same_for_the_same_seed() -> None:
    kind, site = dataclasses.replace(KINDS["SIGKILL"], moments=lambda site: range(1, 90)), Mock()
    first = drawn(kind, site, "SIGKILL", 3, 12)
    assert first == drawn(kind, site, "SIGKILL", 3, 12) != drawn(kind, site, "SIGKILL", 4, 12)
    assert len(set(first)) == 12
    assert drawn(kind, site, "SIGKILL", 3, 99) == list(range(1, 90))  # all, if there are fewer


def test_every_command_has_its_own_output_and_an_old_one_unless_it_prints_it() -> None:
    assert all(bool(command.old) != bool(command.stdout) or command.is_code for command in ALL)
