"""LoRA: merge a change of low rank into a weight while it is read.

Fine-tuning with LoRA leaves a matrix W (out, in) as it is and learns a change of low rank, B A: A (r, in) reads r
directions, B (out, r) writes them. The merged matrix gives the same outputs without further work:

    W' = W + scale * B A,    scale = alpha / r    (alpha / sqrt(r) with rank-stabilized LoRA)

An embedding (V, D) is stored the other way around, so its change is (B A)^T with A (r, V) and B (D, r). DoRA also
learns the length of each row (of each column of an embedding): W' is scaled to have these lengths.

Source: ``merge_and_unload`` of peft 0.21.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from minibiogpt.files.safetensors import widened


class InFile(Protocol):
    """One of the adapter's own tensors, in a safetensors file or a pickle."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    def mapped(self) -> np.ndarray: ...


class Tensor(Protocol):
    """A tensor of a checkpoint, stored or merged."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    def read_into(self, out: np.ndarray) -> None: ...
    def raw(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Change:
    """What is added to one weight: scale * B A, or its transpose, and for DoRA the lengths of the rows."""

    a: InFile
    b: InFile
    scale: float
    transposed: bool = False
    lengths: InFile | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        out, into = self.b.shape[0], self.a.shape[1]
        return (into, out) if self.transposed else (out, into)

    def applied(self, w: np.ndarray) -> np.ndarray:
        """Return the merged weight, from the base's (out, in)."""
        a, b = _values(self.a, w.dtype), _values(self.b, w.dtype)
        delta = b @ a
        delta *= self.scale
        w += delta.T if self.transposed else delta
        if self.lengths is not None:
            axis = 0 if self.transposed else 1
            norms = np.sqrt(np.square(w).sum(axis=axis, keepdims=True))
            w *= np.expand_dims(_values(self.lengths, w.dtype).reshape(-1), axis) / norms
        return w


@dataclass(frozen=True)
class Shift:
    """What is added to one bias: scale * the bias of B (``lora_bias``)."""

    b: InFile
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.b.shape

    def applied(self, w: np.ndarray) -> np.ndarray:
        w += self.scale * _values(self.b, w.dtype)
        return w


@dataclass(frozen=True)
class Replacement:
    """A tensor that the adapter holds whole, instead of the base's."""

    stored: InFile

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def dtype(self) -> str:
        return self.stored.dtype

    def raw(self) -> np.ndarray:
        return np.ascontiguousarray(self.stored.mapped()).reshape(-1).view(np.uint8)

    def read_into(self, out: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            out[...] = widened(self.stored.mapped(), self.stored.dtype)


@dataclass(frozen=True)
class Merged:
    """A tensor of the base with its change; it is merged when it is read, so only one is in memory at a time."""

    base: Tensor
    change: Change | Shift

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def dtype(self) -> str:
        return self.base.dtype

    def raw(self) -> np.ndarray:
        merged = np.empty(self.shape, np.float64)
        self.read_into(merged)
        return merged.reshape(-1).view(np.uint8)

    def read_into(self, out: np.ndarray) -> None:
        wide = out if out.dtype in (np.float32, np.float64) else np.empty(out.shape, np.float32)
        self.base.read_into(wide)
        with np.errstate(all="ignore"):  # what is not finite is reported by name afterwards
            merged = self.change.applied(wide)
            if merged is not out:
                out[...] = merged


def _values(tensor: InFile, dtype: np.dtype) -> np.ndarray:
    return widened(tensor.mapped(), tensor.dtype).astype(dtype)
