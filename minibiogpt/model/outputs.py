"""What a model call returns: named fields, or a tuple of them with ``return_dict=False``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from minibiogpt.backend import Array
from minibiogpt.model.cache import KVCache


class ModelOutput:
    """Fields accessed by attribute, by key, or by index among those that are not None, as in transformers."""

    def to_tuple(self) -> tuple:
        """The fields that are not None, in order."""
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return tuple(value for value in values if value is not None)

    def keys(self) -> list[str]:
        """The names of the fields that are not None, in order."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]  # type: ignore[arg-type]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of the fields that are not None, in order."""
        return [(name, getattr(self, name)) for name in self.keys()]

    def __getitem__(self, key: str | int | slice) -> Any:
        return getattr(self, key) if isinstance(key, str) else self.to_tuple()[key]


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
