"""One command with one start: an undisturbed run, the facts measured in it, and the checks of every other run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from tools.killing.children import SECONDS, Child, Ended, fork, spawn
from tools.killing.commands import Command
from tools.killing.rooms import (
    Problem,
    Room,
    Snapshot,
    complete_problems,
    foreign_problems,
    left_problems,
    output_of,
    stopped_problems,
)
from tools.killing.tracing import Tracer

INTERRUPTED = "minibiogpt: interrupted"
ERROR, RAISED = "minibiogpt: error: ", "minibiogpt.errors."
HUNG = -signal.SIGALRM
ENDS = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGTERM: (-signal.SIGTERM, 128 + signal.SIGTERM),
    signal.SIGINT: (128 + signal.SIGINT,),
}


class Call(NamedTuple):
    """A system call of an undisturbed run that can change a file."""

    name: str
    file_descriptor: int


class Site:
    """A command, what is there when it starts ("new" or "old"), and the room in which it runs.

    Attributes
    ----------
    complete : the room after an undisturbed run. problems : those of that run.
    seconds : how long it takes in a new process. varies : whether it then gives different bytes.
    """

    def __init__(self, room: Room, command: Command, start: str) -> None:
        self.room, self.command, self.start = room, command, start
        before = room.lay(command, start)
        ended = self.fork().wait()
        self.complete = room.snapshot()
        self.problems = list(foreign_problems(command, before, self.complete))
        extra = [path for path in self.complete.keys() - before if not path.startswith(command.output)]
        extra += [path for path in self.complete if path in command.companions]
        self.problems += [Problem("left behind", f"{path}, after an undisturbed run") for path in sorted(extra)]
        if ended.code:
            self.problems.append(Problem("exit code", f"{ended.code} of an undisturbed run: {ended.stderr}"))
        room.lay(command, start)
        _, self.seconds = self.spawn(SECONDS, signal.SIGKILL)
        self.varies = room.snapshot() != self.complete
        if self.varies:
            self.problems += complete_problems(room.snapshot(), self.complete)

    def lay(self, squatter: tuple[str, str] | None = None) -> Snapshot:
        return self.room.lay(self.command, self.start, squatter)

    def fork(self, *, traced: bool = False, limit: int | None = None, full: bool = False) -> Child:
        line = self.command.line(self.start)
        return fork(self.command, line, self.room.path, traced=traced, limit=limit, full=full)

    def spawn(self, after: float, signum: int) -> tuple[Ended, float]:
        return spawn(self.command, self.command.line(self.start), self.room.path, after, signum)

    @cached_property
    def calls(self) -> list[Call]:
        """The calls of an undisturbed run that can change a file, in order."""
        self.lay()
        child = self.fork(traced=True)
        tracer, found = Tracer(child.pid), list[Call]()
        status = tracer.finish(lambda name: found.append(Call(name, tracer.file_descriptor())))
        ended = child.ended(status)
        if ended.code:
            raise RuntimeError(f"{self.command.name} cannot be traced: {ended}")
        return found

    def signal_problems(self, ended: Ended, signum: signal.Signals, before: Snapshot) -> Iterator[Problem]:
        """Check a run after a signal: how it ended, what it printed, and what it left."""
        after, exact = self.room.snapshot(), self.command.is_code and signum == signal.SIGINT
        if ended.code == 0:
            yield from complete_problems(after, self.complete)
        elif ended.code not in (*ENDS[signum], HUNG) and not exact:
            yield Problem("exit code", f"{ended.code} after {signum.name}: {ended.stderr[-500:]!r}")
        if not exact:  # a program that uses the API handles its own interrupts
            yield from _noise(ended)
            if ended.code == 128 + signal.SIGINT and ended.lines.count(INTERRUPTED) != 1:
                yield Problem("message", f"{ended.stderr[-500:]!r}, without {INTERRUPTED!r}")
        yield from stopped_problems(self.command, before, after, self.complete)

    def error_problems(self, ended: Ended, before: Snapshot) -> Iterator[Problem]:
        """Check a run that may have failed: one line of error, and nothing half-written or left."""
        after = self.room.snapshot()
        yield from self.message_problems(ended)
        yield from stopped_problems(self.command, before, after, self.complete)
        if ended.code == 0:
            yield from complete_problems(after, self.complete)
        else:
            yield from left_problems(self.command, before, after, self.complete)

    def message_problems(self, ended: Ended) -> Iterator[Problem]:
        """A command ends with 0, or with 2 and one line of error; a program, with an error of the package."""
        if ended.code in (0, HUNG):
            yield from _noise(ended)
        elif self.command.is_code:
            last = (ended.lines or [""])[-1]
            if not last.startswith(RAISED):
                yield Problem("traceback", last[:500] or f"exit code {ended.code}")
        elif ended.code != 2:
            yield Problem("exit code", f"{ended.code}: {ended.stderr[-500:]!r}")
        else:
            yield from _noise(ended)
            if sum(line.startswith(ERROR) for line in ended.lines) != 1:
                yield Problem("message", f"not one line of error: {ended.stderr[-500:]!r}")

    def repeat(self) -> Iterator[Problem]:
        """Run the command again: it must complete, unless it refuses to replace what is complete already."""
        was_complete = output_of(self.command, self.room.snapshot()) == output_of(self.command, self.complete)
        ended = self.fork().wait()
        after = self.room.snapshot()
        if ended.code and not (was_complete and not list(self.message_problems(ended))):
            last = (ended.lines or [""])[-1]
            yield Problem("not repeatable", f"the same command then ended with exit code {ended.code}: {last}")
        elif self.command.stdout is None:
            yield from complete_problems(after, self.complete)


def _noise(ended: Ended) -> Iterator[Problem]:
    for sign in ("Traceback", "Exception ignored"):
        if sign in ended.stderr:
            yield Problem("traceback", ended.stderr[-1500:])
            return
    if ended.code == HUNG:
        yield Problem("hang", "the run did not end")
