"""Measure rounding noise: the same calls in lower precisions, with every sum in a different order.

Budgets are measured, not chosen. The model computes in float32 (in float64 for the precision float64), and each named
array is rounded to the precision as soon as it is computed. Implementations in bfloat16 and float16 work the same way:
their norms, softmax, activations and sums use float32 internally. Each sum (of a matrix product, a mean or a softmax)
adds its terms in an order drawn from a seed.

Quantized weights are dequantized to float32, and these values are rounded to the precision, as products of other
implementations round them. In the precision ``int8-dynamic`` the rows of these products are rounded to 8 bits; all else
is float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minibiogpt.backend import ignore_overflow
from minibiogpt.files.safetensors import convert_dtype, widened
from minibiogpt.golden.format.case import EIGHT_BITS, PRECISIONS, index_weights, sums_of
from minibiogpt.golden.format.eight_bits import rounds_inputs, with_rounded_inputs
from minibiogpt.golden.format.weights import as_floats
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Recorder, Tap

FACTOR = 8  # budget / largest error of the runs
SEEDS = 4  # runs in each precision

# Unit roundoff: the largest relative error of one rounding. Noise is at least this times the largest absolute value.
# Arrays of int8-dynamic are float32: only the rows of a product are rounded further.
ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11, EIGHT_BITS: 2.0**-24}


class Reordered(np.ndarray):
    """An array whose matrix products and sums add their terms in an order drawn from its ``rng``."""

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
    """Return a view of x as a Reordered array; anything but a float array is returned unchanged."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return x
    view = x.view(Reordered)
    view.rng = rng
    return view


