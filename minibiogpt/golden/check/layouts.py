"""Detect the layout of a candidate's array from its shape, or describe why its shape doesn't fit.

Letters are those of the case (B, T, S, H, Dh, D, F, V). D is split into H and Dh, so that heads merged in
a different order can be detected. A *layout* is the order in which the candidate has the reference's axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr
from minibiogpt.golden.format.case import Entry

Axis = tuple[str, int]
Slices = tuple[slice, ...]
MULTIPLES = (128, 64, 32, 16, 8)  # to which implementations pad a vocabulary
MEMORY_ORDER = "unclear from its shape"
MAX_AXES = 5  # of which all orders are tried: 120


@dataclass(frozen=True)
class Layout:
    """The reference's axes in the candidate's order.

    Attributes
    ----------
    order : (letter, size) of each axis in the candidate's order, with D split into H and Dh.
    back : the index in ``order`` of each axis of the reference.
    shape : the reference's shape.
    axes : the candidate's axes in letters, in the syntax of ``--map``: "B T H*Dh".
    """

    order: tuple[Axis, ...]
    back: tuple[int, ...]
    shape: tuple[int, ...]
    axes: str

    @property
    def keeps_order(self) -> bool:
        """Whether the elements have the reference's order in memory (axes of size 1 may be anywhere)."""
        moved = [axis for axis in self.back if self.order[axis][1] != 1]
        return moved == sorted(moved)

    def split(self, x: np.ndarray) -> np.ndarray:
        """Return the candidate's array with the reference's axes, D still split; a view if NumPy can make one."""
        return x.reshape([size for _, size in self.order]).transpose(self.back)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the candidate's array in the reference's shape."""
        return self.split(x).reshape(self.shape)


def axes_of(entry: Entry, config: Mapping[str, Any]) -> list[Axis]:
    """Return the letters and sizes of an entry's axes, with D split into H and Dh.

    Examples
    --------
    >>> entry = Entry("layers.0", (2, 5, 6), "B T D", 1.0, {})
    >>> axes_of(entry, {"num_attention_heads": 3})
    [('B', 2), ('T', 5), ('H', 3), ('Dh', 2)]
    """
    heads: Any = config.get("num_attention_heads")
    found: list[Axis] = []
    for letter, size in zip(entry.axes.split(), entry.shape, strict=True):
        if letter == "D" and is_integer(heads) and heads > 0 and size % heads == 0:
            found += [("H", heads), ("Dh", size // heads)]
        else:
            found.append((letter, size))
    return found


def possible_layouts(shape: Sequence[int], entry: Entry, config: Mapping[str, Any]) -> Iterator[Layout]:
    """Yield every layout of the entry that ``shape`` fits, beginning with the one that keeps the memory order.

    These are the same shape, flattened arrays, added or dropped axes of size 1, merged or split axes, and permuted
    axes. If no reshape that keeps the memory order fits, the last layout reinterprets the memory as is, with ``axes``
    MEMORY_ORDER.
    """
    axes, boundaries = axes_of(entry, config), _cumulative_products(shape)
    if math.prod(shape) != math.prod(entry.shape):
        return
    unchanged = _layout(axes, range(len(axes)), shape, entry)
    fits = boundaries <= _cumulative_products(size for _, size in axes) or boundaries >= _cumulative_products(
        entry.shape
    )
    if fits:
        yield unchanged
    orders = itertools.permutations(range(len(axes))) if len(axes) <= MAX_AXES else ()
    for order in orders:
        layout = _layout(axes, order, shape, entry)
        if not layout.keeps_order and boundaries <= _cumulative_products(size for _, size in layout.order):
            yield layout
    if not fits:
        yield replace(unchanged, axes=MEMORY_ORDER)


def declared_layout(text: str, shape: Sequence[int], entry: Entry, config: Mapping[str, Any]) -> Layout | None:
    """Return the layout that an alias or a map declares, or None if the shape doesn't fit it."""
    axes = axes_of(entry, config)
    letters = [letter for letter, _ in axes]
    declared = _split_letters(text, axes)
    if sorted(declared) != sorted(letters):
        return None
    layout = _layout(axes, [letters.index(letter) for letter in declared], shape, entry)
    boundaries = _cumulative_products(size for _, size in layout.order)
    fits = math.prod(shape) == math.prod(entry.shape) and _cumulative_products(shape) <= boundaries
    return layout if fits else None


def check_letters(text: str, entry: Entry, config: Mapping[str, Any]) -> None:
    """Check that the axes a map declares are the entry's.

    Raises
    ------
    InputError
        If ``text`` is not the entry's axes in some order.
    """
    axes = axes_of(entry, config)
    if sorted(_split_letters(text, axes)) != sorted(letter for letter, _ in axes):
        letters = " ".join(letter for letter, _ in axes)
        must = f"the axes of {entry.name} must be {letters} in some order, with * between merged axes"
        raise InputError(must, short_repr(text), "correct the map")


def _split_letters(text: str, axes: Sequence[Axis]) -> list[str]:
    """Return the declared letters in order, with D split if the entry's is; axes of size 1 may be omitted."""
    letters = [letter for letter, _ in axes]
    declared = [letter for letter in text.replace("*", " ").split() if letter != "1"]
    if "D" in declared and "D" not in letters:
        at = declared.index("D")
        declared[at : at + 1] = ["H", "Dh"]
    return declared + [letter for letter, size in axes if size == 1 and letter not in declared]


