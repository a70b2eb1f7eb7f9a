"""What generation returns with ``return_dict_in_generate=True``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.model.cache import KVCache
from minibiogpt.model.ops import log_softmax
from minibiogpt.model.outputs import ModelOutput


@dataclass
class GenerateOutput(ModelOutput):
    """Output of ``generate`` with ``return_dict_in_generate=True``.

    Attributes
    ----------
    sequences : (rows, T + new) int64, prompt included; rows = B * num_return_sequences.
    sequences_scores : (rows,) in beam search with ``output_scores``: the summed log-probability in nats, divided by
        length ** length_penalty.
    scores : with ``output_scores``, for each step (rows, V): the logits after all logits processors; in beam search,
        with rows = B * num_beams, the log-probabilities after them.
    logits : with ``output_logits``, for each step (rows, V): the logits before any logits processor.
    beam_indices : (rows, new) in beam search: the row of ``scores`` in which each token was chosen; -1 after the end.
    attentions, hidden_states : with ``output_attentions`` or ``output_hidden_states``, for each step what the model
        returns of it: L arrays (rows, H, T, S), or L + 1 arrays (rows, T, D). T is the prompt's length in the first
        step and 1 in the others; with ``use_cache=False`` it is the whole length. rows is B * max(num_beams,
        num_return_sequences) in every step.
    past_key_values : the cache; None without one.
    """

    sequences: Array
    sequences_scores: Array | None = None
    scores: tuple[Array, ...] | None = None
    logits: tuple[Array, ...] | None = None
    beam_indices: Array | None = None
    attentions: tuple[tuple[Array, ...], ...] | None = None
    hidden_states: tuple[tuple[Array, ...], ...] | None = None
    past_key_values: KVCache | tuple[tuple[Array, Array], ...] | None = None


def transition_scores(
    sequences: Array, scores: Sequence[Array], beam_indices: Array | None = None, normalize_logits: bool = False
) -> Array:
    """Return the score of each new token when it was chosen, (rows, new); 0 after the end of a hypothesis.

    Parameters
    ----------
    sequences, scores, beam_indices : of a GenerateOutput. Without beam_indices each token was chosen in its own row.
    normalize_logits : convert logits to log-probabilities first. Set it for greedy decoding and sampling; the scores of
        beam search are log-probabilities already, and their sum is sequences_scores * length ** length_penalty.

    Source: compute_transition_scores in transformers 4.57.
    """
    if not scores:
        raise InputError("scores must be those of each step", "none", "call generate with output_scores=True")
    xp = backend_of(sequences).xp
    if beam_indices is None:
        beam_indices = xp.repeat(xp.arange(sequences.shape[0])[:, None], len(scores), axis=1)
    new = max(int((beam_indices >= 0).sum(axis=1).max()), 1)
    beam_indices = beam_indices[:, :new]
    result = xp.zeros((sequences.shape[0], new), dtype=scores[0].dtype)
    for step, (rows, tokens) in enumerate(zip(beam_indices.T, sequences[:, -new:].T, strict=True)):
        step_scores = log_softmax(scores[step]) if normalize_logits else scores[step]
        result[:, step] = xp.where(rows >= 0, step_scores[xp.maximum(rows, 0), tokens], 0)
    return result
