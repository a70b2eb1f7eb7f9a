"""Shared by `classify` and `tag`: options, truncation, and output as a table or JSON Lines."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from minibiogpt.cli.batch.loop import Chunk, Job, add_output, run_chunks
from minibiogpt.cli.batch.records import Record, add_input
from minibiogpt.cli.batch.resume import Progress
from minibiogpt.cli.options import add_model, add_windows
from minibiogpt.config import BioGptConfig
from minibiogpt.model.batching import window_sizes
from minibiogpt.tokenizer import Piece

Prediction = dict[str, Any]  # the result for one text
Result = TypeVar("Result")


def add_labelled(parser: argparse.ArgumentParser) -> None:
    """Add the options for the input, the model and the output."""
    add_input(parser)
    add_model(parser, runs=True)
    parser.add_argument(
        "--truncate",
        action="store_true",
        help="keep only as many first tokens of a text as the model's maximum, instead of splitting it into windows; "
        "--window then splits what is kept",
    )
    add_windows(parser)
    parser.add_argument("--json", action="store_true", help="print JSON Lines")
    add_output(parser, "write JSON Lines to FILE; FILE.state exists until the run is complete")


def window_options(options: argparse.Namespace, config: BioGptConfig) -> dict[str, int | None]:
    """Return the window and the stride of the command, checked; None stands for the default."""
    if options.window is not None or options.stride is not None:
        window_sizes(config, options.window, options.stride)
    return {"window": options.window, "stride": options.stride}


def fitted(rows: list[list[Piece]], config: BioGptConfig, truncate: bool) -> list[list[int]]:
    """Return the ids of the rows, with --truncate at most N of each."""
    N, longest = config.max_position_embeddings, max(len(row) for row in rows)
    if truncate and longest > N:
        warnings.warn(f"texts of up to {longest} tokens are truncated to {N}", stacklevel=2)
        rows = [row[:N] for row in rows]
    return [[piece.id for piece in row] for row in rows]


def run_labelled(
    job: Job,
    compute: Callable[[list[list[Piece]]], list[Result]],
    prediction: Callable[[Record, Result], Prediction],
    as_text: Callable[[str, Prediction], str],
    **settings: Any,
) -> None:
    """Write each chunk to the output file, or to standard output as a table or JSON Lines.

    Parameters
    ----------
    compute : from the pieces of a batch of texts to a result for each. prediction : from a text and its result to what
        is written. as_text : from that to the lines of the table.
    """
    options = job.options
    if options.output is not None:
        with job.output(truncate=options.truncate, window=options.window, stride=options.stride, **settings) as output:
            for chunk in run_chunks(job, output.progress, compute):
                output.append("".join(_lines(chunk, prediction)).encode("utf-8"), chunk.read, chunk.digest)
            output.finish()
        return
    table = job.source.from_arguments and not options.json
    for chunk in run_chunks(job, Progress(), compute):
        if table:
            rows = zip(chunk.records, chunk.results, strict=True)
            sys.stdout.writelines(as_text(record.text, prediction(record, result)) for record, result in rows)
        else:
            sys.stdout.writelines(_lines(chunk, prediction))
        sys.stdout.flush()


def _lines(chunk: Chunk[Result], prediction: Callable[[Record, Result], Prediction]) -> Iterator[str]:
    """Yield a JSON object per text: its input fields, then its prediction."""
    for record, result in zip(chunk.records, chunk.results, strict=True):
        yield json.dumps(record.fields | prediction(record, result), ensure_ascii=False) + "\n"
