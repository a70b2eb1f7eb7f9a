"""Arrays: NumPy's, or CuPy's on a GPU. The only wing that imports CuPy; it knows nothing of BioGPT."""

from minibiogpt.backend.base import (
    HALVES,
    Array,
    Backend,
    NumpyBackend,
    backend_of,
    get_backend,
    register_backend,
    unwarned,
    within_memory,
)

__all__ = [
    "HALVES",
    "Array",
    "Backend",
    "NumpyBackend",
    "backend_of",
    "get_backend",
    "register_backend",
    "unwarned",
    "within_memory",
]
