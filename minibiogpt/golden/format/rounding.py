"""What rounding can do: the same calls in lower precisions, with every sum in another order.

A budget is not chosen but measured. The model runs in float32 (or float64); each named array is rounded to the
precision where it is made, as an implementation in that precision does, whose norms, softmax, activations and sums
keep float32 inside; and each sum, of a matrix product, a mean or a softmax, is taken in an order drawn from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minibiogpt.backend import ignore_overflow
from minibiogpt.files.safetensors import convert_dtype, widened
from minibiogpt.golden.format.case import PRECISIONS, sums_of, weights_of
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Recorder, Tap

FACTOR = 8  # the budget is this many times the largest error of the runs
SEEDS = 4  # runs in each precision

# How far one rounding can move a number, as a part of it: the noise is never less than that of the largest value.
ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


class Reordered(np.ndarray):
    """An array whose matrix products and sums run in an order drawn from its ``rng``."""

    rng: np.random.Generator

    def __array_finalize__(self, source: Any) -> None:
        if source is not None and hasattr(source, "rng"):
            self.rng = source.rng

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        rng = next(x.rng for x in (*inputs, *(out or ())) if isinstance(x, Reordered))
        plain = [_plain(x) for x in inputs]
        if out is not None:
            options["out"] = tuple(_plain(x) for x in out)
        if ufunc is np.matmul:
            result = _product(rng, *plain)
            if out is not None:
                options["out"][0][...] = result
        elif ufunc is np.add and method == "reduce":
            result = _sum(rng, *plain, **options)
        else:
            result = getattr(ufunc, method)(*plain, **options)
        return out[0] if out is not None and out[0] is not None else reordered(result, rng)


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Reordered) else x


def reordered(x: Any, rng: np.random.Generator) -> Any:
    """The same numbers as a Reordered array; what is no array of floats is as it is."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return x
    view = x.view(Reordered)
    view.rng = rng
    return view


def _product(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, its sums cut at random into one to four parts of randomly ordered terms."""
    parts = np.array_split(rng.permutation(a.shape[-1]), rng.integers(1, 5))
    total = a[..., parts[0]] @ b[..., parts[0], :]
    for part in parts[1:]:
        total += a[..., part] @ b[..., part, :]
    return total


def _sum(rng: np.random.Generator, x: np.ndarray, axis: Any = None, **options: Any) -> Any:
    """The sum over one axis, its terms in a random order."""
    if isinstance(axis, int):
        x = np.take(x, rng.permutation(x.shape[axis]), axis=axis)
    return np.add.reduce(x, axis=axis, **options)


@ignore_overflow
def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """x to the nearest number of the precision, in x's own dtype; the mark of a hidden score stays."""
    if precision in ("float64", "float32") or x.dtype.kind != "f":
        return x
    lowest = np.finfo(x.dtype).min
    if precision == "float16":
        near = x.astype(np.float16)
    else:
        near = widened(convert_dtype(np.asarray(x, np.float32, order="C"), "F32", "BF16"), "BF16")
    return np.where(x == lowest, lowest, near.astype(x.dtype)).astype(x.dtype, copy=False)


class Noise(Recorder):
    """Rounds and reorders every array of a call, and keeps how far each is from the reference.

    Attributes
    ----------
    errors : {name: the largest absolute error}, infinite where a number is not finite.
    sums : {name: the noise of the four sums}.
    """

    def __init__(self, reference: Mapping[str, np.ndarray], precision: str, seed: int) -> None:
        super().__init__(None)
        self.reference, self.precision, self.rng = reference, precision, np.random.default_rng(seed)
        self.errors: dict[str, float] = {}
        self.sums: dict[str, np.ndarray] = {}

    def see(self, name: str, x: np.ndarray) -> np.ndarray:
        x = rounded(_plain(x), self.precision)
        if name in self.reference:
            self.errors[name], self.sums[name] = _errors(x, self.reference[name])
        return reordered(x, self.rng)

    def asks(self, names: Any) -> bool:
        return True


def _errors(x: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest absolute difference where the reference holds no mark, and the noise of the four sums.

    The noise of a sum is how far it is off, and at least its ``_spread``: one sum alone may come out right by chance.
    """
    counted = reference > np.finfo(np.float64).min if reference.dtype.kind == "f" else np.True_
    got, want = np.where(counted, x, 0), np.where(counted, reference, 0)
    if not np.isfinite(got).all():
        return float("inf"), np.full(4, np.inf)
    error = got - want
    spread = [_spread(part) for part in sum_parts(want, error)]
    return float(np.abs(error).max()), np.maximum(np.abs(sums_of(got) - sums_of(want)), spread)


def sum_parts(x: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, ...]:
    """What adds up to the error of each of the four sums of x, to first order, given the error of each element."""
    return error, np.sign(x) * error, 2 * x * error, weights_of(x.size).reshape(x.shape) * error


def _spread(x: np.ndarray) -> float:
    """What a sum of such errors comes to when their signs are those of chance: the root of the sum of squares.

    Errors along an axis may go together, as those of one value that all positions mix: each axis is also summed first.

    Examples
    --------
    >>> _spread(np.array([[3.0, -4.0]])), _spread(np.array([[3.0, 4.0], [3.0, 4.0]]))
    (5.0, 10.0)
    """
    sums = [x, *(x.sum(axis=axis) for axis in range(x.ndim))]
    return max(math.sqrt(np.square(one).sum()) for one in sums)


def measured(
    model: Pretrained, calls: Sequence[Mapping[str, Any]], reference: Mapping[str, np.ndarray], seeds: int
) -> dict[str, tuple[dict[str, float], dict[str, np.ndarray]]]:
    """{precision: (errors, errors of the sums)}: of each array the largest over ``seeds`` runs."""
    found = {}
    for precision in PRECISIONS:
        near = in_precision(model, precision)
        errors: dict[str, float] = {}
        sums: dict[str, np.ndarray] = {}
        for seed in range(seeds):
            noise = Noise(reference, precision, seed)
            run_calls(near, [_rounded_inputs(call, precision) for call in calls], noise)
            errors = {name: max(error, errors.get(name, 0.0)) for name, error in noise.errors.items()}
            sums = {name: np.maximum(error, sums.get(name, 0.0)) for name, error in noise.sums.items()}
        found[precision] = errors, sums
    return found


def in_precision(model: Pretrained, precision: str) -> Pretrained:
    """A model whose weights are rounded to the precision, and which computes in float32, or float64 for float64."""
    if precision == "float64":
        return model
    weights = {name: rounded(x.astype(np.float32), precision) for name, x in model.named_parameters()}
    short = {name.removeprefix("biogpt."): x for name, x in weights.items()}
    return type(model)(model.config, short, model.backend, "eager")


def _rounded_inputs(call: Mapping[str, Any], precision: str) -> dict[str, Any]:
    arrays = {name: np.asarray(x) for name, x in call.items()}
    return {name: rounded(x, precision) for name, x in arrays.items()}


def run_calls(model: Pretrained, calls: Sequence[Mapping[str, Any]], watch: Recorder) -> None:
    """The calls one after the other, each continuing the cache of the one before; of several, each is a step."""
    cache = None
    for n, call in enumerate(calls):
        tap = Tap(watch) if len(calls) == 1 else Tap(watch).step(n)
        kept = {"past_key_values": cache, "use_cache": True} if len(calls) > 1 else {}
        output = model(**call, **kept, tap=tap, return_dict=True)  # type: ignore[operator]
        cache = getattr(output, "past_key_values", None)
