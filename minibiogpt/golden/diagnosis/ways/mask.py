"""The mask and the softmax, as ports do them otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.run import At
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs, factor_between, nice
from minibiogpt.golden.diagnosis.ways.precision import reduced

SCORES, MASKED, PROBS = (f"layers.{{l}}.self_attn.{x}" for x in ("scores", "scores_masked", "probs"))
LOWEST = float(np.finfo(np.float64).min)
CAUSAL = {
    "none": "causal-mask-missing",
    "past": "causal-mask-ignores-past",
    1: "causal-mask-offset",
    -1: "causal-mask-offset",
}
PADDING = {
    "none": "padding-mask-missing",
    "queries": "padding-mask-on-queries",
    "both": "padding-mask-on-queries",
    "inverted": "padding-mask-inverted",
    "first": "padding-mask-batch",
    "reversed": "padding-mask-batch",
    "rows": "padding-mask-batch",
    "ids": "mask-from-ids",
    "length": "padding-mask-batch",
    "forgotten": "padding-mask-missing",
}
FILLS = (-1e4, -1e9, -np.inf)


def hidden(at: At, causal: Any = 0, padding: str = "keys", window: int | None = None) -> np.ndarray:
    """Return where a score is hidden, bool, (B, 1, T, S).

    Parameters
    ----------
    causal : by how many positions a token sees further, 0 as it should be; "none" without a causal mask, "past" counted
        from the first key.
    padding : what hides padding: "keys", as it should be, or one of ``PADDING``.
    window : how many positions are visible at most.
    """
    T, S = at.letters["T"], at.letters["S"]
    keys, queries = np.arange(S), np.arange(S - T, S)
    if causal == "none":
        future = np.zeros((T, S), bool)
    elif causal == "past":
        future = keys > np.arange(T)[:, None]
    else:
        future = keys > queries[:, None] + causal
    if window is not None:
        future = future | (keys <= queries[:, None] - window)
    return future | _padded(at, padding)


def _padded(at: At, padding: str) -> np.ndarray:
    T, S = at.letters["T"], at.letters["S"]
    mask = at.mask()
    if padding == "first":
        mask = np.broadcast_to(mask[:1], mask.shape)
    elif padding in ("reversed", "rows"):
        mask = mask[::-1] if padding == "reversed" else np.roll(mask, 1, 0)
    elif padding == "ids" and (ids := at.input("input_ids")) is not None:
        real = ids != np.int64(at.config.pad_token_id or 0)
        mask = np.concatenate([mask[:, : S - T], real.astype(mask.dtype)], axis=1)
    elif padding == "length":
        mask = (np.arange(S) < mask.sum(1, keepdims=True)).astype(mask.dtype)
    elif padding == "forgotten":
        mask = np.concatenate([np.ones_like(mask[:, : S - T]), mask[:, S - T :]], axis=1)
    by_key, by_query = (mask == 0)[:, None, None, :], (mask[:, S - T :] == 0)[:, None, :, None]
    if padding == "none":
        return np.zeros_like(by_key)
    if padding == "queries":
        return by_query
    if padding == "both":
        return by_key | by_query
    return ~by_key if padding == "inverted" else by_key


def scores_masked(
    at: At, *, causal: Any = 0, padding: str = "keys", window: int | None = None, fill: float = LOWEST,
    add: float | None = None, times: bool = False, heads_first: bool = False, x: str | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the scores with the hidden ones filled, or with a number added to them, or multiplied by 0.

    Parameters
    ----------
    heads_first : multiply the scores by the head mask.
    """
    scores = at["scores"] if x is None else at.array(x)
    if heads_first:
        scores = scores * head_mask(at)
    where = np.broadcast_to(hidden(at, causal, padding, window), scores.shape)
    if times:
        return np.where(where, 0.0, scores)
    return np.where(where, fill if add is None else scores + add, scores)


