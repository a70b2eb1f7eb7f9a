"""Added tokens against transformers: how they are found, decoded, saved and loaded, whatever the tokens and texts."""

from __future__ import annotations

import copy
import itertools
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.tokenization_utils import Trie

from minibiogpt import BioGptTokenizer, InputError
from minibiogpt.tokenizer import AddedToken
from minibiogpt.tokenizer.tokens.added_tokens import FLAGS, Finder
from tests.tokenizer.test_tokenizer import FOLDERS, ours, reference

CONTENTS = ["ab", "b", "abc", "bc", "a", "c", " x", "x ", "[D]", "[D", "</s", "nir", "é", "\n", "x\t", "pain", "☤</w>"]
CONTENTS += ["aba", "babab", "<unk>", "t</w>", "<s>", ""]
ALPHABET = ["a", "b", "c", " ", "x", "[D]", "[", "D", "]", "<s>", "</s>", "\n", "\t", "nir", "matrel", "é", "pain", "☤"]
TEXT = st.lists(st.sampled_from([*ALPHABET, ".", " . ", "<unk>", "</w>", "t", "it's"]), max_size=14).map("".join)
CONTENT = st.sampled_from(CONTENTS)
FLAGS_OF = st.fixed_dictionaries(dict.fromkeys(FLAGS, st.booleans()))
SOME = st.lists(CONTENT | st.tuples(CONTENT, FLAGS_OF), max_size=4)
VISIBLE = st.lists(CONTENT.filter(bool) | st.tuples(CONTENT.filter(bool), FLAGS_OF), max_size=4)
NAME = st.sampled_from(["pad_token", "cls_token", "mask_token", "bos_token"])
NAMED = st.dictionaries(NAME, CONTENT.filter(bool), max_size=2)
STEP = st.tuples(st.just("add_tokens"), SOME, st.booleans()) | st.tuples(
    st.just("add_special_tokens"),
    NAMED | st.builds(lambda some: {"additional_special_tokens": some}, VISIBLE),
    st.booleans(),
)


def built(value: Any, kind: Any) -> Any:
    """Return a step's argument with AddedTokens of a library: a pair of content and flags becomes one."""
    if isinstance(value, tuple):
        return kind(value[0], **value[1])
    if isinstance(value, dict):
        return {name: built(x, kind) for name, x in value.items()}
    return [built(x, kind) for x in value] if isinstance(value, list) else value


def assert_same_tables(mine: Any, other: Any) -> None:
    assert (len(mine), mine.vocab_size, mine.get_vocab()) == (len(other), other.vocab_size, other.get_vocab())
    assert mine.special_tokens_map == other.special_tokens_map
    assert mine.all_special_tokens == list(dict.fromkeys(other.all_special_tokens)), "transformers can repeat some"
    assert mine.added_tokens_encoder == other.added_tokens_encoder == mine.get_added_vocab()
    for i, token in other.added_tokens_decoder.items():
        assert mine.added_tokens_decoder[i].as_dict() == token.__getstate__()


def assert_same_texts(mine: Any, other: Any, text: str, numbers: list[int]) -> None:
    """Compare the ids of a text and the texts of ids with those of transformers."""
    assert mine.tokenize(text) == other.tokenize(text)
    ids = mine.encode(text)
    assert ids == other.encode(text)
    assert [piece.id for piece in mine.analyse(text)] == ids[1:]
    ids += [n if n % 2 else len(mine) - 1 - n % 40 for n in numbers]
    assert mine.convert_ids_to_tokens(ids) == other.convert_ids_to_tokens(ids)
    for skip, spaces in itertools.product((False, True), repeat=2):
        options = {"skip_special_tokens": skip, "spaces_between_special_tokens": spaces}
        assert mine.decode(ids, **options) == other.decode(ids, **options), (ids, options)


def both(folder: str) -> tuple[Any, Any]:
    return BioGptTokenizer.from_pretrained(folder), transformers.BioGptTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", FOLDERS)
