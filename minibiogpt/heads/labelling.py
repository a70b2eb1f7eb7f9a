"""Texts of any length through a classification head: windows for long rows, batches by length.

A row of n > window tokens is split into the windows [k * stride, k * stride + window), the last one cut at n, as in
``scoring.score``: they are plain slices of the row, so only the first one starts with ``</s>``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.model.batching import BATCH_TOKENS, Window, batches, padded, window_sizes, windows
from minibiogpt.model.ops import softmax

if TYPE_CHECKING:
    from minibiogpt.heads.sequence_classification import BioGptForSequenceClassification
    from minibiogpt.heads.token_classification import BioGptForTokenClassification
    from minibiogpt.model.biogpt import BioGptModel

COMBINATIONS = ("mean", "last", "max")
Rows = Sequence[Sequence[int]]  # the ids of each text


def windows_of_row(config: BioGptConfig, n: int, window: int | None = None, stride: int | None = None) -> list[Window]:
    """Return the windows of a row of n tokens; a row that fits into one window needs no stride.

    Parameters
    ----------
    window : the largest number of tokens in one forward pass of a row, at most N (the default).
    stride : the distance between the starts of two windows; window // 2 by default.

    Examples
    --------
    >>> [tuple(w) for w in windows_of_row(BioGptConfig(max_position_embeddings=4), 7)]
    [(0, 4, 0), (2, 6, 4), (4, 7, 6)]
    """
    N = config.max_position_embeddings
    if window is None and stride is None and n <= N:  # a model with N = 1 has no valid stride
        return [Window(0, n, 0)]
    return windows(n, *window_sizes(config, window, stride))


def token_probabilities(
    model: BioGptForTokenClassification,
    rows: Rows,
    *,
    window: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    batch_size: int | None = None,
) -> list[np.ndarray]:
    """Return the probability of each label at each token, (n, labels) float64 for each row of n tokens.

    A token of a long row has the probabilities of the first window that contains it, in which it has the most context
    on its left: at least window - stride tokens, except at the beginning.

    Parameters
    ----------
    window, stride : see ``windows_of_row``.
    batch_tokens : the largest size of a batch of windows of similar length, in tokens, including padding.
    batch_size : the largest number of windows in a batch, instead of ``batch_tokens``.

    Raises
    ------
    InputError
        If window or stride do not fit N, or a logit is not finite.
    """

    def run(ids: np.ndarray) -> np.ndarray:
        logits = model.backend.to_numpy(model(ids, use_cache=False, return_dict=True).logits)
        return softmax(checked_finite("logits", logits).astype("float64"))

    return _by_position(run, model.config, rows, window, stride, batch_tokens, batch_size)


def hidden_states(
    model: BioGptModel,
    rows: Rows,
    *,
    window: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    batch_size: int | None = None,
) -> list[np.ndarray]:
    """Return the state of each token after the final norm, (n, D) in the model's dtype for each row of n tokens.

    The parameters and the choice of windows are those of ``token_probabilities``.
    """

    def run(ids: np.ndarray) -> np.ndarray:
        output = model(ids, use_cache=False, output_hidden_states=False, output_attentions=False, return_dict=True)
        return checked_finite("hidden states", model.backend.to_numpy(output.last_hidden_state))

    return _by_position(run, model.config, rows, window, stride, batch_tokens, batch_size)


def _by_position(
    run: Callable[[np.ndarray], np.ndarray],
    config: BioGptConfig,
    rows: Rows,
    window: int | None,
    stride: int | None,
    batch_tokens: int,
    batch_size: int | None,
) -> list[np.ndarray]:
    """Return ``run``'s values at each position of each row. The causal mask hides the padding on the right."""
    spans = [(b, w) for b, row in enumerate(rows) for w in windows_of_row(config, len(row), window, stride)]
    parts: dict[tuple[int, int], np.ndarray] = {}
    for indices in _batches([w.end - w.begin for _, w in spans], batch_tokens, batch_size):
        batch = [spans[i] for i in indices]
        values = run(padded([np.array(rows[b][w.begin : w.end], dtype=np.int64) for b, w in batch]))
        for (b, w), row_values in zip(batch, values, strict=True):
            parts[b, w.begin] = row_values[w.new - w.begin : w.end - w.begin]
    found: list[list[np.ndarray]] = [[] for _ in rows]
    for b, w in spans:
        found[b].append(parts[b, w.begin])
    return [one[0] if len(one) == 1 else np.concatenate(one) for one in found]


