"""minibiogpt golden selftest: plant mistakes in a correct candidate, and verify that the check catches each one."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", metavar="CASE", help="a full case of your own (default: a small generated one)")


def run(options: argparse.Namespace) -> int:
    """Print a line for each trial. Return 0 if the check passed all trials, else 1."""
    from minibiogpt.golden.check.checker import read_case
    from minibiogpt.golden.selftest.runner import lines_of, selftest

    case = None if options.case is None else read_case(Path(options.case)).path
    code = 1
    for line, good in lines_of(selftest(case)):
        print(line, flush=True)
        code = 0 if good else 1
    return code
