"""What a call returns by default: the model_input_names; and what to write for rows that are no array."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import DataCollatorWithPadding

from minibiogpt import BioGptTokenizer, InputError
from tests.support.toy_tokenizers import make_ours, make_slow

NAMES = [
    ["input_ids"],
    ["input_ids", "attention_mask"],
    ["input_ids", "token_type_ids"],
    ["input_ids", "token_type_ids", "attention_mask"],
]
CALLS = [{}, {"return_attention_mask": True}, {"return_token_type_ids": False}, {"return_attention_mask": False}]


def plain(encoding: Any) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in encoding.items()}


@pytest.mark.parametrize("names", NAMES)
def test_a_call_returns_the_inputs_of_the_model(names: list[str], tmp_path: Path) -> None:
    mine, other = make_ours(0), make_slow(tmp_path, 0)
    mine.model_input_names = other.model_input_names = names
    for options in [*CALLS, {"add_special_tokens": False}]:
        for texts in ((["ab", "fed cab"], None), (["ab", "fed cab"], ["cab", "a"])):
            want = other(*texts, padding=True, **options)
            assert plain(mine(*texts, padding=True, **options)) == plain(want)
        assert plain(mine.prepare_for_model([5, 6], [7], **options)) == plain(
            other.prepare_for_model([5, 6], [7], **options)
        )
    ids = [mine.encode("ab"), mine.encode("fed cab")]
    for columns in ({"input_ids": ids}, {"input_ids": ids, "token_type_ids": [[0] * len(row) for row in ids]}):
        assert plain(mine.pad(columns)) == plain(other.pad(columns))
        assert plain(mine.pad(columns, return_attention_mask=True)) == plain(
            other.pad(columns, return_attention_mask=True)
        )
    columns["attention_mask"] = [[1] * len(row) for row in ids]
    assert plain(mine.pad(columns)) == plain(mine.pad(columns, return_attention_mask=True)), (
        "a mask that is given stays"
    )


def test_the_names_are_read_from_the_file(tmp_path: Path) -> None:
    BioGptTokenizer.from_pretrained("demo").save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_input_names": ["input_ids"]}))
    assert list(BioGptTokenizer.from_pretrained(tmp_path)("pain")) == ["input_ids"]


@pytest.mark.parametrize(
    ("texts", "options", "advice"),
    [
        ((["a", "a b"],), {}, "[tok.encode(text) for text in texts]"),
        ((["a", "a b"],), {"truncation": True}, "[tok.encode(text, truncation=True) for text in texts]"),
        ((["a", "abc def"],), {"max_length": 3}, "[tok.encode(text, max_length=3) for text in texts]"),
        (
            ([["a"], ["a", "b"]],),
            {"is_split_into_words": True, "add_special_tokens": False},
            "[tok.encode(text, is_split_into_words=True, add_special_tokens=False) for text in texts]",
        ),
        ((["a", "a b"], ["c", "d"]), {}, "[tok.encode(text, pair) for text, pair in zip(texts, pairs)]"),
    ],
)
def test_rows_of_unequal_length_can_be_encoded_one_by_one(
    texts: Any, options: Any, advice: str, tmp_path: Path
) -> None:
    tok, other = make_ours(0), make_slow(tmp_path, 0)
    with pytest.raises(InputError) as error:
        tok(*texts, **options)
    assert str(error.value).endswith(f"; call with padding=True, or write {advice} for rows without padding")
    rows = eval(advice, {"tok": tok, "texts": texts[0], "pairs": texts[-1], "zip": zip})  # the advice is true
    assert rows == other(*texts, **options)["input_ids"]


def test_a_list_of_windows_has_no_such_advice() -> None:
    with pytest.raises(InputError, match="call with padding=True$"):
        make_ours(0)("a b c", max_length=3, return_overflowing_tokens=True)


def test_a_data_collator_must_return_arrays() -> None:
    tok = make_ours(0)
    features = [tok("ab"), tok("fed cab")]
    with pytest.raises(InputError, match="; in a data collator, pass return_tensors='np'$"):
        DataCollatorWithPadding(tok)(features)
    got = DataCollatorWithPadding(tok, return_tensors="np")(features)
    assert plain(got) == plain(tok(["ab", "fed cab"], padding=True))
