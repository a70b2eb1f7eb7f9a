"""Measure what `golden diagnose` says: `python tools/sensitivity.py KIT --diagnose [--part PART ...] [--results FILE]`

Diagnoses the mistakes of tests/reference one by one, in pairs, and from logits or hidden states alone; and correct
variations, other conventions and perturbations, of which none may get a cause that is "known". With --results, the runs
are kept in a file, so that the parts can be measured one after the other; --markdown writes the page of all of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import transformers

from minibiogpt.files.writing import write_atomically
from tests.reference.diagnosing import (
    FEW,
    PARTS,
    PRECISIONS,
    Run,
    most_said,
    over_kit,
    pairs,
    perturbations,
    singles,
    variations,
)
from tests.reference.kits import cases_of
from tests.reference.more_mistakes import EVERY
from tests.reference.perturbations import PERTURBATIONS, TWELVE

MIXTURES = 200  # random combinations of variations; with the single variations 250


@dataclass(frozen=True)
class Promise:
    """A fraction of runs that must be right.

    Attributes
    ----------
    of : whether a run counts. holds : whether it is as promised.
    """

    name: str
    share: float
    of: Callable[[Run], bool]
    holds: Callable[[Run], bool] = lambda run: run.right


def _estimated(run: Run) -> bool:
    """Whether parameters of this run are judged: the cause itself was named, and it has some."""
    expected = EVERY[run.subject].expected if run.subject in EVERY else None
    named = expected is not None and run.right and run.said[0] == expected.cause
    return named and expected is not None and bool(expected.parameters)


PROMISES = (
    Promise("one mistake, float64", 0.95, lambda run: (run.part, run.precision) == ("singles", "float64")),
    Promise("one mistake, float32", 0.90, lambda run: (run.part, run.precision) == ("singles", "float32")),
    *(Promise(f"parameters within 1 %, {precision}", share,
              lambda run, precision=precision: (run.part, run.precision) == ("singles", precision) and _estimated(run),
              lambda run: not run.off) for precision, share in (("float64", 1), ("float32", 0.9))),
    Promise("one mistake, over the kit, and no other cause", 0.95, lambda run: run.part == "kit"),
    Promise("two mistakes, both named", 0.90, lambda run: run.part == "pairs"),
    Promise("from logits alone, over the kit", 0.80, lambda run: run.part == "logits"),
    Promise("from hidden states alone, over the kit", 0.90, lambda run: run.part == "hidden"),
    Promise("variations and conventions without a cause", 1, lambda run: run.part == "variations"),
    Promise("perturbations never wrongly known", 1, lambda run: run.part == "perturbations",
            lambda run: run.verdict != "known" or run.right),
    Promise("perturbations not known, at the right place", 0.95, lambda run: run.part == "perturbations"),
)  # fmt: skip


def counted(promise: Promise, runs: list[Run]) -> tuple[int, int]:
    """Return how many runs are as promised, and how many count."""
    those = [run for run in runs if promise.of(run)]
    return sum(promise.holds(run) for run in those), len(those)


def is_broken(promise: Promise, runs: list[Run]) -> bool:
    right, whole = counted(promise, runs)
    return right < promise.share * whole


def _percent(right: int, whole: int) -> str:
    return f"{right} of {whole} ({100 * right / whole:.1f} %)" if whole else "not measured"


def promises(runs: list[Run]) -> Iterator[str]:
    """Yield a Markdown table of what is promised and what was measured."""
    yield "| promise | at least | measured | |"
    yield "|---|---|---|---|"
    for one in PROMISES:
        right, whole = counted(one, runs)
        state = "" if not whole else "BROKEN" if is_broken(one, runs) else "PASS"
        yield f"| {one.name} | {100 * one.share:.0f} % | {_percent(right, whole)} | {state} |"


def of_each(runs: list[Run]) -> Iterator[str]:
    """Yield a Markdown table with one row per mistake: how often its cause was named first, and what else was said."""
    yield "| mistake | cause | float64 | float32 | kit | logits | hidden states | said instead |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, mistake in EVERY.items():
        own = [run for run in runs if run.subject == name]
        if not own:
            continue
        columns = [
            [run for run in own if (run.part, run.precision) == ("singles", precision)] for precision in PRECISIONS
        ]
        columns += [[run for run in own if run.part == part] for part in ("kit", "logits", "hidden")]
        cells = " | ".join(_fraction(column) for column in columns)
        wrong = sorted({word for run in own for word in run.off})
        yield f"| {name} | `{mistake.cause}` | {cells} | {'; '.join(filter(None, [most_said(own), *wrong[:2]]))} |"


def _fraction(runs: list[Run]) -> str:
    return f"{sum(run.right for run in runs)}/{len(runs)}" if runs else ""


def of_the_rest(part: str, runs: list[Run], all_rows: bool) -> Iterator[str]:
    """Yield a Markdown table with one row per subject of a part; or only of those that are not always right."""
    yield "| what | right | said instead |"
    yield "|---|---|---|"
    for name in dict.fromkeys(run.subject for run in runs if run.part == part):
        own = [run for run in runs if run.part == part and run.subject == name]
        if all_rows or not all(run.right for run in own):
            places = sorted({word for run in own for word in run.off})
            yield f"| {name} | {_fraction(own)} | {'; '.join(filter(None, [most_said(own), *places[:2]]))} |"


def misses(runs: list[Run]) -> Iterator[str]:
    """Yield each run of one mistake or two that was not said right."""
    for run in runs:
        if not run.right and run.part in ("singles", "kit", "pairs", "logits", "hidden"):
            where = run.case or f"the kit, {run.part}"
            yield f"{run.subject} in {where}, {run.precision}: {' + '.join(run.want[:2])}; said {run.instead}"


PAGE = """\
# What diagnose says

