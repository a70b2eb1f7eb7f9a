"""What generation returns when more than the ids is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from minibiogpt.backend import Array
from minibiogpt.cache import KVCache
from minibiogpt.outputs import Fields


@dataclass
class GenerateOutput(Fields):
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
