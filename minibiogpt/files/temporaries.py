"""Temporary folders beside a target: private, locked while in use, and recognisable when a killed run leaves one.

The name is ``.NAME.minibiogpt-XXXXXXXX.part``, where NAME is the target's. What a library writes on its way, such as
the temporary file of safetensors, is in that folder too.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from minibiogpt.errors import InputError

MARK, SUFFIX = ".minibiogpt-", ".part"
MAX_NAME = 200  # bytes of NAME that are kept; the whole name may have 255
ATTEMPTS = 100
SPACE = "free some space, or choose a folder on a disk that has some"
REMEDIES = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose a folder on a different file system",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or close some",
    errno.ENFILE: "close some files: the whole system has too many open",
    errno.ENOMEM: "free some memory, and try again",
    errno.EBUSY: "wait for the program that uses it, or choose another name",
    errno.ESTALE: "check the connection to the network file system, and try again",
    errno.EIO: "check the disk, or choose a folder on a different one",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.ELOOP: "check the path",
    errno.ENOTEMPTY: "choose a new folder",
    errno.EEXIST: "choose a new folder",
}  # the others are about permission


def not_writable(path: Path, error: OSError, file: str = "") -> InputError:
    """Return the error for a file or folder that cannot be written, with a remedy for its cause.

    ``file`` is the name of the one in a folder that was being written.
    """
    remedy = REMEDIES.get(error.errno or 0, "choose a folder that you may write to")
    found = f"{error.strerror or error}" + (f" ({file})" if file else "")
    return InputError(f"{path} must be writable", found, remedy)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder for this process; False if another has it, None if the system cannot lock."""
    try:
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # some network file systems cannot lock
        return None
    return True


def is_open_as(path: Path, descriptor: int) -> bool:
    """Whether the path still names the open file or folder, which a different process may have removed or replaced."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Context manager for a private folder beside ``target``, removed at the end. Clears those of killed runs first."""
    clear_leftovers(target)
    for _ in range(ATTEMPTS):
        folder = target.parent / f"{_prefix(target)}{secrets.token_hex(4)}{SUFFIX}"
        with ExitStack() as cleanup:
            cleanup.callback(_remove, folder)  # from before it exists, because a signal may arrive at any moment
            if _created(folder, cleanup):
                yield folder
                return
    raise OSError(errno.EBUSY, "temporary folders are removed as soon as they are created", str(target.parent))


def _created(folder: Path, cleanup: ExitStack) -> bool:
    """Create the folder and lock it; False if a run that clears leftovers removed it before it was locked."""
    folder.mkdir(mode=stat.S_IRWXU)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows cannot open a folder
        return True
    except FileNotFoundError:
        return False
    cleanup.callback(os.close, descriptor)
    return try_lock(descriptor) is not False and is_open_as(folder, descriptor)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # a signal, which ends the process, but only when the folder is gone
        shutil.rmtree(folder, ignore_errors=True)
        raise


def clear_leftovers(target: Path) -> None:
    """Remove temporary folders of killed runs: our name, our user, a real folder, and locked by no process."""
    if not hasattr(os, "geteuid"):  # no locks, so no way to tell which are in use
        return
    _clear_all(target.parent, re.escape(_prefix(target)))


def clear_leftovers_of(folder: Path, names: re.Pattern[str]) -> None:
    """Do what ``clear_leftovers`` does for every target in the folder whose name matches."""
    if hasattr(os, "geteuid"):
        _clear_all(folder, rf"\.(?:{names.pattern}){re.escape(MARK)}")


def _clear_all(parent: Path, prefix: str) -> None:
    pattern = re.compile(prefix + "[a-z0-9_]{8}" + re.escape(SUFFIX))
    with suppress(OSError), os.scandir(parent) as entries:
        for name in [entry.name for entry in entries if pattern.fullmatch(entry.name)]:
            with suppress(OSError):
                _clear(parent / name)


def _clear(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(descriptor)
        ours = facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) == stat.S_IRWXU
        if ours and try_lock(descriptor) and is_open_as(folder, descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _prefix(target: Path) -> str:
    return "." + os.fsdecode(os.fsencode(target.name)[:MAX_NAME]) + MARK


def sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk, so that after a crash a renamed file is not empty."""
    descriptor = os.open(path, os.O_RDWR)  # Windows syncs only a file that is open for writing
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # a file system that cannot
            raise
    finally:
        os.close(descriptor)
