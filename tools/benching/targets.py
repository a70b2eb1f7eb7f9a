"""Check the GPU targets: python -m tools.benching.targets FOLDER, a folder of reports written by bench --json

Prints one line per target. Exit code 0 if all targets are reached, 1 if one is missed or was not measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Report = dict[str, Any]
GROWN = 0.01  # allowed growth, relative to weights + cache; a pool reserves whole blocks, so some growth is normal


def ours_over_theirs(case: str) -> Callable[[Report], float | None]:
    """Return a function that reads the ratio of a row to the fastest attention of transformers."""

    def found(report: Report) -> float | None:
        ratios = [one["median"] for row in report["rows"] if row["case"] == case for one in row["ratios"].values()]
        return max(ratios, default=None)

    return found


def memory(report: Report) -> float:
    """Return the memory reserved by our pool, divided by weights + full cache."""
    return report["device_memory"]["sides"]["ours"]["over_weights_and_cache"]


def growth(report: Report) -> float | None:
    """Return the growth of our pool from the first to the last sample of the long generation, over weights + cache."""
    facts = report["device_memory"]
    grown = facts["sides"]["ours"]["grown_bytes"]
    return None if grown is None else grown / (facts["weights_bytes"] + facts["cache_bytes"])


class Target(NamedTuple):
    """A measured value that must be at most ``most``; a target that is not ``required`` may be unmeasured."""

    name: str
    of: tuple[str, str, str]  # benchmark, model, dtype
    found: Callable[[Report], float | None]
    most: float
    required: bool = True


def of_size(size: str, required: bool) -> list[Target]:
    """Return the float16 targets of a model size: time per token, and memory."""
    decode, kept = ("decode", size, "float16"), ("memory", size, "float16")
    after_128, after_512 = (ours_over_theirs(f"decode {T}, step") for T in (128, 512))
    return [
        Target("each token after 128, ours / transformers", decode, after_128, 0.5, required),
        Target("each token after 512, ours / transformers", decode, after_512, 0.5, required),
        Target("memory / (weights + full cache)", kept, memory, 1.2, required),
        Target("growth over a long generation / (weights + full cache)", kept, growth, GROWN, required),
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
    """Return the device reports in a folder, without TF32; other JSON files are skipped with a message."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["backend"] == "cupy" and not report["tf32"]:
                found[report["benchmark"], report["model"], report["dtype"]] = report
        except (ValueError, KeyError, TypeError):
            print(f"{path.name}: not a report of bench --json", file=sys.stderr)
    return found


def verdict(target: Target, report: Report | None) -> tuple[str, bool]:
    """Return a line of text, and whether the target is reached."""
    found = None if report is None else target.found(report)
    label = f"{', '.join(target.of[1:])}: {target.name}"
    if found is None:
        return f"not measured  {label} (at most {target.most})", False
    reached = found <= target.most
    return f"{'reached' if reached else 'not reached':12}  {label} {found:.3f} (at most {target.most})", reached


def main() -> int:
    found = reports(Path(sys.argv[1]))
    checked = [target for target in TARGETS if target.required or target.of in found]
    verdicts = [verdict(target, found.get(target.of)) for target in checked]
    print("\n".join(line for line, _ in verdicts))
    print(f"{sum(reached for _, reached in verdicts)} of {len(verdicts)} targets reached")
    return 0 if all(reached for _, reached in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
