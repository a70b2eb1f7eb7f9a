"""Forks of a process while its other threads multiply matrices.

OpenBLAS has locks of its own. If the process is forked while another thread holds one, the child has the locked lock
but not the thread, and its next product waits forever. So a fork waits until the products of other threads have ended.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from threading import Condition, get_ident

COVERED: ContextVar[bool] = ContextVar("COVERED", default=False)  # set on a thread that helps with another's product
LONGEST = 30.0  # seconds that a fork waits: far longer than one product takes


class ForkGate:
    """Context manager for a product. A fork waits for those that run, and those that begin meanwhile wait for the fork.

    A thread does not wait for itself: a signal handler may fork in the middle of a product. A thread that helps with
    another's product (``COVERED``) passes: the fork waits for the other thread, which waits for this one.

    Examples
    --------
    >>> with ForkGate() as gate:
    ...     len(gate.running)
    1
    """

    def __init__(self) -> None:
        self.condition = Condition()
        # Of each thread, the frames in which products are running, by id. One whose end an interrupt has prevented from
        # being noted is no longer in the thread's stack.
        self.running: dict[int, list[int]] = {}
        self.forks = 0

    def __enter__(self) -> ForkGate:
        if COVERED.get():
            return self
        thread = get_ident()
        with self.condition:
            if self.forks and thread not in self.running:
                self.condition.wait_for(lambda: not self.forks, LONGEST)
            self.running.setdefault(thread, []).append(id(sys._getframe(1)))
        return self

    def __exit__(self, *error: object) -> None:
        if COVERED.get():
            return
        thread = get_ident()
        with self.condition:
            if frames := self.running.get(thread):
                frames.pop()
            if not frames:
                self.running.pop(thread, None)
            if self.forks:
                self.condition.notify_all()

    def close(self) -> None:
        """Before a fork: wait for the products of other threads, and let none begin."""
        thread = get_ident()
        with self.condition:
            self.forks += 1
            self.condition.wait_for(lambda: not self._others(thread), LONGEST)

    def _others(self, thread: int) -> list[int]:
        """Return the other threads that are in a product."""
        return [other for other, ids in self.running.items() if other != thread and not stack(other).isdisjoint(ids)]

    def open(self) -> None:
        """After a fork, in the parent: let products begin."""
        with self.condition:
            self.forks -= 1
            self.condition.notify_all()

    def renew(self) -> None:
        """After a fork, in the child: forget the other threads, which it does not have."""
        mine = {thread: frames for thread, frames in self.running.items() if thread == get_ident()}
        self.condition, self.running, self.forks = Condition(), mine, 0


def stack(thread: int) -> set[int]:
    """Return the frames of a thread, by id; none if it has ended."""
    frame, found = sys._current_frames().get(thread), set()
    while frame:
        found.add(id(frame))
        frame = frame.f_back
    return found


PRODUCTS = ForkGate()
if hasattr(os, "register_at_fork"):  # absent on Windows, which has no fork
    os.register_at_fork(before=PRODUCTS.close, after_in_parent=PRODUCTS.open, after_in_child=PRODUCTS.renew)
