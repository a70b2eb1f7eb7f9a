"""The progress bars of tqdm, on standard error, and safe in a forked process."""

from __future__ import annotations

import os
import sys
from functools import cache
from threading import RLock
from typing import Any, Self


def errors_on_terminal() -> bool:
    """Whether standard error is a terminal; a program without a console has none."""
    return sys.stderr is not None and sys.stderr.isatty()


def progress_bar(show: Any, **options: Any) -> Any:
    """Return tqdm's bar with these options on standard error; if ``show`` is false, a bar that shows nothing.

    tqdm takes a lock for a disabled bar too, and a process that is forked meanwhile would wait for it forever.

    Examples
    --------
    >>> with progress_bar(False, total=2) as bar:
    ...     bar.update(2)
    """
    return _bar_class()(file=sys.stderr, **options) if show else _Hidden()


class _Hidden:
    """A bar that shows nothing."""

    def update(self, n: int = 1) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None


@cache
def _bar_class() -> Any:
    """Return a class of bars with a lock of its own, which a forked process replaces. tqdm's lock stays the user's."""
    from tqdm import tqdm

    class Bar(tqdm):
        pass

    def renew_lock() -> None:
        Bar.set_lock(RLock())

    renew_lock()
    if hasattr(os, "register_at_fork"):  # absent on Windows, which has no fork
        os.register_at_fork(after_in_child=renew_lock)
    return Bar
