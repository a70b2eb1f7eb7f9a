"""The report as JUnit XML: valid XML, with a failure or an error exactly if the check fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from minibiogpt.cli import main
from minibiogpt.errors import InputError
from minibiogpt.golden.check.result import Result
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.tokens import check_tokens
from minibiogpt.golden.report.junit import junit, suites_of, token_suites, write_junit
from minibiogpt.golden.report.kit_text import KitResults, kit_code
from tests.support.golden_cases import arrays_of, checked, small, written

KINDS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def parsed(results: KitResults, subset: bool = False) -> ElementTree.Element:
    """Return the root, whose counts must be those of its elements."""
    root = ElementTree.fromstring(junit(suites_of(results, subset)))
    for one in (root, *root.iter("testsuite")):
        assert int(one.attrib["tests"]) == len(list(one.iter("testcase")))
        for count, kind in KINDS.items():
            assert int(one.attrib[count]) == len(list(one.iter(kind)))
    return root


def states(root: ElementTree.Element) -> dict[str, str]:
    tests = [test for test in root.iter("testcase") if len(test)]
    return {test.attrib["name"]: f"{test[0].tag}: {test[0].attrib['message']}" for test in tests}


def is_red(root: ElementTree.Element) -> bool:
    return bool(int(root.attrib["failures"]) + int(root.attrib["errors"]))


def test_each_array_is_a_test(case: Case) -> None:
    wrong = np.array(case.array("layers.0"))
    wrong[1, 3, 2] += 2
    result = checked(case, {"layers.0": wrong, "logits": None, "loss": np.array(np.nan)})
    result.case = replace(case, config={"num_hidden_layers": 1})  # of a model, so that it has equations
    root = parsed([("small", result)])
    assert [suite.attrib["name"] for suite in root] == ["small"]
    assert [test.attrib["name"] for test in root.iter("testcase")] == list(arrays_of(case))
    assert {test.attrib["classname"] for test in root.iter("testcase")} == {"small"}
    assert states(root) == {
        "layers.0": "failure: 2e+12 x budget at b=1 t=3 d=2; first difference",
        "logits": "failure: missing from the candidate",
        "loss": "failure: 1 NaN and 0 infinite, the first at ",
    }
    (details,) = [test[0].text for test in root.iter("testcase") if test.attrib["name"] == "layers.0"]
    assert details is not None
    assert "1 of 210 elements exceed the budget 1e-12; worst: candidate " in details
    assert "it should be: x + f" in details


def variations(case: Case) -> list[Result]:
    ids = np.zeros((2, 5), int)
    return [
        checked(case),
        checked(case, {"logits": case.array("logits") + 1}),
        checked(case, {"logits": None}),
        checked(case, {"logits": None}, subset=True),
        checked(case, {"extra": ids}),
        checked(case, {"extra": ids}, subset=True),
        checked(case, {"extra": ids}, names=["layers.0"]),
        checked(case, {"inputs/input_ids": ids}),
        checked(case, {"inputs/input_ids": case.array("inputs/input_ids")}),
        checked(case, {"logits": ids.astype(float)}, subset=True),
        checked(case, dict.fromkeys(arrays_of(case)) | {"extra": ids}),
        checked(case, dict.fromkeys(arrays_of(case)) | {"extra": ids}, subset=True),
    ]


def test_it_is_red_exactly_if_the_check_fails(case: Case) -> None:
    found = variations(case)
    assert {result.code for result in found} == {0, 1, 2}
    for result in found:
        assert is_red(parsed([("small", result)], result.options.subset)) == bool(result.code), states(
            parsed([("small", result)])
        )


def test_a_kit_is_red_exactly_if_its_check_fails(case: Case) -> None:
    good, bad, error = checked(case), checked(case, {"loss": None}), InputError("a file must be", "none", "write it")
    kits: list[list[Result | InputError | None]] = [
        [good, good], [good, bad], [good, None], [None, None], [good, error], [None, error],
    ]  # fmt: skip
    for kit in kits:
        results = list(zip(("first", "second"), kit, strict=True))
        for subset in (False, True):
            assert is_red(parsed(results, subset)) == bool(kit_code(results, subset)), (kit, subset)
    root = parsed([("first", error), ("second", None), ("third", good)], subset=True)
    assert [test.attrib["name"] for suite in root for test in suite][:2] == ["candidate", "candidate"]
    assert states(root) == {"candidate": "skipped: not comparable: no candidate"}
    assert root[0][0][0].attrib["message"] == str(error)


def test_names_from_files_are_escaped(case: Case) -> None:
    odd = '\x1b[31m<a> & "b"\x00\uffff'
    root = parsed([(odd, checked(case, {odd: np.zeros(3)}))])
    assert root[0].attrib["name"] == '\\x1b[31m<a> & "b"\\x00\\uffff'
    assert next(iter(states(root))) == root[0].attrib["name"]


def test_a_tokenizer_has_a_test_for_each_text_that_differs(tmp_path: Path) -> None:
    reference = [{"text": f"a: ids {i}", "ids": [2, i], "pieces": ["x", "y"]} for i in range(5)]
    (tmp_path / "reference.json").write_text(json.dumps(reference))
    for candidate, red in (([[2, 0], [2, 9], [2, 2], [2]], True), ([[2, i] for i in range(5)], False)):
        (tmp_path / "theirs.json").write_text(json.dumps(candidate))
        report = check_tokens(tmp_path / "reference.json", tmp_path / "theirs.json")
        root = ElementTree.fromstring(junit(token_suites(report)))
        assert is_red(root) == red == bool(report.code)
        if red:
            tests = list(root.iter("testcase"))
            assert [len(test) for test in tests] == [1, 1, 1, 0]
            assert tests[2].attrib["name"] == "'a: ids 4'"
            assert tests[3].attrib["name"] == "2 texts that agree"
            assert tests[0][0].attrib["message"].endswith("ids differ first at 1: 9, not 1 (piece 'y')")


def test_it_is_written_atomically_by_the_command(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, file = written(tmp_path / "theirs", arrays_of(case) | {"logits": case.array("logits") + 1}), tmp_path / "x"
    file.write_text("older")
    assert main(["golden", "check", str(case.path), str(theirs), "--junit", str(file)]) == 1
    root = ElementTree.parse(file).getroot()
    assert (root.attrib["name"], root.attrib["tests"], root.attrib["failures"]) == ("minibiogpt golden check", "8", "1")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["case.safetensors", "theirs", "x"]
    nothing = written(tmp_path / "theirs", {"extra": np.zeros(2)})
    assert main(["golden", "check", str(case.path), str(nothing), "--junit", str(file)]) == 2
    assert is_red(ElementTree.parse(file).getroot())
    with pytest.raises(InputError, match="must be writable"):
        write_junit(tmp_path / "x" / "y", [])