Written on {date} by `{command}` ({versions}).

{mistakes} mistakes are planted in transformers' BioGPT: the 93 of [What the conformance kit catches](sensitivity.md)
and {more} more, so that each cause has one. Each is run on these cases of the kit, in float64 and in float32, and
`minibiogpt golden diagnose` must name its cause first: {cases}.

A pair of a mistake and a case counts if `golden check` notices a difference. The causes that must be named are in
`tests/reference/causes.py`. Estimated parameters (an eps, a factor, an offset) must be within 1 % of the planted value;
in float32, rounding may hide them in up to a tenth of the pairs.

{promises}

Two mistakes are made at once for each two of twelve, on {few}.

Over the kit, one diagnosis covers all cases, and no other cause may be named. From logits alone ({logits} mistakes) and
from hidden states alone ({hidden}), also over the kit, the right one must be named first.

The correct variations and the other conventions must get no cause. {perturbations} perturbations are on no list (noise
on one array, a random rotation, one weight changed, another checkpoint): the verdict must be "not known", and the first
own error must be where the change was made.

## Each mistake

In how many of the cases the cause was named first, by precision; in how many of two runs, one for each precision, over
the kit, from logits and from hidden states alone; and what was said otherwise.

{each}

## Two mistakes at once

Those of which not both were named in every case:

{pairs}

## Variations and conventions

Those that got a cause, or were called a difference:

{variations}

## Perturbations

{perturbed}

## Every miss

