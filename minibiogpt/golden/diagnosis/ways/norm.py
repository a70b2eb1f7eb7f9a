"""The layer norm, as ports do it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.run import AFTER, At
from minibiogpt.golden.diagnosis.ways.attempt import SAME, Attempt, Knobs, factor_between, is_other, nice, relative

EPS = 1e-5
ATTENTION_NORM, FEED_NORM, FINAL = "layers.{l}.self_attn_layer_norm", "layers.{l}.final_layer_norm", "layer_norm"
NORMS = (ATTENTION_NORM, FEED_NORM, FINAL)
OUT, FC2, RESIDUAL, LAYER = "layers.{l}.self_attn.out_proj", "layers.{l}.fc2", "layers.{l}.attn_residual", "layers.{l}"
PROJECTIONS = tuple(f"layers.{{l}}.self_attn.{x}_proj" for x in "qkv")
FC1 = "layers.{l}.fc1"
AXES: dict[str, tuple[int, ...]] = {"D": (-1,), "T": (1,), "T and D": (1, 2), "B and T": (0, 1)}
GUESSES = (1e-12, 1e-6, 1e-8, 1e-3, 1e-4, 0.0)  # eps of the config, and of other models


def norm(
    at: At,
    *,
    eps: float = EPS,
    outside: bool = False,
    ddof: int = 0,
    centre: str = "both",
    gain: bool = True,
    bias: bool = True,
    weights: str | None = None,
    x: Any = None,
    axis: str = "D",
    skip: bool = False,
    times: int = 1,
    first: str | None = None,
    bias_of: str | None = None,
    bias_times: float = 1.0,
    gain_of: str | None = None,
    gain_times: float = 1.0,
    gain_plus: float = 0.0,
) -> np.ndarray:
    """Return (x - mean) / sqrt(var + eps) * g + b, in one of the ways of the knobs.

    Parameters
    ----------
    outside : add eps to the root instead of under it.
    ddof : divide the squares by n - ddof.
    centre : where the mean is subtracted: "both", "numerator", "variance" or "none".
    weights : path of the norm that gain and bias are taken from; {l} is this layer.
    x : name of the array that is normalized, or names whose sum is.
    skip : return x unchanged. times : how often to normalize. first : path of a norm that is applied before.
    bias_of, gain_of : names of other parameters. bias_times, gain_times : factors. gain_plus : added to the gain.
    """
    h = at["x"] if x is None else at.array(x)
    h = h if first is None else plain_norm(at, h, first)
    if skip:
        return h
    path = at.step.where["g"].removesuffix(".weight") if weights is None else weights
    g = at.weight(gain_of or f"{path}.weight") * gain_times + gain_plus
    b = at.weight(bias_of or f"{path}.bias") * bias_times
    for _ in range(times):
        axes = AXES[axis]
        n = int(np.prod([h.shape[a] for a in axes]))
        centred = h - h.mean(axis=axes, keepdims=True)
        top = centred if centre in ("both", "numerator") else h
        under = centred if centre in ("both", "variance") else h
        variance = np.square(under).sum(axis=axes, keepdims=True) / max(1, n - ddof)
        root = np.sqrt(variance) + eps if outside else np.sqrt(variance + eps)
        h = top / root * (g if gain else 1.0) + (b if bias else 0.0)
    return h


def plain_norm(at: At, x: np.ndarray, path: str) -> np.ndarray:
    """Return the norm of x with the weights at ``path``, as it should be."""
    centred = x - x.mean(-1, keepdims=True)
    root = np.sqrt(np.square(centred).mean(-1, keepdims=True) + EPS)
    return centred / root * at.weight(f"{path}.weight") + at.weight(f"{path}.bias")


def attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    """Yield the causes at one norm; eps is estimated from y, the candidate's result."""

    def one(cause: str, estimated: tuple[str, ...] = (), rank: int = 0, **way: Any) -> Attempt:
        shown = {key: value for key, value in way.items() if key in ("eps", "weights", "axis", "ddof")}
        return Attempt(cause, {at.template: way}, shown, estimated, rank)

    if y is None:  # where the norms' results are not known, a mistake in all of them shows at once
        yield from (
            replace(attempt, changes=dict.fromkeys(NORMS, attempt.changes[at.template])) for attempt in _alike(one)
        )
        other = {ATTENTION_NORM: FEED_NORM, FEED_NORM: ATTENTION_NORM}.get(at.template)
        for part, kind in (("gain", "weight"), ("bias", "bias")) if other else ():
            name, words = relative(f"{other}.{kind}".replace("{l}", str(at.layer)), at.layer)
            yield Attempt(f"norm-{part}-other", {at.template: {f"{part}_of": name}}, {"weights": words}, (), 1)
    yield from _alike(one)
    for eps in _eps(at, y, knobs, outside=False):
        yield one("norm-eps", ("eps",), 1, eps=eps)
    for eps in _eps(at, y, knobs, outside=True):
        yield one("norm-eps-outside-root", ("eps",), 1, eps=eps, outside=True)
    yield from _other_parameters(at, y, knobs)
    for axis in AXES:
        if axis != "D" and not (axis == "B and T" and at.letters["B"] == 1):
            yield one("norm-axis", axis=axis)
    yield one("norm-final-missing" if at.template == FINAL else "norm-missing", skip=True)
    for weights in _others(at):
        same_part = weights.startswith("layers.") and weights.split(".")[2:] == _own(at).split(".")[2:]
        if same_part:
            layer = int(weights.split(".")[1])
            yield Attempt("layer-weights", {at.template: {"weights": weights}}, {"layer": layer}, (), 2)
        else:
            yield one("norm-weights", weights=weights, rank=1)
    yield from orders(at)


