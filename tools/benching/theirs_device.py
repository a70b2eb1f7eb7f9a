"""The transformers worker on a device: python -m tools.benching.theirs_device FOLDER ...

It has the jobs of ours_device.py, measured in the same way.
"""

from __future__ import annotations

import torch

from tools.benching.answer import Outcome, StepClock, queued, serve
from tools.benching.theirs import Theirs, arguments

QUEUED = 10


class TheirsOnDevice(Theirs):
    """The jobs, with a wait for all queued work before a clock starts and before it stops."""

    def __init__(
        self,
        folder: str,
        dtype: str,
        threads: int,
        device: str = "cuda",
        tf32: bool = False,
        quantization: str | None = None,
    ) -> None:
        super().__init__(folder, dtype, threads, quantization)
        self.device = device
        if device != "cpu":
            self.wait = torch.cuda.synchronize
        torch.backends.cuda.matmul.allow_tf32 = tf32

    def facts(self) -> Outcome:
        name = None if self.device == "cpu" else torch.cuda.get_device_name()
        return {}, {"torch_cuda": torch.version.cuda, "torch_device": name}

    def bandwidth(self, size: int, tries: int) -> Outcome:
        x = torch.ones(size // 4, device=self.device)
        y = torch.empty_like(x)
        moved = size // 4 * 4
        methods = ((2 * moved, lambda: y.copy_(x)), (moved, x.sum))
        return {}, max(count / queued(method, QUEUED, tries, self.wait) for count, method in methods)

    def gemm(self, m: int, k: int, n: int, tries: int) -> Outcome:
        a, b = (torch.randn(shape, dtype=self.dtype, device=self.device) for shape in ((m, k), (n, k)))
        return {}, 2 * m * k * n / queued(lambda: torch.nn.functional.linear(a, b), QUEUED, tries, self.wait)

    def launch(self, count: int, tries: int) -> Outcome:
        x = torch.zeros(1, device=self.device)
        return {}, queued(lambda: x.add_(x), count, tries, self.wait)

    def alone(self, ids: list[list[int]], steps: int, attention: str) -> Outcome:
        model, inputs = self.model(attention), torch.tensor(ids, device=self.device)
        cache, clock = model(inputs, use_cache=True).past_key_values, StepClock(self.wait)
        clock.start()
        for _ in range(steps):
            cache = model(inputs[:, -1:], past_key_values=cache, use_cache=True).past_key_values
        return {"step": (clock.now() - clock.begun) / steps}, None


JOBS = ("prefill", "generate", "score", "bandwidth", "gemm", "launch", "alone", "facts")


def main() -> None:
    parser = arguments()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tf32", action="store_true")
    theirs = TheirsOnDevice(**vars(parser.parse_args()))
    with torch.inference_mode():
        serve({name: getattr(theirs, name) for name in JOBS})


if __name__ == "__main__":
    main()
