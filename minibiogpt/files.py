"""Reading JSON with one clear error, and writing files beside and renamed, so that nothing is half-written."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError, InputError


def read_json(path: Path, must: str) -> Any:
    """Parse a UTF-8 JSON file; ``must`` says why it has to be there.

    Raises
    ------
    CheckpointError
        If the file is absent, unreadable, not UTF-8 or not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CheckpointError(must, f"no file {path}", "name a folder in Hugging Face layout") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} must be a readable UTF-8 file", str(error), "fetch the file again") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} must hold JSON", f"{error}", "fetch the file again") from None


def write_beside(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a new file beside ``path``, then rename it: readers see the old file or the whole new one.

    Raises
    ------
    InputError
        If the folder cannot be made or written; ``path`` is then as it was.
    """
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        write(beside)
        beside.chmod(0o666 & ~_umask())
        os.replace(beside, path)
    except OSError as error:
        must = f"{path} must be writable"
        raise InputError(must, f"{error.strerror or error}", "choose another folder or free some space") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` to be filled; left without an error it is renamed, otherwise it is removed.

    Raises
    ------
    InputError
        If ``target`` is there and is not an empty folder, or the disk refuses something.
    """
    if os.path.lexists(target) and (not target.is_dir() or target.samefile(".") or any(target.iterdir())):
        raise InputError("the folder to write must be new or empty", str(target), "choose a new folder")
    beside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        yield beside
        beside.chmod(0o777 & ~_umask())
        if target.exists():
            target.rmdir()
        beside.rename(target)
    except OSError as error:
        found = f"{error.strerror or error} ({error.filename or target})"
        raise InputError(f"{target} must be writable", found, "choose another folder or free some space") from None
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
