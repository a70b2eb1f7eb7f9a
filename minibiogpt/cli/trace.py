"""minibiogpt trace: every array on a text's way through the model: shape, dtype, mean, largest; or one explained."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from minibiogpt.cli.options import add_json, add_model, print_json, texts_of
from minibiogpt.errors import InputError

if TYPE_CHECKING:
    from minibiogpt.trace import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="one or several, padded; none or - reads standard input")
    add_model(parser, runs=True)
    parser.add_argument("--ids", metavar="2,5,9", help="token ids in place of a text")
    parser.add_argument(
        "--names", action="append", metavar="PATTERN", help='only these, such as "layers.{0..3}.*.probs"; repeatable'
    )
    parser.add_argument("--explain", metavar="NAME", help="what one array is, how it is made, what others call it")
    parser.add_argument("--save", metavar="FILE", help="write the arrays to a safetensors file")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Run the model once, and print what it made."""
    if options.explain is not None and options.json:
        raise InputError("the output must be an explanation or JSON", "--explain and --json", "leave one out")
    from minibiogpt.catalog.explain import explain

    trace = _traced(options, _given(options))
    told = None if options.explain is None else explain(trace.facts(), options.explain)  # an unknown name saves nothing
    if options.save is not None:
        trace.save(options.save)
    if told is not None:
        print(told)
    elif options.json:
        print_json(_records(trace))
    else:
        trace.summary()


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """input_ids, and the attention_mask where there is padding."""
    if options.ids is not None:
        if options.text:
            raise InputError("there must be a text or --ids", "both", "leave one out")
        return {"input_ids": [[_id(part) for part in options.ids.split(",")]]}
    texts = texts_of(options.text)
    from minibiogpt import BioGptTokenizer

    given = dict(BioGptTokenizer.from_pretrained(options.model)(texts, padding=True))
    return given if not given["attention_mask"].all() else {"input_ids": given["input_ids"]}


def _id(part: str) -> int:
    try:
        return int(part)
    except ValueError:
        must, remedy = "--ids must be whole numbers with commas between them", "write 2,5,9"
        raise InputError(must, repr(part[:80]), remedy) from None


def _traced(options: argparse.Namespace, given: dict[str, Any]) -> Trace:
    from minibiogpt import BioGptForCausalLM, Trace

    trace = Trace(names=options.names)
    model = BioGptForCausalLM.from_pretrained(options.model, backend=options.backend, dtype=options.dtype)
    model(**given, trace=trace)
    return trace


def _records(trace: Trace) -> list[dict[str, Any]]:
    """A line of the table each."""
    from minibiogpt.trace import mean_and_largest

    records = []
    for name, x in trace.items():
        mean, largest = mean_and_largest(x)
        numbers = {"mean": _number(mean), "largest": _number(largest)}
        records.append({"name": name, "shape": x.shape, "dtype": str(x.dtype)} | numbers)
    return records


def _number(x: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return x if math.isfinite(x) else None
