"""Rows of unequal length as one array, and ``pad``, which pads encodings as data collators need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minibiogpt.checks import is_integer, plain, plain_row
from minibiogpt.errors import InputError, short_repr, text_of
from minibiogpt.tokenizer.batch_encoding import BatchEncoding
from minibiogpt.tokenizer.encoding import MAX_LENGTH, CallOptions, checked_side, checked_tensors


def common_width(
    lengths: Sequence[int],
    padding: bool | str,
    max_length: int,
    multiple: int | None = None,
    remedy: str = "call with padding=True",
) -> int:
    """Return the width of the batch; only padding="max_length" uses ``max_length``.

    ``remedy`` is what the error for rows of unequal length without padding says to do.

    Examples
    --------
    >>> common_width([3, 5], True, 9), common_width([3, 5], "max_length", 9), common_width([3, 5], True, 9, 4)
    (5, 9, 8)
    """
    widest = max(lengths)
    if padding == "max_length":
        if max_length > MAX_LENGTH:
            must = "padding='max_length' must have a known length"
            raise InputError(must, "no max_length, and a tokenizer without model_max_length", "pass max_length")
        return max(widest, _rounded_up(max_length, multiple))
    if padding in (False, "do_not_pad"):
        if len(set(lengths)) > 1:
            must = "the texts of a batch must have the same number of tokens, or be padded"
            raise InputError(must, f"lengths {short_repr(sorted(set(lengths)))}", remedy)
        return widest
    return _rounded_up(widest, multiple)


def filled(rows: Sequence[Any], width: int, value: int, side: str, tail: tuple[int, ...] = ()) -> np.ndarray:
    """Return rows of integers as an int64 array ``(B, width, *tail)``, filled up with ``value`` on that side.

    Examples
    --------
    >>> filled([[7], [8, 9]], 2, 1, "left")
    array([[1, 7],
           [8, 9]])
    """
    array = np.full((len(rows), width, *tail), value, dtype=np.int64)
    for b, row in enumerate(rows):
        if len(row):
            array[b, slice(width - len(row), width) if side == "left" else slice(len(row))] = row
    return array


def pad(
    tok: Any,
    encoded_inputs: Any,
    padding: bool | str = True,
    max_length: int | None = None,
    pad_to_multiple_of: int | None = None,
    padding_side: str | None = None,
    return_attention_mask: bool | None = None,
    return_tensors: Any = None,
    verbose: bool = True,
) -> BatchEncoding:
    """Pad encodings to one length, as data collators do.

    Parameters
    ----------
    encoded_inputs : a list of encodings of one text each, {"input_ids": a row or (1, T), ...}; or the rows of a whole
        batch, {"input_ids": rows, ...}; or a single row, which is padded only to ``max_length`` or a multiple.
    The other parameters are those of a call.

    Returns
    -------
    int64 arrays (B, T); (T,) for a single row. attention_mask is made if there is none and
    the tokenizer's model_input_names has it. token_type_ids and
    special_tokens_mask are padded with 0 and 1. As in transformers, all else, such as labels, is not padded: it is an
    array if its rows have one length, otherwise a list.

    Raises
    ------
    InputError
        For encodings without input_ids, with different entries or of different sizes; for rows of unequal length
        without padding.

    Examples
    --------
    >>> from minibiogpt import BioGptTokenizer
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> tok.pad([{"input_ids": [2, 9], "label": 1}, {"input_ids": [2, 9, 8], "label": 0}])["input_ids"]
    array([[1, 2, 9],
           [2, 9, 8]])
    """
    checked_tensors(return_tensors, advice="; in a data collator, pass return_tensors='np'")
    options = CallOptions(
        padding=padding,
        truncation=False,
        max_length=max_length,
        pad_to_multiple_of=pad_to_multiple_of,
        padding_side=padding_side,
        return_attention_mask=return_attention_mask,
        return_tensors=return_tensors,
        verbose=verbose,
    )
    entries, batched = _entries(encoded_inputs)
    side = checked_side(tok.padding_side if options.padding_side is None else options.padding_side)
    rows = [_row(ids, "input_ids", b) for b, ids in enumerate(entries.pop("input_ids"))]
    lengths = [len(row) for row in rows]
    width = common_width(lengths, options.padding, options.length(tok.model_max_length), options.pad_to_multiple_of)
    found: dict[str, Any] = {"input_ids": filled(rows, width, tok.pad_token_id, side)}
    mask = entries.pop("attention_mask", None)
    if options.returns("attention_mask", tok.model_input_names) or (mask is not None and return_attention_mask is None):
        mask = [[1] * length for length in lengths] if mask is None else mask
        found["attention_mask"] = _like_ids(mask, "attention_mask", lengths, width, 0, side)
    for name, value in (("token_type_ids", 0), ("special_tokens_mask", 1)):
        if name in entries:
            found[name] = _like_ids(entries.pop(name), name, lengths, width, value, side)
    found |= {name: _extra(values) for name, values in entries.items()}
    if not batched:
        found = {name: value[0] for name, value in found.items()}
    return BatchEncoding(found, tensor_type=options.return_tensors)


def _rounded_up(length: int, multiple: int | None) -> int:
    return length if multiple is None else -(-length // multiple) * multiple


def _entries(encodings: Any) -> tuple[dict[str, list[Any]], bool]:
    """Return {name: one value a row} of any form of encodings, and whether they are a batch (not one plain row)."""
    if isinstance(encodings, Mapping):
        _check_ids(encodings)
        columns = {name: _listed(values, name) for name, values in encodings.items()}
        ids = columns["input_ids"]
        if not ids or is_integer(plain(ids[0])):
            return {name: [values] for name, values in encodings.items()}, False
        for name, values in columns.items():
            if len(values) != len(ids):
                must = "every entry must have one value a row"
                raise InputError(must, f"{len(ids)} rows of input_ids and {len(values)} of {name}", f"correct {name}")
        return columns, True
    examples = None if isinstance(encodings, str) or not hasattr(encodings, "__iter__") else list(encodings)
    if not examples or not all(isinstance(example, Mapping) for example in examples):
        must = "pad must have an encoding or a list of one or more encodings"
        found = "an empty list" if examples == [] else short_repr(encodings)
        raise InputError(must, found, 'pass what the tokenizer returned, or [{"input_ids": [...]}, ...]')
    for example in examples:
        _check_ids(example)
        if set(example) != set(examples[0]):
            found = f"{sorted(map(str, examples[0]))} and {sorted(map(str, example))}"
            raise InputError("all encodings must have the same entries", found, "drop the entries that some lack")
    singles = [_single(example) for example in examples]
    return {name: [example[name] for example in singles] for name in singles[0]}, True


def _single(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an encoding of one text: arrays (1, T) lose their first axis."""
    ids = _listed(example["input_ids"], "input_ids")
    if not ids or is_integer(plain(ids[0])):
        return dict(example)
    if len(ids) != 1:
        must = "each encoding in a list must be of one row"
        raise InputError(must, f"{len(ids)} rows", "pass the encoding of a whole batch without a list around it")
    sized = {name: hasattr(value, "__len__") and len(value) == 1 for name, value in example.items()}
    return {name: value[0] if sized[name] else value for name, value in example.items()}


