"""The worker's side: read a JSON line with a job, write a JSON line with seconds and a result.

It imports only the standard library, so that each worker loads only one of the two libraries. If a job raises, the
worker exits with a traceback on stderr, and the parent reads its last line.
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
"""What a job returns: seconds by name, and the result as JSON data."""


def serve(jobs: dict[str, Callable[..., Outcome]]) -> None:
    """Answer requests line by line until the input ends. Output printed by a library goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets the signal too and ends this process
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = repeated(jobs[request.pop("job")], request.pop("at_least", 0.0), request)
        out.write(json.dumps(answer) + "\n")
        out.flush()


def repeated(job: Callable[..., Outcome], at_least: float, request: dict[str, Any]) -> dict[str, Any]:
    """Repeat a job for ``at_least`` seconds, at least once, and return the medians: single milliseconds are noise."""
    runs: list[dict[str, float]] = []
    begun = time.perf_counter()
    while not runs or time.perf_counter() - begun < at_least:
        times, result = job(**request)
        runs.append(times)
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {"times": medians, "result": result, "runs": len(runs)}


def no_wait() -> None:
    """Do nothing: on a CPU the work is done when a call returns."""


class StepClock:
    """Record when each step of generate has chosen its token.

    On a GPU a call only queues work, so each record must ``wait`` for it. That costs both libraries some microseconds
    per step; both read the new ids once per step anyway.

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
        """Return the seconds to the first token, the median seconds between tokens, and the seconds of the whole call.

        Raises
        ------
        RuntimeError
            If the number of recorded steps is not ``steps``.
        """
        if steps is not None and len(self.notes) != steps:
            raise RuntimeError(f"generate must report {steps} steps; it reported {len(self.notes)}")
        between = [after - before for before, after in zip(self.notes, self.notes[1:], strict=False)]
        step = {"step": statistics.median(between)} if between else {}
        return {"first": self.notes[0] - self.begun, **step, "whole": ended - self.begun}


def best(job: Callable[[], Any], tries: int) -> float:
    """Return the minimum seconds of several tries."""
    found = []
    for _ in range(tries):
        start = time.perf_counter()
        job()
        found.append(time.perf_counter() - start)
    return min(found)


def queued(job: Callable[[], Any], count: int, tries: int, wait: Callable[[], None]) -> float:
    """Return the seconds per call when ``count`` calls are queued on a device before one wait: minimum of all tries."""

    def run_all() -> None:
        for _ in range(count):
            job()
        wait()

    run_all()  # warm-up: compiles kernels and allocates memory
    return best(run_all, tries) / count


def in_threads(job: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
    """Run the job on each part in its own thread."""
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(job, parts))


def digests(rows: list[list[int]]) -> list[str]:
    """Return a short hash of each row of ids, to compare rows without sending them."""
    return [sha256(json.dumps([int(i) for i in row]).encode()).hexdigest()[:16] for row in rows]


def resident(field: str = "VmRSS") -> int:
    """Return the memory of this process in bytes, as Linux reports it: VmRSS is the current value, VmHWM the peak."""
    with open("/proc/self/status", encoding="ascii") as status:
        found = re.search(rf"{field}:\s+(\d+) kB", status.read())
    if not found:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return 1024 * int(found[1])