def head_mask(at: At, kind: str = "layers") -> np.ndarray:
    """Return the head mask of this layer, (H, 1, 1) or broadcastable: "layers" as it should be, or another reading."""
    given = at.input("head_mask")
    if given is None:
        return np.ones((1, 1, 1))
    H, L, layer = at.letters["H"], at.letters["L"], at.layer or 0
    if kind == "one number":
        return np.broadcast_to(given, (L, H))[layer, layer % H].reshape(1, 1, 1)
    rows = np.broadcast_to(given, (L, H))
    row = rows[0 if kind == "first layer" else layer]
    row = (row != 0).astype(float) if kind == "0 or 1" else row
    row = np.clip(row, 0, 1) if kind == "cut to 0 to 1" else row
    return row[:, None, None]


def mask_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, shown: dict[str, Any] | None = None, rank: int = 0, estimated: tuple[str, ...] = (),
            **way: Any) -> Attempt:  # fmt: skip
        return Attempt(cause, {MASKED: way}, shown or {}, estimated, rank)

    for causal, cause in CAUSAL.items():
        yield one(cause, {"offset": causal} if isinstance(causal, int) else {}, causal=causal)
    for padding, cause in PADDING.items():
        rank = 1 if padding in ("none", "queries", "first") else 2
        yield one(cause, {}, rank, padding=padding)
    for add in (-1e4, -1e9) if y is None else _added(at, y, knobs):
        yield one("mask-finite", {"constant": add, "how": "added"}, 1, ("constant",) * (y is not None), add=add)
    for fill in FILLS if y is None else _filled(at, y, knobs):
        if fill == -np.inf:
            yield one("mask-infinite", {"rows that see nothing": "NaN"}, 0, fill=fill)
            continue
        yield one("mask-finite", {"constant": fill, "how": "in place"}, 1, ("constant",) * (y is not None), fill=fill)
    yield one("mask-multiplied", times=True)
    if at.input("head_mask") is not None:
        yield one("head-mask-before-softmax", heads_first=True)
    for how in ("kept", "renormalized"):
        changes = {MASKED: {"causal": "none", "padding": "none"}, PROBS: {"after": how}}
        yield Attempt("mask-after-softmax", changes, {"how": how})
    for window in range(1, at.letters["S"]) if y is None or at.letters["S"] <= 64 else _windows(at, y):
        yield one("window", {"width": window}, 3, ("width",), window=window)
    yield from _alibi(at, y, MASKED)


def _reference_hidden(at: At, knobs: Knobs) -> np.ndarray:
    return hidden(at, knobs.get("causal", 0), knobs.get("padding", "keys"), knobs.get("window"))


def _added(at: At, y: np.ndarray, knobs: Knobs) -> Iterator[float]:
    difference = (y - at["scores"])[np.broadcast_to(_reference_hidden(at, knobs), y.shape)]
    difference = difference[np.isfinite(difference)]
    if difference.size and -1e30 < np.median(difference) < -1:
        yield nice(float(np.median(difference)), 1e-3)


def _filled(at: At, y: np.ndarray, knobs: Knobs) -> Iterator[float]:
    values = y[np.broadcast_to(_reference_hidden(at, knobs), y.shape)]
    if values.size and not np.isnan(np.median(values)):
        yield float(np.median(values))


def _windows(at: At, y: np.ndarray) -> Iterator[int]:
    """Yield the width that the last row's visible scores have."""
    row = y[0, 0, -1]
    visible = np.flatnonzero(row > row.max() - 800)
    if visible.size:
        yield int(at.letters["S"] - visible[0])


def _alibi(at: At, y: np.ndarray | None, template: str) -> Iterator[Attempt]:
    """Yield the attempt in which every head's scores fall with the distance, with the slopes of ALiBi."""
    yield Attempt("positional-other", {SCORES: {"alibi": True}}, {"kind": "ALiBi"}, (), 3)


