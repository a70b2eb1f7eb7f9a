"""Options and input handling shared by several commands."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from minibiogpt.errors import InputError


def add_model(parser: argparse.ArgumentParser, *, runs: bool = False) -> None:
    """Add --model and, for a command that runs the model, --backend and --dtype."""
    parser.add_argument(
        "--model", default="demo", metavar="M", help="demo (default), a folder, or a Hugging Face hub id"
    )
    if runs:
        parser.add_argument("--backend", default="numpy", help="numpy (default) or cupy")
        parser.add_argument(
            "--dtype", default="float32", help="float32 (default) or float64; on cupy also float16 or bfloat16"
        )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def texts_of(arguments: list[str]) -> list[str]:
    """Return the texts on the command line. If there are none, or only "-", read one text from standard input."""
    if arguments and arguments != ["-"]:
        return arguments
    if not arguments and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("a text must be given", "none", "type it in quotes, or pipe it in")
    try:
        text = sys.stdin.buffer.read().decode("utf-8") if sys.stdin is not None else ""
    except UnicodeDecodeError as error:
        raise InputError("standard input must be UTF-8", str(error), "convert it first") from None
    return [text.removesuffix("\n")]
