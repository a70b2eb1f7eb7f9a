"""Stop a child before each system call that can change a file: there it is killed, or the call fails. Linux on x86-64.

The child installs a seccomp filter, which stops it at these calls only; the parent is its tracer (ptrace). Between two
calls nothing on the disk changes, so they are all the moments that matter. Unlike times, they are the same in each run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
from collections.abc import Callable
from functools import cache

# System calls of x86-64 that change a file, a folder or a lock.
WRITES = {"write": 1, "pwrite64": 18, "writev": 20, "sendfile": 40, "pwritev": 296, "copy_file_range": 326}
OPENS = {"open": 2, "openat": 257}
RENAMES = {"rename": 82, "renameat": 264, "renameat2": 316, "mkdir": 83, "mkdirat": 258, "fsync": 74, "fdatasync": 75}
OTHERS = {"flock": 73, "truncate": 76, "ftruncate": 77, "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88}
OTHERS |= {"chmod": 90, "fchmod": 91, "unlinkat": 263, "linkat": 265, "symlinkat": 266, "fchmodat": 268}
NAMES = {number: name for table in (WRITES, OPENS, RENAMES, OTHERS) for name, number in table.items()}
MAY_FAIL = {*WRITES, *OPENS, *RENAMES}  # on a full disk

TRACEME, PEEKUSER, POKEUSER, CONTINUE, SETOPTIONS = 0, 3, 6, 7, 0x4200
TRACESECCOMP, EXITKILL, EVENT_SECCOMP = 0x80, 0x100000, 7
# Offsets of registers: the number of the system call, its result, and its arguments.
NUMBER, RESULT, ARGUMENTS = 120, 80, (112, 104, 96)
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER, X86_64 = 38, 22, 2, 0xC000003E
LOAD, JUMP_IF_EQUAL, RETURN, ALLOW, TRACE = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FF00000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


@cache
def possible() -> bool:
    """Whether this system can trace a child."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(int(_libc.ptrace(TRACEME, 0, None, None) != 0))
    return os.waitpid(pid, 0)[1] == 0


def be_traced() -> None:
    """Called in the child: wait for the parent, then stop before each call that can change a file."""
    _ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    jumps = [(JUMP_IF_EQUAL, len(NAMES) - i, 0, number) for i, number in enumerate(NAMES)]
    lines = [(LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 0, len(jumps) + 1, X86_64), (LOAD, 0, 0, 0), *jumps]
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, TRACE)]
    program = (_Line * len(lines))(*lines)
    _checked(_libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(_libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(_Program(len(lines), program)), 0, 0))


class Tracer:
    """The parent's side: steps a child from call to call."""

    def __init__(self, pid: int) -> None:
        self.pid, self.calls, self.running = pid, 0, True
        _, self.status = os.waitpid(pid, 0)
        _ptrace(SETOPTIONS, pid, 0, TRACESECCOMP | EXITKILL)

    def step(self, signum: int = 0) -> str | None:
        """Let the child run up to its next call, and return the name of that; None when it has ended.

        With a signal, the child receives it after the call before which it is stopped; SIGKILL, instead of that call.
        """
        if signum and self.running:
            _checked(_libc.tgkill(self.pid, self.pid, signum))  # not to another thread, which is not traced
        delivered = 0
        while self.running:
            if signum != signal.SIGKILL:
                _ptrace(CONTINUE, self.pid, 0, delivered)
            _, self.status = os.waitpid(self.pid, 0)
            self.running, event = os.WIFSTOPPED(self.status), self.status >> 16
            delivered = os.WSTOPSIG(self.status) if self.running and event != EVENT_SECCOMP else 0
            if event == EVENT_SECCOMP and (name := self._call()) is not None:
                self.calls += 1
                return name
        return None

    def reach(self, number: int) -> str | None:
        """Let the child run up to call ``number`` (the first is 1)."""
        name = None
        while self.calls < number:
            name = self.step()
            if name is None:
                break
        return name

    def finish(self, each: Callable[[str], None] = lambda name: None) -> int:
        """Let the child run to its end, and return its status."""
        while (name := self.step()) is not None:
            each(name)
        return self.status

    def fail(self, code: int = errno.ENOSPC) -> None:
        """Make the call before which the child is stopped fail."""
        _ptrace(POKEUSER, self.pid, NUMBER, -1)
        _ptrace(POKEUSER, self.pid, RESULT, -code)

    def file_descriptor(self) -> int:
        """Return the first argument of the call, which is a file descriptor if it writes."""
        return self._register(ARGUMENTS[0])

    def _call(self) -> str | None:
        """Return the name of the call, or None if it opens a file only to read it."""
        name = NAMES[self._register(NUMBER)]
        flags = {"open": ARGUMENTS[1], "openat": ARGUMENTS[2]}
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        return None if name in flags and not self._register(flags[name]) & writing else name

    def _register(self, offset: int) -> int:
        return _ptrace(PEEKUSER, self.pid, offset)


class _Line(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.POINTER(_Line)))


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    ctypes.set_errno(0)
    result = int(_libc.ptrace(request, pid, address, data))
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}: {os.strerror(ctypes.get_errno())}")
    return result


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
