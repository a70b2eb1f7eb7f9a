"""minibiogpt convert: convert a pickled checkpoint to a folder with safetensors, without executing anything in it."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from minibiogpt.cli.options import add_json, print_json
from minibiogpt.cli.outputs import check_parent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="a folder with pytorch_model.bin or fairseq's checkpoint.pt, or one of these files"
    )
    parser.add_argument("folder", help="folder to write, which must be new or empty")
    parser.add_argument("--dtype", help="float32, float16, bfloat16 or float64 (default: each tensor's own)")
    parser.add_argument("--dict", metavar="FILE", help="fairseq's dict.txt, if it is not next to the checkpoint")
    parser.add_argument("--bpecodes", metavar="FILE", help="fairseq's bpecodes, if it is not next to the checkpoint")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Convert the checkpoint, and report what was read, written and assumed."""
    from minibiogpt.checkpoint.convert import convert

    check_parent(Path(options.folder))
    facts = convert(
        options.source, options.folder, dtype=options.dtype, dictionary=options.dict, bpecodes=options.bpecodes
    )
    if options.json:
        print_json(facts)
        return
    identity = f"this is {facts['known_as']}'s file" if facts["known_as"] else "an unknown file"
    for name, digest in facts["sha256"].items():
        print(f"{name}: {identity}, sha256 {digest}")
    size, dtypes = facts["bytes"]["model.safetensors"] / 1e6, " and ".join(facts["dtypes"])
    print(f"{facts['tensors']} tensors, {dtypes}, {size:,.2f} MB, from the layout of {facts['layout']}")
    if facts["assumed"]:
        assumed = ", ".join(f"{name} {value}" for name, value in facts["assumed"].items())
        remedy = f"if that is wrong, put the right config.json next to {facts['source'][0]} and convert again"
        warnings.warn(f"assumed, because the checkpoint does not specify it: {assumed}; {remedy}", stacklevel=1)
    tokenizer = "" if (Path(facts["folder"]) / "vocab.json").is_file() else " --tokenizer microsoft/biogpt"
    command = f"minibiogpt {facts['command']} --model {facts['folder']}{tokenizer} TEXT"
    print(f"the model is in {facts['folder']}; try: {command}")
