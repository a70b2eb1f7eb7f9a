"""The tokenizer against transformers' BioGptTokenizer: ids, text, special tokens; and tests of its offsets."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptTokenizer, CheckpointError, InputError
from minibiogpt.files.hub import DEMO
from minibiogpt.tokenizer.bpe import merge_word
from minibiogpt.tokenizer.offsets import align
from tests.support.paths import ROOT
from tests.support.tokenizer_texts import texts

SHARED = Path(os.environ.get("MINIBIOGPT_REAL_VOCAB", ROOT.parent / "shared" / "data"))
FOLDERS = {"demo": DEMO, "base": SHARED / "biogpt", "large": SHARED / "biogpt-large"}
TEXTS = texts()
every_vocabulary = pytest.mark.parametrize("name", FOLDERS)


def folder(name: str) -> Path:
    if not (FOLDERS[name] / "vocab.json").is_file():
        pytest.skip(f"the real vocabulary '{name}' is not beside the project (set MINIBIOGPT_REAL_VOCAB to its folder)")
    return FOLDERS[name]


@cache
def ours(name: str) -> BioGptTokenizer:
    return BioGptTokenizer.from_pretrained(folder(name))


@cache
def reference(name: str) -> Any:
    return transformers.BioGptTokenizer.from_pretrained(str(folder(name)))


@every_vocabulary
def test_ids_and_decoded_text_are_transformers(name: str) -> None:
    mine, other = ours(name), reference(name)
    assert len(set(TEXTS)) > 1900
    for text in TEXTS:
        ids = mine.encode(text)
        assert ids == other(text)["input_ids"], repr(text)
        assert mine.tokenize(text) == other.tokenize(text), repr(text)
        for skip in (True, False):
            assert mine.decode(ids, skip_special_tokens=skip) == other.decode(ids, skip_special_tokens=skip), repr(text)


@every_vocabulary
def test_arbitrary_ids_decode_as_in_transformers(name: str) -> None:
    mine, other, rng = ours(name), reference(name), np.random.default_rng(0)
    for _ in range(300):
        ids = rng.integers(0, len(mine), 25).tolist()
        for options in ({}, {"skip_special_tokens": True}, {"clean_up_tokenization_spaces": True}):
            assert mine.decode(ids, **options) == other.decode(ids, **options)


@every_vocabulary
def test_special_tokens_in_text_can_be_text(name: str) -> None:
    mine = ours(name)
    other = transformers.BioGptTokenizer.from_pretrained(str(folder(name)), split_special_tokens=True)
    for text in ["a</s>b", "</s>", "<s> x <pad>", "x<unk>y"]:
        assert mine.encode(text, parse_special=False) == other(text)["input_ids"], text
        assert 2 not in mine.encode(text, parse_special=False)[1:]


@every_vocabulary
def test_pairs_padding_and_truncation_are_transformers(name: str) -> None:
    mine, other = ours(name), reference(name)
    firsts, seconds = TEXTS[100:160], TEXTS[400:460]
    for side in ("left", "right"):
        for options in (
            {"padding": True},
            {"padding": "max_length", "max_length": 300, "truncation": True},
            {"padding": True, "truncation": True, "max_length": 9},
        ):
            for pair in ({}, {"text_pair": seconds}):
                got = mine(firsts, **pair, **options, padding_side=side)
                want = other(firsts, **pair, **options, padding_side=side, return_tensors="np")
                for key in ("input_ids", "attention_mask"):
                    assert got[key].dtype == np.int64
                    assert np.array_equal(got[key], want[key]), (side, options, key)


@pytest.mark.parametrize("pair", [None, "", "short", "This is the longer one of the two (by far)."])
@pytest.mark.parametrize("special", [True, False])
def test_every_truncation_length_is_transformers(pair: str | None, special: bool) -> None:
    mine, other, text = ours("demo"), reference("demo"), "Patients with arthritis took ibuprofen."
    for length in range(1, 40):
        options = {"truncation": True, "max_length": length, "add_special_tokens": special}
        assert mine.encode(text, pair, **options) == other.encode(text, pair, **options), length


def test_a_text_longer_than_the_model_is_cut_to_the_length_that_the_files_name() -> None:
    text = "pain " * 400
    assert ours("demo").encode(text, truncation=True) == reference("demo").encode(text, truncation=True)
    assert len(ours("demo").encode(text, truncation=True)) == ours("demo").model_max_length == 256
    assert ours("demo").encode(text, truncation="do_not_truncate") == ours("demo").encode(text)
    assert ours("demo")("pain", padding="max_length")["input_ids"].shape == (1, 256)


def test_without_a_known_length_nothing_is_cut_and_padding_to_it_is_refused(tmp_path: Path) -> None:
    copied(tmp_path)
    tok, other = BioGptTokenizer.from_pretrained(tmp_path), transformers.BioGptTokenizer.from_pretrained(tmp_path)
    text = "pain " * 400
    assert tok.encode(text, truncation=True) == other.encode(text, truncation=True) == tok.encode(text)
    with pytest.raises(InputError, match="padding='max_length' must have a known length; found no max_length"):
        tok(text, padding="max_length")


PUBLISHED = {
    ("base", "Trastuzumab"): [2, 7548, 1171, 32924],
    ("base", "trastuzumab"): [2, 16503],
    ("base", "COVID-19 is"): [2, 4805, 9, 656, 21],
    ("base", "</s>"): [2, 2],
    ("base", "Ibuprofen is best used for"): [2, 453, 5433, 18099, 21, 1102, 69, 16],
    ("base", "a</s>b"): [2, 14, 2, 787],
    ("large", "this is a test"): [2, 54, 34, 21, 229],
    ("large", "Trastuzumab"): [2, 39243],
}


@pytest.mark.parametrize(("name", "text"), PUBLISHED)
def test_published_ids(name: str, text: str) -> None:
    assert ours(name).encode(text) == PUBLISHED[name, text]


def test_the_published_pair() -> None:
    got = ours("base").encode("sequence builders", "multi-sequence build")
    assert got == [2, 528, 20437, 9067, 2, 1912, 9, 528, 8100]


def naive(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The definition: merge all occurrences of the pair of lowest rank, from the left, and repeat."""
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [p for p in itertools.pairwise(symbols) if p in ranks]
        if not pairs:
            return symbols
        best, merged, i = min(pairs, key=ranks.__getitem__), [], 0
        while i < len(symbols):
            step = 2 if tuple(symbols[i : i + 2]) == best else 1
            merged.append("".join(symbols[i : i + step]))
            i += step
        symbols = merged


