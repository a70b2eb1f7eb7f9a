"""pad, against transformers' BioGptTokenizer, and in transformers' data collators."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DataCollatorForLanguageModeling, DataCollatorForTokenClassification, DataCollatorWithPadding

from minibiogpt import InputError
from minibiogpt.tokenizer import BatchEncoding
from tests.support.toy_tokenizers import make_ours, make_slow
from tests.tokenizer.test_tokenizer import ours, reference

ROWS = st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=7), min_size=1, max_size=4)
EXTRA = st.sampled_from(["attention_mask", "token_type_ids", "special_tokens_mask"])
SIDES = st.sampled_from(["left", "right"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return make_ours(0), make_slow(tmp_path_factory.mktemp("toy"), 0)


@settings(max_examples=120)
@given(ROWS, st.sets(EXTRA), st.sampled_from([True, "longest", "max_length"]), SIDES, st.data())
def test_rows_are_padded_as_in_transformers(
    pair: Any, rows: list[list[int]], extra: set[str], padding: Any, side: str, data: st.DataObject
) -> None:
    mine, other = pair
    options: dict[str, Any] = {"padding": padding, "padding_side": side}
    options["pad_to_multiple_of"] = data.draw(st.sampled_from([None, 2, 5]))
    if padding == "max_length":
        options["max_length"] = data.draw(st.integers(max(map(len, rows)), 12))
    columns: dict[str, Any] = {"input_ids": rows}
    for name in extra:
        columns[name] = [data.draw(st.lists(st.integers(0, 1), min_size=len(r), max_size=len(r))) for r in rows]
    columns |= {"labels": list(range(len(rows))), "score": [0.5] * len(rows)}
    examples = [{name: values[b] for name, values in columns.items()} for b in range(len(rows))]
    want = other.pad(examples, **options)
    batches = [{name: [np.array([value])] for name, value in example.items()} for example in examples]
    batched = [{name: value[0] for name, value in batch.items()} for batch in batches]
    arrays = [
        {name: np.array(value, dtype=np.int32 if name != "score" else float) for name, value in e.items()}
        for e in examples
    ]
    for form in (examples, tuple(map(BatchEncoding, examples)), columns, batched, arrays):
        got = mine.pad(form, **options)
        assert type(got) is BatchEncoding
        assert set(got) == set(want)
        for name in want:
            assert got[name].tolist() == want[name], (name, options)
        assert {got[name].dtype for name in got} == {np.dtype("int64"), np.dtype("float64")}
    assert columns["input_ids"] is rows, "the input is unchanged"
    assert len(columns) == len(want) + ("attention_mask" in extra) - 1


@given(
    st.lists(st.integers(2, 9), max_size=6), st.sampled_from([True, "max_length", False]), st.sampled_from([None, 4])
)
def test_a_single_row_is_padded_as_in_transformers(pair: Any, row: list[int], padding: Any, multiple: Any) -> None:
    mine, other = pair
    options = {"padding": padding, "pad_to_multiple_of": multiple}
    options |= {"max_length": 9} if padding == "max_length" else {}
    got = mine.pad({"input_ids": row}, **options)
    if row:
        want = other.pad({"input_ids": list(row)}, **options)
        assert {name: value.tolist() for name, value in got.items()} == dict(want)
    else:
        assert got.input_ids.ndim == 1


def test_our_own_encodings_are_padded_in_every_form() -> None:
    mine, texts = ours("demo"), ["pain", "arthritis of the knee", "ibuprofen (mild)"]
    whole = mine(texts, padding=True)
    for form in ([mine(text) for text in texts], [mine.prepare_for_model(mine.encode(t)[1:]) for t in texts], whole):
        got = mine.pad(form, return_tensors="np")
        assert got.input_ids.tolist() == whole.input_ids.tolist()
        assert got.attention_mask.tolist() == whole.attention_mask.tolist()
    assert mine.pad(whole, return_attention_mask=False).keys() == {"input_ids"}
    tensors = [{"input_ids": torch.tensor(mine.encode(text)), "label": torch.tensor(1)} for text in texts]
    assert mine.pad(tensors).input_ids.tolist() == whole.input_ids.tolist()
    assert mine.pad(tensors).label.tolist() == [1, 1, 1]


def test_data_collators_use_it() -> None:
    mine, other = ours("demo"), reference("demo")
    texts = ["pain", "arthritis of the knee"]
    features = [{"input_ids": mine.encode(text), "label": b} for b, text in enumerate(texts)]
    got = DataCollatorWithPadding(mine, return_tensors="np")([dict(f) for f in features])
    want = DataCollatorWithPadding(other, return_tensors="np")([dict(f) for f in features])
    assert set(got) == set(want) == {"input_ids", "attention_mask", "labels"}
    for name in want:
        assert np.array_equal(got[name], want[name])
    tagged = [{"input_ids": f["input_ids"], "labels": [0] * len(f["input_ids"])} for f in features]
    got = DataCollatorForTokenClassification(mine, return_tensors="np")([dict(f) for f in tagged])
    want = DataCollatorForTokenClassification(other, return_tensors="np")([dict(f) for f in tagged])
    assert set(got) == set(want)
    for name in want:
        assert np.array_equal(got[name], want[name])
    assert -100 in got["labels"]
    ids = [{"input_ids": f["input_ids"]} for f in features]
    got = DataCollatorForLanguageModeling(mine, mlm=False, return_tensors="np")([dict(f) for f in ids])
    want = DataCollatorForLanguageModeling(other, mlm=False, return_tensors="np")([dict(f) for f in ids])
    assert {name: value.tolist() for name, value in got.items()} == {n: v.tolist() for n, v in want.items()}


def test_labels_of_unequal_length_stay_lists_and_are_no_array() -> None:
    mine = make_ours(0)
    examples = [{"input_ids": [2, 4], "labels": [0, 1], "id": None}, {"input_ids": [2], "labels": [0], "id": "x"}]
    got = mine.pad(examples)
    assert got.labels == [[0, 1], [0]]
    assert got.id == [None, "x"]
    with pytest.raises(InputError, match="the rows of labels must have the same length to be an array"):
        mine.pad(examples, return_tensors="np")


def test_a_length_that_is_not_used_is_a_warning() -> None:
    mine = make_ours(0)
    with pytest.warns(UserWarning, match="max_length has no effect"):
        assert mine.pad([{"input_ids": [2]}], max_length=5).input_ids.shape == (1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine.pad([{"input_ids": [2]}], max_length=5, verbose=False)
        assert mine.pad([{"input_ids": [2]}], "max_length", 5).input_ids.shape == (1, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tok: tok.pad([]), "pad must have an encoding or a list of one or more encodings; found an empty list"),
        (lambda tok: tok.pad("abc"), "list of one or more encodings; found 'abc'; pass what the tokenizer returned"),
        (lambda tok: tok.pad([[2, 3]]), r"list of one or more encodings; found \[\[2, 3\]\]; pass"),
        (lambda tok: tok.pad([{"ids": [2]}]), r"every encoding must have input_ids; found \['ids'\]"),
        (lambda tok: tok.pad({}), "every encoding must have input_ids"),
        (
            lambda tok: tok.pad([{"input_ids": [2], "label": 1}, {"input_ids": [2]}]),
            "all encodings must have the same entries; found .*; drop the entries that some lack",
        ),
        (lambda tok: tok.pad({"input_ids": [[2], [3]], "label": [1]}), "found 2 rows of input_ids and 1 of label"),
        (lambda tok: tok.pad([{"input_ids": [[2], [3]]}]), "each encoding in a list must be of one row; found 2 rows"),
        (
            lambda tok: tok.pad([{"input_ids": [2, 3], "attention_mask": [1]}]),
            "attention_mask must be as long as input_ids; found 1 and 2 in row 0",
        ),
        (lambda tok: tok.pad([{"input_ids": [2.5]}]), "input_ids must be a list of values|found 2.5 in row 0"),
        (lambda tok: tok.pad([{"input_ids": None}]), "input_ids must be a list of values, one a row; found None"),
        (lambda tok: tok.pad({"input_ids": [[2], [3, 4]]}, padding=False), "call with padding=True"),
        (lambda tok: tok.pad([{"input_ids": [2]}], padding="max_length"), "must have a known length"),
        (lambda tok: tok.pad([{"input_ids": [2]}], return_tensors="pt"), "torch.from_numpy"),
        (lambda tok: tok.pad([{"input_ids": [2]}], padding="most"), "padding must be False, True"),
    ],
)
def test_bad_encodings_are_one_clear_error(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(make_ours(0))


def test_integers_that_no_array_holds_are_one_error() -> None:
    tok = ours("demo")
    for ids in ([2, 10**5000], [2, -(2**63) - 1], [2, 2**63]):
        with pytest.raises(InputError, match="input_ids must be integers of 64 bits; found .* in row 0"):
            tok.pad({"input_ids": [ids]})
    with pytest.raises(InputError, match="pad_to_multiple_of must be an integer, 1 to 4.*; found an integer with"):
        tok("a", padding="max_length", max_length=8, truncation=True, pad_to_multiple_of=10**5000)
