"""The backends by name: NumPy's, and CuPy's, which is imported when it is asked for."""

from __future__ import annotations

from minibiogpt.backend.base import Backend, backend_of, get_backend, register_backend
from minibiogpt.backend.numpy import NumpyBackend

__all__ = ["NumpyBackend", "backend_of", "get_backend", "register_backend"]


def _cupy() -> Backend:
    from minibiogpt.backend.cupy import CupyBackend

    return CupyBackend()


register_backend("numpy", NumpyBackend)
register_backend("cupy", _cupy)
