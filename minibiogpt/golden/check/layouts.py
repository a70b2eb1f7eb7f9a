"""Axes: which shapes of a candidate can be read as the reference's, and in words what is wrong with the others.

Letters are those of the case (B, T, S, H, Dh, D, F, V). D is taken apart into H Dh, so that heads which were merged
in another order can be told. A *reading* says in which order the candidate holds the reference's axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError
from minibiogpt.golden.format.case import Entry

Axis = tuple[str, int]
Cut = tuple[slice, ...]
MULTIPLES = (128, 64, 32, 16, 8)  # to which implementations pad a vocabulary
MEMORY = "unlike its shape: in memory it lies as the reference"
MOST_AXES = 5  # of which the orders are tried: 120


@dataclass(frozen=True)
class Reading:
    """The reference's axes in the order in which the candidate holds them.

    Attributes
    ----------
    order : (letter, size) of each axis in the candidate's order, D taken apart.
    back : where each axis of the reference stands in ``order``.
    shape : the reference's.
    axes : the candidate's axes in letters, as ``--map`` takes them: "B T H*Dh".
    """

    order: tuple[Axis, ...]
    back: tuple[int, ...]
    shape: tuple[int, ...]
    axes: str

    @property
    def keeps_order(self) -> bool:
        """Whether the numbers lie in memory as in the reference (axes of size 1 may stand anywhere)."""
        moved = [axis for axis in self.back if self.order[axis][1] != 1]
        return moved == sorted(moved)

    def apart(self, x: np.ndarray) -> np.ndarray:
        """The candidate's array with the reference's axes, D still taken apart: a view wherever NumPy can."""
        return x.reshape([size for _, size in self.order]).transpose(self.back)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The candidate's array in the reference's shape."""
        return self.apart(x).reshape(self.shape)


