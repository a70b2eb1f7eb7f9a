"""Backend: what an array module must offer, and the backends by name. It knows neither NumPy's nor CuPy's own backend.

Every equation in this package is written once, against the array module ``xp`` of the arrays it is given.
What array modules do not share (erf; the way in and out of the device) is a method of a ``Backend``.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from minibiogpt.errors import InputError

HALVES = ("float16", "bfloat16")  # too narrow for sums and exponentials: these are made in float32
Array = Any  # a numpy.ndarray or a cupy.ndarray; the two share no base class
Method = TypeVar("Method", bound=Callable[..., Any])
# Numbers beyond their dtype become infinite, and then NaN, without a word: so they do on a device, and in PyTorch.
ignore_overflow = np.errstate(over="ignore", invalid="ignore")


class Backend(ABC):
    """One array module, and the few things that differ between them.

    Attributes
    ----------
    name : "numpy" or "cupy".
    xp : the array module itself.
    array_type : the type of its arrays.
    float_dtypes : the compute dtypes it offers, by name.
    block_elements : how many numbers should go through a chain of steps together.
    tile : how many queries and how many keys blocked attention looks at together.
    """

    name: str
    xp: ModuleType | Any
    array_type: type
    float_dtypes: tuple[str, ...]
    block_elements: int = sys.maxsize
    tile: tuple[int, int] = (128, 1024)

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

    def contiguous(self, x: Array) -> Array:
        """x with its numbers in the order of its axes: a copy, unless they are."""
        if x.flags.c_contiguous:
            return x
        y = self.empty(x.shape, x.dtype)
        y[...] = x
        return y

    def map_rows(self, function: Callable[[Array], Array], x: Array) -> Array:
        """``function(x)``, where each row of the last axis is independent: ``block_elements`` numbers at a time."""
        if x.size <= self.block_elements or x.ndim < 2:
            return function(x)
        rows, step = x.reshape(-1, x.shape[-1]), max(1, self.block_elements // x.shape[-1])
        y = self.empty(rows.shape, rows.dtype)
        for start in range(0, len(rows), step):
            y[start : start + step] = function(rows[start : start + step])
        return y.reshape(x.shape)

    def allocate(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """An array in the computer's memory for each name, to be filled. Here one by one, as each moves on."""
        for name, shape in shapes.items():
            yield name, np.empty(shape, dtype)

    def product(self, rows: Array, weight: Array, bias: Array | None = None) -> Array:
        """rows (M, in) times weight (out, in) transposed, plus bias (out,) if there is one: (M, out)."""
        y = rows @ weight.T
        if bias is not None:
            y += bias
        return y

    def head_products(
        self, a: Array, b: Array, *, transposed: bool = False, scale: float = 1.0, out: Array | None = None
    ) -> Array:
        """scale a b for each head: a (B, H, M, K), b (B, H, K, N), or (B, H, N, K) with ``transposed``: (B, H, M, N).

        The scale comes before the sum: a float16 could not hold every sum without it.
        """
        if scale != 1:
            a = (a * scale).astype(a.dtype, copy=False)
        b = b.transpose(0, 1, 3, 2) if transposed else b
        return a @ b if out is None else self.xp.matmul(a, b, out=out)

    def lowest(self, dtype: Any) -> float:
        """The lowest finite number of a dtype: what takes the place of a hidden score."""
        return float(self.xp.finfo(dtype).min)

    def kernel(self, name: str, *arrays: Array | None) -> Callable[..., Any] | None:
        """A kernel that does in one launch what the equation called ``name`` does, if there is one for these arrays."""
        return None

    def can_capture(self, rows: int, capacity: int, head_size: int, dtype: str) -> bool:
        """Whether a decoding step of so many rows, over a cache of this capacity, is worth a call of ``capture``."""
        return False

    def capture(self, step: Callable[[], None]) -> Callable[[], None] | None:
        """Run ``step`` once, and return what runs it again, on the same memory, without its launches being made anew.

        ``step`` must work on arrays alone: whatever it reads, writes, and decides by is on the device. Its arrays are
        the caller's to keep. None where that cannot be done.
        """
        step()
        return None

    def capacity(self, positions: int) -> int:
        """How many positions a cache that must hold so many should have room for."""
        return positions

    def memory(self) -> AbstractContextManager[None]:
        """While it is entered, a device whose memory is full raises a ``DeviceMemoryError``."""
        return nullcontext()

    def synchronize(self) -> None:
        """Wait until all is done that was asked for: a device goes on while Python does."""
        return None

    def reserved(self) -> int:
        """Bytes that were taken of a device's memory so far, in use or kept for use."""
        return 0

    def release(self) -> None:
        """Give back what is only kept for use."""
        return None

    def facts(self) -> dict[str, Any]:
        """What the device is, and the versions of what runs on it; nothing where there is none."""
        return {}

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
            remedy = f"use backend cupy for {name}" if name in HALVES else "choose one of these"
            raise InputError(f"dtype must be one of {offered} on backend {self.name}", repr(name), remedy)
        return np.dtype(name)

    def __reduce__(self) -> tuple[Any, ...]:
        """A model that is copied or pickled stays with the one backend of that name."""
        return get_backend, (self.name,)

    def __repr__(self) -> str:
        return f"<backend {self.name}>"


_MAKERS: dict[str, Callable[[], Backend]] = {}  # filled by registry.py
_MADE: dict[str, Backend] = {}
_MAKING = RLock()  # a backend makes arrays of its own while it is made
_OF_TYPE: dict[type, Backend | None] = {}  # of every type of array met so far: it is asked for several times a step


def report_full_memory(method: Method) -> Method:
    """A method of something that has a backend, whose device may run out of memory on the way."""

    @wraps(method)
    def guarded(self: Any, *args: Any, **options: Any) -> Any:
        with self.backend.memory():
            return method(self, *args, **options)

    return guarded  # type: ignore[return-value]


def register_backend(name: str, maker: Callable[[], Backend]) -> None:
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
    if not isinstance(name, str) or name not in _MAKERS:
        raise InputError(f"backend must be one of {', '.join(_MAKERS)}", repr(name), "choose one of these")
    if name not in _MADE:
        with _MAKING:
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
