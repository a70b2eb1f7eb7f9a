"""Byte-pair merges of one word, and the words that were merged before."""

from __future__ import annotations

import heapq
import sys
from typing import NamedTuple

END_OF_WORD = "</w>"
MOST_WORDS = 1 << 16  # are kept with their pieces and ids: about 24 MB of usual words,
LONGEST = 64  # and 72 MB if all had this length; longer ones are not kept


class Word(NamedTuple):
    """The pieces of a word, and the id of each."""

    pieces: tuple[str, ...]
    ids: tuple[int, ...]


class Words(dict[str, Word]):
    """{word: its pieces and ids}, merged when first asked for.

    A piece that the vocabulary lacks has the id ``unknown``. When there are MOST_WORDS, all are forgotten: the
    frequent ones are soon back.

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
        pieces = tuple(map(sys.intern, merge_word(word, self.ranks))) if word else ()  # interned: kept once for all
        found = Word(pieces, tuple(self.vocab.get(piece, self.unknown) for piece in pieces))
        if len(word) <= LONGEST:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = found
        return found


def merge_word(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Split a word into pieces: the pair of lowest rank is merged everywhere, until no pair has a rank.

    The pairs wait in a heap and the symbols in a linked list, so a word of n characters costs n log n steps, not n^2.

    Examples
    --------
    >>> ranks = {("n", "</w>"): 9, ("e", "r"): 0, ("er", "s"): 1, ("er", "r</w>"): 2}
    >>> merge_word("errs", ranks), merge_word("err", ranks)
    (['er', 'r', 's</w>'], ['err</w>'])
    """
    symbols: list[str | None] = [*word[:-1], word[-1] + END_OF_WORD]  # None: merged into its left neighbour
    after = list(range(1, len(symbols) + 1))
    before = list(range(-1, len(symbols) - 1))
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
        while heap and heap[0][0] == rank:  # one round: every place of this pair, from the left
            _, i, left, right = heapq.heappop(heap)
            j = after[i]
            if symbols[i] != left or j >= len(symbols) or symbols[j] != right:
                continue  # something here was merged since
            symbols[i], symbols[j] = left + right, None
            after[i] = after[j]
            if after[i] < len(symbols):
                before[after[i]] = i
            touched += [before[i], i]
        for i in touched:
            if i >= 0 and symbols[i] is not None:
                push(i)
    return [symbol for symbol in symbols if symbol is not None]
