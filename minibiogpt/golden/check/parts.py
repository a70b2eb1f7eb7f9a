"""Arrays of some positions only: ports often compute the logits of the last position alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from minibiogpt.golden.format.case import Entry


@dataclass(frozen=True)
class Part:
    """Some positions of an array of the case.

    Attributes
    ----------
    entry : the array's entry with the shape of the part.
    positions : which positions of each row, (B, n), or (1, n) for all rows alike.
    words : the description for the report: "the last 1 of 7 positions".
    ends : whether these are the array's last positions, and not the last that aren't padding.
    """

    entry: Entry
    positions: np.ndarray
    words: str
    ends: bool = True

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the part of the whole array."""
        letters = self.entry.axes.split()
        sizes = {"B": len(self.positions), "T": self.positions.shape[1]}
        return np.take_along_axis(x, self.positions.reshape([sizes.get(a, 1) for a in letters]), letters.index("T"))


def count_of(shape: tuple[int, ...], entry: Entry) -> int | None:
    """Return how many positions an array of this shape holds if only its axis T is shorter; None if that can't be.

    Examples
    --------
    >>> entry = Entry("logits", (2, 7, 149), "B T V", 1.0, {})
    >>> [count_of(shape, entry) for shape in ((2, 149), (2, 1, 149), (2, 3, 149), (2, 7, 149), (2, 150))]
    [1, 1, 3, None, None]
    """
    letters = entry.axes.split()
    if "T" not in letters or not math.prod(entry.shape) or not math.prod(shape):
        return None
    whole = entry.shape[letters.index("T")]
    count = math.prod(shape) * whole // math.prod(entry.shape)
    fits = [n for n in shape if n != 1] == [n for n in _shorter(entry, count).shape if n != 1]
    return count if 0 < count < whole and fits else None


def last_parts(entry: Entry, count: int, mask: np.ndarray | None) -> Iterator[Part]:
    """Yield the readings of "the last ``count`` positions": those of the array, and those that aren't padding.

    Parameters
    ----------
    mask : attention_mask of the call, (B, S), or None. The second reading needs padding on the right.
    """
    letters, shorter = entry.axes.split(), _shorter(entry, count)
    whole = entry.shape[letters.index("T")]
    yield Part(shorter, np.arange(whole - count, whole)[None], f"the last {count} of {whole} positions")
    if mask is None or "B" not in letters or mask.ndim != 2 or mask.shape[1] < whole:
        return
    real = mask[:, -whole:] != 0
    if len(real) != entry.shape[letters.index("B")] or (real.sum(1) < count).any() or real[:, -1].all():
        return
    positions = np.stack([np.flatnonzero(row)[-count:] for row in real])
    words = f"the last {count} of each row's positions that aren't padding"
    yield Part(shorter, positions, words, ends=False)


def _shorter(entry: Entry, count: int) -> Entry:
    letters = entry.axes.split()
    sizes = [count if letter == "T" else n for letter, n in zip(letters, entry.shape, strict=True)]
    return replace(entry, shape=tuple(sizes))
