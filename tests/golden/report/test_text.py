"""Reports as text and JSON: the table, the verdict, the next command."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.rounding import rounded
from minibiogpt.golden.report.advice import hints, next_command, verdict
from minibiogpt.golden.report.json_report import as_json
from minibiogpt.golden.report.text import (
    MAX_SHOWN,
    findings,
    format_index,
    last_line,
    lines_of,
    notes_of,
    plain,
    sentence,
    table,
)
from tests.support.golden_cases import BUDGETS, arrays_of, case_of, checked, normal, row, small

NAMES = [f"layers.{i}" for i in range(12)]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


@pytest.fixture
def deep(tmp_path: Path) -> Case:
    arrays = {name: ("B T", normal(2, 3, seed=i)) for i, name in enumerate(NAMES)}
    return case_of(tmp_path / "deep.safetensors", arrays)


def test_everything_agrees(case: Case) -> None:
    result = checked(case)
    lines = list(lines_of(result))
    assert re.match(r"ok   \.\.\. 7 agree: position_ids to logits, at most 0 x budget", lines[1])
    assert lines[2].startswith("ok  loss")
    assert lines[-2] == "8 compared, 8 agree, 0 differ, 0 not compared, 8 in all"
    assert lines[-1] == "agrees: 8 of 8 arrays, up to rounding in float64; next: minibiogpt golden selftest"
    every = list(lines_of(result, every=True))
    assert [line.split()[1] for line in every[1:9]] == [one.name for one in case.entries]
    assert [line.split()[0] for line in every[1:9]] == ["ok"] * 8


def test_a_row_says_where_and_how_much(case: Case) -> None:
    x = np.array(case.array("layers.0"))
    x[1, 2, 3] += 0.5
    x[0, 0, 0] -= 0.25
    lines = table(checked(case, {"layers.0": x}))
    (line,) = [line for line in lines if line.startswith("X ")]
    cells = line.split()
    assert cells[1] == "layers.0"
    assert "(2, 5, 21)" in line
    assert "float64" in line
    assert {"0.5", "5e+11", "b=1", "t=2", "d=3", "differs"} <= set(cells)
    below = lines[lines.index(line) + 1]
    assert below.strip().startswith("2 of 210 elements exceed the budget 1e-12; worst: candidate ")
    assert f"reference {case.array('layers.0')[1, 2, 3]:.9g}" in below


def test_the_first_difference_and_the_last_good(deep: Case) -> None:
    result = checked(deep, {name: deep.array(name) + 1 for name in ("layers.7", "layers.9")})
    assert findings(result) == [
        "first difference at layers.7, everything before it agrees up to rounding",
        "last good: layers.6",
        "12 compared, 10 agree, 2 differ, 0 not compared, 12 in all",
    ]
    assert sentence(result) == "differs: 2 of 12 arrays, first at layers.7"
    assert next_command(result) == f"minibiogpt golden diagnose {deep.path} {result.theirs} --model FOLDER"
    text = "\n".join(table(result))
    assert all(
        f" {name} " in text for name in ("layers.6", "layers.7", "layers.8", "layers.9", "layers.10", "layers.11")
    )
    assert "6 agree: layers.0 to layers.5" in text


def test_a_difference_at_the_very_start_and_after_gaps(deep: Case) -> None:
    first = checked(deep, {"layers.0": deep.array("layers.0") + 1})
    assert findings(first)[:2] == ["first difference at layers.0", "last good: none"]
    gap = checked(deep, {"layers.1": None, "layers.3": deep.array("layers.3") + 1})
    assert findings(gap)[0] == (
        "first difference at layers.3, everything compared before it agrees up to rounding; 1 before it not compared"
    )
    alone = checked(deep, {"layers.0": None, "layers.1": deep.array("layers.1") + 1})
    assert findings(alone)[0] == "first difference at layers.1; 1 before it not compared"


def test_what_follows_from_a_difference_is_folded(deep: Case) -> None:
    wrong = {name: deep.array(name) + 1 for name in NAMES[4:]}
    text = table(checked(deep, wrong))
    shown = [line.split()[1] for line in text if line[:2] == "X "]
    assert shown == [*NAMES[4 : 4 + MAX_SHOWN], "...", NAMES[-1]]
    (fold,) = [line for line in text if "..." in line]
    assert fold.startswith(f"X    ... 1 differ: {NAMES[-2]}, at most ")
    assert [line.split()[1] for line in text if line[:2] == "ok"] == NAMES[:4], "three and the last good are not folded"
    every = table(checked(deep, wrong), every=True)
    assert [line.split()[1] for line in every if line[:2] == "X "] == NAMES[4:]


def test_of_what_is_missing_the_first_are_shown(deep: Case) -> None:
    text = table(checked(deep, dict.fromkeys(NAMES[2:]), subset=True))
    assert [line.split()[1] for line in text if line[:2] == "? "] == [*NAMES[2 : 2 + MAX_SHOWN], "...", NAMES[-1]]
    (fold,) = [line for line in text if "..." in line]
    assert fold.startswith(f"?    ... 3 not comparable: {NAMES[-4]} to {NAMES[-2]}, ")


def test_nan_marks_and_sums_are_reported(case: Case) -> None:
    name = "layers.0.self_attn.scores_masked"
    x, scores = np.array(case.array("layers.0")), np.array(case.array(name))
    x[1, 0, 2], x[1, 0, 3] = np.nan, np.inf
    scores[1, 2, 0, 3], scores[1, 1, 0, 0], scores[1, 1, 1, 0] = 0.0, LOWEST, -np.inf
    text = "\n".join(table(checked(case, {"layers.0": x, name: scores})))
    assert "1 NaN and 1 infinite, the first at b=1 t=0 d=2" in text
    assert "1 visible score that should be hidden, the first at b=1 h=2 t=0 s=3" in text
    assert "2 hidden scores that should be visible, the first at b=1 h=1 t=0 s=0" in text
    masked = row(checked(case, {"layers.0": x, name: scores}), name)
    assert (masked.times, masked.where) == (0.0, (1, 2, 0, 3))
    assert not any("exceed the budget" in note for note in notes_of(masked)), "of the other scores, none does"


def test_other_inputs_are_reported_first(case: Case) -> None:
    result = checked(case, {"input_ids": case.array("inputs/input_ids") + 1, "logits": case.array("logits") + 1})
    assert findings(result)[0].startswith("the candidate ran on different inputs (inputs/input_ids): fix this first")
    assert verdict(result) == "differs"
    assert next_command(result) == f"minibiogpt golden inspect {case.path}"
    only = checked(case, {"input_ids": case.array("inputs/input_ids") + 1})
    assert sentence(only) == "differs: the candidate ran on different inputs"
    assert any(line.startswith("X   inputs/input_ids") for line in table(only))
    assert not any("inputs/input_ids" in line for line in table(checked(case, case.inputs())))


def test_what_to_type_next(case: Case) -> None:
    base = f"minibiogpt golden check {case.path} {case.path.parent / 'theirs.safetensors'}"
    floats = {name: x for name, x in arrays_of(case).items() if x.dtype.kind == "f" and "masked" not in name}
    wide = {name: x.astype("f4").astype("f8") for name, x in floats.items()}
    result = checked(case, wide)
    assert next_command(result) == f"{base} --precision float32"
    said = "has float32 values stored as float64, and every error is within the float32 budget: check with --precision"
    assert any(said in line for line in findings(result))
    moved = checked(case, {"layers.0": case.array("layers.0").swapaxes(0, 1)})
    assert next_command(moved) == f"{base} --accept-layouts"
    assert sentence(moved) == "incomplete: 7 of 8 arrays agree, 1 could not be compared"
    missing = checked(case, {"layers.0": None})
    assert last_line(missing) == f"{sentence(missing)}; next: {base} --subset"
    assert sentence(checked(case, {"layers.0": None}, subset=True)) == (
        "agrees: 7 of 8 arrays, up to rounding in float64; not in the candidate: 1"
    )
    extra = checked(case, {"extra": np.zeros(2)})
    assert next_command(extra) == f"{base} --subset"
    assert findings(extra)[0].startswith("matches no array of the case: extra: ")
    wrong = checked(case, {"logits": np.zeros((2, 5, 60))})
    assert next_command(wrong) == f"minibiogpt golden inspect {case.path}"
    nothing = checked(case, dict.fromkeys(arrays_of(case)))
    assert (verdict(nothing), sentence(nothing)) == (
        "nothing compared", "nothing was compared, so nothing agrees",
    )  # fmt: skip


def test_the_next_command_names_a_model_only_where_no_kit_has_it(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    case = case_of(tmp_path / "cases" / "a case.safetensors", {"step.1/layers.0.fc1": ("B T", normal(2, 3))})
    result = checked(case, {"step.1/layers.0.fc1": normal(2, 3) + 1})
    command = f"minibiogpt golden diagnose '{case.path}' {result.theirs}"
    assert next_command(result) == f"{command} --model FOLDER"
    files = {"name": "a case", "file": "cases/a case.safetensors", "model": "models/base"}
    (tmp_path / "manifest.json").write_text(json.dumps({"cases": [files]}))
    assert next_command(result) == command


def test_padding_left_out_is_reported(case: Case) -> None:
    assert "positions that attention_mask marks as padding are left out (--real-only)" in findings(
        checked(case, real_only=True)
    )
    assert not any("padding" in line for line in findings(checked(case)))


def test_more_unpaired_names_than_are_listed(deep: Case) -> None:
    lines = findings(checked(deep, {f"extra_{i:02}": np.zeros(1) for i in range(30)}))
    assert [line for line in lines if "extra" in line] == [
        "matches no array of the case: extra_00, extra_01, extra_02, extra_03, extra_04 and 7 more: no name is similar",
        "and 18 more that match none: extra_12, extra_13, extra_14, extra_15, extra_16 and 13 more",
    ]


def test_no_name_is_obeyed_by_a_terminal(case: Case) -> None:
    lines = lines_of(checked(case, {"\x1b[2J\nred\u202e": np.zeros(1)}))
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[2J\\nred\\u202e" in "\n".join(lines)
    assert len(plain("x" * 9999)) < 500


def test_an_index_without_letters() -> None:
    assert (format_index(None, "B T"), format_index((), ""), format_index((1,), ""), format_index((1, 2), "B")) == (
        "",
        "",
        "[1]",
        "[1, 2]",
    )


def test_json_is_json_and_its_keys_are_stable(case: Case) -> None:
    x = np.array(case.array("layers.0"))
    x[0, 0, 0], x[0, 0, 1], x[1] = np.inf, np.nan, 0.0
    result = checked(
        case,
        {"layers.0": x, "logits": None, "extra": np.zeros(1), "more": np.zeros(1), "input_ids": np.zeros((2, 5), "i8")},
    )

    def refuse(text: str) -> None:
        raise AssertionError(text)

    content = json.loads(json.dumps(as_json(result), allow_nan=False), parse_constant=refuse)
    assert list(content) == [
        "case", "candidate", "quantization", "verdict", "exit_code", "sentence", "next", "compared", "agrees",
        "differs", "not_comparable", "missing", "total", "first_difference", "last_good", "padding_left_out",
        "last_positions", "differs_only_at_padding", "conventions", "numbers", "inputs", "arrays", "unpaired",
        "absent", "ignored", "names_of",
    ]  # fmt: skip
    assert (content["verdict"], content["exit_code"], content["first_difference"]) == ("differs", 1, "layers.0")
    assert (
        content["compared"],
        content["agrees"],
        content["differs"],
        content["not_comparable"],
        content["missing"],
    ) == (
        7,
        6,
        1,
        1,
        1,
    )
    rows = {one["name"]: one for one in content["arrays"]}
    assert {tuple(one) for one in content["arrays"]} == {tuple(rows["layers.0"])}
    bad = rows["layers.0"]
    assert (bad["largest_error"], bad["times_budget"], bad["nan"], bad["inf"]) == ("Infinity", "Infinity", 1, 1)
    assert (bad["where"], bad["candidate_value"], bad["state"], bad["elements"]) == (
        [0, 0, 0],
        "Infinity",
        "differs",
        210,
    )
    assert rows["logits"]["candidate"] is None
    assert [one["name"] for one in content["unpaired"]] == ["extra", "more"]
    assert content["inputs"][0]["state"] == "differs"


def test_every_key_is_documented(case: Case) -> None:
    from minibiogpt.golden.report import json_report

    found = as_json(checked(case))
    keys = {*found, *found["arrays"][0]}
    assert {key for key in keys if f"``{key}``" not in (json_report.__doc__ or "")} == set()


def test_values_of_a_coarser_precision_that_it_does_not_explain(case: Case) -> None:
    wrong = rounded((case.array("layers.0") + 1).astype("f4"), "bfloat16")
    result = checked(case, {"layers.0": wrong})
    notes = [*notes_of(row(result, "layers.0"))]
    assert "its values are bfloat16 stored as float32, and it has an error beyond the budget of bfloat16, too" in notes
    assert "--precision" not in next_command(result)


def test_a_mistake_after_values_of_a_coarser_precision_is_found(case: Case) -> None:
    """Rounding is the first difference in float64, but the mistake is further on."""
    narrow = case.array("embeddings").astype("f4").astype("f8")
    wrong = (case.array("layers.0") + 1).astype("f4").astype("f8")
    result = checked(case, {"embeddings": narrow, "layers.0": wrong})
    assert result.coarser_precision is None
    expected = "the first array beyond the float32 budget is layers.0: check with --precision float32"
    assert any(expected in line for line in findings(result))
    assert next_command(result).endswith(" --precision float32")


def product(tmp_path: Path, error: float, name: str = "layers.0.fc1", **more: object) -> list[str]:
    """Return the hints for a float32 array with an error; its bfloat16 budget is 0.05."""
    x = normal(2, 5, 37)
    one = case_of(tmp_path / "product.safetensors", {name: ("B T F", x)})
    return hints(checked(one, {name: (x + error).astype("f4")}))


def test_matrix_products_of_low_precision_are_named(tmp_path: Path) -> None:
    (hint,) = product(tmp_path, 1e-3)
    assert "every error is within the bfloat16 budget, and the first is in a matrix product" in hint
    assert "TF32" in hint
    assert product(tmp_path, 1.0) == []
    assert product(tmp_path, 1e-3, "layers.0.activation_fn") == []
    assert product(tmp_path, 0.0) == []


def test_an_overflow_in_float16_is_named(tmp_path: Path) -> None:
    x = normal(2, 5, 21)
    budgets = BUDGETS | {"float16": 0.01}
    one = case_of(tmp_path / "case.safetensors", {"layers.0": ("B T D", x)})
    one = replace(one, entries=[replace(one.entries[0], budgets=budgets)])
    half = x.astype("f2")
    assert hints(checked(one, {"layers.0": half + np.float16(1)})) == []
    half[1, 2, 3] = np.inf
    (hint,) = hints(checked(one, {"layers.0": half}))
    assert hint.startswith("float16 has no number beyond 65504")


def test_a_transposed_array_of_the_right_shape_is_a_mistake(tmp_path: Path) -> None:
    """Its axes could be meant, but the advice must not turn probabilities with T and S swapped into an agreement."""
    x = normal(2, 3, 5, 5)
    square = case_of(tmp_path / "square.safetensors", {"layers.0.self_attn.probs": ("B H T S", x)})
    turned = {"layers.0.self_attn.probs": np.ascontiguousarray(x.swapaxes(-1, -2))}
    result = checked(square, turned)
    assert any(note.startswith("agrees when transposed") for note in result.rows[0].notes)
    assert next_command(result) == f"minibiogpt golden diagnose {square.path} {result.theirs} --model FOLDER"
    accepted = checked(square, turned, accept_layouts=True)
    assert accepted.code == 0
    line = "accepted with axes in a different order (--accept-layouts): layers.0.self_attn.probs"
    assert line in findings(accepted)