def softmax(
    at: At, *, axis: int = -1, no_max: str | None = None, blind: str | None = None, inner: str | None = None,
    table: str | None = None, after: str | None = None, factor: float = 1.0,
    x: str | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the softmax of the masked scores, in one of the ways of the knobs.

    Parameters
    ----------
    no_max : the precision in which exp(scores) is computed without taking the largest away.
    blind : what rows get that see nothing: "zero", "nan", or "past", uniform over the keys up to their own.
    inner : the precision of the scores and of the result. table : the precision of exp and of its argument.
    after : apply the mask to the probabilities: "kept", or "renormalized".
    """
    s = at["scores"] * factor if x is None else at.array(x) * factor
    if no_max is not None:
        e = np.exp(s.astype(no_max))
        return (e / e.sum(axis=axis, keepdims=True)).astype(np.float64)
    if after is not None:
        s = at.array(SCORES)
    if inner is not None:
        s = np.where(s == LOWEST, LOWEST, reduced(s, inner))
    e = np.exp(reduced(s - s.max(axis=axis, keepdims=True), table) if table else s - s.max(axis=axis, keepdims=True))
    e = reduced(e, table) if table else e
    p = e / e.sum(axis=axis, keepdims=True)
    if after is not None:
        p = np.where(hidden(at), 0.0, p)
        p = p / p.sum(-1, keepdims=True) if after == "renormalized" else p
    if blind is not None:
        nothing = np.broadcast_to(hidden(at), s.shape).all(-1, keepdims=True)
        past = np.arange(s.shape[-1]) <= np.arange(s.shape[-1] - s.shape[-2], s.shape[-1])[:, None]
        other = {"zero": 0.0, "nan": np.nan, "past": past / past.sum(-1, keepdims=True)}[blind]
        p = np.where(nothing, other, p)
    return p if inner is None else reduced(p, inner)


def softmax_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, shown: dict[str, Any] | None = None, rank: int = 0, estimated: tuple[str, ...] = (),
            **way: Any) -> Attempt:  # fmt: skip
        return Attempt(cause, {PROBS: way}, shown or {}, estimated, rank)

    for axis, name in ((-2, "T"), (1, "H"), (0, "B")):
        yield one("softmax-axis", {"axis": name}, axis=axis)
    for blind, rank in (("nan", 0), ("zero", 0), ("past", 0)):
        yield one("mask-infinite", {"rows that see nothing": blind}, rank, blind=blind)
    for precision in ("float32", "float16", "float64"):
        yield one("softmax-no-max", {"overflows in": precision}, 1, no_max=precision)
    for how in ("kept", "renormalized"):
        yield one("mask-after-softmax", {"how": how}, 1, after=how)
    for inner in ("bfloat16", "float16"):
        yield one(f"precision-{inner}", {"of": "the softmax"}, 2, inner=inner)
    yield one("table-float16", {"of": "exp"}, 2, table="float16")
    if y is not None:
        c = _slope(at, y, knobs)
        if c is not None and abs(c - 1) > 1e-6:
            yield one("attention-scale", {"scale": c / math.sqrt(at.letters["Dh"])}, 3, ("scale",), factor=c)


def _slope(at: At, y: np.ndarray, knobs: Knobs) -> float | None:
    """Return the factor on the scores that the ratios of the probabilities imply."""
    s = at["scores"]
    if s.shape != y.shape:
        return None
    counted = (y > 1e-12) & (s > -1e30)
    log_p = np.where(counted, np.log(np.maximum(y, 1e-300)), 0.0)
    n = counted.sum(-1, keepdims=True)
    s0 = np.where(counted, s, 0.0)
    a = np.where(counted, log_p - log_p.sum(-1, keepdims=True) / np.maximum(n, 1), 0.0)
    b = np.where(counted, s0 - s0.sum(-1, keepdims=True) / np.maximum(n, 1), 0.0)
    return factor_between(a.reshape(-1), b.reshape(-1))
