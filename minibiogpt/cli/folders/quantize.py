"""minibiogpt quantize: write a model with weights of 4 or 8 bits to a new folder, for other programs too.

The matrices of the layers are quantized. The embeddings, norms, biases and the head keep their floats. nf4, fp4 and
int8 are stored as transformers and bitsandbytes store them, and load there. SOURCE is read tensor by tensor.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from minibiogpt.cli.options import add_adapter, add_json, print_json, source_of
from minibiogpt.cli.outputs import check_parent
from minibiogpt.errors import InputError
from minibiogpt.quantization import FORMATS, Quantization

DTYPES = ("float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="source", help="demo, a folder, the folder of a LoRA adapter, or a hub id")
    parser.add_argument("folder", help="folder to write, which must be new or empty")
    about = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    parser.add_argument("--to", choices=FORMATS, required=True, metavar="FORMAT", help=about)
    about = "for nf4 and fp4: keep the scales of the blocks in float32, instead of 8 bits"
    parser.add_argument("--no-double-quant", action="store_true", help=about)
    about = (
        "a module whose weights keep their floats: fc2, layers.0 or layers.0.self_attn.q_proj; repeat it for several"
    )
    parser.add_argument("--skip", action="append", metavar="MODULE", help=about)
    about = "for int8-dynamic: multiply columns with a number of at least X as floats, as LLM.int8 does with 6"
    parser.add_argument("--outlier-threshold", type=float, metavar="X", help=about)
    about = "of the other tensors: float32, float16 or bfloat16 (default: each tensor's own)"
    parser.add_argument("--dtype", metavar="D", help=about)
    parser.add_argument("--revision", metavar="R", help="branch, tag or commit of a hub id")
    add_adapter(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Quantize the model, and report what was read and written, and the largest error."""
    from minibiogpt.checkpoint.quantize import quantize_folder

    if options.dtype not in (None, *DTYPES):
        raise InputError(
            f"--dtype must be one of {', '.join(DTYPES)}", repr(options.dtype)[:200], "choose one of these"
        )
    check_parent(Path(options.folder))
    threshold = options.outlier_threshold if options.to == "int8-dynamic" else None
    quantization = Quantization(options.to, not options.no_double_quant, tuple(options.skip or ()), threshold or 0.0)
    facts = quantize_folder(source_of(options), options.folder, quantization, dtype=options.dtype)
    if options.json:
        print_json(facts)
        return
    for line in _lines(options.model, facts):
        print(line)


def _lines(name: str, facts: dict[str, Any]) -> list[str]:
    kind = facts["format"] + (" with double quantization" if facts.get("double_quant") else "")
    others = f"{facts['other_tensors']} other tensors in {' and '.join(facts['dtypes'])}"
    lines = [
        f"{name}: {facts['parameters']:,} parameters, {facts['bytes_before'] / 1e6:,.2f} MB",
        f"{facts['quantized']} matrices in {kind}, {facts['bits_per_weight']:.2f} bits a weight; {others}",
    ]
    if worst := facts["largest_relative_error"]:
        lines.append(f"largest relative error: {worst['error']:.2%}, in {worst['module']} (RMS of errors / of weights)")
    folder = "./demo" if facts["folder"] == "demo" else facts["folder"]  # "demo" is the bundled model
    command = f"minibiogpt {facts['command']} --model {shlex.quote(folder)} TEXT"
    return [*lines, f"the model is in {facts['folder']}, {facts['bytes_after'] / 1e6:,.2f} MB; try: {command}"]
