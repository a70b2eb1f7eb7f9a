"""Every correct way to run a case: PyTorch with planted variations, row by row, token by token, and this package."""

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
class WayResult:
    """The arrays that a way computed for a case.

    Attributes
    ----------
    part : whether it computed only a part of the case's arrays.
    real_only : whether rows of padding may differ.
    """

    arrays: Mapping[str, Any]
    part: bool = False
    real_only: bool = False


Way = Callable[[KitCase, str], WayResult | None]
"""Runs a case in a precision; returns None if the case can't be run this way."""


def ways(mixtures: int) -> dict[str, Way]:
    """Return {name: way} of every correct way to run a case."""
    own = {f"NumPy, {attention}": partial(this_package, attention=attention) for attention in ("eager", "blocked")}
    others = {"row by row": row_by_row, "token by token, cached": step_by_step}
    return {name: partial(_planted, plant=plant) for name, plant in variations(mixtures).items()} | own | others


def _planted(case: KitCase, dtype: str, plant: Plant) -> WayResult | None:
    arrays = run(case, dtype, plant)
    return None if arrays is None else WayResult(arrays)


def this_package(case: KitCase, dtype: str, attention: str) -> WayResult:
    """Run minibiogpt itself."""
    model_class = getattr(minibiogpt, case.case.architecture)
    model = model_class.from_pretrained(case.folder, dtype=dtype, attn_implementation=attention)
    past, arrays = None, {}
    for step, inputs in case.inputs.calls.items():
        trace = Trace()
        output = model(**{name: x.numpy() for name, x in inputs.items()}, past_key_values=past, trace=trace)
        past = getattr(output, "past_key_values", None)
        arrays |= {step + name: torch.as_tensor(x) for name, x in trace.items()}
    kept = case.inputs.names or list(arrays)
    return WayResult({name: arrays[name] for name in kept if name in arrays}, part=attention == "blocked")


def row_by_row(case: KitCase, dtype: str) -> WayResult | None:
    """Run each row of the batch by itself; the loss, which depends on all rows, is left out."""
    calls, results = case.inputs.calls, []
    first = next(iter(calls.values()))
    for row in range(len(first.get("input_ids", first.get("inputs_embeds")))):
        alone = {step: {name: _row(name, x, row) for name, x in inputs.items()} for step, inputs in calls.items()}
        results.append(run(case, dtype, as_it_is, replace(case.inputs, calls=alone)))
    names = [name for name in results[0] or () if not name.endswith("loss")]
    return WayResult({name: torch.cat([arrays[name] for arrays in results if arrays]) for name in names}, part=True)


def _row(name: str, x: torch.Tensor, row: int) -> torch.Tensor:
    return x if name == "head_mask" or len(x) == 1 else x[row : row + 1]


def step_by_step(case: KitCase, dtype: str) -> WayResult | None:
    """Run a case of one call token by token with a cache, and join the arrays that have an axis T.

    A padding query, whose keys are all hidden, attends uniformly to the positions so far, which are fewer in the first
    steps. So padding may differ.
    """
    inputs = {name: x for name, x in case.inputs.calls.get("", {}).items() if name != "labels"}
    tokens = inputs.get("input_ids", inputs.get("inputs_embeds"))
    if tokens is None or tokens.shape[1] == 1 or case.case.architecture != "BioGptForCausalLM":
        return None
    T = tokens.shape[1]
    calls = {f"step.{t}/": {name: _at_step(name, x, t) for name, x in inputs.items()} for t in range(T)}
    arrays = run(case, dtype, as_it_is, dump_torch.Case(None, calls)) or {}
    names = [e.name for e in case.case.entries if e.axes.split()[:2] == ["B", "T"]]
    joined = {name: torch.cat([arrays[f"step.{t}/{name}"] for t in range(T)], dim=1) for name in names}
    return WayResult(joined, part=True, real_only=True)


def _at_step(name: str, x: torch.Tensor, t: int) -> torch.Tensor:
    if name == "head_mask":
        return x
    return x[:, : t + 1] if name == "attention_mask" else x[:, t : t + 1]
