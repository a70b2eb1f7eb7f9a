"""Conclusions from all rows of a check: conventions are settled, and it is noted which differences do not matter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial

import numpy as np

from minibiogpt.errors import listed
from minibiogpt.golden.check.evidence.conventions import settle
from minibiogpt.golden.check.evidence.uses import uses_in, witnesses
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Row
from minibiogpt.golden.format.case import INPUT, Case

FAR = 100.0  # budgets beyond which an error would show in what is computed from the array


def conclude(case: Case, rows: Sequence[Row], accepted: Collection[str]) -> None:
    """Settle the conventions of the rows, and add notes about masks and about differences that do not matter.

    Parameters
    ----------
    accepted : conventions that ``--accept`` names.
    """
    uses = cache(partial(uses_in, case))
    settle(rows, uses, accepted)
    note_mask(case, rows)
    note_harmless(rows, uses)


def differs_only_at_padding(case: Case, rows: Sequence[Row], again: Callable[[Row], Row]) -> bool:
    """Whether every array that differs agrees where attention_mask marks no padding.

    Parameters
    ----------
    again : function that judges the array of a row again, without its padding.
    """
    differing = [row for row in rows if row.state == DIFFERS]
    if not differing or not any(name.endswith("attention_mask") for name in case.input_names):
        return False
    return all(again(row).state == AGREES for row in differing)


def note_mask(case: Case, rows: Sequence[Row]) -> None:
    """Say of probabilities (or weights) that differ whether the mask is right, if the arrays before can't show it."""
    compared = {row.name for row in rows if row.state != NOT_COMPARABLE}
    for row in rows:
        stem, _, last = row.name.rpartition(".")
        shown_by = {"probs": ["scores_masked"], "weights": ["scores_masked", "probs"]}.get(last)
        if row.state != DIFFERS or row.aligned is None or shown_by is None or len(row.shape) != 4:
            continue
        if not any(f"{stem}.{name}" in compared for name in shown_by):
            step, slash, _ = row.name.rpartition("/")
            name = f"{step}{slash}{INPUT}attention_mask"
            row.notes.append(mask_in(row.aligned(), case.array(name) if name in case.tensors else None))


def mask_in(probs: np.ndarray, mask: np.ndarray | None) -> str:
    """Return what probabilities (B, H, T, S) tell about the mask.

    Parameters
    ----------
    mask : attention_mask (B, S), or None. Rows that see nothing tell nothing, nor do those of a head that is masked.

    Examples
    --------
    >>> mask_in(np.tril(np.ones((1, 1, 2, 2))), None)
    'its zeros show that the mask is right: the future has probability 0'
    """
    _, _, T, S = probs.shape
    past = np.tri(T, S, S - T, dtype=bool)
    seen = np.broadcast_to(past if mask is None else past & (mask[:, None, None, -S:] != 0), probs.shape)
    telling = seen.any(-1, keepdims=True) & (probs != 0).any(-1, keepdims=True)
    weighted = (probs != 0) & ~np.isnan(probs) & telling
    future, padding, zero = weighted & ~past, weighted & past & ~seen, (probs == 0) & seen & telling
    kinds = {"of the future are not 0": future, "of padding are not 0": padding, "of visible positions are 0": zero}
    wrong = []
    for what, found in kinds.items():
        if found.any():
            b, h, t, s = np.argwhere(found)[0].tolist()
            wrong.append(f"{int(found.sum())} probabilities {what}, the first at b={b} h={h} t={t} s={s}")
    if wrong:
        return f"its zeros show that the mask is wrong: {'; '.join(wrong)}"
    hidden = "the future and padding have" if mask is not None and not (mask != 0).all() else "the future has"
    return f"its zeros show that the mask is right: {hidden} probability 0"


def note_harmless(rows: Sequence[Row], uses: Callable[[], Mapping[str, Sequence[str]]]) -> None:
    """Mark arrays that differ by far although what is computed from them agrees."""
    for row in rows:
        m = row.measured
        if row.state == DIFFERS and m is not None and ((row.times or 0) > FAR or m.wrong_marks or m.hidden_marks):
            proofs = witnesses(row.name, rows, uses())
            if proofs and all(one.state == AGREES for one in proofs):
                names = listed([one.name for one in proofs], 3)
                why = "" if m.wrong_marks or m.hidden_marks else "; was it changed after it was used, or saved wrong?"
                agree = "agree" if len(proofs) > 1 else "agrees"
                row.notes.append(f"it does not matter here: {names}, computed from it, {agree}{why}")