def _product(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a @ b; each sum is split at random into one to four partial sums of randomly ordered terms."""
    parts = np.array_split(rng.permutation(a.shape[-1]), rng.integers(1, 5))
    total = a[..., parts[0]] @ b[..., parts[0], :]
    for part in parts[1:]:
        total += a[..., part] @ b[..., part, :]
    return total


def _sum(rng: np.random.Generator, x: np.ndarray, axis: Any = None, **options: Any) -> Any:
    """Return the sum over one axis, with its terms in random order."""
    if isinstance(axis, int):
        x = np.take(x, rng.permutation(x.shape[axis]), axis=axis)
    return np.add.reduce(x, axis=axis, **options)


@ignore_overflow
def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """Return x rounded to the precision, in x's own dtype; the value of masked scores stays."""
    if precision not in ("bfloat16", "float16") or x.dtype.kind != "f":
        return x
    lowest = np.finfo(x.dtype).min
    if precision == "float16":
        nearest = x.astype(np.float16)
    else:
        nearest = widened(convert_dtype(np.asarray(x, np.float32, order="C"), "F32", "BF16"), "BF16")
    return np.where(x == lowest, lowest, nearest.astype(x.dtype)).astype(x.dtype, copy=False)


class Noise(Recorder):
    """A recorder that rounds and reorders every array of a call, and keeps its distance from the reference.

    Attributes
    ----------
    errors : {name: largest absolute error}, infinite if an element is not finite.
    sums : {name: noise of the four sums}.
    """

    def __init__(self, reference: Mapping[str, np.ndarray], precision: str, seed: int) -> None:
        super().__init__(None)
        self.reference, self.precision, self.rng = reference, precision, np.random.default_rng(seed)
        self.errors: dict[str, float] = {}
        self.sums: dict[str, np.ndarray] = {}

    def intercept(self, name: str, x: np.ndarray) -> np.ndarray:
        x = rounded(_plain(x), self.precision)
        if name in self.reference:
            self.errors[name], self.sums[name] = errors_of(x, self.reference[name])
        return reordered(x, self.rng)

    def wants(self, names: Any) -> bool:
        return True


def errors_of(x: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest absolute error, masked scores excluded, and the noise of the four sums.

    The noise of a sum is its error, or its ``_spread`` if that is larger: a single sum may be exact by chance.
    """
    visible = reference > np.finfo(np.float64).min if reference.dtype.kind == "f" else np.True_
    actual, expected = np.where(visible, x, 0), np.where(visible, reference, 0)
    if not np.isfinite(actual).all():
        return float("inf"), np.full(4, np.inf)
    error = actual - expected
    spread = [_spread(terms) for terms in sum_error_terms(expected, error)]
    return float(np.abs(error).max()), np.maximum(np.abs(sums_of(actual) - sums_of(expected)), spread)


def sum_error_terms(x: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return, for each of the four sums of x, the terms of its first-order error, given each element's error."""
    return error, np.sign(x) * error, 2 * x * error, index_weights(x.size).reshape(x.shape) * error


def _spread(x: np.ndarray) -> float:
    """Return the typical size of a sum of such errors with random signs: the root of the sum of their squares.

    Errors along an axis may be correlated, such as those of one value that all positions average. So each axis is
    also summed first, and the largest result counts.

    Examples
    --------
    >>> _spread(np.array([[3.0, -4.0]])), _spread(np.array([[3.0, 4.0], [3.0, 4.0]]))
    (5.0, 10.0)
    """
    sums = [x, *(x.sum(axis=axis) for axis in range(x.ndim))]
    return max(math.sqrt(np.square(terms).sum()) for terms in sums)


def measure_noise(
    model: Pretrained, calls: Sequence[Mapping[str, Any]], reference: Mapping[str, np.ndarray], seeds: int
) -> dict[str, tuple[dict[str, float], dict[str, np.ndarray]]]:
    """Return {precision: (errors, errors of the sums)}: for each array, the largest of ``seeds`` runs."""
    found = {}
    for precision in precisions_of(model):
        errors: dict[str, float] = {}
        sums: dict[str, np.ndarray] = {}
        for seed, rounded_model in enumerate(_models(model, precision, seeds)):
            noise = Noise(reference, precision, seed)
            run_calls(rounded_model, [_rounded_inputs(call, precision) for call in calls], noise)
            errors = {name: max(error, errors.get(name, 0.0)) for name, error in noise.errors.items()}
            sums = {name: np.maximum(error, sums.get(name, 0.0)) for name, error in noise.sums.items()}
        found[precision] = errors, sums
    return found


def precisions_of(model: Pretrained) -> tuple[str, ...]:
    """Return the precisions that the model has budgets in."""
    return (*PRECISIONS, EIGHT_BITS) if rounds_inputs(model) else PRECISIONS


def _models(model: Pretrained, precision: str, seeds: int) -> Iterator[Pretrained]:
    """Yield the model of each run in one precision."""
    one = in_precision(model, precision)
    for seed in range(seeds):
        yield with_rounded_inputs(one, model, seed) if precision == EIGHT_BITS else one


def in_precision(model: Pretrained, precision: str) -> Pretrained:
    """Return the model with its weights, dequantized, rounded to the precision, computing in float32.

    For float64 they are only dequantized.
    """
    if precision == "float64":
        return as_floats(model)
    weights = {name: rounded(x.astype(np.float32), precision) for name, x in model.named_values()}
    unprefixed = {name.removeprefix("biogpt."): x for name, x in weights.items()}
    return type(model)(model.config, unprefixed, model.backend, "eager")


def _rounded_inputs(call: Mapping[str, Any], precision: str) -> dict[str, Any]:
    arrays = {name: np.asarray(x) for name, x in call.items()}
    return {name: rounded(x, precision) for name, x in arrays.items()}


def run_calls(model: Pretrained, calls: Sequence[Mapping[str, Any]], recorder: Recorder) -> None:
    """Run the calls in order, each on the cache of the previous one; several calls are recorded as steps."""
    cache = None
    for n, call in enumerate(calls):
        tap = Tap(recorder) if len(calls) == 1 else Tap(recorder).step(n)
        cache_options = {"past_key_values": cache, "use_cache": True} if len(calls) > 1 else {}
        output = model(**call, **cache_options, tap=tap, return_dict=True)
        cache = getattr(output, "past_key_values", None)
