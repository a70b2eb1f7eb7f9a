"""Causes that are usually made at many steps at once: they show at once where few arrays are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.run import Site
from minibiogpt.golden.diagnosis.ways import attention, layer, mask, norm, table
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs, everywhere
from minibiogpt.golden.diagnosis.ways.precision import GRIDS

LINEAR = (*norm.PROJECTIONS, norm.OUT, norm.FC1, norm.FC2)
PRODUCTS = (*LINEAR, attention.SCORES, attention.CONTEXT)
RESULTS = (
    "embed_tokens", "embed_positions", "embeddings", *norm.NORMS, *LINEAR, attention.Q, attention.K, attention.V,
    attention.SCORES, mask.PROBS, attention.WEIGHTS, attention.CONTEXT, norm.RESIDUAL, layer.ACTIVATION, norm.LAYER,
    "logits", "score",
)  # fmt: skip
MODULES = ("embed_tokens", "embed_positions", *norm.NORMS, *LINEAR, layer.ACTIVATION, norm.LAYER, "logits", "score")
GROUPS = {
    "norms": ("self_attn_layer_norm", "final_layer_norm"),
    "attention": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "feed-forward network": ("fc1", "fc2"),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
    "q_proj": ("self_attn.q_proj",),
    "k_proj": ("self_attn.k_proj",),
    "v_proj": ("self_attn.v_proj",),
    "out_proj": ("self_attn.out_proj",),
}
RANGES: Mapping[tuple[str, str, str], tuple[float, float]] = {
    ("mask-finite", mask.MASKED, "add"): (-1e5, -1.0),
    ("norm-eps", norm.ATTENTION_NORM, "eps"): (1e-9, 1.0),
    ("attention-scale", attention.SCORES, "scale"): (1e-3, 1e2),
    ("embed-scale", "embed_tokens", "scale"): (1e-2, 1e4),
    ("positions-scaled", "embed_positions", "scale"): (1e-2, 1e3),
    ("logits-scale", "logits", "scale"): (1e-3, 1e3),
}
"""{(cause, template, knob): the range in which a number is looked for, where it cannot be estimated directly}."""
POINTS, THIRDS = 16, 60  # of the search for a number
SHOWN = {"add": "constant", "eps": "eps", "scale": "factor"}


def _alike(templates: Iterable[str], **knobs: Any) -> dict[str, Knobs]:
    return {template: knobs for template in templates}


def proposed(span: list[Site], layers: int) -> Iterator[tuple[Attempt, frozenset[Site]]]:
    """Yield the causes that are made at many steps of a span at once, and where: at all layers, or at one."""
    templates = {template for template, _ in span}
    for attempt in attempts(layers):
        if templates.isdisjoint(attempt.changes):
            continue
        if attempt.cause != "layer-weights":
            yield attempt, everywhere(attempt, layers)
            continue
        for one in sorted({one for _, one in span if one is not None} - {attempt.parameters["layer"]}):
            yield attempt, frozenset((template, one) for template in attempt.changes)


def numbers(templates: set[str], size: Callable[[Attempt], float]) -> Iterator[Attempt]:
    """Yield attempts with the number in its range that makes ``size(attempt)``, the error that is left, smallest."""
    for key, (low, high) in RANGES.items():
        if key[1] in templates:
            sign = math.copysign(1.0, high)

            def error(x: float, key: tuple[str, str, str] = key, sign: float = sign) -> float:
                return size(numbered(key, sign * math.exp(x)))

            ends = sorted((math.log(abs(low)), math.log(abs(high))))
            yield numbered(key, sign * math.exp(_smallest(error, *ends)))


def _smallest(f: Callable[[float], float], low: float, high: float) -> float:
    """Return where f is smallest in a range: the best of some points, then by thirds around it."""
    points = np.linspace(low, high, POINTS)
    best = int(np.argmin([f(x) for x in points]))
    a, b = float(points[max(best - 1, 0)]), float(points[min(best + 1, POINTS - 1)])
    for _ in range(THIRDS):
        one, two = a + (b - a) / 3, b - (b - a) / 3
        a, b = (a, two) if f(one) <= f(two) else (one, b)
    return (a + b) / 2


def attempts(layers: int) -> Iterator[Attempt]:
    """Yield causes at many steps at once, of a model with this many layers."""
    for precision in ("tf32", "bfloat16", "float16"):
        words = {"of": "the factors of the products"}
        yield Attempt(f"precision-{precision}", _alike(PRODUCTS, products=precision), words, (), 3)
        yield Attempt(f"precision-{precision}", _alike(LINEAR, products=precision), words, (), 3)
    for precision in ("bfloat16", "float16"):
        for results in (RESULTS, MODULES):
            yield Attempt(f"precision-{precision}", _alike(results, held=precision), {}, (), 3)
    for grid in GRIDS:
        bits, block, kind = grid
        shown = {"bits": bits, "block": block, "kind": kind}
        cause = "weights-float16" if bits == 16 else f"weights-int{bits}"
        yield Attempt(cause, _alike(LINEAR, grid=grid), shown, (), 3)
    for other in range(layers):
        for what, parts in GROUPS.items():
            changes: dict[str, Knobs] = {f"layers.{{l}}.{x}": {"weights": f"layers.{other}.{x}"} for x in parts}
            yield Attempt("layer-weights", changes, {"layer": other, "of": what}, (), 3)


def numbered(key: tuple[str, str, str], value: float) -> Attempt:
    """Return the attempt of one of ``RANGES`` with a number."""
    cause, template, knob = key
    templates = norm.NORMS if cause == "norm-eps" else (template,)
    shown: dict[str, Any] = {"scale" if cause == "attention-scale" else SHOWN[knob]: value}
    if cause == "mask-finite":
        shown["how"] = "added"
    return Attempt(cause, _alike(templates, **{knob: value}), shown, tuple(shown)[:1], 2)


def again(found: Iterable[Attempt], templates: set[str]) -> Iterator[Attempt]:
    """Yield attempts that have explained something already, at other steps of the same kind, of these templates."""
    for attempt in found:
        if len(attempt.changes) > 1 or attempt.local:
            continue
        ((own, knobs),) = attempt.changes.items()
        for kind in (list(table.TABLE),) if "held" in knobs else (norm.NORMS, table.LINEAR):
            for template in kind if own in kind else ():
                if template != own and template in templates:
                    yield replace(attempt, changes={template: knobs}, rank=-1)
