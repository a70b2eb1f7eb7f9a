"""minibiogpt golden record: write a golden case for texts or token ids, using your own checkpoint."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.cli.options import (
    CLASSES,
    add_adapter,
    add_model,
    add_names,
    check_text,
    load_model,
    load_tokenizer,
    model_class,
    source_of,
)
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.quantization import FORMATS

ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,11}$")  # of a file name; that of biogpt-1.5 has none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_adapter(parser)
    parser.add_argument("--backend", default="numpy", help="backend that computes the values: numpy (default) or cupy")
    add_quantization(parser)
    inputs = parser.add_argument_group("inputs, exactly one of")
    inputs.add_argument(
        "--text", action="append", metavar="TEXT", help="a text; repeat it for a batch, which is padded"
    )
    inputs.add_argument(
        "--ids", action="append", metavar="IDS", help="token ids such as 2,54,34; repeat it for a batch"
    )
    inputs.add_argument(
        "--inputs", metavar="FILE", help="a safetensors file with input_ids, attention_mask, ...; or a case"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="case file to write")
    parser.add_argument(
        "--padding-side", choices=("left", "right"), help="where to pad texts of unequal length (default: right)"
    )
    parser.add_argument("--labels", action="store_true", help="include the loss, with the input ids as labels")
    parser.add_argument("--head", choices=CLASSES, help="model class to load (default: the one in config.json)")
    add_names(parser)
    parser.add_argument(
        "--slim", action="store_true", help="store samples and sums instead of whole arrays (below 5 MB)"
    )
    parser.add_argument("--name", help="name of the case (default: the file name)")
    parser.add_argument("--about", default="", help="one sentence on what the case shows")
    parser.add_argument(
        "--seeds",
        type=int,
        default=None,
        metavar="N",
        help="runs with reordered sums per precision, at least 2 (default: 4)",
    )


def add_quantization(parser: argparse.ArgumentParser) -> None:
    """Add the options of a case for ports with quantized weights."""
    group = parser.add_argument_group("for ports with quantized weights")
    formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    about = f"quantize the matrices of the layers while they are read: {formats}"
    group.add_argument("--quantization", choices=FORMATS, metavar="FORMAT", help=about)
    about = "with nf4 and fp4: keep the scales of the blocks in float32"
    group.add_argument("--no-double-quant", action="store_true", help=about)
    about = "modules that keep their floats, such as fc2 or layers.0; repeatable"
    group.add_argument("--skip", action="append", metavar="MODULE", help=about)
    about = "also store a few dequantized rows of each quantized weight, to compare with those of your port"
    group.add_argument("--weights", action="store_true", help=about)


def quantization_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` that quantize.

    Raises
    ------
    InputError
        If an option goes with another format.
    """
    if options.quantization is None and (options.skip or options.no_double_quant):
        given = "--skip" if options.skip else "--no-double-quant"
        raise InputError("--skip and --no-double-quant go with --quantization", given, "add --quantization nf4")
    if options.no_double_quant and options.quantization not in ("nf4", "fp4"):
        must = "--no-double-quant goes with --quantization nf4 or fp4"
        raise InputError(must, options.quantization, "leave it out: this format has no double quantization")
    if options.quantization is None:
        return {}
    found = {"quantization": options.quantization, "double_quant": not options.no_double_quant}
    return found | {"skip": options.skip or ()}


def run(options: argparse.Namespace) -> None:
    """Run the model in float64, measure the budgets, write the case, and print the command to run next."""
    from minibiogpt.checks import checked_integer
    from minibiogpt.files.reading import sha256
    from minibiogpt.files.safetensors import stored_tensors
    from minibiogpt.golden.format.case import Case
    from minibiogpt.golden.format.names import check_case_name
    from minibiogpt.golden.format.record import record
    from minibiogpt.golden.format.rounding import SEEDS
    from minibiogpt.golden.format.weights import in_words

    output = Path(options.output)
    _check_ending(output)
    check_output(output, "-o", inputs_of(options))
    stem = output.stem.encode(errors="backslashreplace").decode()  # the name of a file need not be UTF-8
    name = stem if options.name is None else check_case_name(options.name)
    seeds = SEEDS if options.seeds is None else checked_integer("seeds", options.seeds, 2, 1000)
    calls = _calls(options)
    source = source_of(options)
    quantized = quantization_options(options)
    model = load_model(options, model_class(options, options.head), dtype="float64", **quantized)
    files = sorted({tensor.path for tensor in stored_tensors(source.folder).values()})
    files += [source.adapter.file] if source.adapter else []
    record(
        model,
        calls,
        output,
        name=name,
        about=options.about,
        files={file.name: sha256(file) for file in files},
        names=options.names,
        slim=options.slim,
        seeds=seeds,
        weights=options.weights,
    )
    case = Case.read(output)
    print(f"{output}: {len(case.entries)} arrays, {output.stat().st_size / 1e6:,.2f} MB")
    if case.quantization is not None:
        print(f"weights: {in_words(case.quantization)}")
    print(f"run your implementation on its inputs, then: minibiogpt golden check {output} THEIRS")


