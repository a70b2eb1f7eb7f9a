"""The precision of a candidate's numbers: which arrays hold coarse ones, and where that begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minibiogpt.errors import listed
from minibiogpt.golden.check.result import Options, Row
from minibiogpt.trace.missing import check_all_matched
from minibiogpt.trace.patterns import Pattern

GRID = "int8-grid"
STEPS = 255  # steps of 8 bits
TELLING_STEPS = 8  # different multiples that an array on a grid must have, and values of each that are free
SAMPLE = 4096  # values that are looked at before a whole array is
ON_STEP = 1e-3  # distance from a multiple, in steps, that rounding explains


@dataclass(frozen=True)
class Held:
    """Numbers of a coarse precision in the arrays of a candidate.

    Attributes
    ----------
    precision : "bfloat16", "float16", "TF32" or "int8-grid".
    arrays : names of the arrays that hold such numbers, in the order of execution.
    compared : how many arrays of floats were compared.
    stored : the dtypes that they are stored as.
    """

    precision: str
    arrays: list[str]
    compared: int
    stored: list[str]

    @property
    def sentence(self) -> str:
        """One line for the report."""
        stored = f", stored as {listed(self.stored, 3)}" if self.stored != [self.precision] else ""
        which = f"{len(self.arrays)} of {self.compared} arrays hold {self.precision} numbers{stored}"
        return f"{which}: the first is {self.arrays[0]}"


def numbers_of(row: Row) -> str:
    """Return the coarse precision of a row's numbers, "" if they have none.

    Rows of a table tell how it is stored, and nothing about the computation.
    """
    if row.name.endswith(("embed_tokens", "embed_positions")):
        return ""
    if row.on_grid:
        return GRID
    found = row.measured or row.pending
    held = found.held if found else None
    return held if held in ("bfloat16", "float16") else "TF32" if found is not None and found.is_tf32 else ""


def held_in(rows: Sequence[Row]) -> list[Held]:
    """Return the coarse precisions of the numbers, unless all arrays have the dtype of their numbers."""
    floats = [row for row in rows if row.precision != "exact" and (row.measured or row.pending)]
    by_precision: dict[str, list[Row]] = {}
    wide = any(numbers_of(row) == "TF32" for row in floats)
    for row in floats:
        if numbers := numbers_of(row):
            # TF32 numbers of moderate size are float16 numbers, too.
            numbers = "TF32" if wide and numbers == "float16" != row.dtype else numbers
            by_precision.setdefault(numbers, []).append(row)
    if set(by_precision) == {row.dtype for row in floats}:
        return []
    return [
        Held(precision, [row.name for row in own], len(floats), list(dict.fromkeys(str(row.dtype) for row in own)))
        for precision, own in by_precision.items()
    ]


def on_grid(x: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether all numbers are at most 255 multiples of a step, for the whole array or for each row of its last axis.

    Examples
    --------
    >>> levels = np.arange(-100.0, 100.0)[np.random.default_rng(0).integers(0, 200, (30, 20))]
    >>> steps = np.linspace(0.1, 0.3, 30)[:, None]
    >>> [on_grid(y, np.asarray) for y in (levels * 0.37, levels * steps, levels * steps + 1e-3 * np.sin(levels))]
    [True, True, False]
    """
    if x.ndim < 1 or x.size < 2 * TELLING_STEPS:
        return False
    flat = x.reshape(-1)
    if _is_grid(decode(flat[:SAMPLE])[None]) and _is_grid(decode(flat)[None]):
        return True
    rows = x.reshape(-1, x.shape[-1])
    few = max(1, SAMPLE // x.shape[-1])
    return len(rows) > 1 and _is_grid(decode(rows[:few])) and _is_grid(decode(rows))


def _is_grid(rows: np.ndarray) -> bool:
    """Whether each row has its own step, and together they have enough values and multiples to tell."""
    free, multiples = 0, set[int]()
    for row in rows:
        row = row[np.isfinite(row)]
        values = np.unique(np.abs(row[row != 0]))
        if not values.size:
            continue
        counts = _multiples(values)
        if counts is None:
            return False
        free += values.size - 1
        multiples |= set(counts.tolist())
    return free >= TELLING_STEPS and len(multiples) >= TELLING_STEPS


def _multiples(values: np.ndarray) -> np.ndarray | None:
    """Return each value as a multiple of one step, at most 255 of it; None if there is no such step."""
    most = range(STEPS, 0, -1) if values.size >= TELLING_STEPS else ()
    for top in (127, 128, *most) if values.size <= STEPS else ():  # a row is usually scaled by its largest value
        counts = values / values[-1] * top  # top / values[-1] could overflow
        nearest = np.round(counts)
        if (np.abs(counts - nearest) <= ON_STEP).all() and nearest[0] > 0:
            return nearest.astype(np.int64)
    return None


def check_precisions(options: Options, names: Sequence[str], must: str = "a case") -> None:
    """Check that every pattern of --precision matches a name."""
    patterns = [Pattern(text) for text, _ in options.precisions]
    for pattern in patterns:
        any([pattern.matches(name) for name in names])
    check_all_matched(patterns, names, f"--precision must name an array of {must}")


def precisions_for(options: Options, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the precisions whose patterns match one of these names."""
    return tuple(one for one in options.precisions if any(map(Pattern(one[0]).matches, names)))
