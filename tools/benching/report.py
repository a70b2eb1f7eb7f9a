"""The report: all measurements, with medians, ratios and limits."""

from __future__ import annotations

import argparse
from typing import Any

from minibiogpt import BioGptConfig
from tools.benching import alone, cases, device, device_memory, limits, models, numbers
from tools.benching.limits import Rates, Work
from tools.benching.rounds import STEPS, Pair, Setup, fastest

BANDWIDTH_BYTES = (1 << 28, 1 << 30)  # size of the bandwidth test: for small models, and above SMALL parameters
SMALL = 1 << 24
GEMM = (1024, 4096, 4096)
DEVICE_BYTES, DEVICE_GEMM = 1 << 29, (8192, 8192, 8192)  # much larger than the caches, and slower than a launch
ALONE = ("load", "first-token", "memory")
BENCHMARKS = (*cases.TIMED, "first-token", "load", "growth", "memory")
ABOUT = {name: make.__doc__ or "" for name, make in cases.TIMED.items()} | {
    "first-token": "wall time of a whole process: import, load, generate one token after 20",
    "load": "from_pretrained in float32 and one forward pass of 4 tokens: seconds and peak memory",
    "growth": "fit of seconds = a + b operations over 64 to 1,000 tokens, for prefill and for a decode step",
    "memory": "peak memory after each stage compared with the minimum, and growth over 2,000 tokens",
    "all": "all benchmarks, in one table",
}


def row_of(row: cases.Row, name: str, measured: dict[str, Any], extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return one row of the table with all its measurements; ``limited`` adds the limit once the rates are known."""
    each = {side: [1000 * times[name] for times in runs] for side, runs in measured["seconds"].items()}
    return {
        "case": row.label,
        "milliseconds": {side: numbers.spread(values)._asdict() | {"each": values} for side, values in each.items()},
        "ratios": {
            side: numbers.ratio(each["ours"], values)._asdict()
            for side, values in each.items()
            if side != "ours" and side not in extra
        },
        "same": measured["same"],
        "equal_ids": measured.get("equal_ids", {}),
        "things": row.things,
        "work": row.work and {"bytes": row.work.bytes, "operations": row.work.operations},
        "limit_milliseconds": None,
        "over_limit": None,
    }


def limited(row: dict[str, Any], rates: Rates) -> dict[str, Any]:
    """Return the row with the limit of the machine, and our time divided by it."""
    if not row["work"]:
        return row
    limit = 1000 * Work(**row["work"]).limit(rates)
    return row | {"limit_milliseconds": limit, "over_limit": row["milliseconds"]["ours"]["median"] / limit}


def timed_rows(pair: Pair, found: list[cases.Case]) -> list[dict[str, Any]]:
    rows = []
    for case in found:
        measured = pair.measured(case)
        rows += [row_of(row, name, measured, tuple(n for n, _ in case.extra)) for name, row in case.rows.items()]
    return rows


def first_token_row(setup: Setup, config: BioGptConfig) -> dict[str, Any]:
    """Return the row of whole processes, with the median time of each part."""
    measured = alone.first_token(setup, config)
    row = row_of(cases.Row("first token, cold"), "whole", measured)
    parts = {
        side: {name: 1000 * numbers.spread([run[name] for run in runs]).median for name in ("import", "load", "token")}
        for side, runs in measured["seconds"].items()
    }
    return row | {"parts": parts, "each_process": measured["seconds"]}


def growth(pair: Pair, config: BioGptConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Return medians and a linear fit of each side, for prefill and decode steps; a fit needs two points."""
    found = {}
    for name, points in cases.growing(config, options).items():
        if len(points) < 2:
            continue
        each: dict[str, list[list[float]]] = {}
        for case, key, _ in points:
            for side, runs in pair.measured(case)["seconds"].items():
                each.setdefault(side, []).append([run[key] for run in runs])
        operations = [work.operations for *_, work in points]
        sides = {}
        for side, runs in each.items():
            medians = [numbers.spread(one).median for one in runs]
            sides[side] = {"each": runs, "seconds": medians} | numbers.growth(operations, medians)
        tokens = [len(case.request["ids"][0]) for case, *_ in points]
        found[name] = {"tokens": tokens, "operations": operations, "sides": sides}
    return found


def in_workers(names: list[str], setup: Setup, config: BioGptConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the cases in the two workers, between two measurements of the rates of the machine."""
    made = [case for name in names if name in cases.TIMED for case in cases.TIMED[name](config, options)]
    size, gemm = BANDWIDTH_BYTES[limits.layer_weights(config) > SMALL], GEMM
    if setup.on_device:
        size, gemm = DEVICE_BYTES, DEVICE_GEMM
    found: dict[str, Any] = {}
    about: dict[str, Any] = {}
    with Pair(setup) as pair:
        before = pair.rates(size, gemm)
        rows = timed_rows(pair, made)
        if "growth" in names:
            found["growth"] = growth(pair, config, options)
        if setup.on_device:
            found |= launches(pair, config)
            about["device"] = pair.device_facts()
        after = pair.rates(size, gemm)
    rates = fastest(before, after)
    found["machine"] = vars(rates) | {"rates": {"before": before, "after": after}} | about
    return found | {"rows": [limited(row, rates) for row in rows]}


def launches(pair: Pair, config: BioGptConfig) -> dict[str, Any]:
    """Return the seconds of a kernel launch, and of a one-token forward pass outside generate, without a CUDA graph."""
    T = cases.within(config, cases.PROMPTS[:1], STEPS)[0]
    return {"launches": {"tokens": T, "sides": pair.launches(cases.random_ids(config, 1, T))}}


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return the whole report of one command line.

    Raises
    ------
    InputError
        If options cannot be combined, there is no such device or model, or a measurement fails.
    """
    device.check(options)
    if options.backend == device.DEVICE:
        return on_device(options)
    names = list(BENCHMARKS) if options.benchmark == "all" else [options.benchmark]
    setup, config = prepared(options)
    found: dict[str, Any] = {"rows": [], "machine": {}}
    if set(names) - set(ALONE):
        found = in_workers(names, setup, config, options)
    if "first-token" in names:
        found["rows"].append(first_token_row(setup, config))
    if "load" in names:
        found |= alone.load(setup)
    if "memory" in names:
        found["memory"] = alone.memory(setup, config, models.long_model(options.cache), options.long_new)
    return found


def on_device(options: argparse.Namespace) -> dict[str, Any]:
    """Return the report of a device, with the names of the benchmarks that are not measured there."""
    facts = device.facts(options.backend)
    names = list(device.MEASURED) if options.benchmark == "all" else [options.benchmark]
    setup, config = prepared(options)
    found: dict[str, Any] = {"rows": [], "machine": {}}
    if set(names) - {"memory"}:
        found = in_workers(names, setup, config, options)
    if "memory" in names:
        found["device_memory"] = device_memory.measured(setup, config, options.long_new)
    left = [name for name in BENCHMARKS if name not in device.MEASURED] if options.benchmark == "all" else []
    found["machine"]["device"] = facts | found["machine"].get("device", {})
    return found | {"left_out": left}


def prepared(options: argparse.Namespace) -> tuple[Setup, BioGptConfig]:
    """Return the settings for all cases and the config; generate the random model if needed.

    Raises
    ------
    InputError
        If there is no such model.
    """
    folder = models.chosen_model(options.model, options.size, options.cache)
    config = BioGptConfig.from_pretrained(folder)
    setup = Setup(
        folder.resolve(), options.peers, options.threads, options.rounds, options.dtype, options.backend, options.tf32
    )  # fmt: skip
    return setup, config
