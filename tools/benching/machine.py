"""The machine of a measurement: CPU, cores, libraries, load."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import minibiogpt
from minibiogpt.backend.processor import parse_cpuinfo, this_processor

VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the name of the CPU from Linux, or else from Python."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpuinfo(text: str | None = None) -> dict[str, str]:
    """Return what Linux says about the first core; an empty dict if there is no /proc/cpuinfo.

    Examples
    --------
    >>> cpuinfo("model name : A  CPU\\nmodel : 2\\n\\nmodel : 3\\n")
    {'model name': 'A  CPU', 'model': '2'}
    """
    if text is None:
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                text = file.read()
        except OSError:
            return {}
    parts = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in parts}


def processor_facts(text: str | None = None) -> dict[str, str]:
    """Return name, vendor, family, model and the vector and matrix extensions of the CPU."""
    found = cpuinfo(text)
    if not found:
        return {"processor": processor()}
    kind = f"{found.get('vendor_id', '?')} family {found.get('cpu family', '?')} model {found.get('model', '?')}"
    extensions = " ".join(parse_cpuinfo(text).kinds if text else this_processor().kinds)
    return {"processor": found.get("model name", "unknown"), "processor_kind": kind, "extensions": extensions}


def blas() -> str:
    """Return the BLAS libraries of this process, their kernels and threads; NumPy's own is one of them."""
    return "; ".join(libraries()) or "unknown"


def libraries() -> list[str]:
    """Return for example "openblas 0.3.31 for Haswell, 2 threads" for each BLAS library in this process."""
    return [library(one) for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]


def library(facts: dict[str, Any]) -> str:
    """Return one line about a library, from what threadpoolctl knows about it.

    Examples
    --------
    >>> library({"internal_api": "mkl", "version": "2026.2", "num_threads": 2})
    'mkl 2026.2, 2 threads'
    """
    kernels = f" for {facts['architecture']}" if facts.get("architecture") else ""
    return f"{facts['internal_api']} {facts['version']}{kernels}, {facts['num_threads']} threads"


def load() -> float:
    """Return the load average over the last minute."""
    return round(os.getloadavg()[0], 2)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def session() -> dict[str, Any]:
    """Return when, and the load. Call it before measuring, so that the load is that of other programs."""
    return {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "load_before": load()}


def source() -> str:
    """Return a short hash of the source of minibiogpt: measurements of changed code do not belong in one table."""
    digest = sha256()
    for path in sorted(Path(minibiogpt.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def facts(threads: int) -> dict[str, Any]:
    """Return the facts that must be the same for two measurements to belong in one table."""
    return {
        **processor_facts(),
        "cores": usable_cores(),
        "threads": threads,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: os.environ.get(name, "not set") for name in VARIABLES},
        **{name: version(name) for name in ("torch", "transformers", "sacremoses")},
        "minibiogpt": source(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
    }
