"""Every correct way to run a case: planted variations of PyTorch, other cuts of the work, and this package itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

import minibiogpt
from minibiogpt import Trace
from tests.reference.kits import KitCase, run
from tests.reference.planting import Plant
from tests.reference.variations import as_it_is, variations
from tools import dump_torch


@dataclass
class Done:
    """What a way made of a case.

    Attributes
    ----------
    part : whether it is a part of the case's arrays only. real_only : whether rows of pads may differ.
    """

    arrays: Mapping[str, Any]
    part: bool = False
    real_only: bool = False


Way = Callable[[KitCase, str], Done | None]
"""Runs a case in a precision; None where it cannot be run so."""


def ways(mixtures: int) -> dict[str, Way]:
    """Every correct way to run a case."""
    own = {f"NumPy, {how}": partial(ours, how=how) for how in ("eager", "blocked")}
    others = {"row by row": row_by_row, "token by token, cached": step_by_step}
    return {name: partial(_planted, plant=plant) for name, plant in variations(mixtures).items()} | own | others


def _planted(case: KitCase, dtype: str, plant: Plant) -> Done | None:
    arrays = run(case, dtype, plant)
    return None if arrays is None else Done(arrays)


def ours(case: KitCase, dtype: str, how: str) -> Done:
    """This package itself."""
    kind = getattr(minibiogpt, case.case.architecture)
    model = kind.from_pretrained(case.folder, dtype=dtype, attn_implementation=how)
    past, arrays = None, {}
    for step, given in case.inputs.calls.items():
        trace = Trace()
        output = model(**{name: x.numpy() for name, x in given.items()}, past_key_values=past, trace=trace)
        past = getattr(output, "past_key_values", None)
        arrays |= {step + name: torch.as_tensor(x) for name, x in trace.items()}
    kept = case.inputs.names or list(arrays)
    return Done({name: arrays[name] for name in kept if name in arrays}, part=how == "blocked")


def row_by_row(case: KitCase, dtype: str) -> Done | None:
    """Each row of the batch by itself; the loss, which is of all rows, is left out."""
    calls, parts = case.inputs.calls, []
    first = next(iter(calls.values()))
    for row in range(len(first.get("input_ids", first.get("inputs_embeds")))):
        alone = {step: {name: _row(name, x, row) for name, x in given.items()} for step, given in calls.items()}
        parts.append(run(case, dtype, as_it_is, replace(case.inputs, calls=alone)))
    names = [name for name in parts[0] or () if not name.endswith("loss")]
    return Done({name: torch.cat([part[name] for part in parts if part]) for name in names}, part=True)


def _row(name: str, x: torch.Tensor, row: int) -> torch.Tensor:
    return x if name == "head_mask" or len(x) == 1 else x[row : row + 1]


def step_by_step(case: KitCase, dtype: str) -> Done | None:
    """One token after another with a cache, joined: what has a place for each token, in a case of one call.

    A row of pads, which sees nothing, is uniform over the positions that there are: fewer in the first steps.
    """
    given = {name: x for name, x in case.inputs.calls.get("", {}).items() if name != "labels"}
    tokens = given.get("input_ids", given.get("inputs_embeds"))
    if tokens is None or tokens.shape[1] == 1 or case.case.architecture != "BioGptForCausalLM":
        return None
    T = tokens.shape[1]
    calls = {f"step.{t}/": {name: _cut(name, x, t) for name, x in given.items()} for t in range(T)}
    arrays = run(case, dtype, as_it_is, dump_torch.Case(None, calls)) or {}
    names = [e.name for e in case.case.entries if e.axes.split()[:2] == ["B", "T"]]
    joined = {name: torch.cat([arrays[f"step.{t}/{name}"] for t in range(T)], dim=1) for name in names}
    return Done(joined, part=True, real_only=True)


def _cut(name: str, x: torch.Tensor, t: int) -> torch.Tensor:
    if name == "head_mask":
        return x
    return x[:, : t + 1] if name == "attention_mask" else x[:, t : t + 1]
