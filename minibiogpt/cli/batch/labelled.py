"""Shared by `classify` and `tag`: options, truncation, and output as a table or JSON Lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from minibiogpt.cli.batch.inputs import FIRST_TOKENS, add_input, add_truncate
from minibiogpt.cli.batch.loop import Chunk, Job, add_output, run_chunks
from minibiogpt.cli.batch.records import Record
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
    add_truncate(parser, FIRST_TOKENS)
    add_windows(parser)
    parser.add_argument("--json", action="store_true", help="print JSON Lines")
    add_output(parser, "write JSON Lines to FILE; FILE.state exists until the run is complete")


def window_options(options: argparse.Namespace, config: BioGptConfig) -> dict[str, int | None]:
    """Return the window and the stride of the command, checked; None stands for the default."""
    if options.window is not None or options.stride is not None:
        window_sizes(config, options.window, options.stride)
    return {"window": options.window, "stride": options.stride}


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
        with job.output(window=options.window, stride=options.stride, **settings) as output:
            for chunk in run_chunks(job, output.progress, compute):
                data = "".join(_lines(job, chunk, prediction)).encode("utf-8")
                output.append(data, chunk.read, chunk.digest, texts=len(chunk.records))
            output.finish()
        return
    table = job.source.from_arguments and not options.json
    for chunk in run_chunks(job, Progress(), compute):
        if table:
            rows = zip(chunk.records, chunk.results, strict=True)
            sys.stdout.writelines(as_text(record.text, prediction(record, result)) for record, result in rows)
        else:
            sys.stdout.writelines(_lines(job, chunk, prediction))
        sys.stdout.flush()


def _lines(job: Job, chunk: Chunk[Result], prediction: Callable[[Record, Result], Prediction]) -> Iterator[str]:
    """Yield a JSON object per text: its input fields, then its prediction."""
    for record, result in zip(chunk.records, chunk.results, strict=True):
        yield job.json_line(record.fields | prediction(record, result))
