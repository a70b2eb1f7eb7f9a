"""The kit's tokenizer cases agree with transformers on the same files; and the check of a candidate's ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from minibiogpt import BioGptTokenizer, InputError
from minibiogpt.golden.kit.tokens import MERGES, NOT_IN_VOCAB, TEXTS, VOCAB, check_tokens
from minibiogpt.golden.kit.writer import write_kit
from minibiogpt.tokenizer.bpe import END_OF_WORD

Cases = list[dict[str, Any]]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "kit"
    write_kit(folder, cases=["one_token"], runs=1)
    return folder


@pytest.fixture(scope="module")
def cases(kit: Path) -> Cases:
    found = json.loads((kit / "tokenizer.json").read_text())
    assert len(found) == len(TEXTS) == len(set(TEXTS)) >= 40
    return found


def parts(case: dict[str, Any]) -> list[str]:
    return [case[key] for key in ("text", "text_pair") if key in case]


def test_every_case_is_transformers(kit: Path, cases: Cases) -> None:
    theirs = transformers.BioGptTokenizer.from_pretrained(kit / "models" / "base")
    for case in cases:
        texts = parts(case)
        assert theirs(*texts)["input_ids"] == case["ids"], texts
        pieces = [piece for text in texts for piece in ("</s>", *theirs.tokenize(text))]
        assert pieces == case["pieces"], texts
        assert theirs.decode(case["ids"], skip_special_tokens=True) == case["decoded"], texts


def test_every_model_of_the_kit_has_the_same_vocabulary(kit: Path) -> None:
    for file in ("vocab.json", "merges.txt"):
        assert len({path.read_bytes() for path in kit.glob(f"models/*/{file}")}) == 1
    lines = (kit / "models/base/merges.txt").read_text().splitlines()
    assert [tuple(line.split()[:2]) for line in lines] == MERGES
    assert all(len(line.split()) == 3 for line in lines)
    assert list(VOCAB.values()) == list(range(len(VOCAB)))
    assert list(VOCAB)[:4] == ["<s>", "<pad>", "</s>", "<unk>"]


def test_pieces_ids_and_offsets_belong_together(kit: Path, cases: Cases) -> None:
    tokenizer = BioGptTokenizer.from_pretrained(kit / "models" / "base")
    for case in cases:
        encoded = tokenizer(*parts(case), return_offsets=True)
        assert encoded["input_ids"][0].tolist() == case["ids"]
        assert encoded["offsets"][0].tolist() == case["offsets"]
        assert [VOCAB.get(piece, 3) for piece in case["pieces"]] == case["ids"]
        assert all(0 <= start <= end <= max(map(len, parts(case))) for start, end in case["offsets"])


def test_what_the_texts_are_there_for_occurs(cases: Cases) -> None:
    pieces = {piece for case in cases for piece in case["pieces"]}
    assert {"ox", "tre", "qu", "IL</w>"} <= pieces & set(NOT_IN_VOCAB), "results of merges that the vocabulary lacks"
    assert {"@-@</w>", "&lt;</w>", "&apos;s</w>", "<s>", "<pad>", "<unk>"} <= pieces
    ids = {case["text"]: case["ids"] for case in cases if "text_pair" not in case}
    assert ids["é"] != ids["e\u0301"], "NFC and NFD"
    assert ids[""] == [2]
    assert any(len(piece.removesuffix(END_OF_WORD)) >= 5 for piece in pieces)
    assert sum("text_pair" in case for case in cases) >= 3
    assert not any("\t" in text for case in cases for text in parts(case)), "a tab separates a pair"


def written(folder: Path, candidate: Any) -> Path:
    (folder / "theirs.json").write_text(json.dumps(candidate))
    return folder / "theirs.json"


def test_candidates_of_every_form_agree(kit: Path, cases: Cases, tmp_path: Path) -> None:
    forms: list[Any] = [
        cases,
        [case["ids"] for case in cases],
        [{"ids": case["ids"]} for case in cases],
        {"\t".join(parts(case)): case["ids"] for case in cases},
    ]
    for form in forms:
        report = check_tokens(kit / "tokenizer.json", written(tmp_path, form))
        assert (report.agrees, report.code, report.compared) == (True, 0, len(cases))
        assert report.lines()[-1] == f"the candidate agrees with the reference in all {len(cases)} texts"


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("ids", lambda ids: [*ids[:2], 4, *ids[3:]], "ids differ first at 2: 4, not 105 (piece 'is</w>')"),
        ("ids", lambda ids: ids[:3], "ids differ first at 3: the end, not 120 (piece 'used</w>')"),
        ("ids", lambda ids: [*ids, 9], "ids differ first at 7: 9, not the end"),
        ("ids", lambda ids: ids[1:], "ids differ first at 0: 127, not 2 (piece '</s>')"),
        ("pieces", lambda pieces: pieces[::-1], "pieces differ first at 0: '.</w>', not '</s>' (piece '</s>')"),
        ("offsets", lambda spans: [[0, 1], *spans[1:]], "offsets differ first at 0: [0, 1], not [0, 0] (piece '</s>')"),
        ("decoded", str.lower, "decoded 'ibuprofen is used for pain.', not 'Ibuprofen is used for pain.'"),
        ("text", lambda text: "another", "text 'another', not 'Ibuprofen is used for pain.'"),
        ("pieces", lambda pieces: None, "pieces None, not ['</s>', 'Ibuprofen</w>', 'is</w>', "),
    ],
)
def test_a_difference_is_reported_where_it_is(
    kit: Path, cases: Cases, tmp_path: Path, key: str, change: Any, message: str
) -> None:
    n = next(n for n, case in enumerate(cases) if case["text"] == "Ibuprofen is used for pain.")
    candidate = [*cases[:n], cases[n] | {key: change(cases[n][key])}, *cases[n + 1 :]]
    report = check_tokens(kit / "tokenizer.json", written(tmp_path, candidate))
    assert (report.agrees, report.code, len(report.differing)) == (False, 1, 1)
    assert report.lines()[1].startswith(f"differs: 'Ibuprofen is used for pain.': {message}")
    assert report.lines()[2] == f"the candidate differs from the reference: 1 of {len(cases)} texts differ"


def test_a_candidate_that_is_not_whole_does_not_agree(kit: Path, cases: Cases, tmp_path: Path) -> None:
    ids = [case["ids"] for case in cases]
    for candidate in (
        ids[:-1],
        [*ids[:-1], None],
        {case["text"]: case["ids"] for case in cases if len(parts(case)) == 1},
    ):
        report = check_tokens(kit / "tokenizer.json", written(tmp_path, candidate))
        assert (report.agrees, report.code) == (False, 1)
        assert report.compared + len(report.missing) == report.total == len(cases)
        assert "are missing" in report.lines()[-1]
        assert report.lines()[1:-1] == [f"no ids for {text}" for text in report.missing]


def test_every_difference_is_listed(kit: Path, cases: Cases, tmp_path: Path) -> None:
    candidate = [[*case["ids"], 3] for case in cases[:-1]]
    lines = check_tokens(kit / "tokenizer.json", written(tmp_path, candidate)).lines()
    assert len(lines) == len(cases) + 2
    assert [line.split()[0] for line in lines[1:-1]] == ["differs:"] * (len(cases) - 1) + ["no"]
    found = f"{len(cases) - 1} of {len(cases) - 1} texts differ, 1 are missing"
    assert lines[-1] == f"the candidate differs from the reference: {found}"


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ([], "must contain ids for texts of the reference; found none"),
        ({}, "must contain ids for texts of the reference; found none"),
        ([None, None], "must contain ids for texts of the reference; found none"),
        ("ids", "must contain at most 76 cases; found str"),
        ([[2]] * 77, "must contain at most 76 cases; found 77 cases"),
        ([["2"]], "case 0 of the candidate must have integers as ids"),
        ([[2], {"pieces": ["a"]}], "case 1 of the candidate must have integers as ids"),
        ([[True]], "case 0 of the candidate must have integers as ids"),
        ({"another text": [2]}, "must contain only texts of the reference; found 'another text'"),
    ],
)
def test_an_unusable_candidate_is_refused(kit: Path, tmp_path: Path, candidate: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_tokens(kit / "tokenizer.json", written(tmp_path, candidate))


@pytest.mark.parametrize(
    "reference", [[], {}, [1], [{"text": "a"}], [{"text": 1, "ids": [], "pieces": []}], [{"text": "a", "ids": [2]}]]
)
def test_a_reference_that_is_none_is_refused(kit: Path, tmp_path: Path, reference: Any) -> None:
    with pytest.raises(InputError, match="must be a kit's tokenizer.json; found a different JSON file"):
        check_tokens(written(tmp_path, reference), kit / "tokenizer.json")
    with pytest.raises(InputError, match="no file"):
        check_tokens(kit / "tokenizer.json", tmp_path / "absent.json")
