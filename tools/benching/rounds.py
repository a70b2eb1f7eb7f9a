"""Rounds: measure each side in turn, in rotated order, and compare the results."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from minibiogpt import BioGptConfig
from minibiogpt.errors import InputError
from tools.benching import compared, products, variants
from tools.benching.cases import Case, random_ids
from tools.benching.compared import Precision
from tools.benching.limits import Rates
from tools.benching.peers import registry
from tools.benching.variants import FIRST, Variant, is_variant
from tools.benching.workers import Worker

AT_LEAST = 0.05  # seconds per measurement; the job is repeated to fill them
PAUSE = 0.05  # seconds before each measurement, for the threads of the previous side to go to sleep
OURS, THEIRS = "minibiogpt", "transformers"
IN_BFLOAT16 = "transformers in bfloat16"  # a second worker of transformers
PEER_DEVICE = "cuda"  # torch's name for the device of CuPy
LAUNCHES, STEPS = 1000, 20  # queued launches, and one-token forward passes, that are timed together


class Setup(NamedTuple):
    """Settings of all cases: the model, the peers, threads, rounds, dtype, matrix product, --cache and our weights."""

    folder: Path
    peers: tuple[str, ...]
    threads: int
    rounds: int
    dtype: str = "float32"
    backend: str = "numpy"
    tf32: bool = False
    product: str | None = products.DEFAULT  # None on a device
    cache: Path = Path()
    quantization: str = variants.NONE

    @property
    def attention(self) -> str:
        """The attention implementation of transformers that is measured where there is one side of it."""
        return registry.attentions(self.peers)[0]

    @property
    def on_device(self) -> bool:
        return self.backend != "numpy"

    def variant(self, side: str) -> Variant:
        """Return how minibiogpt is loaded as one of its sides."""
        return Variant(self.dtype, self.product, self.quantization).named(side)


def precision(side: str, first: Variant) -> Precision:
    """Return what a side multiplies with, where "ours" is ``first``.

    Examples
    --------
    >>> first = Variant("float32")
    >>> precision("ours-nf4", first), precision("ours-int8-dynamic", first).weights, precision("sdpa", first).arithmetic
    (Precision(arithmetic='float32', weights='nf4'), 'int8', 'float32')
    """
    if side != FIRST and not is_variant(side):
        return registry.precision(side, first.dtype)
    own = first.named(side)
    dynamic = own.quantization == "int8-dynamic"  # the integers of int8, and activations quantized too
    return Precision("dynamic int8", "int8") if dynamic else Precision(own.dtype, own.quantization)


def commands(setup: Setup) -> dict[str, list[str]]:
    """Return the command of each worker of this Python, without the interpreter."""
    common = [str(setup.folder), "--threads", str(setup.threads)]

    def own(side: str) -> list[str]:
        chosen = setup.variant(side)
        return [*common, "--dtype", chosen.dtype, "--backend", setup.backend, *chosen.options()]

    ours, theirs = own(FIRST), [*common, "--dtype", setup.dtype]
    if not setup.on_device:
        found = {OURS: ["-m", "tools.benching.ours", *ours], THEIRS: ["-m", "tools.benching.theirs", *theirs]}
        found |= {peer: ["-m", "tools.benching.ours", *own(peer)] for peer in setup.peers if is_variant(peer)}
        for peer in set(setup.peers) & set(registry.BITSANDBYTES):
            found[peer] = [*found[THEIRS], "--quantization", registry.BITSANDBYTES[peer]]
        if registry.BFLOAT16 in setup.peers:
            found[IN_BFLOAT16] = [*found[THEIRS], "--dtype", "bfloat16"]  # the last --dtype counts
        return found
    tf32 = ["--tf32"] if setup.tf32 else []
    return {
        OURS: ["-m", "tools.benching.ours_device", *ours, *tf32],
        THEIRS: ["-m", "tools.benching.theirs_device", *theirs, "--device", PEER_DEVICE, *tf32],
    }


def request_to(peer: str, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the worker of a peer, and the request to it."""
    if peer in registry.ENGINES or is_variant(peer):
        return peer, request
    if peer in registry.BITSANDBYTES:
        return peer, request | {"attention": registry.ATTENTIONS[0]}
    if peer == registry.BFLOAT16:
        return IN_BFLOAT16, request | {"attention": registry.ATTENTIONS[0]}
    return THEIRS, request | {"attention": peer}


