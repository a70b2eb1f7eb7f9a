"""The kit's tokenizer: a small vocabulary like the real one, texts that expose mistakes, and the check of ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import write_atomically
from minibiogpt.tokenizer import BioGptTokenizer

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
INNER_CHARACTERS = "abcdefghiklmnopqrstuvwxy0123456789ICOVDTNFLB.,-&;é"
FINAL_CHARACTERS = "abcdefghiklmnoprstuvwxyz0123456789ADF.,;:()%/?-éα汉"
# Pairs in the order of priority, as in the real merges.txt. Some results are not in the vocabulary.
MERGED = """
i n|i s</w>|t h|th e</w>|a n|an d</w>|o f</w>|o r</w>|f or</w>|p r|pr o|e n</w>|i n</w>|p a|pa in</w>|e d</w>
us ed</w>|u s|in g</w>|I b|Ib u|Ibu pro|Ibupro f|Ibuprof en</w>|@ -@</w>|- @</w>|p os|o s|a pos|& apos
&apos ;</w>|&apos; s</w>|&apos ;|& lt|l t|&lt ;</w>|o x|ox y|1 0|10 0</w>|1 9</w>|C O|CO V|COV I|COVI D</w>|D N
DN A</w>|t r|tr e|i on</w>|o n</w>|I L</w>|q u
"""
NOT_IN_VOCAB = ("-@</w>", "&apos", "apos", "ox", "IL</w>", "qu", "tre", "COVI")


def _merges() -> list[tuple[str, str]]:
    pairs = [tuple(pair.split()) for pair in MERGED.replace("\n", "|").split("|") if pair]
    return [(a, b) for a, b in dict.fromkeys(pairs)]


MERGES = _merges()


def _vocab() -> dict[str, int]:
    """Return special tokens, characters inside and at the end of a word, and merged pieces, in this order."""
    merged = [a + b for a, b in MERGES if a + b not in NOT_IN_VOCAB]
    pieces = [*SPECIAL, *INNER_CHARACTERS, *(character + "</w>" for character in FINAL_CHARACTERS), *merged]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


VOCAB = _vocab()

# A text, or a pair of texts. No text contains a tab, which separates the texts of a pair in a {text: ids} candidate.
TEXTS: tuple[str | tuple[str, str], ...] = (
    "", " ", "   ", "a", "Ibuprofen is used for pain.", "Ibuprofen  is\nused for pain .", " the pain ", "COVID-19 is",
    "IL-2-induced", "a-b-c", "a--b", "-a-", "x - y", "TNF-α", "a – b — c", "a @-@ b", "the patient's", "patients' pain",
    "don't", '"DNA" and \'pain\'', "``x''", "a < b", "a<b>c", "R&D", "a|b", "[1]", "[DNA, 2]", "&lt;b&gt;",
    "&amp;lt; &apos;", "&#124;", "AT&T;", "1,000.5", "100 19 10", "1.5 mg/d", "10%", "p<0.05", "1990's", "oxygen",
    "oxide", "treat", "quiz", "iron ion", "zzjj", "é", "e\u0301", "café cafe\u0301", "汉字", "日本語 DNA", "العربية",
    "🙂", "👩‍⚕️ pain", "½ ²", "ﬁ", "\u00a0a\u00a0b", "a\u200bb", "a\u00adb", "</s>", "a</s>b", "<s> the <pad><unk>",
    "</s></s>", "</w>", "a </S> < s >", "Ph.D. e.g. this", "U.S.A.", "...", "a...b", "?!", "http://a.org/b?c=d&e",
    "pneumonoultramicroscopicsilicovolcanoconiosis", "ab" * 60, "." * 20, "a" * 40 + "-" + "1" * 20,
    ("the pain", "used for DNA"), ("", "a"), ("a-b", ""), ("a</s>b", "the"),
)  # fmt: skip


def token_cases(tokenizer: BioGptTokenizer) -> list[dict[str, Any]]:
    """Return {text, pieces, ids, offsets, decoded} of every text, and text_pair if it is a pair.

    pieces are the results of merging, before the vocabulary look-up: a piece the vocabulary lacks has the id of
    ``<unk>``. offsets are [start, end) in code points of the text (in a pair, of the piece's own text); the leading
    ``</s>`` has [0, 0].
    """
    return [_case(tokenizer, *([text] if isinstance(text, str) else text)) for text in TEXTS]


def _case(tokenizer: BioGptTokenizer, *texts: str) -> dict[str, Any]:
    case: dict[str, Any] = dict(zip(("text", "text_pair"), texts, strict=False))
    case |= {"pieces": [], "ids": [], "offsets": []}
    for text in texts:
        tokens = tokenizer.analyse(text)
        case["pieces"] += [tokenizer.sep_token, *(token.piece for token in tokens)]
        case["ids"] += [tokenizer.sep_token_id, *(token.id for token in tokens)]
        case["offsets"] += [[0, 0], *(list(token.span) for token in tokens)]
    return case | {"decoded": tokenizer.decode(case["ids"], skip_special_tokens=True)}


def write_token_cases(tokenizer: BioGptTokenizer, path: str | os.PathLike[str]) -> int:
    """Write the cases, one per line, and return their number."""
    cases = token_cases(tokenizer)
    lines = ",\n".join(json_text(case) for case in cases)  # ASCII only, with escapes
    write_atomically(Path(path), lambda temporary: temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))
    return len(cases)


COMPARED = ("text", "text_pair", "ids", "pieces", "offsets", "decoded")  # a key the candidate lacks is skipped


@dataclass(frozen=True)
class TokenReport:
    """The result of comparing a candidate's ids with the reference.

    Attributes
    ----------
    total : number of cases in the reference.
    compared : number of cases for which the candidate has ids.
    missing : the texts for which it has none.
    differing : for each case that differs, one line: the text, what differs, and where.
    """

    total: int
    compared: int
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.missing and not self.differing

    @property
    def code(self) -> int:
        """The exit code: 0 agrees, 1 differs or is incomplete."""
        return 0 if self.agrees else 1

    def lines(self) -> list[str]:
        """Return the lines to print: one for each text that differs or is missing; the last one is the verdict."""
        counts = f"compared {self.compared}, not compared {len(self.missing)}, total {self.total}"
        if self.agrees:
            return [counts, f"the candidate agrees with the reference in all {self.total} texts"]
        found = f"{len(self.differing)} of {self.compared} texts differ"
        missing = f", {len(self.missing)} are missing" if self.missing else ""
        each = [*(f"differs: {one}" for one in self.differing), *(f"no ids for {one}" for one in self.missing)]
        return [counts, *each, f"the candidate differs from the reference: {found}{missing}"]


def check_tokens(reference: str | os.PathLike[str], candidate: str | os.PathLike[str]) -> TokenReport:
    """Compare a candidate's tokenization of the texts with the kit's tokenizer.json.

    Parameters
    ----------
    reference : the kit's tokenizer.json.
    candidate : a JSON file: a list in the order of the reference, whose items are lists of ids or objects with "ids"
        and optionally "pieces", "offsets" and "decoded"; or one object {text: ids} (key of a pair: text, tab,
        text_pair).

    Raises
    ------
    InputError
        If one of the files cannot be used, or there is nothing to compare.
    """
    cases = _read_reference(Path(reference))
    candidates = _read_candidate(Path(candidate), cases)
    missing, differing = [], []
    for case, found in zip(cases, candidates, strict=True):
        if found is None:
            missing.append(_label(case))
        elif difference := _difference(case, found):
            differing.append(f"{_label(case)}: {difference}")
    if len(missing) == len(cases):
        raise InputError("the candidate must contain ids for texts of the reference", "none", _REMEDY)
    return TokenReport(len(cases), len(cases) - len(missing), missing, differing)


_MAKE = "make a kit: minibiogpt golden kit FOLDER"
_REMEDY = 'write [{"ids": [2, 5]}, ...] in the order of the reference, or {"text": [2, 5], ...}'


def _read_reference(path: Path) -> list[dict[str, Any]]:
    cases = read_json(path, "the reference must be a kit's tokenizer.json", absent=_MAKE, broken=_MAKE)
    if not isinstance(cases, list) or not cases or not all(map(_is_case, cases)):
        must = f"{path} must be a kit's tokenizer.json"
        raise InputError(must, "a different JSON file", _MAKE)
    return cases


def _is_case(case: Any) -> bool:
    if not isinstance(case, dict) or not _are_ids(case.get("ids")):
        return False
    pieces = case.get("pieces")
    texts = isinstance(case.get("text"), str) and isinstance(case.get("text_pair", ""), str)
    return texts and isinstance(pieces, list) and len(pieces) == len(case["ids"])


def _read_candidate(path: Path, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """Return the candidate's object for each case, or None if it has none."""
    content = read_json(path, "the candidate must be a JSON file", absent="check the path", broken="write it again")
    if isinstance(content, dict):
        keys = ["\t".join(_texts(case)) for case in cases]
        if unknown := [key for key in content if key not in keys]:
            raise InputError("the candidate must contain only texts of the reference", short_repr(unknown[0]), _REMEDY)
        content = [content.get(key) for key in keys]
    if not isinstance(content, list) or len(content) > len(cases):
        found = f"{len(content)} cases" if isinstance(content, list) else type(content).__name__
        raise InputError(f"the candidate must contain at most {len(cases)} cases", found, _REMEDY)
    candidates = [item if item is None or isinstance(item, dict) else {"ids": item} for item in content]
    for n, item in enumerate(candidates):
        if item is not None and not _are_ids(item.get("ids")):
            raise InputError(f"case {n} of the candidate must have integers as ids", "something else", _REMEDY)
    return candidates + [None] * (len(cases) - len(candidates))


def _are_ids(ids: Any) -> bool:
    return isinstance(ids, list) and all(type(i) is int for i in ids)


def _texts(case: dict[str, Any]) -> list[str]:
    return [case[key] for key in ("text", "text_pair") if key in case]


def _label(case: dict[str, Any]) -> str:
    return " + ".join(ascii(text) if len(text) < 60 else f"{text[:60]!a}..." for text in _texts(case))


def _difference(case: dict[str, Any], candidate: dict[str, Any]) -> str | None:
    """Return the first difference: key, index, both values and the reference's piece there; None if all agree."""
    for key in COMPARED:
        expected, found = case.get(key), candidate.get(key, case.get(key))
        if found == expected:
            continue
        if not isinstance(found, list) or not isinstance(expected, list):
            return f"{key} {ascii(found)[:80]}, not {ascii(expected)[:80]}"
        both = zip(found, expected, strict=False)
        at = next((i for i, (a, b) in enumerate(both) if a != b), min(len(found), len(expected)))
        values = [ascii(x[at])[:60] if at < len(x) else "the end" for x in (found, expected)]
        piece = f" (piece {ascii(case['pieces'][at])[:60]})" if at < len(expected) and at < len(case["pieces"]) else ""
        return f"{key} differ first at {at}: {values[0]}, not {values[1]}{piece}"
    return None