@given(st.text("ab", min_size=1, max_size=40), st.permutations(range(14)))
def test_merging_is_its_definition_whatever_the_ranks(word: str, order: list[int]) -> None:
    parts = ["a", "b", "ab", "aa", "ba", "aab", "b</w>"]
    pairs = [(a, b) for a in parts[:6] for b in parts][:14]
    ranks = {pair: rank for pair, rank in zip(pairs, order, strict=True)}
    assert merge_word(word, ranks) == naive(word, ranks)


def test_a_very_long_word_takes_a_number_of_steps_like_its_length() -> None:
    """Counts the pairs looked up in the table of ranks; no time is measured."""

    class Counting(dict):
        looked_up = 0

        def __contains__(self, pair: object) -> bool:
            Counting.looked_up += 1
            return super().__contains__(pair)

    ranks, word = Counting(ours("demo").ranks), "".join(random.Random(0).choices("abcdefgh", k=100_000))
    pieces = merge_word(word, ranks)
    assert "".join(pieces) == word + "</w>"
    assert Counting.looked_up < 4 * len(word)
    ids = ours("demo").encode(word)
    assert ids[1:] == ours("demo").convert_tokens_to_ids(pieces)


def spans(name: str, text: str, **options: Any) -> list[tuple[str, str]]:
    """Return (piece, its text in the original) for each piece, without the token that the tokenizer added."""
    found = ours(name)(text, return_offsets=True, **options)
    pieces = ours(name).convert_ids_to_tokens(found["input_ids"][0])
    return [(p, text[a:b]) for p, (a, b) in zip(pieces, found["offsets"][0], strict=True)][1:]


