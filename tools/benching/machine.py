"""The machine of a measurement: CPU, cores, libraries, load."""

from __future__ import annotations

import ctypes
import datetime
import importlib.metadata
import os
import platform
from typing import Any

import numpy as np


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the name of the CPU from Linux, or else from Python."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as facts:
            return next(line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas() -> str:
    """Return the name and version of NumPy's BLAS, and the CPU type that OpenBLAS selected its kernels for."""
    found = np.show_config(mode="dicts")
    facts = found.get("Build Dependencies", {}).get("blas", {}) if found else {}
    return f"{facts.get('name', 'unknown')} {facts.get('version', '')} {kernels()}".strip()


def kernels() -> str:
    """Return for example "for Haswell", or "" if the OpenBLAS of the NumPy wheel is not loaded."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            library = next(line.split(maxsplit=5)[5].strip() for line in maps if "libscipy_openblas" in line)
        name = ctypes.CDLL(library).scipy_openblas_get_corename64_
    except (OSError, StopIteration, AttributeError):
        return ""
    name.restype = ctypes.c_char_p
    return f"for {name().decode()}"


def load() -> float:
    """Return the load average over the last minute."""
    return round(os.getloadavg()[0], 2)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def facts(threads: int) -> dict[str, Any]:
    """Return the facts. Call it before measuring, so that the load is that of other programs."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "threads": threads,
        "load_before": load(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numpy_blas": blas(),
        **{name: version(name) for name in ("torch", "transformers", "sacremoses")},
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
    }
