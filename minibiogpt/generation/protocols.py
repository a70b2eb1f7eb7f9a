"""What generation needs of a model, and of a streamer: it knows no class of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from minibiogpt.backend import Array, Backend
from minibiogpt.config import BioGptConfig
from minibiogpt.generation.config import GenerationConfig
from minibiogpt.model.biogpt import BioGptModel


class LanguageModel(Protocol):
    """A base model with a head that gives the next token's logits; ``BioGptForCausalLM`` is one.

    Attributes
    ----------
    biogpt : the base model: ids (B, T) to hidden states (B, T, D).
    output_projection : the head: hidden states (..., D) to logits (..., V).
    generation_config : what ``generate`` does when no option says otherwise.
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
    """Receives the ids of one row as they come: first the prompt's, then one by one."""

    def put(self, ids: list[int]) -> None: ...

    def end(self) -> None: ...
