"""Fuzz the package with hostile input: `python tools/fuzz.py [--cases 10000] [--seed 0] [--target NAME] [--json]`

Each case is one corrupted file, text or command line, reproducible from the seed, in a worker process with limits. In
every case the package must succeed or raise one of its own errors, within 5 seconds and 2 GB. It must not leave a
half-written file, or write outside its folder. Everything else is a finding: it is printed with the command that
reproduces it, and the exit code is 1. Needs Linux; the target `archive` also needs torch.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # before NumPy is imported
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})

from tools.fuzzing import (
    archives,
    candidates,
    checkpoints,
    commands,
    environments,
    names,
    outputs,
    quantized,
    textfiles,
    texts,
)
from tools.fuzzing.supervise import Finding, Tally, Target, keep, run_target

MODULES = (checkpoints, quantized, archives, texts, textfiles, names, candidates, outputs, environments, commands)
TARGETS = {target.name: target for module in MODULES for target in module.TARGETS}
SHOWN = 40  # printed lines of the traceback of a finding


def parse(argv: list[str] | None) -> argparse.Namespace:
    first_line = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="tools/fuzz.py", description=first_line)
    parser.add_argument("--cases", type=int, default=10_000, metavar="N", help="number of cases (default 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the cases (default 0)")
    parser.add_argument("--target", choices=TARGETS, help="run all cases on this target")
    parser.add_argument("--case", type=int, metavar="N", help="run only this case of --target")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="save the files of every finding here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    if options.case is not None and options.target is None:
        parser.error("--case needs --target")
    if options.cases < 1:
        parser.error("--cases must be 1 or more")
    return options


def numbers_of(options: argparse.Namespace) -> dict[str, range]:
    """Return the case numbers of each target: split by ``Target.share``, or all for one target."""
    if options.case is not None:
        return {options.target: range(options.case, options.case + 1)}
    if options.target:
        return {options.target: range(options.cases)}
    whole = sum(target.share for target in TARGETS.values())
    return {name: range(-(-options.cases * target.share // whole)) for name, target in TARGETS.items()}


def main(argv: list[str] | None = None) -> int:
    """Run the cases and print the result; return 0 without findings, 1 with findings."""
    options = parse(argv)
    if "archive" not in TARGETS:
        print("left out: archive, because torch is not installed", file=sys.stderr)
    tallies = []
    for name, numbers in numbers_of(options).items():
        tally = run_target(TARGETS[name], options.seed, numbers)
        tallies.append(tally)
        if not options.json:
            _show(tally, first=len(tallies) == 1)
        if options.keep:
            _keep(tally.findings, TARGETS[name], options.keep)
    if options.json:
        print(json.dumps([dataclasses.asdict(tally) | {"cases": tally.cases} for tally in tallies], indent=1))
    else:
        _show_sum(tallies)
    return 1 if any(tally.findings for tally in tallies) else 0


def _show(tally: Tally, *, first: bool) -> None:
    if first:
        print(f"{'target':20}{'cases':>8}{'accepted':>10}{'refused':>9}{'findings':>10}{'seconds':>9}")
    counts = f"{tally.cases:8}{tally.accepted:10}{tally.refused:9}{len(tally.findings):10}{tally.seconds:9.1f}"
    print(f"{tally.target:20}{counts}", flush=True)
    for finding in tally.findings:
        print(f"  {finding.kind}: {finding.replay()}")
        for line in finding.detail.splitlines()[-SHOWN:]:
            print(f"    {line}".encode("ascii", "backslashreplace").decode())


def _show_sum(tallies: list[Tally]) -> None:
    accepted, refused = sum(t.accepted for t in tallies), sum(t.refused for t in tallies)
    found, seconds = sum(len(t.findings) for t in tallies), sum(t.seconds for t in tallies)
    print(f"{'in all':20}{accepted + refused + found:8}{accepted:10}{refused:9}{found:10}{seconds:9.1f}")


def _keep(findings: list[Finding], target: Target, folder: Path) -> None:
    for finding in findings:
        keep(finding, target, folder)


if __name__ == "__main__":
    sys.exit(main())
