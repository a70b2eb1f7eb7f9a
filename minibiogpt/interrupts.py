"""How the command ends when a signal stops it: quietly, at any moment, and with its temporary files removed.

The package imports this module before all others, because Ctrl-C during the imports would print a traceback. It has an
effect only in the command's own process (``minibiogpt`` or ``python -m minibiogpt``), never in a program that imports
the package. SIGINT prints one line and exits with 130. SIGTERM and SIGHUP end the process as usual, after the cleanup.
A second signal ends it at once.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # that of typing, whose import could be interrupted
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

NAME, CODE = "minibiogpt", 130
LINE = b"minibiogpt: interrupted\n"


class Terminated(BaseException):
    """Raised by SIGTERM and SIGHUP while a command runs, so that it removes its temporary files."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    """Whether a command is running, which a signal interrupts by an exception; otherwise the process just ends."""

    running = False


def is_command(argv: list[str], original: list[str]) -> bool:
    """Whether this process is the command: ``argv`` and ``original`` are sys.argv and sys.orig_argv.

    Examples
    --------
    >>> is_command(["-m", "info"], ["python", "-I", "-m", "minibiogpt", "info"])
    True
    >>> is_command(["/usr/bin/minibiogpt", "info"], ["python", "/usr/bin/minibiogpt", "info"])
    True
    >>> is_command(["-m"], ["python", "-m", "pytest"]), is_command(["-c"], ["python", "-c", "..."])
    (False, False)
    """
    if not argv or len(original) < len(argv):
        return False
    if argv[0] == "-m":  # while Python still looks for the module
        return original[-len(argv)].removeprefix("-m") == NAME
    return os.path.basename(argv[0]).partition(".")[0].removesuffix("-script") == NAME


def leave(
    *_: object, write: Callable[..., Any] = os.write, leave_now: Callable[[int], NoReturn] = os._exit
) -> NoReturn:
    """Print the line and end the process. (The arguments keep what Python clears when it exits.)"""
    try:
        write(2, LINE)
    finally:
        leave_now(CODE)


def run_command(command: Callable[[], int]) -> int:
    """Run the command and return its exit code. It has printed its own line if it was interrupted while it ran."""
    _State.running = True
    try:
        return command()
    except SystemExit as error:  # argparse's, after it has printed its help or an error
        return _flush() or (error.code if isinstance(error.code, int) else 0)
    except KeyboardInterrupt:
        leave()
    except Terminated as error:
        _end_by(error.number)
    finally:
        _State.running = False


def command_is_running() -> bool:
    """Whether this process is the command, at work: not a program, or a test, that calls its functions."""
    return _State.running


def _flush() -> int:
    """Write what is buffered, and return the exit code. Python's own flush at the end would report an error itself."""
    try:
        sys.stdout.flush()
        return 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):  # the reader, such as head, closed the pipe
            return 0
        print(f"minibiogpt: error: the output must be writable; found {error}; check the disk", file=sys.stderr)
        return 2


def _end_by(number: int) -> NoReturn:
    """End by the signal, as a process that does not handle it."""
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # if the signal is blocked


def _interrupt(number: int, frame: FrameType | None, state: type[_State] = _State) -> None:
    if not state.running:
        leave()
    state.running = False  # the next one does not wait for the cleanup
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None, state: type[_State] = _State) -> None:
    if not state.running:
        _end_by(number)
    state.running = False
    raise Terminated(number)


def _unhandled(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        leave()
    sys.__excepthook__(kind, error, trace)


def _swallowed(ignored: sys.UnraisableHookArgs) -> None:
    """Handle an exception that Python ignores, such as one in a destructor: an interrupt still ends the command."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        leave()
    if isinstance(ignored.exc_value, Terminated):
        _end_by(ignored.exc_value.number)
    sys.__unraisablehook__(ignored)


def _install() -> None:
    sys.excepthook, sys.unraisablehook = _unhandled, _swallowed  # first, as importing signal can be interrupted too
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in a shell's background job
        signal.signal(signal.SIGINT, _interrupt)
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not ignored, as nohup does
            signal.signal(number, _terminate)


if is_command(getattr(sys, "argv", []), sys.orig_argv):
    _install()
