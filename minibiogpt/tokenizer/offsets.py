"""Where each character of a Moses token stands in the original text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

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
_WRITTEN = re.compile("|".join(map(re.escape, ESCAPES)) + "|.", re.DOTALL)
# sacremoses marks k dots by DOT ... DOTMULTI, and takes that word in a text for its own mark
_MARKED_OR_SHOWN = re.compile(r"(?:DOT)+MULTI|\S")

Span = tuple[int, int]  # [start, end) in the original text


def align(tokens: Sequence[str], text: str) -> list[list[Span]]:
    """For every character of every Moses token, its [start, end) in the text that Moses was given.

    Moses drops blanks and ASCII control characters, writes ``@-@`` for a dash within a word and ``&apos;`` and the
    like for & < > ' " | [ ], and turns the word DOTMULTI in a text into a dot. All characters of such a rewriting
    stand for the original character (or word). Everything else it leaves as it is, so what both sides have left is
    the same string. Should it ever not be (another sacremoses), what differs gets one span, the smallest that leaves
    the equal beginning and end in their places.

    Examples
    --------
    >>> align(["a", "@-@", "b"], "a-b")
    [[(0, 1)], [(1, 2), (1, 2), (1, 2)], [(2, 3)]]
    """
    found = _walked(tokens, text)
    return _compared(tokens, text) if found is None else found


def _walked(tokens: Sequence[str], text: str) -> list[list[Span]] | None:
    """The spans of ordinary text, found in one walk through it; None where the tokens do not follow each other there.

    They do not where Moses dropped a control character within a word or met the word DOTMULTI.
    """
    found: list[list[Span]] = []
    at = 0
    for token in tokens:
        at = _skipped(text, at)
        characters = _characters(token) if "&" in token or token == SPLIT_DASH else None
        end = at + len(characters or token)
        if text[at:end] != ("".join(c for c, _ in characters) if characters else token):
            return None
        spans = list(zip(range(at, end), range(at + 1, end + 1), strict=True))
        if characters:
            spans = [span for span, (_, width) in zip(spans, characters, strict=True) for span in [span] * width]
        found.append(spans)
        at = end
    return found if _skipped(text, at) == len(text) else None


def _skipped(text: str, at: int) -> int:
    """The next place, from ``at``, of a character that Moses keeps."""
    while at < len(text) and (text[at] <= " " or text[at].isspace()):
        at += 1
    return at


def _compared(tokens: Sequence[str], text: str) -> list[list[Span]]:
    """The spans of any text: all that Moses wrote is compared with all that it can have seen."""
    written = [_characters(token) for token in tokens]
    spans = iter(_matched("".join(character for token in written for character, _ in token), _shown(text)))
    return [[span for _, width in token for span in [next(spans)] * width] for token in written]


def _characters(token: str) -> list[tuple[str, int]]:
    """The original characters of a Moses token, each with how many characters of the token it became."""
    if token == SPLIT_DASH:
        return [("-", len(token))]
    if "&" not in token:
        return [(character, 1) for character in token]
    return [(ESCAPES.get(part, part), len(part)) for part in _WRITTEN.findall(token)]


def _shown(text: str) -> list[tuple[str, Span]]:
    """The characters that Moses keeps, in order, and their spans."""
    if "MULTI" not in (kept := "".join(c for c in text if c.isspace() or c >= " ")):
        return [(c, (i, i + 1)) for i, c in enumerate(text) if not c.isspace() and c >= " "]
    places = [i for i, c in enumerate(text) if c.isspace() or c >= " "]
    shown = []
    for found in _MARKED_OR_SHOWN.finditer(kept):
        span = places[found.start()], places[found.end() - 1] + 1
        dots = (found.end() - found.start() - len("MULTI")) // len("DOT")
        shown += [(".", span)] * dots if dots > 0 else [(found[0], span)]
    return shown


def _matched(written: str, shown: list[tuple[str, Span]]) -> list[Span]:
    """The span of each character that Moses wrote."""
    original = "".join(character for character, _ in shown)
    if written == original:
        return [span for _, span in shown]
    short = min(len(written), len(original))
    head = _common(written, original)
    tail = min(_common(written[::-1], original[::-1]), short - head)
    between = [span for _, span in shown[head : len(shown) - tail]]
    before, after = [span for _, span in shown[:head]], [span for _, span in shown[len(shown) - tail :]]
    place = before[-1][1] if before else 0
    region = (between[0][0], between[-1][1]) if between else (place, place)
    return before + [region] * (len(written) - head - tail) + after


def _common(one: str, other: str) -> int:
    """How many first characters are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
