"""Benchmark minibiogpt against transformers on this machine, in time and memory: `python tools/bench.py all`

Needs Linux and both libraries (pip install '.[test]'). With --backend cupy both run on one GPU. Each library runs in
its own worker process. Each round measures minibiogpt and each attention implementation of transformers (--peers) in
turn, in rotated order, after a warm-up run. All get the same ids, and the results are compared.

How to read the table: medians of all rounds [min-max], in milliseconds. The ratio is ours / theirs: below 1,
minibiogpt is faster; after it come the smallest and largest ratio within one round. `limit` is the time this machine
needs at least, given the bytes that must be read and the operations that must be done, at the rates measured before
and after the cases. `/limit` is our time divided by it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package in this repository, installed or not

from minibiogpt.errors import InputError
from tools.benching import alone, device, limits, machine, models, report, table

PEERS = ("sdpa", "eager")


class Parser(argparse.ArgumentParser):
    """A parser that reports usage errors in one line, like all other errors."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bench: error: {message}; see {self.prog} --help\n")


def one_or_more(text: str) -> int:
    """Parse a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer, 1 or more; found {text!r}")
    return int(text)


def lengths(text: str) -> tuple[int, ...]:
    """Parse token counts separated by commas."""
    return tuple(one_or_more(part) for part in text.split(","))


def peers(text: str) -> tuple[str, ...]:
    """Parse attention implementations of transformers separated by commas, without duplicates."""
    found = tuple(dict.fromkeys(filter(None, text.split(","))))
    if not found or set(found) - set(PEERS):
        raise argparse.ArgumentTypeError(f"must name one or more of {', '.join(PEERS)}; found {text!r}")
    return found


OWN: tuple[tuple[str, str, Callable[[str], Any], Any, str, str], ...] = (
    ("prefill", "--tokens", lengths, (128, 512, 1000), "N,N", "prompt lengths, limited by the model (128,512,1000)"),
    ("batch", "--batch", one_or_more, None, "N", "rows of the batch (8; with --backend cupy 32)"),
    ("score", "--sentences", one_or_more, 500, "N", "number of sentences (500)"),
    ("tokenize", "--texts", one_or_more, 1000, "N", "number of texts (1000)"),
    ("tokenize", "--vocab", Path, None, "FOLDER", "folder with vocab.json and merges.txt (that of the demo)"),
    ("memory", "--long-new", one_or_more, alone.LONG_NEW, "N", "new tokens of the long generation (2000)"),
)


def parser() -> argparse.ArgumentParser:
    shared = Parser(add_help=False)
    add = shared.add_argument
    where = shared.add_mutually_exclusive_group()
    where.add_argument("--model", metavar="M", help="demo, a folder or a hub id, in place of --size")
    sizes = (models.DEMO, *models.SIZES)
    where.add_argument("--size", choices=sizes, default="base", help="the bundled demo, or random weights (base)")
    cores = machine.usable_cores()
    add("--threads", type=one_or_more, default=cores, metavar="N", help=f"threads per library (all cores: {cores})")
    add("--rounds", "--repeat", type=one_or_more, default=5, metavar="N", help="measurements of each side (5)")
    about = "attention implementations of transformers (sdpa,eager)"
    add("--peers", type=peers, default=PEERS, metavar="A,B", help=about)
    about = "where to keep random weights"
    add("--cache", type=Path, default=models.default_cache(), metavar="FOLDER", help=about)
    about = "of weights and arithmetic, for both libraries (float32); the others need --backend cupy"
    add("--dtype", choices=list(limits.WIDTHS), default="float32", help=about)
    add("--backend", choices=["numpy", device.DEVICE], default="numpy", help="cupy: both libraries on the GPU (numpy)")
    add("--tf32", action="store_true", help="use TF32 for float32 products in both libraries; with --backend cupy")
    add("--json", action="store_true", help="print JSON with every measurement")
    top = Parser(prog="tools/bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name in (*report.BENCHMARKS, "all"):
        about = " ".join(report.ABOUT[name].split())
        own_options(commands.add_parser(name, parents=[shared], help=about, description=about), name)
    return top


def own_options(command: argparse.ArgumentParser, name: str) -> None:
    """Add the options of one benchmark; `all` has the options of every benchmark."""
    for benchmark, option, parse, default, metavar, about in OWN:
        if name in (benchmark, "all"):
            command.add_argument(option, type=parse, default=default, metavar=metavar, help=about)
        else:
            command.set_defaults(**{option.strip("-").replace("-", "_"): default})


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 0, 2 after an error (one line), or 130 after an interrupt."""
    options = parser().parse_args(argv)
    facts = machine.facts(options.threads)
    request = {"benchmark": options.benchmark, "model": options.model or options.size, "peers": options.peers}
    try:
        found = report.measured(options)
    except InputError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: error: interrupted", file=sys.stderr)
        return 130
    request |= {"dtype": options.dtype, "backend": options.backend, "tf32": options.tf32, "rounds": options.rounds}
    shown = request | found
    shown["machine"] = facts | {"load_after": machine.load()} | found["machine"]
    print(json.dumps(shown, indent=1) if options.json else table.text(shown))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also ends the workers
    sys.exit(main())
