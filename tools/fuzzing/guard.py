"""What holds while a case runs: limits on time and memory, no writing or reading elsewhere, no programs, no network."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events, and which of their arguments are paths that are about to change.
CHANGES = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.link": (1,), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
}  # fmt: skip
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.kill", "subprocess.Popen", "pty.spawn")
FORBIDDEN += ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "webbrowser.open")


@dataclass(frozen=True)
class Limits:
    """Seconds of computing (four times as many by the clock, for the machine is shared), and bytes of memory."""

    seconds: float = 5.0
    memory: int = 2 << 30


class Strayed(BaseException):
    """The package reached for something it has no business with. No ``except Exception`` swallows it."""


class _Fence:
    """The audit hook, which cannot be taken away again: it looks only while a case runs."""

    def __init__(self) -> None:
        self.roof: str | None = None  # below it files may be written
        self.hidden: str | None = None  # what may not even be read

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if self.roof is None:
            return
        if event in FORBIDDEN:
            self._refuse(f"{event} {given!r}")
        if event == "open" and isinstance(given[0], str | bytes):
            path = self._absolute(given[0])
            if isinstance(given[2], int) and given[2] & WRITING and path != os.devnull:
                self._only_below(event, path)
            if self.hidden and path.startswith(self.hidden):
                self._refuse(f"read {path}")
        for place in CHANGES.get(event, ()):
            if isinstance(given[place], str | bytes | os.PathLike):
                self._only_below(event, self._absolute(given[place]))

    def _absolute(self, path: Any) -> str:
        return os.path.abspath(os.fsdecode(path))

    def _only_below(self, event: str, path: str) -> None:
        if path != self.roof and not path.startswith(f"{self.roof}{os.sep}"):
            self._refuse(f"{event} of {path}")

    def _refuse(self, what: str) -> None:
        self.roof = None
        raise Strayed(what[:500])


_fence = _Fence()


def prepare_worker(limits: Limits, log: TextIO) -> None:
    """Once in a worker: the audit hook, the memory limit, the alarms' tracebacks, and permissions that count."""
    sys.addaudithook(_fence)
    sys.dont_write_bytecode = True
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    # What is the process's own, used or not; files that are only mapped do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (used + limits.memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, signal.SIG_DFL)
        faulthandler.register(alarm, log, chain=True)  # say where it hangs, then die of it
    faulthandler.enable(log)
    if os.geteuid() == 0:
        _obey_permissions()


def _obey_permissions() -> None:
    """Drop what lets root read and write everything (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH): what is locked is."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~0b110
        libc.capset(header, sets)


@contextmanager
def watched(limits: Limits, inside: Path, roof: Path, hidden: Path | None) -> Iterator[None]:
    """Run the body in ``inside``, with the alarms set: one that takes too long kills the worker by a signal.

    Below ``roof`` it may write, in ``hidden`` it may not even read.
    """
    os.chdir(inside)
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    signal.setitimer(signal.ITIMER_REAL, 4 * limits.seconds)
    _fence.roof, _fence.hidden = str(roof), None if hidden is None else str(hidden)
    try:
        yield
    finally:
        _fence.roof = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """What lies in a folder: kind, permissions, size and time of change of every path below it."""
    found = {}
    folders = [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(facts.st_mode)
                found[entry.path] = (facts.st_mode,) if is_folder else (facts.st_mode, facts.st_size, facts.st_mtime_ns)
                if is_folder and facts.st_mode & stat.S_IRWXU == stat.S_IRWXU:
                    folders.append(entry.path)
    return found
