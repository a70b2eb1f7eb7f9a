"""What a model call returns: named fields, or a tuple of them with ``return_dict=False``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from minibiogpt.backend import Array
from minibiogpt.idioms import no_attribute
from minibiogpt.model.cache import KVCache

# Names that other models' outputs have, and how to get the fields that are None.
_ADVICE = {
    "logit": "did you mean logits?",
    "last_hidden_states": "did you mean last_hidden_state?",
    "pooler_output": "BioGPT has no pooler: write model.base_model.embed(input_ids, attention_mask)",
    "cross_attentions": "BioGPT has no cross-attention",
    "encoder_last_hidden_state": "BioGPT has no encoder",
    "decoder_hidden_states": "write hidden_states",
    "decoder_attentions": "write attentions",
    "last_hidden_state": "call the base model, or pass output_hidden_states=True",
    "past_key_value": "did you mean past_key_values?",
}
_ABSENT = {
    "loss": "pass labels",
    "past_key_values": "pass use_cache=True",
    "hidden_states": "pass output_hidden_states=True",
    "attentions": "pass output_attentions=True",
    "scores": "pass output_scores=True",
    "logits": "pass output_logits=True",
    "sequences_scores": "pass num_beams and output_scores=True",
    "beam_indices": "pass num_beams and output_scores=True",
}


class ModelOutput(Mapping[str, Any]):
    """Fields accessed by attribute, by key, or by index, and a mapping of those that are not None.

    Source: ModelOutput in transformers 4.57, an ordered dict. Here the fields are read-only by key.

    Examples
    --------
    >>> import numpy as np
    >>> output = CausalLMOutput(None, np.zeros((1, 2, 5)))
    >>> list(output), len(output), "loss" in output, output.get("loss"), output[0].shape
    (['logits'], 1, False, None, (1, 2, 5))
    """

    def to_tuple(self) -> tuple:
        """The fields that are not None, in order."""
        return tuple(self.values())

    def __iter__(self) -> Iterator[str]:
        names = (f.name for f in fields(self))  # type: ignore[arg-type]
        return (name for name in names if getattr(self, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        known = [f.name for f in fields(self)]  # type: ignore[arg-type]
        if key not in known:
            raise KeyError(str(no_attribute(self, key, _ADVICE)))
        if (value := getattr(self, key)) is None:
            raise KeyError(f"{key} of {type(self).__name__} is None; {_ABSENT.get(key, 'the call did not compute it')}")
        return value

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name, _ADVICE)


@dataclass
class BaseModelOutput(ModelOutput):
    """Output of the base model.

    Attributes
    ----------
    last_hidden_state : (B, T, D), after the final norm.
    past_key_values : the cache, longer by T; None with ``use_cache=False``.
    hidden_states : L + 1 arrays (B, T, D): the embeddings, then each layer's output. The last one is taken **before**
        the final norm, as in transformers 4.57 (5.x takes it after the norm, equal to ``last_hidden_state``).
    attentions : L arrays (B, H, T, S), after softmax and head mask.
    """

    last_hidden_state: Array
    past_key_values: KVCache | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class CausalLMOutput(ModelOutput):
    """Output of the language model.

    Attributes
    ----------
    loss : () mean of -log p in nats over the labels that are not ignored; None without labels.
    logits : (B, T, V) unnormalized log-probabilities of the next token, in nats.
    past_key_values, hidden_states, attentions : as in BaseModelOutput.
    """

    loss: Array | None
    logits: Array
    past_key_values: KVCache | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class SequenceClassifierOutput(ModelOutput):
    """Output of the sequence classifier.

    Attributes
    ----------
    loss : () mean squared error, or cross-entropy in nats; None without labels.
    logits : (B, labels) scores at each row's last real token: unnormalized, or in a regression the values themselves.
    past_key_values, hidden_states, attentions : as in BaseModelOutput.
    """

    loss: Array | None
    logits: Array
    past_key_values: KVCache | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class TokenClassifierOutput(ModelOutput):
    """Output of the token classifier.

    Attributes
    ----------
    loss : () mean cross-entropy in nats over the real tokens whose label is not ignored; None without labels.
    logits : (B, T, labels) unnormalized log-probabilities of each token's classes, in nats.
    hidden_states, attentions : as in BaseModelOutput.
    """

    loss: Array | None
    logits: Array
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
