"""The worker that holds minibiogpt on a device: python -m tools.benching.ours_device FOLDER ... --backend cupy

The jobs are those of the worker on the processor; here each clock waits for the device, and the rates are the device's.
"""

from __future__ import annotations

import operator

import numpy as np

from minibiogpt import get_backend
from tools.benching.answer import Outcome, StepClock, queued, serve
from tools.benching.ours import Ours, arguments

QUEUED = 10  # copies, sums or products that go to the device before anybody waits


class OursOnDevice(Ours):
    """The jobs, with all that was queued done before a clock starts and before it stops."""

    def __init__(self, folder: str, dtype: str, backend: str, threads: int, tf32: bool = False) -> None:
        super().__init__(folder, dtype, backend, threads)
        self.device = get_backend(backend)
        self.device.tf32 = tf32

    def _wait(self) -> None:
        self.device.synchronize()

    def bandwidth(self, size: int, tries: int) -> Outcome:
        """Bytes a second of ``size`` bytes of float32: a copy reads and writes them, a sum reads them."""
        x = self.device.xp.ones(size // 4, dtype=np.float32)
        y = self.device.xp.empty_like(x)

        def copy() -> None:
            y[...] = x

        ways = ((2 * x.nbytes, copy), (x.nbytes, x.sum))
        return {}, max(moved / queued(way, QUEUED, tries, self._wait) for moved, way in ways)

    def gemm(self, m: int, k: int, n: int, tries: int) -> Outcome:
        """Operations a second of an m x k by k x n product, in the dtype that is measured, as the model asks for it.

        The numbers are random: a device takes less power for equal ones, and is faster than it is in use.
        """
        random, dtype = np.random.default_rng(0), self.device.dtype(self.dtype)
        drawn = (random.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (n, k)))
        a, b = (self.device.asarray(x).astype(dtype) for x in drawn)
        return {}, 2 * m * k * n / queued(lambda: self.device.product(a, b), QUEUED, tries, self._wait)

    def launch(self, count: int, tries: int) -> Outcome:
        """Seconds from one launch to the next of a kernel that has nothing to do: one number, added to itself."""
        x = self.device.xp.zeros(1, dtype=np.float32)
        return {}, queued(lambda: operator.iadd(x, x), count, tries, self._wait)

    def alone(self, ids: list[list[int]], steps: int) -> Outcome:
        """A forward pass of one token after the other on a growing cache, outside generate: queued, without a graph."""
        model, one = self.model, self._given([[ids[0][-1]]])
        cache, clock = model(self._given(ids), use_cache=True).past_key_values, StepClock(self._wait)
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
