"""Read what a diagnosis needs: the case, the candidate's arrays in the case's layout, and the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.errors import InputError
from minibiogpt.files.reading import sha256
from minibiogpt.files.safetensors import INDEX, SINGLE
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.check.judge import Judge
from minibiogpt.golden.check.result import AGREES, Options, Result, Row
from minibiogpt.golden.diagnosis.run import CaseRun, Known
from minibiogpt.golden.diagnosis.weights import Weights
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.manifest import cases_beside
from minibiogpt.golden.format.weights import settings_of

FLOAT32 = "float32"
LEAVE_OUT = "leave out --model: the kit says which model each of its cases was recorded with"
REMEDY = "name the folder of the model that the case was recorded with: --model FOLDER"


def case_run(name: str, case: Case, theirs: Path, weights: Weights, options: Options) -> tuple[CaseRun, Result]:
    """Check the candidate of one case, and return what a diagnosis recomputes, and the result of the check."""
    result = check(case, theirs, options)
    widened = FLOAT32 in (result.coarser_precision, *(result.coarser_at_first or ())[:1])
    if widened and options.precision is None:  # float32 numbers that are stored as float64
        options = replace(options, precision=FLOAT32)
        result = check(case, theirs, options)
    keep = _kept(case, options)
    known = {}
    for row in result.rows:
        if row.aligned is not None and row.name not in known:
            read = row.aligned
            if row.name.endswith(".scores_masked") and _is_without_nan(result.rows):
                read = partial(_with_lowest, row.aligned)
            known[row.name] = Known(read, _precision(row), row.budgets, row.largest, keep(row))
    run = CaseRun(name, case, known, weights, _other_inputs(case, result))
    run.widened = widened
    run.agreeing |= {row.name for row in result.rows_in(AGREES)}
    return run, result


def _is_without_nan(rows: Sequence[Row]) -> bool:
    """Whether arrays other than scores are known, and none of them has NaN: no row that sees nothing became NaN."""
    measured = [row.measured for row in rows if ".scores" not in row.name and row.measured is not None]
    return bool(measured) and all(one.not_finite is None for one in measured)


def _with_lowest(read: Callable[[], np.ndarray]) -> np.ndarray:
    """Return an array with the lowest number in place of -inf, which hides a score as well."""
    x = read()
    return np.where(x == -np.inf, LOWEST, x)


def _other_inputs(case: Case, result: Result) -> dict[str, np.ndarray]:
    """Return the inputs that the candidate ran on, where they have the shape of the case's but other values."""
    found = {row.name: row.aligned() for row in result.wrong_inputs if row.aligned is not None}
    return {name: x for name, x in found.items() if name in case.tensors and x.shape == case.tensors[name].shape}


def _precision(row: Row) -> str:
    return row.precision or str(row.dtype)


def _kept(case: Case, options: Options) -> Any:
    """Return a function from a row to the mask of the elements that count: that of the check."""
    judge = Judge(case, options)
    entries = {entry.name: entry for entry in case.entries}
    return lambda row: judge.kept(entries[row.name])


def weights_of(case: Case, model: Path | None) -> Weights:
    """Return the weights of the case's model: from ``model``, or from the kit which the case lies in.

    Raises
    ------
    InputError
        If the case is in no kit and no folder is named, or the folder's weights are not those of the case.
    """
    folder = model or next((model for file, model in cases_beside(case.path).values() if file == case.path), None)
    if folder is None:
        raise InputError("diagnose needs the weights of the case's model", f"{case.path}, which is in no kit", REMEDY)
    if not folder.is_dir():
        raise InputError("--model must name a folder", str(folder), REMEDY)
    for file, digest in case.model.items():
        if file in (SINGLE, INDEX) or file.endswith(".safetensors"):
            path = folder / file
            if not path.is_file() or sha256(path) != digest:
                found = f"another {path}" if path.is_file() else f"no {path}"
                must = f"the weights must be those that {case.path.name} was recorded with"
                raise InputError(must, found, LEAVE_OUT if cases_beside(case.path) else REMEDY)
    return Weights(folder, case.config.get("quantization_config"), settings_of(case.quantization))


@contextmanager
def as_file(theirs: str | Path | Mapping[str, Any]) -> Iterator[Path]:
    """Yield the path of a candidate; arrays are written to a temporary file first."""
    if not isinstance(theirs, Mapping):
        yield Path(theirs)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, allow_pickle=False, **{name: np.asarray(x) for name, x in theirs.items()})
        yield path
