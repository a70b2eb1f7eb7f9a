"""The minibiogpt worker on a device: python -m tools.benching.ours_device FOLDER ... --backend cupy

The jobs are those of the CPU worker, but each clock waits for the device, and the rates are those of the device.
"""

from __future__ import annotations

import operator

import numpy as np

from minibiogpt import get_backend
from tools.benching import variants
from tools.benching.answer import Outcome, StepClock, queued, serve
from tools.benching.ours import Ours, arguments

QUEUED = 10  # copies, sums or products queued before one wait


class OursOnDevice(Ours):
    """The jobs, with a wait for all queued work before a clock starts and before it stops."""

    def __init__(
        self,
        folder: str,
        dtype: str,
        backend: str,
        threads: int,
        tf32: bool = False,
        product: str | None = None,
        quantization: str = variants.NONE,
    ) -> None:
        super().__init__(folder, dtype, backend, threads, product, quantization)
        self.device = get_backend(backend)
        self.device.tf32 = tf32

    def _wait(self) -> None:
        self.device.synchronize()

    def bandwidth(self, size: int, tries: int) -> Outcome:
        """Bytes per second for ``size`` bytes of float32: a copy reads and writes them, a sum reads them."""
        x = self.device.xp.ones(size // 4, dtype=np.float32)
        y = self.device.xp.empty_like(x)

        def copy() -> None:
            y[...] = x

        methods = ((2 * x.nbytes, copy), (x.nbytes, x.sum))
        return {}, max(moved / queued(method, QUEUED, tries, self._wait) for moved, method in methods)

    def gemm(self, m: int, k: int, n: int, tries: int) -> Outcome:
        """Operations per second of an m x k by k x n product in the measured dtype, called as the model calls it.

        The values are random: with equal values a GPU draws less power and runs faster than in real use.
        """
        random, dtype = np.random.default_rng(0), self.device.dtype(self.dtype)
        drawn = (random.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (n, k)))
        a, b = (self.device.asarray(x).astype(dtype) for x in drawn)
        return {}, 2 * m * k * n / queued(lambda: self.device.product(a, b), QUEUED, tries, self._wait)

    def launch(self, count: int, tries: int) -> Outcome:
        """Seconds per launch of a kernel with almost no work: one element added to itself."""
        x = self.device.xp.zeros(1, dtype=np.float32)
        return {}, queued(lambda: operator.iadd(x, x), count, tries, self._wait)

    def alone(self, ids: list[list[int]], steps: int) -> Outcome:
        """Forward passes of one token each on a growing cache, queued outside generate, without a CUDA graph."""
        model, one = self.model, self._as_input([[ids[0][-1]]])
        cache, clock = model(self._as_input(ids), use_cache=True).past_key_values, StepClock(self._wait)
        clock.start()
        for _ in range(steps):
            cache = model(one, past_key_values=cache, use_cache=True).past_key_values
        return {"step": (clock.now() - clock.begun) / steps}, None


JOBS = ("prefill", "generate", "score", "bandwidth", "gemm", "launch", "alone")


def main() -> None:
    parser = arguments()
    parser.add_argument("--tf32", action="store_true")
    ours = OursOnDevice(**vars(parser.parse_args()))
    serve({name: getattr(ours, name) for name in JOBS})


if __name__ == "__main__":
    main()
