"""The abstract class ``Backend``, and the table of backends by name. Imports neither the NumPy nor the CuPy backend.

Every equation in this package is written once, against ``xp``, the array module of its arguments. Where array modules
differ (erf, copies to and from the device), the operation is a method of ``Backend``.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from minibiogpt.backend.products.packed import Array, PackedWeight
from minibiogpt.errors import InputError, short_repr, text_of

HALVES = ("float16", "bfloat16")  # too narrow for sums and exponentials, which are computed in float32
Method = TypeVar("Method", bound=Callable[..., Any])
# Overflow gives inf, and then NaN, without a warning, as on a device and in PyTorch; a probability underflows to 0,
# whose logarithm is -inf. A caller's own np.errstate, such as all="raise", must not change that.
ignore_overflow = np.errstate(all="ignore")


class Backend(ABC):
    """An array module, and the few operations that differ between array modules.

    Attributes
    ----------
    name : "numpy" or "cupy".
    xp : the array module.
    array_type : the type of its arrays.
    float_dtypes : names of the compute dtypes it supports.
    block_elements : how many elements to take through a chain of elementwise operations at a time.
    tile : how many queries and how many keys blocked attention processes at a time.
    threads : how many parts ``run_parts`` computes at once.
    """

    name: str
    xp: ModuleType | Any
    array_type: type
    float_dtypes: tuple[str, ...]
    block_elements: int = sys.maxsize
    tile: tuple[int, int] = (128, 1024)
    threads: int = 1

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """Convert lists, scalars, any backend's array or a packed weight to this backend. Copies only if needed."""
        if isinstance(x, PackedWeight):
            return x.with_arrays(self.asarray).astype(dtype or x.dtype, copy=False)
        if isinstance(x, self.array_type):
            array: Array = x
            return array if dtype is None else array.astype(dtype, copy=False)
        source = _backend_of_array(x)
        return self.xp.asarray(source.to_numpy(x) if source else x, dtype=dtype)

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray:
        """Return x as a NumPy array, copied from the device if it is there. The only way off the device."""

    @abstractmethod
    def erf(self, x: Array) -> Array:
        """The error function, elementwise, in x's dtype."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an uninitialized array."""
        return self.xp.empty(shape, dtype=dtype)

    def contiguous(self, x: Array) -> Array:
        """Return x as a C-contiguous array: x itself if it is one, otherwise a copy."""
        if x.flags.c_contiguous:
            return x
        y = self.empty(x.shape, x.dtype)
        y[...] = x
        return y

    def map_rows(self, function: Callable[[Array], Array], x: Array) -> Array:
        """Return ``function(x)``, computed in blocks of rows (last axis), which must be independent of each other."""
        if x.size <= self.block_elements or x.ndim < 2:
            return function(x)
        rows, step = x.reshape(-1, x.shape[-1]), max(1, self.block_elements // x.shape[-1])
        y = self.empty(rows.shape, rows.dtype)

        def block(i: int) -> None:
            start = i * step
            y[start : start + step] = function(rows[start : start + step])

        self.run_parts(block, -(-len(rows) // step))
        return y.reshape(x.shape)

    def run_parts(self, function: Callable[[int], None], count: int) -> None:
        """Call ``function(i)`` for i from 0 to ``count`` - 1. A backend may call it for several at once."""
        for i in range(count):
            function(i)

    def allocate(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
        """Yield an uninitialized NumPy array for each name, one at a time: the caller moves each to the device."""
        for name, shape in shapes.items():
            yield name, np.empty(shape, dtype)

    def product(self, rows: Array, weight: Array, bias: Array | None = None) -> Array:
        """Return ``rows @ weight.T + bias``: rows (M, in), weight (out, in), bias (out,) or None, result (M, out)."""
        y = rows @ (self.unpack(weight) if isinstance(weight, PackedWeight) else weight).T
        if bias is not None:
            y += bias
        return y

    def unpack(self, weight: PackedWeight) -> Array:
        """Return the values of a packed weight as an array (N, K), in its dtype."""
        return self.asarray(np.asarray(weight.with_arrays(self.to_numpy)))

    def head_products(
        self, a: Array, b: Array, *, transposed: bool = False, scale: float = 1.0, out: Array | None = None
    ) -> Array:
        """Return ``scale * a @ b`` for each head: a (B, H, M, K), b (B, H, K, N), result (B, H, M, N).

        With ``transposed``, b is (B, H, N, K) and is transposed first. The scale is applied before the sum, because
        the unscaled sum can overflow float16.
        """
        if scale != 1:
            a = (a * scale).astype(a.dtype, copy=False)
        b = b.transpose(0, 1, 3, 2) if transposed else b
        return a @ b if out is None else self.xp.matmul(a, b, out=out)

    def lowest(self, dtype: Any) -> float:
        """Return the lowest finite value of a dtype, which replaces masked scores."""
        if str(dtype) == "bfloat16":
            return -float.fromhex("0x1.fep127")  # NumPy's finfo does not support bfloat16
        return float(self.xp.finfo(dtype).min)

    def sum_dtype(self, dtype: Any) -> Any:
        """Return the dtype in which products of ``dtype`` are summed and blocked attention keeps its scores."""
        return dtype

    def kernel(self, name: str, *arrays: Array | None) -> Callable[..., Any] | None:
        """Return a kernel that computes the equation ``name`` in one launch; None if none supports these arrays."""
        return None

    def can_capture(self, rows: int, capacity: int, head_size: int, dtype: str) -> bool:
        """Whether ``capture`` is supported and worthwhile for a decoding step of this size."""
        return False

    def capture(self, step: Callable[[], None]) -> Callable[[], None] | None:
        """Run ``step`` once, capture it as a graph, and return a function that replays it on the same memory.

        Everything that ``step`` reads, writes or branches on must be in arrays on the device, which the caller keeps
        alive. Returns None if the step cannot be captured.
        """
        step()
        return None

    def cache_capacity(self, positions: int) -> int:
        """Return how many positions to allocate for a cache that must hold ``positions``."""
        return positions

    def memory_errors(self) -> AbstractContextManager[None]:
        """Context manager that turns an out-of-memory error of the device into a ``DeviceMemoryError``."""
        return nullcontext()

    def synchronize(self) -> None:
        """Wait until the device has finished all queued work, which it runs asynchronously."""
        return None

    def reserved_bytes(self) -> int:
        """Return how many bytes of device memory are reserved, in use or cached."""
        return 0

    def free_unused(self) -> None:
        """Free device memory that is cached but not in use."""
        return None

    def device_info(self) -> dict[str, Any]:
        """Return the device's name, memory and software versions; an empty dict if there is no device."""
        return {}

    def dtype(self, name: str) -> np.dtype:
        """Return the compute dtype called ``name``.

        Raises
        ------
        InputError
            If this backend does not compute in it.
        """
        name = getattr(name, "__name__", None) or text_of(name)
        if name not in self.float_dtypes:
            supported = ", ".join(self.float_dtypes)
            remedy = "pip install ml_dtypes" if name in HALVES else "choose one of these"
            raise InputError(f"dtype must be one of {supported} on backend {self.name}", short_repr(name), remedy)
        return np.dtype(name)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Context manager in which ``backend_of`` returns this backend for arrays of its type."""
        token = _IN_USE.set(self)
        try:
            with self.memory_errors():
                yield
        finally:
            _IN_USE.reset(token)

    @property
    def product_name(self) -> str:
        """Where matrix products come from, if there is a choice: "numpy", "mkl", "openblas", "onednn"; otherwise ""."""
        return ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by name: of each name and product there is one backend."""
        return get_backend, (self.name, self.product_name or None)

    def __repr__(self) -> str:
        product = "" if self.product_name in ("", self.name) else f", product {self.product_name}"
        return f"<backend {self.name}{product}>"


_FACTORIES: dict[str, tuple[Callable[[str], Backend], Callable[[str | None], str]]] = {}  # filled by registry.py
_INSTANCES: dict[tuple[str, str], Backend] = {}  # by name and product
_IN_USE: ContextVar[Backend | None] = ContextVar("_IN_USE", default=None)
_LOCK = RLock()  # reentrant, because a backend creates arrays while it is constructed
_BY_TYPE: dict[type, Backend | None] = {}  # cache of every array type seen: it is looked up several times a step


def _renew_lock() -> None:
    """Replace the lock in a forked process: a thread of the parent may have held it, and is not here to release it."""
    global _LOCK
    _LOCK = RLock()


if hasattr(os, "register_at_fork"):  # absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew_lock)


def on_backend(method: Method) -> Method:
    """Decorate a method of an object with a ``backend``: that backend computes every equation in it.

    Running out of device memory raises ``DeviceMemoryError``.
    """

    @wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.backend.in_use():
            return method(self, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def _no_product(product: str | None) -> str:
    if product not in (None, "auto"):
        raise InputError("only backend numpy has a choice of products", f"product={product!r}", "leave product out")
    return ""


def register_backend(name: str, factory: Any, product_name: Callable[[str | None], str] | None = None) -> None:
    """Register a backend. The type of its arrays must be defined in a package called ``name``.

    ``factory`` makes it: from a product's name, if ``product_name`` is given, which returns what a name or None means.
    """
    _FACTORIES[name] = (factory, product_name) if product_name else (lambda product: factory(), _no_product)
    _BY_TYPE.clear()


def get_backend(name: str | Backend = "numpy", product: str | None = None) -> Backend:
    """Return the backend called ``name``.

    Parameters
    ----------
    product : where the matrix products of backend numpy come from: "numpy", "mkl", "openblas", "onednn", or "auto",
        the default: an installed library that is faster on this processor. MINIBIOGPT_PRODUCT replaces the default.

    Raises
    ------
    InputError
        If no backend or product has that name, or its library or device is missing.

    Examples
    --------
    >>> get_backend("numpy").xp.__name__
    'numpy'
    """
    if isinstance(name, Backend) and product in (None, name.product_name):
        return name
    name = name.name if isinstance(name, Backend) else name
    if not isinstance(name, str) or name not in _FACTORIES:
        raise InputError(f"backend must be one of {', '.join(_FACTORIES)}", short_repr(name), "choose one of these")
    factory, product_name = _FACTORIES[name]
    key = name, product_name(product)
    with _LOCK:
        if key not in _INSTANCES:
            _INSTANCES[key] = factory(key[1])
        return _INSTANCES[key]


def _backend_of_array(x: object) -> Backend | None:
    """Return the backend of an array, the one in use if there are several, or None; imports no missing module."""
    kind = type(x.sample if isinstance(x, PackedWeight) else x)
    if (in_use := _IN_USE.get()) is not None and kind is in_use.array_type:
        return in_use
    if kind not in _BY_TYPE:
        package = "numpy" if issubclass(kind, np.ndarray) else kind.__module__.partition(".")[0]
        backend = get_backend(package) if package in _FACTORIES else None
        _BY_TYPE[kind] = backend if backend and issubclass(kind, backend.array_type) else None
    return _BY_TYPE[kind]


def backend_of(*arrays: object) -> Backend:
    """Return the backend that all ``arrays`` belong to. None is skipped.

    Raises
    ------
    TypeError
        If they belong to different backends, or one is not an array: nothing is moved silently.
    """
    found: Backend | None = None
    for x in arrays:
        if x is None:
            continue
        backend = _backend_of_array(x)
        if backend is None or (found and backend is not found):
            kinds = ", ".join(sorted({f"{type(a).__module__}.{type(a).__name__}" for a in arrays if a is not None}))
            raise TypeError(f"all arrays must belong to one backend; found {kinds}; move them with backend.asarray(x)")
        found = backend
    if found is None:
        raise TypeError("an operation needs at least one array; found none; pass one")
    return found
