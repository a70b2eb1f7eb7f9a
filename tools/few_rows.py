"""Measure how a few rows are best multiplied with a weight under each of OpenBLAS's kernels: `python tools/few_rows.py`

The constants in minibiogpt/backend/products/numpy.py are chosen by its table. For each kernel a process of its own is
started (OPENBLAS_CORETYPE). Each product is computed whole, as vectors and as small matrices, in turn, on as many
threads as BLAS has; the weights, 100 MB, come from memory. The table shows medians in microseconds a product.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package in this repository, installed or not

import numpy as np

from minibiogpt.backend.products import numpy as numpy_product
from minibiogpt.backend.products.numpy import FewRows, NumpyProduct
from minibiogpt.backend.threads import WORKERS

SHAPES = ((1024, 4096), (4096, 1024), (1024, 1024))  # in, out
ROWS = (2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)
WAYS = {"whole": FewRows(False, 0, 0)}
WAYS |= {f"vectors {1 << n}": FewRows(False, 1 << n, 999) for n in (15, 16, 17)}
WAYS |= {f"small {size:.0e}": FewRows(True, int(size), 999) for size in (2.5e5, 5e5, 1e6)}


def measure(K: int, N: int, M: int, repeats: int) -> dict[str, float]:
    """Return the median time of a product in microseconds, {way: time}."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((N, K), dtype=np.float32) for _ in range(max(3, 25_000_000 // (K * N)))]
    rows, out, product = rng.standard_normal((M, K), dtype=np.float32), np.empty((M, N), np.float32), NumpyProduct()
    times: dict[str, list[float]] = {way: [] for way in WAYS}

    def multiply() -> None:
        for weight in weights:
            product.linear(rows, weight, None, out, WORKERS)

    for _ in range(repeats + 1):
        for way, few in WAYS.items():
            numpy_product.VECTORS, numpy_product.KERNELS = few, {}
            times[way].append(_seconds(multiply) / len(weights) * 1e6)
    return {way: statistics.median(values[1:]) for way, values in times.items()}  # the first warms up


def _seconds(function: Callable[[], None]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def main() -> None:
    """Measure under the kernels named, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="such as SkylakeX Haswell Zen (the one in use)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="measurements of each product (7)")
    options = parser.parse_args()
    for kernel in options.kernels:
        words = [sys.executable, __file__, "--repeats", str(options.repeats)]
        subprocess.run(words, env=os.environ | {"OPENBLAS_CORETYPE": kernel}, check=True)
    if options.kernels:
        return
    print(f"\nkernels for {WORKERS.blas.kernel}, threads: {WORKERS.count}; microseconds a product")
    print(f"{'in, out':>12}{'rows':>6}" + "".join(f"{way:>15}" for way in WAYS))
    for K, N in SHAPES:
        for M in ROWS:
            found = measure(K, N, M, options.repeats)
            print(f"{f'{K}, {N}':>12}{M:>6}" + "".join(f"{time:15.0f}" for time in found.values()), flush=True)


if __name__ == "__main__":
    main()
