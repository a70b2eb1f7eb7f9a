"""minibiogpt download: download a checkpoint's safetensors revision from the Hugging Face hub into a new folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibiogpt.cli.outputs import check_parent
from minibiogpt.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", help="a hub id such as microsoft/biogpt")
    parser.add_argument("folder", help="folder to write, which must be new or empty")
    parser.add_argument("--revision", help="branch, tag or commit (default: the one with safetensors)")


def run(options: argparse.Namespace) -> None:
    """Download the checkpoint and print its folder."""
    from minibiogpt.files.hub import download

    if options.repository == "demo":
        remedy = "write --model demo: that model is included in the package"
        raise InputError("a repository must be OWNER/NAME on the hub", "'demo'", remedy)
    check_parent(Path(options.folder))
    folder = download(options.repository, options.folder, revision=options.revision)
    print(f"{options.repository} is in {folder}; try: minibiogpt generate --model {folder} TEXT")
