"""What one command line measures, unit by unit: each is saved and printed when it ends.

A unit has a kind, which assembly.py reads: "rows" of the table, "growth" (one point of a fit), "memory" (one side),
"device" (facts), or "part" (a part of the report as it is).
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from minibiogpt import BioGptConfig
from minibiogpt.errors import InputError
from tools.benching import alone, assembly, cases, device, device_memory, limits, models, numbers, progress
from tools.benching.limits import Work
from tools.benching.peers import registry
from tools.benching.results import Results
from tools.benching.rounds import STEPS, Pair, Setup
from tools.benching.workers import Worker, environment, last_line

BANDWIDTH_BYTES = (1 << 28, 1 << 30)  # size of the bandwidth test: for small models, and above SMALL parameters
SMALL = 1 << 24
GEMM = (1024, 4096, 4096)
DEVICE_BYTES, DEVICE_GEMM = 1 << 29, (8192, 8192, 8192)  # much larger than the caches, and slower than a launch
ALONE = ("load", "first-token", "memory")
BENCHMARKS = (*cases.TIMED, "first-token", "load", "growth", "memory")
ABOUT = {name: make.__doc__ or "" for name, make in cases.TIMED.items()} | {
    "first-token": "wall time of a whole process: import, load, generate one token after 20",
    "load": "from_pretrained and one forward pass of 4 tokens: seconds and peak memory",
    "growth": "fit of seconds = a + b operations over 64 to 1,000 tokens, for prefill and for a decode step",
    "memory": "peak memory after each stage compared with the minimum, and growth over 2,000 tokens",
    "all": "all benchmarks, in one table",
}


class Unit(NamedTuple):
    """Something that is measured, saved and printed as a whole."""

    key: str
    make: Callable[[], dict[str, Any]]


def row_of(row: cases.Row, name: str, measured: dict[str, Any], extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return one row of the table with all its measurements; assembly.py adds the limit once the rates are known."""
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
        "missing": measured.get("missing", {}),
        "things": row.things,
        "work": row.work and {"bytes": row.work.bytes, "operations": row.work.operations},
        "limit_milliseconds": None,
        "over_limit": None,
    }


def timed(pair: Pair, case: cases.Case) -> dict[str, Any]:
    """Measure one case."""
    measured = pair.measured(case)
    extra = tuple(name for name, _ in case.extra)
    return {"kind": "rows", "rows": [row_of(row, name, measured, extra) for name, row in case.rows.items()]}


def first_token(setup: Setup, config: BioGptConfig) -> dict[str, Any]:
    """Measure whole processes; the row also has the median time of each part."""
    measured = alone.first_token(setup, config)
    row = row_of(cases.Row("first token, cold"), "whole", measured)
    parts = {
        side: {name: 1000 * numbers.spread([run[name] for run in runs]).median for name in ("import", "load", "token")}
        for side, runs in measured["seconds"].items()
    }
    return {"kind": "rows", "rows": [row | {"parts": parts, "each_process": measured["seconds"]}]}


def point(pair: Pair, name: str, case: cases.Case, key: str, work: Work) -> dict[str, Any]:
    """Measure one length of a fit."""
    seconds = {side: [run[key] for run in runs] for side, runs in pair.measured(case)["seconds"].items()}
    tokens = len(case.request["ids"][0])
    return {"kind": "growth", "name": name, "tokens": tokens, "operations": work.operations, "seconds": seconds}


def in_workers(
    pair: Pair, names: list[str], config: BioGptConfig, options: argparse.Namespace, facts: dict[str, Any]
) -> list[Unit]:
    """Return what is measured in the workers; on a CPU the answers of all peers are compared first."""
    units = []
    if not pair.setup.on_device:
        units.append(Unit("answers", partial(part, "answers", partial(pair.compared, config))))
    for case in [case for name in names if name in cases.TIMED for case in cases.TIMED[name](config, options)]:
        units.append(Unit(_key(case), partial(timed, pair, case)))
    for name, points in cases.growing(config, options).items() if "growth" in names else ():
        units += [Unit(_key(case), partial(point, pair, name, case, key, work)) for case, key, work in points]
    if pair.setup.on_device:
        units.append(Unit("launches", partial(part, "launches", partial(launches, pair, config))))
        units.append(Unit("device", lambda: {"kind": "device", "facts": facts | pair.device_facts()}))
    return units


def part(name: str, make: Callable[[], Any]) -> dict[str, Any]:
    """Measure a part of the report."""
    return {"kind": "part", "part": {name: make()}}


def _key(case: cases.Case) -> str:
    return ", ".join(row.label for row in case.rows.values())


def launches(pair: Pair, config: BioGptConfig) -> dict[str, Any]:
    """Return the seconds of a kernel launch, and of a one-token forward pass outside generate, without a CUDA graph."""
    T = cases.within(config, cases.PROMPTS[:1], STEPS)[0]
    return {"tokens": T, "sides": pair.launches(cases.random_ids(config, 1, T))}


