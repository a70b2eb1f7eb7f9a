"""Array backends: NumPy on the CPU, or CuPy on a GPU.

``base`` defines the interface, ``numpy`` and ``cupy`` implement it, and ``registry`` finds a backend by name. This is
the only subpackage that imports CuPy. It knows nothing about BioGPT.
"""

from minibiogpt.backend.base import HALVES, Array, Backend, ignore_overflow, on_backend
from minibiogpt.backend.devices import Device, backend_for, device_of
from minibiogpt.backend.registry import NumpyBackend, backend_of, get_backend, register_backend

__all__ = [
    "HALVES",
    "Array",
    "Backend",
    "Device",
    "NumpyBackend",
    "backend_for",
    "backend_of",
    "device_of",
    "get_backend",
    "ignore_overflow",
    "on_backend",
    "register_backend",
]
