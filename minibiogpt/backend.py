"""NumPy or CuPy: the only file that knows which.

Every equation in this package is written once, against the array module ``xp`` of the arrays it is given.
What the two modules do not share (erf; the way in and out of the device) is a method of a ``Backend``.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from minibiogpt.erf import erf as numpy_erf
from minibiogpt.errors import InputError
from minibiogpt.memory import LeftMemory

PAGE = 1 << 21  # bytes of a large page
Array = Any  # a numpy.ndarray or a cupy.ndarray; the two share no base class
# Numbers beyond their dtype become infinite, and then NaN, without a word: so they do on a device, and in PyTorch.
unwarned = np.errstate(over="ignore", invalid="ignore")


class Backend(ABC):
    """One array module, and the few things that differ between them.

    Attributes
    ----------
    name : "numpy" or "cupy".
    xp : the array module itself.
    array_type : the type of its arrays.
    float_dtypes : the compute dtypes it offers, by name.
    at_once : how many numbers should go through a chain of steps together.
    """

    name: str
    xp: ModuleType | Any
    array_type: type
    float_dtypes: tuple[str, ...]
    at_once: int = sys.maxsize

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """Bring lists, numbers or any backend's array here; a copy only where one is needed."""
        if isinstance(x, self.array_type):
            here: Array = x
            return here if dtype is None else here.astype(dtype, copy=False)
        other = _backend_of_one(x)
        return self.xp.asarray(other.to_numpy(x) if other else x, dtype=dtype)

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray:
        """The array as NumPy's, copied from the device if it lies there. The only way out."""

    @abstractmethod
    def erf(self, x: Array) -> Array:
        """The error function, elementwise, in x's dtype."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array to be filled."""
        return self.xp.empty(shape, dtype=dtype)

    def in_one_piece(self, x: Array) -> Array:
        """A copy whose numbers lie in the order of its axes."""
        y = self.empty(x.shape, x.dtype)
        y[...] = x
        return y

    def by_rows(self, function: Callable[[Array], Array], x: Array) -> Array:
        """``function(x)``, for one that treats each row of the last axis by itself: ``at_once`` numbers at a time."""
        if x.size <= self.at_once or x.ndim < 2:
            return function(x)
        rows, step = x.reshape(-1, x.shape[-1]), max(1, self.at_once // x.shape[-1])
        y = self.empty(rows.shape, rows.dtype)
        for start in range(0, len(rows), step):
            y[start : start + step] = function(rows[start : start + step])
        return y.reshape(x.shape)

    def rooms(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """An array in the computer's memory for each name, to be filled. Here one by one, as each moves on."""
        for name, shape in shapes.items():
            yield name, np.empty(shape, dtype)

    def product(self, rows: Array, weight: Array) -> Array:
        """rows (M, in) times weight (out, in) transposed: (M, out)."""
        return rows @ weight.T

    def dtype(self, name: str) -> np.dtype:
        """The compute dtype called ``name``.

        Raises
        ------
        InputError
            If this backend does not compute in it.
        """
        name = getattr(name, "__name__", None) or str(name)
        if name not in self.float_dtypes:
            offered = ", ".join(self.float_dtypes)
            remedy = "use backend cupy for float16" if name == "float16" else "choose one of these"
            raise InputError(f"dtype must be one of {offered} on backend {self.name}", repr(name), remedy)
        return np.dtype(name)

    def __reduce__(self) -> tuple[Any, ...]:
        """A model that is copied or pickled stays with the one backend of that name."""
        return get_backend, (self.name,)

    def __repr__(self) -> str:
        return f"<backend {self.name}>"


class NumpyBackend(Backend):
    """Arrays in the computer's memory."""

    name, xp, array_type = "numpy", np, np.ndarray
    float_dtypes = ("float32", "float64")
    at_once = 1 << 16  # a few arrays of so many float32 stay in a core's cache from one step to the next
    few_rows = 7
    share = 1 << 19  # numbers of a weight that stay in the caches of two cores; fewer, and OpenBLAS leaves them to one

    def __init__(self) -> None:
        self._memory = LeftMemory()

    def to_numpy(self, x: Array) -> np.ndarray:
        return x

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A large one lies where an earlier one lay."""
        return self._memory.empty(shape, dtype)

    def erf(self, x: Array) -> Array:
        return numpy_erf(x)

    def rooms(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """All in one block of memory, from the start of a large page on: decoding waits for weights to be read, and
        large pages are read faster."""
        sizes = [math.prod(shape) for shape in shapes.values()]
        block = np.empty(sum(sizes) + PAGE // np.dtype(dtype).itemsize, dtype)
        place = -block.ctypes.data % PAGE // block.itemsize
        for (name, shape), size in zip(shapes.items(), sizes, strict=True):
            yield name, block[place : place + size].reshape(shape)
            place += size

    def product(self, rows: Array, weight: Array) -> Array:
        """The same for a few rows with less reading: a matrix times vectors, while a share of it is in the cache.

        A BLAS prepares a matrix for matrix products by copying it, which takes longer than a few rows are worth.
        """
        (M, _), (out, width) = rows.shape, weight.shape
        y = self.empty((M, out), rows.dtype)
        step = max(1, self.share // width)
        whole = out - out % step
        if not (2 <= M <= self.few_rows and whole and weight.flags.c_contiguous):
            return np.matmul(rows, weight.T, out=y)
        parts = weight[:whole].reshape(-1, 1, step, width) @ rows[:, :, None]  # share by share, and in each row by row
        y[:, :whole].reshape(M, -1, step)[...] = parts[..., 0].transpose(1, 0, 2)
        np.matmul(rows, weight[whole:].T, out=y[:, whole:])
        return y


class CupyBackend(Backend):
    """Arrays on an NVIDIA device."""

    name = "cupy"
    float_dtypes = ("float32", "float64", "float16")

    def __init__(self) -> None:
        try:
            import cupy
            from cupyx.scipy import special
        except ImportError as error:
            remedy = "pip install 'minibiogpt[cuda12]' or 'minibiogpt[cuda13]', as the driver has it"
            raise InputError("backend cupy needs the package cupy", str(error), remedy) from None
        try:
            devices = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            devices, why = 0, f" ({error})"
        else:
            why = ""
        if not devices:
            raise InputError("backend cupy needs a CUDA device", f"none{why}", "check nvidia-smi, or use backend numpy")
        self.xp, self.array_type, self._erf = cupy, cupy.ndarray, special.erf

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.xp.asnumpy(x)

    def erf(self, x: Array) -> Array:
        return self._erf(x)


_MAKERS: dict[str, type[Backend]] = {"numpy": NumpyBackend, "cupy": CupyBackend}
_MADE: dict[str, Backend] = {}
_OF_TYPE: dict[type, Backend | None] = {}  # of every type of array met so far: it is asked for several times a step


def register_backend(name: str, maker: type[Backend]) -> None:
    """Offer another backend under ``name``: its arrays' type must live in a module (tree) of that name."""
    _MAKERS[name] = maker
    _OF_TYPE.clear()


def get_backend(name: str | Backend = "numpy") -> Backend:
    """The backend called ``name``.

    Raises
    ------
    InputError
        If there is none of that name, or CuPy or its device is absent.

    Examples
    --------
    >>> get_backend("numpy").xp.__name__
    'numpy'
    """
    if isinstance(name, Backend):
        return name
    if name not in _MAKERS:
        raise InputError(f"backend must be one of {', '.join(_MAKERS)}", repr(name), "choose one of these")
    if name not in _MADE:
        _MADE[name] = _MAKERS[name]()
    return _MADE[name]


def _backend_of_one(x: object) -> Backend | None:
    """The backend whose array x is, found without importing what is absent; None for anything else."""
    kind = type(x)
    if kind not in _OF_TYPE:
        root = "numpy" if issubclass(kind, np.ndarray) else kind.__module__.partition(".")[0]
        backend = get_backend(root) if root in _MAKERS else None
        _OF_TYPE[kind] = backend if backend and issubclass(kind, backend.array_type) else None
    return _OF_TYPE[kind]


def backend_of(*arrays: object) -> Backend:
    """The one backend that all ``arrays`` belong to (None among them is passed over).

    Raises
    ------
    TypeError
        If they belong to different backends, or one is no array at all: nothing is moved silently.
    """
    found: Backend | None = None
    for x in arrays:
        if x is None:
            continue
        backend = _backend_of_one(x)
        if backend is None or (found and backend is not found):
            kinds = ", ".join(sorted({f"{type(a).__module__}.{type(a).__name__}" for a in arrays if a is not None}))
            raise TypeError(f"all arrays must belong to one backend; found {kinds}; move them with backend.asarray(x)")
        found = backend
    if found is None:
        raise TypeError("an operation needs at least one array; found none; hand one over")
    return found
