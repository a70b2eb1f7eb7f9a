"""What `classify` and `tag` share: their options, texts that fit the model, results to a table or to JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minibiogpt.cli.batch.loop import Chunk, Job, add_output, work
from minibiogpt.cli.batch.records import add_input
from minibiogpt.cli.batch.resume import Done
from minibiogpt.cli.options import add_model
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.tokenizer import Piece

Said = dict[str, Any]  # what is found about one text


def add_labelled(parser: argparse.ArgumentParser) -> None:
    """Where the texts come from, the model, and where the results go."""
    add_input(parser)
    add_model(parser, runs=True)
    parser.add_argument("--truncate", action="store_true", help="cut longer texts to what the model can read")
    parser.add_argument("--json", action="store_true", help="print JSON lines, for a program to read")
    add_output(parser, "write JSON lines to FILE; FILE.state lies beside it until all is done")


def fitting(rows: list[list[Piece]], config: BioGptConfig, truncate: bool) -> list[list[Piece]]:
    """Rows of at most N tokens: longer ones are cut, or refused."""
    N, longest = config.max_position_embeddings, max(len(row) for row in rows)
    if longest <= N:
        return rows
    if not truncate:
        raise InputError(f"a text must have at most {N} tokens", str(longest), "split it, or give --truncate")
    warnings.warn(f"texts of up to {longest} tokens are cut to {N}", stacklevel=2)
    return [row[:N] for row in rows]


def finite(logits: np.ndarray) -> np.ndarray:
    """The logits themselves; scores of NaN would be no JSON, and mean nothing."""
    if not np.isfinite(logits).all():
        raise InputError("logits must be finite", "NaN or infinity", "check the weights, or try --dtype float64")
    return logits


def run_labelled(
    job: Job,
    compute: Callable[[list[list[Piece]]], list[Said]],
    shown: Callable[[str, Said], str],
    **settings: Any,
) -> None:
    """Chunk after chunk to the output file, or to standard output as a table or JSON lines."""
    options = job.options
    if options.output is not None:
        with job.output(truncate=options.truncate, **settings) as output:
            for chunk in work(job, output.done, compute):
                output.append("".join(_lines(chunk)).encode("utf-8"), chunk.read, chunk.digest)
            output.finish()
        return
    table = job.source.typed and not options.json
    for chunk in work(job, Done(), compute):
        for record, said in zip(chunk.records, chunk.results, strict=True):
            if table:
                sys.stdout.write(shown(record.text, said))
        sys.stdout.writelines([] if table else _lines(chunk))
        sys.stdout.flush()


def _lines(chunk: Chunk[Said]) -> Iterator[str]:
    """A JSON object for each text: its fields, then what was found."""
    for record, said in zip(chunk.records, chunk.results, strict=True):
        yield json.dumps(record.fields | said, ensure_ascii=False) + "\n"
