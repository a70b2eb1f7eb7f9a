"""Checks of what a command writes, before anything is loaded: the folder, the kind of file, and that it is no input."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from minibiogpt.cli.options import source_of, tokenizer_folder
from minibiogpt.errors import InputError
from minibiogpt.files.temporaries import not_writable

READ = ("file", "inputs", "map", "case", "theirs", "source", "dict", "bpecodes")  # options that name a file to read


def check_output(
    path: str | Path | None, option: str, inputs: Iterable[Path] = (), helpers: Iterable[Path] = ()
) -> None:
    """Check that a file can be written, and that neither it nor a file beside it is one that the command reads.

    Parameters
    ----------
    path : the file; None for an option that is not given.
    option : what the user typed, such as --output.
    inputs : files that are read, and folders whose files are.
    helpers : files that exist until ``path`` is complete.

    Raises
    ------
    InputError
        If its folder does not exist or is not writable, or it is a folder, a link, a pipe, a device or an input.
    """
    if path is None:
        return
    file = Path(path)
    if file.name in ("", "-", "..") or os.fspath(path).endswith((os.sep, f"{os.sep}.")):
        raise InputError(f"{option} must name a file", str(path) or "an empty name", "choose a new name")
    check_parent(file, f"the folder of {option}")
    try:
        _check_kind(file, option)
    except OSError as error:
        raise not_writable(file, error) from None
    read = [one for given in inputs for one in _files(given)]
    for written in (file, *helpers):
        same = (
            "standard input"
            if _is_standard_input(written)
            else next((one for one in read if _same(written, one)), None)
        )
        if same is not None:
            more = "" if written == file else f", the name of a file that exists while {file} is unfinished"
            must = f"{option} must not overwrite a file that is read"
            raise InputError(must, f"{same}{more}", "choose another name")


def _check_kind(file: Path, option: str) -> None:
    """Check that it is new, or a file that may be written."""
    if file.is_symlink():
        raise InputError(f"{option} must name the file itself", f"{file}, a link", "name the file that it links to")
    if file.exists() and not file.is_file():
        found = f"the folder {file}" if file.is_dir() else f"{file}, a pipe or device"
        raise InputError(f"{option} must name a file", found, "choose a new name")
    if file.exists() and not os.access(file, os.W_OK):
        raise InputError(f"{option} must be writable", f"{file}, which is read-only", "choose another name")


def check_parent(path: Path, what: str = "the parent folder of FOLDER") -> None:
    """Check that the folder to write a file or a folder into exists and is writable."""
    folder = path.parent
    try:
        exists, is_folder = folder.exists(), folder.is_dir()
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise not_writable(folder, error) from None
    if not exists:
        remedy = f"create it: mkdir -p {shlex.quote(os.fspath(folder))}"
        raise InputError(f"{what} must exist", f"no folder {folder}", remedy)
    if not is_folder:
        raise InputError(f"{what} must be a folder", str(folder), "choose another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "choose a folder that you may write to"
        raise InputError(f"{what} must be writable", str(folder), remedy)


def inputs_of(options: argparse.Namespace, *, model: bool = True) -> list[Path]:
    """Return the files that the options name for reading, and the folders of the model, its adapter and tokenizer."""
    named = [Path(value) for name in READ if isinstance(value := getattr(options, name, None), str)]
    if model:
        named += source_of(options).folders
        if getattr(options, "tokenizer", None) is not None:
            named.append(tokenizer_folder(options))
    return named


def _is_standard_input(path: Path) -> bool:
    """Whether the shell redirects the file to standard input, as ``< FILE`` does."""
    try:
        return sys.stdin is not None and path.is_file() and os.path.samestat(path.stat(), os.fstat(sys.stdin.fileno()))
    except (OSError, ValueError):  # a stream without a file, as in a notebook, is an OSError; a closed one a ValueError
        return False


def _files(path: Path) -> list[Path]:
    """Return the file, or the files of a folder."""
    try:
        return sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return []


def _same(a: Path, b: Path) -> bool:
    """Whether two paths are the same file, through links and hard links too, or would be."""
    try:
        return a.resolve() == b.resolve() or (a.exists() and b.exists() and a.samefile(b))
    except (OSError, RuntimeError):  # a loop of links
        return False
