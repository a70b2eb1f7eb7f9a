"""Which targets on a GPU were reached: python -m tools.benching.targets FOLDER, which holds reports of bench --json

A line for each target. Ends with 0 when all are reached, and with 1 when one is not, or was not measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Report = dict[str, Any]
GROWN = 0.01  # of weights and cache; a pool takes memory in pieces, so that a few of them are no growth


def ours_over_theirs(case: str) -> Callable[[Report], float | None]:
    """The ratio of a row of the table to the peer that does best in it."""

    def found(report: Report) -> float | None:
        ratios = [one["median"] for row in report["rows"] if row["case"] == case for one in row["ratios"].values()]
        return max(ratios, default=None)

    return found


def memory(report: Report) -> float:
    """What our pool took, over weights and a full cache."""
    return report["device_memory"]["sides"]["ours"]["over_weights_and_cache"]


def growth(report: Report) -> float | None:
    """What our pool took between the first sample of the long generation and the last, over weights and cache."""
    facts = report["device_memory"]
    grown = facts["sides"]["ours"]["grown_bytes"]
    return None if grown is None else grown / (facts["weights_bytes"] + facts["cache_bytes"])


class Target(NamedTuple):
    """A number that must be ``most`` at the most; ``asked`` is false for what need not be measured."""

    name: str
    of: tuple[str, str, str]  # benchmark, model, dtype
    found: Callable[[Report], float | None]
    most: float
    asked: bool = True


def of_size(size: str, asked: bool) -> list[Target]:
    """What a model of this size must reach in float16: the time of a token, and memory."""
    decode, kept = ("decode", size, "float16"), ("memory", size, "float16")
    return [
        Target("each token after 128, ours / transformers", decode, ours_over_theirs("decode 128, step"), 0.5, asked),
        Target("each token after 512, ours / transformers", decode, ours_over_theirs("decode 512, step"), 0.5, asked),
        Target("memory / (weights + full cache)", kept, memory, 1.2, asked),
        Target("growth over a long generation / (weights + full cache)", kept, growth, GROWN, asked),
    ]


FORWARD, ROWS = ours_over_theirs("prefill 1000"), ours_over_theirs("decode 32x128, step")
TARGETS = (
    *of_size("base", True),
    Target("forward, 1,000 tokens, ours / transformers", ("prefill", "base", "float16"), FORWARD, 1.1),
    Target("forward, 1,000 tokens, ours / transformers", ("prefill", "base", "float32"), FORWARD, 1.1),
    Target("each token of 32 rows, ours / transformers", ("batch", "base", "float16"), ROWS, 0.7),
    *of_size("large", False),
)


def reports(folder: Path) -> dict[tuple[str, str, str], Report]:
    """The reports of a device that lie in the folder, without TF32; what is no report is passed over."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["backend"] == "cupy" and not report["tf32"]:
                found[report["benchmark"], report["model"], report["dtype"]] = report
        except (ValueError, KeyError, TypeError):
            print(f"{path.name}: no report of bench --json", file=sys.stderr)
    return found


def verdict(target: Target, report: Report | None) -> tuple[str, bool]:
    """A line, and whether the target is reached."""
    found = None if report is None else target.found(report)
    label = f"{', '.join(target.of[1:])}: {target.name}"
    if found is None:
        return f"not measured  {label} (at most {target.most})", False
    reached = found <= target.most
    return f"{'reached' if reached else 'not reached':12}  {label} {found:.3f} (at most {target.most})", reached


def main() -> int:
    found = reports(Path(sys.argv[1]))
    wanted = [target for target in TARGETS if target.asked or target.of in found]
    verdicts = [verdict(target, found.get(target.of)) for target in wanted]
    print("\n".join(line for line, _ in verdicts))
    print(f"{sum(reached for _, reached in verdicts)} of {len(verdicts)} targets reached")
    return 0 if all(reached for _, reached in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
