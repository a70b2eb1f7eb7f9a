"""A small disk of its own for a room, which can really be full: a tmpfs, mounted where only this process sees it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PAGE = 4096  # bytes; a tmpfs stores each file in pages
WIDE = 1 << 26  # bytes of a disk with room
NEW_NAMESPACE, RECURSIVE, PRIVATE, REMOUNT = 0x20000, 0x4000, 0x40000, 0x20
_libc = ctypes.CDLL(None, use_errno=True)


@cache
def possible() -> bool:
    """Move this process into a mount namespace of its own, where it may mount; return whether it can (as root)."""
    if sys.platform != "linux" or os.geteuid() != 0 or _libc.unshare(NEW_NAMESPACE) != 0:
        return False
    return bool(_libc.mount(None, b"/", None, RECURSIVE | PRIVATE, None) == 0)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk on the folder; unmount it afterwards."""
    _mount(folder, 0, WIDE)
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(folder), 2)  # even if a file on it is open


def leave_free(folder: Path, pages: int | None) -> None:
    """Change the size of the disk so that this many pages are free; None: many."""
    facts = os.statvfs(folder)
    used = facts.f_blocks - facts.f_bfree
    _mount(folder, REMOUNT, WIDE if pages is None else (used + pages) * PAGE)


def _mount(folder: Path, flags: int, size: int) -> None:
    # A size of 0 would mean no limit.
    if _libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, b"size=%d" % max(size, PAGE)) != 0:
        raise OSError(ctypes.get_errno(), f"mount: {os.strerror(ctypes.get_errno())}")
