"""The verdict on one tensor: whether it can be compared, in which axes, and what that finds."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from minibiogpt.golden.check.candidate import Tensor
from minibiogpt.golden.check.compare import LOWEST, Measure, measure, measure_slim
from minibiogpt.golden.check.layouts import MEMORY, Reading, declared, mismatch, part, readings
from minibiogpt.golden.check.pairing import Pair
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Options, Row
from minibiogpt.golden.format.case import INPUT, Case, Entry, sample_places
from minibiogpt.golden.format.rounding import rounded

PROBES = 64  # elements looked at before a whole array is compared in other axes


def row_of(entry: Entry, one: Pair | None, tensor: Tensor | None, *notes: str) -> Row:
    row = Row(entry.name, None, NOT_COMPARABLE, entry.shape, entry.axes, entry.largest, entry.budgets)
    row.notes = list(notes)
    if one is not None and tensor is not None:
        row.candidate, row.dtype, row.found_shape = one.candidate, tensor.dtype, tensor.shape
    return row


class Judge:
    """Makes the rows of one case."""

    def __init__(self, case: Case, options: Options) -> None:
        self.case, self.options = case, options
        self.sizes: dict[str, dict[str, int]] = {}  # {"step.1/": {"B": 2, ...}}
        for entry in case.entries:
            letters = self.sizes.setdefault(_step(entry.name), {})
            letters |= dict(zip(entry.axes.split(), entry.shape, strict=False))

    def input(self, name: str, tensor: Tensor) -> Row:
        """An input, which must be equal: of floats, after both are rounded to the candidate's dtype and precision."""
        want = self.case.array(name)
        row = Row(name, tensor.name, NOT_COMPARABLE, want.shape, found_shape=tensor.shape, dtype=tensor.dtype)
        row.precision = "exact"
        if _squeezed(tensor.shape) != _squeezed(want.shape):
            row.notes.append(f"expected the shape {want.shape}, found {tensor.shape}")
        elif want.dtype.kind != "f" and tensor.is_float and not name.endswith("_mask"):  # of 0 and 1 in any dtype
            row.notes.append(f"integers are expected, found {tensor.dtype}")
        else:
            found = tensor.numbers(tensor.raw()).reshape(want.shape)
            if want.dtype.kind == "f":
                found, want = (self._as_held(x.astype(np.float64), tensor) for x in (found, want))
            row.measured = measure(found, want, 0.0, np.asarray)
            row.state = AGREES if row.measured.agrees else DIFFERS
        return row

    def _as_held(self, x: np.ndarray, tensor: Tensor) -> np.ndarray:
        """A float64 input as the candidate may hold it: in the dtype it is stored in, and in --precision."""
        for precision in (tensor.dtype, self.options.precision):
            if precision == "float32":
                x = x.astype(np.float32).astype(np.float64)
            elif precision in ("bfloat16", "float16"):
                x = rounded(x, precision)
        return x

    def array(self, entry: Entry, one: Pair, tensor: Tensor) -> Row:
        """One array of the case."""
        row = row_of(entry, one, tensor)
        whole = self.case.tensors[entry.name].dtype == "I64"
        row.precision = "exact" if whole else self.options.precision or tensor.dtype
        budget = 0.0 if whole else entry.budgets.get(row.precision)
        if whole == tensor.is_float:
            kind = "integers" if whole else "floats"
            row.notes.append(f"{kind} are expected, found {tensor.dtype}")
        elif budget is None:
            row.notes.append(f"{row.precision} cannot represent this array: it has no budget there")
        elif math.prod(tensor.shape) != math.prod(entry.shape) or not math.prod(entry.shape):
            row.notes.append(mismatch(tensor.shape, entry, self.sizes[_step(entry.name)]))
            row.notes += self._agreeing_part(entry, tensor, budget)
        else:
            self._arrange(row, entry, one, tensor, budget)
        if row.state != AGREES and one.note:
            row.notes.append(one.note)
        return row

    def _arrange(self, row: Row, entry: Entry, one: Pair, tensor: Tensor, budget: float) -> None:
        """Find the axes in which to compare, and the verdict."""
        config, raw = self.case.config, tensor.raw()
        every = readings(tensor.shape, entry, config)
        first = next(every, None)
        if one.axes and one.axes != entry.axes:
            every = readings(tensor.shape, entry, config)
            first = declared(one.axes, tensor.shape, entry, config)
            if first is None:
                row.notes.append(f"its axes are declared as {one.axes}, which {tensor.shape} is not")
        elif first is not None and (not first.keeps_order or first.axes == MEMORY):
            first, every = None, readings(tensor.shape, entry, config)
        if first is not None:
            row.measured = self._measure(first, entry, tensor, raw, budget)
            row.state = DIFFERS if row.measured.compared else NOT_COMPARABLE
            if row.measured.agrees:
                row.state = AGREES
                row.notes += [] if tensor.shape == entry.shape else [f"its axes are {first.axes}"]
                return
            if not row.measured.compared:
                row.notes.append("nothing of it is left to compare")
                return
        self._other_axes(row, entry, tensor, raw, budget, [r for r in every if r != first])

    def _other_axes(
        self, row: Row, entry: Entry, tensor: Tensor, raw: np.ndarray, budget: float, others: list[Reading]
    ) -> None:
        """It does not agree as it is: does it in other axes?"""
        for reading in others:
            if not self._likely(reading, entry, tensor, raw, budget):
                continue
            found = self._measure(reading, entry, tensor, raw, budget)
            if found.agrees:
                same_shape = _squeezed(tensor.shape) == _squeezed(entry.shape)
                row.state = DIFFERS if row.measured is not None and same_shape else NOT_COMPARABLE
                how = "transposed" if not reading.keeps_order else "read otherwise"
                row.notes.append(f"agrees when {how}: candidate axes are {reading.axes}")
                if self.options.accept_layouts:
                    row.state, row.measured = AGREES, found
                elif row.state == NOT_COMPARABLE:
                    row.measured = None
                return
        if row.measured is None:
            row.notes.append(mismatch(tensor.shape, entry, {}) + ", and no order of them agrees")

    def _measure(self, reading: Reading, entry: Entry, tensor: Tensor, raw: np.ndarray, budget: float) -> Measure:
        candidate, reference, keep = reading(raw), self.case.array(entry.name), self._keep(entry)
        marks = entry.name.endswith(".scores_masked")
        if entry.samples is None:
            return measure(candidate, reference, budget, tensor.numbers, marks=marks, keep=keep)
        sums = (entry.sums or {}).get(self.options.precision or tensor.dtype)
        slim = partial(measure_slim, sums=self.case.sums(entry.name), sum_budgets=sums)
        return slim(candidate, reference, budget, tensor.numbers, marks=marks, keep=keep)

    def _likely(self, reading: Reading, entry: Entry, tensor: Tensor, raw: np.ndarray, budget: float) -> bool:
        """Whether a few elements agree in these axes."""
        stored, size = self.case.array(entry.name).reshape(-1), math.prod(entry.shape)
        chosen = sample_places(stored.size, min(PROBES, stored.size))
        flat = chosen if entry.samples is None else sample_places(size, stored.size)[chosen]
        apart, keep = reading.apart(raw), self._keep(entry)
        found = tensor.numbers(apart[np.unravel_index(flat, apart.shape)]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            near = (np.abs(found - stored[chosen]) <= budget) | (stored[chosen] == LOWEST)
        if keep is not None:
            near |= ~np.broadcast_to(keep, entry.shape)[np.unravel_index(flat, entry.shape)]
        return bool(near.all())

    def _keep(self, entry: Entry) -> np.ndarray | None:
        """With --real-only: False where a position, of T or of S, is padding. (B, 1, T, S), say, for B H T S."""
        name, letters = f"{_step(entry.name)}{INPUT}attention_mask", entry.axes.split()
        if not self.options.real_only or name not in self.case.tensors or "B" not in letters:
            return None
        mask = self.case.array(name) != 0
        sizes = dict(zip(letters, entry.shape, strict=True))
        if mask.ndim != 2 or mask.shape[0] != sizes["B"] or mask.shape[1] < max(sizes.get(x, 0) for x in "TS"):
            return None
        keep = np.ones([1] * len(letters), bool)
        for letter in {"T", "S"} & set(letters):
            shape = [n if one in ("B", letter) else 1 for one, n in sizes.items()]
            keep = keep & mask[:, -sizes[letter] :].reshape(shape)
        return keep

    def _agreeing_part(self, entry: Entry, tensor: Tensor, budget: float) -> list[str]:
        """Of another size along one axis: whether what is there, or what is wanted, agrees."""
        if entry.samples is not None or math.prod(tensor.shape) > 4 * math.prod(entry.shape):
            return []
        for words, theirs, ours in part(tensor.shape, entry.shape):
            wanted = self.case.array(entry.name)[ours]
            marks = entry.name.endswith(".scores_masked")
            if measure(tensor.raw()[theirs], wanted, budget, tensor.numbers, marks=marks).agrees:
                return [words]
        return []


def _step(name: str) -> str:
    """ "step.1/" of "step.1/layers.0", and "" of a name without a step."""
    step, slash, _ = name.rpartition("/")
    return step + slash


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
