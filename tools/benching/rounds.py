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


class Setup(NamedTuple):
    """What holds for all cases: the model, the peers' attentions, and how it runs."""

    folder: Path
    peers: tuple[str, ...]
    threads: int
    rounds: int
    dtype: str = "float32"
    backend: str = "numpy"


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
        common = [str(setup.folder), "--threads", str(setup.threads), "--dtype", setup.dtype]
        self._commands = {
            OURS: ["-m", "tools.benching.ours", *common, "--backend", setup.backend],
            THEIRS: ["-m", "tools.benching.theirs", *common],
        }
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Pair:
        with ExitStack() as stack:
            for name, command in self._commands.items():
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
        return {"same": same, "seconds": seconds}

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

    def _turns(self) -> list[tuple[str, Worker]]:
        return list(self.workers.items())


def fastest(*measured: dict[str, dict[str, float]]) -> Rates:
    """The best of all: what something else did on the machine can only have lowered the others."""
    return Rates(**{name: max(max(one[name].values()) for one in measured) for name in ("bandwidth", "operations")})


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
