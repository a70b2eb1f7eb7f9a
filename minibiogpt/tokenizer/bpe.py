"""Byte-pair merges of a word, and a cache of merged words."""

from __future__ import annotations

import heapq
import sys
from typing import NamedTuple

END_OF_WORD = "</w>"
MAX_WORDS = 1 << 16  # cached with their pieces and ids: about 24 MB for ordinary words,
MAX_WORD_LENGTH = 64  # or 72 MB if all had this length; longer words are not cached


class Word(NamedTuple):
    """The pieces of a word and their ids."""

    pieces: tuple[str, ...]
    ids: tuple[int, ...]


class Words(dict[str, Word]):
    """A cache {word: its pieces and ids}; a word is merged on its first access.

    A piece that is not in the vocabulary has the id ``unknown``. When the cache holds MAX_WORDS, it is cleared;
    frequent words are soon back.

    Examples
    --------
    >>> words = Words({("a", "b</w>"): 0}, {"a": 4, "ab</w>": 6, "<unk>": 3}, unknown=3)
    >>> words["ab"], words["ac"].ids
    (Word(pieces=('ab</w>',), ids=(6,)), (4, 3))
    """

    def __init__(self, ranks: dict[tuple[str, str], int], vocab: dict[str, int], unknown: int) -> None:
        super().__init__()
        self.ranks, self.vocab, self.unknown = ranks, vocab, unknown

    def __missing__(self, word: str) -> Word:
        pieces = tuple(map(sys.intern, merge_word(word, self.ranks))) if word else ()  # interned: one copy each
        found = Word(pieces, tuple(self.vocab.get(piece, self.unknown) for piece in pieces))
        if len(word) <= MAX_WORD_LENGTH:
            if len(self) >= MAX_WORDS:
                self.clear()
            self[word] = found
        return found


def merge_word(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Split a word into pieces: merge all occurrences of the pair of lowest rank, until no pair has a rank.

    Pairs are in a heap and symbols in a linked list, so a word of n characters takes O(n log n) steps, not O(n^2).

    Examples
    --------
    >>> ranks = {("n", "</w>"): 9, ("e", "r"): 0, ("er", "s"): 1, ("er", "r</w>"): 2}
    >>> merge_word("errs", ranks), merge_word("err", ranks)
    (['er', 'r', 's</w>'], ['err</w>'])
    """
    symbols: list[str | None] = [*word[:-1], word[-1] + END_OF_WORD]  # None: merged into its left neighbor
    after = list(range(1, len(symbols) + 1))  # linked list: the index of the next symbol
    before = list(range(-1, len(symbols) - 1))  # and of the previous one
    heap: list[tuple[int, int, str, str]] = []

    def push(i: int) -> None:
        if i >= 0 and after[i] < len(symbols):
            left, right = symbols[i], symbols[after[i]]
            assert left is not None
            assert right is not None
            if (left, right) in ranks:
                heapq.heappush(heap, (ranks[left, right], i, left, right))

    for i in range(len(symbols) - 1):
        push(i)
    while heap:
        rank = heap[0][0]
        touched = []
        while heap and heap[0][0] == rank:  # one round: all occurrences of this pair, from the left
            _, i, left, right = heapq.heappop(heap)
            j = after[i]
            if symbols[i] != left or j >= len(symbols) or symbols[j] != right:
                continue  # outdated: one of the two was merged meanwhile
            symbols[i], symbols[j] = left + right, None
            after[i] = after[j]
            if after[i] < len(symbols):
                before[after[i]] = i
            touched += [before[i], i]
        for i in touched:
            if i >= 0 and symbols[i] is not None:
                push(i)
    return [symbol for symbol in symbols if symbol is not None]
