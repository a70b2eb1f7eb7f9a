"""Rows of unequal length: read from a caller, cut into windows, sorted into batches, padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend import get_backend
from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.model import inputs

# Padding included. More saves nothing on a processor: arrays leave its caches, and lengths within a batch differ more.
# Three layers of base size, 4,352 tokens: 12.4 s by 512, 14.0 s by 1024, 18.8 s by 2048 (one core, 2026-11-21).
BATCH_TOKENS = 512


class Window(NamedTuple):
    """The positions [begin, end) of a row; those in [new, end) have been in no window before."""

    begin: int
    end: int
    new: int


def windows(n: int, size: int, stride: int) -> list[Window]:
    """Windows of ``size`` positions over a row of n, each ``stride`` after the one before, the last one cut at n.

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
    """The window and the stride, by default N and half the window.

    Raises
    ------
    InputError
        If the window exceeds N, or the stride leaves the first new token of a window without any context.
    """
    N = config.max_position_embeddings
    window = checked_integer("window", N if window is None else window, 2, N)
    return window, checked_integer("stride", window // 2 if stride is None else stride, 1, window - 1)


def batches(lengths: Sequence[int], batch_tokens: int = BATCH_TOKENS) -> list[list[int]]:
    """Indices of rows in batches of similar length, the longest first, that follow from the lengths alone.

    A batch, padded to its longest row, has at most ``batch_tokens`` positions; a longer row is a batch of its own.

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


def rows_of(input_ids: Any, attention_mask: Any, vocab_size: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The real ids of each row, and where they stand: (n,) int64 each, and (B, T) bool; all in NumPy.

    Parameters
    ----------
    input_ids : (B, T) integers, or a list of rows of unequal length, which then stand as if padded on the right.
    attention_mask : (B, T), 1 = real; default all ones, as in a model call.

    Raises
    ------
    InputError
        If the ids or the mask cannot be, or a row holds no real token.
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
    return [row[here] for row, here in zip(ids, real, strict=True)], real


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """ids (B, T) int64, padded on the right: no mask is needed, for causality hides the pads from every real token."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
    return ids
