"""minibiogpt embed: one vector for each text, to a .npy or .safetensors file.

The rows stand in the order of the input, float32 (n, D), in a safetensors file under the name "embeddings". A killed
run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from minibiogpt.checks import checked_integer
from minibiogpt.cli.batch.loop import Job, add_output, work
from minibiogpt.cli.batch.records import add_input
from minibiogpt.cli.options import add_model
from minibiogpt.errors import InputError
from minibiogpt.model.pooling import POOLINGS
from minibiogpt.tokenizer import Piece

if TYPE_CHECKING:
    from minibiogpt.model import BioGptModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    add_model(parser, runs=True)
    parser.add_argument(
        "--pooling",
        default="last",
        choices=POOLINGS,
        help="the last token's state, which sees up to N tokens (default), or a mean over all",
    )
    parser.add_argument(
        "--layer", type=int, metavar="K", help="hidden_states[K], 0 to L (default: after the final norm)"
    )
    add_output(parser, "FILE.npy or FILE.safetensors; FILE.part and FILE.state lie beside it until all is done")


def run(options: argparse.Namespace) -> None:
    """Read, check, compute chunk by chunk, append the rows, put the header in front."""
    if options.output is None or Path(options.output).suffix not in HEADERS:
        must = f"--output must name a file that ends in {' or '.join(HEADERS)}"
        raise InputError(must, repr(options.output), "name one")
    job = Job.of(options)
    from minibiogpt import BioGptModel

    model = BioGptModel.from_pretrained(job.folder, backend=options.backend, dtype=options.dtype)
    if options.layer is not None:
        checked_integer("--layer", options.layer, 0, model.config.num_hidden_layers)
    D = model.config.hidden_size
    with job.output(part=True, pooling=options.pooling, layer=options.layer) as output:
        for chunk in work(job, output.done, lambda rows: _vectors(model, rows, options)):
            output.append(b"".join(chunk.results), chunk.read, chunk.digest)
        n = output.done.records
        output.finish(lambda rows, new: _write(rows, new, Path(options.output).suffix, n, D))
    print(f"{n:,} text{'s' * (n != 1)}, {D} numbers each: {options.output}", file=sys.stderr)


def _vectors(model: BioGptModel, rows: list[list[Piece]], options: argparse.Namespace) -> list[bytes]:
    """Each text's vector as little-endian float32."""
    ids = [[piece.id for piece in row] for row in rows]
    chosen = {"pooling": options.pooling, "layer": options.layer, "batch_tokens": options.batch_tokens}
    found = model.backend.to_numpy(model.embed(ids, **chosen)).astype("<f4")
    if not np.isfinite(found).all():
        raise InputError("hidden states must be finite", "NaN or infinity", "check the weights: minibiogpt info")
    return [row.tobytes() for row in found]


def _write(rows: Path, new: Path, suffix: str, n: int, D: int) -> None:
    """The header and the rows, which are copied, not read into memory."""
    with new.open("wb") as file, rows.open("rb") as raw:
        HEADERS[suffix](file, n, D)
        shutil.copyfileobj(raw, file)


def _npy_header(file: BinaryIO, n: int, D: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (n, D)})


def _safetensors_header(file: BinaryIO, n: int, D: int) -> None:
    """The length of the header in 8 bytes, and the header, padded with blanks to a multiple of 8 bytes."""
    tensor = {"dtype": "F32", "shape": [n, D], "data_offsets": [0, 4 * n * D]}
    header = json.dumps({"embeddings": tensor}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)


HEADERS = {".npy": _npy_header, ".safetensors": _safetensors_header}
