"""Texts that are split into words: ids as transformers' slow tokenizer, words and characters as fast ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import InputError
from tests.support.tokenizer_texts import WORDS, WRITTEN
from tests.support.toy_tokenizers import LETTERS, make_fast, make_ours
from tests.tokenizer.test_tokenizer import every_vocabulary, ours, reference

WORD = st.sampled_from([*WORDS, *(text for text in WRITTEN if len(text) < 30)])
TOY_WORDS = st.lists(st.text(LETTERS, max_size=5), max_size=6)


def test_the_words_of_a_name_are_encoded_one_by_one() -> None:
    mine, words = ours("base"), ["Parkinson", "'s"]
    apart = [i for word in words for i in mine.encode(word, add_special_tokens=False)]
    got = mine(words, is_split_into_words=True)
    assert got.input_ids.tolist() == [[2, *apart]] == [reference("base")(words, is_split_into_words=True)["input_ids"]]
    assert got.word_ids() == [None, *(w for w, word in enumerate(words) for _ in mine.tokenize(word))]


@every_vocabulary
def test_ids_of_words_are_transformers(name: str) -> None:
    mine, other = ours(name), reference(name)

    @settings(max_examples=100)
    @given(st.lists(WORD, min_size=1, max_size=8), st.none() | st.lists(WORD, min_size=1, max_size=8), st.booleans())
    def same(words: list[str], pair: list[str] | None, cut: bool) -> None:
        options: dict[str, Any] = {"is_split_into_words": True, "truncation": cut, "max_length": 12 if cut else None}
        want = other(words, pair, **options)["input_ids"]
        assert mine(words, pair, **options).input_ids.tolist() == [want]
        assert mine.encode(words, pair, **options) == want
        pairs = None if pair is None else [pair, ["a"]]
        batch = other([words, ["pain"]], pairs, **options, padding=True)["input_ids"]
        assert mine([words, ["pain"]], pairs, **options, padding=True).input_ids.tolist() == batch
        if pair is not None:
            assert mine([(words, pair), (["pain"], ["a"])], **options, padding=True).input_ids.tolist() == batch

    same()


@settings(max_examples=100)
@given(TOY_WORDS, st.none() | TOY_WORDS, st.integers(5, 20))
def test_words_and_characters_are_those_of_a_fast_tokenizer(
    words: list[str], pair: list[str] | None, length: int
) -> None:
    """Including empty words, and texts without words."""
    mine, fast = make_ours(3), make_fast(3)
    options: dict[str, Any] = {"is_split_into_words": True, "return_offsets_mapping": True, "padding": "max_length"}
    options |= {"max_length": length, "truncation": True, "return_tensors": "np"}
    pairs = None if pair is None else [pair]
    sizes = [len(mine.encode(x, is_split_into_words=True, add_special_tokens=False)) for x in (words, pair or [])]
    if pair is not None and sum(sizes) + 2 > length:
        options |= {"truncation": False}  # which of a pair is cut first, fast and slow tokenizers do not agree on
    got, want = mine([words], pairs, **options), fast([words], pairs, **options)
    assert np.array_equal(got["input_ids"], want["input_ids"])
    assert np.array_equal(got["offset_mapping"], want["offset_mapping"])
    assert got.word_ids() == want.word_ids()
    assert got.sequence_ids() == want.sequence_ids()
    for sequence, text in enumerate([words, *(pairs or [])]):
        for w in range(len(text)):
            assert got.word_to_tokens(0, w, sequence) == want.word_to_tokens(0, w, sequence)


def test_empty_words_and_texts_without_words() -> None:
    mine = make_ours(3)
    assert mine([], is_split_into_words=True).input_ids.tolist() == [[2]]
    got = mine([["a", "", "b"], []], is_split_into_words=True, padding=True)
    assert got.word_ids(0) == [None, 0, 2]
    assert got.word_ids(1) == [None, None, None]
    assert mine([], ["a"], is_split_into_words=True).sequence_ids() == [None, None, 1]


def test_a_word_with_a_special_token_and_one_of_several_pieces_keep_their_index() -> None:
    mine = ours("demo")
    got = mine(["x</s>y", "IL-2"], is_split_into_words=True, return_offsets=True)
    ids = got.word_ids()
    assert ids == sorted(ids, key=lambda word: -1 if word is None else word)
    assert set(ids) == {None, 0, 1}
    middle = got.tokens().index("</s>", 1)
    assert ids[middle] == 0, "a special token in a text belongs to its word; only added ones belong to none"
    assert got["offsets"][0, middle].tolist() == [1, 5]
    assert got["offsets"][0, ids.index(1)].tolist()[0] == 0, "characters are counted from the start of each word"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ["a b", ["c"]],
            r"found str at index 0; split every text, for example with text.split\(\), or omit that option",
        ),
        ([["a"], None], "found NoneType at index 1; drop it"),
        ([["a", 3]], "found int 3 in the list at index 0; write numbers as text"),
        ([["a", b"b"]], "found bytes in the list at index 0; decode bytes"),
        ([[["a"], ["b"], ["c"]]], "found a list of 1 in the list at index 0; nest lists less deeply"),
        (3, "found int 3"),
        (None, "found NoneType; pass a text"),
    ],
)
def test_bad_words_are_one_clear_error(text: Any, message: str) -> None:
    must = "with is_split_into_words=True, text must be a list of words or a list of such lists; "
    with pytest.raises(InputError, match=must + message):
        make_ours(3)(text, is_split_into_words=True)


def test_the_words_of_one_text_only_where_one_is_expected() -> None:
    with pytest.raises(InputError, match="text must be the words of one text; found lists; call the tokenizer itself"):
        make_ours(3).encode([["a"], ["b"]], is_split_into_words=True)


@pytest.mark.parametrize("text", ["Ibuprofen treats pain.", [["Ibuprofen", "treats"], "mild pain."]])
def test_a_string_among_split_texts_is_a_text_as_in_transformers(text: Any) -> None:
    mine, other = ours("demo"), reference("demo")
    options = {"is_split_into_words": True, "padding": True}
    want, got = other(text, **options)["input_ids"], mine(text, **options)
    assert got["input_ids"].tolist() == (want if isinstance(want[0], list) else [want])
    assert mine("Ibuprofen", "treats pain", is_split_into_words=True)["input_ids"].tolist() == [
        other("Ibuprofen", "treats pain", is_split_into_words=True)["input_ids"]
    ]
    assert mine("mild pain", is_split_into_words=True).word_ids() == mine("mild pain").word_ids()
