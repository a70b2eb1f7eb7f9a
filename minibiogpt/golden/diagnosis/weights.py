"""The weights of a model, each read from its file when it is needed and widened to float64, or dequantized."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.files.safetensors import StoredTensor, stored_tensors, widened
from minibiogpt.quantization import Quantization, StoredWeight, gather

KEPT_BYTES = 100_000_000  # of widened weights kept in memory at once


class Weights:
    """{name without the leading ``biogpt.``: float64 array}; empty without a folder."""

    def __init__(self, folder: Path | None, config: Any = None, quantization: Quantization | None = None) -> None:
        """Open the safetensors files in a folder.

        Parameters
        ----------
        config : ``quantization_config`` of config.json, of a file of quantized weights.
        quantization : how a case's weights are quantized; those of a file of floats are quantized when they are read.

        Raises
        ------
        CheckpointError
            If the folder has no complete safetensors files.
        """
        self.folder = folder
        stored = {} if folder is None else stored_tensors(folder)
        tensors = {name.removeprefix("biogpt."): x for name, x in stored.items()}
        self.stored: dict[str, StoredTensor | StoredWeight] = gather(tensors, config) if quantization else {**tensors}
        in_file = any(isinstance(x, StoredWeight) for x in self.stored.values())
        self.quantization = quantization
        self._chosen = set(quantization.chosen(self.stored)) if quantization and not in_file else set()
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        packed = self.packed(name)
        wide = self._floats(name) if packed is None else np.asarray(packed, np.float64)
        self._kept[name] = wide
        while len(self._kept) > 1 and sum(x.nbytes for x in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return wide

    def _floats(self, name: str) -> np.ndarray:
        tensor = self.stored[name]
        assert isinstance(tensor, StoredTensor)
        return widened(tensor.mapped(), tensor.dtype).astype(np.float64)

    def packed(self, name: str) -> PackedWeight | None:
        """Return a quantized weight as it is packed; None if it has floats."""
        tensor = self.stored[name]
        if isinstance(tensor, StoredWeight):
            return tensor.read()
        if name not in self._chosen or self.quantization is None:
            return None
        return self.quantization.pack(self._floats(name).astype(np.float32), "float64")

    def shape(self, name: str) -> tuple[int, ...]:
        return self.stored[name].shape

    def like(self, name: str) -> list[str]:
        """Return the other weights of the same shape, those of the same layer first."""
        layer = name.rpartition(".self_attn")[0] or name.rpartition(".")[0].rpartition(".")[0]
        others = [other for other in self.stored if other != name and self.shape(other) == self.shape(name)]
        same_kind = name.rpartition(".")[2]
        others = [other for other in others if other.endswith("." + same_kind)]
        return sorted(others, key=lambda other: not other.startswith(layer + "."))
