"""A stand-in for the CuPy backend, for the processes that tools/bench.py starts: what it says of its device is made up.

``register`` is for processes of their own alone: it takes the name "cupy" for as long as the process lives.
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
    """Arrays that are closed to NumPy, under CuPy's name, and a device that has always done its work."""

    name = "cupy"
    float_dtypes = ("float32", "float64", "float16")
    tf32 = False

    def synchronize(self) -> None:
        pass

    def reserved(self) -> int:
        return TAKEN

    def release(self) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        return FACTS


def register() -> None:
    StrictArray.__module__ = "cupy"  # by which a backend is found
    register_backend("cupy", FakeDevice)


def put_hook(folder: Path) -> None:
    """Python runs the hook at its start when the folder is in PYTHONPATH."""
    (folder / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
