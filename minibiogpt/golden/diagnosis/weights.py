"""The weights of a model, each read from its file when it is needed and widened to float64."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from minibiogpt.files.safetensors import StoredTensor, stored_tensors, widened

KEPT_BYTES = 100_000_000  # of widened weights kept in memory at once


class Weights:
    """{name without the leading ``biogpt.``: float64 array}; empty without a folder."""

    def __init__(self, folder: Path | None) -> None:
        """Open the safetensors files in a folder.

        Raises
        ------
        CheckpointError
            If the folder has no complete safetensors files.
        """
        self.folder = folder
        stored = {} if folder is None else stored_tensors(folder)
        self.stored: dict[str, StoredTensor] = {name.removeprefix("biogpt."): x for name, x in stored.items()}
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        tensor = self.stored[name]
        wide = widened(tensor.mapped(), tensor.dtype).astype(np.float64)
        self._kept[name] = wide
        while len(self._kept) > 1 and sum(x.nbytes for x in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return wide

    def shape(self, name: str) -> tuple[int, ...]:
        return self.stored[name].shape

    def like(self, name: str) -> list[str]:
        """Return the other weights of the same shape, those of the same layer first."""
        layer = name.rpartition(".self_attn")[0] or name.rpartition(".")[0].rpartition(".")[0]
        others = [other for other in self.stored if other != name and self.shape(other) == self.shape(name)]
        same_kind = name.rpartition(".")[2]
        others = [other for other in others if other.endswith("." + same_kind)]
        return sorted(others, key=lambda other: not other.startswith(layer + "."))
