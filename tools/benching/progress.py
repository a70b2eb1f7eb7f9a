"""The lines that are printed when a unit has been measured."""

from __future__ import annotations

from typing import Any

from tools.benching.table import answer_line, mega, number, ratio_of, spread_of


def lines(value: dict[str, Any]) -> list[str]:
    """Return what a unit shows at its end: its row, the answers, or its memory."""
    kind = value["kind"]
    if kind == "rows":
        return [row_line(row) for row in value["rows"]]
    if kind == "growth":
        medians = {side: sorted(runs)[len(runs) // 2] for side, runs in value["seconds"].items()}
        return [f"{value['tokens']} tokens: " + ", ".join(f"{s} {number(1000 * m)} ms" for s, m in medians.items())]
    if kind == "memory":
        return [f"{value['side']}: {_memory(value['found'])}"]
    return [answer_line(side, facts) for side, facts in value.get("part", {}).get("answers", {}).items()]


def row_line(row: dict[str, Any]) -> str:
    """Return a row of the table in words.

    Examples
    --------
    >>> one = {"median": 2.0, "least": 1.0, "largest": 3.0}
    >>> row_line({"case": "prefill 5", "milliseconds": {"ours": one, "sdpa": one}, "ratios": {"sdpa": one}})
    'prefill 5: ours 2.00 [1.00-3.00] ms, sdpa 2.00 [1.00-3.00] ms; ours/sdpa 2.00 1.00-3.00'
    """
    times = ", ".join(f"{side} {spread_of(values)} ms" for side, values in row["milliseconds"].items())
    ratios = ", ".join(f"ours/{side} {ratio_of(values)}" for side, values in row["ratios"].items())
    return f"{row['case']}: {times}" + (f"; {ratios}" if ratios else "")


def _memory(found: dict[str, Any]) -> str:
    if "missing" in found:
        return f"not measured: {found['missing']}"
    return ", ".join(f"after {stage} {mega(value)} MB" for stage, value in found["peak_bytes"].items())
