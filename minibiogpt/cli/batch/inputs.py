"""The options that name the texts of a command, and the source that they name."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from minibiogpt.checks import checked_integer
from minibiogpt.cli.batch.lines import check_standard_output, status_of
from minibiogpt.cli.batch.records import Source
from minibiogpt.cli.options import check_dash, standard_input_given
from minibiogpt.errors import InputError, short_repr

CHUNK, FIELD = 256, "text"
FIRST_TOKENS = (
    "keep only as many first tokens of a text as the model's maximum, instead of splitting it into windows; --window "
    "then splits what is kept"
)


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add the options for the input and the chunk size."""
    parser.add_argument("text", nargs="*", help="one or more texts; none or - reads standard input, one text per line")
    add_file(parser, "read FILE, one text per line")
    parser.add_argument(
        "--jsonl",
        action="store_true",
        help="each line is a JSON object; its fields are copied to the output; one that has the "
        "name of a result, such as label, becomes input_label",
    )
    parser.add_argument(
        "--field",
        metavar="NAME",
        help=f"with --jsonl: field that holds the text, or a list of its words (default: {FIELD})",
    )
    parser.add_argument(
        "--no-special", action="store_true", help="treat </s> and other special tokens in the text as plain text"
    )
    parser.add_argument(
        "--chunk",
        type=int,
        default=CHUNK,
        metavar="N",
        help="texts that are read together, computed in batches of similar length, and written together; a killed run "
        f"repeats at most one chunk (default: {CHUNK})",
    )


def add_file(parser: argparse.ArgumentParser, file: str) -> None:
    """Add --file with this help, and --skip-bad."""
    parser.add_argument("--file", metavar="FILE", help=file)
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip lines that cannot be used (blank, not UTF-8, ...) and list them on standard error; each JSON result "
        "gets a field line, the number of its line",
    )


def add_truncate(parser: argparse.ArgumentParser, kept: str) -> None:
    """Add --truncate, which keeps what ``kept`` says."""
    parser.add_argument("--truncate", action="store_true", help=kept)


def source_of(
    options: argparse.Namespace, reserved: Collection[str] = (), reserved_with_words: Collection[str] = ()
) -> Source:
    """Return the input that the options name.

    Raises
    ------
    InputError
        If they name none or two, or a file that cannot be read.
    """
    checked_integer("--chunk", options.chunk, 1)
    check_dash(options.text)
    if options.field is not None and not options.jsonl:
        raise InputError("--field needs --jsonl", f"--field {options.field}", "add --jsonl, or leave --field out")
    options.field = FIELD if options.field is None else options.field  # as the state of a killed run has it
    settings: dict[str, Any] = {"field": options.field if options.jsonl else None, "skip_bad": options.skip_bad}
    settings |= {"reserved": reserved, "reserved_with_words": reserved_with_words}
    if options.file is not None:
        return file_source(options, **settings)
    if options.text and options.text != ["-"]:
        if options.jsonl:
            raise InputError("--jsonl reads --file or standard input", "a text", "leave one out")
        warn_of_file_name(options.text)
        return Source.of_arguments(options.text, options.skip_bad)
    if not options.text and not standard_input_given():
        raise InputError("a text must be given", "none", "type it in quotes, pipe it in, or name a --file")
    if sys.stdin is not None:
        check_standard_output(status_of(sys.stdin), "standard input")
    return Source.of_standard_input(**settings)


def file_source(options: argparse.Namespace, **settings: Any) -> Source:
    """Return the source of --file.

    Raises
    ------
    InputError
        If it is not the only source, or not a readable file.
    """
    name = options.file
    if name == "-":
        raise InputError("--file must be a file", "-", "leave --file out to read standard input")
    if options.text:
        found = f"--file and {options.text[0]!r}"
        raise InputError("the texts must come from one source", found, "leave one out")
    if "\0" in name or not os.path.exists(name) or os.path.isdir(name):
        found = f"a folder {name}" if "\0" not in name and os.path.isdir(name) else f"no file {name}"
        remedy = "name one of its files" if found.startswith("a folder") else "check the path"
        raise InputError("--file must be a readable file", found, remedy)
    if not os.access(name, os.R_OK):
        raise InputError("--file must be a readable file", f"{name} without permission to read", "change that: chmod")
    check_standard_output(os.stat(name), name)
    return Source.of_file(Path(name), **settings)


def warn_of_file_name(texts: Sequence[str]) -> None:
    """Warn of a text that is the name of a file: it was probably meant as --file."""
    name = next((text for text in texts if "." in text and "\0" not in text and os.path.isfile(text)), None)
    if name is not None:
        lines = f"to read the lines of the file, write --file {shlex.quote(name)}"
        warnings.warn(f"the text {short_repr(name)} is also the name of a file: {lines}", stacklevel=2)
