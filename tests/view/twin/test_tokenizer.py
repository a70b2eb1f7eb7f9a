"""The pages' tokenizer in JavaScript against minibiogpt's: ids, pieces, offsets and decoded text."""

from __future__ import annotations

import json
import os
import random
import re
import string
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacremoses import MosesDetokenizer, MosesTokenizer

from minibiogpt import BioGptTokenizer
from minibiogpt.files.hub import DEMO
from minibiogpt.golden.kit import tokens as kit
from minibiogpt.tokenizer import moses
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view import Page
from tests.support import demo
from tests.support.browser import opened
from tests.support.node import run_js
from tests.support.paths import ROOT
from tests.support.tokenizer_texts import SPECIAL, texts

SHARED = Path(os.environ.get("MINIBIOGPT_REAL_VOCAB", ROOT.parent / "shared" / "data"))
IMPORTS = 'import { BioGptTokenizer } from "./biogpt/tokenizer/tokenizer.js"; import { readFileSync } from "node:fs";'
TOKENIZER = """
const vocab = JSON.parse(input.vocab ?? readFileSync(input.folder + "/vocab.json", "utf8"));
const merges = input.merges ?? readFileSync(input.folder + "/merges.txt", "utf8");
const tokenizer = new BioGptTokenizer({ vocab, merges });
"""
DOTTED = "a A b 1 5 No pp Art Dr Fig e.g i.e Mr U.S v vs St ā é"
ALPHABETS = [  # of tricky characters; a string stands for its characters, a list for its words
    [*DOTTED.split(), *"......", "..", "...", *"'\")]", ".'", " ", " ", " ", " "],
    "'\"`„“”’‘«» aAsS1tT.,-",
    "-–—‐‑−_@ a1A.,/+(α",
    "[](){}<>|&;#\"' a1.,",
    "汉字日本語カナ한국어ㄱ々〇ᄀ가힣 a1.,-'",
    "e\u0301a\u0308\u094dक\u093c\u200d\u200c\ufe0f\u20e3 1.,-'",
    "🙂👩\u200d⚕️🧬𝒜𝟙𐐷 a1.,-'",
    "שלוםعربي٣٤،؛؟\u200f\u202b a1.,-'",
    " \u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\u180e\x85\x1c\x1f a.,'-",
    "\t\n\r\x0b\x0c\x00\x01\x07\x1b\x7f\x1d a.,'-",
    "1234567890٣½²Ⅻ,.,., -%°$€'s",
    ["DOT", "MULTI", "DOTMULTI", "DOTDOTMULTI", ".", "..", " ", "a", "'", ",", "\x01", "DOTMULTI."],
    ["@-@", "@", "-", " ", "a", "&amp;", "&lt;", "&apos;", "&#91;", "&#124;", "&", "amp;", "'", "n't", "'s"],
    [*SPECIAL, "<", ">", "s", "/", "<s", "pad>", "</w>", "</", " ", "a", ".", "'", "\n"],
    ["\ud800", "\udc00", "\udfff", "a", " ", "\x00", "🙂", ".", "-", "'"],
    string.printable,
    string.ascii_letters + " .,'-" * 4,
]


@cache
def tricky(seed: int = 0, count: int = 4000) -> list[str]:
    """Return random texts over one or two of the alphabets, and over all characters of Unicode."""
    rng = random.Random(seed)
    made = []
    while len(made) < count:
        if rng.random() < 0.1:
            alphabet = [chr(rng.randrange(rng.choice([0x300, 0x3000, 0x110000]))) for _ in range(8)] + [*" .,-'a1"]
        else:
            alphabet = [part for one in rng.sample(ALPHABETS, rng.choice([1, 1, 2])) for part in one]
        made.append("".join(rng.choices(alphabet, k=rng.randint(1, 40))))
    return [text for text in made if as_utf16(text) == text]


