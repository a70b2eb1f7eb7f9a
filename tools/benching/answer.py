"""The side of a worker: a JSON line with a job comes in, a JSON line with seconds and a result goes out.

Imports nothing but the standard library, so that each worker holds one library alone. A job that raises ends the
worker, its traceback on stderr: the parent reads the last line of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

Outcome = tuple[dict[str, float], Any]
"""What a job returns: seconds by name, and what came out, as JSON can hold it."""


def serve(jobs: dict[str, Callable[..., Outcome]]) -> None:
    """Answer line after line until the input ends. What a library prints goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends this process
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = repeated(jobs[request.pop("job")], request.pop("at_least", 0.0), request)
        out.write(json.dumps(answer) + "\n")
        out.flush()


def repeated(job: Callable[..., Outcome], at_least: float, request: dict[str, Any]) -> dict[str, Any]:
    """The medians of as many runs as fill ``at_least`` seconds, one at the least: a millisecond alone is noise."""
    runs: list[dict[str, float]] = []
    begun = time.perf_counter()
    while not runs or time.perf_counter() - begun < at_least:
        times, result = job(**request)
        runs.append(times)
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {"times": medians, "result": result, "runs": len(runs)}


def no_wait() -> None:
    """On the processor what was called is done when the call returns."""


class StepClock:
    """Notes when each step of generate has chosen its token.

    On a device work is only queued by a call, so that each note must ``wait`` until all of it is done: on both sides,
    and some microseconds a step on both. Both libraries look at the new ids once a step anyway.

    Examples
    --------
    >>> clock = StepClock()
    >>> clock.begun, clock.notes = 10.0, [12.0, 12.5, 13.25]
    >>> clock.times(14.0)
    {'first': 2.0, 'step': 0.625, 'whole': 4.0}
    """

    def __init__(self, wait: Callable[[], None] = no_wait) -> None:
        self.notes: list[float] = []
        self._wait = wait
        self.start()

    def start(self) -> None:
        self._wait()
        self.begun = time.perf_counter()

    def note(self) -> None:
        self.notes.append(self.now())

    def now(self) -> float:
        self._wait()
        return time.perf_counter()

    def times(self, ended: float, steps: int | None = None) -> dict[str, float]:
        """Seconds from the call to the first token, the median of those between two, and of the whole call.

        Raises
        ------
        RuntimeError
            If the library did not tell of each of the ``steps``.
        """
        if steps is not None and len(self.notes) != steps:
            raise RuntimeError(f"generate told of {len(self.notes)} steps, not of {steps}")
        between = [after - before for before, after in zip(self.notes, self.notes[1:], strict=False)]
        step = {"step": statistics.median(between)} if between else {}
        return {"first": self.notes[0] - self.begun, **step, "whole": ended - self.begun}


def best(job: Callable[[], Any], tries: int) -> float:
    """The least seconds of several tries."""
    found = []
    for _ in range(tries):
        start = time.perf_counter()
        job()
        found.append(time.perf_counter() - start)
    return min(found)


def queued(job: Callable[[], Any], count: int, tries: int, wait: Callable[[], None]) -> float:
    """The seconds of one call when ``count`` are queued on a device before anybody waits; the least of all tries."""

    def all_of_them() -> None:
        for _ in range(count):
            job()
        wait()

    all_of_them()  # which compiles what must be compiled, and takes the memory
    return best(all_of_them, tries) / count


def in_threads(job: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
    """The job on each part, one thread each."""
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(job, parts))


def digests(rows: list[list[int]]) -> list[str]:
    """What tells rows of ids apart, short enough to be sent."""
    return [sha256(json.dumps([int(i) for i in row]).encode()).hexdigest()[:16] for row in rows]


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process's memory, as Linux reports them: VmRSS now, VmHWM at the most."""
    with open("/proc/self/status", encoding="ascii") as status:
        found = re.search(rf"{field}:\s+(\d+) kB", status.read())
    if not found:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return 1024 * int(found[1])