@given(
    st.lists(st.sampled_from(["ibuprofen", "(", ")", "12.5", "mg", ";", "Warfarin", ",", "%", "?", "αβ"]), max_size=12)
)
def test_offsets_are_exact_where_moses_only_splits(words: list[str]) -> None:
    text = "  ".join(words)
    found = spans("demo", text)
    assert all(piece.removesuffix("</w>") == original for piece, original in found), found
    assert "".join(original for _, original in found) == text.replace(" ", "")


@every_vocabulary
def test_offsets_are_in_order_in_range_and_cover_every_visible_character(name: str) -> None:
    for text in TEXTS:
        offsets = ours(name)(text, return_offsets=True)["offsets"][0][1:]
        starts, ends = offsets[:, 0], offsets[:, 1]
        assert (starts <= ends).all(), repr(text)
        assert (np.diff(starts) >= 0).all(), repr(text)
        assert not len(ends) or 0 <= starts.min() <= ends.max() <= len(text), repr(text)
        seen = {i for a, b in offsets for i in range(a, b)}
        lost = {text[i] for i in range(len(text)) if i not in seen and not text[i].isspace() and text[i] >= " "}
        assert not lost, (text, lost)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a & b", ["a", *["&"] * 4, "b"]),
        ("x's", ["x", *["'"] * 4, "s"]),
        ("a-b", ["a", "-", "b"]),
        ("&lt;", [*["&"] * 4, "l", "t", ";"]),
        ("a <b>", ["a", *["<"] * 4, "b", *[">"] * 4]),
        ("a</s>b", ["a", "</s>", "b"]),
        ("q|[", ["q", *["|"] * 6, *["["] * 5]),
        ("q...", ["q", ".", ".", "."]),
        ("DOTMULTI q", ["DOTMULTI", "q"]),
        ("DOTMULTI q DOTMULTI", ["DOTMULTI", "q", "DOTMULTI"]),
        ("a-b c-d", ["a", "-", "b", "c", "-", "d"]),
        ("DOTDOTMULTI q", ["DOTDOTMULTI", "DOTDOTMULTI", "q"]),
        ("q  \t a\n", ["q", "a"]),
        ("@-@", ["@", "-", "@"]),
    ],
)
def test_offsets_where_moses_rewrites(text: str, want: list[str]) -> None:
    assert [original for _, original in spans("demo", text)] == want


STRANGE = st.sampled_from("a b.-&'<@;\x01\n") | st.sampled_from(["DOT", "MULTI", "DOTMULTI", "&amp;", "@-@", "</s>"])


@given(st.lists(STRANGE, max_size=25).map("".join), st.booleans())
def test_each_piece_stands_for_its_own_characters(text: str, parse_special: bool) -> None:
    """The distinct spans, in order, are the text without the characters that Moses drops."""
    found = ours("demo")(text, parse_special=parse_special, return_offsets=True)["offsets"][0, 1:].tolist()
    once = [tuple(span) for i, span in enumerate(found) if i == 0 or span != found[i - 1]]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(once)), (text, once)
    covered = "".join(text[a:b] for a, b in once)
    dropped = " \n\x01"
    assert covered.translate({ord(c): None for c in dropped}) == text.translate({ord(c): None for c in dropped})


def test_the_offsets_of_a_text_that_moses_only_splits_are_the_same_in_a_pair_and_after_a_special_token() -> None:
    alone = ours("demo")("pain (mild)", return_offsets=True)["offsets"][0, 1:]
    second = ours("demo")("other", "pain (mild)", return_offsets=True)["offsets"][0, -len(alone) :]
    later = ours("demo")("</s> pain (mild)", return_offsets=True)["offsets"][0, -len(alone) :]
    assert np.array_equal(second, alone)
    assert np.array_equal(later, alone + 5)


@given(st.lists(st.text("abc&;-@.", min_size=1, max_size=6), max_size=8), st.text("abc&;-@. ", max_size=30))
def test_alignment_takes_tokens_that_moses_never_made(tokens: list[str], text: str) -> None:
    """Another sacremoses may rewrite more: every character still has a span, in order and within the text."""
    found = align(tokens, text)
    assert [len(spans) for spans in found] == [len(token) for token in tokens]
    flat = [span for spans in found for span in spans]
    assert all(0 <= a <= b <= len(text) for a, b in flat)
    assert all(a <= b for a, b in itertools.pairwise(flat))


