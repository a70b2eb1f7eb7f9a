"""``--print-completion SHELL``: print a script that completes commands, options and files in a shell.

The scripts are made by shtab from the same parsers that read the command line. Unlike argcomplete, they do not start
Python for each press of the Tab key.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from minibiogpt.cli.parsing.commands import every_command
from minibiogpt.errors import InputError

SHELLS = ("bash", "zsh", "tcsh")
FOLDERS = ("--tokenizer", "--adapter", "folder")
FILES = (
    "--file", "--output", "--save", "--html", "--map", "--inputs", "--dict", "--bpecodes", "--case", "case", "theirs",
    "file", "source",
)  # fmt: skip
# Options whose values are checked later than choices are, and what to suggest.
VALUES = {
    "--backend": ("numpy", "cupy"),
    "--product": ("auto", "numpy", "mkl", "openblas", "onednn"),
    "--dtype": ("float32", "float64", "float16", "bfloat16"),
    "--precision": ("float64", "float32", "bfloat16", "float16"),
    "--theme": ("auto", "light", "dark"),
}
PREAMBLE = {
    "bash": """
_minibiogpt_models() {
  compgen -W "demo" -- "$1"
  compgen -d -- "$1"
}
"""
}
MODELS = {"bash": "_minibiogpt_models", "zsh": "{compadd demo; _files -/}", "tcsh": "d"}


class PrintCompletion(argparse.Action):
    """Print the script for a shell, and leave."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        print(script(parser, str(values)), flush=True)
        parser.exit()


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print a script that completes commands, options and files in this shell",
    )


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a parser for a shell.

    Raises
    ------
    InputError
        If shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        must, remedy = "--print-completion needs the package shtab", "run: pip install shtab"
        raise InputError(must, "no such package", remedy) from None
    for command in every_command(parser):
        _mark(command._actions, shtab)
    return str(shtab.complete(parser, shell, preamble=PREAMBLE.get(shell, "")))


def _mark(actions: Sequence[argparse.Action], shtab: Any) -> None:
    """Say for each argument what completes it."""
    for action in actions:
        name = action.option_strings[-1] if action.option_strings else action.dest
        if name in VALUES:
            action.choices = VALUES[name]
        elif name in ("--model", "model", *FOLDERS, *FILES):
            found = MODELS if name in ("--model", "model") else shtab.DIRECTORY if name in FOLDERS else shtab.FILE
            action.complete = found  # type: ignore[attr-defined]
