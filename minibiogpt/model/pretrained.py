"""What every model class has in common: made from files or at random, counted, saved, shown."""

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
    """A config, a backend, and weights that have names."""

    config: BioGptConfig
    backend: Backend
    name_or_path: str = ""  # what from_pretrained was given, as in transformers: the tokenizer lies there too
    head: tuple[str, ...] = ()  # the tensors that a checkpoint of another head lacks, and that can be new

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
        """{name: shape} of every tensor that the model is made of, less the leading ``biogpt.``."""

    @abstractmethod
    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """(name, array) of every weight, by its name in a checkpoint; a tied head is not named again."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """What everything is computed in: "float32", "float64", "float16" or "bfloat16"."""

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

        Tensors are read one by one, straight to where they stay, and seen to be numbers; float16 and bfloat16 are
        widened to ``dtype``. No more than one tensor is ever held twice.

        Parameters
        ----------
        seed : of the weights of a classification head that the checkpoint lacks, drawn as the config's
            ``initializer_range`` says; a warning names them. None: such a checkpoint is an error.
        changes : fields of the config to change, such as ``num_labels=3`` or ``id2label={0: "no", 1: "yes"}``.

        Raises
        ------
        CheckpointError
            Listing every tensor that is missing or misshapen, or naming what is wrong with a file.
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
        """A model of these sizes with random weights drawn from ``seed``, untrained."""
        weights = random_weights(config, cls.shapes_of(config), seed, backend, dtype)
        return cls(config, weights, backend, attn_implementation)

    def num_parameters(self) -> int:
        """How many numbers the model learned."""
        return sum(x.size for _, x in self.named_parameters())

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors into FOLDER as transformers reads them, each beside and renamed."""
        save_weights(folder, self.config, dict(self.named_parameters()), self.backend, type(self).__name__)

    def __repr__(self) -> str:
        c = self.config
        sizes = f"L={c.num_hidden_layers}, D={c.hidden_size}, H={c.num_attention_heads}, F={c.intermediate_size}"
        sizes += f", V={c.vocab_size}, N={c.max_position_embeddings}"
        counted = f"{self.num_parameters():,} parameters, {self.dtype}, {self.backend.name}"
        return f"<{type(self).__name__} {sizes}; {counted}>"
