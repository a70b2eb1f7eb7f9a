"""From texts or ids to the rows of a batch: the body of a tokenizer's call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError
from minibiogpt.tokenizer.batch_encoding import BatchEncoding, Rows, Token
from minibiogpt.tokenizer.encoding import MAX_LENGTH, CallOptions, Piece, checked_side, checked_text, read_options
from minibiogpt.tokenizer.ids import checked_ids
from minibiogpt.tokenizer.padding import common_width, filled
from minibiogpt.tokenizer.texts import Sample, Text, as_list, read_samples
from minibiogpt.tokenizer.truncation import Cut, kept, windows

TYPE_OF_PADDING = 0
SPLITS = ("parse_special", "split_special_tokens")
Layout = list[tuple[int, list[Cut]]]  # of each row: its sample, and what it keeps of each text of that sample


class Texts:
    """The texts of a batch, and their pieces and words, each computed when first needed."""

    def __init__(self, tok: Any, samples: list[Sample], parse_special: bool) -> None:
        self.tok, self.samples, self.parse = tok, samples, parse_special
        self._pieces: list[list[list[Piece]]] | None = None

    def ids(self) -> list[list[list[int]]]:
        """Return the ids of each text of each sample."""
        return [[self._ids_of(text) for text in sample] for sample in self.samples]

    def pieces(self) -> list[list[list[Piece]]]:
        """Return the pieces of each text of each sample."""
        if self._pieces is None:
            self._pieces = [[self._pieces_of(text) for text in sample] for sample in self.samples]
        return self._pieces

    def words(self) -> list[list[list[int]]]:
        """Return the index of each piece's word: a word passed by the caller, or one of Moses' words."""
        return [[self._words_of(text) for text in sample] for sample in self.samples]

    def _ids_of(self, text: Text) -> list[int]:
        if isinstance(text, str):
            return self.tok._ids(text, parse_special=self.parse)
        return [i for word in text for i in self.tok._ids(word, parse_special=self.parse)]

    def _pieces_of(self, text: Text) -> list[Piece]:
        words = [text] if isinstance(text, str) else text
        return [piece for word in words for piece in self.tok.analyse(word, parse_special=self.parse)]

    def _words_of(self, text: Text) -> list[int]:
        if isinstance(text, str):
            words = self.tok._merged_words(text, self.parse)
            return [w for w, word in enumerate(words) for _ in word.ids]
        return [w for w, word in enumerate(text) for _ in self._ids_of(word)]


def encode_batch(tok: Any, text: Any, text_pair: Any, given: Mapping[str, Any]) -> BatchEncoding:
    """Encode one or more texts or pairs; ``given`` are the keyword arguments of ``BioGptTokenizer.__call__``."""
    options = read_options("a tokenizer", given, ("prepend_batch_axis",))
    samples = read_samples(text, text_pair, options.is_split_into_words)
    texts = Texts(tok, samples, options.parses(getattr(tok, "split_special_tokens", False)))
    if options.return_offsets or options.return_offsets_mapping:
        return arrange(tok, [[[p.id for p in part] for part in parts] for parts in texts.pieces()], options, texts)
    return arrange(tok, texts.ids(), options, texts)


def encode_plus(tok: Any, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
    """Encode one text or pair as a batch of 1; the options are those of a call.

    Raises
    ------
    InputError
        For a list of texts.
    """
    if not options.get("is_split_into_words"):
        return encode_batch(
            tok, checked_text(text), None if text_pair is None else checked_text(text_pair, "text_pair"), options
        )
    for name, words in (("text", text), ("text_pair", text_pair)):
        found = as_list(words)
        if found is not None and not all(isinstance(word, str) for word in found):
            raise InputError(f"{name} must be the words of one text", "lists", "call the tokenizer itself for a batch")
    return encode_batch(tok, text, text_pair, options)


def batch_encode_plus(tok: Any, batch_text_or_text_pairs: Any, **options: Any) -> BatchEncoding:
    """Encode a list of texts or pairs; the same as a call."""
    return encode_batch(tok, batch_text_or_text_pairs, None, options)


def prepare_for_model(tok: Any, ids: Any, pair_ids: Any = None, **options: Any) -> BatchEncoding:
    """Add ``</s>`` to the ids of one text or pair, truncate and pad them.

    Parameters
    ----------
    ids, pair_ids : integers, without added tokens.
    options : those of a call, as far as they do not need the texts. prepend_batch_axis : return (1, T) instead of (T,).

    Examples
    --------
    >>> from minibiogpt import BioGptTokenizer
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> tok.prepare_for_model([9, 8, 7], truncation=True, max_length=3)["input_ids"]
    array([2, 9, 8])
    """
    no_texts = ("is_split_into_words", "parse_special", "split_special_tokens", "return_offsets")
    read = read_options("prepare_for_model", options, (*no_texts, "return_offsets_mapping"))
    sample = [checked_ids(ids, "ids"), *([] if pair_ids is None else [checked_ids(pair_ids, "pair_ids")])]
    found = arrange(tok, [sample], read, None)
    if read.prepend_batch_axis or read.return_overflowing_tokens:
        return found
    return BatchEncoding({name: value[0] for name, value in found.items()}, n_sequences=len(sample))


def truncate_sequences(
    tok: Any,
    ids: Any,
    pair_ids: Any = None,
    num_tokens_to_remove: int = 0,
    truncation_strategy: str = "longest_first",
    stride: int = 0,
) -> tuple[list[int], list[int] | None, list[int]]:
    """Return ids and pair_ids without so many tokens, and the tokens removed, with ``stride`` kept ones.

    For a pair with "longest_first" the removed tokens are not returned, as in transformers.

    Examples
    --------
    >>> from minibiogpt import BioGptTokenizer
    >>> BioGptTokenizer.from_pretrained("demo").truncate_sequences([9, 8, 7, 6], None, 2, stride=1)
    ([9, 8], None, [8, 7, 6])
    """
    options = CallOptions(truncation=truncation_strategy, stride=stride)
    side, strategy = checked_side(tok.truncation_side, "truncation_side"), options.strategy
    parts = [checked_ids(ids, "ids"), *([] if pair_ids is None else [checked_ids(pair_ids, "pair_ids")])]
    lengths = [len(part) for part in parts]
    removed = checked_integer("num_tokens_to_remove", num_tokens_to_remove, -MAX_LENGTH)
    cuts = kept(lengths, sum(lengths) - removed, strategy, side)
    whole = all(stop - start == n for n, (start, stop) in zip(lengths, cuts, strict=True))
    overflow: list[int] = []
    if not whole and (strategy != "longest_first" or len(parts) == 1):
        part = parts[1 if strategy == "only_second" else 0]
        size = min(len(part), stride + removed)
        overflow = part[:size] if side == "left" else part[-size:]
    first, *second = (part[start:stop] for part, (start, stop) in zip(parts, cuts, strict=True))
    return first, second[0] if second else None, overflow


def arrange(tok: Any, samples: list[list[list[int]]], options: CallOptions, texts: Texts | None) -> BatchEncoding:
    """Truncate samples of ids, join each into rows, pad these, and return the arrays that the options ask for."""
    length = options.length(tok.model_max_length)
    opening = [tok.sep_token_id] if options.add_special_tokens else []
    layout = _layout(samples, len(opening), length, options, checked_side(tok.truncation_side, "truncation_side"))
    rows = [
        [i for part, (start, stop) in zip(samples[s], cuts, strict=True) for i in (*opening, *part[start:stop])]
        for s, cuts in layout
    ]
    side = checked_side(tok.padding_side if options.padding_side is None else options.padding_side)
    lengths = [len(row) for row in rows]
    width = common_width(lengths, options.padding, length, options.pad_to_multiple_of, _remedy(samples, options))
    found = {"input_ids": filled(rows, width, tok.pad_token_id, side)}
    sizes = [[stop - start for start, stop in cuts] for _, cuts in layout]
    if options.returns("token_type_ids", tok.model_input_names):
        kinds = [[p * len(opening) for p, size in enumerate(row) for _ in range(len(opening) + size)] for row in sizes]
        found["token_type_ids"] = filled(kinds, width, TYPE_OF_PADDING, side)
    if options.returns("attention_mask", tok.model_input_names):
        found["attention_mask"] = filled([[1] * n for n in lengths], width, 0, side)
    if options.return_special_tokens_mask:
        added = [[x for size in row for x in (*[1] * len(opening), *[0] * size)] for row in sizes]
        found["special_tokens_mask"] = filled(added, width, 1, side)
    for name, wanted in (("offsets", options.return_offsets), ("offset_mapping", options.return_offsets_mapping)):
        if wanted and texts is not None:
            found[name] = filled(_spans(texts.pieces(), layout, len(opening)), width, 0, side, (2,))
    if options.return_length:
        found["length"] = filled([lengths], len(lengths), 0, "right")[0]
    if options.return_overflowing_tokens:
        found["overflow_to_sample_mapping"] = filled([[s for s, _ in layout]], len(layout), 0, "right")[0]

    def tokens() -> Rows:
        assert texts is not None
        return _tokens(tok, texts, layout, rows, bool(opening), width, side)

    return BatchEncoding(found, tokens if texts is not None else None, n_sequences=max(map(len, samples)))


def _remedy(samples: list[list[list[int]]], options: CallOptions) -> str:
    """Return what to write for rows of unequal length: padding, or a list of rows, cut as this call cuts them."""
    if options.return_overflowing_tokens:
        return "call with padding=True"
    names = ("truncation", "max_length", "is_split_into_words", "add_special_tokens", *SPLITS)
    given = {name: getattr(options, name) for name in names}
    defaults = {name: getattr(CallOptions, name) for name in names}
    more = "".join(f", {name}={value!r}" for name, value in given.items() if value != defaults[name])
    rows = f"[tok.encode(text{more}) for text in texts]"
    if len(samples[0]) > 1:
        rows = f"[tok.encode(text, pair{more}) for text, pair in zip(texts, pairs)]"
    return f"call with padding=True, or write {rows} for rows without padding"


def _layout(samples: list[list[list[int]]], added: int, length: int, options: CallOptions, side: str) -> Layout:
    layout: Layout = []
    strategy = options.strategy if length <= MAX_LENGTH else "do_not_truncate"
    for s, parts in enumerate(samples):
        lengths = [len(part) for part in parts]
        room = length - added * len(parts)
        if options.return_overflowing_tokens:
            layout += [(s, cuts) for cuts in windows(lengths, room, strategy, side, options.stride)]
        else:
            layout.append((s, kept(lengths, room, strategy, side)))
    return layout


def _spans(pieces: list[list[list[Piece]]], layout: Layout, added: int) -> list[list[tuple[int, int]]]:
    """Return the span of each token of each row, (0, 0) for added tokens."""
    opening = [(0, 0)] * added
    return [
        [
            span
            for part, (start, stop) in zip(pieces[s], cuts, strict=True)
            for span in (*opening, *(piece.span for piece in part[start:stop]))
        ]
        for s, cuts in layout
    ]


def _tokens(
    tok: Any, texts: Texts, layout: Layout, rows: list[list[int]], special: bool, width: int, side: str
) -> Rows:
    """Return the tokens of each row; the pieces are found again here, because most calls need only the ids."""
    pieces, words, found = texts.pieces(), texts.words(), []
    for (s, cuts), ids in zip(layout, rows, strict=True):
        row, again = [], []
        for p, (start, stop) in enumerate(cuts):
            if special:
                row.append(Token(tok.sep_token, None, None, None))
                again.append(tok.sep_token_id)
            for piece, word in zip(pieces[s][p][start:stop], words[s][p][start:stop], strict=True):
                row.append(Token(piece.piece, p, word, piece.span))
                again.append(piece.id)
        if again != ids:
            must = "the tokenizer must not change between a call and the first question about its words"
            raise InputError(must, "other ids for the same text", "call the tokenizer again")
        padding = [Token(tok.pad_token, None, None, None)] * (width - len(row))
        found.append(padding + row if side == "left" else row + padding)
    return found
