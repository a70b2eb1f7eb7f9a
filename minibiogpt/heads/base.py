"""ModelWithHead: the common base class of the three heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from minibiogpt.backend import Array
from minibiogpt.model.biogpt import BioGptModel
from minibiogpt.model.layers import Weights
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Tap, Trace
from minibiogpt.trace.edits import make_tap


class ModelWithHead(Pretrained):
    """A base model with a head on top."""

    def _build(self, weights: Weights, attn_implementation: str) -> None:
        base = {name: weights[name] for name in BioGptModel.shapes_of(self.config)}
        self.biogpt = BioGptModel(self.config, base, self.backend, attn_implementation)
        self._make_head(weights)

    @abstractmethod
    def _make_head(self, weights: Weights) -> None:
        """Create the head from its weights."""

    @property
    def dtype(self) -> str:
        return self.biogpt.dtype

    @property
    def base_model(self) -> BioGptModel:
        return self.biogpt

    @property
    def attn_implementation(self) -> str:
        """The implementation of attention; see BioGptModel."""
        return self.biogpt.attn_implementation

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Yield the base model's parameters, with ``biogpt.`` in front of their names."""
        return ((f"biogpt.{name}", x) for name, x in self.biogpt.named_parameters())

    def _make_tap(self, trace: Trace | None, options: dict[str, Any]) -> tuple[Tap, dict[str, Any]]:
        """Return the tap of this call and the remaining options, which go to the base model."""
        edits = {name: options.pop(name) for name in ("edits", "ablate", "patch_from") if name in options}
        return options.pop("tap", None) or make_tap(self.config, self.backend, trace, **edits), options

    def _dict_or_tuple(self, output: Any, return_dict: bool | None) -> Any:
        return output if (self.config.use_return_dict if return_dict is None else return_dict) else output.to_tuple()
