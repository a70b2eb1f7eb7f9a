"""minibiogpt golden selftest: plant mistakes in a right candidate, and see that the check catches each."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", metavar="CASE", help="your own full case instead of a small one that is made")


def run(options: argparse.Namespace) -> int:
    """A line for each trial; 0 when the check did what it must in all of them, and 1 otherwise."""
    from minibiogpt.golden.check.checker import existing_case
    from minibiogpt.golden.selftest.runner import lines_of, selftest

    case = None if options.case is None else existing_case(Path(options.case)).path
    code = 1
    for line, good in lines_of(selftest(case)):
        print(line, flush=True)
        code = 0 if good else 1
    return code
