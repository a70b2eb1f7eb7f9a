"""What an argparse parser knows of its commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NoReturn

from minibiogpt.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are InputErrors; ``check`` finds nearly all of them before argparse does."""

    def error(self, message: str) -> NoReturn:
        raise InputError("a command line must be valid", message, f"see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file, flush=True)  # argparse ignores an output that is full or closed


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return {name: parser} of the commands of a parser; empty for a command without subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def every_command(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands that can be run."""
    below = subcommands(parser)
    if not below:
        yield parser
    for command in below.values():
        yield from every_command(command)


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return {"--model": its action}, with every spelling of each option."""
    return parser._option_string_actions


def positionals_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [a for a in parser._actions if not a.option_strings and not isinstance(a, argparse._SubParsersAction)]


def takes_texts(parser: argparse.ArgumentParser) -> bool:
    return any(action.nargs == "*" for action in positionals_of(parser))


def name_of(action: argparse.Action) -> str:
    """Return what errors call an argument: its long spelling, or the name of its place."""
    return action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest).upper()