def class_scores(
    model: BioGptForSequenceClassification,
    rows: Rows,
    activation: Callable[[np.ndarray], np.ndarray],
    *,
    combine: str = "mean",
    window: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    batch_size: int | None = None,
) -> np.ndarray:
    """Return ``activation(logits)`` of each row, (B, labels) float64. A row that fits into one window is just that.

    Parameters
    ----------
    activation : from the float64 logits of one window, (labels,), to its scores: softmax, sigmoid or identity.
    combine : how a longer row's scores follow from those of its windows. "mean": their mean, each weighted by the
        number of tokens that no earlier window contains. "last": those of the row's last ``window`` tokens alone.
        "max": the largest score of each class; the probabilities of a softmax then add up to more than 1.
    window, stride, batch_tokens, batch_size : see ``token_probabilities``.

    Raises
    ------
    InputError
        If an option is invalid, window or stride do not fit N, or a logit is not finite.
    """
    if combine not in COMBINATIONS:
        raise InputError(
            f"combine must be one of {', '.join(COMBINATIONS)}", short_repr(combine), "choose one of these"
        )
    spans = []
    for b, row in enumerate(rows):
        found = windows_of_row(model.config, len(row), window, stride)
        if combine == "last" and len(found) > 1:
            found = [Window(len(row) - found[0].end, len(row), 0)]
        spans += [(b, w) for w in found]
    scores = np.zeros((len(spans), model.config.num_labels), dtype=np.float64)
    for indices in _batches([w.end - w.begin for _, w in spans], batch_tokens, batch_size):
        logits = _sequence_logits(model, [rows[b][w.begin : w.end] for b, w in (spans[i] for i in indices)])
        scores[indices] = [activation(row) for row in logits.astype("float64")]
    combined = np.zeros((len(rows), scores.shape[1]), dtype=np.float64)
    for b in range(len(rows)):
        mine = [i for i, (row, _) in enumerate(spans) if row == b]
        weights = np.array([w.end - w.new for _, w in (spans[i] for i in mine)], dtype=np.float64)
        if len(mine) == 1:
            combined[b] = scores[mine[0]]
        elif combine == "max":
            combined[b] = scores[mine].max(axis=0)
        else:
            combined[b] = weights @ scores[mine] / weights.sum()
    return combined


def _sequence_logits(model: BioGptForSequenceClassification, rows: Rows) -> np.ndarray:
    """Classify one batch, padded on the left so that the last position is the last token of every row."""
    width, pad = max(len(row) for row in rows), model.config.pad_token_id or 0
    ids = np.array([[pad] * (width - len(row)) + list(row) for row in rows], dtype=np.int64)
    mask = np.arange(width) >= width - np.array([[len(row)] for row in rows])
    logits = model.backend.to_numpy(model(ids, mask, use_cache=False, return_dict=True).logits)
    return checked_finite("logits", logits)


def _batches(lengths: list[int], batch_tokens: int, batch_size: int | None) -> list[list[int]]:
    """Group windows into batches of similar length, by the number of tokens or of windows."""
    if batch_size is None:
        return batches(lengths, batch_tokens)
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def checked_finite(name: str, values: np.ndarray) -> np.ndarray:
    """Return the values if all are finite. NaN means nothing as a score, and is not valid JSON."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite", "NaN or infinity", "check the weights, or try dtype float64")
    return values


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)); 0 where exp(-x) overflows.

    Examples
    --------
    >>> import math
    >>> sigmoid(np.array([math.log(3), -1e4])).round(12).tolist()
    [0.75, 0.0]
    """
    with np.errstate(all="ignore"):
        return 1 / (1 + np.exp(-x))
