"""Recorded: results for a page that holds a run but no weights: logit lens, and attribution of the likeliest logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minibiogpt import BioGptForCausalLM
from minibiogpt.backend import Array, ignore_overflow
from minibiogpt.lens import logit_attribution

MOST_PROBABLE = 5  # tokens for each layer and position, as in static/explorer/lens/lens_data.js


@ignore_overflow
def recorded_lens(model: BioGptForCausalLM, trace: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Return what the page's lens shows of a call with one row, as small arrays.

    Returns
    -------
    {"lens.ids": (L + 1, T, 5), "lens.probs": (L + 1, T, 5), "attribution": (C, T), "attribution.token": (T,)}: the most
    probable next tokens after the embeddings and after each layer, largest first, and their probabilities; and what
    each of the C components of ``logit_attribution`` adds to the logit of the most probable token after each position.

    Examples
    --------
    >>> from minibiogpt import Trace
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> {name: x.shape for name, x in recorded_lens(model, trace).items()}
    {'lens.ids': (5, 3, 5), 'lens.probs': (5, 3, 5), 'attribution': (27, 3), 'attribution.token': (3,)}
    """
    host: Callable[[Any], np.ndarray] = model.backend.to_numpy
    found = [_most_probable(host(logits)[0]) for logits in _lens_logits(model, trace)]
    tokens = found[-1][0][:, 0]
    parts = [logit_attribution(model, trace, int(token), t) for t, token in enumerate(tokens)]
    return {
        "lens.ids": np.stack([ids for ids, _ in found]),
        "lens.probs": np.stack([probs for _, probs in found]),
        "attribution": np.array([[host(x)[0] for x in values.values()] for values in parts]).T,
        "attribution.token": tokens,
    }


def _lens_logits(model: BioGptForCausalLM, trace: Mapping[str, Array]) -> Iterator[Array]:
    """Yield (1, T, V) logits after the embeddings and after each layer, one at a time: all would need much memory."""
    last = model.config.num_hidden_layers - 1
    for name in ["embeddings", *(f"layers.{layer}" for layer in range(last))]:
        yield model.output_projection(model.biogpt.layer_norm(trace[name]))
    yield trace["logits"]


def _most_probable(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the largest logits of each row (T, V), largest first, and their probabilities in float32."""
    wide = logits.astype(np.float64)
    kept = min(MOST_PROBABLE, wide.shape[1])
    ids = np.sort(np.argpartition(-wide, kept - 1, axis=1)[:, :kept], axis=1)  # of equal logits, the smaller id first
    ids = np.take_along_axis(ids, np.argsort(-np.take_along_axis(wide, ids, 1), axis=1, kind="stable"), 1)
    e = np.exp(wide - wide.max(axis=1, keepdims=True))
    probs = np.take_along_axis(e, ids, 1) / e.sum(axis=1, keepdims=True)
    return ids, probs.astype(np.float32)
