"""A stand-in for CuPy that needs no GPU: arrays that refuse implicit conversion to NumPy, and CuPy's functions.

A ``StrictArray`` can only be combined with StrictArrays and scalars. NumPy functions and ``np.asarray`` refuse it, and
it cannot be indexed by NumPy arrays. ``xp`` has only functions that CuPy 14 has, and refuses NumPy arrays. Steps can be
captured and replayed; during capture nothing may wait for the device. The stand-in does not test CuPy's own arithmetic,
which needs a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minibiogpt.backend import Backend
from minibiogpt.backend.erf import erf

SCALARS = (bool, int, float, np.generic)
# All CuPy functions that the package uses. CuPy 14 has every one of them; a test checks this.
CUPY_FUNCTIONS = frozenset(
    """arange argmax argsort ascontiguousarray broadcast_to concatenate cumsum empty empty_like exp expm1 finfo
    full isfinite log log1p matmul maximum minimum nonzero ones partition repeat sort sqrt take_along_axis tanh
    where zeros zeros_like""".split()
)


class GraphCapture:
    """The operations of a captured step, to be replayed. During capture nothing may read a value from the device.

    As on a device, capture executes nothing: arrays that were written are restored when it ends.
    """

    active: GraphCapture | None = None

    def __init__(self) -> None:
        self.operations: list[tuple[np.ndarray | None, Callable[[], Any]]] = []
        self.originals: list[tuple[np.ndarray, np.ndarray]] = []

    def __enter__(self) -> GraphCapture:
        assert GraphCapture.active is None, "a capture within a capture"
        GraphCapture.active = self
        return self

    def __exit__(self, *error: Any) -> None:
        GraphCapture.active = None
        for array, original in reversed(self.originals):
            array[...] = original

    def replay(self) -> None:
        for result, operation in self.operations:
            new = operation()
            if isinstance(result, np.ndarray) and new is not result:
                result[...] = new

    @classmethod
    def run(cls, operation: Callable[[], Any], writes: Sequence[Any] = ()) -> Any:
        """Run ``operation``, which writes into the arrays ``writes``, and add it to the active capture."""
        if cls.active is None:
            return operation()
        cls.active.originals += [(array, array.copy()) for array in writes if isinstance(array, np.ndarray)]
        result = operation()
        result = np.asarray(result) if isinstance(result, np.generic) else result
        cls.active.operations.append((result, operation))
        return result

    @classmethod
    def forbid(cls, what: str) -> None:
        """Raise if a capture is active, as CUDA does."""
        if cls.active is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")


def unwrap(x: Any) -> Any:
    """Return the NumPy array inside a StrictArray, or inside each of a tuple or list. Refuse NumPy arrays."""
    if isinstance(x, StrictArray):
        return x._array
    if isinstance(x, tuple | list):
        return type(x)(unwrap(one) for one in x)
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return x


def wrap(x: Any, kind: type[StrictArray]) -> Any:
    if isinstance(x, tuple):
        return tuple(wrap(one, kind) for one in x)
    return kind(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


def applied(kind: type[StrictArray], function: Callable[..., Any], args: Any, options: Any, writes: Any = ()) -> Any:
    """Apply a NumPy function to the wrapped arrays, as one operation of a capture."""
    args, options = unwrap(tuple(args)), {name: unwrap(x) for name, x in options.items()}
    writes = [*writes, *([options["out"]] if options.get("out") is not None else [])]
    return wrap(GraphCapture.run(lambda: function(*args, **options), writes), kind)


def product(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a matmul so that it sums half precision in float32, as cuBLAS does when CuPy calls it."""

    def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        if a.dtype.name == "bfloat16" and a.ndim > 2:
            raise TypeError("CuPy 14.2 has no products of many matrices in bfloat16")
        if a.dtype.itemsize != 2:
            return function(a, b) if out is None else function(a, b, out=out)
        found = (a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype)
        if out is None:
            return found
        out[...] = found
        return out

    return matmul


