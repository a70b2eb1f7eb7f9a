"""Compare the outputs of one case, and name the documented differences between the implementations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from minibiogpt import InputError
from minibiogpt.generation.config import ids_as_tuple
from minibiogpt.generation.prompt import prompt_mask
from tools.checking_generate import both
from tools.checking_generate.both import Case
from tools.checking_generate.differences import DIFFERENCES

CLOSE = 1e-9  # float64 against float64: of the largest finite value of an array
HUGE = 1e30  # remove_invalid_values puts the largest values of a dtype, which other processors turn into infinity
STEPS = ("scores", "logits")
NESTED = {"attentions": 2, "hidden_states": 1}  # the axis of the positions, of queries


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes
    ----------
    kind : "equal", "refused by both", "documented" or "different".
    detail : the first difference, the name of the documented one, or both errors.
    """

    kind: str
    detail: str = ""


def judge(case: Case) -> Verdict:
    """Run a case in both implementations, and compare."""
    mine, draws = both.ours(case)
    other = both.theirs(case, draws)
    if isinstance(mine, Exception) and not isinstance(mine, InputError):
        return Verdict("different", f"a raw error: {type(mine).__name__}: {mine}")
    if isinstance(mine, Exception) and isinstance(other, Exception):
        return Verdict("refused by both", f"{mine} | {type(other).__name__}: {str(other).strip()[:150]}")
    detail = _first_difference(case, mine, other)
    if not detail:
        return Verdict("equal")
    names = [name for name, difference in DIFFERENCES.items() if difference.applies(case, mine, other)]
    return Verdict("documented", names[0]) if names else Verdict("different", detail)


def _first_difference(case: Case, mine: Any, other: Any) -> str:
    """Return a description of the first difference between two outputs; empty if there is none."""
    if isinstance(mine, Exception):
        return f"refused here only: {mine}"
    if isinstance(other, Exception):
        return f"refused by transformers only: {type(other).__name__}: {str(other).strip()[:300]}"
    if isinstance(mine, np.ndarray):
        return _ids("sequences", mine, getattr(other, "sequences", other)) or (
            "" if hasattr(other, "shape") else "transformers returns a dict"
        )
    if hasattr(other, "shape"):
        return "transformers returns no dict"
    found, real = _ids("sequences", mine.sequences, other.sequences), _real(case)
    for name in STEPS:
        found = found or _steps(name, getattr(mine, name), getattr(other, name))
    for name in NESTED:
        found = found or _nested(name, getattr(mine, name), getattr(other, name), real)
    beams = hasattr(other, "sequences_scores")
    found = found or _optional("sequences_scores", mine.sequences_scores, other.sequences_scores if beams else None)
    if beams:
        found = found or _ids("beam_indices", mine.beam_indices, other.beam_indices)
    elif mine.beam_indices is not None:
        found = found or "beam_indices without beam search"
    found = found or _caches(mine.past_key_values, other.past_key_values, real)
    return found or (_transitions(case, mine, other) if mine.scores else "")


def _ids(name: str, mine: np.ndarray, other: Any) -> str:
    other = other.numpy()
    return "" if np.array_equal(mine, other) else f"{name}: {mine.tolist()} here, {other.tolist()} in transformers"


def _close(name: str, mine: np.ndarray, other: Any) -> str:
    other = other.numpy()
    if mine.shape != other.shape:
        return f"{name}: shape {mine.shape} here, {other.shape} in transformers"
    mine, other = (np.where(np.abs(x) > HUGE, np.copysign(np.inf, x), x) for x in (mine, other))
    finite = np.isfinite(other)
    if not np.array_equal(mine[~finite], other[~finite], equal_nan=True) or not np.isfinite(mine[finite]).all():
        return f"{name}: other values are infinite"
    if not finite.any():
        return ""
    drift = np.abs(mine[finite] - other[finite]).max() / max(np.abs(other[finite]).max(), 1e-9)
    return "" if drift <= CLOSE else f"{name}: {drift:.1e} of the largest value"


