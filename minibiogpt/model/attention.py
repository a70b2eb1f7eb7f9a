"""The attention mask, the heads, and attention: "eager" (computes every array) and "blocked" (streaming softmax)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from minibiogpt.backend import Array, Backend, backend_of
from minibiogpt.model.ops import softmax, widened
from minibiogpt.trace import Tap

SHARED = 1 << 20  # multiplications of q and k: threads share no less, which ends before a second one has started


@dataclass(frozen=True)
class AttentionMask:
    """Which keys each query may attend to.

    Attributes
    ----------
    visible : (B or 1, 1, T, S) bool, True = may attend. The head axis is 1 because all heads share the mask.
    padded : whether any position is padding. If not, the mask is purely causal.
    fully_masked_rows : whether some query has no key to attend to (left padding). Its probabilities are uniform over
        all S positions, masked ones included, as in transformers: never NaN.
    """

    visible: Array
    padded: bool
    fully_masked_rows: bool


def make_mask(backend: Backend, T: int, S: int, attention_mask: Array | None) -> AttentionMask:
    """Return the causal and padding mask: query t (position S - T + t) sees key s if s is real and not later.

    Parameters
    ----------
    attention_mask : (B, S) bool, True = a real token; None when there is no padding.
    """
    xp = backend.xp
    keys = xp.arange(S)  # (S)
    queries = xp.arange(S - T, S)  # (T)
    causal = keys[None, :] <= queries[:, None]  # (T, S)
    if attention_mask is None:
        return AttentionMask(causal[None, None], padded=False, fully_masked_rows=False)
    visible = causal[None, None] & attention_mask[:, None, None, :]  # (B, 1, T, S)
    # Every query sees position 0 unless it is padding. Only then can a query be fully masked.
    return AttentionMask(visible, padded=True, fully_masked_rows=not bool(attention_mask[:, 0].all()))


def split_heads(x: Array, heads: int) -> Array:
    """Reshape (B, T, D) to (B, H, T, Dh): head h takes columns h * Dh to (h + 1) * Dh.

    Each head is contiguous in memory. Matrix products are half as fast when the rows of a head are D elements apart.
    """
    B, T, D = x.shape
    x = x.reshape(B, T, heads, D // heads)  # (B, T, H, Dh)
    return backend_of(x).contiguous(x.transpose(0, 2, 1, 3))


def merge_heads(x: Array) -> Array:
    """Reshape (B, H, T, Dh) back to (B, T, D)."""
    B, H, T, Dh = x.shape
    x = x.transpose(0, 2, 1, 3)  # (B, T, H, Dh)
    return x.reshape(B, T, H * Dh)


def attend_eager(
    q: Array, k: Array, v: Array, mask: AttentionMask, head_mask: Array | None, tap: Tap
) -> tuple[Array, Array]:
    """Return softmax(masked q k^T / sqrt(Dh)) v, with a tap on every intermediate array.

    Masked scores are replaced by the dtype's lowest finite value. Nothing is added to them, so a huge masked score
    cannot leak through, and a fully masked row comes out uniform without a special case.

    Parameters
    ----------
    q : (B, H, T, Dh) ; k, v : (B, H, S, Dh) ; head_mask : (H,), multiplied into the probabilities, or None.

    Returns
    -------
    The weighted sums of the values, (B, H, T, Dh), and the weights, (B, H, T, S): probabilities times head mask.

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
    """Return the same weighted sums, (B, H, T, Dh), without ever allocating a (B, H, T, S) array.

    Queries are processed in blocks of ``rows``. Each block streams over the keys in blocks of ``columns`` and skips
    the keys that are masked for all of its queries. The backend chooses both sizes by default, and how many heads
    are processed together. If the backend has a kernel for a few queries, it computes the whole result.
    """
    backend = backend_of(q, k, v)
    kernel = backend.kernel("attend", q, k, v) if rows is None and columns is None else None
    output = kernel(q, k, v, mask.visible) if kernel else None
    if output is None:
        tile = backend.tile
        output = _attend_in_tiles(backend, q, k, v, mask, rows or tile[0], columns or tile[1])
    return output if head_mask is None else output * head_mask[:, None, None]


