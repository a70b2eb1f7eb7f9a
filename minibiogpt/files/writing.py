"""Atomic writes: write to a temporary file or folder, then rename it, so that nothing is ever half-written."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.temporaries import clear_leftovers, not_writable, sync, temporary_folder

OS_ERROR = re.compile(r"\(os error (\d+)\)")


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
    _check_encodable(path)
    if path.is_file():
        raise InputError("a folder to save to must be a folder, or new", f"the file {folder}", "name another folder")
    return path


def _check_encodable(path: Path) -> None:
    text = os.fspath(path)
    if "\0" in text:
        raise InputError("a path must hold no null character", short_repr(text), "name another path")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate, other than those that stand for bytes of a name that is not UTF-8
        raise InputError(
            "a path must be text that file names can hold", short_repr(text), "name another path"
        ) from None


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

    A file that exists keeps its permissions and, where the system allows it, its owner. A link is replaced, not
    followed.

    Raises
    ------
    InputError
        If the folder cannot be created or written, or ``path`` is a device or a pipe. ``path`` is then unchanged.
    """
    _check_encodable(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} must be a file, or new", "something else", "choose another name")
        with _parents(path), temporary_folder(path) as folder:
            temporary = folder / "new"
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            new = temporary.stat()  # the system has applied the umask
            write(temporary)
            sync(temporary)  # while it may be opened: the old file may be write-only
            _set_access(temporary, path.stat() if path.is_file() else new)
            os.replace(temporary, path)
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can contain
        raise InputError(
            f"the text written to {path} must be valid Unicode", str(error), "remove such characters"
        ) from None
    except OSError as error:
        raise not_writable(path, error) from None
    except SafetensorError as error:  # its text is all that is left of an OSError
        if (code := OS_ERROR.search(str(error))) is None:
            raise
        raise not_writable(path, OSError(int(code[1]), os.strerror(int(code[1])))) from None


def _set_access(path: Path, like: os.stat_result) -> None:
    """Give a file the owner of another, as far as the system allows it, and its permissions."""
    facts = path.stat()
    if hasattr(os, "chown") and (facts.st_uid, facts.st_gid) != (like.st_uid, like.st_gid):
        with suppress(PermissionError):
            os.chown(path, like.st_uid, like.st_gid)
    path.chmod(stat.S_IMODE(like.st_mode) & 0o777)


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Context manager that creates the parent folders, and on an error removes those that it created."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # it was not created, or is not empty
                folder.rmdir()
        raise


@contextmanager
def _named(temporary: Path, target: Path) -> Iterator[None]:
    """Context manager whose errors name ``target`` and not the temporary folder, which will be gone."""
    try:
        yield
    except InputError as error:
        parts = (part.replace(str(temporary), str(target)) for part in (error.must, error.found, error.remedy))
        raise type(error)(*parts) from None


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Context manager for a temporary folder beside ``target``: renamed on success, removed on an error.

    Raises
    ------
    InputError
        If ``target`` exists and is not an empty folder, or cannot be written.
    """
    _check_encodable(target)
    try:
        clear_leftovers(target)  # first, because a run that was killed at the end has left a complete target, too
        if not is_new_folder(target):
            raise InputError("the folder to write must be new or empty", str(target), "choose a new folder")
        with _parents(target), temporary_folder(target) as folder:
            temporary = folder / "new"
            temporary.mkdir()  # with the permissions of any new folder
            with _named(temporary, target):
                yield temporary
            for path in temporary.rglob("*"):
                if path.is_file():
                    sync(path)
            if target.exists():
                target.rmdir()
            temporary.rename(target)
    except OSError as error:
        raise not_writable(target, error, Path(os.fsdecode(error.filename or target)).name) from None
