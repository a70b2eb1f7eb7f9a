"""minibiogpt score: compute the log-probability and perplexity of texts, optionally token by token.

Texts on the command line give a table. A file, standard input, --json and --output give JSON Lines, and the totals over
all texts go to standard error. With --output, repeating the same command resumes a killed run where it stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from minibiogpt.cli.batch.inputs import FIRST_TOKENS, add_input, add_truncate
from minibiogpt.cli.batch.loop import Chunk, Job, add_output, ids_of, run_chunks, texts_done
from minibiogpt.cli.batch.resume import Progress
from minibiogpt.cli.options import add_model, add_windows, load_model
from minibiogpt.errors import InputError
from minibiogpt.model.batching import window_sizes
from minibiogpt.tokenizer import Piece
from minibiogpt.tokenizer.tokens.labels import labels_of

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForCausalLM

TOTALS = ("total", "tokens", "perplexity")
TOKEN_FIELDS = ("pieces", "ids", "offsets", "log_probs")


class Scored(NamedTuple):
    """The pieces of a text without its leading ``</s>``, and the natural-log probability of each."""

    pieces: list[Piece]
    log_probs: list[float]
    total: float

    @property
    def perplexity(self) -> float | None:
        return _perplexity(self.total, len(self.pieces))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    add_model(parser, runs=True)
    parser.add_argument(
        "--tokens", action="store_true", help="include each token, with its offsets and log-probability"
    )
    add_truncate(parser, FIRST_TOKENS)
    add_windows(parser)
    parser.add_argument("--json", action="store_true", help="print JSON Lines")
    add_output(parser, "write JSON Lines to FILE; FILE.state exists until the run is complete")


def run(options: argparse.Namespace) -> None:
    """Check the input, score it chunk by chunk, write the results in input order, and print the totals."""
    job = Job.of(options, reserved=TOTALS + (TOKEN_FIELDS if options.tokens else ()))
    from minibiogpt import BioGptForCausalLM

    model = load_model(options, BioGptForCausalLM)
    window, stride = window_sizes(model.config, options.window, options.stride)
    if options.output is None:
        _print(job, _chunks(job, model, Progress(), window, stride))
        return
    with job.output(tokens=options.tokens, window=window, stride=stride) as output:
        for chunk in _chunks(job, model, output.progress, window, stride):
            data = "".join(_lines(job, chunk)).encode("utf-8")
            output.append(data, chunk.read, chunk.digest, **_sums(chunk), texts=len(chunk.records))
        output.finish()
    print(_summary(texts_done(output.progress), output.progress.sums), file=sys.stderr)


def _chunks(
    job: Job, model: BioGptForCausalLM, progress: Progress, window: int, stride: int
) -> Iterator[Chunk[Scored]]:
    """Yield each chunk with its scores."""

    def compute(rows: list[list[Piece]]) -> list[Scored]:
        scores = model.score(ids_of(rows), window=window, stride=stride, batch_tokens=job.options.batch_tokens)
        totals = model.backend.to_numpy(scores.total).tolist()
        if not all(map(math.isfinite, totals)):
            raise InputError("log-probabilities must be finite", "NaN", "check the weights: minibiogpt info")
        log_probs = [model.backend.to_numpy(scores.row(b)).tolist() for b in range(len(rows))]
        return [Scored(row[1:], *values) for row, *values in zip(rows, log_probs, totals, strict=True)]

    return run_chunks(job, progress, compute)


def _print(job: Job, chunks: Iterator[Chunk[Scored]]) -> None:
    """Print each chunk to standard output as soon as it is scored."""
    options = job.options
    table = job.source.from_arguments and not options.json
    texts, sums = 0, {"total": 0.0, "tokens": 0}
    for chunk in chunks:
        if table and not options.tokens and not texts:  # not before an error
            print(f"{'total':>12}  {'tokens':>6}  {'perplexity':>12}  text")
        for line in _rows(job, chunk) if table else _lines(job, chunk):
            sys.stdout.write(line)
        sys.stdout.flush()  # a program that feeds standard input sees each chunk at once
        texts += len(chunk.records)
        sums = {name: sums[name] + value for name, value in _sums(chunk).items()}
    if not table:
        print(_summary(texts, sums), file=sys.stderr)
    elif texts > 1:
        print(_summary(texts, sums))


def _lines(job: Job, chunk: Chunk[Scored]) -> Iterator[str]:
    """Yield a JSON object per text: its input fields, then its scores."""
    for record, scored in zip(chunk.records, chunk.results, strict=True):
        values = (scored.total, len(scored.pieces), scored.perplexity)
        fields: dict[str, Any] = record.fields | dict(zip(TOTALS, values, strict=True))
        if job.options.tokens:
            ids = [piece.id for piece in scored.pieces]
            spans = [piece.span for piece in scored.pieces]
            token_values = (job.tokenizer.convert_ids_to_tokens(ids), ids, spans, scored.log_probs)
            fields |= dict(zip(TOKEN_FIELDS, token_values, strict=True))
        yield job.json_line(fields)


def _rows(job: Job, chunk: Chunk[Scored]) -> Iterator[str]:
    """Yield the lines of the table: one per text, or with --tokens a table per text."""
    for record, scored in zip(chunk.records, chunk.results, strict=True):
        if job.options.tokens:
            labels = labels_of([piece.id for piece in scored.pieces], job.tokenizer)
            width = max(map(len, ["token", *labels]))
            yield f"{'token':{width}}  {'start':>5}  {'end':>5}  {'log p':>10}  text\n"
            for name, piece, log_p in zip(labels, scored.pieces, scored.log_probs, strict=True):
                start, end = piece.span
                yield f"{name:{width}}  {start:5}  {end:5}  {log_p:10.4f}  {record.text[start:end]}\n"
            yield _summary(1, {"total": scored.total, "tokens": len(scored.pieces)}) + "\n"
        else:
            columns = f"{scored.total:12.4f}  {len(scored.pieces):6}  {_formatted(scored.perplexity):>12}"
            yield f"{columns}  {' '.join(record.text.split())}\n"


def _sums(chunk: Chunk[Scored]) -> dict[str, float]:
    return {
        "total": math.fsum(scored.total for scored in chunk.results),
        "tokens": sum(len(scored.pieces) for scored in chunk.results),
    }


def _summary(texts: int, sums: dict[str, float]) -> str:
    """Return the totals as one line. The perplexity is per token, so long texts weigh more."""
    total, tokens = sums.get("total", 0.0), int(sums.get("tokens", 0))
    counted = f"{texts:,} text{'s' * (texts != 1)}, {tokens:,} tokens"
    return f"{counted}: log-probability {total:.4f}, perplexity {_formatted(_perplexity(total, tokens))}"


def _perplexity(total: float, tokens: int) -> float | None:
    """exp(-total / tokens), or None without tokens or on overflow."""
    try:
        return math.exp(-total / tokens) if tokens else None
    except OverflowError:
        return None


def _formatted(perplexity: float | None) -> str:
    return "-" if perplexity is None else f"{perplexity:.4f}"
