"""Measure what a conformance kit catches: `python tools/sensitivity.py KIT [--variations] [--markdown FILE]`

Runs every planted mistake (tests/reference/mistakes.py) on every case of the kit, with transformers in float64, float32
and bfloat16, dumps the arrays and checks them like `minibiogpt golden check`. The tensor that *must* be named first is
determined without the kit: the first one, in the order of execution, in which a float64 run with the mistake differs in
any bit from the run without it (hidden scores are compared by their effect). --variations also runs correct variations
(tests/reference/variations.py); none of them may be reported as a difference. --diagnose measures what
`minibiogpt golden diagnose` says instead (tools/diagnose_sensitivity.py). Exit code 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

if __name__ == "__main__":  # before NumPy is imported
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "HF_HUB_OFFLINE": "1"}

import numpy as np
import torch
import transformers

from minibiogpt.files.writing import write_atomically
from tests.reference.kits import PRECISIONS, KitCase, Pair, Verdict, cases_of, pair_of
from tests.reference.mistakes import MISTAKES
from tests.reference.ways import ways
from tools import diagnose_sensitivity

# The promises: the fraction of pairs whose first tensor is named correctly (float64), and the multiple of the budget
# that each mistake reaches in the case that shows it best (float64 and float32).
RIGHT, TIMES = 0.95, 10
PROMISED = ("float64", "float32")
MIXTURES = 75  # random combinations of variations; with the single variations over 100, each in two precisions


def best(pairs: Iterable[Pair], precision: str) -> tuple[float, str]:
    """Return the largest multiple of the budget that a mistake reaches, and in which case."""
    found = [(p.verdicts[precision].times, p.case) for p in pairs if p.verdicts and p.verdicts[precision].code == 1]
    return max(found, default=(0.0, "none"))


def share_right(pairs: Iterable[Pair], precision: str) -> tuple[int, int, int]:
    """Return the number of pairs that differ, that are caught, and that are caught with the right first tensor."""
    shown = [pair for pair in pairs if pair.first is not None]
    caught = [pair for pair in shown if pair.verdicts[precision].code == 1]
    return len(shown), len(caught), len([pair for pair in caught if pair.right(precision)])


def summary(pairs: list[Pair]) -> Iterator[str]:
    """Yield a Markdown table with one row per precision."""
    yield "| precision | pairs that differ | caught | first tensor right |"
    yield "|---|---|---|---|"
    for precision in PRECISIONS:
        shown, caught, right = share_right(pairs, precision)
        yield f"| {precision} | {shown} | {caught} ({_percent(caught, shown)}) | {right} ({_percent(right, shown)}) |"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def of_each(pairs: list[Pair]) -> Iterator[str]:
    """Yield a Markdown table with one row per mistake, and its largest multiple of the budget in each precision."""
    yield "| mistake | shows in | caught | first right | best case | " + " | ".join(PRECISIONS) + " |"
    yield "|---|---|---|---|---|" + "---|" * len(PRECISIONS)
    for mistake in MISTAKES:
        own = [pair for pair in pairs if pair.mistake == mistake]
        shown, caught, right = share_right(own, "float64")
        times = " | ".join(_times(best(own, precision)[0]) for precision in PRECISIONS)
        yield f"| {mistake} | {shown} | {caught} | {right} | {best(own, 'float64')[1]} | {times} |"


def _times(times: float) -> str:
    if times == 0:
        return "-"
    return "∞" if math.isinf(times) else f"{times:.0f}" if times < 1e5 else f"{times:.0e}"


def matrix(pairs: list[Pair], cases: list[KitCase]) -> Iterator[str]:
    """Yield a matrix: X right tensor named first, x another, o missed, - PyTorch refuses to run it, . no difference."""
    symbols = {(pair.mistake, pair.case): pair.sign for pair in pairs}
    width = max(len(name) for name in MISTAKES)
    for number, case in enumerate(cases):
        yield f"{number:>3} {case.name}"
    yield " " * width + " " + "".join(f"{number:>3}" for number in range(len(cases)))
    for mistake in MISTAKES:
        yield f"{mistake:{width}} " + "".join(f"{symbols[mistake, case.name]:>3}" for case in cases)


def broken(pairs: list[Pair]) -> Iterator[str]:
    """Yield the promises that do not hold."""
    for precision in PROMISED:
        for mistake in MISTAKES:
            times, case = best([pair for pair in pairs if pair.mistake == mistake], precision)
            if times < TIMES:
                yield f"{mistake}: at best {times:.1f} budgets in {precision} ({case}); at least {TIMES} are promised"
    shown, _, right = share_right(pairs, "float64")
    if right < RIGHT * shown:
        yield f"the first tensor is right in {_percent(right, shown)} of the pairs; at least 95 % are promised"


def wrongly_named(pairs: list[Pair], precision: str) -> Iterator[str]:
    for pair in pairs:
        if pair.first is not None and not pair.right(precision):
            verdict = pair.verdicts[precision]
            named = f"nothing, code {verdict.code}"
            if verdict.first:
                named = f"{verdict.first} ({_times(verdict.times)} budgets)"
            yield f"{pair.mistake} in {pair.case}: {pair.first} must be named first; the check names {named}"


def false_alarms(cases: list[KitCase], mixtures: int) -> tuple[int, int, list[str]]:
    """Run all correct variations; return the numbers of variations (in one precision each) and runs, and all alarms."""
    variations, runs, alarms = 0, 0, []
    for name, way in ways(mixtures).items():
        for precision in PROMISED:
            before = runs
            for case in cases:
                if (done := way(case, precision)) is None:
                    continue
                runs += 1
                verdict = Verdict.of(case, done.arrays, done.part, done.real_only)
                if verdict.code != 0:
                    alarms.append(f"{name}, {precision}, {case.name}: {verdict.first}, {verdict.times:.2f} budgets")
            variations += runs > before
    return variations, runs, alarms


PAGE = """\
# What the conformance kit catches

