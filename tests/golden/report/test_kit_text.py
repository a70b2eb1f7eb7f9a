"""The report of a kit: its earliest first difference, and what fails together, with what it exposes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt.golden.check.result import Options, Result
from minibiogpt.golden.report.kit_text import KitResults, earliest, exposed, kit_lines
from tests.support.golden_cases import case_of, checked, normal

NAMES = (
    "embeddings",
    "layers.0.self_attn.scores",
    "layers.0.fc1",
    "layers.0",
    "layers.1.self_attn_layer_norm",
    "logits",
)
HEAD = "what fails, by first difference, the earliest first:"


def result(folder: Path, name: str, *wrong: str, names: tuple[str, ...] = NAMES, **more: Any) -> Result:
    """Check a candidate that differs from a case in the named arrays."""
    (folder / name).mkdir()
    arrays = {array: ("B T", normal(2, 3, seed=i)) for i, array in enumerate(names)}
    inputs = {"inputs/input_ids": np.arange(6).reshape(2, 3)}
    case = case_of(folder / name / "case.safetensors", arrays, inputs, case=name, about="by hand", **more)
    changed = {array: case.array(array) + 1 for array in wrong if array in names}
    changed |= {array: np.zeros((2, 3), int) for array in wrong if array not in names}
    return checked(case, changed)


def lines(folder: Path, results: list[Result], exposes: dict[str, list[str]] | None = None) -> list[str]:
    cases = [{"name": name, "exposes": mistakes} for name, mistakes in (exposes or {}).items()]
    (folder / "manifest.json").write_text(json.dumps({"cases": cases}))
    found: KitResults = [(one.case.name, one) for one in results]
    return kit_lines(found, folder, "theirs", Options())


@pytest.mark.parametrize(
    ("later", "sooner"),
    [
        ("layers.0", "layers.0.fc1"),
        ("layers.0.fc1", "layers.0.self_attn.scores"),
        ("layers.0.self_attn.scores", "embeddings"),
        ("layers.1.self_attn_layer_norm", "layers.0"),
        ("layers.10.self_attn_layer_norm", "layers.2.fc2"),
        ("layer_norm", "layers.1"),
        ("logits", "layer_norm"),
        ("loss", "logits"),
        ("step.1/embeddings", "step.0/logits"),
        ("step.10/embeddings", "step.9/embeddings"),
        ("step.1/embeddings", "logits"),
        ("an array of no model", "loss"),
        ("embeddings", "inputs/input_ids"),
    ],
)
def test_the_earliest_is_shown_whatever_the_order_of_the_cases(tmp_path: Path, later: str, sooner: str) -> None:
    names = ("an array of no model",) if later.startswith("an ") else (later,)
    late = result(tmp_path, "late", later, names=names)
    soon = result(tmp_path, "soon", sooner, names=("logits",) if "/input" in sooner else (sooner,))
    for both in ([late, soon], [soon, late]):
        assert earliest(both) is soon
        shown = lines(tmp_path, both)
        assert "soon: by hand" in shown
        assert shown[-1].startswith("soon differs")
    assert "late: by hand" not in shown


def test_the_first_of_the_kit_is_shown_of_equals_and_one_that_lacks_arrays_last(tmp_path: Path) -> None:
    one, two = result(tmp_path, "one", "layers.0"), result(tmp_path, "two", "layers.0", "logits")
    lacking = result(tmp_path, "lacking")
    lacking.rows[0].candidate, lacking.rows[0].state = None, "not comparable"
    assert lacking.code == 1
    assert earliest([lacking, two, one]) is two
    assert earliest([lacking, one, two]) is one
    assert earliest([lacking]) is lacking
    assert earliest([result(tmp_path, "good")]) is None
    assert lines(tmp_path, [lacking, one])[4:8] == [
        "  layers.0: one",
        "  nothing differs, but arrays are missing: lacking",
        "",
        "one: by hand",
    ]


def test_models_with_other_heads_are_compared_by_the_place_in_the_model(tmp_path: Path) -> None:
    head = "BioGptForSequenceClassification"
    classes = result(tmp_path, "classes", "score", names=("score", "logits"), architecture=head)
    words = result(tmp_path, "words", "logits")
    norm = result(tmp_path, "norm", "layer_norm", names=("layer_norm",), architecture="BioGptModel")
    assert earliest([words, classes, norm]) is norm
    assert earliest([words, result(tmp_path, "new", "layers.0", architecture="BioGptForMore")]).case.name == "new"


def test_cases_are_grouped_with_what_they_expose(tmp_path: Path) -> None:
    exposes = {
        "good": ["mask forgotten"],
        "one": ["logits doubled", "mask forgotten", "GELU of tanh", "scores not divided by sqrt(Dh)"],
        "two": ["GELU of tanh"],
        "three": ["mask forgotten"],
        "four": ["pad row 0"],
    }
    results = [
        result(tmp_path, "four", "embeddings"),
        result(tmp_path, "three", "logits"),
        result(tmp_path, "one", "layers.0.self_attn.scores"),
        result(tmp_path, "good"),
        result(tmp_path, "two", "layers.0.self_attn.scores", "logits"),
    ]
    shown = lines(tmp_path, results, exposes)
    assert shown[5:14] == [
        "",
        HEAD,
        "  embeddings: four",
        "    exposed there: pad row 0",
        "  layers.0.self_attn.scores: 2 cases: one, two",
        "    exposed there: scores not divided by sqrt(Dh); and 2 more",
        "  logits: three",
        "",
        "four: by hand",
    ]
    assert shown[14] == "it exposes: pad row 0"


def test_what_was_not_compared_rules_nothing_out(tmp_path: Path) -> None:
    exposes = {name: ["mask forgotten"] for name in ("good", "one", "two")}
    results = [result(tmp_path, "one", "logits"), result(tmp_path, "two", "logits"), result(tmp_path, "good")]
    exposed_there = "    exposed there: mask forgotten"
    assert exposed_there not in lines(tmp_path, results, exposes)
    for options in (Options(names=["logits"]), Options(last=1), Options(real_only=True)):
        results[-1].options = options
        assert exposed_there in lines(tmp_path, results, exposes)


def test_a_case_that_lacks_the_array_of_an_earlier_group_is_in_it(tmp_path: Path) -> None:
    scores = "layers.0.self_attn.scores"
    results = [
        result(tmp_path, "end", "logits", names=("embeddings", "logits")),  # it may be the scores
        result(tmp_path, "whole", scores, "logits"),
        result(tmp_path, "good before", "logits", names=("layers.0", "logits")),  # it can't
        result(tmp_path, "alone", "layers.0", names=("layers.0",)),
    ]
    exposes = {"end": ["logits doubled"], "whole": ["a", "b", "b"], "good before": ["logits halved"]}
    assert lines(tmp_path, results, exposes)[4:10] == [
        "",
        HEAD,
        f"  {scores}: 3 cases: whole, alone (at layers.0), end (at logits)",
        "    exposed there: b; a",
        "  logits: good before",
        "    exposed there: logits halved",
    ]


def test_one_failing_case_makes_no_group(tmp_path: Path) -> None:
    shown = lines(tmp_path, [result(tmp_path, "good"), result(tmp_path, "bad", "logits")], {"bad": ["a", "b"]})
    assert HEAD not in shown
    assert shown[2:5] == ["", "bad: by hand", "it exposes: a; b"]


def test_a_step_of_a_call_is_in_the_group_of_a_single_call(tmp_path: Path) -> None:
    cached = result(tmp_path, "cached", "step.0/logits", names=("step.0/logits", "step.1/logits"))
    later = result(tmp_path, "later", "step.1/logits", names=("step.0/logits", "step.1/logits"))
    shown = lines(tmp_path, [later, cached, result(tmp_path, "plain", "logits")])
    assert shown[5:7] == ["  logits: 2 cases: cached, plain", "  step.1/logits: later"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cases": 5}', '{"cases": [5]}', '{"cases": [{"name": "a"}]}'])
def test_a_kit_that_does_not_say_what_it_exposes(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert not any(exposed(tmp_path).values())
    assert exposed(tmp_path / "absent") == {}


def test_control_characters_of_a_manifest_are_escaped(tmp_path: Path) -> None:
    results = [result(tmp_path, "one", "logits"), result(tmp_path, "two", "logits")]
    shown = lines(tmp_path, results, {"one": ["\x1b[31mred\n"]})
    assert "    exposed there: \\x1b[31mred\\n" in shown
