"""Threads that share one computation, as many as the BLAS library of NumPy was given.

NumPy's own loops run on one thread, and BLAS has threads of its own, which wait actively: after a product each keeps
its core busy for about a tenth of a second (OpenBLAS 0.3.31), so that another thread on that core runs at half speed.
So while these workers compute, BLAS is set to one thread, and each worker calls it for its own part.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import cached_property
from queue import SimpleQueue
from threading import Condition, Lock, Thread, get_ident, get_native_id
from typing import Any

from minibiogpt.backend.forks import COVERED, LONGEST, PRODUCTS

MOST = 16  # threads: each must take the GIL to start its part, one after the other


class BlasThreads:
    """The number of threads of NumPy's BLAS library, read and set by threadpoolctl."""

    @cached_property
    def libraries(self) -> list[Any]:
        """Controllers of NumPy's BLAS; empty if threadpoolctl doesn't know it, as Apple's Accelerate."""
        from threadpoolctl import ThreadpoolController

        found: list[Any] = []
        with suppress(OSError):  # a system that doesn't list the libraries of a process
            found = [one for one in ThreadpoolController().lib_controllers if one.user_api == "blas"]
        ours = [one for one in found if "numpy" in one.filepath.replace("\\", "/").split("/site-packages/")[-1]]
        others = ("scipy", "torch")  # packages that bring a BLAS of their own
        return ours or [one for one in found if not any(name in one.filepath for name in others)]

    @property
    def count(self) -> int:
        """How many threads the library uses; without a known library, how many cores this process may use."""
        if self.libraries:
            return max(int(one.num_threads or 1) for one in self.libraries)
        return usable_cores()

    @count.setter
    def count(self, threads: int) -> None:
        for one in self.libraries:
            one.set_num_threads(threads)

    @property
    def kernel(self) -> str:
        """The processor that the library's kernels are for, such as "SkylakeX"; "" if it doesn't say."""
        return next((str(getattr(one, "architecture", "") or "") for one in self.libraries), "")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    with suppress(AttributeError, OSError):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Job:
    """A function and the parts it is called with, 0 to ``count`` - 1, once each, by whichever thread is free."""

    def __init__(self, function: Callable[[int], None], count: int) -> None:
        self.function, self.count = function, count
        self.context = copy_context()  # np.errstate and the backend in use: a thread begins with its own
        self.left = deque(range(count))
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()  # one entry for each part
        self.condition, self.helping, self.paused = Condition(), 0, False

    def help(self) -> None:
        """Take parts until none is left, on a helper. Its products are inside the caller's, as far as a fork goes."""
        context = self.context.copy()
        context.run(COVERED.set, True)
        while self._enter():
            try:
                more = context.run(self.work_once)
            finally:
                self._leave()
            if not more:
                return

    def _enter(self) -> bool:
        with self.condition:
            self.helping += not self.paused
            return not self.paused

    def _leave(self) -> None:
        with self.condition:
            self.helping -= 1
            self.condition.notify_all()

    def work_once(self) -> bool:
        """Compute one part; whether there was one."""
        try:
            part = self.left.popleft()
        except IndexError:
            return False
        try:
            self.function(part)
        except BaseException as error:
            self.ended.put(error)
        else:
            self.ended.put(None)
        return True

    def pause(self) -> None:
        """Before a fork: let the helpers end the parts that they have, and take no more. The child has no helpers."""
        with self.condition:
            self.paused = True
            self.condition.wait_for(lambda: not self.helping, LONGEST)

    def resume(self) -> None:
        """After a fork, in the parent; the helpers that have left don't come back to this job."""
        with self.condition:
            self.paused = False

    def wait(self) -> None:
        """Wait until all parts have ended, and raise the first error."""
        errors = [error for error in (self.ended.get() for _ in range(self.count)) if error is not None]
        if errors:
            raise errors[0]


