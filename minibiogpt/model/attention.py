"""Masks, heads, and who attends to whom: "eager" (every array visible) and "blocked" (streaming softmax)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from minibiogpt.backend import Array, Backend, backend_of
from minibiogpt.model.ops import softmax, widened
from minibiogpt.trace import Tap


@dataclass(frozen=True)
class AttentionMask:
    """Which positions each query may attend to.

    Attributes
    ----------
    visible : (B or 1, 1, T, S) bool, True = may attend; the head axis is 1, as all heads see the same.
    padded : whether some position is padding; without it, all up to a query's own position are visible to it.
    blind_rows : whether some query may see nothing at all (a left pad). Its probabilities are uniform over all S
        positions, the hidden ones too, as in transformers: never NaN.
    """

    visible: Array
    padded: bool
    blind_rows: bool


def make_mask(backend: Backend, T: int, S: int, attention_mask: Array | None) -> AttentionMask:
    """Causal, and real: query t (at position S - T + t) sees key s if s is not later and not padding.

    Parameters
    ----------
    attention_mask : (B, S) bool, True = a real token; None when all are.
    """
    xp = backend.xp
    keys = xp.arange(S)  # (S)
    queries = xp.arange(S - T, S)  # (T)
    causal = keys[None, :] <= queries[:, None]  # (T, S)
    if attention_mask is None:
        return AttentionMask(causal[None, None], padded=False, blind_rows=False)
    visible = causal[None, None] & attention_mask[:, None, None, :]  # (B, 1, T, S)
    # Every query sees position 0 unless that is padding: only then can a row be left with nothing.
    return AttentionMask(visible, padded=True, blind_rows=not bool(attention_mask[:, 0].all()))


def split_heads(x: Array, heads: int) -> Array:
    """(B, T, D) to (B, H, T, Dh): head h takes columns h Dh to (h + 1) Dh.

    Each head lies in one piece of memory: products are half as fast where its rows are D numbers apart.
    """
    B, T, D = x.shape
    x = x.reshape(B, T, heads, D // heads)  # (B, T, H, Dh)
    return backend_of(x).contiguous(x.transpose(0, 2, 1, 3))


def merge_heads(x: Array) -> Array:
    """(B, H, T, Dh) back to (B, T, D)."""
    B, H, T, Dh = x.shape
    x = x.transpose(0, 2, 1, 3)  # (B, T, H, Dh)
    return x.reshape(B, T, H * Dh)


def attend_eager(
    q: Array, k: Array, v: Array, mask: AttentionMask, head_mask: Array | None, tap: Tap
) -> tuple[Array, Array]:
    """softmax(q k^T / sqrt(Dh), masked) v, with every array on the way named.

    Hidden scores are replaced by the dtype's lowest finite number (not added to: a huge hidden score cannot shine
    through), so a row that sees nothing comes out uniform without being a special case.

    Parameters
    ----------
    q : (B, H, T, Dh) ; k, v : (B, H, S, Dh) ; head_mask : (H,), multiplied into the probabilities, or None.

    Returns
    -------
    The mixed values (B, H, T, Dh) and the weights (B, H, T, S), the probabilities after the head mask.

    Source: Vaswani et al. 2017, equation 1; eager_attention_forward in transformers 4.57.
    """
    backend, scale = backend_of(q, k, v), 1 / math.sqrt(q.shape[-1])
    xp = backend.xp
    scores = tap("scores", backend.head_products(q, k, transposed=True, scale=scale))  # (B, H, T, S)
    masked = xp.where(mask.visible, scores, _lowest(scores)).astype(scores.dtype, copy=False)  # (B, H, T, S)
    scores = tap("scores_masked", masked)  # (B, H, T, S)
    probs = tap("probs", softmax(scores))  # (B, H, T, S)
    weights = probs if head_mask is None else probs * head_mask[:, None, None]  # (B, H, T, S)
    weights = tap("weights", weights)
    return backend.head_products(weights, v), weights


def attend_blocked(
    q: Array,
    k: Array,
    v: Array,
    mask: AttentionMask,
    head_mask: Array | None,
    rows: int | None = None,
    columns: int | None = None,
) -> Array:
    """The same mixed values (B, H, T, Dh) without ever holding a (B, H, T, S) array.

    Queries go in blocks of ``rows``; each block streams over the keys in blocks of ``columns`` (both as the backend
    prefers it), and keys that causality hides from the whole block are not visited. So many heads go together as the
    backend takes at once. A few queries are one kernel's work, where there is one.
    """
    backend = backend_of(q, k, v)
    kernel = backend.kernel("attend", q, k, v) if rows is None and columns is None else None
    mixed = kernel(q, k, v, mask.visible) if kernel else None
    if mixed is None:
        tile = backend.tile
        mixed = _attend_by_tiles(backend, q, k, v, mask, rows or tile[0], columns or tile[1])
    return mixed if head_mask is None else mixed * head_mask[:, None, None]


def _attend_by_tiles(
    backend: Backend, q: Array, k: Array, v: Array, mask: AttentionMask, rows: int, columns: int
) -> Array:
    (B, H, T, Dh), S = q.shape, k.shape[2]
    mixed = backend.empty((B, T, H, Dh), q.dtype)  # (B, T, H, Dh)
    mixed = mixed.transpose(0, 2, 1, 3)  # (B, H, T, Dh)
    scores = min(rows, T) * min(columns, S)  # of a block, in one head
    pairs = max(1, backend.block_elements // scores)
    heads, batch = min(H, pairs), min(B, max(1, pairs // H))
    room = backend.xp.empty((batch * heads * scores,), dtype=q.dtype)  # used again and again: fresh memory is slow
    for b, h, t in product(range(0, B, batch), range(0, H, heads), range(0, T, rows)):
        block = slice(b, b + batch), slice(h, h + heads), slice(t, min(t + rows, T))
        seen = *block[:2], slice(S if mask.blind_rows else S - T + block[2].stop)
        visible = mask.visible[block[0] if mask.padded else slice(None), :, block[2], seen[2]]
        open_to = 0 if mask.padded else S - T + t + 1  # before it, nothing is hidden from any of these queries
        _stream(q[block], k[seen], v[seen], visible, open_to, columns, room, mixed[block])
    return mixed


def _stream(q: Array, k: Array, v: Array, visible: Array, open_to: int, columns: int, room: Array, out: Array) -> None:
    """Streaming softmax, into ``out``: what has been summed is rescaled whenever a larger score turns up.

    Source: Milakov and Gimelshein 2018, algorithm 3; Dao et al. 2022.
    """
    backend = backend_of(q, k, v)
    xp, scale = backend.xp, 1 / math.sqrt(q.shape[-1])
    largest: Array = None
    total: Array = None
    mixed: Array = None
    for start in range(0, k.shape[2], columns):
        block = slice(start, start + columns)
        keys = k[:, :, block]
        shape = (*q.shape[:3], keys.shape[2])
        scores = room[: math.prod(shape)].reshape(shape)
        backend.head_products(q, keys, transposed=True, scale=scale, out=scores)
        kernel = backend.kernel("masked_softmax", scores) if keys.shape[2] == k.shape[2] else None
        if kernel:
            backend.head_products(kernel(scores, visible), v, out=out)
            return
        if start + shape[3] > open_to:
            edge = slice(max(0, open_to - start), None)
            scores[..., edge] = xp.where(visible[..., block][..., edge], scores[..., edge], _lowest(scores))
        e = widened(scores)
        new_largest = e.max(axis=-1, keepdims=True)
        if largest is not None:
            new_largest = xp.maximum(new_largest, largest)
        e -= new_largest
        xp.exp(e, out=e)
        new_total = e.sum(axis=-1, keepdims=True)
        new_mixed = backend.head_products(e, v[:, :, block].astype(e.dtype, copy=False))
        if largest is not None:
            shrink = xp.exp(largest - new_largest)
            new_total, new_mixed = new_total + total * shrink, new_mixed + mixed * shrink
        largest, total, mixed = new_largest, new_total, new_mixed
    out[...] = mixed / total


def _lowest(x: Array) -> float:
    """The lowest finite number of x's dtype."""
    return backend_of(x).lowest(x.dtype)
