"""The command line: `minibiogpt COMMAND ...`.

Exit codes: 0 success, 1 a check found a difference, 2 the input is unusable, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType

from minibiogpt import __version__
from minibiogpt.backend import ignore_overflow
from minibiogpt.cli import classify, embed, explore, generate, golden, info, score, tag, tokenize, trace, view
from minibiogpt.cli.folders import convert, download, quantize
from minibiogpt.cli.options import check_backend, check_outlier_threshold, decode_texts
from minibiogpt.cli.parsing.check import check, with_help
from minibiogpt.cli.parsing.commands import Parser
from minibiogpt.cli.parsing.completion import add_completion
from minibiogpt.cli.parsing.effects import warn_of_unused
from minibiogpt.cli.parsing.examples import paragraphs_of, show_in_help
from minibiogpt.cli.parsing.kernels import kernel_note
from minibiogpt.cli.parsing.wording import worded
from minibiogpt.errors import CheckpointError, InputError, printable
from minibiogpt.files.temporaries import REMEDIES

MAX_CHARACTERS, LAST = 2000, 600  # of an error or a warning, and of its end, which says what to do
COMMANDS = (
    generate, tokenize, score, embed, classify, tag, info, trace, view, explore, golden, download, convert, quantize,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. Each command's module adds its own options."""
    top = Parser(prog="minibiogpt", description="BioGPT in explicit NumPy or CuPy operations.", allow_abbrev=False)
    top.add_argument("-V", "--version", action="version", version=f"minibiogpt {__version__}")
    add_completion(top)
    _add_commands(top, COMMANDS)
    return top


def _add_commands(parser: argparse.ArgumentParser, modules: Sequence[ModuleType]) -> None:
    """Add one command per module. A package with COMMANDS becomes a command with subcommands."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        paragraphs = paragraphs_of(module)
        # With abbreviations, --token would mean --tokenizer, and --json of a command without it --jsonl.
        command = commands.add_parser(name, help=paragraphs[0], description=paragraphs[0], allow_abbrev=False)
        if hasattr(module, "COMMANDS"):
            _add_commands(command, module.COMMANDS)
        else:
            module.add_arguments(command)
            show_in_help(command, paragraphs)
            names = [action.dest for action in command._actions if action.option_strings]
            command.set_defaults(run=module.run, command=name, option_names=names)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Unusable input prints one line to standard error and returns 2."""
    _prepare_streams()
    with warnings.catch_warnings():
        return _run(sys.argv[1:] if argv is None else argv)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line; ``given`` are the names of those that were typed.

    Raises
    ------
    InputError
        If it is not valid.
    """
    top = parser()
    words = with_help(top, words)
    given = check(top, words)
    options = top.parse_args(words)
    options.given = given
    return options


@ignore_overflow
def _run(words: Sequence[str]) -> int:
    names: Iterable[str] = ()
    try:
        options = parsed(words)
        names = options.option_names
        warnings.showwarning = _warn_once(names)
        decode_texts(options)
        note = kernel_note(options)
        check_backend(options)
        check_outlier_threshold(options)
        warn_of_unused(options)
        code = options.run(options)
        sys.stdout.flush()
        if note:
            _print_message("note", note)
        return code or 0
    except InputError as error:
        # A file's own names are not options.
        _print_message("error", worded(str(error), () if isinstance(error, CheckpointError) else names))
        return 2
    except MemoryError:
        _print_message("error", "the model must fit into memory; see minibiogpt info")
        return 2
    except KeyboardInterrupt:
        print("minibiogpt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, closed the pipe
        _abandon_output()
        return 0
    except OSError as error:
        must = "files must be readable, and the output writable"
        found = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        remedy = REMEDIES.get(error.errno or 0, "check the path, its permissions and the disk")
        _print_message("error", f"{must}; found {found}; {remedy}")
        _abandon_output()
        return 2


def _prepare_streams() -> None:
    """Discard what is written to a closed stream, and print "?" for characters that the terminal cannot encode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="replace")


def _abandon_output() -> None:
    """Redirect standard output to the null device, so that Python's final flush does not fail."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn_once(names: Iterable[str]) -> Callable[..., None]:
    """Return what prints a warning as one line, the first time, without its source location: no user needs that."""
    printed: set[str] = set()

    def warn(message: Warning | str, *location: object, **more: object) -> None:
        if str(message) not in printed:
            printed.add(str(message))
            _print_message("warning", worded(str(message), names))

    return warn


def _print_message(level: str, message: object) -> None:
    """Print one line to standard error. Escape unprintable characters, which names from files may contain."""
    line = " ".join(str(message).split())
    if len(line) > MAX_CHARACTERS:  # a path can have 4,096 characters
        line = f"{line[: MAX_CHARACTERS - LAST]} ... {line[-LAST:]}"
    print(f"minibiogpt: {level}: {printable(line)}", file=sys.stderr)
