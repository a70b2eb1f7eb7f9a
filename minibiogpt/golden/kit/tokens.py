"""The kit's tokenizer: a small vocabulary of the real kind, texts that show mistakes, and the check of ids."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import write_atomically
from minibiogpt.tokenizer import BioGptTokenizer

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
INSIDE = "abcdefghiklmnopqrstuvwxy0123456789ICOVDTNFLB.,-&;é"
ENDS = "abcdefghiklmnoprstuvwxyz0123456789ADF.,;:()%/?-éα汉"
# As in the real merges.txt: the most frequent first, two pieces and a count. Some products are no pieces.
MERGED = """
i n|i s</w>|t h|th e</w>|a n|an d</w>|o f</w>|o r</w>|f or</w>|p r|pr o|e n</w>|i n</w>|p a|pa in</w>|e d</w>
us ed</w>|u s|in g</w>|I b|Ib u|Ibu pro|Ibupro f|Ibuprof en</w>|@ -@</w>|- @</w>|p os|o s|a pos|& apos
&apos ;</w>|&apos; s</w>|&apos ;|& lt|l t|&lt ;</w>|o x|ox y|1 0|10 0</w>|1 9</w>|C O|CO V|COV I|COVI D</w>|D N
DN A</w>|t r|tr e|i on</w>|o n</w>|I L</w>|q u
"""
LACKING = ("-@</w>", "&apos", "apos", "ox", "IL</w>", "qu", "tre", "COVI")


def _merges() -> list[tuple[str, str]]:
    pairs = [tuple(pair.split()) for pair in MERGED.replace("\n", "|").split("|") if pair]
    return [(a, b) for a, b in dict.fromkeys(pairs)]


MERGES = _merges()


def _vocab() -> dict[str, int]:
    """Special tokens, signs within and at the end of a word, and the products that are pieces, in this order."""
    products = [a + b for a, b in MERGES if a + b not in LACKING]
    pieces = [*SPECIAL, *INSIDE, *(sign + "</w>" for sign in ENDS), *products]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


VOCAB = _vocab()

# A text, or a text and its pair. No text holds a tab: it parts a pair in a candidate of the form {text: ids}.
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
    """{text, pieces, ids, offsets, decoded} of every text, and text_pair of a pair.

    pieces are what merging makes, before they are looked up: one that the vocabulary lacks has the id of ``<unk>``.
    offsets are [start, end) in the text (of a pair, in its own), counted in code points; [0, 0] of a ``</s>`` in front.
    """
    return [_case(tokenizer, *([text] if isinstance(text, str) else text)) for text in TEXTS]


def _case(tokenizer: BioGptTokenizer, *parts: str) -> dict[str, Any]:
    case: dict[str, Any] = dict(zip(("text", "text_pair"), parts, strict=False))
    case |= {"pieces": [], "ids": [], "offsets": []}
    for part in parts:
        found = tokenizer.analyse(part)
        case["pieces"] += [tokenizer.sep_token, *(one.piece for one in found)]
        case["ids"] += [tokenizer.sep_token_id, *(one.id for one in found)]
        case["offsets"] += [[0, 0], *(list(one.span) for one in found)]
    return case | {"decoded": tokenizer.decode(case["ids"], skip_special_tokens=True)}


def write_tokens(tokenizer: BioGptTokenizer, path: str | os.PathLike[str]) -> int:
    """Write the cases, one a line; how many there are."""
    cases = token_cases(tokenizer)
    lines = ",\n".join(json.dumps(case) for case in cases)  # ASCII: a reader needs no Unicode but the escapes
    write_atomically(Path(path), lambda beside: beside.write_text(f"[\n{lines}\n]\n", encoding="utf-8"))
    return len(cases)


COMPARED = ("text", "text_pair", "ids", "pieces", "offsets", "decoded")  # those that the candidate has


@dataclass(frozen=True)
class TokenReport:
    """How a candidate's ids compare with the reference's.

    Attributes
    ----------
    total : the cases of the reference. compared : those of which the candidate has ids.
    missing : the texts of which it has none. differing : of each case that differs, what and where, in words.
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
        """What to print; the last line is the verdict."""
        counts = f"compared {self.compared}, not compared {len(self.missing)}, total {self.total}"
        if self.agrees:
            return [counts, f"the candidate agrees with the reference in all {self.total} texts"]
        first = self.differing[0] if self.differing else f"no ids of {self.missing[0]}"
        found = f"{len(self.differing)} of {self.compared} texts differ"
        missing = f", {len(self.missing)} are missing" if self.missing else ""
        return [counts, f"first: {first}", f"the candidate differs from the reference: {found}{missing}"]


