"""Reading text and JSON, with one clear error."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError

MOST_TEXT = 32 << 20  # bytes; parsed, they may take thirty times as many. The largest published vocabulary has 1.3 MB
MOST_LEVELS = 100  # of JSON within JSON: far below what Python can still print


def check_regular(path: Path, most: int | None = None) -> None:
    """A pipe would be waited for, and a device may have no end.

    Raises
    ------
    CheckpointError
        If it is anything but a file, or has more than ``most`` bytes. An OSError (it is absent, say) or a ValueError
        (no path can be called so) passes.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe or a device"
        raise CheckpointError(f"{path} must be a file", kind, "fetch the file again")
    if most is not None and facts.st_size > most:
        raise CheckpointError(f"{path} must have at most {most} bytes", str(facts.st_size), "fetch the file again")


def read_text(path: Path, must: str) -> str:
    """The content of a UTF-8 file; ``must`` says why it has to be there.

    Raises
    ------
    CheckpointError
        If the file is absent, unreadable, not UTF-8, or larger than ``MOST_TEXT``.
    """
    try:
        check_regular(path, MOST_TEXT)
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(must, f"no file {path}", "name a folder in Hugging Face layout") from None
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path} must be a readable UTF-8 file", str(error), "fetch the file again") from None


def read_json(path: Path, must: str) -> Any:
    """Parse a UTF-8 JSON file; ``must`` says why it has to be there.

    Raises
    ------
    CheckpointError
        As ``read_text`` does; if it is not JSON, or nested more than ``MOST_LEVELS`` deep.
    """
    text = read_text(path, must)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must hold JSON", f"{error}", "fetch the file again") from None
    if _too_deep(value):
        must = f"{path} must be nested at most {MOST_LEVELS} levels deep"
        raise CheckpointError(must, "more", "fetch the file again")
    return value


def _too_deep(value: Any) -> bool:
    """Whether something is left inside the lists and objects of the last level that there may be."""
    row = [value]
    for _ in range(MOST_LEVELS):
        holders = [x for x in row if isinstance(x, dict | list)]
        row = [inner for holder in holders for inner in (holder.values() if isinstance(holder, dict) else holder)]
    return bool(row)


def sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
