"""minibiogpt convert: convert a pickled checkpoint to a folder with safetensors, without executing anything in it."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from minibiogpt.cli.options import add_json, print_json
from minibiogpt.cli.outputs import check_parent
from minibiogpt.errors import InputError
from minibiogpt.files.naming import HUB_ID


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="a folder with pytorch_model.bin or fairseq's checkpoint.pt, or one of these files"
    )
    parser.add_argument("folder", help="folder to write, which must be new or empty")
    parser.add_argument("--dtype", help="float32, float16, bfloat16 or float64 (default: each tensor's own)")
    parser.add_argument("--dict", metavar="FILE", help="fairseq's dict.txt, if it is not next to the checkpoint")
    parser.add_argument("--bpecodes", metavar="FILE", help="fairseq's bpecodes, if it is not next to the checkpoint")
    add_json(parser)


def _check_is_no_name(source: str) -> None:
    """Refuse the name of a model where a file of this machine is needed."""
    must = "SOURCE must be a folder or a file"
    if source == "demo" and not Path(source).exists():
        raise InputError(must, "'demo'", "write --model demo: that model is included, and has safetensors")
    if HUB_ID.fullmatch(source) and not Path(source).parent.exists():
        remedy = f"check the path; a hub id is downloaded, not converted: minibiogpt download {source} FOLDER"
        raise InputError(must, f"no {source}", remedy)


def run(options: argparse.Namespace) -> None:
    """Convert the checkpoint, and report what was read, written and assumed."""
    from minibiogpt.checkpoint.convert import convert

    _check_is_no_name(options.source)
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
