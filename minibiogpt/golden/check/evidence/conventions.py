"""Conventions: other correct ways to hold an array. They are recognized, so that none is reported as a mistake.

A convention counts as agreement if ``--accept`` names it, or if the numbers prove that it is harmless: the array itself
shows it, or what is computed from the array agrees. Otherwise the array is "not comparable", and the report says which
option accepts it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.errors import listed
from minibiogpt.golden.candidate.tensor import Tensor
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.check.evidence.readings import Reading, readings
from minibiogpt.golden.check.evidence.uses import witnesses
from minibiogpt.golden.check.outputs import LISTED
from minibiogpt.golden.check.pairing import Pair
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Row
from minibiogpt.golden.format.case import Case, Entry

CONVENTIONS = {
    "q-scaled": "q (or q and k) is scaled before the product, and not the scores after it",
    "positions-broadcast": "one row of positions serves the whole batch",
    "positions-offset": "positions are rows of the table of positions: 2 more than ours",
    "cache-capacity": "the cache has room for more positions than it holds",
    "padded-vocabulary": "the vocabulary is padded",
    "last-positions": "only the last positions are computed",
    "mask-fill": "hidden scores hold another value than the lowest number",
    "hidden-states-5": "the last of hidden_states is taken after the final norm, as in transformers 5",
}
"""{name of a convention, as ``--accept`` takes it: one line about it}."""
LIKELY = 0.9  # cosine from which an array that differs is compared in the convention it seems to be in
IN_LAYER = re.compile(r"(?:step\.\d+/)?layers\.\d+\.(?:self_attn\.)?")
LOWESTS = (LOWEST, *(float(np.finfo(x).min) for x in (np.float32, np.float16)), -(2.0**128) * (1 - 2.0**-8))
"""The lowest numbers of the dtypes, which need no remark where they hide a score."""


def in_convention(
    row: Row, case: Case, entry: Entry, pair: Pair, tensor: Tensor, judged: Callable[[Pair, Tensor], Row],
    accepted: Collection[str],
) -> Row:  # fmt: skip
    """Return the row of an array in the convention that it seems to be in; the same row if there is none.

    Parameters
    ----------
    row : of the array as it is; it does not agree.
    judged : function that judges a tensor, paired with the entry, as it is.
    accepted : conventions that ``--accept`` names.
    """
    found: Row | None = None
    for reading in readings(row, case, entry, pair, tensor):
        attempt = judged(replace(pair, axes=reading.axes), reading.tensor)
        if attempt.state == NOT_COMPARABLE and (attempt.convention or _is_moved(attempt)):
            notes = [*_of_size(row), *attempt.notes[-1:]]  # it takes another option, too
            found = replace(row, notes=notes, convention=reading.convention, aligned=attempt.aligned)
        elif found is None or (attempt.state == AGREES and not reading.visible):
            fits = attempt.state == AGREES or _is_likely(attempt, reading, accepted)
            found = _read(row, attempt, reading, accepted) if fits else found
            if attempt.state == AGREES:
                break
    return row if found is None else found


def _is_likely(attempt: Row, reading: Reading, accepted: Collection[str]) -> bool:
    m = attempt.measured
    asked = reading.is_sure or reading.convention in accepted
    return m is not None and bool(m.compared) and (asked or (m.cosine or 0.0) > LIKELY)


def _is_moved(attempt: Row) -> bool:
    return any(note.startswith("agrees when") for note in attempt.notes[-1:])


def _of_size(row: Row) -> list[str]:
    """Return the note of an array that has another number of elements than the case's."""
    return row.notes[:1] if math.prod(row.found_shape or ()) != math.prod(row.shape) else []


def _read(row: Row, attempt: Row, reading: Reading, accepted: Collection[str]) -> Row:
    """Return the row of an attempt, with what the file holds, and whether the convention is harmless."""
    found = replace(attempt, found_shape=row.found_shape, dtype=row.dtype, digits=row.digits)
    found.convention, found.because, found.precision = reading.convention, "", row.precision
    if row.measured is not None and found.measured is not None:  # a scale changes the digits
        held = ("representable", "reference_representable", "telling", "bits")
        found.measured = replace(found.measured, **{name: getattr(row.measured, name) for name in held})
    if reading.visible and found.measured is not None:
        found.measured.wrong_marks += reading.visible
        found.measured.exceeding += reading.visible
        found.state = DIFFERS
        found.notes.append(f"{reading.visible} elements beyond the case's positions are not hidden")
    elif found.state == DIFFERS:
        found.notes.append(f"it was {reading.words} to compare it")
    elif found.state == AGREES and reading.convention in accepted:
        found.because = f"--accept {reading.convention}"
    elif found.state == AGREES and reading.harmless:
        found.because = reading.harmless
    elif found.state == AGREES:
        found.state, found.pending, found.measured = NOT_COMPARABLE, found.measured, None
        found.notes = [*_of_size(row), f"agrees if {reading.words}"]
    return found


