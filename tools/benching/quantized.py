"""Time and memory of quantized models beside float16: python -m tools.benching.quantized BACKEND [SIZE] [TOKENS]

Measures one row, a prompt of 128 tokens and TOKENS (64) new ones, in rounds that take each format in turn. Prints a
table: the size of the weights, what the backend has reserved more than before, and medians [min-max] of tokens per
second and of the time for the prompt. SIZE is base (the default) or large, with random weights, or demo.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from minibiogpt import BioGptForCausalLM, get_backend
from tools.benching.models import SIZES, chosen_model, default_cache

FORMATS = (None, "nf4", "int8", "int8-dynamic", "q4_0")
PROMPT, TOKENS, ROUNDS = 128, 64, 5


def measured(model: Any, tokens: int) -> tuple[float, float]:
    """Return the seconds for a prompt with one new token, and for each further token."""
    prompt = [[2, *(3 + i * 7 % 40 for i in range(PROMPT - 1))]]

    def seconds(count: int) -> float:
        model.backend.synchronize()
        start = perf_counter()
        model.generate(prompt, max_new_tokens=count, min_new_tokens=count, eos_token_id=None)
        model.backend.synchronize()
        return perf_counter() - start

    first = seconds(1)
    return first, (seconds(tokens + 1) - first) / tokens


def rows(backend_name: str, size: str, tokens: int, rounds: int = ROUNDS) -> Iterator[str]:
    """Yield the lines of the table."""
    backend, folder = get_backend(backend_name), chosen_model(None, size, default_cache())
    models, reserved = {}, {}
    dtype = "float16"
    for kind in FORMATS:
        before = backend.reserved_bytes()
        models[kind] = BioGptForCausalLM.from_pretrained(folder, backend=backend, dtype=dtype, quantization=kind)
        measured(models[kind], tokens)  # compiles kernels, fills pools
        reserved[kind] = backend.reserved_bytes() - before
    times: dict[str | None, list[tuple[float, float]]] = {kind: [] for kind in FORMATS}
    for _ in range(rounds):
        for kind, model in models.items():
            times[kind].append(measured(model, tokens))
    yield f"| {size}, {dtype} | weights, MB | reserved, MB | prompt of {PROMPT}, ms | tokens per second |"
    yield "| --- | --- | --- | --- | --- |"
    for kind, model in models.items():
        prompts = [first * 1e3 for first, _ in times[kind]]
        speeds = [1 / each for _, each in times[kind]]
        sizes = f"{model.get_memory_footprint() / 1e6:.0f} | {reserved[kind] / 1e6:.0f}"
        yield f"| {kind or dtype} | {sizes} | {_spread(prompts)} | {_spread(speeds)} |"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} [{min(values):.1f}-{max(values):.1f}]"


def main(arguments: list[str]) -> int:
    """Print the table, line by line."""
    name, size, tokens = (*arguments, *("cupy", "base", str(TOKENS))[len(arguments) :])
    if size not in (*SIZES, "demo"):
        print(f"SIZE must be one of {', '.join(SIZES)}, demo; found {size}", file=sys.stderr)
        return 2
    for line in rows(name, size, int(tokens)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
