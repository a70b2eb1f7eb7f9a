"""minibiogpt trace: list every array of a forward pass: shape, dtype, mean and largest magnitude; or explain one."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from minibiogpt.cli.batch.fitting import fitted
from minibiogpt.cli.batch.inputs import add_truncate
from minibiogpt.cli.options import add_json, add_model, load_model, load_tokenizer, model_class, print_json, texts_of
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError

if TYPE_CHECKING:
    from minibiogpt.trace import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="*", help="one or more texts, run as one padded batch; none or - reads standard input"
    )
    add_model(parser, runs=True)
    add_truncate(parser, "keep only as many first tokens of a text as the model's maximum N")
    parser.add_argument("--ids", metavar="2,5,9", help="token ids to run instead of a text")
    parser.add_argument(
        "--names",
        action="append",
        metavar="PATTERN",
        help='only arrays that match, such as "layers.{0..3}.*.probs"; names of other tools work too; repeatable',
    )
    parser.add_argument(
        "--explain", metavar="NAME", help="explain one array: what it is, its equation, and its name in other tools"
    )
    parser.add_argument("--save", metavar="FILE", help="write the arrays to a file: .npz for NumPy, or .safetensors")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Run the model once, and print or save the arrays that it computed."""
    if options.explain is not None and options.json:
        raise InputError("the output must be an explanation or JSON", "--explain and --json", "leave one out")
    from minibiogpt.catalog.explain import explain
    from minibiogpt.files.arrays import array_file

    if options.save is not None:  # before the model runs
        array_file(options.save, "the file of --save")
        check_output(options.save, "--save", inputs_of(options))
    trace = _traced(options, _inputs(options))
    # Explain before saving: an unknown name is an error and saves nothing.
    explanation = None if options.explain is None else explain(trace.facts(), options.explain)
    if options.save is not None:
        trace.save(options.save)
    if explanation is not None:
        print(explanation)
    elif options.json:
        print_json(_records(trace))
    else:
        trace.summary()


def _inputs(options: argparse.Namespace) -> dict[str, Any]:
    """Return input_ids and, if there is padding, attention_mask."""
    if options.ids is not None:
        if options.text:
            raise InputError("there must be a text or --ids", "both", "leave one out")
        return {"input_ids": [[_id(part) for part in options.ids.split(",")]]}
    texts, tokenizer = texts_of(options.text), load_tokenizer(options)
    rows = [tokenizer.encode(text) if isinstance(text, str) else text for text in fitted(options, tokenizer, texts)]
    inputs = dict(tokenizer.pad({"input_ids": rows}, return_attention_mask=True))
    return inputs if not inputs["attention_mask"].all() else {"input_ids": inputs["input_ids"]}


def _id(part: str) -> int:
    try:
        return int(part)
    except ValueError:
        must, remedy = "--ids must be integers separated by commas", "write 2,5,9"
        raise InputError(must, repr(part[:80]), remedy) from None


def _traced(options: argparse.Namespace, inputs: dict[str, Any]) -> Trace:
    from minibiogpt import Trace

    trace = Trace(names=options.names)
    model = load_model(options, model_class(options))
    model(**inputs, trace=trace)
    return trace


def _records(trace: Trace) -> list[dict[str, Any]]:
    """Return the lines of the table as records."""
    from minibiogpt.trace import mean_and_largest

    records = []
    for name, x in trace.items():
        mean, largest = mean_and_largest(x)
        values = {"mean": _finite(mean), "largest": _finite(largest)}
        records.append({"name": name, "shape": x.shape, "dtype": str(x.dtype)} | values)
    return records


def _finite(x: float) -> float | None:
    """Return x, or None for NaN and infinity, which JSON does not have."""
    return x if math.isfinite(x) else None
