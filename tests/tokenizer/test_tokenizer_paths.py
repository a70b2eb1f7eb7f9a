"""The tokenizer's shortcuts change nothing: ids without spans, cached words, cached character sets."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import sacremoses
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minibiogpt.tokenizer import bpe, moses, offsets
from minibiogpt.tokenizer.bpe import Words
from tests.support.tokenizer_texts import ALPHABET, SPECIAL, WORDS, WRITTEN
from tests.tokenizer.test_tokenizer import FOLDERS, ours, reference

ODD = [
    "i.v.",
    "e.g",
    "No.",
    "p.",
    "Dr.",
    "Ärzte.",
    "ǅ.",
    "ß",
    "ʰ.",
    "ⓐ",
    "ª",
    "１.",
    "Ⅷ.",
    "ำ.",
    "\u0301.",
    "\U0001d51e.",
    "..",
    "…",
    "\ufeff",
]
PART = (
    st.text(max_size=12)
    | st.text(ALPHABET, max_size=12)
    | st.sampled_from([*WORDS, *SPECIAL, *ODD])
    | st.sampled_from([text for text in WRITTEN if len(text) < 30])
)
TEXT = st.builds(
    lambda between, parts: between.join(parts), st.sampled_from(["", " ", "  ", ". ", "."]), st.lists(PART)
)


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_are_transformers_whatever_the_text(name: str) -> None:
    mine, other = ours(name), reference(name)

    @settings(max_examples=400)
    @given(TEXT)
    def same(text: str) -> None:
        assert mine.encode(text) == other(text)["input_ids"]
        assert mine.tokenize(text) == other.tokenize(text)

    same()


@given(TEXT, st.none() | TEXT, st.booleans(), st.booleans(), st.none() | st.integers(1, 20))
def test_ids_are_the_same_with_offsets_and_without(
    text: str, pair: str | None, parse: bool, special: bool, limit: int | None
) -> None:
    tok = ours("demo")
    pairs = None if pair is None else [pair, "a pair"]
    options: dict[str, Any] = {"parse_special": parse, "add_special_tokens": special, "padding": True}
    if limit is not None:
        options |= {"truncation": True, "max_length": limit}
    without, both = (tok([text, "other"], pairs, **options, return_offsets=flag) for flag in (False, True))
    assert set(both) - set(without) == {"offsets"}
    assert all(np.array_equal(without[key], both[key]) for key in without)
    assert [piece.piece for piece in tok.analyse(text, parse_special=parse)] == tok.tokenize(text, parse_special=parse)


PLAIN = sacremoses.MosesTokenizer(lang="en")
SPLIT = moses.splitter()
CHANGED: Any = SPLIT.func.__self__  # type: ignore[attr-defined]


@settings(max_examples=300)
@given(TEXT)
def test_words_are_those_of_an_unchanged_sacremoses(text: str) -> None:
    assert SPLIT(text) == PLAIN.tokenize(text, aggressive_dash_splits=True, return_str=False, escape=True)


DOTS = st.lists(st.sampled_from(["DOT", "MULTI", "DOTMULTI", ".", "..", "....", " ", "a", "\n", ",", "'"]), max_size=12)


@settings(max_examples=200)
@given(DOTS.map("".join))
@example("DOTMULTI.a")
@example("..DOTMULTI..")
def test_dots_and_their_marks_are_those_of_an_unchanged_sacremoses(text: str) -> None:
    assert SPLIT(text) == PLAIN.tokenize(text, aggressive_dash_splits=True, return_str=False, escape=True)


@pytest.mark.parametrize("end", ["", " MULTI", " DOTMULTI"])
def test_a_long_run_of_dots_or_of_their_name_is_read_once(end: str) -> None:
    """Before, the second took a minute in any sacremoses, and the first did before version 0.2."""
    n = 100_000
    assert SPLIT("a " + "." * n + end) == ["a", "." * n, *SPLIT(end)]
    assert SPLIT("DOT" * n + end) == ["DOT" * n, *SPLIT(end)]
    assert len(offsets._kept("DOT" * n + " MULTI")) == 3 * n + 5


def test_the_two_sets_hold_the_characters_of_sacremoses() -> None:
    every = list(map(chr, range(sys.maxunicode + 1)))
    assert {c for c in every if CHANGED.islower(c)} == set(PLAIN.IsLower)
    assert {c for c in every if CHANGED.isanyalpha(c)} == set(PLAIN.IsAlpha)


@given(st.text(max_size=4) | st.sampled_from(ODD))
@example("")
def test_the_two_questions_have_the_answers_of_sacremoses(text: str) -> None:
    assert CHANGED.islower != PLAIN.islower
    assert (CHANGED.islower(text), CHANGED.isanyalpha(text)) == (PLAIN.islower(text), PLAIN.isanyalpha(text))


@given(TEXT)
def test_walking_through_a_text_finds_the_spans_that_comparing_finds(text: str) -> None:
    words = SPLIT(text)
    scanned, compared = offsets._scan(words, text), offsets._compare(words, text)
    assert scanned is None or offsets.align(words, text) == compared
    if "MULTI" not in text and all(c >= " " or c.isspace() for c in text):
        assert scanned is not None, "only other texts need the comparison"


@pytest.mark.parametrize("text", ["a DOTMULTI b", "a\x01b", "DOT\x00MULTI"])
def test_what_moses_rewrote_is_not_walked_through(text: str) -> None:
    assert offsets._scan(SPLIT(text), text) is None


def test_a_text_that_goes_on_after_the_last_word_is_not_walked_through() -> None:
    assert offsets._scan(["a"], "a \x02\u2003") == [0]
    assert offsets._scan(["a"], "a b") is None


def test_the_kept_words_are_bounded_and_forgetting_them_changes_no_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "MAX_WORDS", 5)
    monkeypatch.setattr(bpe, "MAX_WORD_LENGTH", 6)
    tok = ours("demo")
    few = Words(tok.ranks, tok.vocab, tok.unk_token_id)
    texts = ["Patients with arthritis took", "ibuprofen for pain", "with pain for arthritis", "汉字 ☤"]
    words = [word for text in texts for word in text.split()]
    largest = 0
    for word in words * 2:
        assert list(few[word].pieces) == bpe.merge_word(word, tok.ranks)
        assert list(few[word].ids) == tok.convert_tokens_to_ids(few[word].pieces)
        assert word in few or len(word) > 6
        largest = max(largest, len(few))
    assert largest == 5
    assert max(map(len, few)) <= 6
    assert few["ab"] is few["ab"], "merged once"
    assert few[""] == ((), ())
