"""The loop of the commands for many texts: chunks of records, batches by length, output in input order.

A chunk of records is encoded, sorted by length, computed in batches and written in input order. Only the input and the
options decide which texts form a batch. A run that is killed and resumed therefore forms the same batches, and writes
the same bytes, as an uninterrupted run.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from minibiogpt.checks import checked_integer
from minibiogpt.cli.batch.ends import first_of_words, first_pieces
from minibiogpt.cli.batch.faults import Numbers
from minibiogpt.cli.batch.inputs import source_of
from minibiogpt.cli.batch.lines import Fault
from minibiogpt.cli.batch.records import Reader, Record, Scan, Source
from minibiogpt.cli.batch.resume import Progress, ResumableFile, check_new, model_settings, part_path
from minibiogpt.cli.batch.state import state_path
from minibiogpt.cli.batch.vocabulary import unknown_token
from minibiogpt.cli.options import load_tokenizer, printable_json, quantization_of
from minibiogpt.cli.options import source_of as model_source
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError
from minibiogpt.files.json_text import json_text
from minibiogpt.heads.words import analyse_words
from minibiogpt.model.batching import BATCH_TOKENS, batches
from minibiogpt.progress import errors_on_terminal, progress_bar
from minibiogpt.tokenizer import BioGptTokenizer, Piece

Result = TypeVar("Result")
COMMON_OPTIONS = (
    "command", "backend", "dtype", "product", "jsonl", "field", "no_special", "chunk", "batch_tokens", "skip_bad",
    "truncate",
)  # fmt: skip


def add_output(parser: argparse.ArgumentParser, output: str) -> None:
    """Add the options for the batch size and the output file."""
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=BATCH_TOKENS,
        metavar="N",
        help=f"tokens that the model computes at once, padding included (default: {BATCH_TOKENS}; use more on a GPU)",
    )
    parser.add_argument("--output", metavar="FILE", help=output)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a finished FILE, or an unfinished one of a different command; a finished FILE stays as it is "
        "until the new one, written to FILE.part, is complete",
    )


@dataclass
class Job:
    """What a run needs before the weights are read: texts, their count and digest, and the tokenizer.

    Attributes
    ----------
    N : the model's maximum, to which --truncate cuts. cut : the numbers of the texts that it cut.
    """

    options: argparse.Namespace
    source: Source
    scanned: Scan | None
    tokenizer: BioGptTokenizer
    N: int
    cut: Numbers

    @classmethod
    def of(
        cls, options: argparse.Namespace, reserved: Sequence[str] = (), reserved_with_words: Sequence[str] = ()
    ) -> Job:
        """Check the shared options, and every line of an input that can be read twice."""
        checked_integer("--batch-tokens", options.batch_tokens, 1)
        source = source_of(options, reserved, reserved_with_words)
        _check_output(options)
        tokenizer, config = load_tokenizer(options), model_source(options).config()
        job = cls(options, source, None, tokenizer, config.max_position_embeddings, Numbers())
        if max(tokenizer.pieces) >= config.vocab_size:  # else no text has such a token, and encoding twice takes time
            source.check = lambda record: job.unknown(record, config.vocab_size)
        job.scanned = source.scan()
        return job

    def unknown(self, record: Record, rows: int) -> Fault | None:
        """Return the fault of a record with a token beyond the model's embeddings."""
        pieces = self.encode(record)
        return unknown_token(self.tokenizer, [piece.id for piece in pieces], rows)

    def output(self, *, part: bool = False, **settings: Any) -> ResumableFile:
        """Return the output file. It may be resumed only with the same input, model and options."""
        common = {name: getattr(self.options, name) for name in COMMON_OPTIONS}
        common |= model_settings(self.options) | {"input": self.scanned.digest if self.scanned else None}
        common |= quantization_of(self.options)
        path = Path(self.options.output)
        output = ResumableFile(path, common | settings, part=part, overwrite=self.options.overwrite)
        if self.options.overwrite and self.scanned is not None and not self._begins_with(output.progress):
            # The input changed during that run, and has been restored.
            output.progress = Progress(replacing=output.progress.replacing)
        return output

    def _begins_with(self, progress: Progress) -> bool:
        """Return whether the input begins with the records that an earlier run has done."""
        reader = Reader(self.source, self.options.chunk)
        reader.skip(progress.records)
        return (reader.lines, reader.digest) == (progress.records, progress.digest)

    def json_line(self, fields: dict[str, Any]) -> str:
        """Return a line of JSON Lines: UTF-8 in a file, with escapes for what standard output's encoding lacks."""
        text = printable_json(fields) if self.options.output is None else json_text(fields, ascii_only=False)
        return f"{text}\n"

    def encode(self, record: Record) -> list[Piece]:
        """Return ``</s>`` and the pieces of the text, or of its words one by one; with --truncate the first N + 1."""
        tok, parse_special = self.tokenizer, not self.options.no_special
        if self.options.truncate:
            analyse = partial(tok.analyse, parse_special=parse_special)
            if record.words is None:
                pieces = first_pieces(analyse, record.text, self.N)
            else:
                pieces = first_of_words(analyse, record.words, self.N)
        elif record.words is None:
            pieces = tok.analyse(record.text, parse_special=parse_special)
        else:
            pieces = analyse_words(tok, record.words, parse_special=parse_special)
        return [Piece(tok.eos_token, tok.eos_token_id, (0, 0)), *pieces]

    def row(self, record: Record) -> list[Piece]:
        """Return what ``encode`` does, with --truncate only the first N pieces."""
        pieces = self.encode(record)
        if self.options.truncate and len(pieces) > self.N:
            self.cut.add(record.line)
            return pieces[: self.N]
        return pieces

    def check_unchanged(self, reader: Reader) -> None:
        """Check at its end that the input is still what was scanned, or that it had a text at all."""
        if self.scanned is None and not reader.lines:
            raise self.source.nothing()
        if self.scanned is not None and (reader.lines, reader.digest) != self.scanned[1:]:
            must = f"{self.source.name} must not change while it is read"
            raise InputError(must, "different lines", "run the command again, with --overwrite if it has an --output")

    def check_chunk(self, reader: Reader, records: list[Record]) -> None:
        """Check that a chunk has no line that was not scanned, and that one that is not full is at the same end."""
        grown = self.scanned is not None and reader.lines > self.scanned.lines
        if grown or len(records) < self.options.chunk:
            self.check_unchanged(reader)

    def warn_of_truncation(self) -> None:
        """Say in one line which texts were cut."""
        if self.cut.count:
            was = "was" if self.cut.count == 1 else "were"
            warnings.warn(f"{self.source.where(self.cut)} {was} truncated to {self.N} tokens", stacklevel=2)


