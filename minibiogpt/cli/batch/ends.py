"""The first or the last pieces of a text, without encoding all of a very long one.

Encoding takes a hundred times the memory of a text, and a minute for 8 MB. Moses and byte-pair encoding decide by what
is near, so a part of the text gives the same pieces, except near its cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from minibiogpt.tokenizer import Piece

Analyse = Callable[[str], list[Piece]]
PART = 1 << 16  # characters encoded first; pieces in the half at the cut are not used
SPACE = re.compile(r"\s")


def first_pieces(analyse: Analyse, text: str, most: int) -> list[Piece]:
    """Return the first ``most`` pieces of a text, or all if it has fewer.

    Examples
    --------
    >>> from minibiogpt import BioGptTokenizer
    >>> [p.span for p in first_pieces(BioGptTokenizer.from_pretrained("demo").analyse, "a b " * 10**6, 2)]
    [(0, 1), (2, 3)]
    """
    size = PART
    while size < len(text):
        found = analyse(text[:size])
        if len(found) >= most and (not most or found[most - 1].span[1] <= size // 2):
            return found[:most]
        size *= 4
    return analyse(text)[:most]


def last_pieces(analyse: Analyse, text: str, most: int) -> list[Piece]:
    """Return the last ``most`` pieces of a text, or all if it has fewer; spans count from somewhere in a long text.

    A part begins at a word, unless a single word is longer than half of it; then the pieces of that word may differ
    from those of the whole word.
    """
    size = PART
    while size < len(text):
        part = text[-size:]
        space = SPACE.search(part, 0, size // 2)
        part = part[space.end() :] if space else part
        found = analyse(part)[-most:]
        if len(found) == most and found[0].span[0] >= len(part) - size // 2:
            return found
        size *= 4
    return analyse(text)[-most:]


def counted(analyse: Analyse, text: str, N: int) -> str:
    """Say how many tokens, ``</s>`` included, a text of more than N has; those of a very long one are not counted."""
    return str(len(analyse(text)) + 1) if len(text) <= PART else f"more than {N}"


def first_of_words(analyse: Analyse, words: Iterable[str], most: int) -> list[Piece]:
    """Return the first ``most`` pieces of words that are encoded one by one; spans are places in " ".join(words)."""
    found: list[Piece] = []
    start = 0
    for word in words:
        for piece in first_pieces(analyse, word, most - len(found)):
            found.append(Piece(piece.piece, piece.id, (start + piece.span[0], start + piece.span[1])))
        if len(found) == most:
            break
        start += len(word) + 1
    return found
