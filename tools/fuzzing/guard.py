"""The sandbox of a case: limits on time and memory, no file access elsewhere, no programs, no network."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
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
# Audit events, and the indices of their arguments that are paths about to change.
CHANGES = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.link": (1,), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
}  # fmt: skip
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.kill", "subprocess.Popen", "pty.spawn")
FORBIDDEN += ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "webbrowser.open")


@dataclass(frozen=True)
class Limits:
    """Seconds of CPU time (wall time may be four times as long, because the machine is shared), and bytes of memory."""

    seconds: float = 5.0
    memory: int = 2 << 30


class Strayed(BaseException):
    """The package accessed something it must not. A BaseException, so that ``except Exception`` does not catch it."""


class _Fence:
    """The audit hook. It cannot be removed, so it acts only while a case runs."""

    def __init__(self) -> None:
        self.writable: str | None = None  # files may be written only below this folder
        self.unreadable: str | None = None  # files below this folder may not be read

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.writable is None:
            return
        if event in FORBIDDEN:
            self._refuse(f"{event} {arguments!r}")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = self._absolute(arguments[0])
            if isinstance(arguments[2], int) and arguments[2] & WRITING and path != os.devnull:
                self._check_writable(event, path)
            if self.unreadable and path.startswith(self.unreadable):
                self._refuse(f"read {path}")
        for i in CHANGES.get(event, ()):
            if isinstance(arguments[i], str | bytes | os.PathLike):
                self._check_writable(event, self._absolute(arguments[i]))

    def _absolute(self, path: Any) -> str:
        return os.path.abspath(os.fsdecode(path))

    def _check_writable(self, event: str, path: str) -> None:
        if path != self.writable and not path.startswith(f"{self.writable}{os.sep}"):
            self._refuse(f"{event} of {path}")

    def _refuse(self, what: str) -> None:
        self.writable = None
        raise Strayed(what[:500])


_fence = _Fence()


def prepare_worker(limits: Limits, log: TextIO) -> None:
    """Set up a worker: the garbage collector, audit hook, memory limit, tracebacks on alarms, and file permissions."""
    # Otherwise a collection visits every object of the process that forked, which can take as long as a case may.
    gc.freeze()
    sys.addaudithook(_fence)
    sys.dont_write_bytecode = True
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    # Private memory, used or not; mapped files do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (used + limits.memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, signal.SIG_DFL)
        faulthandler.register(alarm, log, chain=True)  # write the traceback, then die of the signal
    faulthandler.enable(log)
    if os.geteuid() == 0:
        _obey_permissions()


def _obey_permissions() -> None:
    """Drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, so that file permissions also apply to root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~0b110
        libc.capset(header, sets)


@contextmanager
def watched(limits: Limits, inside: Path, writable: Path, unreadable: Path | None) -> Iterator[None]:
    """Run the body in the folder ``inside``, with alarms whose signal kills the worker if the body takes too long.

    The body may write only below ``writable`` and may not read below ``unreadable``.
    """
    os.chdir(inside)
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    signal.setitimer(signal.ITIMER_REAL, 4 * limits.seconds)
    _fence.writable, _fence.unreadable = str(writable), None if unreadable is None else str(unreadable)
    try:
        yield
    finally:
        _fence.writable = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """Return mode, size and modification time of every path below a folder."""
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
