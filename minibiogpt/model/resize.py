"""Change the number of rows of an embedding, for a tokenizer with more or fewer tokens."""

from __future__ import annotations

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.checks import checked_integer

NOISE = 1e-9  # of the covariance of the old rows; transformers' number


def target_rows(rows: int, new_num_tokens: int | None, pad_to_multiple_of: int | None) -> int:
    """Return the new number of rows: ``new_num_tokens``, or the old number, rounded up to a multiple.

    Examples
    --------
    >>> target_rows(67, 70, 8), target_rows(67, None, 8), target_rows(67, 5, None)
    (72, 72, 5)
    """
    if new_num_tokens is not None:
        rows = checked_integer("new_num_tokens", new_num_tokens, 1)
    if pad_to_multiple_of is None:
        return rows
    multiple = checked_integer("pad_to_multiple_of", pad_to_multiple_of, 1)
    return -(-rows // multiple) * multiple


def resized(weight: Array, rows: int, mean_resizing: bool, std: float, rng: np.random.Generator) -> Array:
    """Return a copy of ``weight`` (old, D) with this many rows: (rows, D). Old rows are kept exactly.

    New rows are drawn from N(mean, 1e-9 covariance) of the old rows, or are their mean where the covariance has no
    Cholesky factor (fewer rows than columns); with ``mean_resizing=False`` from N(0, std).

    Source: resize_token_embeddings of transformers 4.57; its random numbers are PyTorch's.
    """
    backend = backend_of(weight)
    old = backend.to_numpy(weight)
    new = np.empty((rows, old.shape[1]), dtype=old.dtype)
    new[: len(old)] = old[:rows]
    if rows > len(old):
        drawn = rng.standard_normal((rows - len(old), old.shape[1]))
        new[len(old) :] = _around_the_mean(old, drawn) if mean_resizing else std * drawn
    return backend.asarray(new)


def _around_the_mean(old: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Turn standard normal rows into rows of N(mean, NOISE * covariance) of the old rows."""
    wide = old.astype(np.float64)
    mean = wide.mean(axis=0)
    centered = wide - mean
    try:
        factor = np.linalg.cholesky(NOISE * (centered.T @ centered) / len(old))
    except np.linalg.LinAlgError:
        return np.broadcast_to(mean, drawn.shape)
    return mean + drawn @ factor.T
