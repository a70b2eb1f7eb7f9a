"""The interfaces that generation needs from a model and from a streamer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from minibiogpt.backend import Array, Backend
from minibiogpt.config import BioGptConfig
from minibiogpt.generation.config import GenerationConfig
from minibiogpt.model.biogpt import BioGptModel


class LanguageModel(Protocol):
    """A base model with a head for next-token logits, such as ``BioGptForCausalLM``.

    Attributes
    ----------
    biogpt : the base model: ids (B, T) to hidden states (B, T, D).
    output_projection : the head: hidden states (..., D) to logits (..., V).
    generation_config : the default options of ``generate``.
    """

    generation_config: GenerationConfig

    @property
    def biogpt(self) -> BioGptModel: ...

    @property
    def output_projection(self) -> Callable[[Array], Array]: ...

    @property
    def config(self) -> BioGptConfig: ...

    @property
    def backend(self) -> Backend: ...

    @property
    def dtype(self) -> str: ...


class Streamer(Protocol):
    """Receives the ids of one row during generation, as NumPy arrays: first the prompt (1, T), then (1,) at a time."""

    def put(self, ids: Any) -> None: ...

    def end(self) -> None: ...
