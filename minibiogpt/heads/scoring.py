"""Scores of texts: the log-probability of each token given those before it, totals, perplexity.

A text starts with ``</s>``, which is not scored, so every token of the text itself is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend import HALVES, Array, backend_of, ignore_overflow
from minibiogpt.generation.protocols import LanguageModel
from minibiogpt.model.batching import BATCH_TOKENS, batches, padded, unpadded_rows, window_sizes, windows
from minibiogpt.model.ops import log_softmax, widened

LOGITS_BLOCK = 1 << 22  # logits computed at once: 99 positions of the base model, 17 MB in float32, plus temporaries


@dataclass(frozen=True)
class Scores:
    """Scores of B rows, padded to the longest (T tokens).

    Attributes
    ----------
    log_probs : (B, T) ln p(token t | the real tokens before it in its row), in nats, at most 0; exactly 0 where
        ``scored`` is False. In the model's dtype (float32 for float16 and bfloat16).
    scored : (B, T) bool: every real token except the first of its row.
    """

    log_probs: Array
    scored: Array

    @property
    def total(self) -> Array:
        """(B,) float64: the sum of each row's log-probabilities, which is ln p(row | its first token)."""
        return self.log_probs.astype("float64").sum(axis=1)

    @property
    def tokens(self) -> Array:
        """(B,) int64: the number of scored tokens of each row."""
        return self.scored.astype("int64").sum(axis=1)

    @property
    @ignore_overflow
    def perplexity(self) -> Array:
        """(B,) float64: exp(-total / tokens); NaN for a row without scored tokens."""
        xp = backend_of(self.log_probs).xp
        tokens = self.tokens
        mean = -self.total / xp.maximum(tokens, 1)
        return xp.where(tokens > 0, xp.exp(mean), xp.full(tokens.shape, float("nan"), dtype="float64"))

    @property
    def loss(self) -> float:
        """The mean of -ln p over all scored tokens of the batch; NaN if there are none.

        This is transformers' loss for labels=input_ids with -100 at the pads. With padding on the left, the first token
        of each row needs -100 too, because transformers would score it given a pad.
        """
        count = int(self.tokens.sum())
        return -float(self.total.sum()) / count if count else float("nan")

    def row(self, b: int) -> Array:
        """Return the log-probabilities of the scored tokens of row b, (tokens,), in order."""
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
    """Return ln p of every token except the first of its row, given the real tokens before it.

    Parameters
    ----------
    input_ids : (B, T) integers, or a list of rows of unequal length.
    attention_mask : (B, T), 1 = real, padding on either side; default all ones. Pads are removed before anything is
        computed, so their side makes no difference.
    window : the largest number of tokens in one forward pass of a row, at most N (the default).
    stride : the distance between the starts of two windows of a longer row; window // 2 by default.
    batch_tokens : the largest size of a batch of windows of similar length, in tokens, including padding.

    Returns
    -------
    Scores. For a list of rows its arrays are padded on the right.

    Raises
    ------
    InputError
        If ids or mask are invalid, a row has no real token, or window or stride does not fit N.

    Notes
    -----
    A row of n > window tokens is split into the windows [k * stride, k * stride + window), the last one cut at n. They
    are plain slices of the row: only the first one starts with ``</s>``. Each token is scored once, in the first window
    that contains it. Tokens of the first window are conditioned on all tokens before them, later ones on at least
    window - stride and at most window - 1 tokens right before them.

    The head and the softmax process positions in blocks. The logits of a whole batch, (B, T, V), would take 347 MB for
    2048 tokens of the base model, and three times that in the softmax. Positions that are not scored get no logits.
    """
    config, backend = model.config, model.backend
    window, stride = window_sizes(config, window, stride)
    rows, real = unpadded_rows(input_ids, attention_mask, config.vocab_size)
    results = [np.zeros(len(row), dtype="float32" if model.dtype in HALVES else model.dtype) for row in rows]
    all_windows = [
        _ScoredWindow(row[w.begin : w.end], max(w.new, 1) - w.begin, result[max(w.new, 1) : w.end])
        for row, result in zip(rows, results, strict=True)
        for w in windows(len(row), window, stride)
        if len(row) > 1
    ]
    for batch in batches([len(w.ids) for w in all_windows], batch_tokens):
        _score_batch(model, [all_windows[i] for i in batch])

    log_probs = np.zeros(real.shape, dtype=results[0].dtype)  # (B, T)
    log_probs[real] = np.concatenate(results)
    scored = real.copy()
    scored[np.arange(len(rows)), real.argmax(axis=1)] = False
    return Scores(backend.asarray(log_probs), backend.asarray(scored))


class _ScoredWindow(NamedTuple):
    """One window: its ids, the index of the first one to score, and a view to write their scores to."""

    ids: np.ndarray
    first: int
    result: np.ndarray


def _score_batch(model: LanguageModel, batch: list[_ScoredWindow]) -> None:
    """Run the model on one batch of windows and write their scores to ``result``."""
    ids = padded([w.ids for w in batch])
    options: dict[str, Any] = {
        "use_cache": False,
        "output_attentions": False,
        "output_hidden_states": False,
        "return_dict": True,
    }
    hidden = model.biogpt(ids, **options).last_hidden_state  # (B, T, D)
    T = ids.shape[1]
    # The state at t - 1 predicts token t. Indices are into the flattened (B * T, D) states.
    indices = np.concatenate([b * T + np.arange(w.first, len(w.ids)) - 1 for b, w in enumerate(batch)])
    targets = np.concatenate([w.ids[w.first :] for w in batch])
    log_probs = _log_probs(model, hidden.reshape(-1, hidden.shape[-1]), indices, targets)
    ends = np.cumsum([len(w.result) for w in batch])
    for w, scores in zip(batch, np.split(log_probs, ends[:-1]), strict=True):
        w.result[:] = scores


def _log_probs(model: LanguageModel, states: Array, indices: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return ln p(targets[m] | states[indices[m]]), (M,), computed in blocks; states are (B * T, D)."""
    backend = model.backend
    rows = max(1, LOGITS_BLOCK // model.config.vocab_size)
    blocks = []
    for start in range(0, len(indices), rows):
        block = slice(start, start + rows)
        logits = model.output_projection(states[backend.asarray(indices[block])])
        logits = widened(logits)
        columns = backend.asarray(targets[block])[:, None]
        log_probs = backend.xp.take_along_axis(log_softmax(logits), columns, axis=-1)
        blocks.append(backend.to_numpy(log_probs)[:, 0])
    return np.concatenate(blocks)
