"""What can be measured on a device, and on which: asked in a process of its own, so that the bench holds none of it.

python -m tools.benching.device BACKEND prints the facts in a line, or why there are none, and ends with 2.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from minibiogpt.errors import InputError
from tools.benching.workers import run_alone

DEVICE = "cupy"  # the one backend that is not the processor
MEASURED = ("prefill", "decode", "batch", "beam", "score", "growth", "memory")
ASK = """
import json, sys
from minibiogpt import InputError, get_backend
try:
    print(json.dumps({"facts": get_backend(sys.argv[1]).facts()}))
except InputError as error:
    print(json.dumps({"refused": [error.must, error.found, error.remedy]}))
"""


def facts(backend: str) -> dict[str, Any]:
    """The device's name, memory, driver; the versions of CuPy and CUDA.

    Raises
    ------
    InputError
        The backend's own, if CuPy or the device is absent.
    """
    answer = run_alone(ASK, backend)
    if "refused" in answer:
        raise InputError(*answer["refused"])
    return answer["facts"]


def check(options: argparse.Namespace) -> None:
    """Whether backend, dtype, TF32 and benchmark go together.

    Raises
    ------
    InputError
        If they do not.
    """
    on_device, name = options.backend == DEVICE, options.benchmark
    if options.dtype != "float32" and not on_device:
        raise InputError("--dtype must be float32 with --backend numpy", options.dtype, "add --backend cupy")
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
