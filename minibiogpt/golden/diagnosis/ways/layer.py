"""Residual sums and the activation, as ports do them otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minibiogpt.backend.erf import erf
from minibiogpt.golden.diagnosis.run import At
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs
from minibiogpt.golden.diagnosis.ways.norm import ATTENTION_NORM, FC2, FEED_NORM, OUT, RESIDUAL, orders, plain_norm
from minibiogpt.golden.diagnosis.ways.precision import reduced

ACTIVATION = "layers.{l}.activation_fn"


def _tanh_gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _erf_25(x: np.ndarray) -> np.ndarray:
    """Return erf as Abramowitz and Stegun approximate it in 7.1.25, with an error below 2.5e-5."""
    t = 1 / (1 + 0.47047 * np.abs(x))
    return np.sign(x) * (1 - t * (0.3480242 + t * (-0.0958798 + t * 0.7478556)) * np.exp(-x * x))


def _erf_26(x: np.ndarray) -> np.ndarray:
    """Return erf as Abramowitz and Stegun approximate it in 7.1.26, with an error below 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    p = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    return np.sign(x) * (1 - t * p * np.exp(-x * x))


FORMULAS = ("7.1.25", "7.1.26")
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": _gelu,
    "gelu-tanh": _tanh_gelu,
    "7.1.25": lambda x: x * (1 + _erf_25(x / math.sqrt(2))) / 2,
    "7.1.26": lambda x: x * (1 + _erf_26(x / math.sqrt(2))) / 2,
    "gelu-sigmoid": lambda x: x * _sigmoid(1.702 * x),
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu squared": lambda x: np.square(np.maximum(x, 0)),
    "leaky relu 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)),
}
IDS = {"gelu-tanh": "gelu-tanh", "gelu-sigmoid": "gelu-sigmoid", "none": "activation-missing"}
IDS |= dict.fromkeys(FORMULAS, "gelu-erf")
USUAL = {"gelu_new": "gelu-tanh"}


def activation(
    at: At, *, function: str | None = None, table: str | None = None, bias_after: str = "", x: str | None = None
) -> np.ndarray:
    """Return the activation; with ``table``, of x rounded to a precision, and rounded to it.

    Parameters
    ----------
    bias_after : add the bias of fc1 behind the activation: "fc1 lacks it", or "fc1 has it" if its result holds it too.
    """
    h = at["x"] if x is None else at.array(x)
    f = FUNCTIONS[function or USUAL.get(at.config.hidden_act, at.config.hidden_act)]
    b = at.weight("layers.{l}.fc1.bias")
    if bias_after:
        h = h - b if bias_after == "fc1 has it" else h
        return f(h) + b
    return f(h) if table is None else reduced(f(reduced(h, table)), table)


def activation_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    usual = USUAL.get(at.config.hidden_act, at.config.hidden_act)
    for name in FUNCTIONS:
        if name != usual:
            shown = {"formula": name} if name in FORMULAS else {} if name in IDS else {"function": name}
            yield Attempt(IDS.get(name, "activation-other"), {ACTIVATION: {"function": name}}, shown)
    for name in ("gelu", "gelu-tanh", "gelu-sigmoid", "silu"):
        shown = {"of": "the activation", "function": name}
        rank = 1 if name == usual else 2
        yield Attempt("table-float16", {ACTIVATION: {"function": name, "table": "float16"}}, shown, (), rank)
        yield Attempt("precision-bfloat16", {ACTIVATION: {"function": name, "table": "bfloat16"}}, shown, (), 3)
    yield from orders(at)
    yield Attempt("bias-after-activation", {ACTIVATION: {"bias_after": "fc1 has it"}}, {}, (), 1)


def residual(
    at: At, *, terms: tuple[str, ...] | None = None, branch: Any = 1.0, first: str | None = None
) -> np.ndarray:
    """Return the sum of two arrays, or of those that ``terms`` names.

    Parameters
    ----------
    branch : multiplies the second. first : path of a norm that is applied to the first.
    """
    if terms is not None:
        return at.array(terms)
    x = at["x"] if first is None else plain_norm(at, at["x"], first)
    return x + at["a" if "a" in at.step.where else "f"] * branch


def residual_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, terms: tuple[str, ...], rank: int = 0, **shown: Any) -> Attempt:
        return Attempt(cause, {at.template: {"terms": terms}}, shown, (), rank)

    yield from orders(at)
    if at.template == RESIDUAL:
        yield one("residual-missing", (OUT,), of="attention")
        yield one("residual-from-norm", (ATTENTION_NORM, OUT))
        yield one("layer-skipped", ("{x}",), 2, part="attention")
        return
    yield one("residual-missing", (FC2,), of="the feed-forward network")
    yield one("residual-from-norm", (FEED_NORM, FC2))
    yield one("residual-from-norm", (ATTENTION_NORM, FC2), 1)
    yield one("layer-skipped", ("{x}",), part="the layer")
    yield one("layer-skipped", (RESIDUAL,), 1, part="the feed-forward network")
    yield one("residual-missing", ("{x}", FC2), 1, of="attention")
