"""Separated digits and tags, as in BioGPT-Large: properties of every text, and texts through the tokenizer."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptTokenizer
from minibiogpt.cli import main
from minibiogpt.tokenizer.large_text import clean_large, join_digits, remove_tags, split_digits
from tests.tokenizer.test_tokenizer import TEXTS, folder

WORDS = ["100", "7", "2.5", "1,5", "1,024", "0.05.", "IC50", "p53", "2020-03-11", "mg", ".", ",", "and", "1.2.3", "(4)"]
CHARACTERS = st.lists(st.sampled_from([*"0123456789", " ", " ", ".", ",", "-", "a", ". ", ", ", " . "]), max_size=12)
TEXT = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join) | CHARACTERS.map("".join) | st.text(max_size=40)
TAGGED = st.lists(
    st.sampled_from(["< TITLE >", "< / FREETEXT >", "▃", "</ABSTRACT>", "P < 0.05", "x", "1 2"]), max_size=8
)


def has_separated_digits(text: str) -> bool:
    """Whether two digits are separated by a space, with or without a point or comma."""
    return re.search(r"[0-9] ?[.,]? [0-9]", text) is not None


@given(TEXT)
def test_joining_undoes_splitting_of_a_text_without_separated_digits(text: str) -> None:
    if not has_separated_digits(text):
        assert join_digits(split_digits(text)) == text


@given(TEXT)
def test_each_does_its_work_at_once(text: str) -> None:
    assert split_digits(split_digits(text)) == split_digits(text)
    assert join_digits(join_digits(text)) == join_digits(text)
    assert re.search(r"[0-9][.,]?[0-9]", split_digits(text)) is None


@given(TEXT)
def test_only_blanks_come_and_go_and_only_next_to_digits(text: str) -> None:
    for changed in (split_digits(text), join_digits(text)):
        assert changed.replace(" ", "") == text.replace(" ", "")
    if not re.search("[0-9]", text):
        assert split_digits(text) == join_digits(text) == text


@given(TAGGED, st.sampled_from([" ", ""]))
def test_no_tag_is_left_and_everything_else_is(parts: list[str], space: str) -> None:
    cleaned = remove_tags(space.join(parts))
    assert not re.search("▃|TITLE|FREETEXT|ABSTRACT", cleaned)
    assert cleaned.split() == " ".join(p for p in parts if p in ("P < 0.05", "x", "1 2")).split() or space == ""
    assert remove_tags(cleaned) == cleaned


@given(st.text(max_size=40))
def test_a_text_without_tags_stays_as_it_is(text: str) -> None:
    if "▃" not in text and "<" not in text:
        assert remove_tags(text) == text


@pytest.mark.parametrize(
    ("text", "separated"),
    [
        ("100 mg", "1 0 0 mg"),
        ("12.5 or 1,5", "1 2 . 5 or 1 , 5"),
        ("1.2.3", "1 . 2 . 3"),
        ("p53, IC50, 2020-03-11.", "p5 3, IC5 0, 2 0 2 0-0 3-1 1."),
        ("1 2. 3", "1 2. 3"),
        ("٣٤", "٣٤"),
    ],
)
def test_what_is_separated(text: str, separated: str) -> None:
    assert split_digits(text) == separated


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("in 1 2 patients were", "in 12 patients were"),  # ambiguous: the docstring says so
        ("of grade 1. 2 died", "of grade 1.2 died"),  # ambiguous, too
        ("on day 1 1, 1 1 8 died", "on day 11,118 died"),  # and so is this
        ("in 1998. 2 died", "in 1998. 2 died"),
        ("in 2020 1 died", "in 2020 1 died"),
        ("1 2 34", "12 34"),
        ("HEK2 9 3T and p5 3", "HEK293T and p53"),
        ("1, 2 3 4, 5 6 7", "1,234,567"),
        ("1 , 5 and 1 . 5", "1,5 and 1.5"),
        ("1, 2 3 4 5", "1, 2345"),
        ("1  0", "1  0"),
        ("1\n0", "1\n0"),
        ("٣ ٤", "٣ ٤"),
    ],
)
def test_what_is_joined_and_what_is_not(written: str, meant: str) -> None:
    assert join_digits(written) == meant


@pytest.mark.parametrize("tag", ["< DNA >", "< / P >", "<title>", "A < TITLE", "P < 0.05 and Q > 2"])
def test_other_angle_brackets_stay(tag: str) -> None:
    assert remove_tags(tag) == tag


def test_numbers_survive_the_way_through_larges_tokenizer() -> None:
    """Split digits, encode, decode and clean up: the text is the same, and no piece holds two digits."""
    large = BioGptTokenizer.from_pretrained(folder("large"))
    text = "IC50 was 12.5 nM in 1,024 cells on 2020-03-11 (P = 0.05, 7.5%)."
    ids = large.encode(split_digits(text))
    assert not any(re.search("[0-9].?[0-9]", piece) for piece in large.convert_ids_to_tokens(ids))
    assert clean_large(large.decode(ids, skip_special_tokens=True)) == text
    ends = large.encode("It is safe. < / FREETEXT > < / ABSTRACT > ▃")
    assert large.unk_token_id not in ends
    assert clean_large(large.decode(ends, skip_special_tokens=True)) == "It is safe."


def test_cleaning_never_fails_and_leaves_a_text_without_digits_and_tags_alone() -> None:
    for text in TEXTS:
        if not re.search("[0-9▃]|< ?/? ?[A-Z]", text):
            assert clean_large(text) == text


def test_the_command_splits_what_goes_in_and_cleans_what_comes_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["generate", "Patient B42 was given", "--max-new-tokens", "4"]
    assert main([*words, "--json", "--split-digits"]) == 0
    (separated,) = json.loads(capsys.readouterr().out)
    demo = BioGptTokenizer.from_pretrained("demo")
    assert separated["prompt"] == words[1]
    assert separated["prompt_ids"] == demo.encode("Patient B4 2 was given")
    assert main([*words, "--json", "--split-digits", "--clean-large"]) == 0
    (cleaned,) = json.loads(capsys.readouterr().out)
    assert cleaned["prompt_ids"] == separated["prompt_ids"]
    assert separated["text"].startswith("Patient B4 2 was given")
    assert cleaned["text"] == clean_large(separated["text"])
    assert cleaned["continuation"] == clean_large(separated["continuation"])
    assert main([*words, "--split-digits", "--clean-large"]) == 0
    assert capsys.readouterr().out == cleaned["text"] + "\n"
    monkeypatch.setattr(
        "minibiogpt.tokenizer.large_text.clean_large", str.upper
    )  # because there is nothing to clean in the new part
    assert main([*words, "--json", "--split-digits", "--clean-large"]) == 0
    (loud,) = json.loads(capsys.readouterr().out)
    assert loud["continuation"] == separated["continuation"].upper() != separated["continuation"]


def test_cleaning_and_streaming_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a", "--stream", "--clean-large"]) == 2
    assert "found --stream and --clean-large" in capsys.readouterr().err


def test_a_long_run_of_spaces_is_read_once() -> None:
    """Before, it was read again from each of its spaces, which took an hour."""
    spaces = " " * 300_000
    assert remove_tags(f"a{spaces}b") == f"a{spaces}b"
    assert remove_tags(f"a{spaces}<TITLE>{spaces}▃{spaces}b") == "a b"
    assert join_digits("1 " * 100_000 + "a") == "1" * 100_000 + " a"
