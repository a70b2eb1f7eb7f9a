"""Arrays of the case's calls that the case doesn't have: they are counted, and don't fail. Other extra arrays do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, Trace
from minibiogpt.golden.check.calls import names_of_traces
from minibiogpt.golden.check.mapping import Mapped
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from minibiogpt.golden.report.json_report import as_json
from minibiogpt.golden.report.kit_text import kit_lines
from minibiogpt.golden.report.text import findings, sentence
from tests.support.golden_cases import checked

CONFIG = BioGptConfig(
    vocab_size=37, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
    max_position_embeddings=17, num_labels=3,
)  # fmt: skip
IDS = np.array([[2, 5, 9, 11]])


@pytest.fixture(scope="module")
def model() -> BioGptForCausalLM:
    return BioGptForCausalLM.from_config(CONFIG, dtype="float64", seed=0)


def case_with(model, path: Path, *calls: dict, names: list[str] | None = None) -> Case:
    record(model, calls, path, name="some", seeds=1, names=names)
    return Case.read(path)


@pytest.fixture
def case(model: BioGptForCausalLM, tmp_path: Path) -> Case:
    return case_with(model, tmp_path / "case.safetensors", {"input_ids": IDS}, names=["layers.0", "logits"])


def whole_trace(model: BioGptForCausalLM, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    trace = Trace()
    model(**inputs, trace=trace)
    return {name: np.asarray(trace[name]) for name in trace}


def test_a_whole_trace_is_a_candidate_of_a_case_that_has_less(model: BioGptForCausalLM, case: Case) -> None:
    theirs = whole_trace(model, input_ids=IDS)
    result = checked(case, theirs)
    assert (result.code, result.compared, result.incomplete, result.unpaired) == (0, 2, 0, [])
    assert {pair.candidate for pair in result.absent} == theirs.keys() - {"layers.0", "logits"}
    assert sentence(result) == f"agrees: 2 of 2 arrays, up to rounding in float64; not in the case: {len(theirs) - 2}"
    (line,) = [
        line for line in findings(result) if line.startswith("not compared, because the case doesn't have them: ")
    ]
    assert line.endswith(f" and {len(theirs) - 7} more")
    assert kit_lines([("some", result)], "kit", "theirs", result.options)[-1].startswith("agrees: 1 of 1 cases")
    assert {"name": "layers.1", "array": "layers.1"} in json.loads(json.dumps(as_json(result)))["absent"]


def test_a_wrong_array_of_the_case_is_found_among_them(model: BioGptForCausalLM, case: Case) -> None:
    theirs = whole_trace(model, input_ids=IDS)
    result = checked(case, theirs | {"layers.0": theirs["layers.0"] + 1})
    assert (result.code, len(result.absent)) == (1, len(theirs) - 2)
    assert checked(case, theirs | {"logits": None}).code == 1, "an array that the case has must not be missing"


@pytest.mark.parametrize("name", ["layers.0.fc1", "biogpt.layers.0.fc1", "blocks.1.hook_resid_mid", "embeddings"])
def test_other_names_of_them_are_known_too(case: Case, name: str) -> None:
    result = checked(case, {name: np.zeros(3)})
    assert (result.code, [pair.candidate for pair in result.absent]) == (0, [name])


def test_names_of_a_map_are_known_too(case: Case, model: BioGptForCausalLM) -> None:
    theirs = whole_trace(model, input_ids=IDS)
    mapped = {"layers.{l}": Mapped("out.{l}"), "layers.{l}.fc2": Mapped("down.{l}")}
    mine = {"layers.0": None, "out.0": theirs["layers.0"], "down.1": theirs["layers.1.fc2"], "down.7": IDS}
    result = checked(case, mine, mapped=mapped)
    assert [(one.candidate, one.meant) for one in result.absent] == [("down.1", "layers.1.fc2")]
    assert [one.candidate for one in result.unpaired] == ["down.7"]


OTHERS = ["layers.2.fc1", "layers.0.fc3", "loss", "score", "step.0/layers.0.fc1", "extra", "layers.1.fc1.weight"]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_array_of_the_call_still_fails(case: Case, name: str) -> None:
    result = checked(case, {name: np.zeros(3)})
    assert (result.code, result.incomplete, [pair.candidate for pair in result.unpaired]) == (1, 1, [name])
    assert result.absent == []
    line = findings(result)[0]
    assert line.startswith(f"matches no array of the case: {name}: ")
    assert line.count(name) == 1 or "closest" in line, "the name is said once"


def test_nothing_but_absent_arrays_is_no_agreement(case: Case) -> None:
    nothing = {entry.name: None for entry in case.entries}
    assert checked(case, nothing | {"layers.0.fc1": np.zeros((1, 4, 20))}).code == 2


def test_each_call_has_its_own_arrays(model: BioGptForCausalLM, tmp_path: Path) -> None:
    calls = [{"input_ids": IDS}, {"input_ids": IDS[:, :1]}]
    case = case_with(model, tmp_path / "c.safetensors", *calls, names=["*logits"])
    assert {"step.0/layers.0.fc1", "step.1/layers.0.fc1"} <= names_of_traces(case)
    assert checked(case, {"step.1/layers.0.fc1": np.zeros(3)}).code == 0
    assert checked(case, {"step.2/layers.0.fc1": np.zeros(3)}).code == 1
    assert checked(case, {"layers.0.fc1": np.zeros(3)}).code == 1


def test_names_are_those_of_the_trace(tmp_path: Path) -> None:
    """For each head, with and without labels."""
    for kind, labels in ((BioGptForCausalLM, IDS), (BioGptForSequenceClassification, np.array([1]))):
        model = kind.from_config(CONFIG, dtype="float64", seed=0)
        for n, inputs in enumerate(({"input_ids": IDS}, {"input_ids": IDS, "labels": labels})):
            case = case_with(model, tmp_path / f"{kind.__name__}{n}.safetensors", inputs)
            assert names_of_traces(case) == {entry.name for entry in case.entries} == set(whole_trace(model, **inputs))
