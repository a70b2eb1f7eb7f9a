"""Positions and embeddings, as ports do them otherwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.config import POSITION_OFFSET
from minibiogpt.golden.diagnosis.run import AFTER, At
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs, factor_between, nice

COUNTS = {"all": "positions-ignore-mask", "new": "positions-restart", "ids": "mask-from-ids"}
MAX_ROWS = 60_000  # of a table that is searched for the row of a token


def position_ids(
    at: At, *, count: str = "mask", pad: Any = None, offset: int = 0, clip: int | None = None, given: bool = True
) -> np.ndarray:
    """Return the positions, in one of the ways of the knobs.

    Parameters
    ----------
    count : what is counted: "mask", the real tokens; "all", padding too; "new", the tokens of this call; "ids", those
        that are not the id of <pad>.
    pad : the position of padding: a number, or "running", that of the token before. None is -1.
    offset : added to all. clip : the largest position. given : whether given position_ids are used.
    """
    B, T, S = (at.letters[x] for x in "BTS")
    if given and at.input("position_ids") is not None:
        found = np.broadcast_to(at.input("position_ids"), (B, T))  # type: ignore[arg-type]
    else:
        real = at.mask() != 0
        if count == "ids":
            ids = at.input("input_ids")
            pads = np.zeros((B, T), bool) if ids is None else ids == at.config.pad_token_id
            real = np.concatenate([real[:, : S - T], ~pads], axis=1)
        if count == "all":
            found = np.broadcast_to(np.arange(S - T, S), (B, T))
        elif count == "new":
            new = real[:, S - T :]
            found = np.cumsum(new, axis=1) * new - 1
        else:
            running = np.cumsum(real, axis=1) - 1
            outside = running if pad == "running" else np.full_like(running, -1 if pad is None else pad)
            found = np.where(real, running, outside)[:, S - T :]
    if isinstance(pad, int):
        found = np.where(found < 0, pad, found)
    found = found + offset
    return found if clip is None else np.minimum(found, clip)


def position_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, shown: dict[str, Any] | None = None, rank: int = 0, **way: Any) -> Attempt:
        return Attempt(cause, {at.template: way}, shown or {}, ("added",) * ("offset" in way and y is not None), rank)

    if at.input("position_ids") is not None:
        yield one("position-ids-ignored", given=False)
        yield one("position-ids-ignored", given=False, count="all", rank=1)
    if at.letters["S"] > at.letters["T"]:
        yield one("positions-restart", count="new")
    for count, cause in COUNTS.items():
        if count != "new":
            yield one(cause, count=count, rank=1)
            yield one(cause, count=count, given=False, rank=2)
    pads = {0, 1, "running"}
    offsets = {1, -1, 2}
    if y is not None and y.shape == (at.letters["B"], at.letters["T"]):
        try:
            usual = position_ids(
                at, **{key: v for key, v in knobs.items() if key not in ("pad", "offset", "clip", *AFTER)}
            )
        except (ValueError, KeyError):
            return
        pads |= {int(v) for v in np.unique(y[usual < 0])[:3]}
        offsets = {int(v) for v in np.unique((y - usual)[usual >= 0])[:3]}
        if int(y.max(initial=-1)) < int(usual.max(initial=-1)):
            yield one("positions-clipped", {"largest": int(y.max())}, clip=int(y.max()))
    for pad in sorted(pads - {-1}, key=str):
        yield one("positions-pad-value", {"value": pad}, 2, pad=pad)
    for offset in sorted(offsets - {0}):
        yield one("position-offset", {"added": offset}, 2, offset=offset)


def embed_tokens(
    at: At, *, scale: float | None = None, roll: int = 0, pad_zero: bool = False, ids: Any = None,
    again: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return E[ids] times a scale; ``again`` multiplies given embeddings."""
    if (given := at.input("inputs_embeds")) is not None:
        return np.multiply(given, 1.0 if again is None else again)
    E = at["E"]
    rows = at["ids"] if ids is None else ids.get(at.call.prefix, at["ids"])
    usual = math.sqrt(at.letters["D"]) if at.config.scale_embedding else 1.0
    found = E[(rows - roll) % len(E)] * (usual if scale is None else scale)
    if pad_zero:
        found = np.where((rows == at.config.pad_token_id)[..., None], 0.0, found)
    return found


