"""What the workers of other engines share: their arguments, folders of converted models, and greedy generation.

It runs in the environments of those engines, which have NumPy but neither minibiogpt nor torch.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tools.benching.answer import Outcome, StepClock, resident, serve

FILE, EXPORTED = "model.onnx", "onnx"  # name of an ONNX file, and of its folder
JOBS = ("convert", "load", "check", "prefill", "generate")


class Engine(Protocol):
    """A loaded model."""

    end: int

    def start(self, rows: int) -> Any:
        """Return an empty cache."""
        ...

    def run(self, ids: np.ndarray, positions: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        """Return the logits of these positions of ``ids`` (B, K, V), and the cache after them."""
        ...


class Served:
    """The jobs of an engine that computes logits and returns its cache; the model is loaded on first use."""

    def __init__(self, load: Callable[[], Engine], convert: Callable[[], Any] = lambda: None) -> None:
        self._load, self._convert = load, convert

    @functools.cached_property
    def engine(self) -> Engine:
        return self._load()

    def convert(self) -> Outcome:
        """Convert the model, unless that is done."""
        self._convert()
        return {}, None

    def load(self) -> Outcome:
        return {}, self.engine is not None

    def check(self, ids: list[list[int]], path: str) -> Outcome:
        """Save the logits of all positions as a NumPy file: half of the positions at once, then one by one."""
        inputs, T = np.array(ids, dtype=np.int64), len(ids[0])
        found, past = self.engine.run(inputs[:, : T // 2], np.arange(T // 2), self.engine.start(len(ids)))
        parts = [np.array(found)]
        for t in range(T // 2, T):
            found, past = self.engine.run(inputs[:, t : t + 1], np.arange(1), past)
            parts.append(np.array(found))
        np.save(path, np.concatenate(parts, axis=1))
        return {}, None

    def prefill(self, ids: list[list[int]]) -> Outcome:
        """Logits of all positions; the result is the argmax at each position."""
        engine, inputs, clock = self.engine, np.array(ids, dtype=np.int64), StepClock()
        positions = np.arange(inputs.shape[1])
        clock.start()
        logits, _ = engine.run(inputs, positions, engine.start(len(ids)))
        seconds = clock.now() - clock.begun
        return {"whole": seconds}, logits.argmax(axis=-1).tolist()

    def generate(self, ids: list[list[int]], new: int) -> Outcome:
        """Greedy generation without the end token, logits of the last position only."""
        engine, clock, chosen = self.engine, StepClock(), []
        clock.start()
        inputs, past = np.array(ids, dtype=np.int64), engine.start(len(ids))
        for _ in range(new):
            last = np.array([inputs.shape[1] - 1])
            logits, past = engine.run(inputs, last, past)
            scores = logits[:, -1]
            inputs = without(scores, engine.end).argmax(axis=-1)[:, None]
            chosen.append(inputs)
            clock.note()
        return clock.times(clock.now(), new), np.concatenate(chosen, axis=1).tolist()


def without(scores: np.ndarray, end: int) -> np.ndarray:
    """Return the scores (B, V) with the end token excluded.

    Examples
    --------
    >>> without(np.array([[3.0, 1.0]]), 0).argmax(axis=-1).tolist()
    [1]
    """
    scores = np.array(scores)
    scores[:, end] = -np.inf
    return scores


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return the folder of a converted model, making it in a temporary folder if it does not exist."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            make(temporary)
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--converted", type=Path, required=True, help="folder for this model's conversions")
    parser.add_argument("--precision", default="float32")
    return parser


def memory() -> Outcome:
    """The largest resident memory of this process so far, in bytes."""
    return {}, resident("VmHWM")


def serve_jobs(served: Any) -> None:
    own = {name: getattr(served, name) for name in JOBS}
    serve(own | {"memory": memory})
