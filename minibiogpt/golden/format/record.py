"""Record a case: run a model in float64, measure the rounding noise of each array, and write the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.catalog.steps import axes_of
from minibiogpt.errors import InputError
from minibiogpt.golden.format.case import INPUT, SUMS, Entry, sample_indices, sums_of, write_case
from minibiogpt.golden.format.rounding import (
    FACTOR,
    ROUNDING,
    SEEDS,
    errors_of,
    measure_noise,
    precisions_of,
    rounded,
    run_calls,
    sum_error_terms,
)
from minibiogpt.golden.format.weights import AXES, as_floats, described, has_quantized, weight_rows
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Recorder, Trace

SLIM_BYTES = 4_000_000  # size limit of all samples together, so that a slim case stays below 5 MB
MAX_SAMPLES = 1024  # per array


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
    weights: bool = False,
) -> None:
    """Run the calls and write them as a case.

    Parameters
    ----------
    model : a float64 model. On a device, the values are the device's and are copied to the host at the end; the
        rounding noise is measured with NumPy. With quantized weights, the values are those of the dequantized ones.
    calls : keyword arguments of each model call; each call continues the cache of the previous one.
    name, about : the case's name, and one sentence on what it shows.
    files : {file: sha256} of the weights, to identify the checkpoint.
    names : which arrays to store, as in Trace; all by default.
    slim : store samples and sums instead of whole arrays.
    seeds : number of runs in each precision, each with its own summation order.
    weights : also store a few dequantized rows of each quantized weight.

    Raises
    ------
    InputError
        If the model's dtype isn't float64, an input is invalid, or an array is not finite.
    """
    if model.dtype != "float64":
        raise InputError("golden values must be computed in float64", model.dtype, 'load it with dtype="float64"')
    if weights and not has_quantized(model):
        must = "a case that stores rows of dequantized weights must have quantized weights"
        raise InputError(must, "a model of floats", "leave out weights, or quantize the model")
    if type(model).__name__ == "BioGptModel" and any("labels" in call for call in calls):
        raise InputError("the base model has no loss", "labels", "omit them, or record a model with a head")
    if type(model).__name__ == "BioGptForTokenClassification" and len(calls) > 1:
        must = "the model of several calls must return its cache"
        raise InputError(must, "BioGptForTokenClassification", "record each call as a case of its own")
    calls = [{key: np.asarray(x) for key, x in call.items() if x is not None} for call in calls]
    trace = Trace(names)
    recorder = Recorder(trace)
    run_calls(as_floats(model), calls, recorder)
    recorder.finish()
    trace.update({key: model.backend.to_numpy(x) for key, x in trace.items()})
    _check_finite(trace)
    noise = measure_noise(_on_numpy(model), calls, trace, seeds)
    architecture = type(model).__name__
    rows = {key: (chosen, x) for key, chosen, x in weight_rows(model)} if weights else {}
    samples = min(MAX_SAMPLES, SLIM_BYTES // (8 * (len(trace) + len(rows)))) if slim else None
    entries = [_weight_entry(key, *found, precisions_of(model), samples) for key, found in rows.items()]
    entries += [_entry(key, x, axes_of(key, architecture), noise, samples) for key, x in trace.items()]
    every = {key: x for key, (_, x) in rows.items()} | trace
    arrays = every if samples is None else _samples(every, entries)
    fields: dict[str, Any] = {"case": name, "about": about, "architecture": architecture}
    fields["kind"] = "slim" if slim else "full"
    budget = {"factor": FACTOR, "seeds": seeds, "numpy": np.__version__}
    fields |= {"config": model.config.to_dict(), "model": dict(files or {}), "budget": budget}
    fields |= {"quantization": quantization} if (quantization := described(model)) else {}
    write_case(path, fields, _inputs(calls), entries, arrays)


def _on_numpy(model: Pretrained) -> Pretrained:
    """Return the same model on NumPy, where operations can be intercepted and sums reordered."""
    if model.backend.name == "numpy":
        return model
    to_numpy = model.backend.to_numpy
    named = ((name.removeprefix("biogpt."), x) for name, x in model.named_parameters())
    weights = {n: x.with_arrays(to_numpy) if isinstance(x, PackedWeight) else to_numpy(x) for n, x in named}
    return type(model)(model.config, weights, "numpy", "eager")


def _inputs(calls: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return {full name: array} of every input, as int64 or float64."""
    prefixes = [""] if len(calls) == 1 else [f"step.{n}/" for n in range(len(calls))]
    return {
        f"{prefix}{INPUT}{key}": x.astype(np.int64 if x.dtype.kind in "iub" else np.float64)
        for prefix, call in zip(prefixes, calls, strict=True)
        for key, x in call.items()
    }


def _check_finite(trace: Trace) -> None:
    not_finite = [name for name, x in trace.items() if not np.isfinite(x).all()]
    if not_finite:
        must = "every array of a case must be finite"
        raise InputError(
            must, f"NaN or infinity first in {not_finite[0]}", "choose different inputs, or check the weights"
        )


def _weight_entry(name: str, rows: list[int], x: np.ndarray, precisions: Sequence[str], samples: int | None) -> Entry:
    """Return the entry of a few rows of a weight: its budgets are those of rounding each value once."""
    near = {p: errors_of(rounded(x.astype(np.float32), p), x) for p in precisions}
    noise = {p: ({name: error}, {name: sums}) for p, (error, sums) in near.items()}
    return replace(_entry(name, x, AXES, noise, samples), rows=rows)


def _entry(name: str, x: np.ndarray, axes: str, noise: Mapping[str, Any], samples: int | None) -> Entry:
    """Return the entry of one array, with its budgets."""
    is_integer = x.dtype.kind != "f"
    visible = x if is_integer else x[x > np.finfo(np.float64).min]  # without masked scores
    largest = float(np.abs(visible).max()) if visible.size else 0.0
    budgets = {p: 0.0 if is_integer else _budget(noise[p][0][name], ROUNDING[p] * largest) for p in noise}
    sizes = [max(abs(terms.sum()), np.sqrt(np.square(terms).sum())) for terms in sum_error_terms(visible, visible)]
    has_masked = visible.size < x.size
    # Each element rounded once: all alike, or at random.
    minimum = {p: ROUNDING[p] * np.array(sizes) for p in noise}
    sums = {p: _sum_budgets(noise[p][1][name], minimum[p], budgets[p]) for p in noise}
    if samples is None:
        return Entry(name, x.shape, axes, largest, budgets)
    return Entry(name, x.shape, axes, largest, budgets, min(samples, x.size), None if has_masked else sums)


def _budget(error: float, minimum: float) -> float | None:
    return float(FACTOR * max(error, minimum)) if np.isfinite(error) else None


def _sum_budgets(errors: np.ndarray, minimum: np.ndarray, budget: float | None) -> list[float] | None:
    return None if budget is None else [float(b) for b in FACTOR * np.maximum(errors, minimum)]


def _samples(arrays: Mapping[str, np.ndarray], entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Return what the slim form stores: samples of each array, and its sums."""
    stored = {}
    for entry in entries:
        x = arrays[entry.name]
        stored[entry.name] = x.reshape(-1)[sample_indices(x.size, entry.samples or 0)]
        if entry.sums is not None:
            stored[entry.name + SUMS] = sums_of(x)
    return stored
