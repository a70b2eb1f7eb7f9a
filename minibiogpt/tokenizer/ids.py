"""Ids from a caller: lists, arrays and tensors; and the tokens that a call adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minibiogpt.checks import is_integer, plain
from minibiogpt.errors import InputError, short_repr
from minibiogpt.tokenizer.texts import as_list
from minibiogpt.tokenizer.vocabulary import MAX_IDS


def checked_ids(ids: Any, name: str = "ids") -> list[int]:
    """Return the ids of one row as a list of integers. They may be a list, an array or a tensor, (T,) or (1, T).

    Raises
    ------
    InputError
        For several rows, or anything but integers.

    Examples
    --------
    >>> import numpy as np
    >>> checked_ids(np.array([[2, 9]]))
    [2, 9]
    """
    found = one_row(ids, name)
    if not isinstance(found, list) or not all(map(_is_id, found)):
        wrong = next(i for i in found if not _is_id(i)) if isinstance(found, list) else ids
        raise InputError(f"{name} must be a list of integers", short_repr(wrong), "pass texts to the tokenizer itself")
    return found


def _is_id(i: Any) -> bool:
    """Whether ``i`` is an integer that some embedding may have a row for; a negative one may mark padding."""
    return is_integer(i) and -MAX_IDS < i < MAX_IDS


def one_row(ids: Any, name: str = "ids") -> Any:
    """Return ids (T,) or (1, T) as a list; what is no list or array as it is. The items are not checked."""
    must = f"{name} must be one row"
    if isinstance(ids, Mapping):
        remedy = "pass its row, encoding['input_ids'][0]" if "input_ids" in ids else "pass a row of ids"
        raise InputError(must, f"a {type(ids).__name__}", remedy)
    listed = as_list(ids)
    found = plain(ids if listed is None else listed)
    if not isinstance(found, list) or not found or not isinstance(found[0], list | tuple):
        return found
    if len(found) > 1 or (found[0] and isinstance(found[0][0], list | tuple)):
        must = f"{name} must be one row, (T,) or (1, T)"
        raise InputError(must, f"{len(found)} rows", f"pass one row, {name}[0], or decode all with batch_decode")
    return list(found[0])


def build_inputs_with_special_tokens(tok: Any, token_ids_0: Any, token_ids_1: Any = None) -> list[int]:
    """Return ``</s>`` and the ids; of a pair, ``</s> A </s> B``."""
    sep, first = [tok.sep_token_id], checked_ids(token_ids_0, "token_ids_0")
    return sep + first + ([] if token_ids_1 is None else sep + checked_ids(token_ids_1, "token_ids_1"))


def get_special_tokens_mask(
    tok: Any, token_ids_0: Any, token_ids_1: Any = None, already_has_special_tokens: bool = False
) -> list[int]:
    """Return 1 for each special token and 0 for each other, of the ids with the tokens that a call adds.

    With ``already_has_special_tokens``, the ids already have them.
    """
    first = checked_ids(token_ids_0, "token_ids_0")
    if not already_has_special_tokens:
        second = [] if token_ids_1 is None else [1] + [0] * len(checked_ids(token_ids_1, "token_ids_1"))
        return [1] + [0] * len(first) + second
    if token_ids_1 is not None:
        must = "ids that already have special tokens must be one list"
        raise InputError(must, "token_ids_1", "pass all ids as token_ids_0")
    special = set(tok.all_special_ids)
    return [int(i in special) for i in first]


def create_token_type_ids_from_sequences(tok: Any, token_ids_0: Any, token_ids_1: Any = None) -> list[int]:
    """Return 0 for the first text and 1 for the second, with a place for ``cls_token`` if it is set."""
    first = [0] * (len(checked_ids(token_ids_0, "token_ids_0")) + 1 + (tok.cls_token is not None))
    return first if token_ids_1 is None else first + [1] * (len(checked_ids(token_ids_1, "token_ids_1")) + 1)
