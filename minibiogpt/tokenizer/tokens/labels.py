"""Labels: one notation for tokens wherever people read them: a token that continues in the next one ends in ``·``.

The vocabulary marks the end of a word instead: the labels ``pro·`` and ``fen`` are its
pieces ``pro`` and ``fen</w>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from minibiogpt.tokenizer.bpe import END_OF_WORD

CONTINUES = "·"  # appended to a token that does not end its word
SPECIAL = re.compile(r"</?\w+>")


def labels_of(ids: Iterable[int], tokenizer: Any) -> list[str]:
    """Return the labels of token ids, or "id N" where the tokenizer has no token (or is None).

    Examples
    --------
    >>> from minibiogpt import BioGptTokenizer
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> labels_of(tok.encode("Ibuprofen"), tok), labels_of([7], None)
    (['</s>', 'I·', 'b·', 'upro·', 'fen'], ['id 7'])
    """
    ids = [int(i) for i in ids]
    if tokenizer is None:
        return [f"id {i}" for i in ids]
    known = set(tokenizer.get_vocab().values()) | set(tokenizer.soft_prompt_ids)
    added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    tokens = {i: tokenizer.convert_ids_to_tokens(i) for i in ids if i in known}
    return [f"id {i}" if i not in known else tokens[i] if i in added else _label(tokens[i]) for i in ids]


def labels_of_pieces(pieces: Iterable[str]) -> list[str]:
    """Return the labels of the pieces of a text, of which the ids are not known; labels stay as they are.

    Examples
    --------
    >>> labels_of_pieces(["</s>", "pro", "fen</w>"]), labels_of_pieces(["</s>", "pro·", "fen"])
    (['</s>', 'pro·', 'fen'], ['</s>', 'pro·', 'fen'])
    """
    pieces = list(pieces)
    if not any(isinstance(piece, str) and piece.endswith(END_OF_WORD) for piece in pieces):
        return pieces
    return [piece if not isinstance(piece, str) or SPECIAL.fullmatch(piece) else _label(piece) for piece in pieces]


def _label(piece: str) -> str:
    """Return a piece without its end-of-word suffix, or with CONTINUES if it does not end its word."""
    return piece.removesuffix(END_OF_WORD) if piece.endswith(END_OF_WORD) else piece + CONTINUES