def token_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, shown: dict[str, Any] | None = None, estimated: tuple[str, ...] = (), rank: int = 0,
            **way: Any) -> Attempt:  # fmt: skip
        return Attempt(cause, {at.template: way}, shown or {}, estimated, rank)

    D = at.letters["D"]
    if (embeds := at.input("inputs_embeds")) is not None:
        c = math.sqrt(D) if y is None else factor_between(y, embeds)
        if c is not None and abs(c - 1) > 1e-6:
            yield one("embed-scale", {"factor": c}, ("factor",) * (y is not None), again=c)
        return
    usual = math.sqrt(D) if at.config.scale_embedding else 1.0
    scales = [1.0, float(D), 1 / math.sqrt(D), D**0.25, math.sqrt(D)] if y is None else []
    if y is not None and y.shape[-1:] == (D,):
        rolled = {key: value for key, value in knobs.items() if key in ("roll", "ids", "pad_zero")}
        c = factor_between(y, embed_tokens(at, **rolled))
        scales += [] if c is None else [c * usual]
        yield from _found_rows(at, y, knobs)
    for scale in scales:
        if abs(scale / usual - 1) > 1e-6:
            shown = {"factor": scale, "instead of": usual}
            yield one("embed-scale", shown, ("factor",) * (y is not None), scale=scale)
    if y is not None and scales and abs(scales[0] - 1) < 1e-6 < abs(usual - 1):
        changes: dict[str, Knobs] = {at.template: {"scale": 1.0}, "embeddings": {"token_scale": usual}}
        yield Attempt("convention", changes, {"which": "embed_tokens before it is scaled"})
    for roll in (1, -1, 2, -2, 3, -3):
        yield one("embed-row-offset", {"rows": roll}, roll=roll)
    yield one("embed-pad-row", pad_zero=True)


def _found_rows(at: At, y: np.ndarray, knobs: Knobs) -> Iterator[Attempt]:
    """Yield attempts with the ids whose rows the candidate's vectors are, if every vector is a row of the table."""
    E, ids = at["E"], at["ids"]
    if len(E) > MAX_ROWS or y.shape[:-1] != ids.shape:
        return
    usual = math.sqrt(at.letters["D"]) if at.config.scale_embedding else 1.0
    scale = knobs.get("scale", usual)
    wrong = np.argwhere(
        np.abs(y - embed_tokens(at, **{k: v for k, v in knobs.items() if k not in AFTER})).max(-1)
        > 1e-3 * np.abs(y).max()
    )
    if not 0 < len(wrong) <= 64:
        return
    found = ids.copy()
    squares = np.einsum("vd,vd->v", E, E) * scale**2
    for index in map(tuple, wrong):
        found[index] = int((squares - 2 * scale * (E @ y[index])).argmin())  # of |scale E - y|^2
    shifts = np.unique((ids - found)[tuple(wrong.T)])
    if len(shifts) == 1 and len(wrong) == ids.size:
        roll = int(shifts[0])
        yield Attempt("embed-row-offset", {at.template: {"roll": roll}}, {"rows": roll}, ("rows",))
        return
    first = tuple(int(i) for i in wrong[0])
    shown = {"ids": len(wrong), "first at": first, "theirs": int(found[first]), "case": int(ids[first])}
    yield Attempt("inputs-differ", {at.template: {"ids": {at.call.prefix: found}}}, shown, (), 3, local=True)


def embed_positions(
    at: At, *, offset: int = POSITION_OFFSET, scale: float = 1.0, zero: bool = False, clip: int | None = None,
    pad: Any = None, sinusoidal: Any = None,
) -> np.ndarray:  # fmt: skip
    """Return P[position_ids + offset] times a scale; ``pad`` is the position of padding, "zero" its vector."""
    P, p = at["P"], at["position_ids"]
    if sinusoidal is not None:
        order, divisor, start = sinusoidal
        return _sinusoidal(p + start, P.shape[1], order, divisor)
    rows = p if pad in (None, "zero") else np.where(p < 0, pad, p)
    rows = (rows + offset) if clip is None else np.minimum(rows + offset, clip)
    found = np.zeros((*p.shape, P.shape[1])) if zero else P[rows] * scale
    return np.where(p[..., None] < 0, 0.0, found) if pad == "zero" else found


def _sinusoidal(p: np.ndarray, D: int, order: str, divisor: int) -> np.ndarray:
    """Return sines and cosines, D // 2 of each, "halves" or "interleaved", and 0 in an odd last column."""
    half = D // 2
    angles = p[..., None] * np.exp(-math.log(10000.0) * np.arange(half) / max(1, half - divisor))
    both = [np.sin(angles), np.cos(angles)]
    found = np.concatenate(both, -1) if order == "halves" else np.stack(both, -1).reshape(*p.shape, -1)
    return np.concatenate([found, np.zeros((*p.shape, D % 2))], -1)


