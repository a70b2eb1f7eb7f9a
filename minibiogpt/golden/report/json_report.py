"""Report the result of a check as JSON.

Keys of one case: ``case``, ``candidate`` (path), ``quantization`` (that of the case's weights, or null), ``verdict``
("agrees", "differs", "incomplete" or "nothing compared"), ``exit_code``, ``sentence``, ``next`` (a command),
``compared``, ``agrees``, ``differs``,
``not_comparable``, ``missing``, ``total`` (numbers of arrays), ``first_difference`` and ``last_good`` (names, or null),
``padding_left_out``, ``last_positions`` (of --last, or null), ``differs_only_at_padding``, ``conventions`` (objects
with ``id``, ``sentence``, ``arrays`` and ``because``: why it counts as agreement, or null), ``numbers`` (arrays that
hold numbers of a coarse precision: objects with ``precision``, ``arrays`` and ``stored``, the dtypes), ``inputs`` and
``arrays`` (rows), ``unpaired`` (what is no array of the case's calls: objects with ``name`` and ``reason``),
``absent`` (what is an array of the calls that the case doesn't have, so it is not compared: objects with ``name`` and
``array``, our name), ``ignored`` (what is no array: objects with ``name`` and ``is``), ``names_of`` (the tool whose
names the candidate has, given or recognized, or null).

Keys of a row: ``name``, ``candidate`` (its name in the candidate, null if missing), ``state``, ``shape``, ``axes``,
``found_shape``, ``dtype``, ``precision``, ``budget``, ``largest_error``, ``relative_error`` (relative to the largest
absolute value of the reference), ``times_budget``, ``cosine``, ``where`` (an index), ``reference`` and
``candidate_value`` (the values at the largest error), ``elements``, ``exceeding``, ``nan``, ``inf``, ``wrong_marks``
(scores that should be hidden and are visible), ``hidden_marks`` (the reverse; all are numbers of elements),
``convention`` (its id, or null), ``numbers`` (their coarse precision, or null), ``notes``. Numbers that JSON lacks are
the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
from typing import Any

from minibiogpt.golden.check.evidence.conventions import found_in
from minibiogpt.golden.check.evidence.numbers import held_in, numbers_of
from minibiogpt.golden.check.result import AGREES, DIFFERS, Result, Row
from minibiogpt.golden.report.advice import next_command, verdict
from minibiogpt.golden.report.text import sentence


def as_json(result: Result) -> dict[str, Any]:
    """Return the whole result for ``json.dumps``; the module's docstring lists the keys."""
    first, good = result.first_difference, result.last_good
    return {
        "case": result.case.name,
        "candidate": str(result.theirs),
        "quantization": result.case.quantization,
        "verdict": verdict(result),
        "exit_code": result.code,
        "sentence": sentence(result),
        "next": next_command(result),
        "compared": result.compared,
        "agrees": len(result.rows_in(AGREES)),
        "differs": len(result.rows_in(DIFFERS)),
        "not_comparable": len(result.rows) - result.compared,
        "missing": len(result.missing),
        "total": len(result.rows),
        "first_difference": None if first is None else first.name,
        "last_good": None if good is None else good.name,
        "padding_left_out": result.options.real_only,
        "last_positions": result.options.last,
        "differs_only_at_padding": result.padding_only,
        "conventions": [
            {"id": one.convention, "sentence": one.sentence, "arrays": one.arrays, "because": one.because or None}
            for one in found_in([*result.inputs, *result.rows])
        ],
        "numbers": [
            {"precision": one.precision, "arrays": one.arrays, "stored": one.stored} for one in held_in(result.rows)
        ],
        "inputs": [row_json(row) for row in result.inputs],
        "arrays": [row_json(row) for row in result.rows],
        "unpaired": [{"name": one.candidate, "reason": one.reason} for one in result.unpaired],
        "absent": [{"name": one.candidate, "array": one.meant} for one in result.absent],
        "ignored": [{"name": name, "is": what} for name, what in result.ignored.items()],
        "names_of": result.options.names_of or result.names_of or None,
    }


def row_json(row: Row) -> dict[str, Any]:
    """Return one row, with all keys."""
    found = row.measured
    values: dict[str, Any] = {
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
        "hidden_marks": found.hidden_marks if found else 0,
        "convention": row.convention or None,
        "numbers": numbers_of(row) or None,
        "notes": list(row.notes),
    }
    return {key: _json_value(value) for key, value in values.items()}


def _json_value(value: Any) -> Any:
    """Return the value, with NaN and infinities as strings, since JSON lacks them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
