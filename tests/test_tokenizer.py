"""The tokenizer against transformers' BioGptTokenizer: ids, text, special tokens; and its offsets on their own."""

from __future__ import annotations

import itertools
import json
import os
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
from minibiogpt.bpe import merge_word
from minibiogpt.hub import DEMO
from tests.tokenizer_texts import texts

SHARED = Path(os.environ.get("MINIBIOGPT_VOCABULARIES", Path(__file__).parents[2] / "shared" / "data"))
FOLDERS = {"demo": DEMO, "base": SHARED / "biogpt", "large": SHARED / "biogpt-large"}
TEXTS = texts()
every_vocabulary = pytest.mark.parametrize("name", FOLDERS)


def folder(name: str) -> Path:
    if not (FOLDERS[name] / "vocab.json").is_file():
        pytest.skip(
            f"the real vocabulary '{name}' is not beside the project (MINIBIOGPT_VOCABULARIES names its folder)"
        )
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
    """The definition: the pair of lowest rank is merged everywhere, from the left; and again."""
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
    """Counted, not timed: the pairs looked up in the table of ranks."""

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
    """(piece, the text it stands for), what the tokenizer added left out."""
    found = ours(name)(text, return_offsets=True, **options)
    pieces = ours(name).convert_ids_to_tokens(found["input_ids"][0])
    return [(p, text[a:b]) for p, (a, b) in zip(pieces, found["offsets"][0], strict=True)][1:]


@given(
    st.lists(st.sampled_from(["ibuprofen", "(", ")", "12.5", "mg", ";", "Warfarin", ",", "%", "?", "αβ"]), max_size=12)
)
def test_offsets_are_exact_where_moses_only_splits(words: list[str]) -> None:
    text = "  ".join(words)
    found = spans("demo", text)
    assert all(piece.removesuffix("</w>") == stood for piece, stood in found), found
    assert "".join(stood for _, stood in found) == text.replace(" ", "")


@every_vocabulary
def test_offsets_are_in_order_in_range_and_cover_every_visible_sign(name: str) -> None:
    for text in TEXTS:
        offsets = ours(name)(text, return_offsets=True)["offsets"][0][1:]
        starts, ends = offsets[:, 0], offsets[:, 1]
        assert (starts <= ends).all(), repr(text)
        assert (np.diff(starts) >= 0).all(), repr(text)
        assert not len(ends) or 0 <= starts.min() <= ends.max() <= len(text), repr(text)
        seen = {i for a, b in offsets for i in range(a, b)}
        lost = {text[i] for i in range(len(text)) if i not in seen and not text[i].isspace() and text[i] >= " "}
        rewritten = "DOTMULTI" in text  # what sacremoses itself writes for dots: it takes the word for its own mark
        assert rewritten or not lost, (text, lost)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a & b", ["a", *["&"] * 4, "b"]),
        ("x's", ["x", *["'"] * 4, "s"]),
        ("a-b", ["a", "-", "b"]),
        ("&lt;", [*["&"] * 4, "l", "t", ";"]),
        ("a <b>", ["a", *["<"] * 4, "b", *[">"] * 4]),
        ("a</s>b", ["a", "</s>", "b"]),
    ],
)
def test_offsets_where_moses_rewrites(text: str, want: list[str]) -> None:
    assert [stood for _, stood in spans("demo", text)] == want


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
        ("vocab.json", "[]", "map pieces to different whole numbers.*found list in"),
        ("vocab.json", '{"<s>": 0, "a": 0}', "an id given twice"),
        ("vocab.json", '{"<s>": "0"}', "found '<s>': '0'"),
        ("vocab.json", '{"<s>": 0, "<pad>": 1, "</s>": 2}', "must hold unk_token <unk>"),
        ("merges.txt", None, "merges.txt must be a readable UTF-8 file; found No such file"),
        ("merges.txt", b"\xff\xfe", "merges.txt must be a readable UTF-8 file"),
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
        (lambda tok: tok([]), "found 0 of"),
        (lambda tok: tok(["a", None]), "NoneType"),
        (lambda tok: tok(b"bytes"), "found bytes; decode bytes"),
        (lambda tok: tok(["a", "b"], ["c"]), "found 2 texts and 1 pairs"),
        (lambda tok: tok(["a", "a b c"]), "call with padding=True"),
        (lambda tok: tok("a", padding="longer"), "padding must be"),
        (lambda tok: tok("a", padding=True, padding_side="top"), "padding_side must be"),
        (lambda tok: tok("a", truncation=True, max_length=0), "max_length must be a whole number"),
        (lambda tok: tok.decode([2, 1874]), "0 to 1873; found 1874"),
        (lambda tok: tok.decode([-1]), "found -1"),
        (lambda tok: tok.decode([1.0]), "found 1.0"),
        (lambda tok: tok.decode([[2, 3]]), "found \\[2, 3\\]; decode one row"),
    ],
)
def test_bad_calls_are_one_clear_error(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(ours("demo"))
