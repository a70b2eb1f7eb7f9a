"""Measured alternately: each side in turn, the order rotated, what came out compared."""

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

AT_LEAST = 0.05  # seconds that one measurement fills, by doing its job again
PAUSE = 0.05  # seconds after each, in which the threads of the side that was measured fall asleep
OURS, THEIRS = "minibiogpt", "transformers"
PEER_DEVICE = "cuda"  # as torch calls the device that CuPy uses too
LAUNCHES, STEPS = 1000, 20  # queued launches, and forward passes of one token, that are timed together


class Setup(NamedTuple):
    """What holds for all cases: the model, the peers' attentions, and how it runs."""

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
    """What the two workers are, without the interpreter."""
    common = [str(setup.folder), "--threads", str(setup.threads), "--dtype", setup.dtype]
    ours, theirs = [*common, "--backend", setup.backend], common
    if not setup.on_device:
        return {OURS: ["-m", "tools.benching.ours", *ours], THEIRS: ["-m", "tools.benching.theirs", *theirs]}
    tf32 = ["--tf32"] if setup.tf32 else []
    return {
        OURS: ["-m", "tools.benching.ours_device", *ours, *tf32],
        THEIRS: ["-m", "tools.benching.theirs_device", *theirs, "--device", PEER_DEVICE, *tf32],
    }


def ask_all(case: Case, setup: Setup) -> dict[str, tuple[str, dict[str, Any]]]:
    """For each side the worker and the request."""
    asked = {"ours": (OURS, case.request)}
    if case.attention:
        asked |= {peer: (THEIRS, case.request | {"attention": peer}) for peer in setup.peers}
    else:
        asked[THEIRS] = (THEIRS, case.request)
    return asked | {side: (THEIRS, case.request | {"job": job}) for side, job in case.extra}


class Pair:
    """The two workers. Use it in a ``with``: on leaving it, both are gone."""

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
        """Each round's seconds by side and name, and which peers did the same work.

        Raises
        ------
        InputError
            If a worker ends, or results differ that must not.
        """
        print(f"bench: {', '.join(row.label for row in case.rows.values())}", file=sys.stderr)
        asked = ask_all(case, self.setup)
        first = {side: self.workers[worker].ask(request) for side, (worker, request) in asked.items()}
        compared = [side for side in asked if side not in ("ours", *(name for name, _ in case.extra))]
        same = {side: bool(case.same(first["ours"]["result"], first[side]["result"])) for side in compared}
        if case.strict and not all(same.values()):
            raise InputError("both sides must give the same ids", difference(first, compared), "report this")
        seconds: dict[str, list[dict[str, float]]] = {side: [] for side in asked}
        for turn in range(self.setup.rounds):
            for side in rotated(list(asked), turn):
                worker, request = asked[side]
                time.sleep(PAUSE)
                seconds[side].append(self.workers[worker].ask(request | {"at_least": AT_LEAST})["times"])
        equal = {side: agreement(first["ours"]["result"], first[side]["result"]) for side in compared}
        return {"same": same, "equal_ids": equal, "seconds": seconds}

    def rates(self, size: int, gemm: tuple[int, int, int], tries: int = 5) -> dict[str, dict[str, float]]:
        """Bandwidth and operations a second, of each library."""
        print("bench: memory bandwidth, matrix products", file=sys.stderr)
        shape = dict(zip("mkn", gemm, strict=True))
        requests = {"bandwidth": {"size": size}, "operations": shape}
        jobs = {"bandwidth": "bandwidth", "operations": "gemm"}
        return {
            name: {side: w.ask({"job": jobs[name], "tries": tries} | request)["result"] for side, w in self._turns()}
            for name, request in requests.items()
        }

    def launches(self, ids: list[list[int]], tries: int = 5) -> dict[str, dict[str, float]]:
        """Of each library on a device: seconds of a launch, and of a forward pass of one token after ``ids``."""
        print("bench: launches", file=sys.stderr)
        found = {}
        for (name, worker), attention in zip(self._turns(), ({}, {"attention": self.setup.peers[0]}), strict=True):
            request = {"job": "alone", "ids": ids, "steps": STEPS} | attention
            worker.ask(request)  # which compiles what must be compiled
            step = min(worker.ask(request)["times"]["step"] for _ in range(tries))
            launch = worker.ask({"job": "launch", "count": LAUNCHES, "tries": tries})["result"]
            found[name] = {"launch_seconds": launch, "step_seconds": step}
        return found

    def device_facts(self) -> dict[str, Any]:
        """The CUDA that torch was built for, and the device as torch calls it."""
        return self.workers[THEIRS].ask({"job": "facts"})["result"]

    def _turns(self) -> list[tuple[str, Worker]]:
        return list(self.workers.items())


def fastest(*measured: dict[str, dict[str, float]]) -> Rates:
    """The best of all: what something else did on the machine can only have lowered the others."""
    return Rates(**{name: max(max(one[name].values()) for one in measured) for name in ("bandwidth", "operations")})


def agreement(ours: Any, theirs: Any) -> float | None:
    """The share of equal ids of two lists of rows; None of anything else.

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
    """The order of a round: a place further each time, so that nobody is always first.

    Examples
    --------
    >>> rotated(["ours", "sdpa", "eager"], 4)
    ['sdpa', 'eager', 'ours']
    """
    start = turn % len(sides)
    return sides[start:] + sides[:start]


def difference(answers: dict[str, Any], sides: list[str]) -> str:
    """Which text is the first that a side has other ids for."""
    ours = answers["ours"]["result"]
    for side in sides:
        theirs = answers[side]["result"]
        for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
            if a != b:
                return f"others of {side} for text {i}"
    return "another number of texts"