def test_what_cannot_be_aligned_has_the_smallest_region_between_what_can() -> None:
    assert align(["ab", "XYZ", "cd"], "ab q cd") == [[(0, 1), (1, 2)], [(3, 4)] * 3, [(5, 6), (6, 7)]]
    assert align(["ab", "X", "cd"], "ab cd") == [[(0, 1), (1, 2)], [(2, 2)], [(3, 4), (4, 5)]]
    assert align(["XY"], "q r") == [[(0, 3), (0, 3)]]
    assert align(["aa"], "a") == [[(0, 1), (1, 1)]], "the second character has an empty span"


def test_a_control_character_within_a_word_belongs_to_no_piece_of_its_own() -> None:
    assert [(p, s.replace("\x07", "")) for p, s in spans("demo", "q\x07z")] == [("q", "q"), ("z</w>", "z")]


def test_offsets_of_pairs_and_pads() -> None:
    found = ours("demo")(["ab", "abc def"], ["x", "yz"], padding=True, padding_side="right", return_offsets=True)
    ids, offsets, mask = found["input_ids"], found["offsets"], found["attention_mask"]
    assert offsets.shape == (*ids.shape, 2)
    assert offsets.dtype == np.int64
    assert not offsets[mask == 0].any(), "pads are (0, 0)"
    second = int(np.flatnonzero(ids[1] == 2)[1])
    assert offsets[1, second].tolist() == [0, 0]
    assert offsets[1, second + 1, 0] == 0, "the second text of a pair counts from its own start"


@given(st.text(max_size=80))
def test_any_text_encodes_the_same_alone_and_in_a_batch_and_decodes(text: str) -> None:
    tok = ours("demo")
    ids = tok.encode(text)
    assert ids == tok.encode(text)
    row = tok([text, "another"], padding=True, padding_side="right")["input_ids"][0]
    assert row[: len(ids)].tolist() == ids
    assert isinstance(tok.decode(ids), str)


@given(st.lists(st.integers(0, 1873), max_size=30), st.booleans(), st.booleans())
def test_decoding_takes_every_row_of_valid_ids(ids: list[int], skip: bool, clean: bool) -> None:
    text = ours("demo").decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean)
    assert text == ours("demo").decode(np.array(ids, dtype=np.int64), skip, clean)
    assert [text, text] == ours("demo").batch_decode(
        [ids, ids], skip_special_tokens=skip, clean_up_tokenization_spaces=clean
    )


def test_single_ids_and_pieces_are_converted_as_in_transformers() -> None:
    mine, other = ours("demo"), reference("demo")
    for i in (0, 2, 100, np.int64(100)):
        assert mine.decode(i) == other.decode(int(i))
        assert mine.convert_ids_to_tokens(i) == other.convert_ids_to_tokens(int(i))
    for piece in ("</s>", "a</w>", "no such piece"):
        assert mine.convert_tokens_to_ids(piece) == other.convert_tokens_to_ids(piece)
        assert mine.convert_tokens_to_ids([piece]) == other.convert_tokens_to_ids([piece])
    ids = [2, 100, 0, 101, 3]
    assert mine.convert_ids_to_tokens(ids, True) == other.convert_ids_to_tokens(ids, skip_special_tokens=True)
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "sep_token")
    for name in (*names, *(f"{name}_id" for name in names), "vocab_size", "padding_side", "model_max_length"):
        assert getattr(mine, name) == getattr(other, name), name
    assert set(mine.all_special_ids) == set(other.all_special_ids)
    assert len(mine) == len(other)
    assert repr(mine) == "<BioGptTokenizer of 1874 pieces, 1654 merges, pads left>"


