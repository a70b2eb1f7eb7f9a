"""Atomic writes: write to a temporary file or folder, then rename it, so that nothing is ever half-written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr


def target_folder(folder: Any) -> Path:
    """Return the folder to save to as a Path.

    Raises
    ------
    InputError
        If it is not the path of one.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise InputError("a folder to save to must be a path", short_repr(folder), "write save_pretrained('FOLDER')")
    path = Path(folder)
    _check_no_null(path)
    if path.is_file():
        raise InputError("a folder to save to must be a folder, or new", f"the file {folder}", "name another folder")
    return path


def _check_no_null(path: Path) -> None:
    if "\0" in os.fspath(path):
        raise InputError("a path must hold no null character", short_repr(os.fspath(path)), "name another path")


def is_new_folder(path: Path) -> bool:
    """Whether ``path`` does not exist, or is an empty folder other than the current one.

    An OSError (such as PermissionError) or a ValueError (an invalid path) is not caught.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):  # a path below a file is new, too: writing will fail
        return True
    return path.is_dir() and not path.samefile(".") and not any(path.iterdir())


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write`` on a temporary file beside ``path``, then rename it: readers see the old or the complete new file.

    Raises
    ------
    InputError
        If the folder cannot be created or written, or ``path`` is a device or a pipe. ``path`` is then unchanged.
    """
    _check_no_null(path)
    temporary = None
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} must be a file, or new", "something else", "choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can contain
        raise InputError(
            f"the text written to {path} must be valid Unicode", str(error), "remove such characters"
        ) from None
    except OSError as error:
        must = f"{path} must be writable"
        raise InputError(must, f"{error.strerror or error}", "choose another folder or free some space") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Context manager for a temporary folder beside ``target``: renamed on success, removed on an error.

    Raises
    ------
    InputError
        If ``target`` exists and is not an empty folder, or cannot be written.
    """
    _check_no_null(target)
    temporary = None
    try:
        if not is_new_folder(target):
            raise InputError("the folder to write must be new or empty", str(target), "choose a new folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        found = f"{error.strerror or error} ({error.filename or target})"
        raise InputError(f"{target} must be writable", found, "choose another folder or free some space") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
