"""The command line: `minibiogpt COMMAND ...`.

Exit codes: 0 done, 1 a check that found a difference, 2 the input is unusable, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

from minibiogpt import __version__
from minibiogpt.cli import classify, convert, download, embed, generate, golden, info, score, tag, tokenize, trace, view
from minibiogpt.errors import InputError

LONGEST = 2000  # characters of an error or a warning; who needs more looks at what was typed
COMMANDS = (generate, tokenize, score, embed, classify, tag, info, trace, view, golden, download, convert)


def parser() -> argparse.ArgumentParser:
    """The commands and their options, each from its own module."""
    top = argparse.ArgumentParser(prog="minibiogpt", description="BioGPT in explicit NumPy or CuPy operations.")
    top.add_argument("--version", action="version", version=f"minibiogpt {__version__}")
    _add_commands(top, COMMANDS)
    return top


def _add_commands(parser: argparse.ArgumentParser, modules: Sequence[ModuleType]) -> None:
    """Each module is a command; a package of commands is a command that has commands of its own."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        help_line = (module.__doc__ or "").partition("\n")[0].partition(": ")[2]
        command = commands.add_parser(name, help=help_line, description=help_line)
        if hasattr(module, "COMMANDS"):
            _add_commands(command, module.COMMANDS)
        else:
            module.add_arguments(command)
            command.set_defaults(run=module.run, command=name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; unusable input is one line on standard error and exit code 2."""
    _prepare_streams()
    options = parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _warn  # type: ignore[assignment]
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code or 0
    except InputError as error:
        _say("error", error)
        return 2
    except MemoryError:
        _say("error", "the model must fit into memory; see minibiogpt info")
        return 2
    except KeyboardInterrupt:
        print("minibiogpt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads has had enough
        _abandon_output()
        return 0
    except OSError as error:
        must = "files must be readable, and the output writable"
        _say("error", f"{must}; found {error}; check the path, its permissions and the disk")
        _abandon_output()
        return 2


def _prepare_streams() -> None:
    """A closed output takes nothing without a word; a terminal that cannot show a sign shows "?"."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="replace")


def _abandon_output() -> None:
    """Nothing more can be written: let what Python still flushes on its way out go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn(message: Warning | str, *place: object) -> None:
    """One line, without the place in our code that a reader cannot use."""
    _say("warning", message)


def _say(what: str, message: object) -> None:
    """One line; signs that a terminal would obey (a name in a file may hold them) are written as escapes."""
    line = " ".join(str(message).split())
    cut = line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."  # a path alone may have 4,096 characters
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in cut)
    print(f"minibiogpt: {what}: {shown}", file=sys.stderr)
