"""Long texts as windows, against a fast tokenizer with the same pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minibiogpt import InputError
from tests.support.toy_tokenizers import LETTERS, make_fast, make_ours

SEED = 1
TEXT = st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=12).map(" ".join)
SIDES = st.sampled_from(["left", "right"])


@settings(max_examples=150)
@given(st.lists(TEXT, min_size=1, max_size=3), st.integers(2, 12), st.integers(0, 8), SIDES, SIDES)
def test_windows_are_those_of_a_fast_tokenizer(
    texts: list[str], length: int, stride: int, side: str, padding_side: str
) -> None:
    assume(stride < length - 1)
    check(texts, None, True, length, stride, side, padding_side)


@settings(max_examples=100)
@given(st.data(), st.integers(1, 6), st.integers(0, 5), SIDES, SIDES)
def test_windows_over_one_text_of_a_pair_are_those_of_a_fast_tokenizer(
    data: st.DataObject, more: int, stride: int, side: str, padding_side: str
) -> None:
    texts, pairs = data.draw(st.tuples(*[st.lists(TEXT, min_size=2, max_size=2)] * 2))
    strategy = data.draw(st.sampled_from(["only_first", "only_second"]))
    mine = make_ours(SEED)
    fixed = [mine.encode(text, add_special_tokens=False) for text in (texts if strategy == "only_second" else pairs)]
    check(texts, pairs, strategy, 2 + max(map(len, fixed)) + stride + more, stride, side, padding_side)


def check(
    texts: list[str], pairs: list[str] | None, strategy: Any, length: int, stride: int, side: str, padding_side: str
) -> None:
    mine, fast = make_ours(SEED), make_fast(SEED, truncation_side=side)
    mine.truncation_side = side
    options: dict[str, Any] = {"truncation": strategy, "max_length": length, "stride": stride, "padding": True}
    options |= {"return_overflowing_tokens": True, "return_offsets_mapping": True, "padding_side": padding_side}
    options |= {"return_special_tokens_mask": True, "return_token_type_ids": True, "return_tensors": "np"}
    got, want = mine(texts, pairs, **options), fast(texts, pairs, **options)
    assert set(got) == set(want)
    for key in want:
        assert np.array_equal(got[key], want[key]), key
        assert got[key].dtype == np.int64
    for row in range(len(want["input_ids"])):
        assert got.word_ids(row) == want.word_ids(row)
        assert got.sequence_ids(row) == want.sequence_ids(row)
        assert got.tokens(row) == want.tokens(row)


@given(TEXT.filter(lambda text: len(text) > 9), st.integers(3, 8), SIDES)
def test_without_its_repeats_a_window_after_another_is_the_text(text: str, length: int, side: str) -> None:
    """Whatever another library does: rows hold the text in order, and neighbors share exactly the stride."""
    mine = make_ours(SEED)
    mine.truncation_side, stride, ids = side, 2 if length > 3 else 1, mine.encode(text)[1:]
    rows = mine(text, truncation=True, max_length=length, stride=stride, return_overflowing_tokens=True, padding=True)
    kept = [row[mask == 1][1:].tolist() for row, mask in zip(rows.input_ids, rows.attention_mask, strict=True)]
    kept = kept[::-1] if side == "left" else kept
    whole = kept[0].copy()
    for before, after in pairwise(kept):
        assert before[-stride:] == after[:stride]
        whole += after[stride:]
    assert whole == ids
    assert max(map(len, kept)) <= length - 1


def test_the_rows_of_a_batch_say_which_text_they_come_from() -> None:
    mine = make_ours(SEED)
    options = {"truncation": True, "max_length": 3, "return_overflowing_tokens": True, "padding": True}
    got = mine(["a", "a b c d e", ""], **options)
    assert got.overflow_to_sample_mapping.tolist() == [0, 1, 1, 1, 2]
    assert got.attention_mask.sum(axis=1).tolist() == [2, 3, 3, 2, 1]
    whole = mine(["a", "b"], return_overflowing_tokens=True)
    assert whole.overflow_to_sample_mapping.tolist() == [0, 1], "without truncation, each text is one row"
    assert mine.encode("a b c d e", **options) == got.input_ids[1].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda tok, **options: tok("a b c d", max_length=4, stride=3, **options),
            "stride must be smaller than the tokens of the text that fit into a row; found stride 3, and room for 3",
        ),
        (
            lambda tok, **options: tok("a b c d", max_length=1, **options),
            "found stride 0, and room for 0; decrease stride or increase max_length",
        ),
        (
            lambda tok, **options: tok("a b", "c d", max_length=4, **options),
            "must know which text of a pair to split; found truncation='longest_first'; write truncation='only_first'",
        ),
        (
            lambda tok, **options: tok("a b", "c d", max_length=4, **options | {"truncation": "only_second"}),
            "'only_second' must leave at least one token of that text; found 2 of its 2 tokens to remove",
        ),
        (lambda tok, **options: tok("a b c", max_length=3, **options | {"padding": False}), "call with padding=True"),
    ],
)
def test_impossible_windows_are_one_clear_error(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(make_ours(SEED), truncation=True, return_overflowing_tokens=True, padding=True)


def test_neither_overflow_of_the_slow_tokenizer_is_an_entry() -> None:
    got = make_ours(SEED)("a b c d", truncation=True, max_length=3, return_overflowing_tokens=True, padding=True)
    for name in ("overflowing_tokens", "num_truncated_tokens"):
        with pytest.raises(AttributeError, match="further rows"):
            getattr(got, name)
