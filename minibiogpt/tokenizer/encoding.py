"""Join rows of pieces, truncate and pad them, and turn them into arrays; check the tokenizer's arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError
from minibiogpt.tokenizer.offsets import Span

MAX_LENGTH = 1 << 32  # a larger model_max_length means that the length is unknown


class Piece(NamedTuple):
    """A token of a text: its string, its id, and its [start, end) in the original text."""

    piece: str
    id: int
    span: Span


def join_parts(parts: list[list[Any]], opening: list[Any], limit: int) -> list[Any]:
    """Join parts of pieces or ids, each preceded by ``opening``, truncated to ``limit`` in total."""
    surplus = sum(len(opening) + len(part) for part in parts) - limit
    if surplus > 0:
        cuts = _cuts([len(part) for part in parts], surplus)
        parts = [part[: max(len(part) - cut, 0)] for part, cut in zip(parts, cuts, strict=True)]
    return [item for part in parts for item in (*opening, *part)]


def _cuts(lengths: list[int], surplus: int) -> list[int]:
    """Return how much to cut from each part: from the longer of a pair until both are equal, then alternately."""
    if len(lengths) == 1:
        return [surplus if surplus < lengths[0] else 0]  # as in transformers: a single text is never cut to nothing
    first, second = lengths
    uneven = min(abs(first - second), surplus)
    rest = surplus - uneven
    if first > second:
        return [uneven + rest // 2, rest - rest // 2]
    return [rest // 2, uneven + rest - rest // 2]


def as_arrays(rows: list[list[Any]], width: int, pad: int, side: str, with_offsets: bool) -> dict[str, np.ndarray]:
    """Return input_ids and attention_mask (B, width) of rows of ids; from rows of pieces, also offsets (B, width, 2).

    All are int64.
    """
    arrays = {
        "input_ids": np.full((len(rows), width), pad, dtype=np.int64),
        "attention_mask": np.zeros((len(rows), width), dtype=np.int64),
    }
    if with_offsets:
        arrays["offsets"] = np.zeros((len(rows), width, 2), dtype=np.int64)
    for b, row in enumerate(rows):
        if row:
            filled = slice(width - len(row), width) if side == "left" else slice(0, len(row))
            arrays["input_ids"][b, filled] = [piece.id for piece in row] if with_offsets else row
            arrays["attention_mask"][b, filled] = 1
            if with_offsets:
                arrays["offsets"][b, filled] = [piece.span for piece in row]
    return arrays


def common_width(lengths: list[int], padding: bool | str, max_length: int) -> int:
    """Return the width of the batch; only padding="max_length" uses ``max_length``."""
    if padding not in (False, True, "longest", "max_length"):
        must = "padding must be False, True, 'longest' or 'max_length'"
        raise InputError(must, repr(padding), "choose one of these")
    if padding == "max_length":
        if max_length > MAX_LENGTH:
            must = "padding='max_length' must have a known length"
            raise InputError(must, "no max_length, and a tokenizer without model_max_length", "pass max_length")
        return max(*lengths, max_length)
    if not padding and len(set(lengths)) > 1:
        must = "the texts of a batch must have the same number of tokens, or be padded"
        raise InputError(must, f"lengths {sorted(set(lengths))}", "call with padding=True")
    return max(lengths)


def checked_length(max_length: Any, known: int) -> int:
    """Return ``max_length``, or the model's own length (``known``) if it is None."""
    if max_length is None:
        return known
    if not is_integer(max_length) or not 1 <= max_length <= MAX_LENGTH:
        must = "max_length must be an integer, 1 or more"
        raise InputError(must, repr(max_length), "pass the largest number of tokens per row")
    return int(max_length)


def checked_model_length(length: Any) -> int:
    if not is_integer(length) or length < 1:
        must = "model_max_length must be an integer, 1 or more"
        raise InputError(must, repr(length), "pass the model's number of positions, or omit it")
    return length


def checked_truncation(truncation: Any) -> bool:
    if not isinstance(truncation, bool) and truncation not in ("longest_first", "do_not_truncate"):
        must = "truncation must be False, True (which is 'longest_first') or 'do_not_truncate'"
        raise InputError(must, repr(truncation), "truncate the texts yourself for any other strategy")
    return truncation in (True, "longest_first")


def checked_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False", repr(value), "choose one of these")
    return value


def checked_side(side: Any) -> str:
    if side not in ("left", "right"):
        raise InputError("padding_side must be 'left' or 'right'", repr(side), "choose one of these")
    return side


def checked_text(text: object, name: str = "text") -> str:
    if not isinstance(text, str):
        raise InputError(f"{name} must be one string", type(text).__name__, "call the tokenizer itself for a batch")
    return text


def checked_batch(text: object, name: str) -> list[str]:
    texts = [text] if isinstance(text, str) else list(text) if isinstance(text, list | tuple) else None
    if not texts or not all(isinstance(item, str) for item in texts):
        kinds = type(text).__name__ if texts is None else f"{len(texts)} of {sorted({type(t).__name__ for t in texts})}"
        remedy = "decode bytes; drop None; pass second texts as text_pair"
        raise InputError(f"{name} must be a string or a list of one or more strings", kinds, remedy)
    return texts


def checked_strings(pieces: Any) -> list[str]:
    found = list(pieces) if isinstance(pieces, Iterable) else None
    if isinstance(pieces, str) or found is None or not all(isinstance(piece, str) for piece in found):
        raise InputError("pieces must be a list of strings", repr(pieces)[:60], "pass what tokenize returns")
    return found


def clean_up(text: str) -> str:
    """Remove the spaces that transformers' clean_up_tokenization removes."""
    for mark in (".", "?", "!", ","):
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for suffix in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {suffix}", suffix)
    return text
