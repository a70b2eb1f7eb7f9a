"""minibiogpt golden map: propose a map from our names to yours, for golden check --map.

Arrays are recognized by their names and, where these say nothing, by their values in any order of the axes. Edit the
map: standard error says what was not found, and what is doubtful.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minibiogpt.cli.golden.comparing import add_names_of
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError, printable
from minibiogpt.files.json_text import json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("case", metavar="CASE", help="a case file, or the folder of a kit")
    parser.add_argument(
        "theirs", metavar="THEIRS", help="your arrays, as golden check reads them; for a kit, a folder of them"
    )
    add_names_of(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="file to write the map to (default: print it to standard output)"
    )


def run(options: argparse.Namespace) -> None:
    """Write the map, and what it leaves open to standard error."""
    from minibiogpt.files.writing import write_atomically
    from minibiogpt.golden.check.checker import check_order
    from minibiogpt.golden.check.propose import proposed_map

    path, theirs = Path(options.case), Path(options.theirs)
    check_output(options.output, "-o", inputs_of(options, model=False))
    check_order(path, theirs, "map")
    found = proposed_map(path, theirs, options.names_of)
    if not found.entries:
        remedy = "check that they are arrays of a run on the inputs of the case, with all positions"
        raise InputError(f"an array in {theirs} must be recognized by its name or values", "none", remedy)
    text = json_text(found.entries, indent=2) + "\n"
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_atomically(Path(options.output), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    for line in found.lines():
        print(printable(line), file=sys.stderr)