def _attend_in_tiles(
    backend: Backend, q: Array, k: Array, v: Array, mask: AttentionMask, rows: int, columns: int
) -> Array:
    """Loop over groups of rows and heads, and blocks of queries; each block streams over its visible keys."""
    (B, H, T, Dh), S = q.shape, k.shape[2]
    output = backend.empty((B, T, H, Dh), q.dtype)  # (B, T, H, Dh)
    output = output.transpose(0, 2, 1, 3)  # (B, H, T, Dh)
    tile_scores = min(rows, T) * min(columns, S)  # in one head of one row
    pairs = max(1, backend.block_elements // tile_scores)  # (row, head) pairs processed together
    if backend.threads > 1 and B * H * T * S * Dh >= SHARED:  # two groups for each, as one may start late
        pairs = min(pairs, -(-B * H // (2 * backend.threads)))
    heads, batch = min(H, pairs), min(B, max(1, pairs // H))
    dtype = backend.sum_dtype(q.dtype)
    groups = list(product(range(0, B, batch), range(0, H, heads)))

    def attend(i: int) -> None:
        b, h = groups[i]
        buffer = backend.xp.empty((batch * heads * tile_scores,), dtype=dtype)  # reused: fresh memory is slow
        for t in range(0, T, rows):
            queries = slice(b, b + batch), slice(h, h + heads), slice(t, min(t + rows, T))
            keys = *queries[:2], slice(S if mask.fully_masked_rows else S - T + queries[2].stop)
            visible = mask.visible[queries[0] if mask.padded else slice(None), :, queries[2], keys[2]]
            unmasked = 0 if mask.padded else S - T + t + 1  # all of these queries see the first ``unmasked`` keys
            _streaming_softmax(q[queries], k[keys], v[keys], visible, unmasked, columns, buffer, output[queries])

    backend.run_parts(attend, len(groups))
    return output


def _streaming_softmax(
    q: Array, k: Array, v: Array, visible: Array, unmasked: int, columns: int, buffer: Array, out: Array
) -> None:
    """Write softmax(masked q k^T / sqrt(Dh)) v to ``out``, one block of ``columns`` keys at a time.

    The running sums are rescaled whenever a larger score appears.

    Parameters
    ----------
    visible : the mask of these queries and keys. unmasked : the number of leading keys that need no mask.
    buffer : 1-D, reused for the scores of each block.

    Source: Milakov and Gimelshein 2018, algorithm 3; Dao et al. 2022.
    """
    backend = backend_of(q, k, v)
    xp, scale = backend.xp, 1 / math.sqrt(q.shape[-1])
    largest: Array = None
    total: Array = None
    weighted: Array = None
    for start in range(0, k.shape[2], columns):
        block = slice(start, start + columns)
        keys = k[:, :, block]
        shape = (*q.shape[:3], keys.shape[2])
        scores = buffer[: math.prod(shape)].reshape(shape)
        backend.head_products(q, keys, transposed=True, scale=scale, out=scores)
        kernel = backend.kernel("masked_softmax", scores) if keys.shape[2] == k.shape[2] else None
        if kernel:
            backend.head_products(kernel(scores, visible), v, out=out)
            return
        if start + shape[3] > unmasked:
            tail = slice(max(0, unmasked - start), None)
            scores[..., tail] = xp.where(visible[..., block][..., tail], scores[..., tail], _lowest(scores))
        e = widened(scores)
        new_largest = e.max(axis=-1, keepdims=True)
        if largest is not None:
            new_largest = xp.maximum(new_largest, largest)
        e -= new_largest
        xp.exp(e, out=e)
        new_total = e.sum(axis=-1, keepdims=True)
        new_weighted = backend.head_products(e, v[:, :, block].astype(e.dtype, copy=False))
        if largest is not None:
            rescale = xp.exp(largest - new_largest)
            new_total, new_weighted = new_total + total * rescale, new_weighted + weighted * rescale
        largest, total, weighted = new_largest, new_total, new_weighted
    out[...] = weighted / total


def _lowest(x: Array) -> float:
    """Return the lowest finite value of x's dtype."""
    return backend_of(x).lowest(x.dtype)
