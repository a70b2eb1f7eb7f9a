"""The precision ``int8-dynamic``: the rows that a quantized weight is multiplied with are rounded to 8 bits first.

Ports do this in several ways, which are all right: with or without a zero point, and with one scale for each row, for
the whole tensor or for each block. Each run of the measurement takes the next way, so that the budgets cover all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minibiogpt.backend import Array
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.quantization import format_of

Way = Callable[[np.ndarray], np.ndarray]  # (M, K) -> (M, K), rounded to 8 bits


def symmetric(x: np.ndarray, axis: int | None = -1, scale_dtype: str = "float32") -> np.ndarray:
    """Return x as multiples, from -127 to 127, of a 127th of the largest absolute value along ``axis`` (None: of all).

    Source: LLM.int8 (Dettmers et al. 2022), with a scale for each row; ggml's q8_0, with one in float16 for each block.

    Examples
    --------
    >>> symmetric(np.array([[1.27, -0.304]])).round(6).tolist()
    [[1.27, -0.3]]
    """
    step = np.abs(x).max(axis=axis, keepdims=True) / 127
    stored = step.astype(scale_dtype).astype(x.dtype)
    return np.rint(x / np.where(step > 0, step, 1)) * stored


def asymmetric(x: np.ndarray, axis: int | None = -1) -> np.ndarray:
    """Return x as one of 256 numbers between its smallest and its largest value, one of which is 0.

    Source: DynamicQuantizeLinear of ONNX (one scale for the tensor), and PyTorch's dynamic quantization.

    Examples
    --------
    >>> asymmetric(np.array([[2.0, -0.55, 0.0042]])).round(6).tolist()
    [[2.0, -0.55, 0.0]]
    """
    low = np.minimum(x.min(axis=axis, keepdims=True), 0)
    step = (np.maximum(x.max(axis=axis, keepdims=True), 0) - low) / 255
    step = np.where(step > 0, step, 1).astype(x.dtype)
    zero = np.rint(-low / step)
    return (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step


def in_blocks(x: np.ndarray, scale_dtype: str, block: int = 32) -> np.ndarray:
    """Return x with each block of columns rounded by itself, as ggml rounds the rows for q8_0 and q4_0."""
    return symmetric(x.reshape(len(x), -1, block), -1, scale_dtype).reshape(x.shape)


BY_ROW: tuple[Way, ...] = (
    symmetric,
    asymmetric,
    partial(symmetric, axis=None),
    partial(asymmetric, axis=None),
)
BY_BLOCK: tuple[Way, ...] = (partial(in_blocks, scale_dtype="float32"), partial(in_blocks, scale_dtype="float16"))
WAYS = {"int8": BY_ROW, "int8-dynamic": BY_ROW, "q8_0": BY_BLOCK, "q4_0": BY_BLOCK}
"""The ways to round rows, by the format of the weight that they are multiplied with."""


class RoundedInputs(PackedWeight):
    """A weight (N, K) of floats, whose product rounds the rows that it gets."""

    def __init__(self, weight: np.ndarray, way: Way) -> None:
        self.weight, self.way = weight, way
        self.shape, self.dtype = (len(weight), weight.shape[1]), weight.dtype

    @property
    def arrays(self) -> tuple[Array, ...]:
        return (self.weight,)

    def with_arrays(self, change: Callable[[Array], Array]) -> RoundedInputs:
        return RoundedInputs(change(self.weight), self.way)

    def part(self, start: int, stop: int) -> RoundedInputs:
        return RoundedInputs(self.weight[start:stop], self.way)

    def unpack(self, out: np.ndarray) -> None:
        out[...] = self.weight

    def quantized(self, x: np.ndarray) -> RoundedInputs:
        return RoundedInputs(x, self.way)

    def prepared(self, rows: np.ndarray) -> np.ndarray:
        return self.way(rows)

    def multiply(self, rows: np.ndarray, product: Any, tile: np.ndarray, out: np.ndarray) -> None:
        product.multiply(rows, self.weight, out)


def rounds_inputs(model: Pretrained) -> bool:
    """Whether ports of the model's formats round the rows of a product, so that ``int8-dynamic`` is a precision."""
    return any(format_of(x) in WAYS for x in model.parameters() if isinstance(x, PackedWeight))


def with_rounded_inputs(model: Pretrained, quantized: Pretrained, run: int) -> Pretrained:
    """Return the model with products that round their rows, where those of ``quantized`` have quantized weights.

    Parameters
    ----------
    model : of floats. quantized : the same model, with quantized weights.
    run : the number of the run, which chooses the way.
    """
    weights = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
    for name, x in quantized.named_parameters():
        if isinstance(x, PackedWeight) and (ways := WAYS.get(format_of(x))):
            key = name.removeprefix("biogpt.")
            weights[key] = RoundedInputs(weights[key], ways[run % len(ways)])
    return type(model)(model.config, weights, model.backend, "eager")