def as_utf16(text: str) -> str:
    """Two lone surrogates that follow each other are one character in JavaScript."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@cache
def every_text() -> list[str]:
    prompts = [*demo.PROMPTS, *(part for text in kit.TEXTS for part in ([text] if isinstance(text, str) else text))]
    return [text for text in [*prompts, *texts(), *tricky()] if as_utf16(text) == text]


def units(text: str) -> np.ndarray:
    """Return where each character starts in UTF-16, and the end."""
    return np.cumsum([0, *(1 + (ord(c) > 0xFFFF) for c in text)])


def expected(tok: BioGptTokenizer, text: str) -> list[list[Any]]:
    at = units(text)
    found: list[list[Any]] = [[tok.sep_token_id, tok.sep_token, 0, 0]]
    return found + [[i, piece, int(at[start]), int(at[end])] for piece, i, (start, end) in tok.analyse(text)]


ENCODED = (
    "input.texts.map((text) => tokenizer.encode(text).map(({ id, piece, start, end }) => [id, piece, start, end]))"
)
DECODED = "input.rows.map((ids) => [false, true].map((skip) => tokenizer.decode(ids, { skipSpecialTokens: skip })))"


def assert_same(tok: BioGptTokenizer, source: dict[str, Any]) -> None:
    """Compare ids, pieces and offsets of all texts, and the texts of their ids and of random ids."""
    found = run_js(f"{TOKENIZER} return {ENCODED};", {**source, "texts": every_text()}, imports=IMPORTS)
    rows = []
    for text, got in zip(every_text(), found, strict=True):
        want = expected(tok, text)
        assert got == want, repr(text)
        rows.append([i for i, *_ in want])
    rng = random.Random(1)
    common = [i for row in rows for i in row]
    rows += [rng.choices(range(len(tok)), k=rng.randint(0, 12)) for _ in range(500)]
    rows += [rng.choices(common, k=rng.randint(0, 12)) for _ in range(2000)]
    decoded = run_js(f"{TOKENIZER} return {DECODED};", {**source, "rows": rows}, imports=IMPORTS)
    for row, got in zip(rows, decoded, strict=True):
        assert got == [tok.decode(row, skip_special_tokens=skip) for skip in (False, True)], row


def test_the_demo_has_the_same_tokens() -> None:
    assert len(every_text()) > 5500
    assert_same(BioGptTokenizer.from_pretrained("demo"), {"folder": str(DEMO)})


def test_the_kit_has_the_same_tokens() -> None:
    assert_same(BioGptTokenizer(kit.VOCAB, kit.MERGES), {"vocab": json.dumps(kit.VOCAB), "merges": kit.MERGES})


@pytest.mark.parametrize("name", ["biogpt", "biogpt-large"])
def test_the_real_vocabulary_has_the_same_tokens(name: str) -> None:
    folder = SHARED / name
    if not (folder / "vocab.json").is_file():
        pytest.skip(f"the real vocabulary '{name}' is not beside the project (set MINIBIOGPT_REAL_VOCAB to its folder)")
    assert_same(BioGptTokenizer.from_pretrained(folder), {"folder": str(folder)})


def test_labels_and_pieces_are_those_of_the_other_pages() -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    body = f"{TOKENIZER} return input.ids.map((id) => [tokenizer.label(id), tokenizer.pieces.get(id) ?? null]);"
    ids = range(len(tok) + 2)
    found = run_js(body, {"folder": str(DEMO), "ids": list(ids)}, imports=IMPORTS)
    assert [label for label, _ in found] == labels_of(ids, tok)
    assert [piece for _, piece in found] == [*tok.convert_ids_to_tokens(list(range(len(tok)))), None, None]


def test_the_check_of_a_port_agrees(tmp_path: Path) -> None:
    """The kit counts offsets in code points."""
    reference, candidate = tmp_path / "tokenizer.json", tmp_path / "candidate.json"
    total = kit.write_token_cases(BioGptTokenizer(kit.VOCAB, kit.MERGES), reference)
    body = (
        TOKENIZER
        + """
      const point = (text, at) => Array.from(text.slice(0, at)).length;
      return input.cases.map(({ text, text_pair: pair }) => {
        const tokens = tokenizer.encode(text, pair ?? null);
        const second = tokens.findLastIndex(({ end, piece }) => !end && piece === "</s>");
        const ids = tokens.map(({ id }) => id), own = (i) => (pair !== undefined && i >= second ? pair : text);
        const offsets = tokens.map(({ start, end }, i) => [point(own(i), start), point(own(i), end)]);
        const decoded = tokenizer.decode(ids, { skipSpecialTokens: true });
        return { ids, offsets, pieces: tokens.map(({ piece }) => piece), decoded };
      });
    """
    )
    data = {"vocab": json.dumps(kit.VOCAB), "merges": kit.MERGES, "cases": json.loads(reference.read_text())}
    candidate.write_text(json.dumps(run_js(body, data, imports=IMPORTS)))
    report = kit.check_tokens(reference, candidate)
    assert report.lines()[-1] == f"the candidate agrees with the reference in all {total} texts"


def test_chromium_finds_the_same_tokens(browser: Any, tmp_path: Path) -> None:
    tok = BioGptTokenizer(kit.VOCAB, kit.MERGES)
    Page("tokens", "<p>tokens</p>", module="biogpt/tokenizer/tokenizer.js").save(tmp_path / "page.html")
    sample = [text for text in every_text()[::3] if not re.search("[\ud800-\udfff]", text)]
    data = {"vocab": kit.VOCAB, "merges": kit.MERGES, "texts": sample}
    with opened(browser, tmp_path / "page.html") as page:
        body = f"const tokenizer = new BioGptTokenizer(input); return {ENCODED};"
        found = page.evaluate(f"(input) => {{ {body} }}", data)
    for text, got in zip(sample, found, strict=True):
        assert got == expected(tok, text), repr(text)


def test_words_are_joined_as_by_sacremoses() -> None:
    split, join = moses.splitter(), moses.joiner()
    rng = random.Random(2)
    words = [word for text in every_text()[:3000] for word in [*text.split(), *split(text)] if word]
    rows = [rng.choices(words, k=rng.randint(0, 8)) for _ in range(4000)]
    marks = [*"'\"„“`'()[]{},.;:?!$€%¿汉한", "''", "``", "'s", "'ᄀ", "'\u094d", "Jones", "@-@"]
    rows += [rng.choices(marks, k=9) for _ in range(2000)]
    imports = 'import { mosesText } from "./biogpt/tokenizer/moses.js";'
    for row, found in zip(rows, run_js("return input.map(mosesText);", rows, imports=imports), strict=True):
        assert as_utf16(found) == as_utf16(join(row)), row


def test_the_character_classes_are_those_of_sacremoses() -> None:
    imports = 'import { ABBREVIATIONS, MOSES, NUMBERED } from "./biogpt/tokenizer/characters.js";'
    body = """
      const every = Array.from({ length: 0x110000 }, (_, code) => code);
      const found = { abbreviations: [...ABBREVIATIONS], numbered: [...NUMBERED] };
      for (const name in MOSES) found[name] = every.filter((code) => MOSES[name].has(String.fromCodePoint(code)));
      return found;
    """
    found = run_js(body, imports=imports)
    there, back = MosesTokenizer(lang="en"), MosesDetokenizer(lang="en")
    sets = {
        "letter": back.IsAlpha, "alpha": there.IsAlpha, "alnum": there.IsAlnum, "number": there.IsN,
        "lower": there.IsLower, "currency": back.IsSc.replace("\n", ""),
    }  # fmt: skip
    assert {name: found[name] for name in sets} == {name: sorted(set(map(ord, one))) for name, one in sets.items()}
    numbered = set(there.NUMERIC_ONLY_PREFIXES)
    assert set(found["numbered"]) == numbered
    assert set(found["abbreviations"]) == {one for one in there.NONBREAKING_PREFIXES if "#" not in one}
    assert not numbered & set(found["abbreviations"])
