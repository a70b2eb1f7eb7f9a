"""Texts as prompts: checked one by one, cut to the model's room, and padded to batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from minibiogpt.cli.batch.ends import counted, first_pieces, last_pieces
from minibiogpt.cli.batch.faults import Numbers
from minibiogpt.cli.batch.lines import Fault
from minibiogpt.cli.batch.records import Record
from minibiogpt.cli.batch.vocabulary import unknown_token
from minibiogpt.errors import InputError
from minibiogpt.tokenizer import BioGptTokenizer, Piece
from minibiogpt.tokenizer.large_text import split_digits

NEW_TOKENS = 20  # that generate requests by default
LEAST = 2  # tokens that --truncate leaves of a text: </s> and its last one


@dataclass
class Prompts:
    """How texts become prompts.

    Attributes
    ----------
    soft : the ids that follow each text. N : the model's positions. rows : its embeddings.
    new : the number of new tokens requested, or None. most : the largest number of tokens of a prompt, soft ones
        included. truncate : whether to keep only the last tokens of longer ones. cut : the numbers of those texts.
    """

    tokenizer: BioGptTokenizer
    parse_special: bool
    split_digits: bool
    soft: Sequence[int]
    N: int
    rows: int
    new: int | None
    most: int
    truncate: bool
    cut: Numbers = field(default_factory=Numbers)

    @property
    def kept(self) -> int:
        """The number of a text's tokens that --truncate keeps."""
        return max(self.most - len(self.soft), LEAST)

    def ids(self, record: Record) -> tuple[list[int], bool]:
        """Return ``</s>``, the ids of the text and those of the soft prompt, and whether they exceed what is kept.

        With --truncate only the last ids are kept; else no more are returned than show that they do not fit.
        """
        text = split_digits(record.text) if self.split_digits else record.text
        most = self.kept if self.truncate else self.N + 1
        pieces = (last_pieces if self.truncate else first_pieces)(self._analyse, text, most)
        cut = len(pieces) >= most
        ids = [piece.id for piece in (pieces[1:] if cut and self.truncate else pieces)]
        return [self.tokenizer.sep_token_id, *ids, *self.soft], cut

    def _analyse(self, text: str) -> list[Piece]:
        return self.tokenizer.analyse(text, parse_special=self.parse_special)

    def check(self, record: Record) -> Fault | None:
        """Return why the model cannot continue a text, or None."""
        ids, _ = self.ids(record)
        if (fault := unknown_token(self.tokenizer, (i for i in ids if i not in self.soft), self.rows)) is not None:
            return fault
        n, fits = len(ids), self.N + 1 - len(ids)
        if n <= self.most:
            return None
        shorten = "shorten it" if self.truncate else "shorten it, or keep its last tokens with --truncate"
        if self.new is not None and n <= self.N:
            must = f"must leave room for {self.new} new tokens in the model's N = {self.N} positions"
            remedy = f"request at most {fits} new token{'s' * (fits != 1)}, or {shorten}"
            return Fault(must, f"{n} tokens", remedy)
        if n <= self.N:
            return Fault(f"must have fewer tokens than --max-length, which is {self.most + 1}", f"{n}", shorten)
        text = split_digits(record.text) if self.split_digits else record.text
        found = counted(self._analyse, text, self.N) + (
            f" and {len(self.soft)} of the soft prompt" if self.soft else ""
        )
        return Fault(f"must have at most N = {self.N} tokens", found, shorten)

    def batches(self, records: Iterable[Record], size: int) -> Iterator[tuple[list[Record], dict[str, np.ndarray]]]:
        """Yield the records of each batch, and the ids and the mask of their prompts, padded on the left.

        The error of a bad line, which only a pipe can have so late, comes after the batch of the records before it.
        """
        remaining, error = iter(records), None
        while error is None:
            batch: list[Record] = []
            try:
                batch.extend(islice(remaining, size))  # keeps what it has when the iterator fails
            except InputError as bad:
                error = bad
            if not batch:
                break
            rows = []
            for record in batch:
                ids, cut = self.ids(record)
                rows.append(ids)
                if cut and self.truncate:
                    self.cut.add(record.line)
            yield batch, self._padded(rows)
        if error is not None:
            raise error

    def _padded(self, rows: list[list[int]]) -> dict[str, np.ndarray]:
        """Return the ids and the mask, each (B, T) int64."""
        T, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        ids = np.array([[pad] * (T - len(row)) + row for row in rows], dtype=np.int64)
        mask = np.array([[0] * (T - len(row)) + [1] * len(row) for row in rows], dtype=np.int64)
        return {"input_ids": ids, "attention_mask": mask}


def room(config: Any, N: int, truncate: bool) -> tuple[int | None, int]:
    """Return the number of new tokens that a GenerationConfig requests, and the most tokens that a prompt may have.

    Without a request, a prompt may fill the N positions: as many tokens follow as fit. With --truncate it leaves room
    for those of transformers' default.
    """
    if config.max_new_tokens is not None:
        return config.max_new_tokens, N + 1 - config.max_new_tokens  # the last new token needs no position
    if config.max_length is not None:
        return None, min(N, config.max_length - 1)
    return None, N + 1 - min(NEW_TOKENS, N // 2) if truncate else N
