"""minibiogpt golden kit: make the conformance kit: tiny checkpoints, and cases that show classic mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibiogpt.cli.options import add_json, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="where to; must be new or empty")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all weights and inputs (0)")
    parser.add_argument("--cases", action="append", metavar="NAME", help="only this case; again for more")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Make the kit, say each file, and what to type next."""
    from minibiogpt.golden.kit.writer import write_kit

    folder, lines = Path(options.folder), list[str]()
    manifest = write_kit(folder, seed=options.seed, cases=options.cases, report=lines.append)
    if options.json:
        print_json(manifest)
        return
    print("\n".join(lines))  # now, when the folder is whole: whoever reads may have gone
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    made = f"{len(manifest['models'])} models, {len(manifest['cases'])} cases"
    print(f"{folder}: {made}, {size / 1e6:.1f} MB, seed {manifest['seed']}; {folder / 'README.md'} explains it")
    print(f"run your implementation on each case, then: minibiogpt golden check {folder} THEIRS")
