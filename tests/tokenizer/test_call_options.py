"""Every option of a call against transformers' BioGptTokenizer: truncation, padding, pairs, masks, lengths."""

from __future__ import annotations

import re
import warnings
from collections import UserList
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import PaddingStrategy, TensorType

from minibiogpt import BioGptTokenizer, InputError
from minibiogpt.tokenizer import BatchEncoding
from tests.support.toy_tokenizers import make_ours, make_slow
from tests.tokenizer.test_tokenizer import TEXTS, every_vocabulary, ours, reference

ALPHABET = "abcdef .,-'&<1é"
TOYS = range(3)
TEXT = st.text("abcdef  ", max_size=20) | st.text(ALPHABET, max_size=12) | st.sampled_from(["</s>", "a</s>b", ""])
SIDES = st.sampled_from(["left", "right"])
KEYS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")
STRATEGY = st.sampled_from([None, True, False, "longest_first", "only_first", "only_second", "do_not_truncate"])
PADDING = st.sampled_from([True, "longest", "max_length", False, "do_not_pad"])


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[BioGptTokenizer, Any]]:
    return [(make_ours(seed), make_slow(tmp_path_factory.mktemp("toy"), seed)) for seed in TOYS]


def attempt(call: Callable[[], BatchEncoding]) -> tuple[BatchEncoding | None, str]:
    """Return the result, or None and the text of the error."""
    try:
        return call(), ""
    except InputError as error:
        return None, str(error)


