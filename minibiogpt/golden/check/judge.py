"""Judge one tensor: decide whether it can be compared and in which layout, and compare it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from minibiogpt.golden.candidate.reader import JSON_NOTE
from minibiogpt.golden.candidate.tensor import Tensor
from minibiogpt.golden.check.compare import LOWEST, Measure, measure, measure_slim
from minibiogpt.golden.check.evidence.conventions import fits, in_convention
from minibiogpt.golden.check.evidence.numbers import on_grid
from minibiogpt.golden.check.evidence.readings import repeated
from minibiogpt.golden.check.layouts import (
    MEMORY_ORDER,
    Layout,
    declared_layout,
    mismatch,
    overlaps,
    possible_layouts,
)
from minibiogpt.golden.check.pairing import Pair
from minibiogpt.golden.check.parts import Part, count_of, last_parts
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Options, Row
from minibiogpt.golden.format.case import INPUT, Case, Entry, sample_indices
from minibiogpt.golden.format.rounding import rounded

SLIM_PART = "a slim case holds samples of whole arrays: compute all positions, or record the case without --slim"
SPOT_CHECKS = 64  # elements compared before a whole array is compared in a different layout


def row_of(entry: Entry, pair: Pair | None, tensor: Tensor | None, *notes: str) -> Row:
    row = Row(entry.name, None, NOT_COMPARABLE, entry.shape, entry.axes, entry.largest, entry.budgets)
    row.notes = list(notes)
    if pair is not None and tensor is not None:
        row.candidate, row.dtype, row.found_shape = pair.candidate, tensor.dtype, tensor.shape
        row.digits = tensor.digits
    return row


class Judge:
    """Judges the tensors of one case; each method returns a row of the report."""

    def __init__(self, case: Case, options: Options) -> None:
        self.case, self.options = case, options
        self.parts: dict[str, Part] = {}  # of the array that is being compared, if only a part of it is
        self.sizes: dict[str, dict[str, int]] = {}  # {"step.1/": {"B": 2, ...}}
        for entry in case.entries:
            letters = self.sizes.setdefault(_step_prefix(entry.name), {})
            letters |= dict(zip(entry.axes.split(), entry.shape, strict=False))

    def input(self, name: str, tensor: Tensor) -> Row:
        """Judge an input. It must be equal; floats are first rounded to the candidate's dtype and precision."""
        expected = self.case.array(name)
        row = Row(name, tensor.name, NOT_COMPARABLE, expected.shape, found_shape=tensor.shape, dtype=tensor.dtype)
        row.precision = "exact"
        one_row = _squeezed(expected.shape[1:]) != _squeezed(expected.shape)
        if one_row and name.endswith("position_ids") and _squeezed(tensor.shape) == _squeezed(expected.shape[1:]):
            tensor = repeated(tensor, expected.shape)
            row.convention, row.because = "positions-broadcast", "every row of the batch has them"
        if _squeezed(tensor.shape) != _squeezed(expected.shape):
            row.notes.append(f"expected shape {expected.shape}, found {tensor.shape}")
        elif expected.dtype.kind != "f" and tensor.is_float and not name.endswith("_mask"):  # masks: any dtype
            row.notes.append(f"expected integers, found {tensor.dtype}")
        else:
            found = tensor.decode(tensor.raw()).reshape(expected.shape)
            row.aligned = partial(_aligned, tensor, None, expected.shape)
            if expected.dtype.kind == "f":
                found, expected = (self._rounded_like(x.astype(np.float64), tensor) for x in (found, expected))
            row.measured = measure(found, expected, 0.0, np.asarray)
            row.state = AGREES if row.measured.agrees else DIFFERS
            row.because = row.because if row.state == AGREES else ""
        return row

    def _rounded_like(self, x: np.ndarray, tensor: Tensor) -> np.ndarray:
        """Return a float64 input rounded to the candidate's stored dtype and to --precision."""
        for precision in (tensor.dtype, self.options.precision_of(tensor.name)):
            if precision == "float32":
                x = x.astype(np.float32).astype(np.float64)
            elif precision in ("bfloat16", "float16"):
                x = rounded(x, precision)
        return x

    def array(self, entry: Entry, pair: Pair, tensor: Tensor) -> Row:
        """Judge one array of the case, as it is or in the convention that it seems to be in."""
        is_integer = self.case.tensors[entry.name].dtype == "I64"
        tensor = tensor if is_integer else tensor.as_written()
        row = self._judged(entry, pair, tensor)
        if row.state != AGREES and not row.convention and tensor.is_float != is_integer:
            judged = partial(self._judged, entry)
            row = in_convention(row, self.case, entry, pair, tensor, judged, self.options.accept)
        if pair.note and fits(pair.note, row, self.case.config):
            row.notes.append(pair.note)
        if tensor.note and (tensor.note != JSON_NOTE or (row.state == DIFFERS and row.explained_by("float32"))):
            row.notes.insert(0, tensor.note)
        return row

    def _judged(self, entry: Entry, pair: Pair, tensor: Tensor) -> Row:
        """Judge an array as it is."""
        is_integer = self.case.tensors[entry.name].dtype == "I64"
        row = row_of(entry, pair, tensor)
        row.precision = "exact" if is_integer else self._precision(entry, tensor)
        if is_integer != tensor.is_float and 0 < math.prod(tensor.shape) == math.prod(entry.shape):
            default = next(possible_layouts(tensor.shape, entry, self.case.config), None)
            row.aligned = partial(_aligned, tensor, default, entry.shape)
        budget, count = 0.0 if is_integer else entry.budgets.get(row.precision), count_of(tensor.shape, entry)
        if is_integer == tensor.is_float:
            row.notes.append(f"expected {'integers' if is_integer else 'floats'}, found {tensor.dtype}")
        elif not is_integer and row.precision not in entry.budgets:
            row.notes.append(f"the case has no budgets of {row.precision}: record it with --quantization int8 or q8_0")
        elif budget is None:
            row.notes.append(f"{row.precision} cannot represent this array, so there is no budget for it")
        elif count and self.options.last == count:
            self._compare_last(row, entry, pair, tensor, budget, count)
        elif count and not self.options.last and "last-positions" in self.options.accept:
            self._compare_last(row, entry, pair, tensor, budget, count)
            row.convention, row.because = "last-positions", "--accept last-positions" if row.state == AGREES else ""
        elif math.prod(tensor.shape) != math.prod(entry.shape) or not math.prod(entry.shape):
            row.notes.append(mismatch(tensor.shape, entry, self.sizes[_step_prefix(entry.name)]))
            row.notes += self._agreeing_part(row, entry, tensor, budget)
        else:
            self._compare(row, entry, pair, tensor, budget)
            if row.state != AGREES and self.options.last and "T" in entry.axes.split():
                whole = entry.shape[entry.axes.split().index("T")]
                row.notes.append(f"compared at the last {min(self.options.last, whole)} of {whole} positions")
        return row

    def _precision(self, entry: Entry, tensor: Tensor) -> str:
        return self.options.precision_of(entry.name) or tensor.precision or tensor.dtype

    def _compare(self, row: Row, entry: Entry, pair: Pair, tensor: Tensor, budget: float) -> None:
        """Find the layout in which to compare, and set the verdict."""
        config, raw = self.case.config, tensor.raw()
        if tensor.is_float and not tensor.precision and on_grid(raw, tensor.decode):
            row.on_grid = not on_grid(self._reference(entry), np.asarray)  # some weights are on one by themselves
        layouts = possible_layouts(tensor.shape, entry, config)
        first = next(layouts, None)
        if pair.axes and pair.axes != entry.axes:
            layouts = possible_layouts(tensor.shape, entry, config)
            first = declared_layout(pair.axes, tensor.shape, entry, config)
            if first is None:
                row.notes.append(f"its axes are declared as {pair.axes}, but its shape is {tensor.shape}")
        elif first is not None and (not first.keeps_order or first.axes == MEMORY_ORDER):
            first, layouts = None, possible_layouts(tensor.shape, entry, config)
        if first is not None:
            row.aligned = partial(_aligned, tensor, first, entry.shape)
            row.measured = self._measure(first, entry, tensor, raw, budget)
            row.state = DIFFERS if row.measured.compared else NOT_COMPARABLE
            if row.measured.agrees:
                row.state = AGREES
                row.notes += [] if tensor.shape == entry.shape else [f"its axes are {first.axes}"]
                return
            if not row.measured.compared:
                row.notes.append("nothing left to compare")
                return
        self._try_layouts(row, entry, tensor, raw, budget, [other for other in layouts if other != first])

    def _compare_last(self, row: Row, entry: Entry, pair: Pair, tensor: Tensor, budget: float, count: int) -> None:
        """Compare an array that holds the last positions only, in the reading that agrees, or else in the first."""
        if entry.samples is not None:
            row.notes.append(SLIM_PART)
            return
        tried = []
        for part in self._last_parts(entry, count):
            attempt = replace(row, notes=list(row.notes))
            self.parts[entry.name] = part
            self._compare(attempt, part.entry, pair, tensor, budget)
            del self.parts[entry.name]
            if attempt.state == AGREES and part.ends and self._leaves_out_rows(part.entry):
                attempt.state, attempt.measured = NOT_COMPARABLE, None
                attempt.notes.append("rows that end in padding are left out by --real-only, so they may be wrong")
            if attempt.state != AGREES or not part.ends:
                attempt.notes.append(f"compared at {part.words}")
            tried.append(attempt)
        best = next((attempt for attempt in tried if attempt.state == AGREES), tried[0])
        row.state, row.measured, row.notes = best.state, best.measured, best.notes

    def _leaves_out_rows(self, entry: Entry) -> bool:
        """Whether --real-only leaves a row with no position to compare."""
        keep = self._real(entry)
        return keep is not None and not keep.reshape(len(keep), -1).any(axis=1).all()

    def _last_parts(self, entry: Entry, count: int) -> Iterator[Part]:
        name = f"{_step_prefix(entry.name)}{INPUT}attention_mask"
        return last_parts(entry, count, self.case.array(name) if name in self.case.tensors else None)

    def _reference(self, entry: Entry) -> np.ndarray:
        """Return the values of the case: of the whole array, or of the part that is being compared."""
        reference, part = self.case.array(entry.name), self.parts.get(entry.name)
        return reference if part is None else part.of(reference)

    def _try_layouts(
        self, row: Row, entry: Entry, tensor: Tensor, raw: np.ndarray, budget: float, layouts: list[Layout]
    ) -> None:
        """Look for another layout in which the array agrees."""
        for layout in layouts:
            if not self._spot_check(layout, entry, tensor, raw, budget):
                continue
            found = self._measure(layout, entry, tensor, raw, budget)
            if found.agrees:
                same_shape = _squeezed(tensor.shape) == _squeezed(entry.shape)
                row.state = DIFFERS if row.measured is not None and same_shape else NOT_COMPARABLE
                if not same_shape or self.options.accept_layouts:
                    row.aligned = partial(_aligned, tensor, layout, entry.shape)
                how = "transposed" if not layout.keeps_order else "read in memory order"
                row.notes.append(f"agrees when {how}: candidate axes are {layout.axes}")
                if self.options.accept_layouts:
                    row.state, row.measured = AGREES, found
                elif row.state == NOT_COMPARABLE:
                    row.measured = None
                return
        if row.measured is None:
            row.notes.append(mismatch(tensor.shape, entry, {}) + ", and no permutation of the axes agrees")

    def _measure(self, layout: Layout, entry: Entry, tensor: Tensor, raw: np.ndarray, budget: float) -> Measure:
        candidate, reference, keep = layout(raw), self._reference(entry), self.kept(entry)
        has_masked = entry.name.endswith(".scores_masked")
        if entry.samples is None:
            return measure(candidate, reference, budget, tensor.decode, has_masked=has_masked, keep=keep)
        sums = (entry.sums or {}).get(self._precision(entry, tensor))
        slim = partial(measure_slim, sums=self.case.sums(entry.name), sum_budgets=sums)
        return slim(candidate, reference, budget, tensor.decode, has_masked=has_masked, keep=keep)

    def _spot_check(self, layout: Layout, entry: Entry, tensor: Tensor, raw: np.ndarray, budget: float) -> bool:
        """Whether a few elements agree in this layout."""
        stored, size = self._reference(entry).reshape(-1), math.prod(entry.shape)
        chosen = sample_indices(stored.size, min(SPOT_CHECKS, stored.size))
        flat = chosen if entry.samples is None else sample_indices(size, stored.size)[chosen]
        split, keep = layout.split(raw), self.kept(entry)
        found = tensor.decode(split[np.unravel_index(flat, split.shape)]).astype(np.float64)
        with np.errstate(all="ignore"):
            agrees = (np.abs(found - stored[chosen]) <= budget) | (stored[chosen] == LOWEST)
        if keep is not None:
            agrees |= ~np.broadcast_to(keep, entry.shape)[np.unravel_index(flat, entry.shape)]
        return bool(agrees.all())

    def kept(self, entry: Entry) -> np.ndarray | None:
        """Return a mask that is False where nothing is compared, such as (B, 1, T, S) for B H T S; None if all is."""
        masks, part = [], self.parts.get(entry.name)
        if part is None or part.ends:
            masks.append(self._real(entry))
        if part is None and self.options.last:
            masks.append(_is_last(entry, self.options.last))
        kept = [mask for mask in masks if mask is not None]
        return kept[0] & kept[1] if len(kept) == 2 else kept[0] if kept else None

    def _real(self, entry: Entry) -> np.ndarray | None:
        """With --real-only, a mask that is False at padding in T or S; else None."""
        name, letters = f"{_step_prefix(entry.name)}{INPUT}attention_mask", entry.axes.split()
        if not self.options.real_only or name not in self.case.tensors or "B" not in letters:
            return None
        mask = self.case.array(name) != 0
        sizes = dict(zip(letters, entry.shape, strict=True))
        if mask.ndim != 2 or mask.shape[0] != sizes["B"] or mask.shape[1] < max(sizes.get(x, 0) for x in "TS"):
            return None
        keep = np.ones([1] * len(letters), bool)
        for letter in {"T", "S"} & set(letters):
            shape = [n if other in ("B", letter) else 1 for other, n in sizes.items()]
            keep = keep & mask[:, -sizes[letter] :].reshape(shape)
        return keep

    def _agreeing_part(self, row: Row, entry: Entry, tensor: Tensor, budget: float) -> list[str]:
        """Return a note on which part agrees if the sizes differ along one axis only."""
        count = count_of(tensor.shape, entry)
        if entry.samples is not None or math.prod(tensor.shape) > 4 * math.prod(entry.shape):
            return [SLIM_PART] if count else []
        for part in self._last_parts(entry, count) if count else ():
            self.parts[entry.name] = part
            layout = next(possible_layouts(tensor.shape, part.entry, self.case.config), None)
            agrees = layout is not None and self._measure(layout, part.entry, tensor, tensor.raw(), budget).agrees
            del self.parts[entry.name]
            if agrees:
                row.convention = "last-positions"
                return [f"{part.words} agree: to compare only these, add --last {count}"]
        for note, theirs, ours in overlaps(tensor.shape, entry.shape):
            reference = self.case.array(entry.name)[ours]
            has_masked = entry.name.endswith(".scores_masked")
            if measure(tensor.raw()[theirs], reference, budget, tensor.decode, has_masked=has_masked).agrees:
                return [note]
        return []


def _aligned(tensor: Tensor, layout: Layout | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return the tensor in the case's layout and shape, as float64 or int64."""
    raw = tensor.raw()
    found = tensor.decode(raw.reshape(shape) if layout is None else layout(raw))
    return found.astype("float64" if tensor.is_float else "int64", copy=False)


def _step_prefix(name: str) -> str:
    """Return "step.1/" for "step.1/layers.0", and "" for a name without a step."""
    step, slash, _ = name.rpartition("/")
    return step + slash


def _is_last(entry: Entry, count: int) -> np.ndarray | None:
    """Return a mask of the last positions in T, such as (1, T, 1) for B T D; None without T."""
    letters = entry.axes.split()
    if "T" not in letters:
        return None
    whole = entry.shape[letters.index("T")]
    return (np.arange(whole) >= whole - count).reshape([whole if letter == "T" else 1 for letter in letters])


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
