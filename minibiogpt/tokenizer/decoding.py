"""Ids back to text.

Source: PreTrainedTokenizer._decode and BioGptTokenizer.convert_tokens_to_string in transformers 4.57.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from minibiogpt.checks import is_integer, plain
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_option
from minibiogpt.tokenizer.bpe import END_OF_WORD
from minibiogpt.tokenizer.encoding import checked_strings, clean_up
from minibiogpt.tokenizer.ids import one_row
from minibiogpt.tokenizer.tokens.attributes import TokenizerAttributes


class TokenizerDecoding(TokenizerAttributes):
    """The part of ``BioGptTokenizer`` that turns ids and pieces into text, and into each other."""

    _unsplit: Callable[[list[str]], str]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
        **options: Any,
    ) -> str:
        """Return the text of ids: (T,) or (1, T) integers, or a single one.

        Parameters
        ----------
        spaces_between_special_tokens : whether added tokens (except the named special ones, such as ``</s>``, and those
            in the vocabulary that are special) are set apart by spaces.

        Raises
        ------
        InputError
            For an id that is not in the vocabulary (transformers decodes it as ``<unk>``), or for several rows.
        """
        if options:
            advice = {"use_source_tokenizer": "leave it out: BioGPT has one tokenizer"}
            known = ["skip_special_tokens", "clean_up_tokenization_spaces", "spaces_between_special_tokens"]
            raise no_option("decode", next(iter(options)), known, advice)
        pieces = self.convert_ids_to_tokens(token_ids, skip_special_tokens)
        skipped = set(self._tokens.special) if skip_special_tokens else set()
        kept = [piece for piece in ([pieces] if isinstance(pieces, str) else pieces) if piece not in skipped]
        text = (" " if spaces_between_special_tokens else "").join(self._runs(kept))
        clean = clean_up_tokenization_spaces
        return clean_up(text) if (self.clean_up_tokenization_spaces if clean is None else clean) else text

    @staticmethod
    def clean_up_tokenization(out_string: str) -> str:
        """Return a text without the spaces that ``decode(..., clean_up_tokenization_spaces=True)`` removes."""
        return clean_up(out_string)

    def _runs(self, pieces: list[str]) -> Iterator[str]:
        """Yield each added token, and the text of each run between them; only the last one may be empty."""
        groups = [(added, list(run)) for added, run in groupby(pieces, self._tokens.apart.__contains__)]
        for number, (added, run) in enumerate(groups, 1):
            if added:
                yield from run
            elif (text := self.convert_tokens_to_string(run)) or number == len(groups):
                yield text

    def batch_decode(self, sequences: Iterable[Any], *args: Any, **options: Any) -> list[str]:
        """Return the text of each row of ids; the options are those of ``decode``."""
        rows = plain(sequences)  # an array on a device is copied once
        if not isinstance(rows, Iterable) or isinstance(rows, Mapping):
            known = isinstance(sequences, Mapping) and "input_ids" in sequences
            remedy = "pass encoding['input_ids']" if known else "decode one row with decode"
            raise InputError("sequences must be a list of rows of ids", type(sequences).__name__, remedy)
        return [self.decode(row, *args, **options) for row in rows]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> list[str] | str:
        """Return the piece of each id of a row, (T,) or (1, T); for a single id, its piece (special or not)."""
        row = one_row(ids)
        if isinstance(row, int):
            return self._piece(row)
        if not isinstance(row, Iterable):
            raise InputError("ids must be integers", type(ids).__name__, "pass a row of ids")
        skipped = set(self._tokens.special_ids) if skip_special_tokens else set()
        pieces = [(self._piece(i), i) for i in row]
        return [piece for piece, i in pieces if i not in skipped]

    def _piece(self, i: Any) -> str:
        table = self._tokens
        if is_integer(i) and (piece := table.pieces.get(int(i))) is not None:
            return piece
        if not is_integer(i) or not table.end <= i < max(self._rows, table.end + self._soft_prompt):
            must = f"an id must be an integer in the vocabulary, 0 to {table.end - 1}"
            raise InputError(must, short_repr(i), "pass one row of ids generated with this tokenizer's model")
        position = int(i) - table.end
        return f"learned{position + 1}{END_OF_WORD}" if position < self._soft_prompt else self.unk_token

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> list[int] | int:
        """Return the id of each piece (for a single string, its id); unknown pieces have the id of ``<unk>``."""
        if isinstance(tokens, str):
            return self._tokens.id_of(tokens)
        return [self._tokens.id_of(token) for token in checked_strings(tokens)]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Turn pieces into text: join them, split at the ends of words, and let Moses set spaces and unescape."""
        words = "".join(token.replace(" ", "").replace(END_OF_WORD, " ") for token in checked_strings(tokens))
        return self._unsplit(words.split())