def test_whatever_is_added_means_what_it_means_to_transformers_also_saved_and_loaded(name: str) -> None:
    start = ours(name), reference(name)

    @settings(max_examples=50 if name == "demo" else 3)
    @given(
        st.lists(STEP, min_size=1, max_size=4), st.lists(TEXT, max_size=4), st.lists(st.integers(0, 999), max_size=9)
    )
    def same(steps: list[Any], texts: list[str], numbers: list[int]) -> None:
        mine, other = copy.deepcopy(start)
        for method, value, flag in steps:
            count = getattr(other, method)(built(value, transformers.AddedToken), flag)
            assert getattr(mine, method)(built(value, AddedToken), flag) == count
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            mine.save_pretrained(first)
            other.save_pretrained(second)
            pairs = [(mine, other), (pickle.loads(pickle.dumps(mine)), other), both(first), both(second)]
        for one, two in pairs:
            assert_same_tables(one, two)
            for text in texts:
                assert_same_texts(one, two, text, numbers)

    same()


@settings(max_examples=300)
@given(st.sets(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=6), st.text("abcd", max_size=20))
@example({"abXd", "b"}, "abZXd")  # "abXd" fails at Z, and transformers continues it after Z
def test_a_text_is_cut_where_transformers_trie_cuts_it(contents: set[str], text: str) -> None:
    finder = Finder({i: AddedToken(c) for i, c in enumerate(contents)}, {c: i for i, c in enumerate(contents)})
    parts = finder.parts(text)
    assert [part.text for part in parts] == (Trie(contents).split(text) if text else [])
    assert [i for part in parts for i in part.at] == list(range(len(text)))


def with_tokens(*tokens: str | AddedToken) -> BioGptTokenizer:
    tok = copy.deepcopy(ours("demo"))
    tok.add_tokens(list(tokens))
    return tok


def test_the_demos_ids_and_texts() -> None:
    tok = copy.deepcopy(ours("demo"))
    assert tok.add_special_tokens({"additional_special_tokens": ["[DRUG]"]}) == tok.add_tokens(["nirmatrelvir"]) == 1
    assert tok.encode("[DRUG] aspirin") == [2, 1874, 248, 954, 225]
    assert tok.encode("nirmatrelvir treats pain") == [2, 1875, 549, 570]
    assert tok.decode([2, 1874, 248, 954, 225]) == "</s> [DRUG] aspirin"
    assert tok.decode([2, 1874, 1875, 570], skip_special_tokens=True) == "nirmatrelvir pain"
    assert (len(tok), tok.vocab_size) == (1876, 1874)
    assert repr(tok) == "<BioGptTokenizer of 1874 pieces, 2 added tokens, 1654 merges, pads left>"
    assert tok.add_tokens(["nirmatrelvir", "[DRUG]", ""]) == tok.add_tokens([]) == tok.add_special_tokens({}) == 0
    assert (tok.convert_tokens_to_ids("[DRUG]"), tok.convert_ids_to_tokens(1875)) == (1874, "nirmatrelvir")


@settings(max_examples=100)
@given(SOME, TEXT)
def test_offsets_around_added_tokens(tokens: list[Any], text: str) -> None:
    """Spans are in order, those of tokens are their text, and only whitespace that a token takes is in none."""
    tok = with_tokens(*built(tokens, AddedToken))
    pieces = tok.analyse(text)
    assert all(a.span[1] <= b.span[0] or a.span == b.span for a, b in itertools.pairwise(pieces))
    seen = {i for piece in pieces for i in range(*piece.span)}
    assert all(text[i].isspace() for i in range(len(text)) if i not in seen)
    for part in tok._tokens.finder.parts(text):
        assert "".join(text[i] for i in part.at) == part.text
        assert part.id is None or part.id == tok.convert_tokens_to_ids(part.text)