def settle(rows: Sequence[Row], uses: Callable[[], Mapping[str, Sequence[str]]], accepted: Collection[str]) -> None:
    """Decide about each array that agrees in a convention: whether what is computed from it proves it harmless.

    Parameters
    ----------
    uses : function that returns {name: names of the arrays that are computed from it}.
    """
    for row in reversed(rows):  # what is computed from an array comes after it
        if row.state == AGREES and not row.convention and (why := _fill(row)):
            row.convention, row.because = "mask-fill", why
        is_norm = row.convention == "hidden-states-5" and row.candidate is None
        if is_norm and row.convention in accepted:
            row.because = f"--accept {row.convention}"
            continue
        if row.pending is None and not is_norm:
            continue
        proofs = witnesses(row.name, rows, uses(), row.convention)
        if proofs and all(one.state == AGREES for one in proofs):
            names = [one.name for one in proofs]
            row.because = f"{listed(names, 3)} {'agree' if len(names) > 1 else 'agrees'}"
            if not is_norm:
                row.state, row.measured, row.pending, row.notes = AGREES, row.pending, None, []
        else:
            row.notes.append(f"this is a convention and no mistake: to accept it, add --accept {row.convention}")


def _fill(row: Row) -> str:
    """Return what the hidden scores hold, if it is not the lowest number of a dtype, which the reference holds."""
    low, high = (row.measured.fill if row.measured else None) or (LOWEST, LOWEST)
    if {low, high} <= set(LOWESTS):
        return ""
    return f"{low:g} hides them" if low == high else f"numbers near {low:.1g} hide them"


def take_after_norm(case: Case, by_name: dict[str, list[Pair]], judged: Callable[[Entry, Pair], Row]) -> dict[str, Row]:
    """Pair the last of hidden_states with the final norm where it fits that better.

    Parameters
    ----------
    by_name : {name in the case: pairs}, which is changed.

    Returns
    -------
    {name: row} of the arrays that are then missing: the outputs of the last layer.
    """
    last, moved = _last_layer(case.config), dict[str, Row]()
    entries = {entry.name: entry for entry in case.entries}
    for name, entry in entries.items():
        prefix, slash, plain = name.rpartition("/")
        norm = entries.get(f"{prefix}{slash}layer_norm")
        if not last or plain != last or norm is None or norm.shape != entry.shape:
            continue
        for pair in [pair for pair in by_name.get(name, ()) if LISTED.match(pair.candidate)]:
            before, after = judged(entry, pair), judged(norm, replace(pair, note=""))
            if before.state != AGREES and (after.state == AGREES or _fits_better(after, before)):
                by_name[name].remove(pair)
                by_name.setdefault(norm.name, []).append(replace(pair, reference_name=norm.name, note=""))
                row = Row(name, None, NOT_COMPARABLE, entry.shape, entry.axes, entry.largest, entry.budgets)
                row.notes = [f"{pair.candidate} is taken after the final norm, so it is compared with layer_norm"]
                row.convention, moved[name] = "hidden-states-5", row
    return moved


def _last_layer(config: Mapping[str, Any]) -> str:
    layers: Any = config.get("num_hidden_layers")
    return f"layers.{layers - 1}" if is_integer(layers) else ""


def _fits_better(one: Row, other: Row) -> bool:
    """Whether an array that differs in both readings is more similar to ``one``, and not just wrong in places."""
    m, n = one.measured, other.measured
    if m is None or n is None or 2 * n.exceeding < n.compared:
        return False
    return (m.cosine or 0.0) > max(LIKELY, n.cosine or 0.0)


def fits(note: str, row: Row, config: Mapping[str, Any]) -> bool:
    """Whether the note of an alias can explain this row, by its numbers."""
    name, found = row.name, row.measured
    if row.state == AGREES or row.convention:
        return False
    if "in 5.x" in note:  # about the last of hidden_states
        return name.endswith(_last_layer(config))
    if found is None:
        return True
    if name.endswith(".scores_masked"):
        return bool(found.nan or found.wrong_marks or found.hidden_marks)
    return name.endswith(".probs") and found.candidate == 0 and found.largest_error > 0


@dataclass(frozen=True)
class Found:
    """A convention that some arrays of a candidate are in.

    Attributes
    ----------
    convention : its name in CONVENTIONS. arrays : names in the case.
    because : why it counts as agreement; "" if it doesn't.
    differs : whether the arrays are compared in the convention, and differ.
    """

    convention: str
    arrays: list[str]
    because: str
    differs: bool = False

    @property
    def sentence(self) -> str:
        """One line for the report."""
        what = f"convention {self.convention}: {CONVENTIONS[self.convention]}, in {listed(self.arrays, 3)}"
        if self.because.startswith("--"):
            return f"{what}; accepted with {self.because}"
        if self.differs:
            return f"{what}; compared in it, they differ"
        rest = f"harmless: {self.because}" if self.because else f"to accept it, add --accept {self.convention}"
        return f"{what}; {rest}"


def found_in(rows: Sequence[Row]) -> list[Found]:
    """Return the conventions of the rows, in the order of their first arrays."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        if row.convention:
            by_name.setdefault(row.convention, []).append(row)
    found = []
    for convention, own in by_name.items():
        reasons = list(dict.fromkeys(row.because for row in own if row.because))
        if len(reasons) > 1:  # those of all layers alike
            reasons = list(dict.fromkeys(IN_LAYER.sub("", reason.replace("agrees", "agree")) for reason in reasons))
        is_open = any(row.state == NOT_COMPARABLE and not row.because for row in own)
        because = "" if is_open or not reasons else listed(reasons, 2)
        found.append(Found(convention, [row.name for row in own], because, not because and not is_open))
    return found
