"""Benchmark minibiogpt against transformers and other engines, in time and memory: `python tools/bench.py all`

Needs Linux, minibiogpt and transformers (pip install '.[test]'). With --backend cupy both run on one GPU. Each library
runs in its own worker process. The logits of all sides are compared first; a peer whose logits are wrong is reported
and not timed. Then each round measures minibiogpt and each of --peers in turn, in rotated order, after a warm-up run.
All get the same ids, and the results are compared.

--quantization FORMAT quantizes the weights of minibiogpt. More sides of minibiogpt are peers, too: ours-nf4, or
ours-int8-dynamic+mkl with another matrix product. bitsandbytes-nf4 and bitsandbytes-int8 are transformers with
quantized weights. A peer with the same weights as a side of minibiogpt is compared with that side.

Other engines (--peers ctranslate2,onnxruntime,openvino ...) need --make-environments once. With --results FILE each
measurement is saved when it ends; --resume continues an interrupted run. `python -m tools.benching.table [--markdown]
[--ours=SIDE] FILE` prints the table of such a file; --ours=ours-nf4 puts that side in the place of ours.

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

from minibiogpt.backend.products import PRODUCTS
from minibiogpt.errors import InputError
from minibiogpt.quantization import FORMATS
from tools.benching import (
    alone,
    assembly,
    device,
    limits,
    machine,
    markdown,
    models,
    products,
    report,
    results,
    rounds,
    table,
    variants,
)
from tools.benching.peers import environments, registry

PEERS = registry.ATTENTIONS


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
    """Parse peers separated by commas, without duplicates."""
    found = tuple(dict.fromkeys(filter(None, text.split(","))))
    if not found or not all(peer in registry.PEERS or variants.is_variant(peer) for peer in found):
        one = f"{', '.join(registry.PEERS)}, {variants.FORM}"
        raise argparse.ArgumentTypeError(f"must name one or more of {one}; found {text!r}")
    return found


OWN: tuple[tuple[str, str, Callable[[str], Any], Any, str, str], ...] = (
    ("prefill", "--tokens", lengths, (128, 512, 1000), "N,N", "prompt lengths, limited by the model (128,512,1000)"),
    ("decode", "--prompts", lengths, None, "N,N", "lengths of the prompts (128,512)"),
    ("batch", "--batch", one_or_more, None, "N", "rows of the batch (8; with --backend cupy 32)"),
    ("score", "--sentences", one_or_more, 500, "N", "number of sentences (500)"),
    ("tokenize", "--texts", one_or_more, 1000, "N", "number of texts (1000)"),
    ("tokenize", "--vocab", Path, None, "FOLDER", "folder with vocab.json and merges.txt (that of the demo)"),
    ("memory", "--new", one_or_more, None, "N", "new tokens after a prompt of 1,000 (as many as fit)"),
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
    about = f"what to compare with, of {', '.join(registry.PEERS)}, and sides of our own, {variants.FORM} (sdpa,eager)"
    add("--peers", type=peers, default=PEERS, metavar="A,B", help=about)
    about = "make the environments that --peers need, if they do not exist: pip installs pinned packages under --cache"
    add("--make-environments", action="store_true", help=about)
    about = "where to keep random weights, converted models and environments"
    add("--cache", type=Path, default=models.default_cache(), metavar="FOLDER", help=about)
    about = "of weights and arithmetic, for minibiogpt and transformers (float32)"
    add("--dtype", choices=list(limits.WIDTHS), default="float32", help=about)
    add("--backend", choices=["numpy", device.DEVICE], default="numpy", help="cupy: both libraries on the GPU (numpy)")
    add("--tf32", action="store_true", help="use TF32 for float32 products in both libraries; with --backend cupy")
    about = "where minibiogpt's matrix products come from on the CPU; auto is what it chooses by itself (numpy)"
    add("--product", choices=PRODUCTS, default=products.DEFAULT, help=about)
    about = "of minibiogpt's weights, in the side that is called ours; the limit remains that of --dtype (none)"
    add("--quantization", choices=[variants.NONE, *FORMATS], default=variants.NONE, help=about)
    add("--results", type=Path, metavar="FILE", help="save each measurement as a line of JSON when it ends")
    add("--resume", action="store_true", help="continue --results FILE: measure only what it does not have yet")
    form = shared.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON with every measurement")
    form.add_argument("--markdown", action="store_true", help="print Markdown, as in docs/performance.md")
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


def started(options: argparse.Namespace) -> results.Results:
    """Check the options, and start or continue the results; their request is what one table has in common.

    Raises
    ------
    InputError
        If options cannot be combined, or the file of results is of another request.
    """
    device.check(options)
    if options.make_environments:
        environments.make(registry.environments_of(options.peers), options.cache)
    environments.check(registry.environments_of(options.peers), options.cache)
    vocab = None if options.vocab is None else str(options.vocab.resolve())
    facts = machine.facts(options.threads) | products.facts(options.product, options.threads)
    names = ("peers", "dtype", "backend", "tf32", "rounds", "product", "quantization", "long_new", "new")
    request = {"model": options.model or options.size} | {name: getattr(options, name) for name in names}
    first = variants.Variant(options.dtype, options.product, options.quantization)
    sides = {side: str(rounds.precision(side, first)) for side in (variants.FIRST, *options.peers)}
    engines = registry.versions(options.peers) | variants.product_facts(options.peers, options.threads)
    request |= {"sides": sides, "vocab": vocab, "machine": facts | {"engines": engines}}
    found = results.Results(request, options.results, options.resume)
    found.note("session", machine.session())
    found.note("benchmark", options.benchmark)
    found.note("ended", False)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 0, 2 after an error (one line), or 130 after an interrupt.

    After an error or an interrupt the table has what was measured before it.
    """
    options = parser().parse_args(argv)
    found, code, message = None, 0, ""
    try:
        found = started(options)
        report.measure(options, found)
        found.note("ended", True)
    except InputError as error:
        code, message = 2, f"bench: error: {error}"
    except KeyboardInterrupt:
        resume = f"; --results {options.results} --resume continues" if options.results else ""
        code, message = 130, f"bench: error: interrupted{resume}"
    if found and (found.values or not code):
        found.note("load_after", machine.load())
        print(shown(assembly.whole(found.request, found.values, found.notes), options))
    if code:
        print(message, file=sys.stderr)
    return code


def shown(found: dict[str, Any], options: argparse.Namespace) -> str:
    if options.json:
        return json.dumps(found, indent=1)
    return markdown.text(found) if options.markdown else table.text(found)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also ends the workers
    sys.exit(main())
