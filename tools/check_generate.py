"""Check generate against transformers: `python tools/check_generate.py [--seed 0] [--count 800] [--case N]`

Each case is a random combination of generation options on a tiny random model, reproducible from the seed. It is run in
minibiogpt and in transformers. The outputs must be equal (ids exactly; scores, logits, attentions, hidden states, cache
and transition scores to rounding, in float64), or both must refuse the case, or the difference must be one of those
documented in tools/checking_generate/differences.py. Everything else is printed with the options; the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":  # before NumPy is imported
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})

from tools.checking_generate.cases import make_case
from tools.checking_generate.compare import Verdict, judge
from tools.checking_generate.differences import DIFFERENCES


def parse(argv: list[str] | None) -> argparse.Namespace:
    first_line = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="tools/check_generate.py", description=first_line)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the cases (default 0)")
    parser.add_argument("--count", type=int, default=800, metavar="N", help="number of cases (default 800)")
    parser.add_argument("--case", type=int, metavar="N", help="run only this case, and print its options")
    parser.add_argument("--list", action="store_true", help="print the documented differences, and run nothing")
    return parser.parse_args(argv)


def run(seed: int, numbers: range) -> list[Verdict]:
    """Run these cases, and print each undocumented difference with a line that reproduces it."""
    verdicts = []
    for number in numbers:
        case = make_case(seed, number)
        verdict = judge(case)
        verdicts.append(verdict)
        if verdict.kind == "different":
            print(f"--seed {seed} --case {number}: {verdict.detail}\n    {case}", flush=True)
        elif len(numbers) == 1:
            print(f"{verdict.kind}: {verdict.detail}\n    {case}")
    return verdicts


def main(argv: list[str] | None = None) -> int:
    """Run the cases and print a summary; return 0 without undocumented differences, 1 with some."""
    options = parse(argv)
    if options.list:
        print("\n".join(f"{name}: {difference.reason}" for name, difference in DIFFERENCES.items()))
        return 0
    one = options.case is not None
    verdicts = run(options.seed, range(options.case, options.case + 1) if one else range(options.count))
    kinds = Counter(verdict.kind for verdict in verdicts)
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    for name, count in Counter(v.detail for v in verdicts if v.kind == "documented").most_common():
        print(f"    documented: {name}: {count}")
    return int(kinds["different"] > 0)


if __name__ == "__main__":
    sys.exit(main())