def _check_ending(output: Path) -> None:
    """Check that the file's name does not promise another format."""
    ending = ENDING.search(output.name)
    if ending and ending[0].lower() != ".safetensors":
        must = "a case is a safetensors file, and -o must end in .safetensors"
        instead = shlex.quote(str(output.with_suffix(".safetensors")))
        raise InputError(must, short_repr(output.name), f"write -o {instead}")


def _calls(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the keyword arguments of each model call, from exactly one of the three sources."""
    sources = [source for source in (options.text, options.ids, options.inputs) if source is not None]
    if len(sources) != 1:
        found = "none" if not sources else "several"
        raise InputError("the inputs must be given by one of --text, --ids and --inputs", found, "use exactly one")
    if options.inputs is not None:
        return _calls_from_file(Path(options.inputs), options.labels)
    call: dict[str, Any] = _call_from_texts(options) if options.text is not None else _call_from_ids(options.ids)
    if options.labels:
        call["labels"] = np.where(call.get("attention_mask", 1), call["input_ids"], -100).tolist()
    return [call]


def _call_from_texts(options: argparse.Namespace) -> dict[str, Any]:
    for text in options.text:
        check_text(text)
    tokenizer = load_tokenizer(options)
    side, returned = options.padding_side or "right", {"return_attention_mask": True, "return_token_type_ids": False}
    encoded = tokenizer(options.text, padding=True, padding_side=side, **returned)
    if encoded["attention_mask"].all():
        del encoded["attention_mask"]
    return dict(encoded)


def _call_from_ids(texts: list[str]) -> dict[str, Any]:
    """Return the ids of each row. All rows must have the same length, because --ids does not pad."""
    must = "--ids must be integers separated by commas, the same number each time"
    try:
        rows = [[int(part) for part in text.split(",")] for text in texts]
    except ValueError:
        raise InputError(must, repr(texts)[:80], "write --ids 2,54,34") from None
    if len({len(row) for row in rows}) > 1:
        found = " and ".join(str(len(row)) for row in rows[:9])
        raise InputError(must, f"{found} of them", "use --text, which pads, or --inputs with an attention_mask")
    return {"input_ids": rows}


def _calls_from_file(path: Path, labels: bool) -> list[dict[str, Any]]:
    """Return the calls stored in a file: its tensors, or the inputs of a case. ``step.{n}/`` separates calls."""
    from minibiogpt.files.safetensors import read_header, widened
    from minibiogpt.golden.format.case import INPUT
    from minibiogpt.golden.format.names import step_of_name

    if labels:
        raise InputError("--labels goes with --text or --ids", "--inputs", "add a tensor named labels to the file")
    tensors = read_header(path)[1]
    chosen = {name: x for name, x in tensors.items() if INPUT in name} or tensors
    calls: dict[int, dict[str, Any]] = {}
    for name, tensor in chosen.items():
        step = step_of_name(name)
        if step is None:
            found = short_repr(name)
            raise InputError(f"{path} must name its inputs input_ids or step.0/input_ids", found, "rename it")
        calls.setdefault(step[0], {})[step[1].removeprefix(INPUT)] = widened(tensor.mapped(), tensor.dtype)
    if len({name.startswith("step.") for name in chosen}) > 1:
        raise InputError(f"{path} must hold one call, or only steps", "both", "prefix all inputs with step.0/")
    if sorted(calls) != list(range(len(calls))):
        raise InputError(f"{path} must number its steps from 0", listed(sorted(calls)), "rename them")
    return [_checked_call(path, calls[n]) for n in range(len(calls))]


def _checked_call(path: Path, call: dict[str, Any]) -> dict[str, Any]:
    allowed = ("input_ids", "attention_mask", "head_mask", "position_ids", "inputs_embeds", "labels")
    for name in call:
        if name not in allowed:
            raise InputError(
                f"{path} must hold inputs of a model call: {', '.join(allowed)}", short_repr(name), "rename it"
            )
    return call