def _alike(one: Callable[..., Attempt]) -> Iterator[Attempt]:
    """Yield the causes that are usually made in all norms alike."""
    for eps in GUESSES:
        yield one("norm-eps", eps=eps)
    yield one("norm-variance-unbiased", ddof=1)
    yield one("norm-no-mean", centre="none")
    yield one("norm-no-mean", centre="numerator", rank=2)
    yield one("norm-no-mean", centre="variance", rank=2)
    yield one("norm-gain-missing", gain=False)
    yield one("norm-bias-missing", bias=False)
    yield replace(one("norm-gain-other", gain_plus=1.0), parameters={"added": 1.0})
    yield replace(one("norm-bias-other", bias_times=2.0), parameters={"factor": 2.0})
    yield one("norm-twice", times=2)
    yield one("norm-eps-outside-root", (), 1, eps=EPS, outside=True)


def _eps(at: At, y: np.ndarray | None, knobs: Knobs, outside: bool) -> Iterator[float]:
    """Yield the values of eps to try: the estimate and the round number next to it, or guesses without the result."""
    if y is None:
        return
    known = {key: value for key, value in knobs.items() if key not in ("eps", "outside", *AFTER)}
    try:
        with np.errstate(all="ignore"):
            h = norm(at, **(known | {"eps": 0.0, "gain": False, "bias": False}))
            g, b = (at[x] for x in "gb")
            z = (y - (b if known.get("bias", True) else 0.0)) / (g if known.get("gain", True) else 1.0)
            ratio = np.einsum("...d,...d->...", z, h) / np.einsum("...d,...d->...", h, h)  # root without / with eps
            source = at["x"] if known.get("x") is None else at.array(known["x"])
            deviation = source.std(axis=-1, ddof=known.get("ddof", 0))
            estimates = deviation / ratio - deviation if outside else np.square(deviation / ratio) - deviation**2
            weight = 1 / np.square(deviation if outside else deviation**2)  # small rows show eps best
            counted = np.isfinite(estimates) & np.isfinite(weight)
            estimate = float((estimates * weight)[counted].sum() / weight[counted].sum())
            best = float(estimates.flat[int(np.argmax(np.where(counted, weight, -1)))])
    except (ValueError, KeyError, ZeroDivisionError):
        return
    found = dict.fromkeys(value for e in (best, estimate) for value in (nice(e, 0.02), max(e, 0.0)))
    least = 1e-9 if outside else 0.0  # outside or inside, 0 is the same
    yield from (e for e in found if np.isfinite(e) and e >= least and (outside or abs(e / EPS - 1) > 1e-3))


PARTS = ("bias_of", "bias_times", "gain_of", "gain_times", "gain_plus")


