"""What is computed from an array: if that agrees, a difference of the array does not matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minibiogpt.catalog.steps import steps
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.golden.check.calls import inputs_of_call, prefixes_of
from minibiogpt.golden.check.result import NOT_COMPARABLE, Row
from minibiogpt.golden.format.case import Case


def uses_in(case: Case) -> dict[str, list[str]]:
    """Return {array: arrays of the same call that are computed from it}; empty for a foreign model."""
    prefixes, uses = prefixes_of(case), dict[str, list[str]]()
    try:
        config = BioGptConfig.from_dict(case.config)
        for prefix in prefixes:
            for step in steps(config, case.architecture, inputs_of_call(case, prefix)):
                for source in step.where.values():
                    uses.setdefault(prefix + source, []).append(prefix + step.name)
    except InputError:
        return {}
    return uses


def witnesses(name: str, rows: Sequence[Row], uses: Mapping[str, Sequence[str]], convention: str = "-") -> list[Row]:
    """Return the compared rows that are computed from an array, directly or through arrays that weren't compared.

    Rows in the given convention prove nothing about it.
    """
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    found: list[Row] = []
    pending, seen = list(uses.get(name, ())), set[str]()
    while pending:
        one = pending.pop(0)
        if one in seen:
            continue
        seen.add(one)
        compared = [row for row in by_name.get(one, ()) if row.state != NOT_COMPARABLE and row.convention != convention]
        found += compared
        pending += [] if compared else uses.get(one, ())
    return found