class Chunk(NamedTuple, Generic[Result]):
    """Records and their results, and the count and digest of all lines read so far."""

    records: list[Record]
    results: list[Result]
    read: int
    digest: str


def run_chunks(
    job: Job, progress: Progress, compute: Callable[[list[list[Piece]]], Iterable[Result]]
) -> Iterator[Chunk[Result]]:
    """Yield chunk after chunk, starting where an earlier run stopped. ``compute`` takes the texts of one batch.

    Raises
    ------
    InputError
        If the input does not begin with the records that are already done.
    """
    # In a file, a shorter chunk would not be that of a run whose input has been corrected.
    reader = Reader(job.source, job.options.chunk, whole=job.options.output is not None)
    reader.skip(progress.records)
    if (reader.lines, reader.digest) != (progress.records, progress.digest):
        path = Path(job.options.output)
        data = part_path(path) if job.options.command == "embed" or progress.replacing else path
        must = f"the input must begin with the {progress.records} records already in {data}"
        again = (
            "start again with --overwrite" if job.scanned else f"remove {data} and {state_path(path)} to start again"
        )
        raise InputError(must, "different records", f"use the same input, or {again}")
    texts = texts_done(progress)
    with _progress_bar(job.scanned.texts if job.scanned else None, texts) as bar:
        for records in reader:
            job.check_chunk(reader, records)
            texts += len(records)
            rows = [job.row(record) for record in records]
            results = compute_by_length(rows, compute, job.options.batch_tokens, bar.update)
            yield Chunk(records, results, reader.lines, reader.digest)
    job.check_unchanged(reader)
    if not texts:
        job.source.warn_of_nothing()
    job.warn_of_truncation()


def texts_done(progress: Progress) -> int:
    """Return the number of texts with a result; ``progress.records`` counts skipped lines too."""
    return int(progress.sums.get("texts", 0))


def ids_of(rows: list[list[Piece]]) -> list[list[int]]:
    """Return the ids of rows of pieces."""
    return [[piece.id for piece in row] for row in rows]


def compute_by_length(
    rows: list[list[Piece]],
    compute: Callable[[list[list[Piece]]], Iterable[Result]],
    batch_tokens: int,
    step: Callable[[int], Any],
) -> list[Result]:
    """Apply ``compute`` to batches of rows of similar length. Return the results in the order of the rows."""
    results: dict[int, Result] = {}
    for batch in batches([len(row) for row in rows], batch_tokens):
        results |= zip(batch, compute([rows[i] for i in batch]), strict=True)
        step(len(batch))
    return [results[i] for i in range(len(rows))]


def _check_output(options: argparse.Namespace) -> None:
    """Check the output options before anything is loaded."""
    if options.output is None:
        if options.overwrite:
            raise InputError("--overwrite needs an --output", "none", "name a file, or leave --overwrite out")
        return
    path = Path(options.output)
    helpers = [state_path(path), *([part_path(path)] if options.command == "embed" or options.overwrite else [])]
    check_output(options.output, "--output", inputs_of(options), helpers)
    check_new(path, options.overwrite)


def _progress_bar(count: int | None, done: int) -> Any:
    """Return a progress bar on standard error, disabled unless that is a terminal."""
    return progress_bar(errors_on_terminal(), total=count, initial=done, unit="text")
