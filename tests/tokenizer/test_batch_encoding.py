"""What a tokenizer returns: a dictionary that also knows words, texts and characters."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import BioGptForCausalLM, InputError
from minibiogpt.backend import device_of, get_backend, register_backend
from minibiogpt.tokenizer import BatchEncoding
from tests.support.strict import StrictArray, StrictBackend
from tests.support.toy_tokenizers import LETTERS, make_fast, make_ours
from tests.tokenizer.test_tokenizer import TEXTS, ours

TEXT = st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=6).map("  ".join)


def test_it_is_a_dictionary_whose_entries_are_attributes() -> None:
    got = ours("demo")(["pain", "arthritis of the knee"], padding=True)
    assert isinstance(got, dict)
    assert list(got) == list(got.keys()) == ["input_ids", "attention_mask"]
    assert len(got) == 2
    assert got.input_ids is got["input_ids"]
    assert {**got}.keys() == got.keys()
    assert got[:1]["input_ids"].tolist() == got.input_ids[:1].tolist()
    assert got.data is got
    got["labels"] = [0, 1]
    assert got.labels == [0, 1]
    assert BatchEncoding({"input_ids": [[2, 4]]}, tensor_type="np").input_ids.dtype == np.int64
    assert BatchEncoding().n_sequences is None


def test_a_model_takes_it_whole() -> None:
    model = BioGptForCausalLM.from_pretrained("demo")
    got = ours("demo")("Ibuprofen treats", return_tensors="np").to(device_of(model.backend))
    assert np.array_equal(model(**got).logits, model(got["input_ids"]).logits)
    ids = model.generate(**got, max_new_tokens=3)
    assert np.array_equal(ids, model.generate(got["input_ids"], max_new_tokens=3))


def test_moving_it_changes_the_arrays_in_place() -> None:
    got = ours("demo")("pain")
    for device in ("cpu", torch.device("cpu"), -1, get_backend("numpy")):
        assert got.to(device, non_blocking=True) is got
        assert type(got.input_ids) is np.ndarray
    with pytest.raises(InputError, match="a device must be"):
        got.to("gpu")
    with pytest.raises(InputError, match="a device must be"):
        got.to(torch.float16)


def test_moving_it_to_a_device_converts_every_array_of_numbers() -> None:
    register_backend("strict", StrictBackend)
    got = ours("demo")("pain")
    got["text"], got["name"] = ["pain"], np.array(["pain"])
    assert got.to(get_backend("strict")) is got
    assert isinstance(got.input_ids, StrictArray)
    assert isinstance(got.attention_mask, StrictArray)
    assert got.text == ["pain"]
    assert type(got.name) is np.ndarray
    assert got.word_ids() == [None, 0]
    assert type(got.to("cpu").input_ids) is np.ndarray


@settings(max_examples=60)
@given(TEXT, st.none() | TEXT, st.sampled_from(["left", "right"]), st.booleans())
def test_every_question_has_the_answer_of_a_fast_tokenizer(
    text: str, pair: str | None, side: str, special: bool
) -> None:
    mine, fast = make_ours(2), make_fast(2)
    options: dict[str, Any] = {"padding": True, "padding_side": side, "add_special_tokens": special}
    texts, pairs = [text, "abc de"], None if pair is None else [pair, "f"]
    got, want = mine(texts, pairs, **options), fast(texts, pairs, **options)
    assert got.input_ids.tolist() == want["input_ids"]
    assert got.n_sequences == (1 if pair is None else 2)
    for row in range(2):
        assert got.tokens(row) == want.tokens(row)
        assert got.word_ids(row) == got.words(row) == want.word_ids(row)
        assert got.sequence_ids(row) == want.sequence_ids(row)
        for t in range(got.input_ids.shape[1]):
            assert got.token_to_chars(row, t) == want.token_to_chars(row, t)
            assert got.token_to_word(row, t) == want.token_to_word(row, t)
            if got.word_ids(row)[t] is not None:
                assert got.token_to_sequence(row, t) == want.token_to_sequence(row, t)
        for sequence, whole in enumerate([texts[row], *([] if pairs is None else [pairs[row]])]):
            for c in range(len(whole)):
                assert got.char_to_token(row, c, sequence) == want.char_to_token(row, c, sequence)
                assert got.char_to_word(row, c, sequence) == want.char_to_word(row, c, sequence)
            for w in range(len(whole.split())):
                assert got.word_to_tokens(row, w, sequence) == want.word_to_tokens(row, w, sequence)
                assert got.word_to_chars(row, w, sequence) == want.word_to_chars(row, w, sequence)


def test_one_index_asks_the_first_row() -> None:
    got = make_ours(2)("ab c")
    t = got.char_to_token(3)
    assert t == got.char_to_token(0, 3)
    assert got.char_to_token(2) is None, "a space"
    assert (got.char_to_word(3), got.token_to_word(t), got.token_to_sequence(t)) == (1, 1, 0)
    assert got.token_to_chars(t) == (3, 4) == (got.word_to_chars(1).start, got.word_to_chars(1).end)
    assert got.token_to_chars(0) is None
    assert (got.word_to_tokens(1).start, got.word_to_tokens(1).end) == (t, t + 1)
    assert got.word_to_tokens(9) is None
    assert got.word_to_chars(9) is None
    assert got.word_ids(-1) == got.word_ids(0)


def test_words_of_ordinary_text_are_those_of_moses() -> None:
    """Each word's pieces together are one of Moses' words, or a special token that the text has."""
    tok = ours("demo")
    for text in TEXTS[:400]:
        got = tok(text, return_offsets=True)
        words: dict[int, str] = {}
        for piece, word in zip(got.tokens(), got.word_ids(), strict=True):
            if word is not None:
                words[word] = words.get(word, "") + piece
        assert list(words) == list(range(len(words)))
        assert "".join(words.values()) == "".join(tok.tokenize(text))
        for word in words.values():
            assert word in tok.all_special_tokens or word.index("</w>") == len(word) - 4 or "</w>" in text, (text, word)
        spans = [tuple(got.token_to_chars(t) or (0, 0)) for t in range(len(got.tokens()))]
        assert spans == [tuple(span) for span in got.offsets[0].tolist()]


def test_it_is_pickled_and_copied_with_its_words() -> None:
    tok = make_ours(2)
    got = tok(["ab c", "d"], padding=True)
    twin, shallow, deep = pickle.loads(pickle.dumps(got)), copy.copy(got), copy.deepcopy(got)
    for other in (twin, shallow, deep, got.copy()):
        assert type(other) is BatchEncoding
        assert np.array_equal(other.input_ids, got.input_ids)
        assert other.word_ids(0) == got.word_ids(0)
        assert (other.tokens(1), other.n_sequences) == (got.tokens(1), 1)
    assert shallow.input_ids is got.input_ids
    assert deep.input_ids is not got.input_ids
    other.update(labels=1)
    assert "labels" not in got
    assert b"BioGptTokenizer" not in pickle.dumps(got), "the vocabulary does not travel with each batch"
    plain = pickle.loads(pickle.dumps(BatchEncoding({"a": 1})))
    assert plain == {"a": 1}


def test_lists_become_arrays_and_ragged_ones_one_error() -> None:
    got = BatchEncoding({"input_ids": [2, 4], "labels": 1.5, "none": []})
    assert got.convert_to_tensors() is got
    assert got.labels == 1.5
    assert got.convert_to_tensors("np", prepend_batch_axis=True) is got
    assert (got.input_ids.tolist(), got.labels.tolist(), got.none.dtype) == ([[2, 4]], [1.5], np.int64)
    with pytest.raises(
        InputError, match="the rows of a must have the same length to be an array; found rows of unequal"
    ):
        BatchEncoding({"a": [[1], [1, 2]]}).convert_to_tensors("np")
    with pytest.raises(
        InputError, match="tensor_type must be 'np' or None.*found 'pt'; omit it and write torch.from_n"
    ):
        got.convert_to_tensors("pt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("input_id", "BatchEncoding has no attribute 'input_id'; did you mean input_ids?"),
        ("word_idz", "did you mean word_ids?"),
        ("token_type_ids", "call the tokenizer with return_token_type_ids=True"),
        ("offset_mapping", "call the tokenizer with return_offsets_mapping=True"),
        ("encodings", r"write tokens\(i\), word_ids\(i\)"),
        ("zzzz", "see its documentation"),
    ],
)
def test_an_unknown_attribute_says_what_to_write(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(make_ours(2)("a"), name)


def test_an_unknown_entry_is_a_key_error_that_says_what_to_write() -> None:
    got = make_ours(2)("a")
    with pytest.raises(KeyError, match="has no entry 'special_tokens_mask'; call the tokenizer with return_special"):
        got["special_tokens_mask"]
    with pytest.raises(KeyError, match="has no entry 0; it has input_ids, attention_mask"):
        got[0]
    assert got.get("zzzz") is None


def test_questions_without_an_answer_are_one_clear_error() -> None:
    tok = make_ours(2)
    got = tok("a")
    for call in (lambda: got.word_ids(1), lambda: got.tokens("a"), lambda: got.word_ids(-2)):
        with pytest.raises(InputError, match="the index of a row must be below 1"):
            call()
    with pytest.raises(InputError, match="the index of a token must be below 2; found 2; correct the index"):
        got.token_to_chars(2)
    for made in (tok.pad([got]), tok.prepare_for_model([4])):
        with pytest.raises(InputError, match="an encoding must come from texts to know its words"):
            made.word_ids()


def test_a_tokenizer_that_changed_since_is_one_clear_error() -> None:
    tok = make_ours(2)
    got, known = tok("ab c"), tok("ab c")
    words = known.word_ids()
    tok.add_tokens(["ab c"])
    with pytest.raises(InputError, match="the tokenizer must not change between a call and the first question"):
        got.word_ids()
    assert known.word_ids() == words
    later = tok("ab c")
    tok.sep_token = tok.pad_token
    with pytest.raises(InputError, match="found other ids for the same text; call the tokenizer again"):
        later.tokens()


def test_the_words_of_a_special_token_that_is_plain_text_are_those_of_moses() -> None:
    """Moses splits "</s>" into "<", "/", "s" and ">", and escapes the first and the last as "&lt;" and "&gt;"."""
    got = ours("demo")("pain </s> pain", parse_special=False)
    assert "".join(got.tokens()) == "</s>pain</w>&lt;</w>/</w>s</w>&gt;</w>pain</w>"
    assert got.word_ids() == [None, 0, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 5]


def test_prepared_ids_of_a_pair_are_two_texts() -> None:
    tok = make_ours(2)
    assert (tok.prepare_for_model([4]).n_sequences, tok.prepare_for_model([4], [5]).n_sequences) == (1, 2)