class StrictArray:
    """An array that NumPy cannot access."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, *args: Any) -> None:
        raise TypeError("a NumPy function was called on an array of another backend")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._array, name)
        if name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "flags"):
            return value
        if name == "T":
            return wrap(value, type(self))
        if name in ("item", "tolist"):
            GraphCapture.forbid(name)
            return value
        if name in METHODS:
            return lambda *args, **options: self._or_new(applied(type(self), value, args, options))
        raise AttributeError(f"StrictArray has no {name}")

    def _or_new(self, x: StrictArray) -> StrictArray:
        """Return this array itself if a method did, as ``astype(copy=False)`` may."""
        return self if x._array is self._array else x

    def __getitem__(self, key: Any) -> StrictArray:
        key = self._key(key)
        return wrap(GraphCapture.run(lambda: self._array[key]), type(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, (StrictArray, *SCALARS)):
            raise TypeError(f"cannot store a {type(value)}")
        key, stored = self._key(key), unwrap(value)
        GraphCapture.run(lambda: self._array.__setitem__(key, stored), [self._array])

    def _key(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        for part in parts:
            if not isinstance(part, (StrictArray, int, slice, type(None), type(Ellipsis))):
                raise TypeError(f"cannot index with a {type(part)}")
            if isinstance(part, StrictArray) and part.dtype == bool:
                GraphCapture.forbid("a result whose size depends on values")
        return unwrap(key)

    def __len__(self) -> int:
        return len(self._array)

    def __int__(self) -> int:
        GraphCapture.forbid("int()")
        return int(self._array)

    def __float__(self) -> float:
        GraphCapture.forbid("float()")
        return float(self._array)

    def __bool__(self) -> bool:
        GraphCapture.forbid("bool()")
        return bool(self._array)


METHODS = frozenset("all any argmax argsort astype copy cumsum max mean min ravel reshape sum take transpose".split())


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: StrictArray, *others: Any) -> Any:
        for other in others:
            if not isinstance(other, (StrictArray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(other)}")
        function = getattr(self._array, name)
        if "matmul" in name:
            function = product(lambda a, b: a @ b).__get__(self._array)
        return applied(
            type(self), function, others, {}, [self._array] if name.startswith("__i") and "inv" not in name else []
        )

    return apply


for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]:
    for _form in (f"__{_name}__", f"__r{_name}__", f"__i{_name}__"):
        setattr(StrictArray, _form, _operator(_form))
for _name in ["lt", "le", "eq", "ne", "gt", "ge", "neg", "invert", "abs"]:
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))
StrictArray.__module__ = "strict"  # a backend is found by the package of an array's type


class StrictModule:
    """CuPy's functions by name. Refuses all others, and NumPy arrays as arguments."""

    int64, float32, float64, newaxis, inf = np.int64, np.float32, np.float64, None, np.inf
    array_type = StrictArray

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CUPY_FUNCTIONS:
            raise AttributeError(f"the stand-in for CuPy has no {name}")
        if name == "nonzero":
            GraphCapture.forbid("a result whose size depends on values")
        function = product(np.matmul) if name == "matmul" else getattr(np, name)
        return lambda *args, **options: applied(self.array_type, function, args, options)

    def empty(self, shape: Any, dtype: Any = float) -> StrictArray:
        """Return an array filled with NaN, so that a use of uninitialized values shows."""
        x = applied(self.array_type, np.empty, [shape], {"dtype": dtype})
        if x.dtype.kind in "fV":
            x[...] = float("nan")
        return x

    def asarray(self, x: Any, dtype: Any = None) -> StrictArray:
        """Convert to a StrictArray explicitly."""
        if isinstance(x, StrictArray):
            return x
        GraphCapture.forbid("a copy from the host")
        return self.array_type(np.array(x, dtype=dtype))


class StrictBackend(Backend):
    """The stand-in as a backend. Tests register it as "strict"."""

    name, array_type = "strict", StrictArray
    float_dtypes = ("float32", "float64", "float16")

    def __init__(self) -> None:
        self.xp = StrictModule()

    def to_numpy(self, x: Any) -> np.ndarray:
        GraphCapture.forbid("a copy to the host")
        return x._array

    def erf(self, x: Any) -> Any:
        return applied(StrictArray, erf, [x], {})

    def can_capture(self, rows: int, capacity: int, head_size: int, dtype: str) -> bool:
        return rows <= 8

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        step()
        with GraphCapture() as capture:
            step()
        return capture.replay