def axes_of(entry: Entry, config: Mapping[str, Any]) -> list[Axis]:
    """The letters and sizes of an entry's axes, D taken apart into H and Dh.

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


def readings(shape: Sequence[int], entry: Entry, config: Mapping[str, Any]) -> Iterator[Reading]:
    """Every way to read ``shape`` as the entry's, the one that keeps the memory order first.

    The same shape, flattened, with axes of size 1 more or less, axes merged or taken apart, axes in another order.
    Last, where no shape explains it, the numbers as they lie in memory (``axes`` is then ``MEMORY``).
    """
    axes, squeezed = axes_of(entry, config), _products(shape)
    if math.prod(shape) != math.prod(entry.shape):
        return
    plain = _reading(axes, range(len(axes)), shape, entry)
    fits = squeezed <= _products(size for _, size in axes) or squeezed >= _products(entry.shape)
    if fits:
        yield plain
    orders = itertools.permutations(range(len(axes))) if len(axes) <= MOST_AXES else ()
    for order in orders:
        reading = _reading(axes, order, shape, entry)
        if not reading.keeps_order and squeezed <= _products(size for _, size in reading.order):
            yield reading
    if not fits:
        yield replace(plain, axes=MEMORY)


def declared(text: str, shape: Sequence[int], entry: Entry, config: Mapping[str, Any]) -> Reading | None:
    """The reading that an alias or a map declares, or None where the shape is not of these axes."""
    axes = axes_of(entry, config)
    letters = [letter for letter, _ in axes]
    given = _taken_apart(text, axes)
    if sorted(given) != sorted(letters):
        return None
    reading = _reading(axes, [letters.index(letter) for letter in given], shape, entry)
    fits = math.prod(shape) == math.prod(entry.shape) and _products(shape) <= _products(s for _, s in reading.order)
    return reading if fits else None


def check_letters(text: str, entry: Entry, config: Mapping[str, Any]) -> None:
    """The axes that a map declares must be the entry's.

    Raises
    ------
    InputError
        If ``text`` is not the entry's axes in some order.
    """
    axes = axes_of(entry, config)
    if sorted(_taken_apart(text, axes)) != sorted(letter for letter, _ in axes):
        letters = " ".join(letter for letter, _ in axes)
        must = f"the axes of {entry.name} must be {letters} in some order, with * between merged ones"
        raise InputError(must, repr(text)[:80], "correct the map")


def _taken_apart(text: str, axes: Sequence[Axis]) -> list[str]:
    """The letters in the order that is declared: D as H Dh where it is so, and what has size 1 may be left out."""
    letters = [letter for letter, _ in axes]
    given = [letter for letter in text.replace("*", " ").split() if letter != "1"]
    if "D" in given and "D" not in letters:
        at = given.index("D")
        given[at : at + 1] = ["H", "Dh"]
    return given + [letter for letter, size in axes if size == 1 and letter not in given]


def _reading(axes: Sequence[Axis], order: Sequence[int], shape: Sequence[int], entry: Entry) -> Reading:
    held = tuple(axes[i] for i in order)
    back = tuple(list(order).index(i) for i in range(len(axes)))
    return Reading(held, back, entry.shape, _in_letters(held, shape))


def _products(shape: Any) -> set[int]:
    """Where the axes end in memory: two shapes, one of which only merges axes of the other, share these.

    Examples
    --------
    >>> sorted(_products((2, 1, 3, 7))), sorted(_products((6, 7)))
    ([2, 6, 42], [6, 42])
    """
    return set(itertools.accumulate((size for size in shape if size != 1), lambda a, b: a * b))


def _in_letters(order: Sequence[Axis], shape: Sequence[int]) -> str:
    """The candidate's axes in letters; merged ones have a * between, and axes of size 1 are left out.

    Examples
    --------
    >>> _in_letters([("T", 5), ("B", 1), ("H", 3), ("Dh", 2)], (5, 6)), _in_letters([("B", 2), ("T", 5)], (10,))
    ('T D', 'B*T')
    """
    ends, words, size = _products(shape), [[]], 1  # type: ignore[var-annotated]
    for letter, n in order:
        if n == 1:
            continue
        size *= n
        words[-1].append(letter)
        if size in ends:
            words.append([])
    return " ".join("*".join(word).replace("H*Dh", "D") for word in words if word)


def mismatch(shape: tuple[int, ...], entry: Entry, sizes: Mapping[str, int]) -> str:
    """Why this shape cannot be read as the entry's: what is expected, what is found, and what it looks like.

    Parameters
    ----------
    sizes : of all letters of the same call, so that S in the place of T can be told.
    """
    letters = entry.axes.split()
    expected = f"{entry.axes or 'one number'} = {entry.shape}, found {shape}"
    return f"expected {expected}: {_looks_like(shape, entry.shape, letters, sizes)}"


def _looks_like(shape: tuple[int, ...], want: tuple[int, ...], letters: list[str], sizes: Mapping[str, int]) -> str:
    if math.prod(shape) == 0:
        return "it holds no numbers"
    if math.prod(shape) == 1:
        return "one number, which agrees with nothing by being broadcast"
    if math.prod(shape) == math.prod(want):
        return "as many numbers, in other axes"
    found, looked = [n for n in shape if n != 1], list(zip(letters, want, strict=True))
    looked = looked if len(shape) == len(want) else [(letter, n) for letter, n in looked if n != 1]
    found = list(shape) if len(shape) == len(want) else found
    if len(found) != len(looked):
        missing = [
            letter for i, (letter, _) in enumerate(looked) if found == [n for _, n in looked[:i] + looked[i + 1 :]]
        ]
        if missing == ["B"] or missing[:1] == ["B"]:
            return f"the batch axis is missing: the case has B = {dict(looked)['B']} rows"
        return f"the axis {missing[0]} is missing" if missing else f"{len(shape)} axes where there are {len(want)}"
    apart = [(letter, n, m) for (letter, n), m in zip(looked, found, strict=True) if n != m]
    return "; ".join(_of_axis(letter, n, m, sizes) for letter, n, m in apart)


def _of_axis(letter: str, want: int, found: int, sizes: Mapping[str, int]) -> str:
    """One axis that has another size."""
    name = f"{letter} is {found}, not {want}"
    if letter == "T" and found == sizes.get("S"):
        return f"{name}: the size of S, all positions instead of the {want} new ones"
    if letter == "S" and found == sizes.get("T"):
        return f"{name}: the size of T, without the {want - found} positions of the cache"
    if letter in ("T", "S") and found == want + 1:
        return f"{name}: one more (a </s> in front?)"
    if letter == "V" and found > want:
        multiple = next((m for m in MULTIPLES if found == -(-want // m) * m), None)
        padded = f": padded to a multiple of {multiple}" if multiple else ""
        return f"{name}{padded}, {found - want} columns more; cut them off"
    return f"{name}: {want - found} missing" if found < want else f"{name}: {found - want} more"


def part(shape: tuple[int, ...], want: tuple[int, ...]) -> Iterator[tuple[str, Cut, Cut]]:
    """Where two shapes differ in one axis only: (words, slices of the candidate, of the reference) to compare."""
    apart = [i for i, (m, n) in enumerate(zip(shape, want, strict=False)) if m != n]
    if len(shape) != len(want) or len(apart) != 1 or not math.prod(shape):
        return
    axis, fewer = apart[0], min(shape[apart[0]], want[apart[0]])
    for words, start in (("first", 0), ("last", -fewer)):
        cut = slice(start, start + fewer or None)
        yield (
            f"the {words} {fewer} agree",
            tuple(cut if i == axis and shape[i] > fewer else slice(None) for i in range(len(shape))),
            tuple(cut if i == axis and want[i] > fewer else slice(None) for i in range(len(want))),
        )
