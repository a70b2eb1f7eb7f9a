"""The lines that are printed when a unit has been measured."""

from __future__ import annotations

from typing import Any

from tools.benching.table import answer_line, mega, number


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
    """Return the medians of a row, with the ratio ours / theirs.

    Examples
    --------
    >>> both = {"ours": {"median": 2.0}, "sdpa": {"median": 4.0}}
    >>> row_line({"case": "prefill 5", "milliseconds": both, "ratios": {"sdpa": {"median": 0.5}}})
    'prefill 5: ours 2.00 ms; sdpa 4.00 ms, ratio 0.50'
    """
    found = [f"{row['case']}: ours {number(row['milliseconds']['ours']['median'])} ms"]
    for side, values in row["milliseconds"].items():
        if side != "ours":
            ratio = f", ratio {row['ratios'][side]['median']:.2f}" if side in row["ratios"] else ""
            found.append(f"{side} {number(values['median'])} ms{ratio}")
    return "; ".join(found)


def _memory(found: dict[str, Any]) -> str:
    if "missing" in found:
        return f"not measured: {found['missing']}"
    return ", ".join(f"after {stage} {mega(value)} MB" for stage, value in found["peak_bytes"].items())
