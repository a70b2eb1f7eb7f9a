"""Run a command in a forked child, which has everything imported and starts in a millisecond, or in a new process."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import pkgutil
import resource
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import minibiogpt
from tools.killing.commands import Command
from tools.killing.tracing import be_traced

SECONDS = 60  # a child that runs longer hangs
PIPE = 1 << 20  # bytes of stderr that fit into the pipe, so that no child waits for a reader
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (-N: killed by signal N), and what it wrote to standard error."""

    code: int
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of standard error, without warnings and the summaries of complete runs."""
        return [line for line in self.stderr.splitlines() if not line.startswith("minibiogpt: warning: ")]


@dataclass
class Child:
    """A running child."""

    pid: int
    reading: int

    def wait(self) -> Ended:
        return self.ended(os.waitpid(self.pid, 0)[1])

    def ended(self, status: int) -> Ended:
        with os.fdopen(self.reading, encoding="utf-8", errors="replace") as pipe:
            return Ended(os.waitstatus_to_exitcode(status), pipe.read())


def import_everything() -> None:
    """Import all modules of the package, so that a forked child need not."""
    for module in pkgutil.walk_packages(minibiogpt.__path__, "minibiogpt."):
        if module.name not in ("minibiogpt.__main__", "minibiogpt.backend.cupy"):
            with contextlib.suppress(ImportError):  # what needs an optional package that is not installed
                importlib.import_module(module.name)


def fork(
    command: Command, line: list[str], room: Path, *, traced: bool = False, limit: int | None = None, full: bool = False
) -> Child:
    """Run a command in a child process in the folder ``room``.

    Parameters
    ----------
    traced : stop it before each call, for a Tracer. limit : the largest size of a file in bytes.
    full : whether standard output is a full device.
    """

    def prepare() -> None:
        signal.alarm(SECONDS)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        if traced:
            be_traced()

    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child does not use them
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become(command, line, room, writing, prepare, "/dev/full" if full else command.stdout)
    os.close(writing)
    return Child(pid, reading)


def spawn(command: Command, line: list[str], room: Path, after: float, signum: int) -> tuple[Ended, float]:
    """Run a command in a new Python process; send it a signal ``after`` seconds, unless it has ended. Return its time.

    Unlike a forked child it may be hit while it imports its modules.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, *(("-c", line[0]) if command.is_code else ("-m", "minibiogpt", *line))]
    start = time.monotonic()
    with (room / (command.stdout or os.devnull)).open("wb") as output:
        process = subprocess.Popen(words, cwd=room, env=environment, stdout=output, stderr=subprocess.PIPE)
    try:
        _, stderr = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signum)
        _, stderr = process.communicate()
    return Ended(process.returncode, stderr.decode(errors="replace")), time.monotonic() - start


def _become(
    command: Command, line: list[str], room: Path, stderr: int, prepare: Callable[[], None], output: str | None
) -> NoReturn:
    """Run the command as ``python -m minibiogpt`` does, and never return."""
    code = 1
    try:
        os.chdir(room)
        sys.dont_write_bytecode = True  # a child writes no other file than its output
        _redirect(stderr, output)
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        for signum, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            signal.signal(signum, handler)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        prepare()
        code = _code(command, line)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is over
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _redirect(stderr: int, output: str | None) -> None:
    os.dup2(stderr, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115


def _code(command: Command, line: list[str]) -> int:
    """Return the exit code of the command."""
    if command.is_code:
        exec(compile(line[0], "<string>", "exec"), {"__name__": "__main__"})
        return 0
    sys.argv = ["minibiogpt", *line]
    try:
        runpy.run_module("minibiogpt", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0