def in_processes(setup: Setup, names: list[str], config: BioGptConfig, options: argparse.Namespace) -> list[Unit]:
    """Return what is measured in fresh processes."""
    units: list[Unit] = []
    if "first-token" in names:
        units.append(Unit("first token of a cold process", partial(first_token, setup, config)))
    if "load" in names:
        units.append(Unit("load", partial(part, "load", partial(alone.load, setup))))
    if "memory" in names and setup.on_device:
        measured = partial(device_memory.measured, setup, config, options.long_new)
        units.append(Unit("device memory", partial(part, "device_memory", measured)))
    elif "memory" in names:
        long = models.long_model(options.cache)
        for side in ("ours", *setup.peers):
            of_side = partial(memory, setup, config, side, long, options.long_new, options.new)
            units.append(Unit(f"memory, {side}", of_side))
    return units


def memory(
    setup: Setup, config: BioGptConfig, side: str, long: Path, new: int, most: int | None = None
) -> dict[str, Any]:
    """Measure the memory of one side."""
    facts = alone.memory_facts(config, long, setup.dtype, most)
    found = alone.memory(setup, config, side, long, new, most)
    return {"kind": "memory", "facts": facts, "side": side, "found": found}


def measure(options: argparse.Namespace, results: Results) -> None:
    """Measure everything of one command line that ``results`` does not have yet.

    Raises
    ------
    InputError
        If options cannot be combined, there is no such device or model, or a measurement fails.
    """
    device.check(options)
    facts = device.facts(options.backend) if options.backend == device.DEVICE else {}  # an error if there is none
    known = device.MEASURED if options.backend == device.DEVICE else BENCHMARKS
    names = list(known) if options.benchmark == "all" else [options.benchmark]
    setup, config = prepared(options)
    pair = Pair(setup)
    inside = in_workers(pair, names, config, options, facts) if _uses_workers(names, setup) else []
    outside = in_processes(setup, names, config, options)
    if facts and options.benchmark == "all":
        left = [name for name in BENCHMARKS if name not in device.MEASURED]
        outside.append(Unit("left out", partial(part, "left_out", lambda: left)))
    if facts and not inside:
        outside.append(Unit("device", lambda: {"kind": "device", "facts": facts}))
    results.plan([unit.key for unit in (*inside, *outside)])
    if any(unit.key not in results.values for unit in inside):
        convert(setup)
        size, gemm = BANDWIDTH_BYTES[limits.layer_weights(config) > SMALL], GEMM
        if setup.on_device:
            size, gemm = DEVICE_BYTES, DEVICE_GEMM
        with pair:
            print("bench: memory bandwidth, matrix products", file=sys.stderr)
            results.note("rates", pair.rates(size, gemm))
            for unit in inside:
                value = results.once(*unit, progress.lines)
                pair.leave_out(value.get("part", {}).get("answers", {}))
            print("bench: memory bandwidth, matrix products", file=sys.stderr)
            results.note("rates", pair.rates(size, gemm))
        inside = []
    elif any(unit.key not in results.values for unit in outside):
        convert(setup)
    for unit in (*inside, *outside):
        results.once(*unit, progress.lines)


def _uses_workers(names: list[str], setup: Setup) -> bool:
    return bool(set(names) - ({"memory"} if setup.on_device else set(ALONE)))


def measured(options: argparse.Namespace, results: Results | None = None) -> dict[str, Any]:
    """Return the whole report of one command line; see ``measure`` for errors."""
    found = results or Results({})
    measure(options, found)
    return assembly.assembled(found.values, found.notes)


def convert(setup: Setup) -> None:
    """Convert the model for each engine, unless that is done, in processes of their own.

    Raises
    ------
    InputError
        If transformers cannot export it. An engine that fails is left out later, with its reason.
    """
    found = registry.engines(setup.peers)
    to = registry.converted_of(setup.folder, setup.cache)
    if any(engine.exported for engine in found.values()) and not (to / registry.EXPORTED).is_dir():
        print(f"bench: exporting the model to ONNX, kept in {to}", file=sys.stderr)
        line = [sys.executable, *registry.export_command(setup.folder, setup.cache)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment(setup.threads))
        if done.returncode:
            remedy = "leave these peers out"
            raise InputError("transformers must export the model", last_line(done.stderr, done.returncode), remedy)
    for peer in found:
        python, command = registry.command(peer, setup.folder, setup.threads, setup.cache)
        print(f"bench: the model as {peer} reads it, kept in {to}", file=sys.stderr)
        with contextlib.suppress(InputError), Worker(peer, command, setup.threads, python) as worker:
            worker.ask({"job": "convert"})


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
        folder.resolve(), options.peers, options.threads, options.rounds, options.dtype, options.backend, options.tf32,
        None if options.backend == device.DEVICE else options.product, options.cache.resolve(), options.quantization,
    )  # fmt: skip
    return setup, config
