"""Run the trials of all commands and kinds, and collect what they find."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.killing.children import import_everything
from tools.killing.commands import Command, commands, write_inputs
from tools.killing.kinds import KINDS, drawn
from tools.killing.rooms import Problem, Room
from tools.killing.site import Site

STARTS, MEMORY = ("new", "old"), "/dev/shm"


@dataclass(frozen=True)
class Plan:
    """Which trials to run. ``at`` stands for one moment instead of ``count`` random ones."""

    count: int = 30
    seed: int = 0
    commands: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    starts: tuple[str, ...] = STARTS
    at: int | None = None


@dataclass(frozen=True)
class Finding:
    """What was wrong after a trial."""

    command: str
    kind: str
    start: str
    at: int
    what: str
    detail: str

    def replay(self) -> str:
        trial = f"--command {self.command} --kind {self.kind} --start {self.start} --at {self.at}"
        return f"python tools/check_kills.py {trial}"


@dataclass
class Tally:
    """The trials of one kind on one command."""

    command: str
    kind: str
    runs: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def run_all(plan: Plan) -> Iterator[Tally]:
    """Yield the tally of each command and kind."""
    import_everything()
    known = commands()
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None  # no waiting for a disk
    with tempfile.TemporaryDirectory(prefix="kills-", dir=memory) as folder:
        room = Room(Path(folder))
        names = plan.commands or tuple(known)
        write_inputs(room.root / "inputs", pickled="convert" in names)
        for name in names:
            yield from _run_command(plan, room, known[name])


def _run_command(plan: Plan, room: Room, command: Command) -> Iterator[Tally]:
    starts = [start for start in plan.starts if start == "new" or command.old]
    sites = {start: Site(room, command, start) for start in starts}
    undisturbed = Tally(command.name, "undisturbed", len(sites))
    for site in sites.values():
        undisturbed.findings += _findings(site, "undisturbed", 0, site.problems)
    yield undisturbed
    for kind in plan.kinds or KINDS:
        chosen = [site for site in sites.values() if KINDS[kind].applies(site)]
        if not chosen:
            continue
        tally, began = Tally(command.name, kind), time.monotonic()
        for site in chosen:
            count = max(1, round(plan.count * KINDS[kind].share / len(chosen)))
            moments = drawn(KINDS[kind], site, kind, plan.seed, count) if plan.at is None else [plan.at]
            for at in moments:
                tally.findings += _findings(site, kind, at, KINDS[kind].trial(site, at))
            tally.runs += len(moments)
        tally.seconds = time.monotonic() - began
        yield tally


def _findings(site: Site, kind: str, at: int, problems: Iterator[Problem] | list[Problem]) -> list[Finding]:
    return [Finding(site.command.name, kind, site.start, at, *problem) for problem in problems]
