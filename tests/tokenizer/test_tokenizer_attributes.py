"""The tokenizer's attributes against transformers: set, read, and refused where they do not exist."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptTokenizer, InputError
from minibiogpt.tokenizer.tokens.names import ATTRIBUTE_ADVICE
from tests.tokenizer.test_tokenizer import ours, reference
from tests.tokenizer.test_tokenizer_files import COMPARED


def fresh() -> tuple[Any, Any]:
    return copy.deepcopy(ours("demo")), copy.deepcopy(reference("demo"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pad_token", "</s>"),
        ("pad_token_id", 2),
        ("bos_token", None),
        ("bos_token_id", None),
        ("eos_token", "pain</w>"),
        ("unk_token", "</s>"),
        ("sep_token", "<s>"),
        ("sep_token_id", 0),
        ("cls_token", "<s>"),
        ("mask_token_id", 3),
        ("additional_special_tokens", ["pain</w>", "<s>"]),
        ("additional_special_tokens_ids", [570, 0]),
        ("additional_special_tokens", []),
        ("padding_side", "right"),
        ("truncation_side", "left"),
        ("model_max_length", 64),
        ("clean_up_tokenization_spaces", True),
        ("split_special_tokens", True),
        ("model_input_names", ["input_ids", "token_type_ids"]),
        ("name_or_path", "x"),
    ],
)
def test_an_attribute_can_be_set_and_takes_effect_as_in_transformers(name: str, value: Any) -> None:
    mine, other = fresh()
    setattr(mine, name, value)
    setattr(other, name, value)
    for tok in (mine, pickle.loads(pickle.dumps(mine)), copy.copy(mine)):
        assert getattr(tok, name) == value
        for compared in set(COMPARED) - {"name_or_path"}:
            assert getattr(tok, compared) == getattr(other, compared), compared
        for text in ("☤ pain</w> treats </s> pain .", "<s> a"):
            ids = tok.encode(text)
            assert ids == other.encode(text)
            for skip in (True, False):
                assert tok.decode(ids, skip) == other.decode(ids, skip)
        got, want = tok(["pain", "a pain a"], padding=True), other(["pain", "a pain a"], padding=True)
        assert got["input_ids"].tolist() == want["input_ids"]
        assert len(tok.encode("pain " * 99, truncation=True)) == len(other.encode("pain " * 99, truncation=True))


def test_what_is_set_is_saved(tmp_path: Any) -> None:
    mine, _ = fresh()
    mine.pad_token, mine.model_max_length, mine.truncation_side, mine.bos_token = mine.eos_token, 64, "left", "<unk>"
    mine.save_pretrained(tmp_path)
    for tok in (BioGptTokenizer.from_pretrained(tmp_path), transformers.BioGptTokenizer.from_pretrained(tmp_path)):
        assert (tok.pad_token, tok.pad_token_id, tok.bos_token) == ("</s>", 2, "<unk>")
        assert (tok.model_max_length, tok.truncation_side, tok.padding_side) == (64, "left", "left")


@given(
    st.lists(st.integers(0, 1873), max_size=9), st.none() | st.lists(st.integers(0, 1873), max_size=9), st.booleans()
)
def test_the_lists_about_special_tokens_are_transformers(ids: list[int], more: list[int] | None, cls: bool) -> None:
    mine, other = ours("demo"), reference("demo")
    if cls:
        mine, other = CLS
    for method in (
        "build_inputs_with_special_tokens",
        "get_special_tokens_mask",
        "create_token_type_ids_from_sequences",
    ):
        assert getattr(mine, method)(ids, more) == getattr(other, method)(ids, more), method
    done = mine.build_inputs_with_special_tokens(ids, more)
    mask = mine.get_special_tokens_mask(done, already_has_special_tokens=True)
    assert mask == other.get_special_tokens_mask(done, already_has_special_tokens=True)
    for pair in (False, True):
        assert mine.num_special_tokens_to_add(pair) == other.num_special_tokens_to_add(pair)


CLS = fresh()
CLS[0].cls_token = CLS[1].cls_token = "<s>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: setattr(t, "pad_token", "[PAD]"),
            r"must be in the vocabulary; found '\[PAD\]'; write add_special_tokens",
        ),
        (
            lambda t: setattr(t, "additional_special_tokens", ["zzz"]),
            r"write add_special_tokens\({'additional_special_tokens': \['zzz'\]}\)",
        ),
        (
            lambda t: setattr(t, "additional_special_tokens", "zzz"),
            "must be a list of strings or AddedTokens; found str",
        ),
        (lambda t: setattr(t, "pad_token", 3), "pad_token must be a string or an AddedToken; found 3"),
        (lambda t: setattr(t, "pad_token", None), "pad_token must be a string or an AddedToken; found None"),
        (lambda t: setattr(t, "sep_token_id", None), "sep_token must be a string or an AddedToken; found None"),
        (
            lambda t: setattr(t, "pad_token_id", 1874),
            "pad_token_id must be an id of the vocabulary, 0 to 1873; found 1874",
        ),
        (
            lambda t: setattr(t, "pad_token_id", "2"),
            "pad_token_id must be an id of the vocabulary, 0 to 1873; found '2'",
        ),
        (lambda t: setattr(t, "additional_special_tokens_ids", 3), "_ids must be a list of ids; found 3; put the ids"),
        (
            lambda t: BioGptTokenizer("demo"),
            "needs the path of a vocab.json; found 'demo'; write BioGptTokenizer.from_pre",
        ),
        (lambda t: BioGptTokenizer(), "a vocabulary must map pieces to distinct integers, 0 or more; found NoneType"),
        (
            lambda t: BioGptTokenizer.from_pretrained(3),
            "must be 'demo', a folder, or a hub id .*; found 3;",
        ),
        (lambda t: BioGptTokenizer.from_pretrained("demo", max_lenght=3), "did you mean model_max_length"),
        (lambda t: setattr(t, "padding_side", "up"), "padding_side must be 'left' or 'right'; found 'up'"),
        (lambda t: setattr(t, "truncation_side", None), "truncation_side must be 'left' or 'right'; found None"),
        (lambda t: setattr(t, "model_max_length", 0), "model_max_length must be an integer, 1 or more; found 0"),
        (lambda t: setattr(t, "split_special_tokens", 1), "split_special_tokens must be True or False; found 1"),
        (
            lambda t: setattr(t, "model_input_names", ["x"]),
            "model_input_names must be a list of names with 'input_ids'",
        ),
        (lambda t: t.get_special_tokens_mask([1], [2], True), "ids that already have special tokens must be one list"),
        (lambda t: t.save_pretrained("x", legacy_format=False), "legacy_format must be None or True; found False"),
        (
            lambda t: t.save_pretrained("x", push_to_hub=True),
            r"found push_to_hub; write save_pretrained\(folder\), and",
        ),
        (lambda t: t.save_pretrained("x", file_name_prefix="x"), "did you mean filename_prefix"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_clear_error_and_changes_nothing(change: Any, message: str) -> None:
    tok, _ = fresh()
    with pytest.raises(InputError, match=message):
        change(tok)
    assert all(getattr(tok, name) == getattr(ours("demo"), name) for name in COMPARED)


@pytest.mark.parametrize(("name", "hint"), [("paddding_side", "padding_side"), ("pad_tokens", "pad_token")])
def test_an_attribute_that_does_not_exist_can_neither_be_set_nor_read(name: str, hint: str) -> None:
    tok, _ = fresh()
    message = f"BioGptTokenizer has no attribute '{name}'; did you mean {hint}\\?"
    with pytest.raises(AttributeError, match=message):
        setattr(tok, name, "left")
    with pytest.raises(AttributeError, match=message):
        getattr(tok, name)


def test_what_is_computed_cannot_be_set() -> None:
    tok, _ = fresh()
    for name in ("vocab_size", "vocab", "all_special_ids", "soft_prompt_ids"):
        with pytest.raises(AttributeError, match=f"property '{name}' of 'BioGptTokenizer' object has no setter"):
            setattr(tok, name, 5)


def test_every_name_of_transformers_tokenizer_exists_or_says_what_to_write_instead() -> None:
    tok, other = fresh()
    public = [name for name in dir(other) if not name.startswith("_")] + list(other.special_tokens_map)
    unanswered = [name for name in public if not hasattr(tok, name) and name not in ATTRIBUTE_ADVICE]
    assert set(unanswered) <= LEFT_TO_CALLS
    for name in ATTRIBUTE_ADVICE:
        if not hasattr(tok, name):
            with pytest.raises(AttributeError, match=f"no attribute '{name}'; "):
                getattr(tok, name)


LEFT_TO_CALLS = {"batch_encode_plus", "encode_plus", "pad", "prepare_for_model", "truncate_sequences"}


def test_changing_what_was_returned_changes_no_token() -> None:
    tok, _ = fresh()
    for returned in (tok.get_vocab(), tok.get_added_vocab(), tok.added_tokens_encoder, tok.added_tokens_decoder):
        returned.clear()
    for returned in (tok.all_special_tokens, tok.all_special_ids, tok.additional_special_tokens):
        returned.append("pain</w>")
    assert tok.encode("</s> pain") == ours("demo").encode("</s> pain")
    assert tok.decode([2, 570], skip_special_tokens=True) == "pain"
    assert (len(tok), tok.additional_special_tokens) == (1874, [])


def test_the_class_has_the_defaults_of_transformers() -> None:
    for name in (
        "padding_side",
        "truncation_side",
        "model_input_names",
        "vocab_files_names",
        "SPECIAL_TOKENS_ATTRIBUTES",
    ):
        want = getattr(transformers.BioGptTokenizer, name)
        assert getattr(BioGptTokenizer, name) == want, name


def test_cleaning_up_is_transformers() -> None:
    text = "it 's fine , is n't it ? do not , I 'm"
    assert ours("demo").clean_up_tokenization(text) == reference("demo").clean_up_tokenization(text)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("src_lang", "BioGPT has one language, English"),
        ("token_to_id", "write convert_tokens_to_ids"),
        ("framework", "every array of an encoding is NumPy's"),
        ("main_input_name", "it is input_ids"),
    ],
)
def test_names_of_other_tokenizers_say_what_to_write(name: str, advice: str) -> None:
    tok, _ = fresh()
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; {advice}"):
        getattr(tok, name)
    with pytest.raises(InputError, match="found src_lang; .*BioGPT has one language, English"):
        tok("a", src_lang="en")
    with pytest.raises(InputError, match="found src_lang; BioGPT has one language, English"):
        BioGptTokenizer.from_pretrained("demo", src_lang="en")
