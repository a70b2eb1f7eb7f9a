"""Rows of unequal length: unpad them, cut them into windows, sort them into batches, pad them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend import get_backend
from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.model import inputs

# Including padding. Larger batches are slower on a CPU: arrays exceed its caches, and lengths in a batch vary more.
# Three layers of base size, 4,352 tokens: 12.4 s with 512, 14.0 s with 1024, 18.8 s with 2048 (one core, 2026-11-21).
BATCH_TOKENS = 512


class Window(NamedTuple):
    """The positions [begin, end) of a row; [new, end) are the positions that no earlier window covers."""

    begin: int
    end: int
    new: int


def windows(n: int, size: int, stride: int) -> list[Window]:
    """Return the windows of ``size`` positions over a row of n; they start ``stride`` apart, and the last is cut at n.

    Source: the strided evaluation of perplexity in transformers' documentation.

    Examples
    --------
    >>> [tuple(w) for w in windows(7, 4, 2)]
    [(0, 4, 0), (2, 6, 4), (4, 7, 6)]
    """
    found = [Window(0, min(n, size), 0)]
    while found[-1].end < n:
        begin = found[-1].begin + stride
        found.append(Window(begin, min(begin + size, n), found[-1].end))
    return found


def window_sizes(config: BioGptConfig, window: int | None, stride: int | None) -> tuple[int, int]:
    """Return the window size and the stride, by default N and half the window.

    Raises
    ------
    InputError
        If the window exceeds N, or the stride leaves the first new token of a window without context.
    """
    N = config.max_position_embeddings
    window = checked_integer("window", N if window is None else window, 2, N)
    return window, checked_integer("stride", window // 2 if stride is None else stride, 1, window - 1)


def batches(lengths: Sequence[int], batch_tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Group the indices of rows into batches of similar length, longest first. Depends on the lengths only.

    A batch, padded to its longest row, has at most ``batch_tokens`` positions. A longer row is a batch of its own.

    Examples
    --------
    >>> batches([3, 9, 4, 1], batch_tokens=10)
    [[1], [2, 0], [3]]
    """
    checked_integer("batch_tokens", batch_tokens, 1)
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    found, start = [], 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        found.append(order[start : start + rows])
        start += rows
    return found


def unpadded_rows(input_ids: Any, attention_mask: Any, vocab_size: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the ids of each row without its padding, (n,) int64 each, and where they are, (B, T) bool; all NumPy.

    Parameters
    ----------
    input_ids : (B, T) integers, or a list of rows of unequal length, which count as padded on the right.
    attention_mask : (B, T), 1 = real; default all ones, as in a model call.

    Raises
    ------
    InputError
        If the ids or the mask are invalid, or a row has no real token.
    """
    host = get_backend("numpy")
    if attention_mask is None and isinstance(input_ids, list | tuple) and input_ids:
        rows = [inputs.as_integers("input_ids", row, host, 0, vocab_size, "(T)") for row in input_ids]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return rows, np.arange(lengths.max()) < lengths[:, None]
    ids = inputs.as_integers("input_ids", input_ids, host, 0, vocab_size)
    B, T = ids.shape
    mask = inputs.as_mask(attention_mask, B, 0, T, host)
    real = np.ones((B, T), dtype=bool) if mask is None else mask
    if not real.any(axis=1).all():
        raise InputError("each row must hold a real token", "a row of pads", "leave the row out")
    return [row[row_real] for row, row_real in zip(ids, real, strict=True)], real


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Pad rows on the right to ids (B, T), int64. No mask is needed: the causal mask covers the pads."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
    return ids
