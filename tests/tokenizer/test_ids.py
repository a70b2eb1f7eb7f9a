"""Ids as arrays, tensors and rows (1, T): what a tokenizer's call returns is taken wherever ids are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import InputError
from tests.support.demo import tokenizer
from tests.tokenizer.test_tokenizer import reference

TEXT = "Ibuprofen treats pain (mild)."
FORMS = [
    lambda ids: ids,
    tuple,
    np.array,
    lambda ids: np.array([ids]),
    torch.tensor,
    lambda ids: torch.tensor([ids]),
    lambda ids: [torch.tensor(i) for i in ids],
    lambda ids: [np.int32(i) for i in ids],
    lambda ids: [ids],
]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_of_ids_may_be_of_any_kind(form: Any) -> None:
    tok, other = tokenizer(), reference("demo")
    ids = other(TEXT).input_ids
    row = form(ids)
    assert tok.decode(row) == other.decode(ids)
    assert tok.decode(row, skip_special_tokens=True) == other.decode(ids, skip_special_tokens=True)
    assert tok.convert_ids_to_tokens(row) == other.convert_ids_to_tokens(ids)
    assert tok.build_inputs_with_special_tokens(row, row) == other.build_inputs_with_special_tokens(ids, ids)
    for done in (False, True):
        mask = tok.get_special_tokens_mask(row, already_has_special_tokens=done)
        assert mask == other.get_special_tokens_mask(ids, already_has_special_tokens=done)
    assert tok.create_token_type_ids_from_sequences(row, row) == other.create_token_type_ids_from_sequences(ids, ids)
    assert tok.prepare_for_model(row, row)["input_ids"].tolist() == other.prepare_for_model(ids, ids)["input_ids"]
    assert tok.truncate_sequences(row, num_tokens_to_remove=3)[0] == ids[:-3]


def test_the_result_of_a_call_is_decoded_as_in_the_documentation_of_transformers() -> None:
    tok, enc = tokenizer(), tokenizer()(TEXT)
    assert (
        tok.decode(tok(TEXT).input_ids) == tok.decode(enc["input_ids"]) == reference("demo").decode(enc["input_ids"][0])
    )
    assert tok.convert_ids_to_tokens(enc.input_ids) == enc.tokens()
    assert tok.convert_ids_to_tokens(torch.tensor(7)) == tok.convert_ids_to_tokens(7)
    assert tok.decode(np.zeros((1, 0), dtype=np.int64)) == ""


@pytest.mark.parametrize("form", [np.array, torch.tensor, list])
def test_several_rows_are_decoded_by_batch_decode(form: Any) -> None:
    rows = form([[2, 9], [2, 8]])
    for call in (tokenizer().decode, tokenizer().convert_ids_to_tokens):
        with pytest.raises(InputError, match=r"found 2 rows; pass one row, ids\[0\], or decode all with batch_decode"):
            call(rows)
    assert tokenizer().batch_decode(rows) == [tokenizer().decode(row) for row in rows]


def test_the_rows_of_single_texts_are_decoded_as_a_batch() -> None:
    tok, texts = tokenizer(), [TEXT, "Insulin"]
    assert tok.batch_decode([tok(text).input_ids for text in texts]) == tok.batch_decode(map(tok.encode, texts))


def test_an_encoding_is_not_its_ids() -> None:
    tok = tokenizer()
    with pytest.raises(InputError, match=r"pass its row, encoding\['input_ids'\]\[0\]"):
        tok.decode(tok(TEXT))
    with pytest.raises(InputError, match=r"pass encoding\['input_ids'\]$"):
        tok.batch_decode(tok(TEXT))


def test_pad_takes_the_rows_of_single_texts() -> None:
    tok, texts = tokenizer(), [TEXT, "Insulin"]
    want = tok(texts, padding=True)
    found = [tok(text) for text in texts]
    columns = {name: [one[name] for one in found] for name in ("input_ids", "attention_mask")}
    tensors = {name: [torch.tensor(row) for row in rows] for name, rows in columns.items()}
    flat = {name: [[torch.tensor(i) for i in row[0]] for row in rows] for name, rows in columns.items()}
    for form in (columns, tensors, flat, found):
        got = tok.pad(form)
        assert {name: x.tolist() for name, x in got.items()} == {name: x.tolist() for name, x in want.items()}
