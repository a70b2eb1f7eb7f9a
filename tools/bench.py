"""How fast, and in how much memory: minibiogpt beside transformers, on this machine. `python tools/bench.py all`

Both must be installed (pip install '.[test]'); Linux. With --backend cupy both run on one GPU. Every case is measured
in turn, ours and each attention of transformers (--peers), a worker process for each library, the order rotated from
round to round, after one run that does not count. Both get the same ids, and what comes out is compared.

How to read the table: medians of all rounds [least, largest], in milliseconds. The ratio is ours / theirs: below 1,
minibiogpt is faster; beside it stand the least and the largest ratio within one round. `limit` is what this machine
allows, by the bytes that must be read and the operations that must be done, at the rates that are measured before and
after; `/limit` is how many times as long we take.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this file, installed or not

from minibiogpt.errors import InputError
from tools.benching import alone, device, limits, machine, models, report, table

PEERS = ("sdpa", "eager")


class Parser(argparse.ArgumentParser):
    """One line for what cannot be, as every other error has."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bench: error: {message}; see {self.prog} --help\n")


def one_or_more(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more; found {text!r}")
    return int(text)


def lengths(text: str) -> tuple[int, ...]:
    """Numbers of tokens, with commas between them."""
    return tuple(one_or_more(part) for part in text.split(","))


def peers(text: str) -> tuple[str, ...]:
    """Attentions of transformers, each once, with commas between them."""
    found = tuple(dict.fromkeys(filter(None, text.split(","))))
    if not found or set(found) - set(PEERS):
        raise argparse.ArgumentTypeError(f"must name one or more of {', '.join(PEERS)}; found {text!r}")
    return found


OWN: tuple[tuple[str, str, Callable[[str], Any], Any, str, str], ...] = (
    ("prefill", "--tokens", lengths, (128, 512, 1000), "N,N", "lengths, cut to what the model takes (128,512,1000)"),
    ("batch", "--batch", one_or_more, None, "N", "rows at once (8; with --backend cupy 32)"),
    ("score", "--sentences", one_or_more, 500, "N", "how many (500)"),
    ("tokenize", "--texts", one_or_more, 1000, "N", "how many (1000)"),
    ("tokenize", "--vocab", Path, None, "FOLDER", "holds vocab.json and merges.txt (the demo's)"),
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
    add("--threads", type=one_or_more, default=cores, metavar="N", help=f"of every library (all cores: {cores})")
    add("--rounds", "--repeat", type=one_or_more, default=5, metavar="N", help="measurements of each side (5)")
    add("--peers", type=peers, default=PEERS, metavar="A,B", help="attentions of transformers (sdpa,eager)")
    add("--cache", type=Path, default=models.default_cache(), metavar="FOLDER", help="where random weights are kept")
    about = "of weights and arithmetic, on both sides (float32); the others need --backend cupy"
    add("--dtype", choices=list(limits.WIDTHS), default="float32", help=about)
    add("--backend", choices=["numpy", device.DEVICE], default="numpy", help="cupy: both sides on the GPU (numpy)")
    add("--tf32", action="store_true", help="let both sides multiply float32 in TF32; with --backend cupy")
    add("--json", action="store_true", help="print JSON with every single measurement, for a program to read")
    top = Parser(prog="tools/bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name in (*report.BENCHMARKS, "all"):
        about = " ".join(report.ABOUT[name].split())
        own_options(commands.add_parser(name, parents=[shared], help=about, description=about), name)
    return top


def own_options(command: argparse.ArgumentParser, name: str) -> None:
    """The options that this benchmark alone has; `all` has those of each."""
    for of, option, kind, default, metavar, about in OWN:
        if name in (of, "all"):
            command.add_argument(option, type=kind, default=default, metavar=metavar, help=about)
        else:
            command.set_defaults(**{option.strip("-").replace("-", "_"): default})


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print: 0, or 2 and one line when something cannot be, or 130 when it was interrupted."""
    options = parser().parse_args(argv)
    facts = machine.facts(options.threads)
    named = {"benchmark": options.benchmark, "model": options.model or options.size, "peers": options.peers}
    try:
        found = report.measured(options)
    except InputError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: error: interrupted", file=sys.stderr)
        return 130
    named |= {"dtype": options.dtype, "backend": options.backend, "tf32": options.tf32, "rounds": options.rounds}
    shown = named | found
    shown["machine"] = facts | {"load_after": machine.load()} | found["machine"]
    print(json.dumps(shown, indent=1) if options.json else table.text(shown))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the workers too
    sys.exit(main())
