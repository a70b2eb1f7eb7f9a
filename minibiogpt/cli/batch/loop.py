"""What the commands that work through many texts share: chunks of records, batches by length, output in input order.

A chunk of records is encoded, sorted by length, computed in batches and written in the order of the input. Which texts
meet in a batch follows from the input and the options alone, so a run that was killed and resumed makes the same
batches, and with them the same bytes, as one that was not.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from minibiogpt.checks import checked_integer
from minibiogpt.cli.batch.records import Reader, Record, Source, source_of
from minibiogpt.cli.batch.resume import Done, Resumable, check_new, fingerprint
from minibiogpt.errors import InputError
from minibiogpt.files.hub import find_model
from minibiogpt.model.batching import BATCH_TOKENS, batches
from minibiogpt.tokenizer import BioGptTokenizer, Piece

Result = TypeVar("Result")
COMMON = ("command", "backend", "dtype", "jsonl", "field", "no_special", "chunk", "batch_tokens")


def add_output(parser: argparse.ArgumentParser, output: str) -> None:
    """How much is computed together, and where the results go."""
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=BATCH_TOKENS,
        metavar="N",
        help=f"tokens computed together, padding included ({BATCH_TOKENS}; a GPU likes more)",
    )
    parser.add_argument("--output", metavar="FILE", help=output)
    parser.add_argument("--overwrite", action="store_true", help="replace a finished FILE, or another run's")


@dataclass
class Job:
    """What is known before a weight is read: the texts, how many there are, the model's folder, its tokenizer."""

    options: argparse.Namespace
    source: Source
    survey: tuple[int, str] | None
    folder: Path
    tokenizer: BioGptTokenizer

    @classmethod
    def of(cls, options: argparse.Namespace, reserved: Sequence[str] = ()) -> Job:
        """Check the options that all share, and every line of an input that can be read twice."""
        checked_integer("--batch-tokens", options.batch_tokens, 1)
        source = source_of(options, reserved)
        _check_output(source, options)
        folder = find_model(options.model)
        return cls(options, source, source.survey(), folder, BioGptTokenizer.from_pretrained(folder))

    def output(self, *, part: bool = False, **settings: Any) -> Resumable:
        """The file to write, with everything its bytes depend on; on another input, model or option it is refused."""
        common = {name: getattr(self.options, name) for name in COMMON}
        common |= {"model": fingerprint(self.folder), "input": self.survey[1] if self.survey else None}
        path = Path(self.options.output)
        return Resumable(path, common | settings, part=part, overwrite=self.options.overwrite)

    def encode(self, record: Record) -> list[Piece]:
        """``</s>`` and the pieces of the text."""
        tok = self.tokenizer
        pieces = tok.analyse(record.text, parse_special=not self.options.no_special)
        return [Piece(tok.eos_token, tok.eos_token_id, (0, 0)), *pieces]


class Chunk(NamedTuple, Generic[Result]):
    """Records and their results, and the number and digest of all records up to here."""

    records: list[Record]
    results: list[Result]
    read: int
    digest: str


def work(job: Job, done: Done, compute: Callable[[list[list[Piece]]], Iterable[Result]]) -> Iterator[Chunk[Result]]:
    """Chunk after chunk, from where an earlier run stopped; ``compute`` is given the texts of one batch.

    Raises
    ------
    InputError
        If the input does not begin with the records that are done already.
    """
    reader = Reader(job.source, job.options.chunk)
    reader.skip(done.records)
    if (reader.records, reader.digest) != (done.records, done.digest):
        must = f"the input must begin with the {done.records} records that {job.options.output} holds results of"
        raise InputError(must, "others", "give it the same input, or remove that file and its .state to begin anew")
    with _bar(job.survey[0] if job.survey else None, done.records) as bar:
        for records in reader:
            rows = [job.encode(record) for record in records]
            results = by_length(rows, compute, job.options.batch_tokens, bar.update)
            yield Chunk(records, results, reader.records, reader.digest)


def by_length(
    rows: list[list[Piece]],
    compute: Callable[[list[list[Piece]]], Iterable[Result]],
    batch_tokens: int,
    step: Callable[[int], Any],
) -> list[Result]:
    """``compute`` over batches of rows of similar length; the results in the order of the rows."""
    found: dict[int, Result] = {}
    for batch in batches([len(row) for row in rows], batch_tokens):
        found |= zip(batch, compute([rows[i] for i in batch]), strict=True)
        step(len(batch))
    return [found[i] for i in range(len(rows))]


def _check_output(source: Source, options: argparse.Namespace) -> None:
    """What can be said about the output before anything is loaded."""
    if options.output is None:
        if options.overwrite:
            raise InputError("--overwrite needs an --output", "none", "name a file, or leave it out")
        return
    path = Path(options.output)
    check_new(path, options.overwrite)
    if source.path and path.exists() and os.path.samefile(source.path, path):
        raise InputError("--output must not be the file that is read", str(path), "choose another name")


def _bar(count: int | None, done: int) -> Any:
    """A progress bar on a terminal's standard error."""
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(total=count, initial=done, unit="text", file=sys.stderr, disable=not terminal)
