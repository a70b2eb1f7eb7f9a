"""What may be done to the logits before a token is chosen: each processor is one rule, (ids, logits) -> logits.

A plain function is one too: ``model.generate(ids, logits_processor=[lambda ids, logits: logits])``. Hidden tokens get
-inf. The rules that shape the distribution for sampling are in ``sampling``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.stopping import is_any_of
from minibiogpt.model.ops import log_softmax
from minibiogpt.trace import Tap

LogitsProcessor = Callable[[Array, Array], Array]
"""Takes the ids so far, (B, S) int64, and the logits of the next token, (B, V); returns logits (B, V).

In beam search B is rows: num_beams for each row of the prompt, and the logits are log-probabilities.
"""


def _hidden(logits: Array, tokens: Sequence[int]) -> Array:
    """-inf for some tokens in every row."""
    xp = backend_of(logits).xp
    return xp.where(is_any_of(xp.arange(logits.shape[-1]), tokens), -math.inf, logits)


def _forced(logits: Array, tokens: Sequence[int]) -> Array:
    """0 for some tokens, -inf for all others."""
    xp = backend_of(logits).xp
    chosen = is_any_of(xp.arange(logits.shape[-1]), tokens)  # (V)
    return xp.where(chosen, xp.zeros_like(logits), -math.inf)


@dataclass(frozen=True)
class MinLength:
    """No end before ``min_length`` tokens, the prompt included: the end tokens' logits become -inf."""

    min_length: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        return logits if ids.shape[1] >= self.min_length else _hidden(logits, self.eos_token_ids)


@dataclass(frozen=True)
class RepetitionPenalty:
    """Tokens that are there already, the prompt's too: logit * penalty below 0, logit / penalty above. Keskar 2019.

    Examples
    --------
    >>> import numpy as np
    >>> RepetitionPenalty(2.0)(np.array([[0, 1, 0]]), np.array([[3.0, -3.0, 3.0]])).tolist()
    [[1.5, -6.0, 3.0]]
    """

    penalty: float

    def __call__(self, ids: Array, logits: Array) -> Array:
        xp = backend_of(logits).xp
        seen = xp.take_along_axis(logits, ids, axis=-1)  # (B, S)
        logits = logits.copy()
        rows = xp.arange(ids.shape[0])[:, None]  # (B, 1)
        logits[rows, ids] = xp.where(seen < 0, seen * self.penalty, seen / self.penalty)
        return logits


@dataclass(frozen=True)
class NoRepeatNGram:
    """No sequence of ``size`` tokens comes twice: what followed the newest size - 1 tokens before is hidden.

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
        n, starts = self.size - 1, S - self.size + 1  # length of the context, and how many n-grams there are
        if starts < 1:
            return logits
        same = xp.ones((B, starts), dtype=bool)
        for i in range(n):
            same = same & (ids[:, i : i + starts] == ids[:, S - n + i : S - n + i + 1])
        rows, places = xp.nonzero(same)
        logits = logits.copy()
        logits[rows, ids[rows, places + n]] = -math.inf
        return logits


class SequenceBias:
    """Adds a number to the logit of the token that would complete a sequence.

    A sequence longer than all ids so far is passed over, as in transformers, even if only its last token is missing.

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
            for place, token in enumerate(context, S - len(context)):
                complete = complete & (ids[:, place] == token)
            added[:, last] += xp.where(complete, bias, 0.0).astype(logits.dtype)
        return logits + added


def bad_words(words: Sequence[Sequence[int]], eos_token_ids: Sequence[int]) -> SequenceBias:
    """No such sequence of ids: the bias -inf. An end token alone is no bad word, as in transformers."""
    kept = [tuple(word) for word in words if not (len(word) == 1 and word[0] in eos_token_ids)]
    return SequenceBias(dict.fromkeys(kept, -math.inf))


