"""Device support of the bench: facts about the device, and which options go together.

A separate process queries the device, so that the bench itself allocates nothing on it. `python -m
tools.benching.device BACKEND` prints the facts in one line; without a device it prints the reason and exits with 2.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from minibiogpt.errors import InputError
from tools.benching import products
from tools.benching.peers.registry import ATTENTIONS
from tools.benching.workers import run_alone

DEVICE = "cupy"  # the only backend that does not run on the CPU
MEASURED = ("prefill", "decode", "batch", "beam", "score", "growth", "memory")
QUERY = """
import json, sys
from minibiogpt import InputError, get_backend
try:
    print(json.dumps({"facts": get_backend(sys.argv[1]).device_info()}))
except InputError as error:
    print(json.dumps({"refused": [error.must, error.found, error.remedy]}))
"""


def facts(backend: str) -> dict[str, Any]:
    """Return name, memory and driver of the device, and the versions of CuPy and CUDA.

    Raises
    ------
    InputError
        The error of the backend, if CuPy or the device is missing.
    """
    answer = run_alone(QUERY, backend)
    if "refused" in answer:
        raise InputError(*answer["refused"])
    return answer["facts"]


def check(options: argparse.Namespace) -> None:
    """Check that backend, dtype, TF32 and benchmark can be combined.

    Raises
    ------
    InputError
        If they cannot.
    """
    on_device, name = options.backend == DEVICE, options.benchmark
    others = [peer for peer in options.peers if peer not in ATTENTIONS]
    if on_device and others:
        must = f"with --backend cupy --peers must be of {', '.join(ATTENTIONS)}"
        raise InputError(must, ", ".join(others), "measure them with --backend numpy")
    if on_device and options.product != products.DEFAULT:
        raise InputError("--product is for --backend numpy", options.product, "leave it out")
    if options.tf32 and not (on_device and options.dtype == "float32"):
        found = f"--backend {options.backend} --dtype {options.dtype}"
        raise InputError("--tf32 needs --backend cupy and --dtype float32", found, "leave it out")
    if on_device and name not in (*MEASURED, "all"):
        must = f"with --backend cupy the benchmark must be one of {', '.join(MEASURED)}, all"
        raise InputError(must, name, "measure it with --backend numpy")


def main() -> int:
    try:
        found = facts(sys.argv[1])
    except InputError as error:
        print(f"no device to measure on: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
