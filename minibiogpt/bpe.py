"""Byte-pair merges of one word."""

from __future__ import annotations

import heapq

END_OF_WORD = "</w>"


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
