"""Random draws of tokens from uniform numbers made on the host, so that a seed gives the same text on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr
from minibiogpt.model.ops import softmax, top_k


class RandomDraws:
    """Draws tokens from softmax(logits)."""

    def __init__(self, seed: Any) -> None:
        if seed is not None and not (is_integer(seed) and seed >= 0):
            raise InputError("seed must be None or an integer, 0 or more", short_repr(seed), "choose a different seed")
        self.rng = np.random.default_rng(seed)

    def sample(self, logits: Array) -> Array:
        """Draw one token per row, (B, V) to (B,), by inverting the cumulative distribution at a uniform number u.

        The result is the first token whose cumulative probability exceeds u times the total. Tokens of probability 0
        are never drawn, even if a parallel scan rounds the cumulative sum up at such a token. Since u < 1, u times the
        total is below the total in floating point too.
        """
        backend = backend_of(logits)
        xp = backend.xp
        p = softmax(logits.astype("float64"))  # (B, V)
        cumulative = xp.where(p > 0, xp.cumsum(p, axis=-1), 0.0)  # (B, V)
        uniform = backend.asarray(self.rng.random((logits.shape[0], 1)))  # (B, 1)
        return xp.argmax(cumulative > uniform * cumulative.max(axis=-1, keepdims=True), axis=-1)

    def sample_without_replacement(self, logits: Array, k: int) -> Array:
        """Draw k different tokens per row, (B, M) to (B, k), in the order drawn.

        The k smallest of E / p, with an exponential E for each token, are such a draw (Efraimidis and Spirakis 2006).
        This takes the k largest of log p - log E instead. Tokens of probability 0 come last.
        """
        backend = backend_of(logits)
        xp = backend.xp
        exponential = -np.log1p(-self.rng.random(logits.shape))  # u < 1
        log_e = xp.log(xp.maximum(backend.asarray(exponential), np.finfo(np.float64).tiny))
        return top_k(logits.astype("float64") - log_e, k)[1]
