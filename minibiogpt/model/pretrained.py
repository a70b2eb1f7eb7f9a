"""The base class of all models: load from files, initialize at random, count parameters, save."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Self

from minibiogpt.backend import Array, Backend
from minibiogpt.catalog.parameters import Shapes
from minibiogpt.checkpoint.weights import load_weights, random_weights, save_weights
from minibiogpt.config import BioGptConfig
from minibiogpt.model.layers import Weights


class Pretrained(ABC):
    """A model with a config, a backend, and named weights."""

    config: BioGptConfig
    backend: Backend
    name_or_path: str = ""  # the argument of from_pretrained, as in transformers; the tokenizer is there too
    head: tuple[str, ...] = ()  # tensors that are initialized at random if the checkpoint lacks them

    @abstractmethod
    def __init__(
        self,
        config: BioGptConfig,
        weights: Weights,
        backend: str | Backend = "numpy",
        attn_implementation: str = "auto",
    ) -> None: ...

    @staticmethod
    @abstractmethod
    def shapes_of(config: BioGptConfig) -> Shapes:
        """Return {name: shape} of every tensor of the model, without the leading ``biogpt.``."""

    @abstractmethod
    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Yield (name in a checkpoint, array) of every weight. A tied head is not listed twice."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The dtype of weights and computation: "float32", "float64", "float16" or "bfloat16"."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        attn_implementation: str = "auto",
        *,
        seed: int | None = 0,
        **changes: Any,
    ) -> Self:
        """Load "demo", a folder in Hugging Face layout, or a hub id.

        Tensors are read one by one, directly into their final buffer, and checked for NaN and infinity; float16 and
        bfloat16 are widened to ``dtype``. At most one tensor is in memory twice.

        Parameters
        ----------
        seed : for the weights of a classification head that the checkpoint lacks, drawn with the config's
            ``initializer_range``; a warning names them. None: such a checkpoint is an error.
        changes : fields of the config to change, such as ``num_labels=3`` or ``id2label={0: "no", 1: "yes"}``.

        Raises
        ------
        CheckpointError
            If tensors are missing or have the wrong shape (all are listed), or a file is invalid.
        """
        config, weights = load_weights(name, cls.shapes_of, backend, dtype, head=cls.head, seed=seed, **changes)
        model = cls(config, weights, backend, attn_implementation)
        model.name_or_path = os.fspath(name)
        return model

    @classmethod
    def from_config(
        cls,
        config: BioGptConfig,
        seed: int = 0,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        attn_implementation: str = "auto",
    ) -> Self:
        """Return an untrained model of these sizes, with random weights drawn from ``seed``."""
        weights = random_weights(config, cls.shapes_of(config), seed, backend, dtype)
        return cls(config, weights, backend, attn_implementation)

    def num_parameters(self) -> int:
        """Return the number of learned parameters."""
        return sum(x.size for _, x in self.named_parameters())

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors to ``folder`` as transformers reads them, each file atomically."""
        save_weights(folder, self.config, dict(self.named_parameters()), self.backend, type(self).__name__)

    def __repr__(self) -> str:
        c = self.config
        sizes = f"L={c.num_hidden_layers}, D={c.hidden_size}, H={c.num_attention_heads}, F={c.intermediate_size}"
        sizes += f", V={c.vocab_size}, N={c.max_position_embeddings}"
        details = f"{self.num_parameters():,} parameters, {self.dtype}, {self.backend.name}"
        return f"<{type(self).__name__} {sizes}; {details}>"
