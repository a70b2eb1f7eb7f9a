"""The arguments that golden check and golden diagnose share: the two files, and how to compare them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibiogpt.cli.options import add_names
from minibiogpt.cli.parsing.values import check_choice

PRECISIONS = ("float64", "float32", "bfloat16", "float16", "int8-dynamic")
TOOLS = ("llama.cpp", "ggml", "onnx", "fairseq", "gpt2", "transformers", "transformer_lens", "flax", "mlx")


def add_comparison(parser: argparse.ArgumentParser, case: str) -> None:
    """Add CASE, which ``case`` describes, THEIRS, and the options of a comparison."""
    parser.add_argument("case", metavar="CASE", help=case)
    parser.add_argument(
        "theirs",
        metavar="THEIRS",
        help="your arrays: a .safetensors, .npz, .pt, .pkl or .json file, or a folder of .npy or raw .f32 files; for "
        "a kit, a folder with one of these per case",
    )
    parser.add_argument(
        "--map",
        metavar="FILE.json",
        help='JSON file that maps our names to yours, and axes if needed: {"layers.{l}": "h.{l}"}; '
        "minibiogpt golden map proposes one",
    )
    add_names_of(parser)
    add_names(parser)
    parser.add_argument(
        "--skip", action="append", metavar="PATTERN", help="leave out the arrays that match; repeatable"
    )
    parser.add_argument("--subset", action="store_true", help="compare the arrays that both have, and list the others")
    parser.add_argument(
        "--precision",
        action="append",
        metavar="[PATTERN=]PRECISION",
        help=f"precision of your computation: {', '.join(PRECISIONS)} (default: the dtype of each array), or that of "
        'the arrays that match: "layers.*.probs=bfloat16"; repeatable',
    )
    parser.add_argument(
        "--accept",
        action="append",
        metavar="CONVENTION",
        help="accept arrays in other conventions, which the report names: q-scaled, padded-vocabulary, ... or all; "
        "repeatable, or a list with commas",
    )
    parser.add_argument(
        "--accept-layouts", action="store_true", help="accept arrays whose axes are in a different order"
    )
    parser.add_argument(
        "--real-only", action="store_true", help="ignore positions that attention_mask marks as padding"
    )
    parser.add_argument(
        "--last", type=int, metavar="N", help="compare only the last N positions, for ports that compute no others"
    )


def add_names_of(parser: argparse.ArgumentParser) -> None:
    tools = f"{', '.join(TOOLS[:-1])} or {TOOLS[-1]}"
    parser.add_argument(
        "--names-of",
        choices=TOOLS,
        metavar="TOOL",
        help=f"tool whose names your arrays have: {tools} (default: tried if few names are known)",
    )


def comparison_of(options: argparse.Namespace) -> Any:
    """Return the options of a comparison, checked; reads the map."""
    from minibiogpt.checks import checked_integer
    from minibiogpt.golden.check.mapping import read_map
    from minibiogpt.golden.check.result import Options

    last = None if options.last is None else checked_integer("--last", options.last, 1)
    mapped = None if options.map is None else read_map(Path(options.map))
    precision, precisions = _precisions(options.precision or ())
    return Options(
        precision, options.names, mapped, options.subset, options.accept_layouts, options.real_only, last, options.map,
        options.skip, options.names_of, precisions=precisions, accept=_conventions(options.accept or ()),
    )  # fmt: skip


def _precisions(words: Sequence[str]) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Return the precision of all arrays, or None, and the pairs of a pattern and the precision of what it matches."""
    pairs = [(word.rpartition("=")[0], word.rpartition("=")[2]) for word in words]
    for _, precision in pairs:
        check_choice("--precision", PRECISIONS, precision)
    bare = [precision for pattern, precision in pairs if not pattern]
    return (bare[-1] if bare else None), tuple((pattern, precision) for pattern, precision in pairs if pattern)


def _conventions(words: Sequence[str]) -> tuple[str, ...]:
    """Return the conventions that --accept names."""
    from minibiogpt.golden.check.evidence.conventions import CONVENTIONS

    names = [name.strip() for word in words for name in word.split(",")]
    for name in names:
        check_choice("--accept", ("all", *CONVENTIONS), name)
    return tuple(CONVENTIONS) if "all" in names else tuple(dict.fromkeys(names))