def table_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    def one(cause: str, shown: dict[str, Any] | None = None, estimated: tuple[str, ...] = (), rank: int = 0,
            **way: Any) -> Attempt:  # fmt: skip
        return Attempt(cause, {at.template: way}, shown or {}, estimated, rank)

    yield one("positions-missing", zero=True)
    for offset in (0, 1, 3):
        yield one("position-offset", {"offset": offset, "instead of": POSITION_OFFSET}, offset=offset)
    for pad in (0, 1, at.config.max_position_embeddings - 1, "zero"):
        yield one("positions-pad-value", {"value": pad}, (), 2, pad=pad)
    D = at.letters["D"]
    factors = [math.sqrt(D)]
    if y is not None:
        way = {key: value for key, value in knobs.items() if key not in ("scale", *AFTER)}
        c = factor_between(y, embed_positions(at, **way))
        factors = [] if c is None or abs(c) < 1e-6 or abs(c - 1) < 1e-6 else [c]
        yield from _clipped(at, y)
    else:
        N = at.config.max_position_embeddings
        for row in (N - 1, N):
            yield one("positions-clipped", {"largest": row - POSITION_OFFSET}, (), 1, clip=row)
    for c in factors:
        yield one("positions-scaled", {"factor": c}, ("factor",) * (y is not None), 1, scale=c)
    for kind in itertools.product(("halves", "interleaved"), (0, 1), (0, POSITION_OFFSET, 1)):
        yield one("positional-other", {"kind": "sinusoidal"}, (), 1, sinusoidal=kind)
    for count in ("all", "new"):
        if y is not None:
            yield Attempt(COUNTS[count], {"position_ids": {"count": count}}, {}, (), 4)


def _clipped(at: At, y: np.ndarray) -> Iterator[Attempt]:
    """Yield the attempt in which large positions all have one row."""
    P, p = at["P"], at["position_ids"]
    if p.size == 0 or y.shape[:-1] != p.shape:
        return
    last = tuple(np.argwhere(p == p.max())[0])
    row = int(np.abs(P - y[last]).max(-1).argmin())
    if row < p.max() + POSITION_OFFSET:
        yield Attempt("positions-clipped", {at.template: {"clip": row}}, {"largest": row - POSITION_OFFSET},
                      ("largest",), 1)  # fmt: skip


def embeddings(at: At, *, token_scale: float = 1.0, position_scale: float = 1.0) -> np.ndarray:
    """Return the tokens' vectors plus those of the positions, each times a factor."""
    return at["x"] * token_scale + at["p"] * position_scale


def sum_attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    yield Attempt("positions-missing", {at.template: {"position_scale": 0.0}})
    D = at.letters["D"]
    usual = math.sqrt(D) if at.config.scale_embedding and at.input("inputs_embeds") is None else 1.0
    if y is None:
        for root in (math.sqrt(D), 1 / math.sqrt(D)):
            yield Attempt("positions-scaled", {at.template: {"position_scale": root}}, {"factor": root}, (), 2)
            shown = {"factor": root * usual, "instead of": usual}
            yield Attempt("embed-scale", {at.template: {"token_scale": root}}, shown, (), 2)
        return
    x, p = at["x"] * knobs.get("token_scale", 1.0), at["p"] * knobs.get("position_scale", 1.0)
    c = factor_between(y - x, at["p"])
    if c is not None and abs(c) > 1e-6 and abs(c - 1) > 1e-6:
        yield Attempt("positions-scaled", {at.template: {"position_scale": nice(c, 1e-9)}}, {"factor": c},
                      ("factor",), 1)  # fmt: skip
    c = factor_between(y - p, at["x"])
    if c is not None and abs(c) > 1e-6 and abs(c - 1) > 1e-6:
        shown = {"factor": c * usual, "instead of": usual}
        yield Attempt("embed-scale", {at.template: {"token_scale": nice(c, 1e-9)}}, shown, ("factor",), 1)
    if at.input("input_ids") is not None and at.name("embed_tokens") not in at.within.run.known:
        tokens = At(at.within, at.call, at.within.run.steps[at.name("embed_tokens")][1])
        yield from _found_rows(tokens, y - p, {})
