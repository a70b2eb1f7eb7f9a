"""minibiogpt golden kit: write the conformance kit: tiny checkpoints, and cases that expose common mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibiogpt.cli.options import add_json, print_json
from minibiogpt.cli.outputs import check_parent
from minibiogpt.errors import InputError

FILE_ENDINGS = (
    ".safetensors", ".npz", ".npy", ".pt", ".pth", ".bin", ".pkl", ".json", ".html", ".zip", ".tar", ".gz"
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder to write, which must be new or empty")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all weights and inputs (default: 0)")
    parser.add_argument("--cases", action="append", metavar="NAME", help="write only this case; repeatable")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Write the kit, list its files, and print the command to run next."""
    from minibiogpt.golden.kit.writer import write_kit

    check_parent(Path(options.folder))
    _check_ending(Path(options.folder))
    folder, lines = Path(options.folder), list[str]()
    manifest = write_kit(folder, seed=options.seed, cases=options.cases, report=lines.append)
    if options.json:
        print_json(manifest)
        return
    print("\n".join(lines))  # only now that the folder is complete: printing can fail
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    contents = f"{len(manifest['models'])} models, {len(manifest['cases'])} cases"
    print(f"{folder}: {contents}, {size / 1e6:.1f} MB, seed {manifest['seed']}; {folder / 'README.md'} explains it")
    print(f"run your implementation on each case, then: minibiogpt golden check {folder} THEIRS")


def _check_ending(folder: Path) -> None:
    """Check that the folder's name is not that of a file."""
    if folder.suffix.lower() in FILE_ENDINGS:
        raise InputError("a kit is a folder, and its name must not end like a file's", str(folder), "name a new folder")
