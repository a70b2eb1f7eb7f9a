"""What generation returns when more than the ids is asked for."""

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
    """With ``return_dict_in_generate=True``.

    Attributes
    ----------
    sequences : (rows, T + new) int64, the prompt included; rows = B num_return_sequences.
    sequences_scores : (rows,) of beam search with ``output_scores``: summed log-probability in nats, divided by
        length ** length_penalty.
    scores : with ``output_scores``, for each step (rows, V): the logits after every rule; in beam search, for
        rows = B num_beams, the log-probabilities after every rule.
    logits : with ``output_logits``, for each step (rows, V): the logits before any rule.
    beam_indices : (rows, new) of beam search: which row of ``scores`` each token was chosen in; -1 after the end.
    past_key_values : the cache; None without one.
    """

    sequences: Array
    sequences_scores: Array | None = None
    scores: tuple[Array, ...] | None = None
    logits: tuple[Array, ...] | None = None
    beam_indices: Array | None = None
    past_key_values: KVCache | None = None


def transition_scores(
    sequences: Array, scores: Sequence[Array], beam_indices: Array | None = None, normalize_logits: bool = False
) -> Array:
    """What each new token scored when it was chosen: (rows, new) of ``output_scores``; 0 after a hypothesis' end.

    Parameters
    ----------
    sequences, scores, beam_indices : of a GenerateOutput; without beams a row was chosen in that very row.
    normalize_logits : turn logits into log-probabilities first, as greedy and sampled scores want it; those of beam
        search are log-probabilities already. The sum of a hypothesis' is its sequences_scores * length ** penalty.

    Source: compute_transition_scores in transformers 4.57.
    """
    if not scores:
        raise InputError("scores must be those of each step", "none", "call generate with output_scores=True")
    xp = backend_of(sequences).xp
    if beam_indices is None:
        beam_indices = xp.repeat(xp.arange(sequences.shape[0])[:, None], len(scores), axis=1)
    new = beam_indices.shape[1]
    found = xp.zeros((sequences.shape[0], new), dtype=scores[0].dtype)
    for step, (rows, tokens) in enumerate(zip(beam_indices.T, sequences[:, -new:].T, strict=True)):
        told = log_softmax(scores[step]) if normalize_logits else scores[step]
        found[:, step] = xp.where(rows >= 0, told[xp.maximum(rows, 0), tokens], 0)
    return found
