"""Every correct way to run a case: planted variations of PyTorch, other cuts of the work, and this package itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

import minibiogpt
from minibiogpt import Trace
from tests.reference.kits import Arrays, KitCase, run
from tests.reference.planting import corrected
from tests.reference.variations import variations
from tools import dump_torch

# What is correct: name, and how a case is run so (in a precision).
Way = Callable[[KitCase, str], tuple[Mapping[str, Any] | None, bool]]


def ways(mixtures: int) -> dict[str, Way]:
    """Every correct way: its arrays, and whether they are a part of the case's only."""
    planted: dict[str, Way] = {
        name: (lambda case, dtype, plant=plant: (run(case, dtype, plant), False))
        for name, plant in variations(mixtures).items()
    }
    own: dict[str, Way] = {
        f"NumPy, {how}": (lambda case, dtype, how=how: (ours(case, dtype, how), how == "blocked"))
        for how in ("eager", "blocked")
    }
    return planted | own | {"row by row": row_by_row, "token by token, cached": step_by_step}


def ours(case: KitCase, dtype: str, how: str) -> Arrays:
    """This package's own arrays."""
    kind = getattr(minibiogpt, case.case.architecture)
    model = kind.from_pretrained(case.folder, dtype=dtype, attn_implementation=how)
    past, arrays = None, {}
    for step, given in case.calls().items():
        trace = Trace()
        output = model(**{name: x.numpy() for name, x in given.items()}, past_key_values=past, trace=trace)
        past = getattr(output, "past_key_values", None)
        arrays |= {step + name: torch.as_tensor(x) for name, x in trace.items()}
    return arrays


def row_by_row(case: KitCase, dtype: str) -> tuple[Arrays | None, bool]:
    """Each row of the batch by itself; the loss, which is of all rows, is left out."""
    calls = list(case.calls().values())
    rows = len(next(iter(calls[0].values())))
    model, parts = case.model(dtype), []
    for row in range(rows):
        alone = [{k: x if k == "head_mask" or len(x) == 1 else x[row : row + 1] for k, x in c.items()} for c in calls]
        with corrected(model):
            parts.append(
                dump_torch.record_steps(model, alone) if len(alone) > 1 else dump_torch.record(model, **alone[0])
            )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0] if not name.endswith("loss")}, True


def step_by_step(case: KitCase, dtype: str) -> tuple[Arrays | None, bool]:
    """One call after another with a cache, joined: what has a place for each token, of a case of one call."""
    calls = case.calls()
    model = case.model(dtype)
    given = {name: x for name, x in calls.get("", {}).items() if name != "labels"}
    if not given or not ({"input_ids", "inputs_embeds"} & set(given)):
        return None, True
    T = given.get("input_ids", given.get("inputs_embeds")).shape[1]
    steps = [{name: _cut(name, x, t, T) for name, x in given.items()} for t in range(T)]
    if T == 1 or not hasattr(model, "output_projection"):
        return None, True
    arrays = dump_torch.record_steps(model, steps)
    per_token = [e.name for e in case.case.entries if e.axes.split()[:2] == ["B", "T"]]
    joined = {name: torch.cat([arrays[f"step.{t}/{name}"] for t in range(T)], dim=1) for name in per_token}
    return joined, True


def _cut(name: str, x: torch.Tensor, t: int, T: int) -> torch.Tensor:
    if name == "head_mask":
        return x
    return x[:, : t + 1] if name == "attention_mask" else x[:, t : t + 1]
