"""Check that no run loses anything: `python tools/check_kills.py [--moments 30] [--seed 0] [--command NAME] [--json]`

Each command that writes is run on small models, and disturbed at moments drawn from the seed: killed or interrupted,
on a full disk, or with a second run of the same command. Afterwards an old output must be as before, complete, or
resumable; an error must be one line; files of others must be unchanged; and the same command must then give the bytes
of an undisturbed run, and leave nothing else. Everything else is a finding: it is printed with the command that
reproduces it, and the exit code is 1. Needs Linux on x86-64; a full disk needs root.
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

from tools.killing.commands import ALL
from tools.killing.kinds import KINDS
from tools.killing.trials import STARTS, Finding, Plan, Tally, run_all

SHOWN = 12  # printed lines of the detail of a finding


def parse(argv: list[str] | None) -> argparse.Namespace:
    first_line = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="tools/check_kills.py", description=first_line)
    parser.add_argument(
        "--moments", type=int, default=30, metavar="N", help="moments of each command and kind (default 30)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments (default 0)")
    parser.add_argument("--command", choices=[command.name for command in ALL], help="only this command")
    parser.add_argument("--kind", choices=KINDS, help="only this kind of disturbance")
    parser.add_argument("--start", choices=STARTS, help="only runs whose output is new, or replaces an old one")
    parser.add_argument("--at", type=int, metavar="N", help="only this moment of --command and --kind")
    parser.add_argument("--list", action="store_true", help="print the kinds of disturbance, and run nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    if options.at is not None and not (options.command and options.kind):
        parser.error("--at needs --command and --kind")
    if options.moments < 1:
        parser.error("--moments must be 1 or more")
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    chosen = {"commands": options.command, "kinds": options.kind, "starts": options.start}
    given = {name: (value,) for name, value in chosen.items() if value is not None}
    return Plan(options.moments, options.seed, at=options.at, **given)


def main(argv: list[str] | None = None) -> int:
    """Run the trials and print the result; return 0 without findings, 1 with findings."""
    options = parse(argv)
    if options.list:
        print("\n".join(f"{name}: {kind.about}" for name, kind in KINDS.items()))
        return 0
    left_out = [name for name, kind in KINDS.items() if not kind.possible()]
    if left_out:
        print(f"left out, because this system does not allow it: {', '.join(left_out)}", file=sys.stderr)
    tallies = []
    for tally in run_all(plan_of(options)):
        tallies.append(tally)
        if not options.json:
            _show(tally, first=len(tallies) == 1)
    if options.json:
        print(json.dumps([dataclasses.asdict(tally) for tally in tallies], indent=1))
    else:
        runs, found = sum(t.runs for t in tallies), sum(len(t.findings) for t in tallies)
        print(f"{'in all':36}{runs:6}{found:10}{sum(t.seconds for t in tallies):9.1f}")
    return 1 if any(tally.findings for tally in tallies) else 0


def _show(tally: Tally, *, first: bool) -> None:
    """Print a line of the table, and for each kind of problem its first finding and the moments of the others."""
    if first:
        print(f"{'command':18}{'kind':18}{'runs':>6}{'findings':>10}{'seconds':>9}")
    print(f"{tally.command:18}{tally.kind:18}{tally.runs:6}{len(tally.findings):10}{tally.seconds:9.1f}", flush=True)
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in tally.findings:
        groups.setdefault((finding.what, finding.start), []).append(finding)
    for (what, _), findings in groups.items():
        print(f"  {what}: {findings[0].replay()}")
        for line in findings[0].detail.splitlines()[-SHOWN:]:
            print(f"    {line}".encode("ascii", "backslashreplace").decode())
        others = sorted({finding.at for finding in findings[1:]} - {findings[0].at})
        if others:
            print(f"    also at {', '.join(map(str, others))}")


if __name__ == "__main__":
    sys.exit(main())