def _optional(name: str, mine: Any, other: Any) -> str:
    if (mine is None) != (other is None):
        return f"{name}: {'absent' if mine is None else 'present'} here only"
    return "" if mine is None else _close(name, mine, other)


def _steps(name: str, mine: Any, other: Any) -> str:
    if not mine and not other:
        return "" if (mine is None) == (other is None) else f"{name}: None and ()"
    if mine is None or other is None or len(mine) != len(other):
        return f"{name}: {mine and len(mine)} steps here, {other and len(other)} in transformers"
    return next(
        filter(None, (_close(f"{name} {i}", a, b) for i, (a, b) in enumerate(zip(mine, other, strict=True)))), ""
    )


def _real(case: Case) -> np.ndarray | None:
    """Return the mask of the prompt, (B, P), or None without padding.

    At pads, generate of transformers uses position 1, and its model call position -1, as minibiogpt always does.
    Nothing attends to them, so arrays of the model are compared at real positions only.
    """
    model = both.models(case.model)[0]
    given = {name: case.options[name] for name in ("pad_token_id", "eos_token_id") if name in case.options}
    config = model.generation_config.updated(given)
    embeds = both.embeds_of(case)
    rows = 1 if embeds is None else len(embeds)
    ids = np.asarray(case.inputs["input_ids"]) if "input_ids" in case.inputs else np.zeros((rows, 0))
    P = ids.shape[1] if embeds is None else embeds.shape[1]
    return prompt_mask(
        case.inputs.get("attention_mask"), ids, P, config.pad_token_id, ids_as_tuple(config.eos_token_id)
    )


def _without_pads(x: np.ndarray, real: np.ndarray | None, axis: int) -> np.ndarray:
    """Return x with zeros at the pads of the prompt; ``axis`` is that of the positions, the first one that of rows."""
    if real is None or x.shape[axis] == 1:
        return x
    real = real[:, max(real.shape[1] - x.shape[axis], 0) :]  # without the positions that were in the cache
    rows = np.repeat(real, x.shape[0] // real.shape[0], axis=0)
    wide = np.ones((x.shape[0], x.shape[axis]), dtype=bool)
    wide[:, : real.shape[1]] = rows
    shape = [1] * x.ndim
    shape[0], shape[axis] = wide.shape
    return np.where(wide.reshape(shape), x, 0.0)


def _nested(name: str, mine: Any, other: Any, real: np.ndarray | None) -> str:
    if mine is None or other is None or len(mine) != len(other):
        return "" if mine is other is None else f"{name}: {mine and len(mine)} and {other and len(other)} steps"
    axis = NESTED[name]
    mine = [[_without_pads(x, real, axis) for x in step] for step in mine]
    other = [[torch.tensor(_without_pads(x.numpy(), real, axis)) for x in step] for step in other]
    pairs = enumerate(zip(mine, other, strict=True))
    return next(filter(None, (_steps(f"{name} {i}", a, b) for i, (a, b) in pairs)), "")


def _caches(mine: Any, other: Any, real: np.ndarray | None) -> str:
    if mine is None or other is None:
        return "" if mine is other is None else f"past_key_values: {type(mine).__name__} and {type(other).__name__}"
    pairs = zip(mine, other.to_legacy_cache() if hasattr(other, "to_legacy_cache") else other, strict=True)
    found = [
        _close(f"cache {i}", _without_pads(a, real, 2), torch.tensor(_without_pads(b.numpy(), real, 2)))
        for i, pair in enumerate(pairs)
        for a, b in zip(*pair, strict=True)
    ]
    return next(filter(None, found), "")


def _transitions(case: Case, mine: Any, other: Any) -> str:
    """Compare compute_transition_scores, which looks only at the tokens that were chosen."""
    ours, theirs = both.models(case.model)
    for normalize in (False, True):
        a = ours.compute_transition_scores(mine.sequences, mine.scores, mine.beam_indices, normalize_logits=normalize)
        b = theirs.compute_transition_scores(
            other.sequences, other.scores, getattr(other, "beam_indices", None), normalize_logits=normalize
        )
        if found := _close(f"transition scores, normalize_logits={normalize}", a, b):
            return found
    return ""
