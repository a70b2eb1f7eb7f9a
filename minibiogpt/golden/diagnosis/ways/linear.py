"""A product with a weight, plus a bias, as ports do it otherwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.run import AFTER, At
from minibiogpt.golden.diagnosis.ways.attempt import SAME, Attempt, Knobs, factor_between, is_other, nice, relative
from minibiogpt.golden.diagnosis.ways.norm import ATTENTION_NORM, FC1, FEED_NORM, FINAL, RESIDUAL, orders
from minibiogpt.golden.diagnosis.ways.packed import dequantized, mistakes_in
from minibiogpt.golden.diagnosis.ways.precision import GRIDS, quantized, reduced

QKV = ("q_proj", "k_proj", "v_proj")
HEADS = ("score", "logits")


def linear(
    at: At,
    *,
    transposed: bool = False,
    bias: bool = True,
    weights: str | None = None,
    x: Any = None,
    fused: str | None = None,
    grid: Any = None,
    unpacked: str | None = None,
    products: str | None = None,
    roll: int = 0,
    scale: float = 1.0,
    bias_of: str | None = None,
    bias_times: float = 1.0,
) -> np.ndarray:
    """Return x W^T + b, in one of the ways of the knobs.

    Parameters
    ----------
    transposed : x W; of a matrix that is not square, its numbers read in the other shape.
    weights : name of another weight, or path of another module, whose bias is taken too.
    x : name of the array that is multiplied.
    fused : how the rows of the fused matrix of q, k and v are read: "H 3 Dh", "3 Dh H", "H Dh 3" or "Dh H 3".
    grid : (bits, block, kind) of a quantized weight. products : the precision of the factors.
    unpacked : the mistake that is made in dequantizing a weight.
    roll : by how many rows the weight is moved. scale : factor on the product, before the bias.
    bias_of : name of another bias. bias_times : factor on the bias.
    """
    symbol = _weight_symbol(at)
    source = at.step.where[symbol]
    h = at[_input_symbol(at)] if x is None else at.array(x)
    where_bias = at.step.where.get("b")
    if weights is not None:
        source = weights if weights.endswith(".weight") else f"{weights}.weight"
        where_bias = None if where_bias is None else source.removesuffix("weight") + "bias"
    W = at.weight(source) if unpacked is None else dequantized(at.within.run.weights.packed(source), unpacked)
    b = at.weight(where_bias) if where_bias is not None and bias else None
    if fused is not None:
        W, b = _fused(at, fused)
    W = np.roll(W, roll, 0) if roll else W
    W = quantized(W, grid) if grid is not None else W
    if transposed:
        W = W.T if W.shape[0] == W.shape[1] else W.reshape(W.shape[1], W.shape[0]).T
    if products is not None:
        h, W = reduced(h, products), reduced(W, products)
    b = at.weight(bias_of) if bias_of is not None else b
    y = h @ W.T * scale
    return y if b is None else y + b * bias_times


def _weight_symbol(at: At) -> str:
    return "W" if "W" in at.step.where else "E"


def _input_symbol(at: At) -> str:
    return "h" if "h" in at.step.where else "x"


def _fused(at: At, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the fused weight of q, k and v that a port takes for this one, and its bias."""
    paths = [f"layers.{at.layer}.self_attn.{part}" for part in QKV]
    part = QKV.index(at.template.rpartition(".")[2])
    sizes = {"H": at.letters["H"], "3": 3, "Dh": at.letters["Dh"]}
    letters = order.split()
    found = []
    for kind in ("weight", "bias"):
        stacked = np.concatenate([at.weight(f"{path}.{kind}") for path in paths])
        split = stacked.reshape([sizes[letter] for letter in letters] + list(stacked.shape[1:]))
        taken = np.take(split, part, axis=letters.index("3"))
        if letters.index("Dh") < letters.index("H"):
            taken = taken.swapaxes(0, 1)
        found.append(taken.reshape(-1, *stacked.shape[1:]))
    return found[0], found[1]


def attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    """Yield the causes at one product with a weight."""

    def one(cause: str, rank: int = 0, shown: dict[str, Any] | None = None, estimated: tuple[str, ...] = (),
            **way: Any) -> Attempt:  # fmt: skip
        return Attempt(cause, {at.template: way}, shown or {}, estimated, rank)

    part, has_bias = at.template.rpartition(".")[2], "b" in at.step.where
    is_head = at.template in HEADS
    if has_bias:
        yield one("bias-missing", bias=False)
        yield from _other_bias(at, y, knobs)
    yield one("weight-transposed", transposed=True)
    yield from orders(at)
    yield from _other_weights(at, part)
    yield from _other_inputs(at, part)
    if part in QKV:
        yield from _exchanged()
        for order in ("H 3 Dh", "H Dh 3", "3 Dh H", "Dh H 3"):
            changes = {f"layers.{{l}}.self_attn.{other}": {"fused": order} for other in QKV}
            yield Attempt("qkv-layout", changes, {"order": order}, (), 1)
    yield from _factors(at, y, knobs, is_head)
    for products in ("tf32", "bfloat16", "float16"):
        yield one(f"precision-{products}", 2, {"of": "the factors of the product"}, products=products)
    for mistake in mistakes_in(at.within.run.weights.packed(at.step.where[_weight_symbol(at)])):
        yield one("weights-dequantized", 1, {"mistake": mistake}, unpacked=mistake)
    for grid in GRIDS:
        bits, block, kind = grid
        shown = {"bits": bits, "block": block, "kind": kind}
        yield one("weights-float16" if bits == 16 else f"weights-int{bits}", 2, shown, grid=grid)
    if is_head:
        for rows in (1, -1, 2, -2):
            yield one("logits-weights", 1, {"rows": rows}, roll=rows)


