"""Text embeddings: the hidden state of the last token, or the mean over all tokens."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from minibiogpt.backend import Array, Backend
from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.model.batching import BATCH_TOKENS, Window, batches, padded, unpadded_rows, window_sizes, windows

POOLINGS = ("last", "mean")


class Encoder(Protocol):
    """What pooling needs from a model; ``BioGptModel`` provides it."""

    config: BioGptConfig
    backend: Backend

    @property
    def dtype(self) -> str: ...

    def __call__(
        self,
        input_ids: Any,
        *,
        use_cache: bool | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        return_dict: bool | None,
    ) -> Any: ...


def embed(
    model: Encoder,
    input_ids: Any,
    attention_mask: Any = None,
    *,
    pooling: str = "last",
    layer: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Array:
    """Return one vector for each row.

    Parameters
    ----------
    input_ids : (B, T) integers, or a list of rows of unequal length.
    attention_mask : (B, T), 1 = real, padding on either side; default all ones.
    pooling : "last": the state of the last real token, the only one that has seen the whole text; "mean": the mean
        over all real tokens, including ``</s>``.
    layer : index into hidden_states, 0 to L, before the final norm (keeps all layers' states of a batch in memory);
        None: the states after the final norm.
    batch_tokens : the largest size of a batch of rows of similar length, in positions, including padding.

    Returns
    -------
    (B, D) in the model's dtype.

    Raises
    ------
    InputError
        If ids, mask or an option are invalid, or a row has no real token.

    Notes
    -----
    For a row longer than N, "last" uses the last N tokens. "mean" uses windows of N tokens that start N // 2 apart, and
    takes each token's state from the first window that contains it, as ``scoring.score`` does.
    """
    config = model.config
    if pooling not in POOLINGS:
        raise InputError(f"pooling must be one of {', '.join(POOLINGS)}", short_repr(pooling), "choose one of these")
    if layer is not None:
        checked_integer("layer", layer, 0, config.num_hidden_layers)
    rows, _ = unpadded_rows(input_ids, attention_mask, config.vocab_size)
    all_windows = [(b, w) for b, row in enumerate(rows) for w in _windows_of_row(model, len(row), pooling)]
    sums = np.zeros((len(rows), config.hidden_size), dtype=np.float64)  # (B, D)
    for indices in batches([w.end - w.begin for _, w in all_windows], batch_tokens):
        batch = [all_windows[i] for i in indices]
        states = _hidden_states(model, [rows[b][w.begin : w.end] for b, w in batch], layer)  # (B, T, D)
        partial_sums = _sum_new_states(model.backend, states, [w for _, w in batch])  # (B, D)
        np.add.at(sums, [b for b, _ in batch], partial_sums)
    counts = np.array([1 if pooling == "last" else len(row) for row in rows], dtype=np.float64)
    return model.backend.asarray((sums / counts[:, None]).astype(model.dtype))


def _windows_of_row(model: Encoder, n: int, pooling: str) -> list[Window]:
    """Return the windows of a row of n tokens. The states in [new, end) of each are summed."""
    N = model.config.max_position_embeddings
    if pooling == "last":
        return [Window(max(0, n - N), n, n - 1)]
    if n <= N:  # one window needs no stride; a model with N = 1 has no valid one
        return [Window(0, n, 0)]
    return windows(n, *window_sizes(model.config, None, None))


def _hidden_states(model: Encoder, rows: list[np.ndarray], layer: int | None) -> Array:
    """Return the requested states of one batch, (B, T, D)."""
    options: dict[str, Any] = {
        "use_cache": False,
        "output_attentions": False,
        "output_hidden_states": layer is not None,
        "return_dict": True,
    }
    output = model(padded(rows), **options)
    return output.last_hidden_state if layer is None else output.hidden_states[layer]


def _sum_new_states(backend: Backend, states: Array, batch: list[Window]) -> np.ndarray:
    """Sum the states (B, T, D) from ``new`` to ``end`` of each row's window in float64; return (B, D)."""
    T = states.shape[1]
    positions = np.arange(T)[None, :]
    first = np.array([w.new - w.begin for w in batch])[:, None]
    end = np.array([w.end - w.begin for w in batch])[:, None]
    summed = backend.asarray((positions >= first) & (positions < end))
    return backend.to_numpy(backend.xp.where(summed[:, :, None], states, 0).sum(axis=1, dtype="float64"))
