"""The report from what was measured: rows with medians, ratios and limits, fits, memory, rates of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError
from tools.benching import numbers, results
from tools.benching.limits import Rates, Work
from tools.benching.rounds import fastest
from tools.benching.variants import NONE


def assembled(values: dict[str, Any], notes: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the report of all measurements that there are; see report.py for their kinds."""
    report: dict[str, Any] = {"rows": [], "machine": {}}
    for value in results.in_order(values, notes.get(results.PLAN, [])).values():
        kind = value["kind"]
        if kind == "rows":
            report["rows"] += value["rows"]
        elif kind == "growth":
            report.setdefault("growth", {}).setdefault(value["name"], []).append(value)
        elif kind == "memory":
            report.setdefault("memory", value["facts"] | {"sides": {}})["sides"][value["side"]] = value["found"]
        elif kind == "device":
            report["machine"]["device"] = value["facts"]
        else:
            report |= value["part"]
    report |= report.pop("load", {})
    if "growth" in report:
        report["growth"] = {name: fit for name, points in report["growth"].items() if (fit := growth(points))}
    if notes.get("rates"):
        rates = fastest(*notes["rates"])
        before, after = notes["rates"][0], notes["rates"][-1]
        report["machine"] |= vars(rates) | {"rates": {"before": before, "after": after}}
        report["rows"] = [limited(row, rates) for row in report["rows"]]
    return report


def limited(row: dict[str, Any], rates: Rates) -> dict[str, Any]:
    """Return the row with the limit of the machine, and our time divided by it."""
    if not row["work"]:
        return row
    limit = 1000 * Work(**row["work"]).limit(rates)
    return row | {"limit_milliseconds": limit, "over_limit": row["milliseconds"]["ours"]["median"] / limit}


def growth(points: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return medians and a linear fit of each side over growing lengths; a fit needs two points."""
    if len(points) < 2:
        return None
    operations = [point["operations"] for point in points]
    sides = {}
    for side in points[0]["seconds"]:
        if not all(side in point["seconds"] for point in points):
            continue
        runs = [point["seconds"][side] for point in points]
        medians = [numbers.spread(one).median for one in runs]
        sides[side] = {"each": runs, "seconds": medians} | numbers.growth(operations, medians)
    return {"tokens": [point["tokens"] for point in points], "operations": operations, "sides": sides}


def whole(request: dict[str, Any], values: dict[str, Any], notes: dict[str, list[Any]]) -> dict[str, Any]:
    """Return a complete report, with the request and the machine."""
    found = assembled(values, notes)
    benchmarks = dict.fromkeys(notes.get("benchmark", []))
    loads = {"load_after": notes["load_after"][-1]} if notes.get("load_after") else {}
    machine = request.get("machine", {}) | notes.get("session", [{}])[0] | loads | found["machine"]
    unfinished = {} if notes.get("ended", [True])[-1] else {"unfinished": True}
    return {"benchmark": ", ".join(benchmarks)} | request | found | {"machine": machine} | unfinished


def seen_from(report: dict[str, Any], side: str) -> dict[str, Any]:
    """Return the report with another side in the place of "ours", which becomes the peer "ours (NAME)".

    Only timed rows: what was compared with "ours" is left out, and so are rows that the side has no part in.

    Raises
    ------
    InputError
        If no row has that side.
    """
    plain = report.get("quantization", NONE)
    before = f"ours ({report['dtype'] if plain == NONE else plain})"
    rows = [_row_from(row, side, before) for row in report.get("rows", []) if side in row["milliseconds"]]
    if not rows:
        names = dict.fromkeys(name for row in report.get("rows", []) for name in row["milliseconds"])
        raise InputError("--ours must name a side that was timed", side, f"choose one of {', '.join(names)}")
    sides = report.get("sides", {})
    renamed = {before if name == "ours" else name: what for name, what in sides.items() if name != side}
    return {
        **{name: report[name] for name in ("benchmark", "model", "dtype", "backend", "rounds", "machine")},
        "peers": [before, *(peer for peer in report["peers"] if peer != side)],
        "sides": {"ours": f"{side}, {sides.get(side, 'unknown precision')}"} | renamed,
        "rows": rows,
    }


def _row_from(row: dict[str, Any], side: str, before: str) -> dict[str, Any]:
    times = {before if name == "ours" else name: found for name, found in row["milliseconds"].items() if name != side}
    mine = row["milliseconds"][side]
    timed = {name: found for name, found in times.items() if name == before or name in row["ratios"]}
    ratios = {name: numbers.ratio(mine["each"], found["each"])._asdict() for name, found in timed.items()}
    limit = row["limit_milliseconds"]
    over = None if limit is None else mine["median"] / limit
    changed = {"milliseconds": {"ours": mine} | times, "ratios": ratios, "over_limit": over, "parts": {}}
    return row | changed | {"same": {}, "equal_ids": {}}


def stored(path: Path) -> dict[str, Any]:
    """Return the report of a file that --results or --json wrote.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("there must be a file of results", str(error), "check the path") from None
    except ValueError:
        report = {}
    if "machine" in report:
        return report
    request, values, notes, _ = results.read(path)
    return whole(request, values, notes)
