"""Read text and JSON files. Whatever is wrong with a file is one CheckpointError."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError

MAX_TEXT_BYTES = 32 << 20  # parsed JSON can take thirty times as much. The largest published vocabulary has 1.3 MB
MODEL_FOLDER, FETCH_AGAIN = "name a folder in Hugging Face layout", "fetch the file again"  # for a model's own files
CHECKPOINT = re.compile(r"checkpoint-\d{1,18}")  # the folders that transformers' Trainer saves to, by step
LFS_POINTER, MAX_POINTER_BYTES = b"version https://git-lfs", 1024
MAX_JSON_DEPTH = 100  # far below the depth that Python can still print


def check_regular(path: Path, max_bytes: int | None = None, *, broken: str = FETCH_AGAIN) -> None:
    """Check that ``path`` is a regular file. Reading a pipe could block, and reading a device might never end.

    ``broken`` is the remedy if it is not.

    Raises
    ------
    CheckpointError
        If it is not a regular file, is a pointer of Git LFS, or has more than ``max_bytes`` bytes. An OSError (such as
        FileNotFoundError) or a ValueError (an invalid path) is not caught.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise CheckpointError(f"{path} must be a file", kind, broken)
    if status.st_size <= MAX_POINTER_BYTES and path.read_bytes().startswith(LFS_POINTER):
        found, remedy = "a pointer of Git LFS to the file", f"run git lfs pull in {path.parent}"
        raise CheckpointError(f"{path} must be the file itself", found, remedy)
    if max_bytes is not None and status.st_size > max_bytes:
        must = f"{path} must have at most {max_bytes} bytes"
        raise CheckpointError(must, str(status.st_size), broken)


def missing_file(path: Path, remedy: str) -> tuple[str, str]:
    """Return what was found instead of a model's file, and what to do; ``remedy`` if nothing better is known.

    A training run's output folder may hold its checkpoints only, each in a folder of its own.
    """
    folder = path.parent
    if not folder.is_dir():
        return f"no folder {folder}", "check the path"
    checkpoints = [one for one in folder.glob("checkpoint-*") if CHECKPOINT.fullmatch(one.name) and _is_model(one)]
    if checkpoints and not _is_model(folder):
        newest = max(checkpoints, key=lambda one: int(one.name.partition("-")[2]))
        return (
            f"no file {path}, only {len(checkpoints)} of its checkpoints",
            f"name one of them: {newest} is the newest",
        )
    return f"no file {path}", remedy


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def read_text(path: Path, must: str, *, absent: str = MODEL_FOLDER, broken: str = FETCH_AGAIN) -> str:
    """Return the content of a UTF-8 file.

    Parameters
    ----------
    must : the error's first part if the file is missing.
    absent, broken : what to do if the file is missing, and if it cannot be used. The defaults are for a model's files.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, not UTF-8, or larger than ``MAX_TEXT_BYTES``.
    """
    try:
        check_regular(path, MAX_TEXT_BYTES, broken=broken)
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(must, *missing_file(path, absent)) from None
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path} must be a readable UTF-8 file", str(error), broken) from None


def read_json(path: Path, must: str, *, absent: str = MODEL_FOLDER, broken: str = FETCH_AGAIN) -> Any:
    """Parse a UTF-8 JSON file. The arguments are those of ``read_text``.

    Raises
    ------
    CheckpointError
        If ``read_text`` does, if the file is not JSON, or if it is nested more than ``MAX_JSON_DEPTH`` deep.
    """
    text = read_text(path, must, absent=absent, broken=broken).removeprefix("\ufeff")  # as Windows' editors write it
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must hold JSON", f"{error}", broken) from None
    if _is_too_deep(value):
        must = f"{path} must be nested at most {MAX_JSON_DEPTH} levels deep"
        raise CheckpointError(must, "more", broken)
    return value


def _is_too_deep(value: Any) -> bool:
    """Whether ``value`` still has elements below ``MAX_JSON_DEPTH`` levels of lists and objects."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        containers = [x for x in level if isinstance(x, dict | list)]
        level = [x for one in containers for x in (one.values() if isinstance(one, dict) else one)]
    return bool(level)


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
