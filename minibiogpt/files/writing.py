"""Writing beside and renaming: nothing is half-written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError


def is_new_folder(path: Path) -> bool:
    """Whether nothing is there but, at most, an empty folder in which nobody stands.

    An OSError (nobody may look there, say) or a ValueError (no path can be called so) passes.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):  # below a file there is nothing either, as writing will find out
        return True
    return path.is_dir() and not path.samefile(".") and not any(path.iterdir())


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a new file beside ``path``, then rename it: readers see the old file or the whole new one.

    Raises
    ------
    InputError
        If the folder cannot be made or written, or ``path`` is a device or a pipe; it is then as it was.
    """
    beside = None
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} must be a file, or new", "something else", "choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        write(beside)
        beside.chmod(0o666 & ~_umask())
        os.replace(beside, path)
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can bring
        raise InputError(f"what is written to {path} must be text", str(error), "remove such signs") from None
    except OSError as error:
        must = f"{path} must be writable"
        raise InputError(must, f"{error.strerror or error}", "choose another folder or free some space") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` to be filled; left without an error it is renamed, otherwise it is removed.

    Raises
    ------
    InputError
        If ``target`` is there and is not an empty folder, or the disk refuses something.
    """
    beside = None
    try:
        if not is_new_folder(target):
            raise InputError("the folder to write must be new or empty", str(target), "choose a new folder")
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
