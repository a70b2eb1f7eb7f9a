"""Tokens of a text that the model has no embedding for."""

from __future__ import annotations

from collections.abc import Iterable

from minibiogpt.cli.batch.lines import Fault
from minibiogpt.errors import short_repr
from minibiogpt.tokenizer import BioGptTokenizer


def unknown_token(tokenizer: BioGptTokenizer, ids: Iterable[int], rows: int) -> Fault | None:
    """Return the fault of a text with a token beyond the ``rows`` embeddings of the model, or None.

    Only an added token can be one: it has an id after those of the vocabulary.
    """
    for i in ids:
        if i >= rows:
            must = f"must have only tokens of the model, which has {rows} embeddings"
            found = f"{short_repr(tokenizer.pieces.get(i, '?'))} with the id {i}"
            return Fault(
                must, found, "treat it as plain text with --no-special, or use a model that was trained with it"
            )
    return None
