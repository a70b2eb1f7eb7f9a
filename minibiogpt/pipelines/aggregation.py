"""From the labels of tokens to those of words and entities, as transformers' TokenClassificationPipeline joins them.

``minibiogpt.heads.tagging`` also joins the prefixes E- L- S- U- of other schemes; transformers knows B- and I- only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.heads.tagging import word_label
from minibiogpt.tokenizer import Piece

STRATEGIES = ("none", "simple", "first", "average", "max")


class Token(NamedTuple):
    """A piece, the number of its word, and the probabilities of its labels, (labels,)."""

    piece: Piece
    word: int
    p: np.ndarray


class Labelled(NamedTuple):
    """A token or a word: its label and probability, and the pieces it has."""

    label: str
    score: float
    pieces: list[Piece]


def aggregated(
    tokens: Sequence[Token], names: Mapping[int, str], strategy: str, text_of: Callable[[list[Piece]], str]
) -> list[dict[str, Any]]:
    """Return the entities that the labels of tokens add up to, those of the label "O" included.

    Parameters
    ----------
    strategy : "simple" groups tokens; "first", "average" and "max" group words, each with the label and the
        probability that ``word_label`` finds.
    text_of : from pieces to the "word" of the result.

    Source: aggregate and group_entities of TokenClassificationPipeline in transformers 4.57. It tells words apart by a
    heuristic unless the tokenizer knows them; here the tokenizer always does.
    """
    groups: list[list[Labelled]] = []
    for one in _labelled(tokens, names, strategy):
        if groups and _continues(groups[-1][-1].label, one.label):
            groups[-1].append(one)
        else:
            groups.append([one])
    return [_entity(group, text_of) for group in groups]


def _labelled(tokens: Sequence[Token], names: Mapping[int, str], strategy: str) -> list[Labelled]:
    """Return the tokens or the words, each with its label."""
    parts = [[token] for token in tokens]
    if strategy != "simple":
        parts = [list(group) for _, group in groupby(tokens, key=lambda token: token.word)]
    found = []
    for part in parts:
        label, score = word_label(np.stack([token.p for token in part]), "first" if strategy == "simple" else strategy)
        found.append(Labelled(names[label], score, [token.piece for token in part]))
    return found


def _continues(before: str, label: str) -> bool:
    """Return whether a label belongs to the same entity as the one before it; labels without a prefix count as I-."""
    return not label.startswith("B-") and _tag(before) == _tag(label)


def _tag(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _entity(group: list[Labelled], text_of: Callable[[list[Piece]], str]) -> dict[str, Any]:
    pieces = [piece for one in group for piece in one.pieces]
    return {
        "entity_group": group[0].label.split("-", 1)[-1],
        "score": float(np.mean([one.score for one in group])),
        "word": text_of(pieces),
        "start": pieces[0].span[0],
        "end": pieces[-1].span[1],
    }
