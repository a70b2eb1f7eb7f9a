"""Heads, the cache, scores, the head mask and the mix of the values, as ports do them otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.golden.diagnosis.run import AFTER, At
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs, factor_between
from minibiogpt.golden.diagnosis.ways.mask import head_mask
from minibiogpt.golden.diagnosis.ways.precision import reduced

PATH = "layers.{l}.self_attn"
Q, K, V, SCORES, WEIGHTS, CONTEXT = (f"{PATH}.{x}" for x in ("q", "k", "v", "scores", "weights", "context"))
STYLES = tuple(f"{columns}, {by}" for columns in ("halves", "pairs") for by in ("positions", "slots"))
MAX_PAST = 256  # cached positions that are compared with each other
SPLIT = {x: {"split": "interleaved"} for x in (Q, K, V)}


def heads(
    at: At, *, split: str = "usual", past: Any = None, late: int = 0, stale: Any = None,
    order: str = "past first", shared: int | None = None,
    rotary: str | None = None, scale: float = 1.0, batch: Any = None, cache_of: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Return q, k or v: the projection split into heads, after the cached ones.

    Parameters
    ----------
    split : "usual"; "interleaved", column d belongs to head d mod H; "one", a single head; "unmoved", the numbers of
        (T, H, Dh) read as (H, T, Dh).
    past : which cached position is used at each, (S - T,), -1 for zeros. late : by how many positions they are rolled.
    stale : (i, j): position i holds that of j; both count from the end. batch : which row of the batch's cache: (B,).
    cache_of : the layer that they are cached of. order : whether the cached ones come first.
    shared : into how many groups of the same k or v the heads fall.
    """
    B, T, H, Dh = (at.letters[x] for x in ("B", "T", "H", "Dh"))
    x = at["x"] * scale
    if split == "interleaved":
        new = x.reshape(B, T, Dh, H).transpose(0, 3, 1, 2)
    elif split == "one":
        new = x.reshape(B, T, 1, H * Dh).swapaxes(1, 2)
    elif split == "unmoved":
        new = x.reshape(B, H, T, Dh)
    else:
        new = x.reshape(B, T, H, Dh).swapaxes(1, 2)
    if rotary is not None:
        new = rotated(at, new, rotary)
    if "past" in at.step.where:
        past_name = at.step.where["past"]
        if cache_of is not None:
            past_name = past_name.replace(f"layers.{at.layer}.", f"layers.{cache_of}.", 1)
        cached = at.source(past_name)
        cached = np.roll(cached, late, axis=2)
        cached = _at_positions(cached, past) if past is not None and len(past) == cached.shape[2] else cached
        cached = cached if stale is None else _stale(cached, *stale)
        cached = cached if batch is None else cached[list(batch)]
        new = np.concatenate([cached, new] if order == "past first" else [new, cached], axis=2)
    if shared is not None:
        new = np.repeat(new[:, :: H // shared], H // shared, axis=1)
    return new


def _at_positions(cached: np.ndarray, past: Any) -> np.ndarray:
    """Return the cached positions in this order; -1 is zeros."""
    chosen = cached[:, :, np.maximum(list(past), 0)]
    return np.where(np.array(past)[None, None, :, None] < 0, 0.0, chosen)


def _stale(cached: np.ndarray, i: int, j: int) -> np.ndarray:
    found, S = cached.copy(), cached.shape[2]
    if -S <= i < 0:
        found[:, :, i] = cached[:, :, j] if j >= -S else 0.0
    return found


def rotated(at: At, x: np.ndarray, style: str) -> np.ndarray:
    """Return x, (B, H, T, Dh), rotated as in RoPE with base 10000; an odd last column stays.

    Parameters
    ----------
    style : "halves" or "pairs", the columns that are rotated together, and "positions" or "slots", by which angle: that
        of position_ids, or of the place in the cache.
    """
    columns, by = style.split(", ")
    half, T, S = x.shape[-1] // 2, at.letters["T"], at.letters["S"]
    p = at.array("position_ids")[:, None, :, None] if by == "positions" else np.arange(S - T, S)[:, None]
    angle = p * 10000.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    first = slice(0, half) if columns == "halves" else slice(0, 2 * half, 2)
    second = slice(half, 2 * half) if columns == "halves" else slice(1, 2 * half, 2)
    found, a, b = x.copy(), x[..., first], x[..., second]
    found[..., first], found[..., second] = a * cos - b * sin, b * cos + a * sin
    return found


def head_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, shown: dict[str, Any] | None = None, rank: int = 0, estimated: tuple[str, ...] = (),
            **way: Any) -> Attempt:  # fmt: skip
        return Attempt(cause, {at.template: way}, shown or {}, estimated, rank)

    H, Dh = at.letters["H"], at.letters["Dh"]
    yield Attempt("heads-split", {**SPLIT, CONTEXT: {"merge": "interleaved"}}, {"order": "interleaved"})
    yield Attempt("heads-split", SPLIT, {"order": "interleaved"}, (), 1)
    yield one("heads-split", {"order": "(T, H, Dh) read as (H, T, Dh)"}, 1, split="unmoved")
    yield one("heads-split", {"heads": 1}, 1, split="one")
    for style in STYLES:
        changes = {part: {"rotary": style} for part in (Q, K)}
        yield Attempt("positional-other", changes, {"kind": f"rotary, {style}"}, (), 2)
    if at.template in (K, V):
        for groups in range(1, H):
            if H % groups == 0:
                both = {part: {"shared": groups} for part in (K, V)}
                yield Attempt("heads-shared", both, {"groups": groups}, (), 1)
                yield one("heads-shared", {"groups": groups}, 2, shared=groups)
    if at.template == Q:
        for c in (1 / math.sqrt(Dh),):
            yield Attempt("convention", {Q: {"scale": c}, SCORES: {"scale": 1.0}}, {"which": "q-scaled"})
    if "past" in at.step.where:
        yield from _cache_attempts(at, y)


def _cache_attempts(at: At, y: np.ndarray | None) -> Iterator[Attempt]:
    past = at.letters["S"] - at.letters["T"]
    both = (K, V)

    def each(cause: str, shown: dict[str, Any], rank: int = 0, **way: Any) -> Iterator[Attempt]:
        yield Attempt(cause, {at.template: way}, shown, (), rank)
        yield Attempt(cause, {part: way for part in both}, shown, (), rank)

    yield from each("cache-order", {"order": "new first"}, order="new first")
    for late in (1, -1, 2):
        yield from each("cache-offset", {"rows": late}, late=late)
    yield from each("cache-offset", {"rows": 1, "first": "zeros"}, 1, past=tuple(i - 1 for i in range(past)))
    for layer in range(at.config.num_hidden_layers):
        if layer != at.layer:
            yield from each("cache-layer", {"layer": layer}, 1, cache_of=layer)
    yield from each("cache-overwritten", {"position": "the last", "holds": "the one before"}, 1, stale=(-1, -2))
    B = at.letters["B"]
    for batch in (tuple(range(B))[::-1], tuple((i + 1) % B for i in range(B)), (0,) * B):
        if batch != tuple(range(B)):
            yield from each("cache-batch", {"rows": list(batch)}, batch=batch)
    if y is None or y.shape[:2] != at["past"].shape[:2] or y.shape[2] < past or past > MAX_PAST:
        return
    cached = at["past"]
    distance = np.abs(y[:, :, :past, None] - cached[:, :, None, :past]).max(axis=(0, 1, 4))  # (S - T, S - T)
    zeros = np.abs(y[:, :, :past]).max(axis=(0, 1, 3)) == 0
    found = tuple(-1 if z else int(i) for i, z in zip(distance.argmin(1), zeros, strict=True))
    wrong = [i for i, j in enumerate(found) if i != j]
    if len(wrong) == 1 and found[wrong[0]] >= 0:
        i = wrong[0]
        shown = {"position": i, "holds": found[i]}
        yield from each("cache-overwritten", shown, 1, stale=(i - past, found[i] - past))
    if wrong:
        zeroed: dict[str, Any] = {"position": wrong[0], "holds": found[wrong[0]] if found[wrong[0]] >= 0 else "zeros"}
        yield from each("cache-overwritten", zeroed, 2, past=found)


def scores(
    at: At, *, scale: float | None = None, alibi: bool = False, shared: int | None = None, rotary: str | None = None,
    products: str | None = None, heads_first: bool = False, one: bool = False,
) -> np.ndarray:  # fmt: skip
    """Return q k^T times a scale, by default 1 / sqrt(Dh); with ``one``, of all heads as one."""
    q, k = (_as_one(at[x]) if one else at[x] for x in "qk")
    T, S, H = at.letters["T"], at.letters["S"], at.letters["H"]
    if shared is not None:
        k = np.repeat(k[:, :: H // shared], H // shared, axis=1)
    if rotary is not None:
        q, k = rotated(at, q, rotary), rotated(at, k, rotary)
    if products is not None:
        q, k = reduced(q, products), reduced(k, products)
    found = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(at.letters["Dh"]) if scale is None else scale)
    if alibi:
        distance = np.arange(S) - np.arange(S - T, S)[:, None]
        found = found + slopes(H)[:, None, None] * distance
    return found * head_mask(at) if heads_first else found


def _as_one(x: np.ndarray) -> np.ndarray:
    """Return (B, 1, S, H Dh) of (B, H, S, Dh)."""
    B, H, S, Dh = x.shape
    return x.swapaxes(1, 2).reshape(B, 1, S, H * Dh)


def slopes(H: int) -> np.ndarray:
    """Return the slope of each head in ALiBi: powers of 2^(-8 / H) for a power of 2, as published for other numbers.

    Source: Press, Smith and Lewis, "Train Short, Test Long", 2022.
    """
    power = 2 ** math.floor(math.log2(H))
    first = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    rest = [2.0 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)]
    return np.array((first + rest)[:H])


def score_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    D, Dh, H = at.letters["D"], at.letters["Dh"], at.letters["H"]
    usual = 1 / math.sqrt(Dh)
    tried = {"1": 1.0, "1 / sqrt(D)": 1 / math.sqrt(D), "1 / Dh": 1 / Dh, "sqrt(Dh)": math.sqrt(Dh)}
    tried |= {"1 / sqrt(H)": 1 / math.sqrt(H)}
    for text, scale in tried.items():
        if abs(scale / usual - 1) > 1e-9:
            shown = {"scale": scale, "that is": text, "instead of": usual}
            yield Attempt("attention-scale", {SCORES: {"scale": scale}}, shown)
    if y is not None:
        known = {key: value for key, value in knobs.items() if key not in ("scale", *AFTER)}
        c = factor_between(y, scores(at, **known))
        if c is not None and abs(c - 1) > 1e-6:
            shown = {"scale": c * usual, "instead of": usual}
            yield Attempt("attention-scale", {SCORES: {"scale": c * usual}}, shown, ("scale",), 1)
    yield Attempt("positional-other", {SCORES: {"alibi": True}}, {"kind": "ALiBi"}, (), 1)
    for style in STYLES:
        if at.letters["S"] == at.letters["T"]:
            yield Attempt("positional-other", {SCORES: {"rotary": style}}, {"kind": f"rotary, {style}"}, (), 1)
    for groups in range(1, H):
        if H % groups == 0:
            yield Attempt("heads-shared", {SCORES: {"shared": groups}}, {"groups": groups}, (), 1)
    if at.input("head_mask") is not None:
        yield Attempt("head-mask-before-softmax", {SCORES: {"heads_first": True}}, {}, (), 1)
    for products in ("tf32", "bfloat16", "float16"):
        yield Attempt(f"precision-{products}", {SCORES: {"products": products}},
                      {"of": "the factors of the product"}, (), 2)  # fmt: skip


def weights(at: At, *, kind: str = "layers") -> np.ndarray:
    """Return the probabilities times the head mask, read in one of the ways of ``head_mask``."""
    p = at["probs"]
    if kind == "none":
        return p
    found = p * (head_mask(at) if kind == "renormalized" else head_mask(at, kind))
    return found / found.sum(-1, keepdims=True) if kind == "renormalized" else found


def weight_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    if at.input("head_mask") is None:
        return
    yield Attempt("head-mask-missing", {WEIGHTS: {"kind": "none"}})
    for kind in ("renormalized", "one number", "first layer", "0 or 1", "cut to 0 to 1"):
        yield Attempt("head-mask-wrong", {WEIGHTS: {"kind": kind}}, {"how": kind}, (), 1)


def context(at: At, *, merge: str = "usual", x: str | None = None, products: str | None = None,
            one: bool = False) -> np.ndarray:  # fmt: skip
    """Return the mixed values, heads merged: "usual", "interleaved", or "unmoved", (H, T, Dh) read as (T, D)."""
    w, v = at["weights"] if x is None else at.array(x), _as_one(at["v"]) if one else at["v"]
    if products is not None:
        w, v = reduced(w, products), reduced(v, products)
    mixed = w @ v
    B, T = mixed.shape[0], mixed.shape[2]
    if merge == "usual":
        mixed = mixed.swapaxes(1, 2)
    elif merge == "interleaved":
        mixed = mixed.transpose(0, 2, 3, 1)
    return mixed.reshape(B, T, -1)


def context_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    for scale in (1 / math.sqrt(at.letters["Dh"]), 1 / math.sqrt(at.letters["D"])):
        single: dict[str, Knobs] = {SCORES: {"one": True, "scale": scale}, CONTEXT: {"one": True}}
        yield Attempt("heads-split", single, {"heads": 1}, (), 1)
    for merge in ("unmoved", "interleaved"):
        yield Attempt("heads-merge", {CONTEXT: {"merge": merge}}, {"order": merge})
    if at.input("head_mask") is not None:
        yield Attempt("head-mask-missing", {CONTEXT: {"x": f"{PATH}.probs"}}, {}, (), 1)
    for products in ("tf32", "bfloat16", "float16"):
        yield Attempt(f"precision-{products}", {CONTEXT: {"products": products}},
                      {"of": "the factors of the product"}, (), 2)  # fmt: skip
