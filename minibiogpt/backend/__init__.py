"""Arrays: NumPy's in the computer's memory, or CuPy's on a GPU.

``base`` says what a backend must offer, ``numpy`` and ``cupy`` offer it, and ``registry`` finds one by its name. This
is the only wing that imports CuPy. It knows nothing of BioGPT.
"""

from minibiogpt.backend.base import HALVES, Array, Backend, ignore_overflow, report_full_memory
from minibiogpt.backend.registry import NumpyBackend, backend_of, get_backend, register_backend

__all__ = [
    "HALVES",
    "Array",
    "Backend",
    "NumpyBackend",
    "backend_of",
    "get_backend",
    "ignore_overflow",
    "register_backend",
    "report_full_memory",
]