class Workers:
    """A pool of threads for one computation at a time. The calling thread is one of them, so n - 1 are started.

    A second computation, from another thread or from inside the first, runs on its own thread alone.

    Examples
    --------
    >>> squares = [0] * 4
    >>> def square(i):
    ...     squares[i] = i * i
    >>> Workers().run(square, 4)
    >>> squares
    [0, 1, 4, 9]
    """

    def __init__(self) -> None:
        self.blas = BlasThreads()
        self.job: Job | None = None
        self.pausing: Job | None = None
        self.owner = 0  # the thread whose job it is
        self.lowered = 0  # how many threads BLAS had before it was set to one
        self.renew()

    def renew(self) -> None:
        """Start without threads. A forked process has none of its parent's."""
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.helpers: list[int] = []  # native ids of the threads, which wait for jobs
        self.free = Lock()  # held while a job runs
        self.core = -1  # the calling thread's, which the helpers avoid

    def before_fork(self) -> None:
        """Pause the job of the thread that forks: a signal handler may do so in its middle."""
        self.pausing = self.job if self.owner == get_ident() else None
        if self.pausing:
            self.pausing.pause()

    def after_fork(self) -> None:
        """In the parent: let the helpers go on."""
        if self.pausing:
            self.pausing.resume()

    @property
    def count(self) -> int:
        """How many threads a computation may use: as many as BLAS was given."""
        if self.lowered and not self.free.locked():
            self._give_back()
        return min(self.lowered or self.blas.count, MOST)

    def run(self, function: Callable[[int], None], count: int) -> None:
        """Call ``function(i)`` for i from 0 to ``count`` - 1, each once, on several threads.

        The function must write its results to arrays, each part to a place of its own. BLAS uses one thread meanwhile.
        An error in a part is raised when all parts have ended.
        """
        free = self.free
        with PRODUCTS:
            if count < 2 or not free.acquire(blocking=False):
                return _run_alone(function, count)
            try:
                if self.lowered:
                    self._give_back()
                threads = min(self.count, count)
                if threads < 2 or not self._start(threads - 1):
                    return _run_alone(function, count)
                self.lowered = self.blas.count
                self.blas.count = 1
                self._run_shared(Job(function, count), threads)
            finally:
                try:
                    if self.lowered:
                        self._give_back()
                finally:
                    free.release()

    def _run_shared(self, job: Job, threads: int) -> None:
        self._leave_this_core()
        self.job, self.owner = job, get_ident()
        for _ in range(threads - 1):
            self.jobs.put(job)
        try:
            while job.work_once():
                pass
            job.wait()
        finally:
            self.job = None
            job.left.clear()  # after an interrupt, the others end with the parts they have

    def _give_back(self) -> None:
        """Give BLAS its threads back, after a job, or later if an interrupt has prevented it."""
        if self.blas.count == 1:  # otherwise another part of the process has set it
            self.blas.count = self.lowered
        self.lowered = 0

    def _start(self, wanted: int) -> bool:
        """Start threads until there are as many; whether there is one."""
        while len(self.helpers) < wanted:
            started: SimpleQueue[int] = SimpleQueue()
            try:
                Thread(target=self._serve, args=(self.jobs, started), name="minibiogpt", daemon=True).start()
            except RuntimeError:  # no more threads: the system's limit, or a browser
                break
            self.helpers.append(started.get())
        return bool(self.helpers)

    @staticmethod
    def _serve(jobs: SimpleQueue[Job], started: SimpleQueue[int]) -> None:
        started.put(get_native_id())
        while True:
            jobs.get().help()

    def _leave_this_core(self) -> None:
        """Keep the helpers off the calling thread's core.

        Linux wakes a thread where it last ran. Where that is the caller's core, it often stays there, behind the
        caller, for 50 ms, while the other core is idle.
        """
        if _current_core is None or (core := _current_core()) == self.core:
            return
        with suppress(OSError):  # the helper has ended, or the system refuses
            others = os.sched_getaffinity(0) - {core}
            for helper in self.helpers if others else ():
                os.sched_setaffinity(helper, others)
            self.core = core


def _run_alone(function: Callable[[int], None], count: int) -> None:
    for part in range(count):
        function(part)


def _find_current_core() -> Callable[[], int] | None:
    """Return the C library's function that tells the calling thread's core; None where there is no such function."""
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError, AttributeError):
        function: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
        return function
    return None


_current_core = _find_current_core()
WORKERS = Workers()
if hasattr(os, "register_at_fork"):  # absent on Windows, which has no fork
    os.register_at_fork(before=WORKERS.before_fork, after_in_parent=WORKERS.after_fork, after_in_child=WORKERS.renew)
