"""BatchEncoding: the dictionary that a tokenizer returns, which also says where each token comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend import backend_for
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.idioms import no_attribute
from minibiogpt.tokenizer.encoding import checked_tensors
from minibiogpt.tokenizer.offsets import Span

# What to write for an entry or attribute that an encoding does not have.
ADVICE = {
    "token_type_ids": "call the tokenizer with return_token_type_ids=True",
    "offset_mapping": "call the tokenizer with return_offsets_mapping=True",
    "offsets": "call the tokenizer with return_offsets=True",
    "special_tokens_mask": "call the tokenizer with return_special_tokens_mask=True",
    "length": "call the tokenizer with return_length=True",
    "overflow_to_sample_mapping": "call the tokenizer with return_overflowing_tokens=True",
    "overflowing_tokens": "they are further rows of input_ids; see overflow_to_sample_mapping",
    "num_truncated_tokens": "the removed tokens are further rows with return_overflowing_tokens=True",
    "encodings": "write tokens(i), word_ids(i), sequence_ids(i) or return_offsets_mapping=True",
    "is_fast": "word_ids, tokens and offsets are always available",
}


class CharSpan(NamedTuple):
    """Characters [start, end) of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens [start, end) of a row."""

    start: int
    end: int


class Token(NamedTuple):
    """A token of a row: its piece, which text and word of it, and its span there. Added tokens and padding: None."""

    piece: str
    sequence: int | None
    word: int | None
    span: Span | None


Rows = list[list[Token]]


class BatchEncoding(dict[str, Any]):
    """A dictionary of int64 arrays (B, T), whose entries are attributes too.

    ``model(**encoding)`` and ``model.generate(**encoding)`` take it as it is.

    A word is one of the words passed with ``is_split_into_words=True``, otherwise one of Moses' words. Characters are
    counted in the original text; if that was split into words, within each word.

    ``n_sequences`` is the number of texts of a row (2: pairs). Methods with a token's, word's or character's index take
    (index) for the first row or (row, index).

    Source: BatchEncoding of a fast tokenizer in transformers 4.57. There, an encoding of the (slow) BioGptTokenizer has
    no words and no offsets.

    Examples
    --------
    >>> encoding = BatchEncoding({"input_ids": [[2, 4]]}, tensor_type="np")
    >>> encoding.input_ids, encoding["input_ids"].shape, len(encoding)
    (array([[2, 4]]), (1, 2), 1)
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        rows: Rows | Callable[[], Rows] | None = None,
        tensor_type: Any = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
    ) -> None:
        super().__init__(data or {})
        self._rows, self.n_sequences = rows, n_sequences
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getitem__(self, key: Any) -> Any:
        """Return an entry; for a slice, that slice of every entry."""
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.items()}
        if key in self:
            return super().__getitem__(key)
        kept = ADVICE.get(key) or f"it has {', '.join(self)}"
        raise KeyError(f"BatchEncoding has no entry {short_repr(key)}; {kept}")

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        close = nearest(name, self, 1)
        raise no_attribute(self, name, ({name: f"did you mean {close[0]}?"} if close else {}) | ADVICE)

    @property
    def data(self) -> BatchEncoding:
        """The dictionary itself."""
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> BatchEncoding:
        """Move every array to a device ("cpu", "cuda", ``model.device``); return the same object.

        On the CPU the arrays are NumPy's, on a GPU CuPy's. ``non_blocking`` has no effect.
        """
        backend = backend_for(device)
        for name, value in self.items():
            if hasattr(value, "dtype") and value.dtype.kind in "biuf":
                self[name] = backend.asarray(value)
        return self

    def convert_to_tensors(self, tensor_type: Any = None, prepend_batch_axis: bool = False) -> BatchEncoding:
        """Turn every entry into an array ("np"; None changes nothing); return the same object.

        Raises
        ------
        InputError
            If rows have unequal lengths, or for another type.
        """
        if checked_tensors(tensor_type, "tensor_type") is None:
            return self
        for name, value in self.items():
            value = [value] if prepend_batch_axis else value
            try:
                self[name] = value if hasattr(value, "dtype") else np.asarray(value)
            except ValueError:
                must = f"the rows of {name} must have the same length to be an array"
                raise InputError(must, "rows of unequal length", "pad them to one length") from None
            if self[name].size == 0 and self[name].dtype == np.float64:
                self[name] = self[name].astype(np.int64)
        return self

    def copy(self) -> BatchEncoding:
        """Return a copy that shares the arrays."""
        return type(self)(self, self._rows, n_sequences=self.n_sequences)

    __copy__ = copy

    def __reduce__(self) -> tuple[Any, ...]:
        rows = None if self._rows is None else self._found()
        return type(self), (dict(self), rows, None, False, self.n_sequences)

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the pieces of a row, with added tokens and padding."""
        return [token.piece for token in self._row(batch_index)]

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the index of each token's word in its text; None for added tokens and padding."""
        return [token.word for token in self._row(batch_index)]

    words = word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return for each token 0 (text) or 1 (text_pair); None for added tokens and padding."""
        return [token.sequence for token in self._row(batch_index)]

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Return the text of a token, 0 or 1."""
        return self._token(batch_or_token_index, token_index).sequence

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Return the index of a token's word."""
        return self._token(batch_or_token_index, token_index).word

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """Return the characters of a token; None for an added token or padding."""
        span = self._token(batch_or_token_index, token_index).span
        return None if span is None else CharSpan(*span)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """Return the tokens of a word; None if the row has none of it."""
        found = [t for t, _ in self._of_word(batch_or_word_index, word_index, sequence_index)]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """Return the characters of a word; None if the row has no token of it."""
        found = [token.span for _, token in self._of_word(batch_or_word_index, word_index, sequence_index)]
        spans = [span for span in found if span is not None]
        return CharSpan(spans[0][0], spans[-1][1]) if spans else None

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the first token that contains a character; None for a space or a character that was cut off."""
        row, index = _row_and_index(batch_or_char_index, char_index)
        for t, token in enumerate(self._row(row)):
            if token.span and token.sequence == sequence_index and token.span[0] <= index < token.span[1]:
                return t
        return None

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the word that contains a character."""
        row, index = _row_and_index(batch_or_char_index, char_index)
        token = self.char_to_token(row, index, sequence_index)
        return None if token is None else self.token_to_word(row, token)

    def _found(self) -> Rows:
        """Return the tokens of all rows; they are computed when they are first needed."""
        if self._rows is None:
            must = "an encoding must come from texts to know its words and characters"
            raise InputError(must, "one made from ids", "ask the encoding that the tokenizer returned for the texts")
        if callable(self._rows):
            self._rows = self._rows()
        return self._rows

    def _row(self, index: int) -> list[Token]:
        return _checked_item(self._found(), index, "a row")

    def _token(self, first: int, second: int | None) -> Token:
        row, index = _row_and_index(first, second)
        return _checked_item(self._row(row), index, "a token")

    def _of_word(self, first: int, second: int | None, sequence: int) -> Iterator[tuple[int, Token]]:
        row, index = _row_and_index(first, second)
        return (
            (t, token) for t, token in enumerate(self._row(row)) if (token.sequence, token.word) == (sequence, index)
        )


def _row_and_index(first: int, second: int | None) -> tuple[int, int]:
    return (0, first) if second is None else (first, second)


def _checked_item(items: list[Any], index: Any, name: str) -> Any:
    if not is_integer(index) or not -len(items) <= index < len(items):
        raise InputError(f"the index of {name} must be below {len(items)}", short_repr(index), "correct the index")
    return items[index]
