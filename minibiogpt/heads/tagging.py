"""Labels of tokens to labelled spans of text: which pieces belong together, and where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OUTSIDE = "O"
STRATEGIES = ("first", "simple")
BEGIN, INSIDE, LAST, ALONE = "B", "I", "EL", "SU"  # of the schemes IOB2, BIOES and BILOU


class Tagged(NamedTuple):
    """One piece: [start, end) in the original text, its label, how probable that is, and whether it ends its word."""

    span: tuple[int, int]
    label: str
    score: float
    ends_word: bool = True


class Entity(NamedTuple):
    """A stretch [start, end) of the original text, what it is, and the mean probability of its pieces' labels."""

    label: str
    start: int
    end: int
    score: float


def entities(tagged: Sequence[Tagged], strategy: str = "first") -> list[Entity]:
    """Join neighbouring pieces of one label, prefixes B- I- E- L- S- U- understood; what is "O" belongs to nothing.

    Parameters
    ----------
    strategy : "first": a word has the label of its first piece, as models are trained that have no label for the
        others; "simple": each piece has its own.

    Examples
    --------
    >>> ibuprofen = [Tagged((0, 3), "B-DRUG", 0.9, ends_word=False), Tagged((3, 9), "O", 0.6)]
    >>> entities([*ibuprofen, Tagged((10, 15), "O", 0.8)])
    [Entity(label='DRUG', start=0, end=9, score=0.9)]
    """
    groups: list[list[Tagged]] = []
    before = OUTSIDE
    for word in _words(tagged) if strategy == "first" else [[one] for one in tagged]:
        label = word[0].label
        if _continues(before, label):
            groups[-1] += word
        elif label != OUTSIDE:
            groups.append(list(word))
        before = label
    return [_entity(group) for group in groups]


def _continues(before: str, label: str) -> bool:
    """Whether a piece of this label belongs to the same entity as the piece before it."""
    (ended, kind), (begun, same) = _parted(before), _parted(label)
    return (
        OUTSIDE not in (before, label)
        and kind == same
        and begun in ("", INSIDE, *LAST)
        and ended not in (*LAST, *ALONE)
    )


def _words(tagged: Sequence[Tagged]) -> list[list[Tagged]]:
    """The pieces of each word, each with the label and the score of the word's first."""
    words: list[list[Tagged]] = []
    open_word = False
    for one in tagged:
        if open_word:
            first = words[-1][0]
            words[-1].append(one._replace(label=first.label, score=first.score))
        else:
            words.append([one])
        open_word = not one.ends_word
    return words


def _parted(label: str) -> tuple[str, str]:
    """Prefix and kind: of "B-DRUG" these are B and DRUG, of "DRUG" none and DRUG."""
    prefix, dash, kind = label.partition("-")
    known = dash and prefix in (BEGIN, INSIDE, *LAST, *ALONE)
    return (prefix, kind) if known else ("", label)


def _entity(group: list[Tagged]) -> Entity:
    score = sum(one.score for one in group) / len(group)
    return Entity(_parted(group[0].label)[1], group[0].span[0], group[-1].span[1], score)
