"""What may be done to the logits before a token is chosen: each processor is one rule, (ids, logits) -> logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minibiogpt.backend import Array, backend_of
from minibiogpt.ops import softmax

LogitsProcessor = Callable[[Array, Array], Array]
"""Takes the ids so far, (B, S) int64, and the logits of the next token, (B, V); returns logits (B, V)."""


@dataclass(frozen=True)
class MinLength:
    """No end before ``min_length`` tokens, the prompt included: the end tokens' logits become -inf."""

    min_length: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        if ids.shape[1] >= self.min_length:
            return logits
        xp = backend_of(logits).xp
        tokens = xp.arange(logits.shape[-1])  # (V)
        for eos in self.eos_token_ids:
            logits = xp.where(tokens == eos, -math.inf, logits)  # (B, V)
        return logits


@dataclass(frozen=True)
class Temperature:
    """logits / temperature: below 1 sharpens, above 1 flattens.

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
    """Only the k largest logits stay, and all that equal the k-th; the others become -inf. Fan et al. 2018.

    Examples
    --------
    >>> import numpy as np
    >>> TopK(2)(np.zeros((1, 1)), np.array([[1.0, 3.0, 2.0, 2.0]])).tolist()
    [[-inf, 3.0, 2.0, 2.0]]
    """

    k: int

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        k = min(self.k, logits.shape[-1])
        smallest_kept = xp.sort(logits, axis=-1)[:, -k:][:, :1]  # (B, 1)
        return xp.where(logits < smallest_kept, -math.inf, logits)


@dataclass(frozen=True)
class TopP:
    """The smallest set of most probable tokens whose probabilities exceed p in all stays. Holtzman et al. 2020.

    As in transformers: from the least probable on, tokens fall away while their sum is at most 1 - p; the most
    probable one always stays.

    Examples
    --------
    >>> import numpy as np
    >>> TopP(0.7)(np.zeros((1, 1)), np.log([[0.1, 0.6, 0.3]])).round(2).tolist()
    [[-inf, -0.51, -1.2]]
    """

    p: float

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        order = xp.argsort(logits, axis=-1, kind="stable")  # (B, V)
        rising = xp.take_along_axis(logits, order, axis=-1)  # (B, V)
        dropped = xp.cumsum(softmax(rising), axis=-1) <= 1 - self.p  # (B, V)
        dropped = dropped & (xp.arange(logits.shape[-1]) < logits.shape[-1] - 1)  # (B, V)
        ranks = xp.argsort(order, axis=-1, kind="stable")  # (B, V)
        return xp.where(xp.take_along_axis(dropped, ranks, axis=-1), -math.inf, logits)


def apply(processors: Sequence[LogitsProcessor], ids: Array, logits: Array) -> Array:
    """All the rules in order."""
    for process in processors:
        logits = process(ids, logits)
    return logits