def check_tokens(reference: str | os.PathLike[str], candidate: str | os.PathLike[str]) -> TokenReport:
    """Compare what a candidate made of the texts with the kit's tokenizer.json.

    Parameters
    ----------
    candidate : a JSON list in the order of the reference, of lists of ids or of objects with "ids" and, if you like,
        "pieces", "offsets" and "decoded"; or one object {text: ids}, of a pair {text + tab + text_pair: ids}.

    Raises
    ------
    InputError
        If one of the files cannot be used, or there is nothing to compare.
    """
    cases = _reference(Path(reference))
    given = _candidate(Path(candidate), cases)
    missing, differing = [], []
    for case, own in zip(cases, given, strict=True):
        if own is None:
            missing.append(_label(case))
        elif told := _difference(case, own):
            differing.append(f"{_label(case)}: {told}")
    if len(missing) == len(cases):
        raise InputError("the candidate must hold ids of the reference's texts", "none", _REMEDY)
    return TokenReport(len(cases), len(cases) - len(missing), missing, differing)


_REMEDY = 'write [{"ids": [2, 5]}, ...] in the order of the reference, or {"text": [2, 5], ...}'


def _reference(path: Path) -> list[dict[str, Any]]:
    cases = read_json(path, "the reference must be a kit's tokenizer.json")
    if not isinstance(cases, list) or not cases or not all(map(_is_case, cases)):
        must = f"{path} must be a kit's tokenizer.json"
        raise InputError(must, "another JSON file", "make a kit: minibiogpt golden kit FOLDER")
    return cases


def _is_case(case: Any) -> bool:
    if not isinstance(case, dict) or not _are_ids(case.get("ids")):
        return False
    pieces = case.get("pieces")
    texts = isinstance(case.get("text"), str) and isinstance(case.get("text_pair", ""), str)
    return texts and isinstance(pieces, list) and len(pieces) == len(case["ids"])


def _candidate(path: Path, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """What the candidate has of each case; None where it has nothing."""
    found = read_json(path, "the candidate must be a JSON file")
    if isinstance(found, dict):
        keys = ["\t".join(_parts(case)) for case in cases]
        if unknown := [key for key in found if key not in keys]:
            raise InputError("the candidate must hold texts of the reference", repr(unknown[0])[:80], _REMEDY)
        found = [found.get(key) for key in keys]
    if not isinstance(found, list) or len(found) > len(cases):
        told = f"{len(found)} cases" if isinstance(found, list) else type(found).__name__
        raise InputError(f"the candidate must hold at most {len(cases)} cases", told, _REMEDY)
    given = [one if one is None or isinstance(one, dict) else {"ids": one} for one in found]
    for n, one in enumerate(given):
        if one is not None and not _are_ids(one.get("ids")):
            raise InputError(f"case {n} of the candidate must have whole numbers as ids", "something else", _REMEDY)
    return given + [None] * (len(cases) - len(given))


def _are_ids(ids: Any) -> bool:
    return isinstance(ids, list) and all(type(i) is int for i in ids)


def _parts(case: dict[str, Any]) -> list[str]:
    return [case[key] for key in ("text", "text_pair") if key in case]


def _label(case: dict[str, Any]) -> str:
    return " + ".join(ascii(text) if len(text) < 60 else f"{text[:60]!a}..." for text in _parts(case))


def _difference(case: dict[str, Any], own: dict[str, Any]) -> str | None:
    """What of the case differs first: where, and which piece the reference has there; None when all agrees."""
    for key in COMPARED:
        want, got = case.get(key), own.get(key, case.get(key))
        if got == want:
            continue
        if not isinstance(got, list) or not isinstance(want, list):
            return f"{key} {ascii(got)[:80]}, not {ascii(want)[:80]}"
        at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
        shown = [ascii(x[at])[:60] if at < len(x) else "the end" for x in (got, want)]
        piece = f" (piece {ascii(case['pieces'][at])[:60]})" if at < len(want) and at < len(case["pieces"]) else ""
        return f"{key} differ first at {at}: {shown[0]}, not {shown[1]}{piece}"
    return None