def same_call(mine: Any, other: Any, texts: Any, pairs: Any, options: dict[str, Any]) -> None:
    """Compare a call; where ours refuses, the reference must have had no rectangular batch within the length."""
    names = {"return_token_type_ids": True, "return_special_tokens_mask": True, "return_length": True}
    names = names if options.get("add_special_tokens", True) else {"return_special_tokens_mask": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # max_length without effect, in both
        want = other(texts, pairs, **options, **names)
        got, refusal = attempt(lambda: mine(texts, pairs, **options, **names))
    if got is None:
        lengths = {len(row) for row in want["input_ids"]}
        if "same number of tokens" in refusal:
            assert len(lengths) > 1
        else:
            assert re.search("must leave at least one token|must have a second text|must have a known", refusal)
            assert options["padding"] == "max_length" or max(lengths) > options["max_length"]
        return
    too_long = options["padding"] == "max_length" and len({len(row) for row in want["input_ids"]}) > 1
    assert list(got.get("length", [])) == list(want.get("length", []))
    for key in KEYS:
        assert (key in got) == (key in want)
        if key not in want:
            continue
        assert got[key].dtype == np.int64
        if too_long:  # a row that was not truncated: the reference leaves the others shorter
            assert all(set(row) <= set(wide) for row, wide in zip(want[key], got[key].tolist(), strict=True))
        else:
            assert got[key].tolist() == want[key], (key, options)


@settings(max_examples=150)
@given(st.data())
def test_a_call_is_that_of_transformers(toys: Any, data: st.DataObject) -> None:
    mine, other = data.draw(st.sampled_from(toys))
    texts = data.draw(st.lists(TEXT, min_size=1, max_size=3))
    pairs = data.draw(st.none() | st.lists(TEXT, min_size=len(texts), max_size=len(texts)))
    side, options = data.draw(SIDES), call_options(data)
    mine.truncation_side = other.truncation_side = side
    same_call(mine, other, texts, pairs, options)


def call_options(data: st.DataObject) -> dict[str, Any]:
    """Draw options that transformers takes together."""
    options: dict[str, Any] = {
        "padding": data.draw(PADDING),
        "truncation": data.draw(STRATEGY),
        "max_length": data.draw(st.none() | st.integers(1, 14)),
        "padding_side": data.draw(st.none() | SIDES),
        "add_special_tokens": data.draw(st.booleans()),
    }
    multiple = data.draw(st.sampled_from([None, 1, 2, 5]))
    cuts = options["truncation"] not in (None, False, "do_not_truncate")
    if multiple and not (cuts and options["max_length"] and options["max_length"] % multiple):
        options["pad_to_multiple_of"] = multiple
    return options


@every_vocabulary
@pytest.mark.parametrize("side", ["left", "right"])
def test_real_vocabularies_are_truncated_and_padded_as_in_transformers(
    name: str, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = ours(name), reference(name)
    for tok in (mine, other):
        monkeypatch.setattr(tok, "truncation_side", side)
    firsts, seconds = [t for t in TEXTS[500:560] if t], [t for t in TEXTS[700:800] if t]
    for pairs in (None, seconds[: len(firsts)]):
        for strategy in (True, "only_first", "only_second"):
            if pairs is None and strategy == "only_second":
                continue
            for first, second in zip(firsts, pairs or [None] * len(firsts), strict=False):
                for length in (7, 40):
                    options = {"truncation": strategy, "max_length": length, "padding": "max_length"}
                    same_call(mine, other, [first], None if second is None else [second], options)


def test_the_example_of_a_left_truncation(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = ours("base"), reference("base")
    for tok in (mine, other):
        monkeypatch.setattr(tok, "truncation_side", "left")
    text = "Ibuprofen is best used for pain"
    want = other(text, truncation=True, max_length=4)["input_ids"]
    assert mine(text, truncation=True, max_length=4)["input_ids"].tolist() == [want]
    assert mine.encode(text, truncation=True, max_length=4) == want
    with pytest.raises(InputError, match="truncation_side must be 'left' or 'right'; found 'both'"):
        mine.truncation_side = "both"


def test_max_length_alone_truncates_and_with_padding_warns_that_it_does_not() -> None:
    mine, other = ours("demo"), reference("demo")
    text = "Patients with arthritis took ibuprofen."
    assert mine.encode(text, max_length=4) == other.encode(text, max_length=4)
    assert len(mine.encode(text, max_length=4)) == 4
    assert mine.encode(text, max_length=4, truncation=False) == mine.encode(text)
    with pytest.warns(UserWarning, match="max_length has no effect"):
        got = mine(text, max_length=4, padding=True)
    assert got.input_ids.tolist() == mine(text).input_ids.tolist()
    assert mine(text, max_length=4, padding=True, verbose=False).input_ids.shape == got.input_ids.shape


def test_the_options_may_be_transformers_enums() -> None:
    mine = ours("demo")
    options = {"padding": PaddingStrategy.MAX_LENGTH, "truncation": TruncationStrategy.ONLY_FIRST, "max_length": 5}
    got = mine("Patients with arthritis took ibuprofen", "for pain", **options, return_tensors=TensorType.NUMPY)
    assert got.input_ids.shape == (1, 5)
    assert type(got) is BatchEncoding


def test_pairs_may_be_passed_as_a_list_of_pairs() -> None:
    mine, other = ours("demo"), reference("demo")
    firsts, seconds = ["pain in the knee", "arthritis"], ["ibuprofen", "for a long time"]
    want = other(firsts, seconds, padding=True)["input_ids"]
    pairs = list(zip(firsts, seconds, strict=True))
    assert other(pairs, padding=True)["input_ids"] == want
    for given_pairs in (pairs, tuple(pairs), [list(pair) for pair in pairs], np.array(pairs)):
        assert mine(given_pairs, padding=True).input_ids.tolist() == want
        assert mine.batch_encode_plus(given_pairs, padding=True).input_ids.tolist() == want
    assert mine(text=firsts, text_pair=seconds, padding=True).input_ids.tolist() == want
    mixed = [pairs[0], "arthritis"]
    assert mine(mixed, padding=True).input_ids.tolist() == other(mixed, padding=True)["input_ids"]


class Column:
    """A column of a table, such as a pandas Series: no Sequence, but it has a list."""

    def tolist(self) -> list[str]:
        return ["pain in the knee", "arthritis"]


def test_any_sequence_of_texts_is_a_batch() -> None:
    mine, texts = ours("demo"), Column().tolist()
    want = mine(texts, padding=True).input_ids.tolist()
    for batch in (tuple(texts), np.array(texts), np.array(texts, dtype=object), UserList(texts), Column()):
        assert mine(batch, padding=True).input_ids.tolist() == want


def test_special_tokens_are_text_with_either_name_of_the_option() -> None:
    mine, other = ours("demo"), reference("demo")
    for split in (True, False):
        want = other("a</s>b", split_special_tokens=split)["input_ids"]
        assert mine.encode("a</s>b", split_special_tokens=split) == want
        assert mine.encode("a</s>b", parse_special=not split) == want
    with pytest.raises(InputError, match="split_special_tokens must be the opposite of parse_special; found True"):
        mine("a", split_special_tokens=True, parse_special=True)


def test_encode_and_its_relatives_are_transformers() -> None:
    mine, other = ours("demo"), reference("demo")
    text, pair = "Patients with arthritis", "took ibuprofen"
    array = mine.encode(text, pair, return_tensors="np")
    assert np.array_equal(array, other.encode(text, pair, return_tensors="np"))
    got = mine.encode_plus(text, pair, padding="max_length", max_length=16)
    want = other.encode_plus(text, pair, padding="max_length", max_length=16, return_tensors="np")
    assert np.array_equal(got["input_ids"], want["input_ids"])
    assert np.array_equal(got["attention_mask"], want["attention_mask"])
    assert mine(text, return_attention_mask=False).keys() == {"input_ids"}


IDS = st.lists(st.integers(4, 9), max_size=8)


@settings(max_examples=150)
@given(st.data())
def test_ids_are_prepared_as_in_transformers(toys: Any, data: st.DataObject) -> None:
    mine, other = toys[0]
    mine.truncation_side = other.truncation_side = data.draw(SIDES)
    ids, pair, options = data.draw(IDS), data.draw(st.none() | IDS), call_options(data)
    names = {"return_special_tokens_mask": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got, refusal = attempt(lambda: mine.prepare_for_model(ids, pair, **options, **names))
        if got is None:
            assert re.search("must leave|must have a (second|known)", refusal)
            return
        want = other.prepare_for_model(ids, pair, **options, **names)
    assert set(got) == set(want)
    for key in want:
        assert got[key].tolist() == want[key], (key, options)


@settings(max_examples=150)
@given(
    IDS, st.none() | IDS, st.integers(-1, 9), st.sampled_from(["longest_first", "only_first", "only_second"]), SIDES,
    st.integers(0, 4),
)  # fmt: skip
def test_sequences_are_truncated_as_in_transformers(
    toys: Any, ids: list[int], pair: list[int] | None, number: int, strategy: str, side: str, stride: int
) -> None:
    mine, other = toys[0]
    mine.truncation_side = other.truncation_side = side
    want = other.truncate_sequences(ids, pair, number, strategy, stride)
    try:
        assert mine.truncate_sequences(ids, pair, number, strategy, stride) == want
    except InputError:
        assert want == (ids, pair, []), "the reference logs an error and cuts nothing"
        assert number > 0


def test_one_row_with_a_batch_axis_and_without() -> None:
    mine = ours("demo")
    assert mine.prepare_for_model([7, 8]).input_ids.tolist() == [2, 7, 8]
    assert mine.prepare_for_model([7, 8], prepend_batch_axis=True).input_ids.tolist() == [[2, 7, 8]]
    assert mine.prepare_for_model(torch.tensor([7, 8])).input_ids.tolist() == [2, 7, 8]
    rows = mine.prepare_for_model(
        [7, 8, 9], truncation=True, max_length=3, return_overflowing_tokens=True, padding=True
    )
    assert rows.overflow_to_sample_mapping.tolist() == [0, 0]


def test_a_tokenizer_that_splits_special_tokens_by_default(tmp_path: Path) -> None:
    mine = make_ours(0)
    mine.split_special_tokens = True
    other = make_slow(tmp_path, 0, split_special_tokens=True)
    assert isinstance(other, transformers.BioGptTokenizer)
    assert mine.encode("a</s>b") == other("a</s>b")["input_ids"]
    assert mine.encode("a</s>b", split_special_tokens=False) == other("a</s>b", split_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tok: tok("a", truncatio=True), "found truncatio; did you mean truncation?"),
        (lambda tok: tok("a", pad_to_max_length=True), "write padding='max_length'"),
        (lambda tok: tok("a", text_target="b"), "found text_target; encode the target with a call of its own"),
        (lambda tok: tok("a", truncation_side="left"), "tok.truncation_side = 'left'"),
        (lambda tok: tok.encode("a", zzzz=1), "a tokenizer must be called with known arguments; found zzzz"),
        (
            lambda tok: tok.prepare_for_model([4], return_offsets=True),
            "prepare_for_model must be called with known arguments; found return_offsets",
        ),
        (lambda tok: tok("a", return_tensors="pt"), r"found 'pt'; omit it and write torch.from_numpy\(encoding\["),
        (lambda tok: tok("a", return_tensors=TensorType.PYTORCH), "torch.from_numpy"),
        (lambda tok: tok("a", return_tensors="tf"), "tf.constant"),
        (lambda tok: tok("a", return_tensors="jax"), "jax.numpy.asarray"),
        (lambda tok: tok("a", return_tensors="mlx"), "mlx.core.array"),
        (lambda tok: tok("a", return_tensors=3), "return_tensors must be 'np' or None.*found 3; omit it"),
        (lambda tok: tok("a", stride=-1), "stride must be an integer, 0 or more; found -1"),
        (lambda tok: tok("a", pad_to_multiple_of=0), "pad_to_multiple_of must be an integer, 1 to 4294967296; found 0"),
        (lambda tok: tok("a", add_special_tokens=None, return_offsets="yes"), "return_offsets must be True or False"),
        (
            lambda tok: tok("a", truncation=True, max_length=5, padding=True, pad_to_multiple_of=4),
            "must be a multiple of pad_to_multiple_of; found 5 and 4; pass max_length=4",
        ),
        (
            lambda tok: tok("a", return_token_type_ids=True, add_special_tokens=False),
            "return_token_type_ids=True must have add_special_tokens=True",
        ),
        (lambda tok: tok("a b c", truncation="only_second", max_length=2), "must have a second text"),
        (
            lambda tok: tok("a b c d", "e", truncation="only_second", max_length=4),
            "'only_second' must leave at least one token of that text; found 3 of its 1 tokens to remove",
        ),
        (
            lambda tok: tok.prepare_for_model("abc"),
            "ids must be a list of integers; found 'abc'; pass texts to the tok",
        ),
        (lambda tok: tok.prepare_for_model([4], [None]), "pair_ids must be a list of integers; found None"),
        (lambda tok: tok.truncate_sequences([4, 5], None, 1.5), "num_tokens_to_remove must be an integer"),
        (lambda tok: tok.encode_plus(["a"]), "text must be one string; found list; call the tokenizer itself"),
        (lambda tok: tok.encode([4, 5]), "found list; .*, for ids prepare_for_model"),
        (lambda tok: tok.encode(b"a"), r"text must be one string; found bytes; decode bytes: text.decode\(\)"),
        (lambda tok: tok.encode(None), "text must be one string; found NoneType; pass a text"),
        (lambda tok: tok.encode("a", 3), "text_pair must be one string; found int 3; write numbers as text"),
    ],
)
def test_bad_options_are_one_clear_error(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(make_ours(0))


BATCH = "text must be a string or a list of one or more strings; found "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "an empty list; pass at least one text, or skip an empty batch"),
        ((), "an empty list; pass at least one"),
        (None, "NoneType; pass a text"),
        (["a", None], "NoneType at index 1; drop it, or write '' for a missing text"),
        (["a", float("nan")], "nan at index 1; drop it, or write ''"),
        (["a", b"b"], r"bytes at index 1; decode bytes: text.decode\(\)"),
        (bytearray(b"b"), "bytearray; decode bytes"),
        (3.5, "float 3.5; write numbers as text with str"),
        ([2, 14], "int 2 at index 0; write numbers as text with str; for ids call prepare_for_model or pad"),
        (np.array([[2, 14]]), "int 2 in the list at index 0; write numbers"),
        ([["a", "b", "c"]], "a list of 3 at index 0; a pair has two strings; for texts split into words pass is_split"),
        ([["a"], ["b"]], "a list of 1 at index 0; a pair"),
        ([[("a", "b")]], "a list of 1 at index 0; a pair"),
        ([["a", None]], "NoneType in the list at index 0; drop it"),
        ({"text": "a"}, "dict; make a list of its texts"),
        ({"a"}, "set; make a list"),
        ((text for text in "ab"), "generator; make a list"),
        ([object()], "object at index 0; pass a string"),
    ],
)
def test_each_kind_of_bad_text_has_its_own_advice(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(BATCH) + message if "(" not in message else message):
        make_ours(0)(text)


def test_pairs_cannot_be_passed_twice() -> None:
    tok = make_ours(0)
    for call in (lambda: tok([("a", "b")], ["c"]), lambda: tok(["a"], [("b", "c")])):
        with pytest.raises(InputError, match="text and text_pair must each hold single texts; found pairs"):
            call()
    with pytest.raises(
        InputError, match="text_pair must be a string or a list of one or more strings; found NoneType at"
    ):
        tok(["a"], [None])
