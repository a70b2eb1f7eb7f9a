"""One vector for each text: the state of its last token, or the mean over its tokens."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from minibiogpt.backend import Array, Backend
from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.model.batching import BATCH_TOKENS, Window, batches, padded, rows_of, window_sizes, windows

POOLINGS = ("last", "mean")


class Encoder(Protocol):
    """What pooling needs of a model; ``BioGptModel`` is one."""

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
    """One vector for each row.

    Parameters
    ----------
    input_ids : (B, T) integers, or a list of rows of unequal length.
    attention_mask : (B, T), 1 = real, padding on either side; default all ones.
    pooling : "last": the state of the last real token, the only one that has seen the whole text; "mean": the mean
        over all real tokens, ``</s>`` included.
    layer : None: the states after the final norm; 0 to L: hidden_states[layer], before it. The latter keeps every
        layer's states of a batch in memory.
    batch_tokens : rows of similar length are computed together, padding included at most so many positions.

    Returns
    -------
    (B, D) in the model's dtype.

    Raises
    ------
    InputError
        If ids, mask or an option cannot be, or a row holds no real token.

    Notes
    -----
    Of a row longer than N, "last" sees its last N tokens; "mean" sees it through windows of N, each N // 2 after
    the one before, and takes each token's state from the first window that holds it, as ``scoring.score`` does.
    """
    config = model.config
    if pooling not in POOLINGS:
        raise InputError(f"pooling must be one of {', '.join(POOLINGS)}", repr(pooling), "choose one of these")
    if layer is not None:
        checked_integer("layer", layer, 0, config.num_hidden_layers)
    rows, _ = rows_of(input_ids, attention_mask, config.vocab_size)
    pieces = [(b, w) for b, row in enumerate(rows) for w in _windows(model, len(row), pooling)]
    sums = np.zeros((len(rows), config.hidden_size), dtype=np.float64)  # (B, D)
    for batch in batches([w.end - w.begin for _, w in pieces], batch_tokens):
        chosen = [pieces[i] for i in batch]
        states = _states(model, [rows[b][w.begin : w.end] for b, w in chosen], layer)  # (B, T, D)
        found = _sums(model.backend, states, [w for _, w in chosen])  # (B, D)
        np.add.at(sums, [b for b, _ in chosen], found)
    counts = np.array([1 if pooling == "last" else len(row) for row in rows], dtype=np.float64)
    return model.backend.asarray((sums / counts[:, None]).astype(model.dtype))


def _windows(model: Encoder, n: int, pooling: str) -> list[Window]:
    """The windows of a row of n tokens; those from ``new`` on are summed."""
    N = model.config.max_position_embeddings
    if pooling == "last":
        return [Window(max(0, n - N), n, n - 1)]
    if n <= N:  # no stride is needed, and a model of one position has none
        return [Window(0, n, 0)]
    return windows(n, *window_sizes(model.config, None, None))


def _states(model: Encoder, rows: list[np.ndarray], layer: int | None) -> Array:
    """The states of one batch."""
    keep = layer is not None
    options: dict[str, Any] = {
        "use_cache": False,
        "output_attentions": False,
        "output_hidden_states": keep,
        "return_dict": True,
    }
    output = model(padded(rows), **options)
    return output.last_hidden_state if layer is None else output.hidden_states[layer]


def _sums(backend: Backend, states: Array, spans: list[Window]) -> np.ndarray:
    """Of each row of states (B, T, D), those from ``new`` to ``end`` summed in float64: (B, D)."""
    T = states.shape[1]
    places = np.arange(T)[None, :]
    first = np.array([w.new - w.begin for w in spans])[:, None]
    end = np.array([w.end - w.begin for w in spans])[:, None]
    wanted = backend.asarray((places >= first) & (places < end))
    return backend.to_numpy(backend.xp.where(wanted[:, :, None], states, 0).sum(axis=1, dtype="float64"))
