"""record: run a model in float64, measure what rounding can do to each array, and write the case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.catalog.steps import axes_of
from minibiogpt.errors import InputError
from minibiogpt.golden.format.case import INPUT, PRECISIONS, SUMS, Entry, sample_places, sums_of, write_case
from minibiogpt.golden.format.rounding import FACTOR, ROUNDING, SEEDS, measured, run_calls, sum_parts
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Recorder, Trace

SLIM_BYTES = 4_000_000  # of all samples together, so that a slim case stays below 5 MB
MOST_SAMPLES = 1024  # of one array


def record(
    model: Pretrained,
    calls: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    name: str,
    about: str = "",
    files: Mapping[str, str] | None = None,
    names: str | Iterable[str] | None = None,
    slim: bool = False,
    seeds: int = SEEDS,
) -> None:
    """Write the case of these calls.

    Parameters
    ----------
    model : in float64. On a device, the values are the device's, and come back when all are made; what rounding can do
        to them is measured on NumPy.
    calls : the keyword arguments of each model call; each continues the cache of the one before.
    name, about : what the case is called, and one sentence on what it shows.
    files : {file: sha256} of the weights, for whoever wants to be sure of having the same.
    names : which arrays, as in Trace; all by default.
    slim : keep samples and sums instead of whole arrays.
    seeds : runs in each precision, each with its own order of sums.

    Raises
    ------
    InputError
        If the model computes in another dtype, an input cannot be, or an array is not finite.
    """
    if model.dtype != "float64":
        raise InputError("golden values are computed in float64", model.dtype, 'load it with dtype="float64"')
    if type(model).__name__ == "BioGptModel" and any("labels" in call for call in calls):
        raise InputError("the base model has no loss", "labels", "leave them away, or record a model with a head")
    if type(model).__name__ == "BioGptForTokenClassification" and len(calls) > 1:
        must = "several calls need a model that returns its cache"
        raise InputError(must, "BioGptForTokenClassification", "record each call as a case of its own")
    calls = [{key: np.asarray(x) for key, x in call.items() if x is not None} for call in calls]
    trace = Trace(names)
    watch = Recorder(trace)
    run_calls(model, calls, watch)
    watch.finish()
    trace.update({key: model.backend.to_numpy(x) for key, x in trace.items()})
    _check_finite(trace)
    noise = measured(_on_numpy(model), calls, trace, seeds)
    samples = min(MOST_SAMPLES, SLIM_BYTES // (8 * len(trace))) if slim else None
    architecture = type(model).__name__
    entries = [_entry(key, x, architecture, noise, samples) for key, x in trace.items()]
    arrays = dict(trace) if samples is None else _samples(trace, entries)
    facts: dict[str, Any] = {"case": name, "about": about, "architecture": architecture}
    facts["kind"] = "slim" if slim else "full"
    budget = {"factor": FACTOR, "seeds": seeds, "numpy": np.__version__}
    facts |= {"config": model.config.to_dict(), "model": dict(files or {}), "budget": budget}
    write_case(path, facts, _inputs(calls), entries, arrays)


def _on_numpy(model: Pretrained) -> Pretrained:
    """The same model where NumPy's operations can be watched, and their order changed."""
    if model.backend.name == "numpy":
        return model
    weights = {name.removeprefix("biogpt."): model.backend.to_numpy(x) for name, x in model.named_parameters()}
    return type(model)(model.config, weights, "numpy", "eager")


def _inputs(calls: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Every input by its whole name, in int64 or float64."""
    prefixes = [""] if len(calls) == 1 else [f"step.{n}/" for n in range(len(calls))]
    return {
        f"{prefix}{INPUT}{key}": x.astype(np.int64 if x.dtype.kind in "iub" else np.float64)
        for prefix, call in zip(prefixes, calls, strict=True)
        for key, x in call.items()
    }


def _check_finite(trace: Trace) -> None:
    spoilt = [name for name, x in trace.items() if not np.isfinite(x).all()]
    if spoilt:
        must = "every array of a case must be finite"
        raise InputError(must, f"NaN or infinity first in {spoilt[0]}", "choose other inputs, or check the weights")


def _entry(name: str, x: np.ndarray, architecture: str, noise: Mapping[str, Any], samples: int | None) -> Entry:
    """What the case says of one array, budgets included."""
    whole = x.dtype.kind != "f"
    shown = x if whole else x[x > np.finfo(np.float64).min]
    largest = float(np.abs(shown).max()) if shown.size else 0.0
    budgets = {p: 0.0 if whole else _budget(noise[p][0][name], ROUNDING[p] * largest) for p in PRECISIONS}
    sizes = [max(abs(part.sum()), np.sqrt(np.square(part).sum())) for part in sum_parts(shown, shown)]
    marked = shown.size < x.size
    least = {p: ROUNDING[p] * np.array(sizes) for p in PRECISIONS}  # each element rounded once, all alike or by chance
    sums = {p: _sum_budgets(noise[p][1][name], least[p], budgets[p]) for p in PRECISIONS}
    axes = axes_of(name, architecture)
    if samples is None:
        return Entry(name, x.shape, axes, largest, budgets)
    return Entry(name, x.shape, axes, largest, budgets, min(samples, x.size), None if marked else sums)


def _budget(error: float, least: float) -> float | None:
    return float(FACTOR * max(error, least)) if np.isfinite(error) else None


def _sum_budgets(errors: np.ndarray, least: np.ndarray, budget: float | None) -> list[float] | None:
    return None if budget is None else [float(b) for b in FACTOR * np.maximum(errors, least)]


def _samples(trace: Trace, entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """What the slim form stores: some elements of each array, and its sums."""
    stored = {}
    for entry in entries:
        x = trace[entry.name]
        stored[entry.name] = x.reshape(-1)[sample_places(x.size, entry.samples or 0)]
        if entry.sums is not None:
            stored[entry.name + SUMS] = sums_of(x)
    return stored
