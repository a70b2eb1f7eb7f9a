"""Which word each piece of a text belongs to, and texts that are already split into words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from minibiogpt.tokenizer import BioGptTokenizer, Piece
from minibiogpt.tokenizer.bpe import END_OF_WORD


def word_starts(words: Sequence[str], delimiter: str = " ") -> list[int]:
    """Return where each word starts in ``delimiter.join(words)``.

    Examples
    --------
    >>> word_starts(["BRCA1", "gene"])
    [0, 6]
    """
    starts, start = [], 0
    for word in words:
        starts.append(start)
        start += len(word) + len(delimiter)
    return starts


def analyse_words(
    tokenizer: BioGptTokenizer, words: Sequence[str], *, parse_special: bool = True, delimiter: str = " "
) -> list[Piece]:
    """Return the pieces of words that are encoded one by one; their spans are places in ``delimiter.join(words)``.

    Examples
    --------
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> [piece.span for piece in analyse_words(tok, ["pain", "(a)"])]
    [(0, 4), (5, 6), (6, 7), (7, 8)]
    """
    found = []
    for start, word in zip(word_starts(words, delimiter), words, strict=True):
        for piece in tokenizer.analyse(word, parse_special=parse_special):
            found.append(Piece(piece.piece, piece.id, (start + piece.span[0], start + piece.span[1])))
    return found


def word_at(starts: Sequence[int], place: int) -> int:
    """Return the index of the word that the character at ``place`` belongs to.

    Examples
    --------
    >>> [word_at([0, 6], place) for place in (0, 4, 6)]
    [0, 0, 1]
    """
    return max(bisect_right(starts, place) - 1, 0)


def word_ids(tokenizer: BioGptTokenizer, pieces: Sequence[Piece], starts: Sequence[int] | None = None) -> list[int]:
    """Return the number of the word that each piece belongs to.

    Parameters
    ----------
    starts : where the words start in the text, if it was split into words before; otherwise a word ends with the piece
        that has the end-of-word mark, and added and special tokens are words of their own.

    Examples
    --------
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> word_ids(tok, tok.analyse("a zzz </s>"))
    [0, 1, 1, 2]
    """
    if starts is not None:
        return [word_at(starts, piece.span[0]) for piece in pieces]
    alone = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    found, word = [], 0
    for i, piece in enumerate(pieces):
        before = pieces[i - 1].piece if i else ""
        if i and (before.endswith(END_OF_WORD) or before in alone or piece.piece in alone):
            word += 1
        found.append(word)
    return found