@pytest.mark.parametrize(
    "config",
    [
        {"sep_token": "<s>"},
        {"eos_token": {"content": "<pad>", "lstrip": True, "rstrip": True, "__type": "AddedToken"}},
        {"clean_up_tokenization_spaces": True},
        {"cls_token": "<s>", "mask_token": "t</w>"},
        {"additional_special_tokens": ["an", "a", {"content": "b</w>", "__type": "AddedToken"}]},
        {"padding_side": "left", "model_max_length": 7},
        {"model_max_length": 1e30},
    ],
)
def test_tokenizer_config_means_what_it_means_to_transformers(tmp_path: Path, config: dict[str, Any]) -> None:
    (copied(tmp_path) / "tokenizer_config.json").write_text(json.dumps(config))
    mine, other = BioGptTokenizer.from_pretrained(tmp_path), transformers.BioGptTokenizer.from_pretrained(tmp_path)
    for text in ["banana  and b</w> t</w> x", "a <pad> b", "it 's , fine .", *TEXTS[:120]]:
        ids = mine.encode(text, truncation=True)
        assert ids == other.encode(text, truncation=True), text
        for skip in (True, False):
            assert mine.decode(ids, skip) == other.decode(ids, skip), text
    got, want = mine(["a", "a b c"], padding=True), other(["a", "a b c"], padding=True, return_tensors="np")
    assert np.array_equal(got["input_ids"], want["input_ids"])


def test_a_pickled_tokenizer_is_the_same_one() -> None:
    tok, again = ours("demo"), pickle.loads(pickle.dumps(ours("demo")))
    assert all(again.encode(text) == tok.encode(text) for text in TEXTS[:100])
    assert (repr(again), again.model_max_length) == (repr(tok), tok.model_max_length)