Written on {date} by `{command}` ({versions}).

{mistakes} mistakes that porters make are planted in transformers' BioGPT, one at a time, and run on the kit's {cases}
cases. The arrays are dumped and checked by `minibiogpt golden check`. A pair of a mistake and a case counts if the run
with the mistake differs from the correct run in any bit, in float64 (hidden scores are compared by their effect). The
tensor that must be named first is determined from those two runs alone, without the kit and without this package.
transformers 4.57 itself reads the class of a left-padded text at the wrong token; these runs fix that, and it is one of
the mistakes.

{summary}

bfloat16 is for information: it cannot show differences smaller than its rounding.

## Each mistake

The columns "shows in", "caught" and "first right" count cases, in float64. "best case" is the case that shows the
mistake best. The last columns give its largest error there, as a multiple of the budget, in the tensor that is named
first (∞: NaN, a mask that does not hide, or another shape).

{each}

## Mistake by case, in float64

X caught, the right tensor named first; x caught, another tensor named first; o missed; - PyTorch refuses to run it;
. no bit differs.

```text
{matrix}
```

Missed, or another tensor named first, in float64:

{wrong}
"""
ALARMS = """
## False alarms

{variations} correct variations (a way to compute, in float64 or in float32), {runs} runs over the cases: other orders
of every sum, fused and split products, streamed attention, scores scaled before or after, other forms of the norm and
of GELU, wider accumulators, one thread and two, rows one by one, token by token with a cache, NumPy eager and blocked,
and mixtures of these. Called a difference: {found}.
"""


def page(cases: list[KitCase], pairs: list[Pair], alarms: tuple[int, int, list[str]] | None, command: str) -> str:
    """Return the text of docs/sensitivity.md."""
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, NumPy {np.__version__}; "
    wrong = [f"- {line}" for line in wrongly_named(pairs, "float64")] or ["- none"]
    parts = {"summary": summary(pairs), "each": of_each(pairs), "matrix": matrix(pairs, cases), "wrong": wrong}
    text = PAGE.format(
        date=datetime.date.today(),
        command=command,
        versions=versions + f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        mistakes=len(MISTAKES),
        cases=len(cases),
        **{name: "\n".join(lines) for name, lines in parts.items()},
    )
    if alarms is not None:
        variations, runs, found = alarms
        text += ALARMS.format(variations=variations, runs=runs, found=len(found))
        text += "".join([f"\n- {line}" for line in found]) + "\n" * bool(found)
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kit", type=Path, help="a folder written by `minibiogpt golden kit`")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="run only these cases")
    parser.add_argument("--variations", action="store_true", help="also test correct variations for false alarms")
    about = (
        f"number of random combinations of variations (default {MIXTURES}; {diagnose_sensitivity.MIXTURES} to diagnose)"
    )
    parser.add_argument("--mixtures", type=int, metavar="N", help=about)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the results as a Markdown page")
    diagnose_sensitivity.add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.diagnose:
        return diagnose_sensitivity.main(options)
    cases = cases_of(options.kit, options.cases)
    pairs = []
    for case in cases:
        pairs += [pair_of(mistake, case) for mistake in MISTAKES]
        print(f"{case.name}: {sum(pair.first is not None for pair in pairs if pair.case == case.name)} mistakes show")
    alarms = (
        false_alarms(cases, MIXTURES if options.mixtures is None else options.mixtures) if options.variations else None
    )
    print(*matrix(pairs, cases), "", *of_each(pairs), "", *summary(pairs), sep="\n")
    print("", *wrongly_named(pairs, "float64"), *(f"float32: {x}" for x in wrongly_named(pairs, "float32")), sep="\n")
    problems = list(broken(pairs))
    if alarms is not None:
        print(
            f"\n{alarms[0]} correct variations, {alarms[1]} runs, {len(alarms[2])} false alarms", *alarms[2], sep="\n"
        )
        problems += [f"{len(alarms[2])} false alarms"] if alarms[2] else []
    print("", *(f"BROKEN: {problem}" for problem in problems), "promises hold" if not problems else "", sep="\n")
    if options.markdown:
        command = "python tools/sensitivity.py KIT" + " --variations" * bool(options.variations)
        text = page(cases, pairs, alarms, command)
        write_atomically(options.markdown, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
