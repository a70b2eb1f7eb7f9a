"""The minibiogpt worker: python -m tools.benching.ours FOLDER --threads N --dtype D --backend B

and, if they are chosen, --product P and --quantization Q.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, get_backend
from tools.benching import products, variants
from tools.benching.answer import Outcome, StepClock, best, digests, in_threads, serve


class Ours:
    """The jobs, on one model that is loaded on first use."""

    def __init__(
        self,
        folder: str,
        dtype: str,
        backend: str,
        threads: int,
        product: str | None = None,
        quantization: str = variants.NONE,
    ) -> None:
        self.folder, self.dtype, self.backend, self.threads, self.product = folder, dtype, backend, threads, product
        self.chosen = variants.Variant(dtype, product, quantization).keywords()

    @functools.cached_property
    def model(self) -> BioGptForCausalLM:
        return BioGptForCausalLM.from_pretrained(self.folder, dtype=self.dtype, backend=self.backend, **self.chosen)

    def _host(self, array: Any) -> np.ndarray:
        return self.model.backend.to_numpy(array)

    def _as_input(self, ids: list[list[int]]) -> Any:
        return self.model.backend.asarray(np.array(ids))

    def _wait(self) -> None:
        """Wait for the device; see OursOnDevice."""

    def check(self, ids: list[list[int]], path: str) -> Outcome:
        """Save the logits of all positions as a NumPy file."""
        np.save(path, self._host(self.model(self._as_input(ids), use_cache=False).logits.astype(np.float32)))
        return {}, None

    def prefill(self, ids: list[list[int]]) -> Outcome:
        """Logits of all positions without a cache; the result is the argmax at each position."""
        model, inputs, clock = self.model, self._as_input(ids), StepClock(self._wait)
        clock.start()
        logits = model(inputs, use_cache=False).logits
        seconds = clock.now() - clock.begun
        argmax = logits.astype(np.float32, copy=False).argmax(axis=-1)
        return {"whole": seconds}, self._host(argmax).tolist()

    def generate(self, ids: list[list[int]], new: int, beams: int = 1) -> Outcome:
        """Greedy generation or beam search, with a timestamp for every step."""
        model, inputs, clock = self.model, self._as_input(ids), StepClock(self._wait)

        def note(so_far: Any, scores: Any) -> Any:
            clock.note()
            return so_far[:, 0] != so_far[:, 0]  # all False: never stop

        clock.start()
        found = model.generate(
            inputs, max_new_tokens=new, min_new_tokens=new, num_beams=beams, do_sample=False, progress=False,
            early_stopping=False, length_penalty=1.0, stopping_criteria=[note],
        )  # fmt: skip
        times = clock.times(clock.now(), new)
        return times, self._host(found)[:, len(ids[0]) :].tolist()

    def score(self, rows: list[list[int]], batches: list[list[int]]) -> Outcome:
        """ln p of each row; ``score`` makes the same batches itself."""
        model = self.model
        start = time.perf_counter()
        totals = self._host(model.score(rows).total)
        return {"whole": time.perf_counter() - start}, totals.tolist()

    def tokenize(self, texts: list[str], vocab: str) -> Outcome:
        """Texts to ids, by a tokenizer whose cache of words is empty."""
        tokenizer = BioGptTokenizer.from_pretrained(vocab)
        start = time.perf_counter()
        rows = [tokenizer.encode(text) for text in texts]
        return {"whole": time.perf_counter() - start}, digests(rows)

    def bandwidth(self, size: int, tries: int) -> Outcome:
        """Bytes per second when reading ``size`` bytes of float32 once: the fastest of four methods."""
        x = np.ones(size // 4, dtype=np.float32)
        matrix, ones = x[: size // 4096 * 1024].reshape(-1, 1024), np.ones(1024, dtype=np.float32)
        parts = np.array_split(x, self.threads)
        methods = {
            "sum": lambda: x.sum(),
            "sum in threads": lambda: in_threads(np.sum, parts),
            "dot": lambda: np.dot(x, x),
            "matrix-vector": lambda: matrix @ ones,
        }
        found = {name: x.nbytes / best(method, tries) for name, method in methods.items()}
        return {}, max(found.values())

    def gemm(self, m: int, k: int, n: int, tries: int) -> Outcome:
        """Operations per second of an m x k by k x n product: the faster of NumPy's, and the model's in its dtype."""
        a, b = np.ones((m, k), dtype=np.float32), np.ones((k, n), dtype=np.float32)
        backend = get_backend(self.backend, **products.keywords(self.product))
        rows, weight = (x.astype(backend.dtype(self.dtype)) for x in (a, b.T))
        methods: tuple[Callable[[], Any], ...] = (lambda: a @ b, lambda: backend.product(rows, weight))
        return {}, 2 * m * k * n / min(best(method, tries) for method in methods)


JOBS = ("check", "prefill", "generate", "score", "tokenize", "bandwidth", "gemm")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    for name, kind in (("--dtype", str), ("--backend", str), ("--threads", int)):
        parser.add_argument(name, type=kind, required=True)
    parser.add_argument("--product")
    parser.add_argument("--quantization", default=variants.NONE)
    return parser


def main() -> None:
    ours = Ours(**vars(arguments().parse_args()))
    serve({name: getattr(ours, name) for name in JOBS})


if __name__ == "__main__":
    main()
