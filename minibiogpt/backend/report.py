"""What the processor, NumPy's BLAS and the products are on this machine, and how fast they multiply here."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from minibiogpt.backend.base import Backend, get_backend
from minibiogpt.backend.processor import Processor, this_processor
from minibiogpt.backend.products import PRODUCTS, get_product, product_name, why_not
from minibiogpt.backend.products.base import Product
from minibiogpt.backend.threads import WORKERS, usable_cores

CORETYPE = "OPENBLAS_CORETYPE"  # OpenBLAS reads it when NumPy is imported
AVX512, AVX2 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, {"avx2", "fma"}
# OpenBLAS's kernels for x86 without AVX2, and with AVX2 but without AVX-512, by their names.
OLD = {"prescott", "core2", "penryn", "dunnington", "nehalem", "sandybridge", "barcelona", "bulldozer", "piledriver"}
OLD |= {"atom", "bobcat", "steamroller", "katmai", "coppermine", "northwood", "banias", "opteron", "opteron_sse3"}
HASWELL = {"haswell", "zen", "excavator"}
K, N, WEIGHTS = 1024, 4096, 6  # the measured weights: 100 MB, more than the caches hold
ROWS = (1, 8, 512)
BASE_BYTES = 346_763_264 * 4  # of BioGPT's weights in float32


def better_kernel(kernel: str, processor: Processor) -> str:
    """Return the name of OpenBLAS's kernels that suit the processor better than those in use; "" if none do.

    OpenBLAS takes a processor that is newer than itself for an old one, and the environment may choose an old one.

    Examples
    --------
    >>> better_kernel("Haswell", Processor("EPYC", "AuthenticAMD", frozenset(AVX512 | AVX2)))
    'SkylakeX'
    >>> better_kernel("SkylakeX", Processor("EPYC", "AuthenticAMD", frozenset(AVX512 | AVX2)))
    ''
    """
    name = kernel.lower()
    if name in OLD | HASWELL and processor.flags >= AVX512:
        return "SkylakeX"
    return "Haswell" if name in OLD and processor.flags >= AVX2 else ""


def kernel_to_set() -> str:
    """Return the kernels that suit this processor better than those of NumPy's OpenBLAS; "" if none do."""
    blas = WORKERS.blas
    of_openblas = any(library.internal_api == "openblas" for library in blas.libraries)
    return better_kernel(blas.kernel, this_processor()) if of_openblas else ""


def kernel_advice() -> str:
    """Say that NumPy's OpenBLAS uses kernels for an older processor, and what to set; "" if it doesn't."""
    if not (better := kernel_to_set()):
        return ""
    why = f", as {CORETYPE}={os.environ[CORETYPE]} says" if os.environ.get(CORETYPE) else ""
    has = "AVX-512" if better == "SkylakeX" else "AVX2"
    return (
        f"NumPy's OpenBLAS uses its kernels for {WORKERS.blas.kernel}{why}, but this processor has {has}: with "
        f"{CORETYPE}={better} in the environment large products may be twice as fast"
    )


def describe(backend: Backend) -> dict[str, Any]:
    """Return what computes the products of a backend: processor, product, library, kernel, threads; or the device."""
    if not backend.product_name:
        return backend.device_info()
    found: dict[str, Any] = {"processor": this_processor().name, "product": backend.product_name}
    found |= {**get_product(backend.product_name).describe(), "threads": WORKERS.count}
    advice = kernel_advice()
    return found | ({"advice": advice} if advice else {})


def measure(product: Product, dtype: str = "float32", seconds: float = 0.15) -> dict[int, float]:
    """Return {rows: GFLOP/s} of products with weights (4096, 1024), which come from memory; the best of several.

    With one row, the rate is bound by reading the weights: 2 operations for each number.
    """
    rng = np.random.default_rng(0)
    block = rng.standard_normal((N, K), dtype=np.float32).astype(dtype)
    weights = [block.copy() for _ in range(WEIGHTS)]
    rates = {}
    for M in ROWS:
        rows, out = rng.standard_normal((M, K), dtype=np.float32).astype(dtype), np.empty((M, N), dtype)
        some = weights[: 2 if M > 100 else WEIGHTS]

        def multiply(rows: np.ndarray = rows, out: np.ndarray = out, some: list[np.ndarray] = some) -> None:
            for weight in some:
                product.linear(rows, weight, None, out, WORKERS)

        rates[M] = 2e-9 * M * K * N * len(some) / _shortest(multiply, seconds)
    return rates


def _shortest(function: Callable[[], None], seconds: float) -> float:
    """Return the shortest time of a call, of at least three and as many as fit into ``seconds``."""
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < 3 or perf_counter() < end:
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return min(times)


def report() -> dict[str, Any]:
    """Return everything about this machine: processor, NumPy's BLAS, every product and its rates, float32."""
    processor, blas = this_processor(), WORKERS.blas
    found: dict[str, Any] = {
        "processor": processor.name,
        "instructions": processor.kinds,
        "cores": usable_cores(),
        "numpy": np.__version__,
        "threads": WORKERS.count,
        "product": product_name(),
        "products": {},
    }
    for name in PRODUCTS[1:]:
        absent = why_not(name)
        found["products"][name] = {"absent": absent} if absent else _of_product(get_product(name))
    advice = kernel_advice()
    return found | {"kernel": blas.kernel} | ({"advice": advice} if advice else {})


def _of_product(product: Product) -> dict[str, Any]:
    """Return what a product says of itself, and its rates."""
    found = product.describe()
    both = product.bfloat16 and "bfloat16" in get_backend("numpy").float_dtypes  # which imports ml_dtypes
    for dtype in ("float32", "bfloat16") if both else ("float32",):
        rates = measure(product, dtype)
        fewest = product.own_rows if dtype == "float32" else 1
        found[f"gflops_{dtype}"] = {str(M): round(rates[M], 1) for M in ROWS if fewest <= M}
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Return a report as lines of text."""
    products = found["products"]
    kinds = ", ".join(found["instructions"]) or "unknown instructions"
    kernel = f", kernels for {found['kernel']}" if found["kernel"] else ""
    rows = {
        "processor": f"{found['processor']}: {kinds}; {found['cores']} cores",
        "NumPy": f"{found['numpy']}, {products['numpy']['library']}{kernel}",
        "product": f"{found['product']}, threads: {found['threads']}",
        "advice": found.get("advice", ""),
    }
    shown = [f"{name:12}{text}" for name, text in rows.items() if text]
    table = {}
    for name, facts in products.items():
        for dtype in ("float32", "bfloat16"):
            if rates := facts.get(f"gflops_{dtype}"):
                shown_rates = [f"{rates[str(M)]:.1f}" if str(M) in rates else "as numpy" for M in ROWS]
                table[f"{name} ({facts['library']}), {dtype}"] = shown_rates
    width = max(map(len, table)) + 2
    shown += ["", f"{f'GFLOP/s, weights ({N}, {K})':{width}}" + "".join(f"{f'rows: {M}':>12}" for M in ROWS)]
    shown += [f"{name:{width}}" + "".join(f"{rate:>12}" for rate in rates) for name, rates in table.items()]
    shown += [f"{name}: {facts['absent']}" for name, facts in products.items() if "absent" in facts]
    speed = 2 * products["numpy"]["gflops_float32"]["1"]  # GB/s: 4 bytes for 2 operations
    least = BASE_BYTES / speed / 1e6
    return [
        *shown,
        "",
        f"One row reads weights at {speed:.0f} GB/s: BioGPT (347M, float32) needs {least:.0f} ms a token.",
    ]
