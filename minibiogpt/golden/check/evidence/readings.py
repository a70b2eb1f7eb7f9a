"""Read a candidate's array in the conventions that its name, shape and numbers allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from minibiogpt.golden.candidate.tensor import Tensor
from minibiogpt.golden.check.compare import LOWEST, MASKED_MARGIN
from minibiogpt.golden.check.layouts import axes_of
from minibiogpt.golden.check.pairing import Pair
from minibiogpt.golden.check.result import Row
from minibiogpt.golden.format.case import Case, Entry, sample_indices

NEAR = 0.1  # relative distance from a scale, within which q seems to be scaled by it
OFFSET = 2  # rows before position 0 in the table of positions
FILL_BELOW = -1000.0  # a number that is meant to hide a score
HARMLESS = 1e-6  # probability below which a hidden score counts as hidden, where the case has no budget of probs


@dataclass(frozen=True)
class Reading:
    """A candidate's array, read in a convention.

    Attributes
    ----------
    convention : its name in CONVENTIONS.
    tensor : the array as the case would hold it.
    words : what was done to it: "multiplied by sqrt(Dh)".
    axes : the declared axes of ``tensor``, if any.
    harmless : why the convention is harmless if the array agrees in it; "" if the array itself doesn't prove it.
    visible : number of elements that this reading leaves out and that must be hidden, but are not.
    is_sure : whether to compare in this reading even if the array then differs.
    """

    convention: str
    tensor: Tensor
    words: str
    axes: str | None = None
    harmless: str = ""
    visible: int = 0
    is_sure: bool = False


def readings(row: Row, case: Case, entry: Entry, pair: Pair, tensor: Tensor) -> Iterator[Reading]:
    """Yield the array in each convention that its name, shape and numbers allow."""
    name = entry.name.rpartition(".")[2].rpartition("/")[2]
    if name in ("q_proj", "q", "k_proj", "k"):
        yield from _scaled(row, case, entry, pair, tensor, name)
    if name in ("position_ids", "embed_positions"):
        yield from _positions(case, entry, pair, tensor, name)
    if "S" in entry.axes.split():
        yield from _longer_cache(row, entry, pair, tensor, name)
    if entry.axes.endswith("V"):
        yield from _padded_vocabulary(entry, pair, tensor)
    if name == "scores_masked" and row.measured is not None:
        yield from _filled(row, case, entry, pair, tensor)


def _scaled(row: Row, case: Case, entry: Entry, pair: Pair, tensor: Tensor, name: str) -> Iterator[Reading]:
    """q divided by sqrt(Dh), or q and k by its root."""
    size = next((n for letter, n in axes_of(entry, case.config) if letter == "Dh"), 1)
    if row.aligned is None or size < 2:
        return
    ratio, scale = _ratio(row, case, entry), float(size)
    scales = {"sqrt(Dh)": scale**-0.5, "Dh**0.25": scale**-0.25}
    words, factor = min(scales.items(), key=lambda item: abs(ratio / item[1] - 1))
    if abs(ratio / factor - 1) < NEAR and (name.startswith("q") or words != "sqrt(Dh)"):
        multiplied = _changed(tensor, lambda: tensor.decode(tensor.raw()) / factor, "float64")
        yield Reading("q-scaled", multiplied, f"multiplied by {words}", pair.axes)


def _ratio(row: Row, case: Case, entry: Entry) -> float:
    """Return the root mean square of the candidate's array over that of the case's, which no layout changes."""
    if row.measured is not None:
        _, theirs, ours = row.measured.products
    elif entry.samples is None and row.aligned is not None:
        ours, theirs = (float(np.square(x).sum()) for x in (case.array(entry.name), row.aligned()))
    else:
        return 0.0
    return math.sqrt(theirs / ours) if ours > 0 and math.isfinite(theirs) else 0.0


def _positions(case: Case, entry: Entry, pair: Pair, tensor: Tensor, name: str) -> Iterator[Reading]:
    """One row for the whole batch, and rows of the table of positions."""
    shape, axes, harmless = entry.shape, pair.axes, ""
    without_batch = [n for n in shape[1:] if n != 1]
    broadcast = entry.axes.startswith("B ") and shape[0] > 1 and [n for n in tensor.shape if n != 1] == without_batch
    if broadcast:
        tensor, axes, harmless = repeated(tensor, shape), None, "every row of the batch has them"
        yield Reading(
            "positions-broadcast", tensor, "repeated for every row of the batch", axes, harmless, is_sure=True
        )
    if name == "position_ids" and not tensor.is_float and math.prod(tensor.shape) == math.prod(shape):
        less = tensor.decode(tensor.raw()).astype(np.int64) - OFFSET
        if np.array_equal(less.reshape(-1), case.array(entry.name).reshape(-1)):
            rows = _changed(tensor, lambda: less, "int64")
            yield Reading("positions-offset", rows, f"reduced by {OFFSET}", axes)


def repeated(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor of one row as if the file held it for every row of the batch."""
    return _changed(tensor, lambda: np.broadcast_to(tensor.raw().reshape(1, *shape[1:]), shape), shape=shape)


