"""Measure lane B: run the float32 cases of the parity tests, and print the table for tests/budgets.py.

python -m tests.support.measure_budgets
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests import budgets, compare

TABLE: dict[str, dict[str, float]] = {}


class Measured(float):
    """An infinite budget that knows its config and kind of tensor."""

    config: str
    kind: str


def unlimited(config: str, tensor: str) -> Measured:
    budget = Measured("inf")
    budget.config, budget.kind = config, budgets.kind_of(tensor)
    return budget


def recording(original: Any) -> Any:
    def assert_close(name: str, got: Any, want: Any, budget: float, last_good: str = "none") -> float:
        found = original(name, got, want, budget, last_good)
        if isinstance(budget, Measured):
            row = TABLE.setdefault(budget.config, {})
            row[budget.kind] = max(row.get(budget.kind, 0.0), found)
        return found

    return assert_close


def main() -> int:
    budgets.lane_b, compare.assert_close = unlimited, recording(compare.assert_close)  # type: ignore[assignment]
    failed = pytest.main(
        [
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/model/test_parity.py",
            "tests/heads/test_classification.py",
            "-k",
            "float32 or loss",
        ]
    )
    print("MEASURED: dict[str, dict[str, float]] = {")
    for config, row in sorted(TABLE.items()):
        cells = ", ".join(f'"{kind}": {row[kind]:.1e}' for kind in budgets.KINDS if kind in row)
        print(f'    "{config}": {{{cells}}},')
    print("}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
