"""Logits processors, (ids, logits) -> logits: they change the logits before a token is chosen.

A plain function works too: ``model.generate(ids, logits_processor=[lambda ids, logits: logits])``. Tokens that must not
be chosen get -inf. The processors that shape the distribution for sampling are in ``sampling``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.checks import is_integer, plain_row
from minibiogpt.errors import InputError, short_repr
from minibiogpt.generation.stopping import as_array, isin
from minibiogpt.model.ops import log_softmax
from minibiogpt.trace import Tap

LARGEST = float(np.finfo(np.float32).max)
LogitsProcessor = Callable[[Array, Array], Array]
"""Takes the ids so far, (B, S) int64, and the logits of the next token, (B, V); returns logits (B, V).

In beam search B is the number of prompt rows times num_beams, and the logits are log-probabilities.
"""


def _suppress(logits: Array, tokens: Sequence[int]) -> Array:
    """Set the logits of some tokens to -inf in every row."""
    xp = backend_of(logits).xp
    return xp.where(isin(xp.arange(logits.shape[-1]), tokens), -math.inf, logits)


def _force(logits: Array, tokens: Sequence[int]) -> Array:
    """Set the logits of some tokens to 0, those of all others to -inf."""
    xp = backend_of(logits).xp
    forced = isin(xp.arange(logits.shape[-1]), tokens)  # (V)
    return xp.where(forced, xp.zeros_like(logits), -math.inf)


@dataclass(frozen=True)
class MinLength:
    """Suppress the end tokens until there are ``min_length`` tokens, prompt included."""

    min_length: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        return logits if ids.shape[1] >= self.min_length else _suppress(logits, self.eos_token_ids)


@dataclass(frozen=True)
class RepetitionPenalty:
    """Penalize tokens that occurred before, prompt included: logit * penalty if negative, else logit / penalty.

    Source: Keskar et al. 2019.

    Examples
    --------
    >>> import numpy as np
    >>> RepetitionPenalty(2.0)(np.array([[0, 1, 0]]), np.array([[3.0, -3.0, 3.0]])).tolist()
    [[1.5, -6.0, 3.0]]
    """

    penalty: float

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        repeated = xp.take_along_axis(logits, ids, axis=-1)  # (B, S)
        logits = logits.copy()
        rows = xp.arange(ids.shape[0])[:, None]  # (B, 1)
        logits[rows, ids] = xp.where(repeated < 0, repeated * self.penalty, repeated / self.penalty)
        return logits


@dataclass(frozen=True)
class NoRepeatNGram:
    """Suppress every token that would complete an n-gram of ``size`` tokens that already occurred.

    Examples
    --------
    >>> import numpy as np
    >>> NoRepeatNGram(2)(np.array([[4, 1, 4, 2, 4]]), np.zeros((1, 5))).tolist()
    [[0.0, -inf, -inf, 0.0, 0.0]]
    """

    size: int

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        B, S = ids.shape
        n, num_ngrams = self.size - 1, S - self.size + 1  # n: the length of an n-gram without its last token
        if num_ngrams < 1:
            return logits
        same = xp.ones((B, num_ngrams), dtype=bool)
        for i in range(n):
            same = same & (ids[:, i : i + num_ngrams] == ids[:, S - n + i : S - n + i + 1])
        rows, starts = xp.nonzero(same)
        logits = logits.copy()
        logits[rows, ids[rows, starts + n]] = -math.inf
        return logits


class SequenceBias:
    """Add a bias to the logit of the token that would complete a sequence.

    A sequence longer than the ids so far is ignored, as in transformers, even if only its last token is missing.

    Examples
    --------
    >>> import numpy as np
    >>> SequenceBias({(2,): 1.0, (7, 0): -5.0})(np.array([[3, 7]]), np.zeros((1, 3))).tolist()
    [[-5.0, 0.0, 1.0]]
    """

    def __init__(self, bias: dict[tuple[int, ...], float]) -> None:
        self.bias = bias

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        added = xp.zeros_like(logits)
        S = ids.shape[1]
        for sequence, bias in self.bias.items():
            *context, last = sequence
            if context and len(sequence) > S:
                continue
            complete = xp.ones((ids.shape[0],), dtype=bool)
            for position, token in enumerate(context, S - len(context)):
                complete = complete & (ids[:, position] == token)
            added[:, last] += xp.where(complete, bias, 0.0).astype(logits.dtype)
        return logits + added


def bad_words(words: Sequence[Sequence[int]], eos_token_ids: Sequence[int]) -> SequenceBias:
    """Return a SequenceBias of -inf for each word. A single end token is never a bad word, as in transformers."""
    suppressed = [tuple(word) for word in words if not (len(word) == 1 and word[0] in eos_token_ids)]
    return SequenceBias(dict.fromkeys(suppressed, -math.inf))


@dataclass(frozen=True)
class PrefixConstraint:
    """Allow only the tokens that ``allowed(row of the prompt, ids so far)`` returns.

    Each row of the prompt has ``num_beams`` rows; the ids are a NumPy array (S,).
    """

    allowed: Callable[[int, Any], Sequence[int]]
    num_beams: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        backend = backend_of(logits)
        V = logits.shape[-1]
        mask = backend.xp.full(logits.shape, -math.inf, dtype=logits.dtype)
        for row, so_far in enumerate(backend.to_numpy(ids)):
            allowed = plain_row(self.allowed(row // self.num_beams, so_far))
            tokens = list(allowed) if isinstance(allowed, Iterable) else [allowed]
            if not tokens or not all(is_integer(token) and 0 <= token < V for token in tokens):
                must = f"prefix_allowed_tokens_fn must return one or more ids in [0, {V})"
                found = f"{short_repr(tokens[:5])} for row {row // self.num_beams} after {so_far.size} tokens"
                raise InputError(must, found, "let it allow at least the end token")
            mask[row, backend.asarray(tokens)] = 0
        return logits + mask


@dataclass(frozen=True)
class ForcedFirst:
    """Force this token after a prompt of a single token: 0 for it, -inf for all others (forced_bos_token_id)."""

    token: int

    def __call__(self, ids: Array, logits: Array) -> Array:
        return _force(logits, [self.token]) if ids.shape[1] == 1 else logits


@dataclass(frozen=True)
class ForcedEnd:
    """Force one of these end tokens as the last token that fits into ``max_length`` (forced_eos_token_id)."""

    max_length: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        return _force(logits, self.eos_token_ids) if ids.shape[1] == self.max_length - 1 else logits


def remove_invalid_values(ids: Array, logits: Array) -> Array:
    """Replace NaN by 0, and infinities by the largest finite values of float32, as in transformers."""
    xp = backend_of(logits).xp
    return xp.nan_to_num(logits, nan=0.0, posinf=LARGEST, neginf=-LARGEST)


@dataclass(frozen=True)
class OnlyEnd:
    """Allow only end tokens, with their own scores, as the last token that fits into ``max_length`` (fairseq)."""

    max_length: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        if ids.shape[1] != self.max_length - 1 or not self.eos_token_ids:
            return logits
        xp = backend_of(logits).xp
        return xp.where(isin(xp.arange(logits.shape[-1]), self.eos_token_ids), logits, -math.inf)


@dataclass(frozen=True)
class ExponentialDecay:
    """Increase an end token's logit x by |x| (factor ** n - 1), n tokens beyond ``start``, prompt included.

    The result is at most a quarter of the dtype's largest value, which makes the end certain.
    """

    start: int
    factor: float
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        beyond = ids.shape[1] - self.start
        if beyond <= 0:
            return logits
        xp = backend_of(logits).xp
        largest = float(xp.finfo(logits.dtype).max)
        growth = min(math.exp(min(beyond * math.log(self.factor), 700.0)) - 1, largest)
        ends = isin(xp.arange(logits.shape[-1]), self.eos_token_ids)  # (V)
        ends = ends & (logits > -math.inf)  # (B, V)
        end = xp.where(ends, logits, 0.0)  # (B, V)
        return xp.where(ends, xp.minimum(end + abs(end) * growth, largest / 4), logits)


@dataclass(frozen=True)
class Suppress:
    """Suppress these tokens; with ``at``, only when the sequence has exactly that many tokens."""

    tokens: Sequence[int]
    at: int | None = None

    def __call__(self, ids: Array, logits: Array) -> Array:
        return _suppress(logits, self.tokens) if self.at in (None, ids.shape[1]) else logits


def renormalize(ids: Array, logits: Array) -> Array:
    """Return log-probabilities, normalized again after other processors suppressed tokens."""
    return log_softmax(logits)


def apply(processors: Sequence[LogitsProcessor], ids: Array, logits: Array, tap: Tap) -> Array:
    """Apply all processors in order, with a tap on the input and output of each.

    Raises
    ------
    InputError
        If a processor changes the shape, or leaves a row without a token to choose.
    """
    for i, process in enumerate(processors):
        rule = tap.under(f"processors.{i}.{getattr(process, '__name__', type(process).__name__)}")
        logits = rule("before", logits)
        processed = as_array(process(ids, logits), logits)
        if getattr(processed, "shape", None) != logits.shape:
            found = f"{type(processed).__name__} of shape {getattr(processed, 'shape', None)}"
            must = f"a logits processor must return the logits of every token, {logits.shape}"
            raise InputError(must, f"{found} from {process!r}", "return modified logits of the same shape")
        logits = rule("after", processed)
    if processors and not bool(backend_of(logits).xp.isfinite(logits.max(axis=-1)).all()):
        must = "the logits processors must leave each row a token to choose, and finite logits"
        raise InputError(must, f"none, or NaN or infinity, after {ids.shape[1]} tokens", "relax the options")
    return logits
