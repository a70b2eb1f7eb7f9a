"""Copy the text files of a model: only regular files of its own folder, and only what can be parsed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError, listed
from minibiogpt.files.reading import FETCH_AGAIN, read_json, read_text


def check_own_file(path: Path) -> None:
    """Raise if ``path`` is a link out of its folder: the file that it names may be anybody's, such as a password file.

    A folder in the hub's cache, ``models--OWNER--NAME/snapshots/COMMIT``, is made of links to ``blobs`` beside
    ``snapshots``, which are its own files too.

    Raises
    ------
    CheckpointError
        If it is such a link.
    """
    if not path.is_symlink():
        return
    folder, target = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    own = [folder]
    if folder.parent.name == "snapshots":
        own.append(folder.parent.parent / "blobs")
    if not any(target.is_relative_to(one) for one in own):
        must = f"{path} must be a file of its folder, or of the hub's cache"
        raise CheckpointError(must, "a link to a file elsewhere", "copy that file into the folder if it belongs there")


def check_text_file(path: Path) -> None:
    """Check one of a model's text files. A .json file must hold an object.

    Raises
    ------
    CheckpointError
        If it is a link out of its folder, no regular file, too large, not UTF-8, or not such JSON.
    """
    check_own_file(path)
    must = f"{path} must exist"
    if path.suffix == ".json":
        value = read_json(path, must)
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} must hold a JSON object", type(value).__name__, FETCH_AGAIN)
    text = read_text(path, must)
    if path.suffix == ".json" and ("NaN" in text or "Infinity" in text):
        _check_constants(path, text)


def _check_constants(path: Path, text: str) -> None:
    def refuse(name: str) -> Any:
        raise CheckpointError(f"{path} must hold JSON", f"{name}, which JSON lacks", "replace it by null or a number")

    json.loads(text.removeprefix("\ufeff"), parse_constant=refuse)


def copy_text_file(source: Path, target: Path) -> None:
    """Check a text file, and write its bytes to a new file, without a byte-order mark: transformers reads none."""
    check_text_file(source)
    target.write_bytes(source.read_bytes().removeprefix(b"\xef\xbb\xbf"))


def check_folder(folder: Path, names: Iterable[str], must: str, remedy: str) -> None:
    """Raise unless all that a folder holds are regular files with these names. ``.cache`` is the hub client's.

    Raises
    ------
    CheckpointError
        With ``must`` and ``remedy``, if it is a link, or holds anything else.
    """
    known = {*names, ".cache"}
    if folder.is_symlink() or not folder.is_dir():
        raise CheckpointError(must, f"{folder}, a link or a file", remedy)
    wrong = []
    for path in sorted(folder.iterdir()):
        regular = path.is_dir() if path.name == ".cache" else path.is_file()
        if path.name not in known or path.is_symlink() or not regular:
            wrong.append(path.name + (", a link" if path.is_symlink() else ""))
    if wrong:
        raise CheckpointError(must, f"{listed(wrong)} in {folder}", remedy)