def _other_bias(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    """Yield the multiple of the bias, and the other biases, that are close to what is added to the product."""
    if y is None:
        yield Attempt("bias-other", {at.template: {"bias_times": 2.0}}, {"factor": 2.0})
    if y is None or not knobs.get("bias", True):
        return
    known = {key: value for key, value in knobs.items() if key not in ("bias_of", "bias_times", *AFTER)}
    added = (y - linear(at, **(known | {"bias": False}))).reshape(-1, y.shape[-1]).mean(0)
    b = at["b"]
    c = factor_between(added, b)
    if c is not None and is_other(added, c * b) and abs(c - 1) > SAME:
        yield Attempt("bias-other", {at.template: {"bias_times": nice(c)}}, {"factor": nice(c)}, ("factor",), 1)
    for name in at.within.run.weights.like(at.step.where["b"]):
        if is_other(added, at.weight(name)):
            template, words = relative(name, at.layer)
            yield Attempt("bias-other", {at.template: {"bias_of": template}}, {"weights": words}, (), 1)


def _exchanged() -> Iterator[Attempt]:
    """Yield the orders of q, k and v, each with the weights of another."""
    for order in itertools.permutations(QKV):
        changes = {
            f"layers.{{l}}.self_attn.{own}": {"weights": f"layers.{{l}}.self_attn.{other}"}
            for own, other in zip(QKV, order, strict=True)
            if own != other
        }
        if changes:
            shown = ", ".join(f"{own} has {other}'s" for own, other in zip(QKV, order, strict=True) if own != other)
            yield Attempt("qkv-order", changes, {"weights": shown})


def _other_weights(at: At, part: str) -> Iterator[Attempt]:
    """Yield attempts with the weights of other modules."""
    own = at.step.where[_weight_symbol(at)]
    for name in at.within.run.weights.like(own):
        path = name.removesuffix(".weight")
        if "b" in at.step.where and f"{path}.bias" not in at.within.run.weights:
            continue
        same_layer = at.layer is not None and name.startswith(f"layers.{at.layer}.")
        if at.template == "logits":
            yield Attempt("logits-weights", {at.template: {"weights": name}}, {"weights": name})
        elif same_layer:
            relative = path.replace(f"layers.{at.layer}.", "layers.{l}.", 1)
            shown = {"weights": relative.rpartition(".")[2]}
            cause = "qkv-order" if part in QKV else "weights-of-another"
            yield Attempt(cause, {at.template: {"weights": relative}}, shown, (), 1)
        elif name.startswith("layers.") and name.split(".")[2:] == own.split(".")[2:]:
            layer = int(name.split(".")[1])
            yield Attempt("layer-weights", {at.template: {"weights": path}}, {"layer": layer}, (), 2)


def _other_inputs(at: At, part: str) -> Iterator[Attempt]:
    """Yield attempts in which another array is multiplied."""
    if part in QKV:
        all_three = {f"layers.{{l}}.self_attn.{other}": {"x": "{x}"} for other in QKV}
        yield Attempt("norm-missing", all_three, {"norm": ATTENTION_NORM.rpartition(".")[2]})
        yield Attempt("norm-missing", {at.template: {"x": "{x}"}}, {"norm": ATTENTION_NORM.rpartition(".")[2]}, (), 1)
    if at.template == FC1:
        yield Attempt("norm-missing", {FC1: {"x": RESIDUAL}}, {"norm": FEED_NORM.rpartition(".")[2]})
        yield Attempt("norms-swapped", {FC1: {"x": ATTENTION_NORM}}, {}, (), 2)
    if at.template == "layers.{l}.fc2":
        yield Attempt("activation-missing", {at.template: {"x": FC1}})
    if at.template in HEADS:
        yield Attempt("norm-final-missing", {at.template: {"x": f"layers.{at.config.num_hidden_layers - 1}"}})
        if at.config.num_hidden_layers > 1:
            shown = {"part": "the last layer"}
            yield Attempt("layer-skipped", {FINAL: {"x": f"layers.{at.config.num_hidden_layers - 2}"}}, shown, (), 3)


def _factors(at: At, y: np.ndarray | None, knobs: Knobs, is_head: bool) -> Iterator[Attempt]:
    """Yield attempts with the product or the whole result multiplied by a number."""
    D, Dh = at.letters["D"], at.letters["Dh"]
    cause = "logits-scale" if is_head else "factor"
    if y is None:
        if is_head:
            for root in (math.sqrt(D), 1 / math.sqrt(D)):
                yield Attempt(cause, {at.template: {"scale": root}}, {"factor": root})
        return
    known = {key: value for key, value in knobs.items() if key not in ("scale", *AFTER)}
    try:
        whole = linear(at, **known)
        b = at["b"] if "b" in at.step.where and known.get("bias", True) else None
    except (ValueError, KeyError):
        return
    c = factor_between(y, whole)
    if c is not None and abs(c - 1) > 1e-6:
        shown = {"factor": c}
        if part_is_q(at) and abs(c * math.sqrt(Dh) - 1) < 1e-3:
            yield Attempt("convention", {at.template: {"factor": c}, **_unscaled()}, {"which": "q-scaled"}, (), 0)
        yield Attempt(cause, {at.template: {"factor": c}}, shown, ("factor",), 3)
    if b is not None:
        c = factor_between(y - b, whole - b)
        if c is not None and abs(c - 1) > 1e-6:
            yield Attempt(cause, {at.template: {"scale": c}}, {"factor": c}, ("factor",), 3)


def part_is_q(at: At) -> bool:
    return at.template.endswith((".q_proj", ".self_attn.q"))


def _unscaled() -> dict[str, Knobs]:
    return {"layers.{l}.self_attn.scores": {"scale": 1.0}}
