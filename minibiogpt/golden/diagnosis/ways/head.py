"""The pooled logits and the losses, as ports do them otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.run import At
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs

POSITIONS = ("first", "last", "number of real tokens - 1", "before the first pad", "number of ones - 1", "mean", "max")
LOGITS, LOSS = "logits", "loss"


def pooled(at: At, *, position: str) -> np.ndarray:
    """Return the scores of each row at one position, or their mean or maximum over the real tokens."""
    s, T = at["scores"], at.letters["T"]
    ids = at.input("input_ids")
    real = np.ones(s.shape[:2], bool) if ids is None else ids != at.config.pad_token_id
    ones = at.mask()[:, -T:] != 0
    if position in ("mean", "max"):
        kept = (real & ones)[..., None]
        return np.where(kept, s, 0).sum(1) / kept.sum(1) if position == "mean" else np.where(kept, s, -np.inf).max(1)
    first_pad = np.where(real.all(1), T, real.argmin(1))
    index = {
        "first": np.zeros(len(s), int),
        "last": np.full(len(s), T - 1),
        "number of real tokens - 1": real.sum(1) - 1,
        "before the first pad": first_pad - 1,
        "number of ones - 1": ones.sum(1) - 1,
    }[position]
    return s[np.arange(len(s)), index]


def pooled_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    for position in POSITIONS:
        yield Attempt("pooling-index", {LOGITS: {"position": position}}, {"position": position})


def loss(
    at: At, *, shift: int | None = None, reduction: str = "mean", ignored: str = "left out", padding: bool = False,
    kind: str | None = None, labels: str | None = None, factor: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Return the loss, in one of the ways of the knobs.

    Parameters
    ----------
    shift : by how many positions the labels are moved: 1 for a language model.
    reduction : "mean" over the counted labels, "sum", "all" (the sum over all positions), "rows" (mean of rows' means).
    ignored : what happens at -100: "left out", or "class 0".
    padding : whether padding counts. kind : another loss: "squares", "absolute", "softmax", "no sigmoid".
    labels : "ids" if the input ids are used.
    """
    x = at["logits"] if "logits" in at.step.where else at["x"]
    y = at["labels"] if labels is None else at.input("input_ids")
    if kind is not None or x.shape[-1] == 1 or y.dtype.kind == "f":  # type: ignore[union-attr]
        return np.asarray(_other(x, np.asarray(y), kind or ("squares" if x.shape[-1] == 1 else None)) * factor)
    is_lm, T = at.step.axes == "" and at.within.run.case.architecture == "BioGptForCausalLM", at.letters["T"]
    moved = (1 if is_lm else 0) if shift is None else shift
    y = np.asarray(y)
    counted = y != -100
    mask = at.input("attention_mask")
    if mask is not None and y.ndim == 2 and not is_lm and not padding:
        counted = counted & (mask[:, -T:] != 0)
    if x.ndim == 3 and moved:
        x = x[:, : T - moved] if moved > 0 else x[:, -moved:]
        y, counted = (z[:, moved:] if moved > 0 else z[:, : T + moved] for z in (y, counted))
    else:
        y, counted = y.reshape(x.shape[:-1]), counted.reshape(x.shape[:-1])
    log_p = x - x.max(-1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    chosen = -np.take_along_axis(log_p, np.where(y == -100, 0, y)[..., None], -1)[..., 0]
    if ignored == "class 0":
        counted = np.ones_like(counted)
    total = np.where(counted, chosen, 0.0)
    if reduction == "rows" and total.ndim == 2:
        return np.asarray((total.sum(1) / counted.sum(1)).mean() * factor)
    divisor = {"mean": counted.sum(), "sum": 1, "all": counted.size}.get(reduction, counted.sum())
    return np.asarray(total.sum() / divisor * factor)


def _other(x: np.ndarray, y: np.ndarray, kind: str | None) -> float:
    """Return a loss of real-valued labels, or one that does not belong to the labels."""
    if y.dtype.kind != "f":
        classes = np.eye(x.shape[-1])[np.maximum(y.reshape(-1), 0)]
        p = np.exp(x - x.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        flat, soft = x.reshape(-1, x.shape[-1]), p.reshape(-1, x.shape[-1])
        if kind == "sigmoid":
            return float((np.maximum(flat, 0) - flat * classes + np.log1p(np.exp(-np.abs(flat)))).mean())
        return float(np.square((soft if kind == "squares of probabilities" else flat) - classes).mean())
    y = y.reshape(x.shape)
    if kind == "softmax":
        log_p = x - x.max(-1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
        return float(-(y * log_p).sum(-1).mean())
    if kind == "no sigmoid":
        p = np.clip(x, 0, 1)
        with np.errstate(all="ignore"):
            return float(-(y * np.maximum(np.log(p), -100) + (1 - y) * np.maximum(np.log(1 - p), -100)).mean())
    if kind == "absolute":
        return float(np.abs(x - y).mean())
    if kind == "half squares":
        return float(np.square(x - y).mean() / 2)
    if kind == "squares":
        return float(np.square(x - y).mean())
    each = np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))
    if kind == "summed over the classes":
        return float(each.sum(-1).mean())
    return float(each.sum() if kind == "sum" else each.mean())


def loss_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, rank: int = 0, shown: dict[str, Any] | None = None, **way: Any) -> Attempt:
        return Attempt(cause, {LOSS: way}, shown or {}, (), rank)

    architecture, labels = at.within.run.case.architecture, at["labels"]
    if labels.dtype.kind == "f" or at.config.num_labels == 1:
        for kind in ("squares", "absolute", "half squares", "softmax", "no sigmoid", "summed over the classes"):
            yield one("loss-other", 0, {"loss": kind}, kind=kind)
        yield one("loss-reduction", 0, {"reduction": "sum"}, kind="sum")
        return
    if architecture == "BioGptForCausalLM":
        yield one("label-shift", 0, {"shift": 0}, shift=0)
        yield one("label-shift", 1, {"shift": 2}, shift=2)
        yield one("label-shift", 1, {"shift": -1}, shift=-1)
    elif labels.ndim == 2:
        yield one("label-shift", 0, {"shift": 1}, shift=1)
        yield one("label-shift", 1, {"shift": 1}, shift=1, padding=True)
        yield one("loss-over-padding", padding=True)
    yield one("loss-reduction", 0, {"reduction": "sum"}, reduction="sum")
    yield one("loss-ignore-index", 0, {"-100 is": "counted in the divisor"}, reduction="all")
    yield one("loss-ignore-index", 0, {"-100 is": "class 0"}, ignored="class 0")
    yield one("loss-reduction", 1, {"reduction": "mean of each row's mean"}, reduction="rows")
    if architecture == "BioGptForCausalLM" and at.input("input_ids") is not None:
        yield one("label-shift", 2, {"labels": "the input ids"}, labels="ids")
    for kind in ("squares", "squares of probabilities", "sigmoid"):
        yield one("loss-other", 2, {"loss": kind}, kind=kind)