def test_the_span_of_a_word_joined_over_a_newline_that_its_token_takes() -> None:
    """As in transformers, "[D]" is not a single word after a newline, but takes it: "a[D]" becomes one text."""
    tok = with_tokens(AddedToken("[D]", lstrip=True, single_word=True))
    other = copy.deepcopy(reference("demo"))
    other.add_tokens(transformers.AddedToken("[D]", lstrip=True, single_word=True))
    want = ["a</w>", "&", "#", "9", "1", ";</w>", "D</w>", "&", "#", "9", "3", ";</w>"]
    assert tok.tokenize("a\n\n[D]") == other.tokenize("a\n\n[D]") == want
    found = [(piece.piece, piece.span) for piece in tok.analyse("a\n\n[D]")]
    assert [span for _, span in found if span[0] == 0] == [(0, 1)]
    assert {span for _, span in found} == {(0, 1), (3, 4), (4, 5), (5, 6)}
    assert [(p.piece, p.span) for p in tok.analyse("a \n [D] b")] == [
        ("a</w>", (0, 1)),
        ("[D]", (4, 7)),
        ("b</w>", (8, 9)),
    ]


def test_offsets_of_a_call_with_an_added_token() -> None:
    tok = with_tokens("nirmatrelvir")
    text = "x nirmatrelvir-induced pain"
    offsets = tok(text, return_offsets=True)["offsets"][0].tolist()
    assert [text[a:b] for a, b in offsets][:3] == ["", "x", "nirmatrelvir"]
    assert [text[a:b] for a, b in offsets][-1] == "pain"


def test_without_parse_special_no_added_token_is_found_as_with_transformers_split_special_tokens() -> None:
    tok, other = with_tokens("nirmatrelvir"), copy.deepcopy(reference("demo"))
    other.add_tokens(["nirmatrelvir"])
    text = "nirmatrelvir </s> pain"
    want = other.tokenize(text, split_special_tokens=True)
    assert tok.tokenize(text, parse_special=False) == tok.tokenize(text, split_special_tokens=True) == want
    tok.split_special_tokens = True
    assert tok.tokenize(text) == want


def test_many_threads_encode_the_same() -> None:
    tok = with_tokens(*(f"drug{i}" for i in range(500)))
    texts = [f"drug{i} treats pain and drug{i + 1}x, drug{i}0." for i in range(200)]
    want = [tok.encode(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pickle.loads(pickle.dumps(tok)).encode, texts)) == want


def test_a_copy_is_independent() -> None:
    tok = with_tokens("nir")
    for again in (copy.copy(tok), copy.deepcopy(tok), pickle.loads(pickle.dumps(tok))):
        assert again.encode("nir x") == tok.encode("nir x")
        again.add_tokens(["x"])
        again.pad_token = "</s>"
        assert (again.encode("x"), tok.encode("x")) != (tok.encode("x"), again.encode("x"))
        assert tok.pad_token == "<pad>"
        assert again != tok


def test_transformers_own_added_tokens_are_accepted() -> None:
    tok = with_tokens()
    assert tok.add_tokens(transformers.AddedToken("[D]", rstrip=True)) == 1
    assert tok.added_tokens_decoder[1874] == AddedToken("[D]", rstrip=True)
    for special in (False, True):
        theirs = transformers.AddedToken("a", special=special)
        assert AddedToken("a", special=special).normalized == (not special)
        assert AddedToken("a", special=special, normalized=theirs.normalized).as_dict() == theirs.__getstate__()


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_of_transformers_own_added_token_is_kept(flag: str) -> None:
    tok, theirs = with_tokens(), transformers.AddedToken("[D]", **{flag: flag != "normalized"})
    tok.add_tokens(theirs)
    assert tok.added_tokens_decoder[1874].as_dict() == theirs.__getstate__()


