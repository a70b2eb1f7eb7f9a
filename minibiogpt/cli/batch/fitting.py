"""Texts that a command runs whole: they fit into the model's positions, or --truncate cuts them."""

from __future__ import annotations

import argparse
import warnings

from minibiogpt.cli.batch.ends import counted, first_pieces
from minibiogpt.cli.batch.faults import Numbers
from minibiogpt.cli.options import source_of
from minibiogpt.errors import InputError
from minibiogpt.tokenizer import BioGptTokenizer


def fitted(options: argparse.Namespace, tokenizer: BioGptTokenizer, texts: list[str]) -> list[str | list[int]]:
    """Return the texts; with --truncate, of one longer than the model's maximum N the ids of its first N tokens.

    Raises
    ------
    InputError
        For a text longer than N, without --truncate.
    """
    N, cut = source_of(options).config().max_position_embeddings, Numbers()
    found: list[str | list[int]] = []
    for number, text in enumerate(texts, 1):
        ids = [tokenizer.sep_token_id, *(piece.id for piece in first_pieces(tokenizer.analyse, text, N))]
        if len(ids) <= N:
            found.append(text)
            continue
        if not options.truncate:
            must = f"a text must have at most N = {N} tokens"
            raise InputError(
                must, counted(tokenizer.analyse, text, N), "shorten it, or keep its first tokens with --truncate"
            )
        cut.add(number)
        found.append(ids[:N])
    if cut.count:
        what = f"text {cut} was" if cut.count == 1 else f"texts {cut} were"
        warnings.warn(f"{what} truncated to {N} tokens", stacklevel=2)
    return found
