"""The texts of a call: one text or many, pairs, and texts that are split into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minibiogpt.errors import InputError, short_repr

Text = str | list[str]  # a text, or its words
Sample = list[Text]  # a text or a pair


def read_samples(text: Any, text_pair: Any, split: bool) -> list[Sample]:
    """Return the samples of a batch, each of one or two texts.

    Parameters
    ----------
    text, text_pair : a string or a sequence of strings; with ``split``, a sequence of words or of such sequences. A
        sequence is a list, a tuple, an array, a column of a table ... In a batch of ``text``, a pair may be an item.

    Raises
    ------
    InputError
        For anything else, no text at all, or texts and pairs of different numbers.

    Examples
    --------
    >>> read_samples("a b", "c", False), read_samples(["a", ("b", "c")], None, False)
    ([['a b', 'c']], [['a'], ['b', 'c']])
    >>> read_samples(["a", "b"], None, True), read_samples([["a", "b"], []], None, True)
    ([[['a', 'b']]], [[['a', 'b']], [[]]])
    """
    read = _split_texts if split else _plain_texts
    firsts = read(text, "text")
    if text_pair is None:
        return firsts
    seconds = read(text_pair, "text_pair")
    if len(firsts) != len(seconds):
        found = f"{len(firsts)} texts and {len(seconds)} pairs"
        raise InputError("text and text_pair must have the same length", found, "pass one pair per text")
    if any(len(sample) > 1 for sample in [*firsts, *seconds]):
        remedy = "pass the pairs as text alone, or first and second texts apart"
        raise InputError("text and text_pair must each hold single texts", "pairs in one of them", remedy)
    return [[*first, *second] for first, second in zip(firsts, seconds, strict=True)]


def as_list(value: Any) -> list[Any] | None:
    """Return a sequence, an array or a column of a table as a list; None for anything else."""
    if isinstance(value, str | bytes | bytearray | Mapping):
        return None
    if isinstance(value, Sequence):
        return list(value)
    found = value.tolist() if hasattr(value, "tolist") else None
    return found if isinstance(found, list) else None


def _plain_texts(value: Any, name: str) -> list[Sample]:
    if isinstance(value, str):
        return [[value]]
    must, items = f"{name} must be a string or a list of one or more strings", as_list(value)
    if items is None:
        raise refused(must, value)
    if not items:
        raise InputError(must, "an empty list", "pass at least one text, or skip an empty batch")
    return [_plain_sample(item, index, must) for index, item in enumerate(items)]


def _plain_sample(item: Any, index: int, must: str) -> Sample:
    if isinstance(item, str):
        return [item]
    parts = as_list(item)
    if parts is not None and len(parts) == 2 and _all_strings(parts):
        return [*parts]
    if parts is None:
        raise refused(must, item, f" at index {index}")
    wrong = [part for part in parts if not isinstance(part, str)]
    if wrong and as_list(wrong[0]) is None:
        raise refused(must, wrong[0], f" in the list at index {index}")
    remedy = "a pair has two strings; for texts split into words pass is_split_into_words=True"
    raise InputError(must, f"a {type(item).__name__} of {len(parts)} at index {index}", remedy)


def _split_texts(value: Any, name: str) -> list[Sample]:
    must = f"with is_split_into_words=True, {name} must be a list of words or a list of such lists"
    if isinstance(value, str):
        return [[value]]  # as in transformers, a string is a text, not a word
    items = as_list(value)
    if items is None:
        raise refused(must, value)
    if _all_strings(items):
        return [[items]]  # as in fast tokenizers, an empty list is a text without words
    return [_split_sample(item, index, must) for index, item in enumerate(items)]


def _split_sample(item: Any, index: int, must: str) -> Sample:
    if isinstance(item, str) and index:  # the first one says that this is a batch of texts, not the words of one
        return [item]
    words = as_list(item)
    if words is None:
        raise refused(must, item, f" at index {index}")
    if _all_strings(words):
        return [words]
    pair = [as_list(part) for part in words]
    if len(pair) == 2 and all(part is not None and _all_strings(part) for part in pair):
        return [part for part in pair if part is not None]
    wrong = next(part for part in words if not isinstance(part, str))
    raise refused(must, wrong, f" in the list at index {index}")


def _all_strings(items: list[Any]) -> bool:
    return all(isinstance(item, str) for item in items)


def refused(must: str, value: Any, where: str = "") -> InputError:
    """Return the error for a value that is no text, with the advice for its type."""
    kind = type(value).__name__
    if isinstance(value, bytes | bytearray):
        return InputError(must, kind + where, "decode bytes: text.decode()")
    if value is None:
        return InputError(must, kind + where, "drop it, or write '' for a missing text" if where else "pass a text")
    if isinstance(value, str):
        return InputError(must, kind + where, "split every text, for example with text.split(), or omit that option")
    if isinstance(value, float) and value != value:
        return InputError(must, f"{short_repr(value)}{where}", "drop it, or write '' for a missing text")
    if isinstance(value, bool | int | float | complex):
        remedy = "write numbers as text with str; for ids call prepare_for_model or pad"
        return InputError(must, f"{kind} {short_repr(value)}{where}", remedy)
    if as_list(value) is not None:
        return InputError(must, f"a {kind} of {len(as_list(value) or [])}{where}", "nest lists less deeply")
    if hasattr(value, "__iter__"):
        return InputError(must, kind + where, "make a list of its texts")
    return InputError(must, kind + where, "pass a string or a list of strings")
