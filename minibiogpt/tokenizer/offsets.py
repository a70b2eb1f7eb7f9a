"""The position of each character of a Moses token in the original text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

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
_ESCAPE_OR_CHARACTER = re.compile("|".join(map(re.escape, ESCAPES)) + "|.", re.DOTALL)
# sacremoses marks k dots as DOT ... DOTMULTI, and mistakes that word in a text for its own mark
_DOT_MARK_OR_CHARACTER = re.compile(r"(?<!DOT)(?:DOT)+MULTI|\S")

Span = tuple[int, int]  # [start, end) in the original text


def align(tokens: Sequence[str], text: str) -> list[list[Span]]:
    """Return, for every character of every Moses token, its [start, end) in the text that Moses was given.

    Moses drops spaces and ASCII control characters, writes ``@-@`` for a dash within a word and escapes such as
    ``&apos;`` for & < > ' " | [ ], and turns the word DOTMULTI in a text into a dot. All characters of such a
    replacement have the span of the original character (or word). Moses leaves everything else unchanged: with these
    replacements undone, tokens and text are the same string. If they ever differ (another sacremoses), the part that
    differs has one span, the smallest between the equal beginning and the equal end.

    Examples
    --------
    >>> align(["a", "@-@", "b"], "a-b")
    [[(0, 1)], [(1, 2), (1, 2), (1, 2)], [(2, 3)]]
    """
    return [list(spans) for spans in aligned(tokens, text)]


def aligned(tokens: Sequence[str], text: str) -> Iterator[Sequence[Span]]:
    """Yield what ``align`` returns token by token, since all spans of a text take a hundred times its memory."""
    starts = _scan(tokens, text)
    if starts is None:
        yield from _compare(tokens, text)
        return
    for token, start in zip(tokens, starts, strict=True):
        if "&" not in token and token != SPLIT_DASH:
            yield Characters(start, start + len(token))
            continue
        characters = _characters(token)
        yield [(start + i, start + i + 1) for i, (_, width) in enumerate(characters) for _ in range(width)]


class Characters(Sequence[Span]):
    """The spans of the characters from ``start`` to ``end``, each made when it is asked for.

    Examples
    --------
    >>> list(Characters(3, 5))
    [(3, 4), (4, 5)]
    """

    def __init__(self, start: int, end: int) -> None:
        self._places = range(start, end)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: Any) -> Any:
        place = self._places[i]
        return place, place + 1


def _scan(tokens: Sequence[str], text: str) -> list[int] | None:
    """Return where each token of ordinary text starts; None if the text is not just the tokens in order.

    This happens if Moses dropped a control character within a word or found the word DOTMULTI.
    """
    found: list[int] = []
    start = 0
    for token in tokens:
        start = _next_kept(text, start)
        characters = _characters(token) if "&" in token or token == SPLIT_DASH else None
        end = start + len(characters or token)
        if text[start:end] != ("".join(c for c, _ in characters) if characters else token):
            return None
        found.append(start)
        start = end
    return found if _next_kept(text, start) == len(text) else None


def _next_kept(text: str, start: int) -> int:
    """Return the index of the first character, from ``start`` on, that Moses keeps."""
    while start < len(text) and (text[start] <= " " or text[start].isspace()):
        start += 1
    return start


def _compare(tokens: Sequence[str], text: str) -> list[list[Span]]:
    """Return the spans of any text, from a comparison of Moses' whole output with all the text that it kept."""
    written = [_characters(token) for token in tokens]
    spans = iter(_match("".join(character for token in written for character, _ in token), _kept(text)))
    return [[span for _, width in token for span in [next(spans)] * width] for token in written]


def _characters(token: str) -> list[tuple[str, int]]:
    """Return the original characters of a Moses token, each with the number of characters that it became."""
    if token == SPLIT_DASH:
        return [("-", len(token))]
    if "&" not in token:
        return [(character, 1) for character in token]
    return [(ESCAPES.get(part, part), len(part)) for part in _ESCAPE_OR_CHARACTER.findall(token)]


def _kept(text: str) -> list[tuple[str, Span]]:
    """Return the characters that Moses keeps, in order, with their spans."""
    if "MULTI" not in (kept := "".join(c for c in text if c.isspace() or c >= " ")):
        return [(c, (i, i + 1)) for i, c in enumerate(text) if not c.isspace() and c >= " "]
    indices = [i for i, c in enumerate(text) if c.isspace() or c >= " "]
    found = []
    for match in _DOT_MARK_OR_CHARACTER.finditer(kept):
        span = indices[match.start()], indices[match.end() - 1] + 1
        dots = (match.end() - match.start() - len("MULTI")) // len("DOT")
        found += [(".", span)] * dots if dots > 0 else [(match[0], span)]
    return found


def _match(written: str, kept: list[tuple[str, Span]]) -> list[Span]:
    """Return the span of each character that Moses wrote."""
    original = "".join(character for character, _ in kept)
    if written == original:
        return [span for _, span in kept]
    short = min(len(written), len(original))
    head = _common_prefix(written, original)
    tail = min(_common_prefix(written[::-1], original[::-1]), short - head)
    between = [span for _, span in kept[head : len(kept) - tail]]
    before, after = [span for _, span in kept[:head]], [span for _, span in kept[len(kept) - tail :]]
    end = before[-1][1] if before else 0
    region = (between[0][0], between[-1][1]) if between else (end, end)
    return before + [region] * (len(written) - head - tail) + after


def _common_prefix(a: str, b: str) -> int:
    """Return the length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
