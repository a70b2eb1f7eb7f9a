"""minibiogpt golden diagnose: say why the arrays of another implementation differ from a case or a kit.

Each array is computed again from your own arrays before it, so that a mistake shows only where it is made; then the
mistakes that ports make are tried there.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibiogpt.cli.golden.check import check_page_path, nothing_compared
from minibiogpt.cli.golden.comparing import add_comparison, comparison_of
from minibiogpt.cli.options import add_json, print_json
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError


class _List(argparse._HelpAction):  # which needs no CASE and no THEIRS
    """Print every cause and stop, as --help does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from minibiogpt.golden.diagnosis.library import described

        print("\n".join(described()))
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_comparison(parser, "a case file, or the folder of a kit")
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        help="folder of the weights that the case was recorded with (default: those of the kit that it lies in)",
    )
    parser.add_argument("--all", action="store_true", help="also print each array with its own error")
    parser.add_argument("--html", metavar="FILE", help="also write an HTML page with the graph of the forward pass")
    parser.add_argument("--list", action=_List, help="print every cause that is tried, and exit")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Diagnose, print, and return the exit code: 0 agrees, 1 differs, 2 nothing could be compared."""
    from minibiogpt.golden.diagnosis.diagnose import diagnose

    path, theirs = Path(options.case), Path(options.theirs)
    check_page_path(options.html, "--html", (path, theirs))
    check_output(options.html, "--html", inputs_of(options, model=False))
    if path.suffix == ".json":
        remedy = f"for token ids run: minibiogpt golden check {shlex.quote(str(path))} {shlex.quote(str(theirs))}"
        raise InputError("CASE must be a case file or the folder of a kit", str(path), remedy)
    found = diagnose(path, theirs, model=options.model, options=comparison_of(options), command="diagnose")
    compared = any(result.compared for result in found.results.values())
    if options.html is not None and compared:  # a page of nothing would look like a result
        from minibiogpt.golden.diagnosis.page import write_page

        write_page(Path(options.html), found)
    if options.json:
        print_json(found.as_json())
    elif compared:
        print("\n".join([*found.table(), *found.lines()] if options.all else found.lines()))
    if found.errors:
        raise found.errors[0]
    if not compared:
        raise nothing_compared(next(iter(found.results.values())))
    return found.code
