"""Registers the NumPy and CuPy backends. CuPy is imported only when its backend is requested."""

from __future__ import annotations

from minibiogpt.backend.base import Backend, backend_of, get_backend, register_backend
from minibiogpt.backend.numpy import NumpyBackend
from minibiogpt.backend.products import get_product, product_name

__all__ = ["NumpyBackend", "backend_of", "get_backend", "register_backend"]


def _make_cupy() -> Backend:
    from minibiogpt.backend.cupy import CupyBackend

    return CupyBackend()


register_backend("numpy", lambda product: NumpyBackend(get_product(product)), product_name)
register_backend("cupy", _make_cupy)
