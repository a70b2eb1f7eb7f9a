"""What was measured on: processor, cores, libraries, load."""

from __future__ import annotations

import ctypes
import datetime
import importlib.metadata
import os
import platform
from typing import Any

import numpy as np


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor as Linux calls it, or as Python does."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as facts:
            return next(line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas() -> str:
    """NumPy's BLAS, its version, and for which processor OpenBLAS has chosen its kernels."""
    found = np.show_config(mode="dicts")
    facts = found.get("Build Dependencies", {}).get("blas", {}) if found else {}
    return f"{facts.get('name', 'unknown')} {facts.get('version', '')} {kernels()}".strip()


def kernels() -> str:
    """As in "for Haswell"; nothing where no OpenBLAS of NumPy's own build is loaded."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            library = next(line.split(maxsplit=5)[5].strip() for line in maps if "libscipy_openblas" in line)
        name = ctypes.CDLL(library).scipy_openblas_get_corename64_
    except (OSError, StopIteration, AttributeError):
        return ""
    name.restype = ctypes.c_char_p
    return f"for {name().decode()}"


def load() -> float:
    """The mean over the last minute of how many processes ran or waited to."""
    return round(os.getloadavg()[0], 2)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def facts(threads: int) -> dict[str, Any]:
    """To be taken before anything is measured: the load is that of what else goes on on the machine."""
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
