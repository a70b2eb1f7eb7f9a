"""The report as Markdown, as docs/performance.md holds it: what it was measured on, and one table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tools.benching import products
from tools.benching.table import (
    answer_line,
    equal,
    held,
    mega,
    missing,
    number,
    precisions,
    quantization,
    ratio_of,
    side_of,
    spread_of,
)

FEW = 2  # peers whose medians fit beside the ratios
# What a case of the table is called in the documentation.
NAMES = (
    (r"prefill (\d+)", "forward, {} tokens, all logits"),
    (r"in generate (\d+)", "`generate`, {} tokens, until the first token"),
    (r"decode (\d+), step", "each token after {}"),
    (r"in generate (\d+)x(\d+)", "`generate`, {} rows of {}, until the first token"),
    (r"decode (\d+)x\d+, step", "each token of {} rows"),
    (r"beam (\d+)x\d+, step", "each token, {} beams"),
    (r"score (\d+) sentences", "`score`, {} sentences"),
    (r"tokenize (\d+) texts", "tokenizer, {} texts"),
    (r"first token, cold", "cold process until the first token, 20-token prompt"),
)


def text(report: dict[str, Any]) -> str:
    """Return a heading that names the processor, the facts, and the tables."""
    machine, rows = report["machine"], report.get("rows", [])
    parts = [f"### {machine.get('processor', 'unknown processor')}", facts(report)]
    if rows:
        parts.append(timed(rows, report["peers"]))
        if len(report["peers"]) > FEW:
            parts.append(medians(rows, report["peers"]))
    if sides := precisions(report):
        parts.append(f"{sides}.")
    if "memory" in report:
        parts.append(memory(report["memory"]))
    named = [row | {"case": called(row["case"])} for row in rows]
    if remarks := [*(note.strip().removeprefix("- ") for note in missing(named)), *differing(rows)]:
        parts.append("\n".join(f"- {remark}" for remark in remarks))
    if report.get("answers"):
        parts.append("\n".join(f"- {answer_line(side, found)}" for side, found in report["answers"].items()))
    return "\n\n".join(parts)


def facts(report: dict[str, Any]) -> str:
    """Return one paragraph: processor, libraries, model and settings."""
    machine = report["machine"]
    product = products.title(machine)
    size = {"demo": "The demo", "base": "Base size, random weights", "large": "Large size, random weights"}
    names = ("numpy", "torch", "transformers", *machine.get("engines", {}))
    versions = machine | machine.get("engines", {})
    words = [
        f"{size.get(report['model'], report['model'])}, {report['dtype']}{quantization(report)}{product}",
        f"{machine.get('processor_kind', 'unknown processor')} ({machine.get('extensions', '')})",
        f"{machine.get('cores', '?')} cores, {machine.get('threads', '?')} threads for each side",
        f"BLAS {machine.get('blas', 'unknown')}",
        *(f"{name} unset" if value == "not set" else f"{name}={value}" for name, value in _variables(machine)),
        ", ".join(f"{name} {versions[name]}" for name in names if name in versions),
        f"{report.get('rounds', '?')} rounds, {machine.get('date', '')[:10]}",
    ]
    if "bandwidth" in machine:
        gigaflops = f"{machine['operations'] / 1e9:.0f} GFLOP/s"
        words.append(f"reads {machine['bandwidth'] / 1e9:.1f} GB/s, multiplies {gigaflops}")
    return "; ".join(words) + "." + (" **Unfinished.**" if report.get("unfinished") else "")


def _variables(machine: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in machine.items() if name.startswith("OPENBLAS_")]


def timed(rows: Sequence[dict[str, Any]], peers: Sequence[str]) -> str:
    """Format our medians [min-max] and the ratios with their min-max; with up to two peers also their medians."""
    few = len(peers) <= FEW
    titles = ["case", "ours, ms", *(f"{peer}, ms" for peer in peers if few), *(f"ours / {peer}" for peer in peers)]
    lines = [[*titles, "/ limit"]]
    for row in rows:
        sides = [side_of(row, peer, peers) for peer in peers]
        times = [spread_of(row["milliseconds"][side]) if side else "-" for side in sides] if few else []
        over = "" if row["over_limit"] is None else f"{row['over_limit']:.2f}"
        cells = [_ratio(row, side) for side in sides]
        lines.append([called(row["case"]), spread_of(row["milliseconds"]["ours"]), *times, *cells, over])
    return table(lines)


def medians(rows: Sequence[dict[str, Any]], peers: Sequence[str]) -> str:
    """Format the median of each side, one side a line."""
    lines = [["median, ms", *(called(row["case"]) for row in rows)]]
    for name in ("ours", *peers):
        sides = ["ours" if name == "ours" else side_of(row, name, peers) for row in rows]
        pairs = zip(rows, sides, strict=True)
        lines.append([name, *(number(row["milliseconds"][side]["median"]) if side else "-" for row, side in pairs)])
    return table(lines)


def _ratio(row: dict[str, Any], side: str | None) -> str:
    if side is None or side not in row["ratios"]:
        return "-"
    median, spread = ratio_of(row["ratios"][side]).split(" ", 1)
    return f"**{median}** {spread}"


def called(case: str) -> str:
    """Return what a case is called in the documentation.

    Examples
    --------
    >>> called("decode 8x128, step"), called("in generate 512")
    ('each token of 8 rows', '`generate`, 512 tokens, until the first token')
    """
    for pattern, name in NAMES:
        if found := re.fullmatch(pattern, case):
            return name.format(*(f"{int(part):,}" for part in found.groups()))
    return case


def memory(found: dict[str, Any]) -> str:
    """Format the peak of each side after each stage."""
    stages = ("import", "load", f"{found['tokens']:,} tokens", f"all {found['positions']:,} positions")
    lines = [["resident, MB (peak)", *stages, "(peak - import) / needed", "now, after load", "now, at the end"]]
    for side, facts in found["sides"].items():
        if "missing" in facts:
            lines.append([side, *["-"] * (len(lines[0]) - 1)])
        else:
            peaks = map(mega, facts["peak_bytes"].values())
            lines.append([side, *peaks, f"{facts['over_needed']:.2f}", *held(facts)])
    return table(lines)


def differing(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return which results were not ours, each peer once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for side, same in row["same"].items():
            if not same:
                part = equal(row.get("equal_ids", {}).get(side)).removeprefix("; ")
                found.setdefault(side, []).append(f"{called(row['case'])} ({part or 'another result'})")
    return [f"{side} gave another result than ours in: {'; '.join(cases)}" for side, cases in found.items()]


def table(lines: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table whose first line is the head.

    Examples
    --------
    >>> print(table([["case", "ms"], ["a|b", "1"]]))
    | case | ms |
    |---|---|
    | a\\|b | 1 |
    """
    head, *rest = ["| " + " | ".join(map(escaped, cells)) + " |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])


def escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