def requests_of(case: Case, setup: Setup) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return (worker, request) for each side that can do the case."""
    requests = {"ours": (OURS, case.request)}
    if case.attention:
        able = [peer for peer in setup.peers if registry.refusal(peer, case.request) is None]
        requests |= {peer: request_to(peer, case.request) for peer in able}
    else:
        requests[THEIRS] = (THEIRS, case.request)
    return requests | {side: (THEIRS, case.request | {"job": job}) for side, job in case.extra}


class Pair:
    """The workers of all sides, as a context manager that ends them on exit.

    ``out`` has the peers that are not measured any more, because they answer wrongly or not at all, with the reason.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self._stack = setup, ExitStack()
        self.workers: dict[str, Worker] = {}
        self.out: dict[str, str] = {}

    def __enter__(self) -> Pair:
        with ExitStack() as stack:
            for name, command in commands(self.setup).items():
                self.workers[name] = stack.enter_context(Worker(name, command, self.setup.threads))
            for name in registry.engines(self.setup.peers):
                python, command = registry.command(name, self.setup.folder, self.setup.threads, self.setup.cache)
                self.workers[name] = stack.enter_context(Worker(name, command, self.setup.threads, python))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def compared(self, config: BioGptConfig) -> dict[str, Any]:
        """Return how far the logits of each peer are from ours, for a small prompt; nothing is timed.

        A peer with quantized weights is compared with the first side of ours that has the same ones; if there is none,
        and for the other peers, with a side of ours whose weights are not quantized; without one, with "ours".
        """
        ids = random_ids(config, compared.ROWS, min(compared.LENGTH, config.max_position_embeddings))
        first, found = self.setup.variant(FIRST), {}
        kinds = {side: precision(side, first) for side in (FIRST, *self.setup.peers)}
        ordered = sorted(self.setup.peers, key=lambda one: (not is_variant(one), kinds[one].weights != variants.NONE))
        with TemporaryDirectory() as folder:
            file = str(Path(folder) / "logits.npy")
            request = {"job": "check", "ids": ids, "path": file}
            self.workers[OURS].ask(request)
            logits = {FIRST: np.load(file)}
            same = {kinds[FIRST].weights: FIRST}  # the side to compare with, by weights
            for peer in ordered:
                worker, asked = request_to(peer, request)
                if self._answer(peer, worker, asked) is None:
                    found[peer] = {"right": False, "reason": self.out[peer]}
                    continue
                with_ = same.get(kinds[peer].weights) or same.get(variants.NONE, FIRST)
                most, theirs = compared.bound(kinds[with_], kinds[peer]), np.load(file)
                found[peer] = compared.compared(logits[with_], theirs, most, with_)
                if is_variant(peer) and found[peer]["right"]:
                    logits[peer] = theirs
                    same.setdefault(kinds[peer].weights, peer)
        return {peer: found[peer] for peer in self.setup.peers}

    def leave_out(self, found: dict[str, Any]) -> None:
        """Measure no peer whose answers were found to be wrong."""
        self.out |= {peer: facts["reason"] for peer, facts in found.items() if not facts["right"]}

    def _answer(self, side: str, worker: str, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return an answer, or None from a peer that fails and may: the others are still measured."""
        try:
            return self.workers[worker].ask(request)
        except InputError as error:
            if not registry.may_fail(side):
                raise
            self.out[side] = f"failed: {error.found}"
            return None

    def measured(self, case: Case) -> dict[str, Any]:
        """Return the seconds of each round by side and name, which results are the same as ours, and what is missing.

        Raises
        ------
        InputError
            If a worker of minibiogpt or transformers ends, or results that must be equal differ.
        """
        requests = {s: request for s, request in requests_of(case, self.setup).items() if s not in self.out}
        answers = {side: self._answer(side, worker, request) for side, (worker, request) in requests.items()}
        first = {side: answer for side, answer in answers.items() if answer is not None}
        extra = {name for name, _ in case.extra}
        others = [side for side in first if side not in ("ours", *extra)]
        same = {side: bool(case.same(first["ours"]["result"], first[side]["result"])) for side in others}
        if case.strict and not all(same.values()):
            raise InputError("both libraries must give the same ids", difference(first, others), "report this")
        seconds: dict[str, list[dict[str, float]]] = {side: [] for side in first}
        for turn in range(self.setup.rounds):
            for side in rotated([side for side in first if side not in self.out], turn):
                worker, request = requests[side]
                time.sleep(PAUSE)
                answer = self._answer(side, worker, request | {"at_least": AT_LEAST})
                if answer is not None:
                    seconds[side].append(answer["times"])
        kept = [side for side in others if side not in self.out]
        return {
            "same": {side: same[side] for side in kept},
            "equal_ids": {side: agreement(first["ours"]["result"], first[side]["result"]) for side in kept},
            "seconds": {side: runs for side, runs in seconds.items() if side not in self.out},
            "missing": self._missing(case),
        }

    def _missing(self, case: Case) -> dict[str, str]:
        """Return the peers that are not measured in a case, with the reason."""
        if not case.attention:
            return {}
        refused = {peer: registry.refusal(peer, case.request) for peer in self.setup.peers}
        return {peer: reason for peer, reason in refused.items() if reason} | self.out

    def rates(self, size: int, gemm: tuple[int, int, int], tries: int = 5) -> dict[str, dict[str, float]]:
        """Return bytes per second and operations per second that each library reaches."""
        shape = dict(zip("mkn", gemm, strict=True))
        requests = {"bandwidth": {"size": size}, "operations": shape}
        jobs = {"bandwidth": "bandwidth", "operations": "gemm"}
        return {
            name: {side: w.ask({"job": jobs[name], "tries": tries} | request)["result"] for side, w in self._in_order()}
            for name, request in requests.items()
        }

    def launches(self, ids: list[list[int]], tries: int = 5) -> dict[str, dict[str, float]]:
        """Return for each library on a device the seconds of a launch and of a one-token forward pass after ``ids``."""
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
        return [(name, self.workers[name]) for name in (OURS, THEIRS)]


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