def _longer_cache(row: Row, entry: Entry, pair: Pair, tensor: Tensor, name: str) -> Iterator[Reading]:
    """Keys, values and scores of all positions that the cache has room for; the first S are in use."""
    used = entry.shape[entry.axes.split().index("S")]
    for axis, size in enumerate(tensor.shape):
        shape = (*tensor.shape[:axis], used, *tensor.shape[axis + 1 :])
        if size <= used or math.prod(shape) != math.prod(entry.shape):
            continue
        at = (slice(None),) * axis + (slice(0, used),)
        visible, harmless = 0, ""
        if name in ("scores_masked", "probs", "weights"):
            whole = np.moveaxis(tensor.decode(tensor.raw()), axis, -1)
            visible = _visible_tail(whole, used, None if name == "scores_masked" else row, entry)
            harmless = "the other positions are hidden"
        cut = _changed(tensor, partial(_cut, tensor, at), shape=shape)
        words = f"cut to the first {used} of {size} positions"
        yield Reading("cache-capacity", cut, words, pair.axes, harmless, visible)


def _cut(tensor: Tensor, at: tuple[slice, ...]) -> np.ndarray:
    return tensor.raw()[at]


def _visible_tail(whole: np.ndarray, used: int, row: Row | None, entry: Entry) -> int:
    """Return how many elements beyond the used positions are not hidden. ``row``: of probabilities, None for scores."""
    tail = whole[..., used:]
    with np.errstate(all="ignore"):
        if row is not None:
            return int((~(np.abs(tail) <= (entry.budgets.get(str(row.precision)) or 0.0))).sum())
        highest = np.fmax.reduce(whole, axis=-1, initial=-np.inf, keepdims=True)
        lowest = np.fmin.reduce(whole, axis=-1, initial=np.inf, keepdims=True)
        return int((~((tail == -np.inf) | (tail < highest - MASKED_MARGIN) | (highest == lowest))).sum())


def _padded_vocabulary(entry: Entry, pair: Pair, tensor: Tensor) -> Iterator[Reading]:
    """More columns than there are tokens."""
    size = entry.shape[-1]
    if not tensor.shape or tensor.shape[-1] <= size or not math.prod(tensor.shape):
        return
    rows = math.prod(tensor.shape[:-1])
    if rows * size > math.prod(entry.shape):  # then it differs in another axis, too
        return
    cut = _changed(tensor, lambda: tensor.raw()[..., :size], shape=(*tensor.shape[:-1], size))
    whole = tensor.decode(tensor.raw())
    with np.errstate(all="ignore"):
        hidden = whole[..., size:] < whole[..., :size].max(-1, keepdims=True) - MASKED_MARGIN
    harmless = "the other columns have probability 0" if hidden.all() else ""
    yield Reading("padded-vocabulary", cut, f"cut to its first {size} columns", pair.axes, harmless)


def _filled(row: Row, case: Case, entry: Entry, pair: Pair, tensor: Tensor) -> Iterator[Reading]:
    """Hidden scores that hold one number, which hides them or is the same in a whole row."""
    m = row.measured
    if m is None or row.aligned is None or not 0 < m.wrong_marks == m.exceeding:
        return
    theirs, ours = row.aligned(), case.array(entry.name)
    at_samples = theirs if entry.samples is None else theirs.reshape(-1)[sample_indices(theirs.size, ours.size)]
    fill = at_samples[ours == LOWEST]
    if not (fill == fill[0]).all() or not fill[0] < FILL_BELOW:
        return
    harmless = ""
    if entry.samples is None:
        probs = next((e for e in case.entries if e.name == entry.name.removesuffix("scores_masked") + "probs"), None)
        budget = (probs.budgets.get(str(row.precision)) if probs else None) or HARMLESS
        if not np.abs(_softmax(theirs) - _softmax(ours)).max() <= budget:
            return
        harmless = f"the softmax of {fill[0]:g} is that of the case"
    hidden = _changed(tensor, lambda: np.where(theirs == fill[0], LOWEST, theirs), "float64", entry.shape)
    yield Reading("mask-fill", hidden, f"read with {fill[0]:g} for hidden scores", None, harmless)


def _softmax(x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)


def _changed(
    tensor: Tensor, raw: Callable[[], np.ndarray], dtype: str | None = None, shape: tuple[int, ...] | None = None
) -> Tensor:
    precision = tensor.precision or tensor.dtype
    return replace(tensor, raw=raw, dtype=dtype or tensor.dtype, shape=shape or tensor.shape, precision=precision)
