"""Chance: every draw is made of uniform numbers from the host, so that a seed gives the same text on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError
from minibiogpt.model.ops import softmax, top_k


class RandomDraws:
    """Draws tokens from softmax(logits)."""

    def __init__(self, seed: Any) -> None:
        if seed is not None and not (is_integer(seed) and seed >= 0):
            raise InputError("seed must be None or a whole number, 0 or more", repr(seed), "choose another seed")
        self.rng = np.random.default_rng(seed)

    def one(self, logits: Array) -> Array:
        """One token a row, (B, V) to (B,), by inverting the distribution function at a uniform number.

        The token is the first whose cumulated probability exceeds u times the whole, among those that can be drawn at
        all: a device that sums in parallel may round differently where nothing is added, and must not draw a token
        there. u < 1, so that u times the largest sum is below it, in floating point too.
        """
        backend = backend_of(logits)
        xp = backend.xp
        p = softmax(logits.astype("float64"))  # (B, V)
        reached = xp.where(p > 0, xp.cumsum(p, axis=-1), 0.0)  # (B, V)
        uniform = backend.asarray(self.rng.random((logits.shape[0], 1)))  # (B, 1)
        return xp.argmax(reached > uniform * reached.max(axis=-1, keepdims=True), axis=-1)

    def several(self, logits: Array, k: int) -> Array:
        """k different tokens a row, (B, M) to (B, k), in the order drawn: one after the other without replacement.

        The k smallest of E / p, where each E is exponential, are such a draw (Efraimidis and Spirakis 2006); taken by
        their logarithm, log p - log E, the largest. What has no probability comes last.
        """
        backend = backend_of(logits)
        xp = backend.xp
        exponential = -np.log1p(-self.rng.random(logits.shape))  # u < 1
        log_e = xp.log(xp.maximum(backend.asarray(exponential), np.finfo(np.float64).tiny))
        return top_k(logits.astype("float64") - log_e, k)[1]
