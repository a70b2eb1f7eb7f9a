"""Rounds: measure each side in turn, in rotated order, and compare the results."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from minibiogpt.errors import InputError
from tools.benching.cases import Case
from tools.benching.limits import Rates
from tools.benching.workers import Worker

AT_LEAST = 0.05  # seconds per measurement; the job is repeated to fill them
PAUSE = 0.05  # seconds before each measurement, for the threads of the previous side to go to sleep
OURS, THEIRS = "minibiogpt", "transformers"
PEER_DEVICE = "cuda"  # torch's name for the device of CuPy
LAUNCHES, STEPS = 1000, 20  # queued launches, and one-token forward passes, that are timed together


class Setup(NamedTuple):
    """Settings of all cases: the model, the attention implementations of transformers, threads, rounds and dtype."""

    folder: Path
    peers: tuple[str, ...]
    threads: int
    rounds: int
    dtype: str = "float32"
    backend: str = "numpy"
    tf32: bool = False

    @property
    def on_device(self) -> bool:
        return self.backend != "numpy"


def commands(setup: Setup) -> dict[str, list[str]]:
    """Return the command of each worker, without the interpreter."""
    common = [str(setup.folder), "--threads", str(setup.threads), "--dtype", setup.dtype]
    ours, theirs = [*common, "--backend", setup.backend], common
    if not setup.on_device:
        return {OURS: ["-m", "tools.benching.ours", *ours], THEIRS: ["-m", "tools.benching.theirs", *theirs]}
    tf32 = ["--tf32"] if setup.tf32 else []
    return {
        OURS: ["-m", "tools.benching.ours_device", *ours, *tf32],
        THEIRS: ["-m", "tools.benching.theirs_device", *theirs, "--device", PEER_DEVICE, *tf32],
    }


def requests_of(case: Case, setup: Setup) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return (worker, request) for each side."""
    requests = {"ours": (OURS, case.request)}
    if case.attention:
        requests |= {peer: (THEIRS, case.request | {"attention": peer}) for peer in setup.peers}
    else:
        requests[THEIRS] = (THEIRS, case.request)
    return requests | {side: (THEIRS, case.request | {"job": job}) for side, job in case.extra}


class Pair:
    """The two workers, as a context manager that ends both on exit."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self._stack = setup, ExitStack()
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Pair:
        with ExitStack() as stack:
            for name, command in commands(self.setup).items():
                self.workers[name] = stack.enter_context(Worker(name, command, self.setup.threads))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def measured(self, case: Case) -> dict[str, Any]:
        """Return the seconds of each round by side and name, and which results are the same as ours.

        Raises
        ------
        InputError
            If a worker ends, or results that must be equal differ.
        """
        print(f"bench: {', '.join(row.label for row in case.rows.values())}", file=sys.stderr)
        requests = requests_of(case, self.setup)
        first = {side: self.workers[worker].ask(request) for side, (worker, request) in requests.items()}
        compared = [side for side in requests if side not in ("ours", *(name for name, _ in case.extra))]
        same = {side: bool(case.same(first["ours"]["result"], first[side]["result"])) for side in compared}
        if case.strict and not all(same.values()):
            raise InputError("both libraries must give the same ids", difference(first, compared), "report this")
        seconds: dict[str, list[dict[str, float]]] = {side: [] for side in requests}
        for turn in range(self.setup.rounds):
            for side in rotated(list(requests), turn):
                worker, request = requests[side]
                time.sleep(PAUSE)
                seconds[side].append(self.workers[worker].ask(request | {"at_least": AT_LEAST})["times"])
        equal = {side: agreement(first["ours"]["result"], first[side]["result"]) for side in compared}
        return {"same": same, "equal_ids": equal, "seconds": seconds}

    def rates(self, size: int, gemm: tuple[int, int, int], tries: int = 5) -> dict[str, dict[str, float]]:
        """Return bytes per second and operations per second that each library reaches."""
        print("bench: memory bandwidth, matrix products", file=sys.stderr)
        shape = dict(zip("mkn", gemm, strict=True))
        requests = {"bandwidth": {"size": size}, "operations": shape}
        jobs = {"bandwidth": "bandwidth", "operations": "gemm"}
        return {
            name: {side: w.ask({"job": jobs[name], "tries": tries} | request)["result"] for side, w in self._in_order()}
            for name, request in requests.items()
        }

    def launches(self, ids: list[list[int]], tries: int = 5) -> dict[str, dict[str, float]]:
        """Return for each library on a device the seconds of a launch and of a one-token forward pass after ``ids``."""
        print("bench: launches", file=sys.stderr)
        found = {}
        for (name, worker), attention in zip(self._in_order(), ({}, {"attention": self.setup.peers[0]}), strict=True):
            request = {"job": "alone", "ids": ids, "steps": STEPS} | attention
            worker.ask(request)  # warm-up: compiles kernels
            step = min(worker.ask(request)["times"]["step"] for _ in range(tries))
            launch = worker.ask({"job": "launch", "count": LAUNCHES, "tries": tries})["result"]
            found[name] = {"launch_seconds": launch, "step_seconds": step}
        return found

    def device_facts(self) -> dict[str, Any]:
        """Return torch's CUDA version and its name of the device."""
        return self.workers[THEIRS].ask({"job": "facts"})["result"]

    def _in_order(self) -> list[tuple[str, Worker]]:
        return list(self.workers.items())


def fastest(*measured: dict[str, dict[str, float]]) -> Rates:
    """Return the highest rates; other load on the machine can only lower them."""
    return Rates(**{name: max(max(one[name].values()) for one in measured) for name in ("bandwidth", "operations")})


def agreement(ours: Any, theirs: Any) -> float | None:
    """Return the fraction of equal ids in two lists of rows, or None for other results.

    Examples
    --------
    >>> agreement([[1, 2], [3, 4]], [[1, 2], [9, 4]]), agreement([0.5], [0.5])
    (0.75, None)
    """
    if not all(isinstance(row, list) for row in (*ours, *theirs)):
        return None
    pairs = [a == b for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    return sum(pairs) / len(pairs)


def rotated(sides: list[str], turn: int) -> list[str]:
    """Return the order of the sides in a round, rotated each time so that no side is always first.

    Examples
    --------
    >>> rotated(["ours", "sdpa", "eager"], 4)
    ['sdpa', 'eager', 'ours']
    """
    start = turn % len(sides)
    return sides[start:] + sides[:start]


def difference(answers: dict[str, Any], sides: list[str]) -> str:
    """Return which text is the first with different ids."""
    ours = answers["ours"]["result"]
    for side in sides:
        theirs = answers[side]["result"]
        for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
            if a != b:
                return f"different ids from {side} for text {i}"
    return "a different number of texts"
