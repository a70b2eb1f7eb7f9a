"""minibiogpt score: log-probability and perplexity of texts, and of each token.

Texts that are typed get a table; a file, a stream, --json and --output get JSON lines, and the sum over all texts on
standard error. With --output a killed run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from minibiogpt.cli.batch.loop import Chunk, Job, add_output, work
from minibiogpt.cli.batch.records import add_input
from minibiogpt.cli.batch.resume import Done
from minibiogpt.cli.options import add_model
from minibiogpt.errors import InputError
from minibiogpt.model.batching import window_sizes
from minibiogpt.tokenizer import Piece

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForCausalLM

TOTALS = ("total", "tokens", "perplexity")
EACH = ("pieces", "ids", "offsets", "log_probs")


class Scored(NamedTuple):
    """A text's pieces without the ``</s>`` in front, and the natural-log probability of each."""

    pieces: list[Piece]
    log_probs: list[float]
    total: float

    @property
    def perplexity(self) -> float | None:
        return _perplexity(self.total, len(self.pieces))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_input(parser)
    add_model(parser, runs=True)
    parser.add_argument("--tokens", action="store_true", help="also each token, its place and its log-probability")
    parser.add_argument(
        "--window", type=int, metavar="N", help="tokens looked at together (default: all the model can)"
    )
    parser.add_argument("--stride", type=int, metavar="N", help="for longer texts: from window to window (half of one)")
    parser.add_argument("--json", action="store_true", help="print JSON lines, for a program to read")
    add_output(parser, "write JSON lines to FILE; FILE.state lies beside it until all is done")


def run(options: argparse.Namespace) -> None:
    """Read, check, compute chunk by chunk, write in the order of the input, sum up."""
    job = Job.of(options, reserved=TOTALS + (EACH if options.tokens else ()))
    from minibiogpt import BioGptForCausalLM

    model = BioGptForCausalLM.from_pretrained(job.folder, backend=options.backend, dtype=options.dtype)
    window, stride = window_sizes(model.config, options.window, options.stride)
    if options.output is None:
        _print(job, _chunks(job, model, Done(), window, stride))
        return
    with job.output(tokens=options.tokens, window=window, stride=stride) as output:
        for chunk in _chunks(job, model, output.done, window, stride):
            data = "".join(_lines(job, chunk)).encode("utf-8")
            output.append(data, chunk.read, chunk.digest, **_sums(chunk))
        output.finish()
    print(_summary(output.done.records, output.done.sums), file=sys.stderr)


def _chunks(job: Job, model: BioGptForCausalLM, done: Done, window: int, stride: int) -> Iterator[Chunk[Scored]]:
    """The scores of each chunk."""

    def compute(rows: list[list[Piece]]) -> list[Scored]:
        ids = [[piece.id for piece in row] for row in rows]
        scores = model.score(ids, window=window, stride=stride, batch_tokens=job.options.batch_tokens)
        totals = model.backend.to_numpy(scores.total).tolist()
        if not all(map(math.isfinite, totals)):
            raise InputError("log-probabilities must be finite", "NaN", "check the weights: minibiogpt info")
        each = [model.backend.to_numpy(scores.row(b)).tolist() for b in range(len(rows))]
        return [Scored(row[1:], *found) for row, *found in zip(rows, each, totals, strict=True)]

    return work(job, done, compute)


def _print(job: Job, chunks: Iterator[Chunk[Scored]]) -> None:
    """To standard output, as it comes."""
    options = job.options
    table = job.source.typed and not options.json
    texts, sums = 0, {"total": 0.0, "tokens": 0}
    if table and not options.tokens:
        print(f"{'total':>12}  {'tokens':>6}  {'perplexity':>12}  text")
    for chunk in chunks:
        for line in _rows(job, chunk) if table else _lines(job, chunk):
            sys.stdout.write(line)
        sys.stdout.flush()  # whoever feeds a stream sees each chunk when it is done
        texts += len(chunk.records)
        sums = {name: sums[name] + value for name, value in _sums(chunk).items()}
    if not table:
        print(_summary(texts, sums), file=sys.stderr)
    elif texts > 1:
        print(_summary(texts, sums))


def _lines(job: Job, chunk: Chunk[Scored]) -> Iterator[str]:
    """A JSON object for each text: its fields, then what was found."""
    for record, scored in zip(chunk.records, chunk.results, strict=True):
        values = (scored.total, len(scored.pieces), scored.perplexity)
        fields: dict[str, Any] = record.fields | dict(zip(TOTALS, values, strict=True))
        if job.options.tokens:
            ids = [piece.id for piece in scored.pieces]
            spans = [piece.span for piece in scored.pieces]
            each = (job.tokenizer.convert_ids_to_tokens(ids), ids, spans, scored.log_probs)
            fields |= dict(zip(EACH, each, strict=True))
        yield json.dumps(fields, ensure_ascii=False) + "\n"


def _rows(job: Job, chunk: Chunk[Scored]) -> Iterator[str]:
    """The same for a reader: a line a text, or with --tokens a table a text."""
    for record, scored in zip(chunk.records, chunk.results, strict=True):
        if job.options.tokens:
            pieces = job.tokenizer.convert_ids_to_tokens([piece.id for piece in scored.pieces])
            width = max(map(len, [*pieces, "piece"]))
            yield f"{'piece':{width}}  {'start':>5}  {'end':>5}  {'log p':>10}  text\n"
            for name, piece, log_p in zip(pieces, scored.pieces, scored.log_probs, strict=True):
                start, end = piece.span
                yield f"{name:{width}}  {start:5}  {end:5}  {log_p:10.4f}  {record.text[start:end]}\n"
            yield _summary(1, {"total": scored.total, "tokens": len(scored.pieces)}) + "\n"
        else:
            figures = f"{scored.total:12.4f}  {len(scored.pieces):6}  {_shown(scored.perplexity):>12}"
            yield f"{figures}  {' '.join(record.text.split())}\n"


def _sums(chunk: Chunk[Scored]) -> dict[str, float]:
    return {
        "total": math.fsum(scored.total for scored in chunk.results),
        "tokens": sum(len(scored.pieces) for scored in chunk.results),
    }


def _summary(texts: int, sums: dict[str, float]) -> str:
    """The corpus in one line; its perplexity is that of a token, so that long texts count for more."""
    total, tokens = sums.get("total", 0.0), int(sums.get("tokens", 0))
    counted = f"{texts:,} text{'s' * (texts != 1)}, {tokens:,} tokens"
    return f"{counted}: log-probability {total:.4f}, perplexity {_shown(_perplexity(total, tokens))}"


def _perplexity(total: float, tokens: int) -> float | None:
    """exp(-total / tokens); None of no token, and where it exceeds every float."""
    try:
        return math.exp(-total / tokens) if tokens else None
    except OverflowError:
        return None


def _shown(perplexity: float | None) -> str:
    return "-" if perplexity is None else f"{perplexity:.4f}"
