"""minibiogpt golden kit: write the conformance kit: tiny checkpoints, and cases that expose common mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibiogpt.cli.options import add_json, print_json
from minibiogpt.cli.outputs import check_parent
from minibiogpt.errors import InputError

FILE_ENDINGS = (
    ".safetensors", ".npz", ".npy", ".pt", ".pth", ".bin", ".pkl", ".json", ".html", ".zip", ".tar", ".gz"
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder to write, which must be new or empty")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all weights and inputs (default: 0)")
    parser.add_argument("--cases", action="append", metavar="NAME", help="write only this case; repeatable")
    parser.add_argument("--hidden", type=int, metavar="N", help="hidden size of the models (default: 21)")
    parser.add_argument("--heads", type=int, metavar="N", help="number of heads (default: 3)")
    parser.add_argument("--positions", type=int, metavar="N", help="number of positions (default: 31)")
    parser.add_argument(
        "--multiple-of",
        type=int,
        default=1,
        metavar="N",
        help="make the sizes of weight matrices multiples of N, such as of blocks of 32 quantized weights",
    )
    parser.add_argument("--rows", type=int, metavar="N", help="at most so many rows in a batch")
    parser.add_argument("--no-mask", action="store_true", help="leave out attention_mask, and the cases that need it")
    parser.add_argument(
        "--vocabulary",
        metavar="real|N|FOLDER",
        help="the published model's size, another size, or a folder with vocab.json and merges.txt",
    )
    parser.add_argument(
        "--float16", action="store_true", help="leave out cases with products that float16 cannot represent"
    )
    parser.add_argument(
        "--weights",
        metavar="FOLDER",
        help="use the weights in FOLDER/NAME/model.safetensors for the model NAME, such as dequantized ones",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Write the kit, list its files, and print the command to run next."""
    from minibiogpt.golden.kit.limits import Limits
    from minibiogpt.golden.kit.writer import write_kit

    size, vocabulary = _vocabulary(options.vocabulary)
    limits = Limits(
        hidden=options.hidden,
        heads=options.heads,
        positions=options.positions,
        multiple_of=options.multiple_of,
        rows=options.rows,
        mask=not options.no_mask,
        vocabulary=size,
        float16=options.float16,
    )
    check_parent(Path(options.folder))
    _check_ending(Path(options.folder))
    folder, lines = Path(options.folder), list[str]()
    manifest = write_kit(
        folder,
        seed=options.seed,
        cases=options.cases,
        report=lines.append,
        limits=limits,
        vocabulary=vocabulary,
        weights=options.weights,
    )
    if options.json:
        print_json(manifest)
        return
    print("\n".join(lines))  # only now that the folder is complete: printing can fail
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    contents = f"{len(manifest['models'])} models, {len(manifest['cases'])} cases"
    if manifest.get("left_out"):
        print(f"left out: {', '.join(manifest['left_out'])}")
    print(f"{folder}: {contents}, {total / 1e6:.1f} MB, seed {manifest['seed']}; {folder / 'README.md'} explains it")
    print(f"run your implementation on each case, then: minibiogpt golden check {folder} THEIRS")


def _vocabulary(text: str | None) -> tuple[int | None, str | None]:
    """Return the size of the vocabulary, and the folder of its files; None where they are the kit's own."""
    from minibiogpt.golden.kit.limits import REAL_VOCABULARY

    if text is None:
        return None, None
    if text == "real":
        return REAL_VOCABULARY, None
    if text.isdecimal() and not Path(text).is_dir():
        return int(text), None
    return None, text


def _check_ending(folder: Path) -> None:
    """Check that the folder's name is not that of a file."""
    if folder.suffix.lower() in FILE_ENDINGS:
        raise InputError("a kit is a folder, and its name must not end like a file's", str(folder), "name a new folder")
