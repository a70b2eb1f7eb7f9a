"""Shared by `classify` and `tag`: options, the length check, and output as a table or JSON Lines."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minibiogpt.cli.batch.loop import Chunk, Job, add_output, run_chunks
from minibiogpt.cli.batch.records import add_input
from minibiogpt.cli.batch.resume import Progress
from minibiogpt.cli.options import add_model
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.tokenizer import Piece

Prediction = dict[str, Any]  # the result for one text


def add_labelled(parser: argparse.ArgumentParser) -> None:
    """Add the options for the input, the model and the output."""
    add_input(parser)
    add_model(parser, runs=True)
    parser.add_argument("--truncate", action="store_true", help="truncate texts that exceed the model's maximum length")
    parser.add_argument("--json", action="store_true", help="print JSON Lines")
    add_output(parser, "write JSON Lines to FILE; FILE.state exists until the run is complete")


def fit_length(rows: list[list[Piece]], config: BioGptConfig, truncate: bool) -> list[list[Piece]]:
    """Return the rows, each at most N tokens long. Longer ones are truncated, or raise InputError."""
    N, longest = config.max_position_embeddings, max(len(row) for row in rows)
    if longest <= N:
        return rows
    if not truncate:
        raise InputError(f"a text must have at most {N} tokens", str(longest), "split it, or use --truncate")
    warnings.warn(f"texts of up to {longest} tokens are truncated to {N}", stacklevel=2)
    return [row[:N] for row in rows]


def checked_finite(logits: np.ndarray) -> np.ndarray:
    """Return the logits if all are finite. NaN means nothing as a score, and is not valid JSON."""
    if not np.isfinite(logits).all():
        raise InputError("logits must be finite", "NaN or infinity", "check the weights, or try --dtype float64")
    return logits


def run_labelled(
    job: Job,
    compute: Callable[[list[list[Piece]]], list[Prediction]],
    as_text: Callable[[str, Prediction], str],
    **settings: Any,
) -> None:
    """Write each chunk to the output file, or to standard output as a table or JSON Lines."""
    options = job.options
    if options.output is not None:
        with job.output(truncate=options.truncate, **settings) as output:
            for chunk in run_chunks(job, output.progress, compute):
                output.append("".join(_lines(chunk)).encode("utf-8"), chunk.read, chunk.digest)
            output.finish()
        return
    table = job.source.from_arguments and not options.json
    for chunk in run_chunks(job, Progress(), compute):
        for record, prediction in zip(chunk.records, chunk.results, strict=True):
            if table:
                sys.stdout.write(as_text(record.text, prediction))
        sys.stdout.writelines([] if table else _lines(chunk))
        sys.stdout.flush()


def _lines(chunk: Chunk[Prediction]) -> Iterator[str]:
    """Yield a JSON object per text: its input fields, then its prediction."""
    for record, prediction in zip(chunk.records, chunk.results, strict=True):
        yield json.dumps(record.fields | prediction, ensure_ascii=False) + "\n"