@dataclass(frozen=True)
class PrefixConstraint:
    """Only the tokens that ``allowed(row of the prompt, ids so far)`` lists.

    ``num_beams`` rows belong to each row of the prompt; the ids are a NumPy array (S,).
    """

    allowed: Callable[[int, Any], Sequence[int]]
    num_beams: int = 1

    def __call__(self, ids: Array, logits: Array) -> Array:
        backend = backend_of(logits)
        V = logits.shape[-1]
        open_to = backend.xp.full(logits.shape, -math.inf, dtype=logits.dtype)
        for row, so_far in enumerate(backend.to_numpy(ids)):
            tokens = [int(token) for token in self.allowed(row // self.num_beams, so_far)]
            if not tokens or min(tokens) < 0 or max(tokens) >= V:
                must = f"prefix_allowed_tokens_fn must return one or more ids in [0, {V})"
                found = f"{tokens[:5]} for row {row // self.num_beams} after {so_far.size} tokens"
                raise InputError(must, found, "let it allow at least the end token")
            open_to[row, backend.asarray(tokens)] = 0
        return logits + open_to


@dataclass(frozen=True)
class ForcedFirst:
    """After a prompt of a single token, this one: 0 for it and -inf for all others (forced_bos_token_id)."""

    token: int

    def __call__(self, ids: Array, logits: Array) -> Array:
        return _forced(logits, [self.token]) if ids.shape[1] == 1 else logits


@dataclass(frozen=True)
class ForcedEnd:
    """One of these as the last token that fits into ``longest`` (forced_eos_token_id)."""

    longest: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        return _forced(logits, self.eos_token_ids) if ids.shape[1] == self.longest - 1 else logits


@dataclass(frozen=True)
class OnlyEnd:
    """Nothing but an end as the last token that fits into ``longest``, at its own score (fairseq)."""

    longest: int
    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, logits: Array) -> Array:
        if ids.shape[1] != self.longest - 1 or not self.eos_token_ids:
            return logits
        xp = backend_of(logits).xp
        return xp.where(is_any_of(xp.arange(logits.shape[-1]), self.eos_token_ids), logits, -math.inf)


@dataclass(frozen=True)
class ExponentialDecay:
    """From ``start`` tokens on, the prompt included, the end's logit x grows by |x| (factor ** (beyond start) - 1).

    It grows no further than a quarter of the dtype's largest number, where an end is certain.
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
        ends = is_any_of(xp.arange(logits.shape[-1]), self.eos_token_ids)  # (V)
        ends = ends & (logits > -math.inf)  # (B, V)
        end = xp.where(ends, logits, 0.0)  # (B, V)
        return xp.where(ends, xp.minimum(end + abs(end) * growth, largest / 4), logits)


@dataclass(frozen=True)
class Suppress:
    """Never these tokens; with ``at`` only as the token that follows so many."""

    tokens: Sequence[int]
    at: int | None = None

    def __call__(self, ids: Array, logits: Array) -> Array:
        return _hidden(logits, self.tokens) if self.at in (None, ids.shape[1]) else logits


def renormalize(ids: Array, logits: Array) -> Array:
    """Log-probabilities again, after what the rules have hidden."""
    return log_softmax(logits)


def apply(processors: Sequence[LogitsProcessor], ids: Array, logits: Array, tap: Tap) -> Array:
    """All the rules in order; the tap sees what each is given and what it returns.

    Raises
    ------
    InputError
        If one of them returns something of another shape, or a row is left without any token to choose.
    """
    for i, process in enumerate(processors):
        rule = tap.under(f"processors.{i}.{getattr(process, '__name__', type(process).__name__)}")
        logits = rule("before", logits)
        processed = process(ids, logits)
        if getattr(processed, "shape", None) != logits.shape:
            found = f"{type(processed).__name__} of shape {getattr(processed, 'shape', None)}"
            must = f"a logits processor must return the logits of every token, {logits.shape}"
            raise InputError(must, f"{found} from {process!r}", "return the logits that it was given, changed")
        logits = rule("after", processed)
    if processors and not bool(backend_of(logits).xp.isfinite(logits.max(axis=-1)).all()):
        must = "the rules must leave each row a token to choose, and numbers"
        raise InputError(must, f"none, or NaN or infinity, after {ids.shape[1]} tokens", "loosen the rules")
    return logits
