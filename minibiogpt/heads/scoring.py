"""How probable a text is: the log-probability of each token given those before it, totals, perplexity.

A text begins with ``</s>``, which is given and not scored; so every token of the text itself is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend import HALVES, Array, backend_of
from minibiogpt.generation.protocols import LanguageModel
from minibiogpt.model.batching import BATCH_TOKENS, batches, padded, rows_of, window_sizes, windows
from minibiogpt.model.ops import log_softmax, widened

BLOCK = 1 << 22  # logits made at once: 99 positions of the base model, 17 MB in float32, and log_softmax's copies


@dataclass(frozen=True)
class Scores:
    """Of a batch of B rows, the longest of T tokens.

    Attributes
    ----------
    log_probs : (B, T) ln p(token t | the real tokens before it in its row), in nats, at or below 0; 0 where
        ``scored`` is False. In the model's dtype (float32 for halves).
    scored : (B, T) bool: every real token but the first of its row.
    """

    log_probs: Array
    scored: Array

    @property
    def total(self) -> Array:
        """(B,) float64: the sum of each row's log-probabilities, that is ln p(row | its first token)."""
        return self.log_probs.astype("float64").sum(axis=1)

    @property
    def tokens(self) -> Array:
        """(B,) int64: how many tokens of each row are scored."""
        return self.scored.astype("int64").sum(axis=1)

    @property
    def perplexity(self) -> Array:
        """(B,) float64: exp(-total / tokens); NaN for a row of which nothing is scored."""
        xp = backend_of(self.log_probs).xp
        tokens = self.tokens
        mean = -self.total / xp.maximum(tokens, 1)
        return xp.where(tokens > 0, xp.exp(mean), xp.full(tokens.shape, float("nan"), dtype="float64"))

    @property
    def loss(self) -> float:
        """The mean of -ln p over all scored tokens of the batch; NaN when there is none.

        It is transformers' loss for labels=input_ids with -100 at the pads and, where padding stands on the left,
        at each row's first token too: transformers would score that one, given a pad.
        """
        count = int(self.tokens.sum())
        return -float(self.total.sum()) / count if count else float("nan")

    def row(self, b: int) -> Array:
        """(tokens,): the log-probabilities of what is scored in row b, in order."""
        return self.log_probs[b][self.scored[b]]


def score(
    model: LanguageModel,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Scores:
    """ln p of every token but the first of its row, given the real tokens before it.

    Parameters
    ----------
    input_ids : (B, T) integers, or a list of rows of unequal length.
    attention_mask : (B, T), 1 = real, padding on either side; default all ones. Pads are dropped before anything is
        computed, so that it makes no difference on which side they stood.
    window : the most tokens that are looked at together; N by default, and at most.
    stride : how far each window of a longer row begins after the one before; window // 2 by default.
    batch_tokens : rows, or windows, of similar length are computed together, padding included at most so many.

    Returns
    -------
    Scores. For a list of rows its arrays are padded on the right.

    Raises
    ------
    InputError
        If ids or mask cannot be, a row holds no real token, or window or stride does not fit N.

    Notes
    -----
    A row of n > window tokens is seen through the windows [k stride, k stride + window), the last one cut at n. They
    are plain slices of the row: only the first begins with ``</s>``. A token is scored once, in the first window
    that holds it: those of the first window given all before them, every later one given at least window - stride
    and at most window - 1 tokens right before it.

    The head and the softmax go over positions in blocks: the logits of a whole batch would be (B, T, V), for 2048
    tokens of the base model 347 MB, and that three times over in the softmax. What scores nothing gets no logits.
    """
    config, backend = model.config, model.backend
    window, stride = window_sizes(config, window, stride)
    rows, real = rows_of(input_ids, attention_mask, config.vocab_size)
    found = [np.zeros(len(row), dtype="float32" if model.dtype in HALVES else model.dtype) for row in rows]
    pieces = [
        _Piece(row[w.begin : w.end], max(w.new, 1) - w.begin, result[max(w.new, 1) : w.end])
        for row, result in zip(rows, found, strict=True)
        for w in windows(len(row), window, stride)
        if len(row) > 1
    ]
    for batch in batches([len(piece.ids) for piece in pieces], batch_tokens):
        _fill(model, [pieces[i] for i in batch])

    log_probs = np.zeros(real.shape, dtype=found[0].dtype)  # (B, T)
    log_probs[real] = np.concatenate(found)
    scored = real.copy()
    scored[np.arange(len(rows)), real.argmax(axis=1)] = False
    return Scores(backend.asarray(log_probs), backend.asarray(scored))


class _Piece(NamedTuple):
    """What one window asks for: its ids, from which of them on they are scored, and where the results go."""

    ids: np.ndarray
    first: int
    result: np.ndarray


def _fill(model: LanguageModel, pieces: list[_Piece]) -> None:
    """Run one batch and write each piece's results to their place."""
    ids = padded([piece.ids for piece in pieces])
    options: dict[str, Any] = {
        "use_cache": False,
        "output_attentions": False,
        "output_hidden_states": False,
        "return_dict": True,
    }
    hidden = model.biogpt(ids, **options).last_hidden_state  # (B, T, D)
    T = ids.shape[1]
    # The state at t - 1 predicts token t; rows lie one after the other.
    at = np.concatenate([b * T + np.arange(p.first, len(p.ids)) - 1 for b, p in enumerate(pieces)])
    targets = np.concatenate([piece.ids[piece.first :] for piece in pieces])
    log_probs = _log_probs(model, hidden.reshape(-1, hidden.shape[-1]), at, targets)
    ends = np.cumsum([len(piece.result) for piece in pieces])
    for piece, part in zip(pieces, np.split(log_probs, ends[:-1]), strict=True):
        piece.result[:] = part


def _log_probs(model: LanguageModel, states: Array, at: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """ln p(targets[m] | states[at[m]]): states (B T, D), at and targets (M,) give (M,), a block of M at a time."""
    backend = model.backend
    rows = max(1, BLOCK // model.config.vocab_size)
    found = []
    for start in range(0, len(at), rows):
        block = slice(start, start + rows)
        logits = model.output_projection(states[backend.asarray(at[block])])
        logits = widened(logits)
        chosen = backend.asarray(targets[block])[:, None]
        log_probs = backend.xp.take_along_axis(log_softmax(logits), chosen, axis=-1)
        found.append(backend.to_numpy(log_probs)[:, 0])
    return np.concatenate(found)