def _other_parameters(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    """Yield what the gain alone, or the bias alone, is close to: another, a multiple, or the sum with a number."""
    if y is None or not (knobs.get("gain", True) and knobs.get("bias", True)):
        return
    known = {key: value for key, value in knobs.items() if key not in (*PARTS, *AFTER)}
    z, theirs = (x.reshape(-1, y.shape[-1]) for x in (norm(at, **known | {"gain": False, "bias": False}), y))
    g, b = (at[x] for x in "gb")

    def one(part: str, shown: dict[str, Any], **way: Any) -> Attempt:
        estimated = tuple(name for name in shown if name != "weights")
        return Attempt(f"norm-{part}-other", {at.template: way}, shown, estimated, 1)

    with np.errstate(all="ignore"):
        gain, bias = ((theirs - b) * z).sum(0) / np.square(z).sum(0), (theirs - z * g).mean(0)
    added = nice(float((gain - g).mean()))
    if abs(added) > SAME and is_other(gain, g + added):
        yield one("gain", {"added": added}, gain_plus=added)
    for part, found, own, source in (("gain", gain, g, "g"), ("bias", bias, b, "b")):
        c = factor_between(found, own)
        if c is not None and abs(c - 1) > SAME and is_other(found, c * own):
            yield one(part, {"factor": nice(c)}, **{f"{part}_times": nice(c)})
        for name in at.within.run.weights.like(at.step.where[source]):
            if is_other(found, at.weight(name)):
                template, words = relative(name, at.layer)
                yield one(part, {"weights": words}, **{f"{part}_of": template})


def _own(at: At) -> str:
    """Return the path of the norm itself."""
    return at.step.where["g"].removesuffix(".weight")


def _others(at: At) -> Iterator[str]:
    """Yield the paths of the model's other norms."""
    for name in at.within.run.weights.like(f"{_own(at)}.weight"):
        path = name.removesuffix(".weight")
        if path.endswith("layer_norm"):
            yield path


def orders(at: At) -> Iterator[Attempt]:
    """Yield the orders of steps that ports get wrong and that this step is part of."""
    yield from (attempt for attempt in [*_orders(at), *_other_layers(at)] if at.template in attempt.changes)


def _other_layers(at: At) -> Iterator[Attempt]:
    """Yield the attempts in which a layer uses all weights of another."""
    parts = [f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
    parts += ["fc1", "fc2", "self_attn_layer_norm", "final_layer_norm"]
    last = at.config.num_hidden_layers - 1
    for other, words in (("{reverse}", f"{last} - l"), ("{after}", "l + 1"), ("{before}", "l - 1")):
        changes = {f"layers.{{l}}.{part}": {"weights": f"layers.{other}.{part}"} for part in parts}
        if last:
            yield Attempt("layer-weights", changes, {"layer": words}, (), 2)
    for layer in range(at.config.num_hidden_layers):
        if at.layer is not None and layer != at.layer:
            changes = {f"layers.{{l}}.{part}": {"weights": f"layers.{layer}.{part}"} for part in parts}
            yield Attempt("layer-weights", changes, {"layer": layer}, (), 1)


def _orders(at: At) -> Iterator[Attempt]:
    """Yield the orders of a layer's steps, named as a hook on each module or each role sees it."""
    late: dict[str, Knobs] = {FC1: {"bias": False}, "layers.{l}.activation_fn": {"bias_after": "fc1 lacks it"}}
    yield Attempt("bias-after-activation", late)
    behind, both = ("{x}", OUT), ("{x}", OUT, FC2)
    projections: dict[str, Knobs] = {path: {"x": FEED_NORM} for path in PROJECTIONS}
    swapped: dict[str, Knobs] = {
        ATTENTION_NORM: {"x": behind},
        FEED_NORM: {"x": "{x}"},
        **projections,
        FC1: {"x": ATTENTION_NORM},
    }
    yield Attempt("norms-swapped", swapped | {RESIDUAL: {"terms": ("{x}",)}, LAYER: {"terms": both}})
    yield Attempt("norms-swapped", swapped | {ATTENTION_NORM: {"x": RESIDUAL}})
    other = {ATTENTION_NORM: "layers.{l}.final_layer_norm", FEED_NORM: "layers.{l}.self_attn_layer_norm"}
    yield Attempt("norms-swapped", {path: {"weights": weights} for path, weights in other.items()})
    post: dict[str, Knobs] = {path: {"x": "{x}"} for path in PROJECTIONS}
    post |= {ATTENTION_NORM: {"x": behind}, FC1: {"x": ATTENTION_NORM}}
    hooked: dict[str, Knobs] = {RESIDUAL: {"terms": (ATTENTION_NORM, FC2)}, LAYER: {"terms": (FEED_NORM,)}}
    yield Attempt("norm-post", post | hooked)
    roles: dict[str, Knobs] = {
        ATTENTION_NORM: {"x": RESIDUAL},
        FEED_NORM: {"x": (ATTENTION_NORM, FC2)},
        LAYER: {"terms": (FEED_NORM,)},
    }
    yield Attempt("norm-post", post | roles)
    parallel: dict[str, Knobs] = {RESIDUAL: {"terms": ("{x}",)}, LAYER: {"terms": both}}
    yield Attempt("parallel-layers", parallel)
    yield Attempt("parallel-layers", {FEED_NORM: {"x": "{x}"}})
    early: dict[str, Knobs] = {
        ATTENTION_NORM: {"first": "layer_norm"},
        RESIDUAL: {"first": "layer_norm"},
        FINAL: {"skip": True},
    }
    yield Attempt("norm-final-early", early, {}, (), 1)
    before = f"layers.{at.config.num_hidden_layers - 2}" if at.config.num_hidden_layers > 1 else "embeddings"
    named: dict[str, Knobs] = {
        ATTENTION_NORM: {"x": "layer_norm"},
        RESIDUAL: {"terms": ("layer_norm", OUT)},
        FINAL: {"x": before},
    }
    yield Attempt("norm-final-early", named, {}, (), 2)
