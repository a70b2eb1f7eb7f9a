"""minibiogpt download: fetch a checkpoint's safetensors revision from the hub into a new folder."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", help="a hub id, such as microsoft/biogpt")
    parser.add_argument("folder", help="where to; must be new or empty")
    parser.add_argument("--revision", help="a branch, tag or commit (default: where the safetensors are)")


def run(options: argparse.Namespace) -> None:
    """Fetch, check, rename, say where it is."""
    from minibiogpt.files.hub import download

    folder = download(options.repository, options.folder, revision=options.revision)
    print(f"{options.repository} is in {folder}; try: minibiogpt generate --model {folder} TEXT")