{misses}
"""


def _names(runs: list[Run], part: str) -> str:
    """Return the names of the cases on which a part was run."""
    return ", ".join(f"`{name}`" for name in dict.fromkeys(run.case for run in runs if run.part == part)) or "none"


def page(runs: list[Run], command: str) -> str:
    """Return the text of docs/diagnose-sensitivity.md."""
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, NumPy {np.__version__}; "
    parts = {
        "promises": promises(runs),
        "each": of_each(runs),
        "pairs": of_the_rest("pairs", runs, all_rows=False),
        "variations": of_the_rest("variations", runs, all_rows=False),
        "perturbed": of_the_rest("perturbations", runs, all_rows=True),
        "misses": [f"- {line}" for line in misses(runs)] or ["- none"],
    }
    return PAGE.format(
        date=datetime.date.today(),
        command=command,
        versions=versions + f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        mistakes=len(EVERY),
        more=len(EVERY) - 93,
        cases=_names(runs, "singles"),
        few=_names(runs, "pairs"),
        logits=len({run.subject for run in runs if run.part == "logits"}),
        hidden=len({run.subject for run in runs if run.part == "hidden"}),
        perturbations=len(PERTURBATIONS),
        **{name: "\n".join(lines) for name, lines in parts.items()},
    )


def measured(options: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs of the requested parts."""
    names = options.mistakes or list(EVERY)
    every, few = cases_of(options.kit, options.cases), cases_of(options.kit, options.cases or list(FEW))
    makers: dict[str, Callable[[], Iterable[Run]]] = {
        "singles": lambda: singles(every, names),
        "pairs": lambda: pairs(few, options.mistakes or list(TWELVE)),
        "kit": lambda: over_kit("kit", options.kit, every, names),
        "logits": lambda: over_kit("logits", options.kit, every, names),
        "hidden": lambda: over_kit("hidden", options.kit, every, names),
        "variations": lambda: variations(every, few, MIXTURES if options.mixtures is None else options.mixtures),
        "perturbations": lambda: perturbations(few),
    }
    for part in options.part or PARTS:
        yield from makers[part]()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only --diagnose has."""
    parser.add_argument("--diagnose", action="store_true", help="measure what `golden diagnose` says instead")
    parser.add_argument("--part", nargs="+", choices=PARTS, help="with --diagnose: measure only these parts")
    parser.add_argument(
        "--mistakes", nargs="+", metavar="NAME", choices=list(EVERY), help="with --diagnose: only these"
    )
    about = "with --diagnose: add the runs to this file, and report all runs in it"
    parser.add_argument("--results", type=Path, metavar="FILE", help=about)


def main(options: argparse.Namespace) -> int:
    """Measure, print the tables, and write the page; return 1 if a promise is broken."""
    runs = list(_noted(measured(options), options.results))
    if options.results:
        runs = _with_earlier(options.results, runs)
    tables = [promises(runs), of_each(runs)]
    tables += [of_the_rest(part, runs, all_rows=False) for part in ("pairs", "variations", "perturbations")]
    print(*("\n" + "\n".join(table) for table in tables), "", *misses(runs), sep="\n")
    broken = [one.name for one in PROMISES if is_broken(one, runs)]
    print("", *(f"BROKEN: {name}" for name in broken), "promises hold" if not broken else "", sep="\n")
    if options.markdown:
        text = page(runs, "python tools/sensitivity.py KIT --diagnose")
        write_atomically(options.markdown, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return 1 if broken else 0


def _noted(found: Iterable[Run], results: Path | None) -> Iterator[Run]:
    """Yield the runs; print each new subject, and keep the runs of the one before."""
    for (part, subject), group in groupby(found, lambda run: (run.part, run.subject)):
        runs = list(group)
        right = sum(run.right for run in runs)
        print(f"{part}: {subject}: {right} of {len(runs)}", flush=True)
        if results:
            _with_earlier(results, runs)
        yield from runs


def _with_earlier(path: Path, runs: list[Run]) -> list[Run]:
    """Return the runs of a file, with the new ones in place of those of the same subject; and write all to it."""
    earlier = [Run(**one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
    new = {(run.part, run.subject, run.case, run.precision): run for run in runs}
    old = {(run.part, run.subject, run.case, run.precision): run for run in earlier}
    found = list((old | new).values())
    text = json.dumps([asdict(run) for run in found])
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return found
