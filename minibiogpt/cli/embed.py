"""minibiogpt embed: write one vector per text to a .npy or .safetensors file.

The file holds a float32 array (n, D) whose rows are in input order, named "embeddings" in a safetensors file. With
--skip-bad, the lines listed as skipped have no row. Repeating the same command resumes a killed run where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from minibiogpt.checks import checked_integer
from minibiogpt.cli.batch.inputs import add_input, add_truncate
from minibiogpt.cli.batch.loop import Job, add_output, ids_of, run_chunks, texts_done
from minibiogpt.cli.options import add_model, load_model
from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.json_text import json_text
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
        help="last (default): hidden state of the last token; mean: mean over all tokens. Of a text longer than the "
        "model's maximum N, last sees the last N tokens, and mean splits it into windows of N",
    )
    add_truncate(parser, "keep only as many first tokens of a text as the model's maximum N")
    parser.add_argument(
        "--layer",
        type=int,
        metavar="K",
        help="pool hidden_states[K]: 0 is the embeddings, K the output of layer K, up to the number of layers "
        "(default: the last, after the final norm)",
    )
    add_output(parser, "a .npy or .safetensors file; FILE.part and FILE.state exist until the run is complete")


def run(options: argparse.Namespace) -> None:
    """Check the input, append the vectors chunk by chunk, then write the header and the rows to the output file."""
    if options.output is None or Path(options.output).suffix not in HEADERS:
        must = f"--output must name a file that ends in {' or '.join(HEADERS)}"
        found = "none" if options.output is None else short_repr(options.output)
        raise InputError(must, found, "write a name such as --output vectors.npy")
    job = Job.of(options)
    from minibiogpt import BioGptModel

    model = load_model(options, BioGptModel)
    if options.layer is not None:
        checked_integer("--layer", options.layer, 0, model.config.num_hidden_layers)
    D = model.config.hidden_size
    with job.output(part=True, pooling=options.pooling, layer=options.layer) as output:
        done, size = texts_done(output.progress), output.progress.bytes
        if size != 4 * done * D:  # a state that was changed
            must = f"the vectors of {done} texts must have {4 * done * D} bytes"
            raise InputError(must, f"{size}", f"remove {output.data_path} and {output.state} to start again")
        for chunk in run_chunks(job, output.progress, lambda rows: _vectors(model, rows, options)):
            output.append(b"".join(chunk.results), chunk.read, chunk.digest, texts=len(chunk.records))
        n = texts_done(output.progress)
        output.finish(lambda rows, new: _write(rows, new, Path(options.output).suffix, n, D))
    print(f"{n:,} text{'s' * (n != 1)}, {D} values each: {options.output}", file=sys.stderr)


def _vectors(model: BioGptModel, rows: list[list[Piece]], options: argparse.Namespace) -> list[bytes]:
    """Return the vector of each text as little-endian float32 bytes."""
    settings = {"pooling": options.pooling, "layer": options.layer, "batch_tokens": options.batch_tokens}
    vectors = model.backend.to_numpy(model.embed(ids_of(rows), **settings)).astype("<f4")
    if not np.isfinite(vectors).all():
        raise InputError("hidden states must be finite", "NaN or infinity", "check the weights: minibiogpt info")
    return [row.tobytes() for row in vectors]


def _write(rows: Path, new: Path, suffix: str, n: int, D: int) -> None:
    """Write the header, then copy the rows without reading them all into memory."""
    with new.open("wb") as file, rows.open("rb") as raw:
        HEADERS[suffix](file, n, D)
        shutil.copyfileobj(raw, file)


def _npy_header(file: BinaryIO, n: int, D: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (n, D)})


def _safetensors_header(file: BinaryIO, n: int, D: int) -> None:
    """Write the length of the header in 8 bytes, then the header, padded with spaces to a multiple of 8 bytes."""
    tensor = {"dtype": "F32", "shape": [n, D], "data_offsets": [0, 4 * n * D]}
    header = json_text({"embeddings": tensor}, compact=True).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)


HEADERS = {".npy": _npy_header, ".safetensors": _safetensors_header}