def test_a_single_word_is_not_found_inside_another_even_if_no_token_strips() -> None:
    tok, other = with_tokens(AddedToken("nir", single_word=True)), copy.deepcopy(reference("demo"))
    other.add_tokens(transformers.AddedToken("nir", single_word=True))
    texts = ["nir treats pain", "a nir", "nirmatrelvir", "x-nir", "anir pain"]
    assert [tok.tokenize(text) for text in texts] == [other.tokenize(text) for text in texts]
    assert ["nir" in tok.tokenize(text) for text in texts] == [True, True, False, False, False]


def test_a_new_token_never_gets_an_id_that_is_taken(tmp_path: Path) -> None:
    """The vocabulary has a gap, so the number of tokens (transformers' next id) is the id of "a</w>"."""
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a</w>": 5}
    tok = BioGptTokenizer(vocab, [])
    assert tok.add_tokens(["a</w>"]) == 0
    with pytest.raises(
        InputError, match=r"id of the new token 'x' must be free; found 5 \(the number of tokens\), which"
    ):
        tok.add_tokens(["x"])
    assert (len(tok), tok.tokenize("x")) == (5, ["x</w>"])
    special = tok.all_special_tokens, tok.all_special_ids
    with pytest.raises(InputError, match="id of the new token 'x' must be free"):
        tok.add_special_tokens({"pad_token": "<s>", "cls_token": "x"})
    assert (tok.all_special_tokens, tok.all_special_ids, tok.pad_token, tok.cls_token) == (*special, "<pad>", None)


def test_an_empty_list_replaces_no_special_tokens() -> None:
    mine, other = with_tokens(), copy.deepcopy(reference("demo"))
    for tok in (mine, other):
        assert tok.add_special_tokens({"additional_special_tokens": ["[D]"]}) == 1
        assert tok.add_special_tokens({"additional_special_tokens": []}) == 0
    assert mine.additional_special_tokens == other.additional_special_tokens == ["[D]"]
    assert mine.decode([570, 1874], True) == other.decode([570, 1874], True) == "pain"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tok: tok.add_tokens(3), "each of new_tokens must be a string or an AddedToken; found 3"),
        (lambda tok: tok.add_tokens([b"a"]), "found b'a'"),
        (lambda tok: tok.add_special_tokens(["[D]"]), "must have a dictionary of bos_token.*found \\['\\[D\\]'\\]"),
        (lambda tok: tok.add_special_tokens({"drug": "[D]"}), "found \\['drug'\\]; correct the name"),
        (lambda tok: tok.add_special_tokens({"pad_token": ""}), "pad_token must have a text; found an empty one"),
        (lambda tok: tok.add_special_tokens({"pad_token": None}), "pad_token must be a string or an AddedToken"),
        (lambda tok: tok.add_special_tokens({"additional_special_tokens": "[D]"}), "must be a list.*found str"),
        (lambda tok: AddedToken("a", lstrip="yes"), "lstrip of the added token 'a' must be True or False; found 'yes'"),
        (lambda tok: AddedToken(3), "content of an AddedToken must be a string; found 3"),
        (lambda tok: tok.tokenize("a", pair="b"), "tokenize must be called with known arguments; found pair; write"),
        (lambda tok: tok.decode([2], skip_special_token=True), "did you mean skip_special_tokens"),
    ],
)
def test_what_cannot_be_added_is_one_clear_error_and_changes_nothing(call: Any, message: str) -> None:
    tok = with_tokens()
    with pytest.raises(InputError, match=message):
        call(tok)
    assert (len(tok), tok.special_tokens_map) == (1874, ours("demo").special_tokens_map)


def test_a_token_is_short_because_a_text_may_begin_it_at_each_character() -> None:
    longest = "a" * 500
    assert with_tokens(longest).tokenize("b" + longest)[-1] == longest
    calls: list[Any] = [lambda: with_tokens(longest + "a"), lambda: AddedToken(longest + "a")]
    calls += [lambda: BioGptTokenizer.from_pretrained("demo", pad_token=longest + "a")]
    for call in calls:
        with pytest.raises(InputError, match="an added token must have at most 500 characters; found 501"):
            call()
