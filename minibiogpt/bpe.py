"""Byte-pair merges of one word, and where each character of a Moses token stands in the original text."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

END_OF_WORD = "</w>"
ESCAPES = {
    "&amp;": "&",
    "&#124;": "|",
    "&lt;": "<",
    "&gt;": ">",
    "&apos;": "'",
    "&quot;": '"',
    "&#91;": "[",
    "&#93;": "]",
}
SPLIT_DASH = "@-@"  # what Moses writes for a dash between two letters or digits

Span = tuple[int, int]


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


def align(tokens: Sequence[str], text: str) -> list[list[Span]]:
    """For every character of every Moses token, its [start, end) in the text that Moses was given.

    Moses drops blanks and control characters, writes ``@-@`` for a dash within a word and ``&apos;`` and the like for
    & < > ' " | [ ]. All characters of such an escape stand for the one original character. Should anything else
    have been rewritten, its characters get the empty span at the place that was reached.
    """
    cursor, spans = 0, []
    for token in tokens:
        here, cursor = _align_token(token, text, cursor)
        spans.append(here)
    return spans


def _align_token(token: str, text: str, cursor: int) -> tuple[list[Span], int]:
    start = _skip_blanks(text, cursor)
    if token == SPLIT_DASH and text[start : start + 1] == "-":
        return [(start, start + 1)] * len(token), start + 1
    spans: list[Span] = []
    i = 0
    while i < len(token):
        escape = next((e for e in ESCAPES if token.startswith(e, i)), "") if token[i] == "&" else ""
        span, cursor = _find(ESCAPES.get(escape, token[i]), text, cursor)
        spans += [span] * (len(escape) or 1)
        i += len(escape) or 1
    return spans, cursor


def _find(character: str, text: str, cursor: int, reach: int = 8) -> tuple[Span, int]:
    """The character at or shortly after the cursor; the empty span at the cursor when it is not there."""
    start = _skip_blanks(text, cursor)
    if text[start : start + 1] != character:
        start = text.find(character, start, start + reach)
    return ((cursor, cursor), cursor) if start < 0 else ((start, start + 1), start + 1)


def _skip_blanks(text: str, cursor: int) -> int:
    while cursor < len(text) and (text[cursor].isspace() or text[cursor] < " "):
        cursor += 1
    return cursor