def _check_ids(encoding: Mapping[str, Any]) -> None:
    if "input_ids" not in encoding:
        must = "every encoding must have input_ids"
        raise InputError(must, short_repr(sorted(map(text_of, encoding))), "pass what the tokenizer returned")


def _listed(values: Any, name: str) -> list[Any]:
    found = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(found, str | bytes | Mapping) or not hasattr(found, "__iter__"):
        raise InputError(f"{name} must be a list of values, one a row", short_repr(values), f"correct {name}")
    return list(found)


def _row(values: Any, name: str, b: int) -> list[int]:
    row = _listed(plain_row(values), name)
    if not all(map(_is_id, row)):
        wrong = next(value for value in row if not _is_id(value))
        must = f"{name} must be integers of 64 bits" if is_integer(wrong) else f"{name} must be integers"
        raise InputError(must, f"{short_repr(wrong)} in row {b}", "pass rows of integers")
    return row


def _is_id(value: Any) -> bool:
    return is_integer(value) and -(2**63) <= value < 2**63


def _like_ids(rows: list[Any], name: str, lengths: list[int], width: int, value: int, side: str) -> np.ndarray:
    """Pad rows that must be as long as those of input_ids."""
    found = [_row(row, name, b) for b, row in enumerate(rows)]
    for b, (row, length) in enumerate(zip(found, lengths, strict=True)):
        if len(row) != length:
            must = f"{name} must be as long as input_ids"
            raise InputError(must, f"{len(row)} and {length} in row {b}", f"correct {name}")
    return filled(found, width, value, side)


def _extra(values: list[Any]) -> Any:
    """Return labels and the like unpadded, as in transformers: an array if rows have one length, otherwise the list."""
    rows = [plain(value) for value in values]
    try:
        array = np.asarray(rows)
    except ValueError:
        return rows
    return rows if array.dtype == object else array