def _layout(axes: Sequence[Axis], order: Sequence[int], shape: Sequence[int], entry: Entry) -> Layout:
    reordered = tuple(axes[i] for i in order)
    back = tuple(list(order).index(i) for i in range(len(axes)))
    return Layout(reordered, back, entry.shape, _axis_letters(reordered, shape))


def _cumulative_products(shape: Any) -> set[int]:
    """Return the cumulative products of the sizes. Merging axes of a shape gives a subset of its products.

    Examples
    --------
    >>> sorted(_cumulative_products((2, 1, 3, 7))), sorted(_cumulative_products((6, 7)))
    ([2, 6, 42], [6, 42])
    """
    return set(itertools.accumulate((size for size in shape if size != 1), lambda a, b: a * b))


def _axis_letters(order: Sequence[Axis], shape: Sequence[int]) -> str:
    """Return the candidate's axes in letters, with * between merged axes and without axes of size 1.

    Examples
    --------
    >>> _axis_letters([("T", 5), ("B", 1), ("H", 3), ("Dh", 2)], (5, 6)), _axis_letters([("B", 2), ("T", 5)], (10,))
    ('T D', 'B*T')
    """
    ends, words, size = _cumulative_products(shape), [[]], 1  # type: ignore[var-annotated]
    for letter, n in order:
        if n == 1:
            continue
        size *= n
        words[-1].append(letter)
        if size in ends:
            words.append([])
    return " ".join("*".join(word).replace("H*Dh", "D") for word in words if word)


def mismatch(shape: tuple[int, ...], entry: Entry, sizes: Mapping[str, int]) -> str:
    """Describe why this shape isn't the entry's: what is expected, what was found, and the likely reason.

    Parameters
    ----------
    sizes : sizes of all letters of the same call, to detect S where T is expected.
    """
    letters = entry.axes.split()
    expected = f"{entry.axes or 'a scalar'} = {entry.shape}, found {shape}"
    return f"expected {expected}: {_mismatch_reason(shape, entry.shape, letters, sizes)}"


def _mismatch_reason(
    shape: tuple[int, ...], expected: tuple[int, ...], letters: list[str], sizes: Mapping[str, int]
) -> str:
    if math.prod(shape) == 0:
        return "it has no elements"
    if math.prod(shape) == 1:
        return "a single value, which is not broadcast"
    if math.prod(shape) == math.prod(expected):
        return "the right number of elements, but different axes"
    found, axes = [n for n in shape if n != 1], list(zip(letters, expected, strict=True))
    axes = axes if len(shape) == len(expected) else [(letter, n) for letter, n in axes if n != 1]
    found = list(shape) if len(shape) == len(expected) else found
    if len(found) != len(axes):
        missing = [letter for i, (letter, _) in enumerate(axes) if found == [n for _, n in axes[:i] + axes[i + 1 :]]]
        if missing == ["B"] or missing[:1] == ["B"]:
            return f"the batch axis is missing: the case has B = {dict(axes)['B']} rows"
        return f"the axis {missing[0]} is missing" if missing else f"{len(shape)} axes instead of {len(expected)}"
    different = [(letter, n, m) for (letter, n), m in zip(axes, found, strict=True) if n != m]
    return "; ".join(_axis_mismatch(letter, n, m, sizes) for letter, n, m in different)


def _axis_mismatch(letter: str, expected: int, found: int, sizes: Mapping[str, int]) -> str:
    """Describe one axis whose size differs."""
    name = f"{letter} is {found}, not {expected}"
    if letter == "T" and found == sizes.get("S"):
        return f"{name}: the size of S, all positions instead of the {expected} new ones"
    if letter == "S" and found == sizes.get("T"):
        return f"{name}: the size of T, without the {expected - found} positions of the cache"
    if letter in ("T", "S") and found == expected + 1:
        return f"{name}: 1 extra (a leading </s>?)"
    if letter == "V" and found > expected:
        multiple = next((m for m in MULTIPLES if found == -(-expected // m) * m), None)
        padded = f": padded to a multiple of {multiple}" if multiple else ""
        return f"{name}{padded}, {found - expected} extra columns; remove them"
    return f"{name}: {expected - found} missing" if found < expected else f"{name}: {found - expected} extra"


def overlaps(shape: tuple[int, ...], expected: tuple[int, ...]) -> Iterator[tuple[str, Slices, Slices]]:
    """Yield the parts to compare if two shapes differ in one axis: (note, slices of candidate, slices of reference)."""
    different = [i for i, (m, n) in enumerate(zip(shape, expected, strict=False)) if m != n]
    if len(shape) != len(expected) or len(different) != 1 or not math.prod(shape):
        return
    axis, size = different[0], min(shape[different[0]], expected[different[0]])
    for which, start in (("first", 0), ("last", -size)):
        kept = slice(start, start + size or None)
        yield (
            f"the {which} {size} agree",
            tuple(kept if i == axis and shape[i] > size else slice(None) for i in range(len(shape))),
            tuple(kept if i == axis and expected[i] > size else slice(None) for i in range(len(expected))),
        )
