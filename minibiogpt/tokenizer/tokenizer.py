"""BioGptTokenizer: Moses, then byte-pair encoding, and back.

Source: BioGptTokenizer in transformers 4.57, which gives the same ids and text; the character offsets are ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.files.hub import find_model
from minibiogpt.files.reading import read_json
from minibiogpt.tokenizer import batch, padding
from minibiogpt.tokenizer.batch_encoding import BatchEncoding
from minibiogpt.tokenizer.bpe import END_OF_WORD, Word, Words
from minibiogpt.tokenizer.encoding import (
    Piece,
    checked_flag,
    checked_model_length,
    checked_side,
    checked_strings,
    checked_text,
    clean_up,
)
from minibiogpt.tokenizer.offsets import align
from minibiogpt.tokenizer.vocabulary import (
    NO_LIMIT,
    check_against_model,
    check_nothing_added,
    checked_merges,
    checked_special,
    checked_vocab,
    read_merges,
    read_settings,
    write_settings,
    write_vocabulary,
)


class BioGptTokenizer:
    """Text to ids and back.

    ``</s>`` precedes every text (and the second text of a pair); nothing follows. A word's last piece ends in ``</w>``.
    Decoding is lossy by design: Moses cannot know which spaces the text had.

    Parameters
    ----------
    vocab : {piece: id}, in any order. merges : pairs of pieces, the most frequent first.
    padding_side : "right" as in transformers, unless tokenizer_config.json says "left", which generation needs.
    model_max_length : the length to which ``truncation`` cuts by default; unknown if not given.
    clean_up_tokenization_spaces : the default of ``decode``.
    soft_prompt : number of extra embeddings after the vocabulary (soft prompts of fine-tuned models). No text is
        encoded to them. ``soft_prompt_ids`` are their ids, and they are decoded as "learned1", "learned2" ...
    special : other ``bos_token``, ``pad_token``, ``eos_token``, ``unk_token`` or ``sep_token`` (which precedes each
        text), ``cls_token``, ``mask_token``, ``additional_special_tokens`` (a list). Each must be a piece of the
        vocabulary (transformers would give it a new id, for which the model has no embedding).

    Examples
    --------
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> tok.decode(tok.encode("Ibuprofen treats pain (mild)."), skip_special_tokens=True)
    'Ibuprofen treats pain (mild).'
    >>> tok.tokenize("a < b")  # Moses writes &lt; for <
    ['a</w>', '&', 'l', 't', ';</w>', 'b</w>']
    """

    truncation_side = "right"

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Iterable[tuple[str, str]],
        *,
        padding_side: str = "right",
        model_max_length: int = NO_LIMIT,
        clean_up_tokenization_spaces: bool = False,
        soft_prompt: int = 0,
        **special: Any,
    ) -> None:
        self.vocab = checked_vocab(vocab)
        self.ranks = {pair: rank for rank, pair in enumerate(checked_merges(merges))}
        self.pieces = {i: piece for piece, i in self.vocab.items()}
        self.soft_prompt_ids = range(max(self.pieces) + 1, max(self.pieces) + 1 + soft_prompt)
        self.padding_side, self.model_max_length = checked_side(padding_side), checked_model_length(model_max_length)
        self.clean_up_tokenization_spaces = checked_flag("clean_up_tokenization_spaces", clean_up_tokenization_spaces)
        self.special_tokens, self.additional_special_tokens = checked_special(special, self.vocab)
        self.all_special_tokens = list(dict.fromkeys([*self.special_tokens.values(), *self.additional_special_tokens]))
        self.all_special_ids = [self.vocab[token] for token in self.all_special_tokens]
        self.bos_token, self.pad_token = self.special_tokens["bos_token"], self.special_tokens["pad_token"]
        self.eos_token, self.unk_token = self.special_tokens["eos_token"], self.special_tokens["unk_token"]
        self.sep_token = self.special_tokens["sep_token"]
        self.bos_token_id, self.pad_token_id = self.vocab[self.bos_token], self.vocab[self.pad_token]
        self.eos_token_id, self.unk_token_id = self.vocab[self.eos_token], self.vocab[self.unk_token]
        self.sep_token_id = self.vocab[self.sep_token]
        longest_first = sorted(self.all_special_tokens, key=len, reverse=True)
        self._special = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._words = Words(self.ranks, self.vocab, self.unk_token_id)
        from minibiogpt.tokenizer import moses  # imported here: it takes longer than all the rest

        self._split, self._unsplit = moses.splitter(), moses.joiner()

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> BioGptTokenizer:
        """Read vocab.json, merges.txt (2 or 3 columns) and tokenizer_config.json of "demo", a folder or a hub id.

        Raises
        ------
        CheckpointError
            If a file is missing or invalid, a special or added token is not in the vocabulary, or the vocabulary has
            more pieces than the model has embeddings.
        """
        folder = find_model(name)
        vocab = read_json(folder / "vocab.json", "a tokenizer needs vocab.json")
        try:
            tokenizer = cls(vocab, read_merges(folder / "merges.txt"), **read_settings(folder))
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {folder}", error.remedy) from None
        check_nothing_added(folder, tokenizer.vocab)
        first = max(tokenizer.pieces) + 1
        tokenizer.soft_prompt_ids = range(first, first + check_against_model(folder, first))
        return tokenizer

    def __call__(self, text: Any = None, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """Encode a text or a batch.

        Parameters
        ----------
        text, text_pair : a string (a batch of 1) or a list of strings. A list of pairs may be passed as ``text``.
        padding : False, True or "longest" (to the longest of the batch), or "max_length". padding_side : "left" or
            "right", by default the tokenizer's. pad_to_multiple_of : rounds the width up.
        truncation : cuts rows to ``max_length`` (default: the model's; if that is unknown, nothing is cut) on the
            tokenizer's ``truncation_side``. True or "longest_first" cuts the longer text of a pair first, and a single
            text only if something remains; "only_first" and "only_second" cut that text. ``</s>`` is kept. None (the
            default) truncates if only max_length is passed, False and "do_not_truncate" never do.
        return_overflowing_tokens : return what was cut as further rows, which share ``stride`` tokens with the row
            before, and "overflow_to_sample_mapping" (rows,), the text of each row; so do transformers' fast tokenizers.
        is_split_into_words : a text is a list of words, each encoded by itself; see ``word_ids`` of the result.
        parse_special : whether ``</s>`` and the like in the text are special tokens (the default) or text; the opposite
            of ``split_special_tokens``. add_special_tokens : whether ``</s>`` precedes each text.
        return_offsets, return_offsets_mapping : also return "offsets" or "offset_mapping" (B, T, 2): token t is
            text[start:end], [start, end) in the original text (in its own text of a pair, in its own word of a split
            text), and (0, 0) for added tokens and padding. Offsets are exact where Moses only splits. Where it
            rewrites, each piece has the span of the whole original: the one character of an escape (``&apos;``) or a
            split dash (``@-@``), or the word DOTMULTI, which sacremoses mistakes for its own mark. A control character,
            which Moses drops, is inside a span only if both its neighbors are.
        return_token_type_ids, return_special_tokens_mask, return_length, return_attention_mask (the default): also
            return those; "length" (B,) counts tokens without padding. return_tensors : "np" or None, the same here.

        Returns
        -------
        A dictionary with "input_ids" and "attention_mask": int64 arrays (B, T), 1 = real, 0 = padding.

        Raises
        ------
        InputError
            For anything but strings, no text at all, texts of unequal length without padding, or an invalid option.

        Examples
        --------
        >>> vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a</w>": 4, "b</w>": 5, "ab</w>": 6}
        >>> tok = BioGptTokenizer(vocab, [("a", "b</w>")])
        >>> tok(["ab", "a b?"], padding=True, return_offsets=True)["offsets"][1].tolist()
        [[0, 0], [0, 1], [2, 3], [3, 4]]
        >>> tok("ab", "a")["input_ids"]
        array([[2, 6, 2, 4]])
        >>> tok(["ab", "a"], is_split_into_words=True).word_ids()
        [None, 0, 1]
        """
        return batch.encode_batch(self, text, text_pair, options)

    def analyse(self, text: str, *, parse_special: bool = True) -> list[Piece]:
        """Return the pieces of a text, each with its id and its span; nothing is added."""
        found: list[Piece] = []
        start = 0
        for part, special in self._parts(text, parse_special):
            if special:
                found.append(Piece(part, self.vocab[part], (start, start + len(part))))
            else:
                found += self._plain_pieces(part, start)
            start += len(part)
        return found

    def _plain_pieces(self, text: str, start: int) -> list[Piece]:
        """Return the pieces of a part without special tokens that begins at ``start``."""
        words = self._split(text)
        found = []
        for word, spans in zip(words, align(words, text), strict=True):
            begin = 0
            for piece, i in zip(*self._words[word], strict=True):
                end = begin + len(piece.removesuffix(END_OF_WORD))
                found.append(Piece(piece, i, (start + spans[begin][0], start + spans[end - 1][1])))
                begin = end
        return found

    def _ids(self, text: str, *, parse_special: bool = True) -> list[int]:
        """Return the ids that ``analyse`` finds, without computing the spans."""
        return [i for word in self._merged_words(text, parse_special) for i in word.ids]

    def _merged_words(self, text: str, parse_special: bool) -> Iterator[Word]:
        """Yield the words of a text, split into pieces; a special token is a word of one piece."""
        for part, special in self._parts(text, parse_special):
            if special:
                yield Word((part,), (self.vocab[part],))
            else:
                yield from map(self._words.__getitem__, self._split(part))

    def _parts(self, text: str, parse_special: bool) -> list[tuple[str, bool]]:
        """Split a text at its special tokens; return each part and whether it is a special token."""
        if not parse_special:
            return [(checked_text(text), False)]
        return [(part, i % 2 == 1) for i, part in enumerate(self._special.split(checked_text(text))) if part]

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """Return the ids of one text or pair as a list (with return_tensors="np": (1, T)); the options of a call."""
        ids = self.encode_plus(text, text_pair, **options)["input_ids"]
        return ids[0].tolist() if options.get("return_tensors") is None else ids

    encode_plus, batch_encode_plus = batch.encode_plus, batch.batch_encode_plus
    prepare_for_model, truncate_sequences, pad = batch.prepare_for_model, batch.truncate_sequences, padding.pad

    def tokenize(self, text: str, *, parse_special: bool = True) -> list[str]:
        """Return the pieces of a text, without the leading ``</s>``."""
        return [piece for word in self._merged_words(text, parse_special) for piece in word.pieces]

    def decode(
        self, ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """Return the text of ids: (T,) integers, or a single one.

        Raises
        ------
        InputError
            For an id that is not in the vocabulary (transformers decodes it as ``<unk>``).
        """
        pieces = self.convert_ids_to_tokens(ids, skip_special_tokens)
        text = self.convert_tokens_to_string([pieces] if isinstance(pieces, str) else pieces)
        clean = clean_up_tokenization_spaces
        return clean_up(text) if (self.clean_up_tokenization_spaces if clean is None else clean) else text

    def batch_decode(self, rows: Iterable[Any], **options: Any) -> list[str]:
        """Return the text of each row of ids; the options are those of ``decode``."""
        if not isinstance(rows, Iterable):
            raise InputError("rows must be a list of rows of ids", type(rows).__name__, "decode one row with decode")
        return [self.decode(row, **options) for row in rows]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> list[str] | str:
        """Return the piece of each id; for a single id, its piece (special or not)."""
        plain = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(plain, int):
            return self._piece(plain)
        if not isinstance(plain, Iterable):
            raise InputError("ids must be integers", type(ids).__name__, "pass a row of ids")
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        pieces = [(self._piece(i), i) for i in plain]
        return [piece for piece, i in pieces if i not in skipped]

    def _piece(self, i: Any) -> str:
        if i in self.soft_prompt_ids:
            return f"learned{i - self.soft_prompt_ids.start + 1}{END_OF_WORD}"
        if isinstance(i, bool) or not isinstance(i, int | np.integer) or int(i) not in self.pieces:
            must = f"an id must be an integer in the vocabulary, 0 to {max(self.pieces)}"
            raise InputError(must, repr(i), "pass one row of ids generated with this tokenizer's model")
        return self.pieces[int(i)]

    def convert_tokens_to_ids(self, pieces: str | Iterable[str]) -> list[int] | int:
        """Return the id of each piece (for a single string, its id); unknown pieces have the id of ``<unk>``."""
        if isinstance(pieces, str):
            return self.vocab.get(pieces, self.unk_token_id)
        return [self.vocab.get(piece, self.unk_token_id) for piece in checked_strings(pieces)]

    def convert_tokens_to_string(self, pieces: Iterable[str]) -> str:
        """Turn pieces into text: join them, split at the ends of words, and let Moses set spaces and unescape."""
        words = "".join(piece.replace(" ", "").replace(END_OF_WORD, " ") for piece in checked_strings(pieces))
        return self._unsplit(words.split())

    def save_vocabulary(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write vocab.json and merges.txt as transformers reads them, each atomically."""
        return write_vocabulary(Path(folder), self.vocab, self.ranks)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write vocab.json, merges.txt and tokenizer_config.json as transformers reads them, each atomically."""
        self.save_vocabulary(folder)
        write_settings(Path(folder), {key: x for key, x in self._options().items() if key != "soft_prompt"})

    @property
    def vocab_size(self) -> int:
        """The number of pieces."""
        return len(self.vocab)

    def __len__(self) -> int:
        return len(self.vocab)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the constructor's arguments, without the cached words."""
        return partial(type(self), **self._options()), (self.vocab, sorted(self.ranks, key=self.ranks.__getitem__))

    def _options(self) -> dict[str, Any]:
        return {
            **self.special_tokens,
            "additional_special_tokens": self.additional_special_tokens,
            "padding_side": self.padding_side,
            "model_max_length": self.model_max_length,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "soft_prompt": len(self.soft_prompt_ids),
        }

    def __repr__(self) -> str:
        return f"<BioGptTokenizer of {len(self.vocab)} pieces, {len(self.ranks)} merges, pads {self.padding_side}>"
