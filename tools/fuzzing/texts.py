"""The target for texts: arbitrary strings, encoded with offsets, decoded and streamed."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from minibiogpt import BioGptTokenizer, InputError
from minibiogpt.generation import TextStreamer
from minibiogpt.tokenizer.large_text import clean_large
from tools.fuzzing.supervise import Target

WORDS = [
    "Ibuprofen",
    "treats",
    "pain",
    "(mild).",
    "COVID-19",
    "β-blocker",
    "TNF-α",
    "IL-6",
    "5'-UTR",
    "p<0.05",
    "1 0 0 mg",
]
WORDS += ["e.g.", "Dr.", "U.S.", "can't"]
ENTITIES = ["&amp;", "&lt;s&gt;", "&apos;", "&#124;", "&#91;", "&quot;", "&", "&;", "&#x0;", "&amp;amp;"]
ENTITIES += ["@-@", "@-@-@", "--", "a--b", "@", "-@", "@@", "</w>", "a</w>b"]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "</s", "<</s>>", "</s></s>", "< /s>", "<PAD>"]
BLANKS = [
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\v",
    "\x00",
    "\x1f",
    "\x7f",
    "\x85",
    "\u00a0",
    "\u200b",
    "\u2028",
    "\u3000",
    "\ufeff",
]
CHARACTERS = [
    "\u0301",
    "👩\u200d🔬",
    "العربية",
    "漢字",
    "ﬁ",
    "İ",
    "ß",
    "\u202e",
    "\udc80",
    "\ud83d",
    "\U0010ffff",
    "\uffff",
    "…",
    "\u00ad",
    "¼",
]
LONG = 20_000  # characters of a very long word

ODD_IDS = ["float", "digits", "deep", "many", "generator", "text", "rows", "negative"]


def _odd_ids(kind: str) -> Any:
    """Return ids that are none, or very many: a case is JSON, which cannot hold all of them."""
    deep: Any = 5
    for _ in range(10_000 if kind == "deep" else 0):
        deep = [deep]
    odd = {"float": [5.5], "digits": [10**5000], "many": [5] * 10**5, "generator": (i for i in range(5)), "text": ["5"]}
    return {"rows": [[5], [6]], "negative": [-1], "deep": deep, **odd}[kind]


def any_text(rng: Random) -> str:
    """Return up to 40 random parts of several kinds, sometimes with a very long one."""
    text = "".join(_part(rng) for _ in range(rng.choice([0, 1, 2, 5, 12, 40])))
    return text + _long(rng) if rng.random() < 0.04 else text


def _part(rng: Random) -> str:
    kind = rng.randrange(8)
    if kind < 5:
        part = rng.choice([WORDS, ENTITIES, SPECIAL, BLANKS, CHARACTERS][kind])
    elif kind == 5:
        part = chr(rng.choice([rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x110000)]))
    elif kind == 6:
        part = rng.choice("-'\"&|<>[]@.,/\\%$#~^_") * rng.choice([1, 2, 3, 30])
    else:
        part = "".join(rng.choices("abcxyzABC0189αβ", k=rng.randrange(1, 40)))
    return part + " " if rng.random() < 0.5 else part


def _long(rng: Random) -> str:
    kind = rng.randrange(6)
    if kind == 5:  # words that sacremoses writes for dots, and runs that a regular expression may read again and again
        unit = rng.choice(
            ["DOT", "DOTDOT ", "DOTMULTI", ".DOT", "..", " ", "< ", "\u0301", "\u200b", "&amp", "1 ", "1 , "]
        )
        return unit * LONG + rng.choice(["", "MULTI", " DOTMULTI.", "."])
    if kind == 0:
        return "".join(rng.choices("acgtACGT", k=LONG))
    if kind == 1:
        return _part(rng) * (LONG // 8)
    if kind == 2:
        return rng.choice(["a", ".", "-", "a-", "a.", "'", "&", "<", " ", "\ud800", "é", "1,", "@-@", "漢"]) * LONG
    return "".join(_part(rng) for _ in range(2000))


def make(rng: Random, folder: Path) -> dict[str, Any]:
    texts = [any_text(rng) for _ in range(rng.choice([1, 1, 2]))]
    pair = [any_text(rng) for _ in texts] if rng.random() < 0.2 else None
    size = vocabulary().vocab_size
    return {
        "texts": texts,
        "pair": pair,
        "parse_special": rng.random() < 0.5,
        "max_length": rng.choice([None, 1, 2, 7, 300]),
        "odd ids": rng.choice(ODD_IDS),
        "ids": [rng.choice([rng.randrange(size), rng.randrange(90)]) for _ in range(rng.choice([0, 1, 5, 30]))],
    }


def run(folder: Path, case: dict[str, Any]) -> None:
    """Check that offsets are within the text and in order, ids decode to strings, and a stream gives the same text."""
    tokenizer, special = vocabulary(), case["parse_special"]
    for text in case["texts"]:
        pieces = tokenizer.analyse(text, parse_special=special)
        assert all(0 <= start <= end <= len(text) for _, _, (start, end) in pieces), "an offset outside the text"
        starts = [piece.span[0] for piece in pieces]
        assert starts == sorted(starts), "offsets out of order"
        assert [piece.piece for piece in pieces] == tokenizer.tokenize(text, parse_special=special)
    for text in case["texts"]:
        assert isinstance(clean_large(text), str)
    _batch(tokenizer, case)
    with contextlib.suppress(InputError):
        tokenizer.decode(_odd_ids(case.get("odd ids", "float")))
    _stream(tokenizer, case["ids"])


def _batch(tokenizer: BioGptTokenizer, case: dict[str, Any]) -> None:
    encoded = tokenizer(
        case["texts"], case["pair"], padding=True, truncation=case["max_length"] is not None,
        max_length=case["max_length"], parse_special=case["parse_special"], return_offsets=True,
    )  # fmt: skip
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    assert ids.shape == mask.shape == encoded["offsets"].shape[:2]
    longest = max(map(len, [*case["texts"], *(case["pair"] or [])]), default=0)
    starts, ends = encoded["offsets"][..., 0], encoded["offsets"][..., 1]
    assert ((starts >= 0) & (starts <= ends) & (ends <= longest)).all(), "an offset outside every text"
    cut = (case["max_length"] or 0) > 2  # 1 or 2 leave no room beside </s>: as in transformers, nothing is truncated
    assert not cut or mask.sum(axis=1).max() <= case["max_length"], "longer than max_length"
    assert all(isinstance(text, str) for text in tokenizer.batch_decode(ids))
    assert tokenizer.convert_ids_to_tokens(ids[0])


def _stream(tokenizer: BioGptTokenizer, ids: list[int]) -> None:
    written = io.StringIO()
    streamer = TextStreamer(tokenizer, stream=written, skip_special_tokens=True)
    streamer.put(ids[:3])
    for i in ids[3:]:
        streamer.put([i])
    streamer.end()
    assert written.getvalue() == tokenizer.decode(ids, skip_special_tokens=True) + "\n", (
        "the stream differs from decode"
    )


@cache
def vocabulary() -> BioGptTokenizer:
    return BioGptTokenizer.from_pretrained("demo")


TARGETS = (Target("text", 8, make, run),)
