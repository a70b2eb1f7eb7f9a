"""Logits processors that shape the distribution before a token is drawn from it. Dropped tokens get -inf.

``keep`` is the number of most probable tokens that are always kept: 1, and in beam search one more than there are end
tokens, so that a hypothesis can continue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minibiogpt.backend import Array, backend_of
from minibiogpt.model.ops import log_softmax, softmax


def _largest(x: Array, k: int) -> Array:
    """Return the k-th largest element of each row: (B, V) gives (B, 1)."""
    k = min(k, x.shape[-1])
    return backend_of(x).xp.sort(x, axis=-1)[:, -k:][:, :1]


@dataclass(frozen=True)
class Temperature:
    """Return logits / temperature: a temperature below 1 sharpens the distribution, one above 1 flattens it.

    Examples
    --------
    >>> import numpy as np
    >>> Temperature(0.5)(np.zeros((1, 1)), np.array([[1.0, 2.0]])).tolist()
    [[2.0, 4.0]]
    """

    temperature: float

    def __call__(self, ids: Array, logits: Array) -> Array:
        return logits / self.temperature


@dataclass(frozen=True)
class TopK:
    """Keep the k largest logits and all that equal the k-th; set the others to -inf. Fan et al. 2018.

    Examples
    --------
    >>> import numpy as np
    >>> TopK(2)(np.zeros((1, 1)), np.array([[1.0, 3.0, 2.0, 2.0]])).tolist()
    [[-inf, 3.0, 2.0, 2.0]]
    """

    k: int
    keep: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        smallest_kept = _largest(logits, max(self.k, self.keep))  # (B, 1)
        return backend_of(logits).xp.where(logits < smallest_kept, -math.inf, logits)


@dataclass(frozen=True)
class TopP:
    """Keep the smallest set of most probable tokens whose total probability reaches p. Holtzman et al. 2020.

    As in transformers, tokens are dropped from the least probable up, while the dropped probability is at most 1 - p.
    The most probable token is always kept.

    Examples
    --------
    >>> import numpy as np
    >>> TopP(0.7)(np.zeros((1, 1)), np.log([[0.1, 0.6, 0.3]])).round(2).tolist()
    [[-inf, -0.51, -1.2]]
    """

    p: float
    keep: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        order = xp.argsort(logits, axis=-1, kind="stable")  # (B, V)
        ascending = xp.take_along_axis(logits, order, axis=-1)  # (B, V)
        dropped = xp.cumsum(softmax(ascending), axis=-1) <= 1 - self.p  # (B, V)
        dropped = dropped & (xp.arange(logits.shape[-1]) < logits.shape[-1] - self.keep)  # (B, V)
        ranks = xp.argsort(order, axis=-1, kind="stable")  # (B, V)
        return xp.where(xp.take_along_axis(dropped, ranks, axis=-1), -math.inf, logits)


@dataclass(frozen=True)
class MinP:
    """Drop tokens less probable than p times the most probable one. Nguyen et al. 2024.

    Examples
    --------
    >>> import numpy as np
    >>> MinP(0.4)(np.zeros((1, 1)), np.log([[0.1, 0.6, 0.3]])).round(2).tolist()
    [[-inf, -0.51, -1.2]]
    """

    p: float
    keep: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        probs = softmax(logits)  # (B, V)
        dropped = probs < self.p * probs.max(axis=-1, keepdims=True)  # (B, V)
        dropped = dropped & (logits < _largest(logits, self.keep))  # (B, V)
        return backend_of(logits).xp.where(dropped, -math.inf, logits)


@dataclass(frozen=True)
class TypicalP:
    """Keep the tokens whose information is closest to the entropy, until their probabilities reach p.

    Information is -log p(token), in nats; the entropy is its expectation. Source: Meister et al. 2023.

    Examples
    --------
    >>> import numpy as np
    >>> TypicalP(0.2)(np.zeros((1, 1)), np.log([[0.1, 0.6, 0.3]])).round(2).tolist()  # 2.30, 0.51, 1.20; entropy 0.90
    [[-inf, -inf, -1.2]]
    """

    p: float
    keep: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        distance = abs(-log_softmax(logits) - _entropy(logits))  # (B, V)
        order = xp.argsort(distance, axis=-1, kind="stable")  # (B, V)
        probs = softmax(xp.take_along_axis(logits, order, axis=-1))  # (B, V)
        last = xp.minimum((xp.cumsum(probs, axis=-1) < self.p).sum(axis=-1), logits.shape[-1] - 1)  # (B)
        last = xp.maximum(last, self.keep - 1)  # (B)
        nearest = xp.take_along_axis(distance, order, axis=-1)  # (B, V)
        farthest = xp.take_along_axis(nearest, last[:, None], axis=-1)  # (B, 1)
        return xp.where(distance > farthest, -math.inf, logits)


@dataclass(frozen=True)
class EpsilonCutoff:
    """Drop tokens less probable than epsilon. Hewitt et al. 2022."""

    epsilon: float
    keep: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        dropped = (softmax(logits) < self.epsilon) & (logits < _largest(logits, self.keep))  # (B, V)
        return backend_of(logits).xp.where(dropped, -math.inf, logits)


@dataclass(frozen=True)
class EtaCutoff:
    """Drop tokens less probable than min(epsilon, sqrt(epsilon) exp(-entropy)). Hewitt et al. 2022."""

    epsilon: float
    keep: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        eta = xp.minimum(math.sqrt(self.epsilon) * xp.exp(-_entropy(logits)), self.epsilon)  # (B, 1)
        dropped = (softmax(logits) < eta) & (logits < _largest(logits, self.keep))  # (B, V)
        return xp.where(dropped, -math.inf, logits)


def _entropy(logits: Array) -> Array:
    """Return -sum p log p in nats, (B, V) to (B, 1); tokens of probability 0 add nothing."""
    xp = backend_of(logits).xp
    log_p = log_softmax(logits)  # (B, V)
    p = xp.exp(log_p)  # (B, V)
    return -xp.where(p > 0, p * xp.maximum(log_p, xp.finfo(log_p.dtype).min), 0.0).sum(axis=-1, keepdims=True)
