"""A stand-in for CuPy that needs no GPU: arrays that refuse every implicit way to NumPy, in a module of CuPy's names.

A ``StrictArray`` mixes with its own kind and with numbers only; ``numpy`` functions refuse it, as do ``np.asarray``
and indices that are NumPy arrays. ``xp`` offers only functions that CuPy 14 has, and hands them StrictArrays only.
What the stand-in cannot show is CuPy's own arithmetic: that takes a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minibiogpt.backend import Backend
from minibiogpt.erf import erf

SCALARS = (bool, int, float, np.generic)
# Checked against the module cupy 14; each is used by the package, and none is missing there.
CUPY_FUNCTIONS = frozenset(
    """arange argmax argsort broadcast_to concatenate cumsum empty empty_like exp expm1 finfo
    full isfinite log log1p matmul maximum minimum nonzero ones partition repeat sort sqrt take_along_axis tanh
    where zeros zeros_like""".split()
)


def inner(x: Any) -> Any:
    """The NumPy array inside, for a StrictArray or a container of them; anything NumPy's own is refused."""
    if isinstance(x, StrictArray):
        return x._array
    if isinstance(x, tuple | list):
        return type(x)(inner(one) for one in x)
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return x


def outer(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(outer(one) for one in x)
    return StrictArray(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


class StrictArray:
    """One array, closed to NumPy."""

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
            return outer(value)
        if name in METHODS:
            return lambda *args, **kwargs: outer(value(*inner(args), **{k: inner(v) for k, v in kwargs.items()}))
        raise AttributeError(f"StrictArray has no {name}")

    def __getitem__(self, key: Any) -> StrictArray:
        return outer(self._array[self._key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, (StrictArray, *SCALARS)):
            raise TypeError(f"cannot store a {type(value)}")
        self._array[self._key(key)] = inner(value)

    def _key(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        for part in parts:
            if not isinstance(part, (StrictArray, int, slice, type(None), type(Ellipsis))):
                raise TypeError(f"cannot index with a {type(part)}")
        return inner(key)

    def __len__(self) -> int:
        return len(self._array)

    def __int__(self) -> int:
        return int(self._array)

    def __index__(self) -> int:
        return self._array.__index__()

    def __float__(self) -> float:
        return float(self._array)

    def __bool__(self) -> bool:
        return bool(self._array)


METHODS = frozenset("all any argmax argsort astype copy cumsum max mean min ravel reshape sum take transpose".split())


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: StrictArray, *others: Any) -> Any:
        for other in others:
            if not isinstance(other, (StrictArray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(other)}")
        return outer(getattr(self._array, name)(*inner(others)))

    return apply


for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]:
    for _form in (f"__{_name}__", f"__r{_name}__", f"__i{_name}__"):
        setattr(StrictArray, _form, _operator(_form))
for _name in ["lt", "le", "eq", "ne", "gt", "ge", "neg", "invert", "abs"]:
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))
StrictArray.__module__ = "strict"  # how a backend is found from an array: by the root of its type's module


class StrictModule:
    """CuPy's functions, by name; refuses those it lacks, and NumPy arrays in any argument."""

    int64, float32, float64, newaxis, inf = np.int64, np.float32, np.float64, None, np.inf

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CUPY_FUNCTIONS:
            raise AttributeError(f"the stand-in for CuPy has no {name}")
        function = getattr(np, name)
        return lambda *args, **kwargs: outer(function(*inner(args), **{k: inner(v) for k, v in kwargs.items()}))

    def asarray(self, x: Any, dtype: Any = None) -> StrictArray:
        """The explicit way in."""
        return x if isinstance(x, StrictArray) else StrictArray(np.array(x, dtype=dtype))


class StrictBackend(Backend):
    """The stand-in as a backend; registered by the tests under the name "strict"."""

    name, array_type = "strict", StrictArray
    float_dtypes = ("float32", "float64")

    def __init__(self) -> None:
        self.xp = StrictModule()

    def to_numpy(self, x: Any) -> np.ndarray:
        return x._array

    def erf(self, x: Any) -> Any:
        return StrictArray(erf(x._array))
