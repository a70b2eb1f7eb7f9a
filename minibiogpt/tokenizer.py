"""BioGptTokenizer: Moses, then byte-pair encoding, and back.

Source: BioGptTokenizer in transformers 4.57, whose ids and text these are; the character offsets are ours.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sacremoses

from minibiogpt.bpe import END_OF_WORD, Span, align, merge_word
from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.files import read_json, write_beside
from minibiogpt.hub import find_model
from minibiogpt.vocabulary import NO_LIMIT, SPECIAL, check_against_model, checked_vocab, read_merges, read_settings


class Piece(NamedTuple):
    """One token of a text: its piece of a word, its id, and its [start, end) in the original text."""

    piece: str
    id: int
    span: Span


class BioGptTokenizer:
    """Text to ids and back.

    ``</s>`` stands in front of every text (and of the second of a pair), nothing at the end. A word's last piece ends
    in ``</w>``. Decoding is lossy by design: Moses cannot know which blanks there were.

    Parameters
    ----------
    vocab : {piece: id}, in any order. merges : pairs of pieces, the most frequent first.
    padding_side : "right" as in transformers, unless tokenizer_config.json says "left", as generation wants it.

    Examples
    --------
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> tok.decode(tok.encode("Ibuprofen treats pain (mild)."), skip_special_tokens=True)
    'Ibuprofen treats pain (mild).'
    >>> tok.tokenize("a < b")  # Moses writes &lt; for <
    ['a</w>', '&', 'l', 't', ';</w>', 'b</w>']
    """

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Iterable[tuple[str, str]],
        *,
        padding_side: str = "right",
        model_max_length: int = NO_LIMIT,
        **special: str,
    ) -> None:
        self.vocab = checked_vocab(vocab)
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.pieces = {i: piece for piece, i in self.vocab.items()}
        self.padding_side, self.model_max_length = _side(padding_side), model_max_length
        self.special_tokens = {name: special.get(name, token) for name, token in SPECIAL.items()}
        for name, token in self.special_tokens.items():
            if token not in self.vocab:
                raise InputError(
                    f"the vocabulary must hold {name} {token}", "no such piece", "use the model's own files"
                )
        self.bos_token, self.pad_token, self.eos_token, self.unk_token = self.special_tokens.values()
        self.bos_token_id, self.pad_token_id, self.eos_token_id, self.unk_token_id = self.all_special_ids
        longest_first = sorted(self.special_tokens.values(), key=len, reverse=True)
        self._special = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._moses = sacremoses.MosesTokenizer(lang="en")
        self._unmoses = sacremoses.MosesDetokenizer(lang="en")
        self._merged = lru_cache(maxsize=1 << 16)(lambda word: merge_word(word, self.ranks))

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> BioGptTokenizer:
        """Read vocab.json, merges.txt (2 or 3 columns) and tokenizer_config.json of "demo", a folder or a hub id.

        Raises
        ------
        CheckpointError
            If a file is absent or senseless, or the vocabulary has more pieces than the model has embeddings.
        """
        folder = find_model(name)
        vocab = read_json(folder / "vocab.json", "a tokenizer needs vocab.json")
        try:
            tokenizer = cls(vocab, read_merges(folder / "merges.txt"), **read_settings(folder))
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {folder}", error.remedy) from None
        check_against_model(folder, max(tokenizer.pieces) + 1)
        return tokenizer

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        *,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        padding_side: str | None = None,
        add_special_tokens: bool = True,
        parse_special: bool = True,
        return_offsets: bool = False,
    ) -> dict[str, np.ndarray]:
        """Encode a text or a batch.

        Parameters
        ----------
        text, text_pair : a string (a batch of 1) or a list of strings.
        padding : False, True or "longest" (to the longest here), or "max_length".
        truncation : cut each row to ``max_length`` (default: the model's), from the right; of a pair the longer first.
        parse_special : whether ``</s>`` and the like in the text are special tokens (as in transformers) or text.
        return_offsets : also "offsets" (B, T, 2): token t is text[start:end], [start, end) in the original text
            (of a pair, in its own). Exact where Moses only splits; an escape (&apos;) or a split dash (@-@) has the one
            character it stands for; (0, 0) for what is added here.

        Returns
        -------
        {"input_ids", "attention_mask"}: int64 arrays (B, T), 1 = real, 0 = padding.
        """
        texts, pairs = _batch("text", text), None if text_pair is None else _batch("text_pair", text_pair)
        if pairs is not None and len(pairs) != len(texts):
            found = f"{len(texts)} texts and {len(pairs)} pairs"
            raise InputError("text and text_pair must be equally many", found, "give each text one pair")
        limit = self._limit(max_length) if truncation else NO_LIMIT
        rows = []
        for i, one in enumerate(texts):
            parts = [one] if pairs is None else [one, pairs[i]]
            encoded = [self.analyse(part, parse_special=parse_special) for part in parts]
            rows.append(self._joined(encoded, add_special_tokens, limit))
        width = self._width([len(row) for row in rows], padding, max_length)
        left = _side(padding_side or self.padding_side) == "left"
        padded = [self._padded(row, width, left) for row in rows]
        result = {
            "input_ids": np.array([[p.id for p, _ in row] for row in padded], dtype=np.int64),
            "attention_mask": np.array([[real for _, real in row] for row in padded], dtype=np.int64),
        }
        if return_offsets:
            spans = np.array([[p.span for p, _ in row] for row in padded], dtype=np.int64)
            result["offsets"] = spans.reshape(len(rows), width, 2)
        return result

    def analyse(self, text: str, *, parse_special: bool = True) -> list[Piece]:
        """The pieces of a text, each with its id and its place; nothing is added."""
        found: list[Piece] = []
        start = 0
        for part in self._special.split(text) if parse_special else [text]:
            if parse_special and part in self.special_tokens.values():
                found.append(Piece(part, self.vocab[part], (start, start + len(part))))
            elif part:
                found += self._words(part, start)
            start += len(part)
        return found

    def _words(self, text: str, start: int) -> list[Piece]:
        """The pieces of a stretch of ordinary text that begins at ``start``."""
        words = self._moses.tokenize(text, aggressive_dash_splits=True, return_str=False, escape=True)
        found = []
        for word, spans in zip(words, align(words, text), strict=True):
            at = 0
            for piece in self._merged(word) if word else ():
                end = at + len(piece.removesuffix(END_OF_WORD))
                span = (start + spans[at][0], start + spans[end - 1][1])
                found.append(Piece(piece, self.vocab.get(piece, self.unk_token_id), span))
                at = end
        return found

    def _joined(self, parts: list[list[Piece]], add_special: bool, limit: int) -> list[Piece]:
        """``</s>`` and part, ``</s>`` and part, cut to ``limit`` in all."""
        opening = [Piece(self.eos_token, self.eos_token_id, (0, 0))] if add_special else []
        surplus = sum(len(opening) + len(part) for part in parts) - limit
        if surplus > 0:
            cuts = _cuts([len(part) for part in parts], surplus)
            parts = [part[: max(len(part) - cut, 0)] for part, cut in zip(parts, cuts, strict=True)]
        return [piece for part in parts for piece in [*opening, *part]]

    def _padded(self, row: list[Piece], width: int, left: bool) -> list[tuple[Piece, int]]:
        pads = [(Piece(self.pad_token, self.pad_token_id, (0, 0)), 0)] * (width - len(row))
        real = [(piece, 1) for piece in row]
        return pads + real if left else real + pads

    def _width(self, lengths: list[int], padding: bool | str, max_length: int | None) -> int:
        if padding not in (False, True, "longest", "max_length"):
            must = "padding must be False, True, 'longest' or 'max_length'"
            raise InputError(must, repr(padding), "choose one of these")
        if padding == "max_length":
            return max(*lengths, self._limit(max_length))
        if not padding and len(set(lengths)) > 1:
            must = "the texts of a batch must have equally many tokens, or be padded"
            raise InputError(must, f"lengths {sorted(set(lengths))}", "call with padding=True")
        return max(lengths)

    def _limit(self, max_length: int | None) -> int:
        limit = self.model_max_length if max_length is None else max_length
        if not isinstance(limit, int) or limit < 1 or limit > 1 << 32:
            must = "max_length must be a whole number, 1 or more"
            raise InputError(must, repr(max_length), "give max_length, for this tokenizer's files name none")
        return limit

    def encode(self, text: str, text_pair: str | None = None, **options: Any) -> list[int]:
        """The ids of one text (or one pair) as a list."""
        return self(text, text_pair, **options)["input_ids"][0].tolist()

    def tokenize(self, text: str, *, parse_special: bool = True) -> list[str]:
        """The pieces of a text, without the ``</s>`` in front."""
        return [piece.piece for piece in self.analyse(_batch("text", text)[0], parse_special=parse_special)]

    def decode(self, ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False) -> str:
        """The text of some ids, (T,) integers.

        Raises
        ------
        InputError
            For an id that is not in the vocabulary (transformers takes it for ``<unk>``).
        """
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        pieces = self.convert_ids_to_tokens(ids)
        text = self.convert_tokens_to_string([p for p in pieces if self.vocab[p] not in skipped])
        return _cleaned(text) if clean_up_tokenization_spaces else text

    def batch_decode(self, rows: Iterable[Any], **options: Any) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(row, **options) for row in rows]

    def convert_ids_to_tokens(self, ids: Any) -> list[str]:
        """The piece of each id."""
        found = []
        for i in ids.tolist() if hasattr(ids, "tolist") else ids:
            if isinstance(i, bool) or not isinstance(i, int | np.integer) or int(i) not in self.pieces:
                must = f"an id must be a whole number of the vocabulary, 0 to {max(self.pieces)}"
                raise InputError(must, repr(i), "decode one row of ids that this tokenizer's model made")
            found.append(self.pieces[int(i)])
        return found

    def convert_tokens_to_ids(self, pieces: Iterable[str]) -> list[int]:
        """The id of each piece; a piece that the vocabulary lacks is ``<unk>``."""
        return [self.vocab.get(piece, self.unk_token_id) for piece in pieces]

    def convert_tokens_to_string(self, pieces: Iterable[str]) -> str:
        """Pieces to text: join them, part them where a word ends, and let Moses set blanks and unescape."""
        joined = "".join(piece.replace(" ", "").replace(END_OF_WORD, " ") for piece in pieces)
        return self._unmoses.detokenize(joined.split())

    def save_vocabulary(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write vocab.json and merges.txt as transformers reads them, each beside and renamed."""
        vocab, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        content = json.dumps(self.vocab, ensure_ascii=False, indent=0) + "\n"
        lines = "".join(f"{a} {b}\n" for a, b in sorted(self.ranks, key=lambda pair: self.ranks[pair]))
        write_beside(vocab, lambda beside: beside.write_text(content, encoding="utf-8"))
        write_beside(merges, lambda beside: beside.write_text(lines, encoding="utf-8", newline="\n"))
        return vocab, merges

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of ``<s> <pad> </s> <unk>``, in this order."""
        return [self.vocab[token] for token in self.special_tokens.values()]

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return len(self.vocab)

    def __len__(self) -> int:
        return len(self.vocab)

    def __repr__(self) -> str:
        return f"<BioGptTokenizer of {len(self.vocab)} pieces, {len(self.ranks)} merges, pads {self.padding_side}>"


def _batch(name: str, text: object) -> list[str]:
    texts = [text] if isinstance(text, str) else list(text) if isinstance(text, list | tuple) else None
    if not texts or not all(isinstance(one, str) for one in texts):
        kinds = type(text).__name__ if texts is None else f"{len(texts)} of {sorted({type(t).__name__ for t in texts})}"
        raise InputError(f"{name} must be a string or a list of one or more strings", kinds, "decode bytes; drop None")
    return texts


def _cuts(lengths: list[int], surplus: int) -> list[int]:
    """How much each part gives up: of a pair the longer gives until both are equal, then both by turns."""
    if len(lengths) == 1:
        return [surplus]
    first, second = lengths
    uneven = min(abs(first - second), surplus)
    rest = surplus - uneven
    if first > second:
        return [uneven + rest // 2, rest - rest // 2]
    return [rest // 2, uneven + rest - rest // 2]


def _cleaned(text: str) -> str:
    """The blanks that transformers' clean_up_tokenization takes out."""
    for tight in (".", "?", "!", ","):
        text = text.replace(f" {tight}", tight)
    text = text.replace(" ' ", "'")
    for tight in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {tight}", tight)
    return text


def _side(side: str) -> str:
    if side not in ("left", "right"):
        raise InputError("padding_side must be 'left' or 'right'", repr(side), "choose one of these")
    return side
