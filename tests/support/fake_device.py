"""A fake CuPy backend for the processes that tools/bench.py starts. What it reports about its device is made up.

Call ``register`` only in a subprocess: it replaces the backend "cupy" for the whole process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minibiogpt.backend import register_backend
from tests.support.strict import StrictArray, StrictBackend

TAKEN = 12_345_678  # bytes, always
FACTS = {"device": "a stand-in", "memory": 8_000_000_000, "multiprocessors": 1}
FACTS |= {"cupy": "14.2.0", "cuda": "13.0", "driver_cuda": "13.2"}
HOOK = "from tests.support.fake_device import register; register()\n"


class FakeDevice(StrictBackend):
    """StrictArrays under CuPy's name, on a device that never has work left."""

    name = "cupy"
    float_dtypes = ("float32", "float64", "float16")
    tf32 = False

    def synchronize(self) -> None:
        pass

    def reserved_bytes(self) -> int:
        return TAKEN

    def free_unused(self) -> None:
        pass

    def device_info(self) -> dict[str, Any]:
        return FACTS


def register() -> None:
    StrictArray.__module__ = "cupy"  # a backend is found by this
    register_backend("cupy", FakeDevice)


def put_hook(folder: Path) -> None:
    """Write a sitecustomize.py, which Python runs at startup if the folder is in PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
