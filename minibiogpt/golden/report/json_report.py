"""What a check found, as JSON for a program.

The keys of the JSON of one case: ``case``, ``candidate``, ``verdict`` ("agrees", "differs", "incomplete", "nothing
compared"), ``exit_code``, ``sentence``, ``next`` (a command), ``compared``, ``agrees``, ``differs``,
``not_comparable``, ``missing``, ``total``, ``first_difference`` and ``last_good`` (names, or null),
``padding_left_out``, ``inputs`` and ``arrays`` (rows), ``unpaired`` (``name``, ``reason``). The keys of a row:
``name``, ``candidate`` (its name there, null where missing), ``state``, ``shape``, ``axes``, ``found_shape``,
``dtype``, ``precision``, ``budget``, ``largest_error``, ``relative_error`` (over the reference's largest value),
``times_budget``, ``cosine``, ``where``, ``reference``, ``candidate_value`` (there), ``elements``, ``exceeding``,
``nan``, ``inf``, ``wrong_marks``, ``notes``. What no JSON number can be is one of the texts "NaN", "Infinity" and
"-Infinity".
"""

from __future__ import annotations

import math
from typing import Any

from minibiogpt.golden.check.result import AGREES, DIFFERS, Result, Row
from minibiogpt.golden.report.text import next_command, sentence, verdict


def as_json(result: Result) -> dict[str, Any]:
    """Everything, for ``json.dumps``; the keys are told at the head of this module."""
    first, good = result.first_difference, result.last_good
    return {
        "case": result.case.name,
        "candidate": str(result.theirs),
        "verdict": verdict(result),
        "exit_code": result.code,
        "sentence": sentence(result),
        "next": next_command(result),
        "compared": result.compared,
        "agrees": len(result.of(AGREES)),
        "differs": len(result.of(DIFFERS)),
        "not_comparable": len(result.rows) - result.compared,
        "missing": len(result.missing),
        "total": len(result.rows),
        "first_difference": None if first is None else first.name,
        "last_good": None if good is None else good.name,
        "padding_left_out": result.options.real_only,
        "inputs": [row_json(row) for row in result.inputs],
        "arrays": [row_json(row) for row in result.rows],
        "unpaired": [{"name": one.candidate, "reason": one.reason} for one in result.unpaired],
    }


def row_json(row: Row) -> dict[str, Any]:
    """One row, every key there."""
    found = row.measured
    told: dict[str, Any] = {
        "name": row.name,
        "candidate": row.candidate,
        "state": row.state,
        "shape": list(row.shape),
        "axes": row.axes,
        "found_shape": None if row.found_shape is None else list(row.found_shape),
        "dtype": row.dtype,
        "precision": row.precision,
        "budget": found.budget if found else None,
        "largest_error": found.largest_error if found else None,
        "relative_error": row.relative,
        "times_budget": row.times,
        "cosine": found.cosine if found else None,
        "where": None if row.where is None else list(row.where),
        "reference": found.reference if found else None,
        "candidate_value": found.candidate if found else None,
        "elements": found.compared if found else 0,
        "exceeding": found.exceeding if found else 0,
        "nan": found.nan if found else 0,
        "inf": found.inf if found else 0,
        "wrong_marks": found.wrong_marks if found else 0,
        "notes": list(row.notes),
    }
    return {key: _finite(value) for key, value in told.items()}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