def test_saved_vocabularies_load_here_and_in_transformers(tmp_path: Path) -> None:
    tok = ours("demo")
    tok.save_vocabulary(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    again, other = BioGptTokenizer.from_pretrained(tmp_path), transformers.BioGptTokenizer.from_pretrained(tmp_path)
    for text in TEXTS[:200]:
        assert again.encode(text) == tok.encode(text) == other(text)["input_ids"]


def copied(folder: Path) -> Path:
    for file in ("vocab.json", "merges.txt"):
        (folder / file).write_bytes((DEMO / file).read_bytes())
    return folder


def test_keys_in_any_order_and_two_columns(tmp_path: Path) -> None:
    copied(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(dict(sorted(vocab.items()))))
    lines = (tmp_path / "merges.txt").read_text().splitlines()
    (tmp_path / "merges.txt").write_text("".join(" ".join(line.split()[:2]) + "\n" for line in lines))
    assert len(lines[0].split()) == 3
    tok = BioGptTokenizer.from_pretrained(tmp_path)
    assert all(tok.encode(text) == ours("demo").encode(text) for text in TEXTS[:300])
    assert (tok.padding_side, ours("demo").padding_side) == ("right", "left")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vocab.json", None, "a tokenizer needs vocab.json; found no file"),
        ("vocab.json", "{", "must hold JSON"),
        ("vocab.json", "[]", "map pieces to distinct integers.*found list in"),
        ("vocab.json", '{"<s>": 0, "a": 0}', "a duplicate id"),
        ("vocab.json", '{"<s>": "0"}', "found '<s>': '0'"),
        ("merges.txt", None, "a tokenizer needs merges.txt; found no file"),
        ("merges.txt", b"\xff\xfe", "merges.txt must be a readable UTF-8 file"),
        ("merges.txt", "a b\n<html>\n", "must hold two pieces; found '<html>' alone on line 2"),
        (
            "tokenizer_config.json",
            '{"pad_token": {"content": 3}}',
            "content of an AddedToken must be a string; found 3 in",
        ),
        (
            "tokenizer_config.json",
            '{"additional_special_tokens": 3}',
            "additional_special_tokens must be a list of strings or AddedTokens; found int in",
        ),
        (
            "tokenizer_config.json",
            '{"model_max_length": "long"}',
            "model_max_length must be an integer.*found 'long' in",
        ),
        ("tokenizer_config.json", '{"model_max_length": 512.0}', "found 512.0 in"),
        ("tokenizer_config.json", '{"model_max_length": 0}', "found 0 in"),
        ("tokenizer_config.json", '{"model_max_length": true}', "found True in"),
        ("tokenizer_config.json", '{"clean_up_tokenization_spaces": "no"}', "must be True or False; found 'no' in"),
        ("added_tokens.json", "[]", "added_tokens.json must hold a JSON object; found list"),
        ("tokenizer_config.json", "3", "must hold a JSON object"),
        ("tokenizer_config.json", '{"padding_side": "up"}', "padding_side must be 'left' or 'right'; found 'up'"),
        ("config.json", '{"vocab_size": 100}', r"more pieces than embeddings \(vocab_size 100\); found ids up to 1873"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, file: str, content: Any, message: str) -> None:
    path = copied(tmp_path) / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=message):
        BioGptTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tok: tok(3), "text must be a string or a list of one or more strings; found int"),
        (lambda tok: tok([]), "found an empty list"),
        (lambda tok: tok(["a", None]), "NoneType"),
        (lambda tok: tok(b"bytes"), "found bytes; decode bytes"),
        (lambda tok: tok(["a", "b"], ["c"]), "found 2 texts and 1 pairs"),
        (lambda tok: tok(["a", "a b c"]), "call with padding=True"),
        (lambda tok: tok("a", padding="longer"), "padding must be"),
        (lambda tok: tok("a", padding=True, padding_side="top"), "padding_side must be"),
        (lambda tok: tok("a", truncation=True, max_length=0), "max_length must be an integer"),
        (
            lambda tok: tok("a", truncation=True, max_length=True),
            "max_length must be an integer, 1 or more; found True",
        ),
        (lambda tok: tok("a", truncation="only_third"), "truncation must be False, True .*; found 'only_third'"),
        (lambda tok: tok("a", padding_side=""), "padding_side must be 'left' or 'right'; found ''"),
        (lambda tok: tok([("a", "b", "c")]), "a pair has two strings; for texts split into words"),
        (lambda tok: tok.encode(["a", "b"]), "text must be one string; found list; call the tokenizer itself"),
        (lambda tok: tok.encode("a", ["b"]), "text_pair must be one string; found list"),
        (lambda tok: tok.tokenize(["a", "b"]), "text must be one string; found list"),
        (lambda tok: tok.analyse(None), "text must be one string; found NoneType"),
        (lambda tok: tok.convert_tokens_to_ids([3]), r"pieces must be a list of strings; found \[3\]"),
        (lambda tok: tok.convert_tokens_to_string("a"), "pieces must be a list of strings; found 'a'"),
        (lambda tok: tok.decode(None), "ids must be integers; found NoneType"),
        (lambda tok: tok.decode("12"), "found '1'"),
        (lambda tok: tok.decode([True]), "found True"),
        (lambda tok: tok.decode(1.5), "ids must be integers; found float"),
        (lambda tok: tok.batch_decode(3), "sequences must be a list of rows of ids; found int"),
        (lambda tok: BioGptTokenizer(tok.vocab, 3), "merges must be pairs of strings.*found int"),
        (lambda tok: BioGptTokenizer(tok.vocab, ["ab"]), "merges must be pairs of strings.*found 'ab'"),
        (lambda tok: BioGptTokenizer(tok.vocab, [], eos="a"), "must be called with known arguments; found eos;"),
        (lambda tok: tok.decode([2, 1874]), "0 to 1873; found 1874"),
        (lambda tok: tok.decode([-1]), "found -1"),
        (lambda tok: tok.decode([1.0]), "found 1.0"),
        (
            lambda tok: tok.decode([[2, 3], [2, 4]]),
            r"ids must be one row, \(T,\) or \(1, T\); found 2 rows; pass one row, ids\[0\], or decode all with",
        ),
    ],
)
def test_bad_calls_are_one_clear_error(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(ours("demo"))


def test_saved_whole_it_is_the_same_here_and_in_transformers(tmp_path: Path) -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    changed = BioGptTokenizer(
        tok.vocab, list(tok.ranks), padding_side="left", model_max_length=7, additional_special_tokens=["pain</w>"]
    )
    changed.save_pretrained(tmp_path)
    again, theirs = BioGptTokenizer.from_pretrained(tmp_path), transformers.BioGptTokenizer.from_pretrained(tmp_path)
    assert (again.padding_side, again.model_max_length) == (theirs.padding_side, theirs.model_max_length) == ("left", 7)
    assert again.additional_special_tokens == theirs.additional_special_tokens == ["pain</w>"]
    text = "Ibuprofen treats pain</w> and pain."
    assert again.encode(text) == changed.encode(text) == theirs(text)["input_ids"]
    BioGptTokenizer(tok.vocab, list(tok.ranks)).save_pretrained(tmp_path)
    assert "model_max_length" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert BioGptTokenizer.from_pretrained(tmp_path).encode(text) == tok.encode(text)
