"""A stand-in for CuPy that needs no GPU: arrays that refuse every implicit way to NumPy, in a module of CuPy's names.

A ``StrictArray`` mixes with its own kind and with numbers only; ``numpy`` functions refuse it, as do ``np.asarray``
and indices that are NumPy arrays. ``xp`` offers only functions that CuPy 14 has, and hands them StrictArrays only.
Steps can be recorded and run again; while they are recorded, nothing may wait for the device.
What the stand-in cannot show is CuPy's own arithmetic: that takes a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minibiogpt.backend import Backend
from minibiogpt.backend.erf import erf

SCALARS = (bool, int, float, np.generic)
# Checked against the module cupy 14; each is used by the package, and none is missing there.
CUPY_FUNCTIONS = frozenset(
    """arange argmax argsort ascontiguousarray broadcast_to concatenate cumsum empty empty_like exp expm1 finfo
    full isfinite log log1p matmul maximum minimum nonzero ones partition repeat sort sqrt take_along_axis tanh
    where zeros zeros_like""".split()
)


class Tape:
    """What is done while a step is recorded, to be done again; meanwhile nothing may ask for what is on the device.

    As on a device, recording changes nothing: what was written is put back when it ends.
    """

    now: Tape | None = None  # the one that is being written

    def __init__(self) -> None:
        self.steps: list[tuple[np.ndarray | None, Callable[[], Any]]] = []
        self.before: list[tuple[np.ndarray, np.ndarray]] = []

    def __enter__(self) -> Tape:
        assert Tape.now is None, "one recording within another"
        Tape.now = self
        return self

    def __exit__(self, *error: Any) -> None:
        Tape.now = None
        for array, old in reversed(self.before):
            array[...] = old

    def again(self) -> None:
        for result, step in self.steps:
            new = step()
            if isinstance(result, np.ndarray) and new is not result:
                result[...] = new

    @classmethod
    def note(cls, step: Callable[[], Any], writes: Sequence[Any] = ()) -> Any:
        """Do ``step``, which writes into these arrays, and remember it."""
        if cls.now is None:
            return step()
        cls.now.before += [(array, array.copy()) for array in writes if isinstance(array, np.ndarray)]
        result = step()
        result = np.asarray(result) if isinstance(result, np.generic) else result
        cls.now.steps.append((result, step))
        return result

    @classmethod
    def forbid(cls, what: str) -> None:
        if cls.now is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {what}")


def inner(x: Any) -> Any:
    """The NumPy array inside, for a StrictArray or a container of them; anything NumPy's own is refused."""
    if isinstance(x, StrictArray):
        return x._array
    if isinstance(x, tuple | list):
        return type(x)(inner(one) for one in x)
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return x


def outer(x: Any, kind: type[StrictArray]) -> Any:
    if isinstance(x, tuple):
        return tuple(outer(one, kind) for one in x)
    return kind(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


def applied(kind: type[StrictArray], function: Callable[..., Any], args: Any, options: Any, writes: Any = ()) -> Any:
    """The function of what is inside, as one step of a recording."""
    given, named = inner(tuple(args)), {name: inner(x) for name, x in options.items()}
    writes = [*writes, *([named["out"]] if named.get("out") is not None else [])]
    return outer(Tape.note(lambda: function(*given, **named), writes), kind)


def product(function: Callable[..., Any]) -> Callable[..., Any]:
    """Matrix products of halves are summed in float32, as cuBLAS does when CuPy calls it."""

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
            return outer(value, type(self))
        if name in ("item", "tolist"):
            Tape.forbid(name)
            return value
        if name in METHODS:
            return lambda *args, **options: applied(type(self), value, args, options)
        raise AttributeError(f"StrictArray has no {name}")

    def __getitem__(self, key: Any) -> StrictArray:
        key = self._key(key)
        return outer(Tape.note(lambda: self._array[key]), type(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, (StrictArray, *SCALARS)):
            raise TypeError(f"cannot store a {type(value)}")
        key, stored = self._key(key), inner(value)
        Tape.note(lambda: self._array.__setitem__(key, stored), [self._array])

    def _key(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        for part in parts:
            if not isinstance(part, (StrictArray, int, slice, type(None), type(Ellipsis))):
                raise TypeError(f"cannot index with a {type(part)}")
            if isinstance(part, StrictArray) and part.dtype == bool:
                Tape.forbid("as many elements as are True")
        return inner(key)

    def __len__(self) -> int:
        return len(self._array)

    def __int__(self) -> int:
        Tape.forbid("int()")
        return int(self._array)

    def __float__(self) -> float:
        Tape.forbid("float()")
        return float(self._array)

    def __bool__(self) -> bool:
        Tape.forbid("bool()")
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
StrictArray.__module__ = "strict"  # how a backend is found from an array: by the root of its type's module


class StrictModule:
    """CuPy's functions, by name; refuses those it lacks, and NumPy arrays in any argument."""

    int64, float32, float64, newaxis, inf = np.int64, np.float32, np.float64, None, np.inf
    array_type = StrictArray

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in CUPY_FUNCTIONS:
            raise AttributeError(f"the stand-in for CuPy has no {name}")
        if name == "nonzero":
            Tape.forbid("as many elements as are True")
        function = product(np.matmul) if name == "matmul" else getattr(np, name)
        return lambda *args, **options: applied(self.array_type, function, args, options)

    def empty(self, shape: Any, dtype: Any = float) -> StrictArray:
        """Fresh memory holds anything: here what makes a NaN of all that it touches."""
        made = applied(self.array_type, np.empty, [shape], {"dtype": dtype})
        if made.dtype.kind in "fV":
            made[...] = float("nan")
        return made

    def asarray(self, x: Any, dtype: Any = None) -> StrictArray:
        """The explicit way in."""
        if isinstance(x, StrictArray):
            return x
        Tape.forbid("an array from the host")
        return self.array_type(np.array(x, dtype=dtype))


class StrictBackend(Backend):
    """The stand-in as a backend; registered by the tests under the name "strict"."""

    name, array_type = "strict", StrictArray
    float_dtypes = ("float32", "float64", "float16")

    def __init__(self) -> None:
        self.xp = StrictModule()

    def to_numpy(self, x: Any) -> np.ndarray:
        Tape.forbid("an array for the host")
        return x._array

    def erf(self, x: Any) -> Any:
        return applied(StrictArray, erf, [x], {})

    def can_capture(self, rows: int, capacity: int, head_size: int, dtype: str) -> bool:
        return rows <= 8

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        step()
        with Tape() as tape:
            step()
        return tape.again
