"""Named entities: turn the labels of tokens into labeled spans of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minibiogpt.errors import InputError, short_repr

OUTSIDE = "O"
STRATEGIES = ("first", "average", "max", "simple")
BEGIN, INSIDE, LAST, SINGLE = "B", "I", "EL", "SU"  # prefixes of the schemes IOB2, BIOES and BILOU


class Tagged(NamedTuple):
    """One token: its span [start, end) in the original text, label, probability, and whether it ends its word."""

    span: tuple[int, int]
    label: str
    score: float
    ends_word: bool = True


class Entity(NamedTuple):
    """A labeled span [start, end) of the original text, with the mean probability of its words' labels.

    With the strategy "simple", it is the mean over its tokens.
    """

    label: str
    start: int
    end: int
    score: float


def word_label(p: np.ndarray, strategy: str) -> tuple[int, float]:
    """Return the label of a word, as an index, and its probability, from those of its tokens, (M, labels).

    Parameters
    ----------
    strategy : "first": the first token's most probable label; "average": the most probable label of the mean over the
        tokens; "max": the most probable label of the token that is most certain, the first of these in a tie.

    Source: the strategies of these names of TokenClassificationPipeline in transformers 4.57.

    Examples
    --------
    >>> p = np.array([[0.5, 0.25, 0.25], [0.125, 0.25, 0.625]])
    >>> [word_label(p, strategy) for strategy in ("first", "average", "max")]
    [(0, 0.5), (2, 0.4375), (2, 0.625)]
    """
    if strategy == "average":
        chosen = p.mean(axis=0)
    elif strategy in ("first", "max"):
        chosen = p[int(p.max(axis=-1).argmax()) if strategy == "max" else 0]
    else:
        raise InputError(
            "the strategy of a word must be first, average or max", short_repr(strategy), "choose one of these"
        )
    best = int(chosen.argmax())
    return best, float(chosen[best])


def entities(tagged: Sequence[Tagged], strategy: str = "first") -> list[Entity]:
    """Join adjacent tokens of one label into entities. Prefixes B- I- E- L- S- U- are understood; "O" is no entity.

    Parameters
    ----------
    strategy : "first": a word has the label of its first token, for models trained to label only that one;
        "simple": each token has its own label.

    Examples
    --------
    >>> ibuprofen = [Tagged((0, 3), "B-DRUG", 0.9, ends_word=False), Tagged((3, 9), "O", 0.6)]
    >>> entities([*ibuprofen, Tagged((10, 15), "O", 0.8)])
    [Entity(label='DRUG', start=0, end=9, score=0.9)]
    """
    if strategy not in ("first", "simple"):
        remedy = "give the tokens of a word its label, see word_label, and use first"
        raise InputError("the strategy of tagged tokens must be first or simple", short_repr(strategy), remedy)
    groups: list[list[Tagged]] = []
    previous = OUTSIDE
    for one in _words(tagged) if strategy == "first" else tagged:
        if _same_entity(previous, one.label):
            groups[-1].append(one)
        elif one.label != OUTSIDE:
            groups.append([one])
        previous = one.label
    return [_entity(group) for group in groups]


def _same_entity(previous: str, label: str) -> bool:
    """Return whether a token of this label belongs to the same entity as the token before it."""
    (previous_prefix, previous_type), (prefix, entity_type) = _split_prefix(previous), _split_prefix(label)
    return (
        OUTSIDE not in (previous, label)
        and previous_type == entity_type
        and prefix in ("", INSIDE, *LAST)
        and previous_prefix not in (*LAST, *SINGLE)
    )


def _words(tagged: Sequence[Tagged]) -> list[Tagged]:
    """Join tokens into words, which have the label and the score of their first token."""
    words: list[Tagged] = []
    open_word = False
    for token in tagged:
        if open_word:
            words[-1] = words[-1]._replace(span=(words[-1].span[0], token.span[1]))
        else:
            words.append(token)
        open_word = not token.ends_word
    return words


def _split_prefix(label: str) -> tuple[str, str]:
    """Split a label into prefix and entity type: "B-DRUG" into "B" and "DRUG", "DRUG" into "" and "DRUG"."""
    prefix, dash, entity_type = label.partition("-")
    known = dash and prefix in (BEGIN, INSIDE, *LAST, *SINGLE)
    return (prefix, entity_type) if known else ("", label)


def _entity(group: list[Tagged]) -> Entity:
    score = sum(one.score for one in group) / len(group)
    return Entity(_split_prefix(group[0].label)[1], group[0].span[0], group[-1].span[1], score)
