"""tools/sensitivity.py --diagnose, with a stand-in for ``golden diagnose`` that says what the test wants."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minibiogpt import golden
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.writer import write_kit
from tests.reference import diagnosing, ways
from tests.reference.conventions import CONVENTIONS
from tests.reference.diagnosing import Run, off
from tests.reference.kits import KitCase, cases_of, right_arrays
from tests.reference.perturbations import PERTURBATIONS
from tools import diagnose_sensitivity, sensitivity

Say = Callable[..., None]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "kit"
    write_kit(folder)
    return folder


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Return a function that decides what is said: (verdict, [(id, parameters)], place)."""

    def decide(verdict: str, causes: list[tuple[str, dict[str, Any]]], place: str = "") -> None:
        found = [SimpleNamespace(id=name, parameters=values, alternatives=[]) for name, values in causes]
        places = [SimpleNamespace(name=place)] if place else []
        code = 0 if verdict == "agrees" else 1
        said = SimpleNamespace(verdict=verdict, code=code, causes=found, own_errors=places)
        monkeypatch.setattr(golden, "diagnose", lambda case, theirs, **options: said, raising=False)

    return decide


def one(kit: Path, name: str) -> list[KitCase]:
    return cases_of(kit, [name])


def test_a_mistake_is_right_if_its_cause_is_named_first(kit: Path, say: Say) -> None:
    cases, name = one(kit, "ordinary"), ["norm eps 1e-12"]
    say("known", [("norm-eps", {"eps": 1.005e-12}), ("gelu-tanh", {})])
    runs = list(diagnosing.singles(cases, name))
    assert [(run.precision, run.right, run.off) for run in runs] == [("float64", True, []), ("float32", True, [])]
    say("known", [("norm-eps", {"eps": 1.02e-12})])
    assert [run.right and run.off for run in diagnosing.singles(cases, name)] == [["eps 1.02e-12, not 1e-12"]] * 2
    say("known", [("gelu-tanh", {}), ("norm-eps", {"eps": 1e-12})])
    runs = list(diagnosing.singles(cases, name))
    assert [run.right for run in runs] == [False, False]
    assert runs[0].instead == "gelu-tanh, norm-eps (known)"
    say("not known", [])
    assert not any(run.right for run in diagnosing.singles(cases, name))


def test_what_the_check_does_not_notice_is_no_pair(kit: Path, say: Say) -> None:
    say("known", [("padding-mask-missing", {})])
    assert list(diagnosing.singles(one(kit, "ordinary"), ["no padding mask"])) == []
    assert len(list(diagnosing.singles(one(kit, "left_pad"), ["no padding mask"]))) == 2


def test_parameters_are_within_one_percent() -> None:
    assert list(off({"factor": 4.58}, {"factor": 4.6})) == []
    assert list(off({"factor": 4.58}, {"factor": 4.7})) == ["factor 4.7, not 4.58"]
    assert list(off({"offset": 0}, {"offset": 0})) == []
    assert list(off({"offset": 0}, {"offset": 1})) == ["offset 1, not 0"]
    assert list(off({"eps": 1e-12}, {})) == ["eps not said, not 1e-12"]
    assert list(off({"eps": 1e-12}, {"eps": 0.0})) == ["eps 0.0, not 1e-12"]


def test_of_two_mistakes_both_must_be_named(kit: Path, say: Say) -> None:
    cases, both = one(kit, "left_pad"), ["tanh GELU", "no causal mask"]
    say("known", [("gelu-tanh", {}), ("causal-mask-missing", {})])
    assert [run.right for run in diagnosing.pairs(cases, both)] == [True, True]
    say("known", [("gelu-tanh", {})])
    assert [run.right for run in diagnosing.pairs(cases, both)] == [False, False]


@pytest.mark.parametrize(("part", "count"), [("kit", 44), ("logits", 1), ("hidden", 4)])
def test_over_a_kit_only_these_arrays_are_given(
    kit: Path, monkeypatch: pytest.MonkeyPatch, part: str, count: int
) -> None:
    given = {}

    def diagnose(case: Path, theirs: str, options: Any) -> Any:
        assert options.subset
        for path in sorted(Path(theirs).iterdir()):
            result = check(Case.read(case / "cases" / path.name), path, options)
            given[path.stem] = [row.name for row in result.rows if row.candidate is not None]
        cause = SimpleNamespace(id="gelu-tanh", parameters={}, alternatives=[])
        return SimpleNamespace(verdict="likely", code=1, causes=[cause], own_errors=[])

    monkeypatch.setattr(golden, "diagnose", diagnose, raising=False)
    cases = cases_of(kit, ["ordinary", "cache_steps"])
    runs = list(diagnosing.over_kit(part, kit, cases, ["tanh GELU"]))
    assert [(run.case, run.right) for run in runs] == [("", True), ("", True)]
    assert {name: len(arrays) for name, arrays in given.items()} == {"ordinary": count, "cache_steps": 3 * count}


def test_over_a_kit_no_other_cause_may_be_named(kit: Path, say: Say) -> None:
    cases = one(kit, "ordinary")
    say("known", [("gelu-tanh", {}), ("factor", {})])
    assert [run.right for run in diagnosing.over_kit("kit", kit, cases, ["tanh GELU"])] == [False, False]
    assert [run.right for run in diagnosing.over_kit("logits", kit, cases, ["tanh GELU"])] == [True, True]


def test_a_variation_or_a_convention_must_have_no_cause(kit: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: way for name, way in ways.ways(0).items() if name in ("as it is", "NumPy, blocked")}
    monkeypatch.setattr(diagnosing, "ways", lambda mixtures: some)
    monkeypatch.setattr(diagnosing, "CONVENTIONS", {})
    say("agrees", [])
    assert [run.right for run in diagnosing.variations(one(kit, "ordinary"), [], 0)] == [True] * 4
    say("likely", [("precision-tf32", {})])
    assert [run.right for run in diagnosing.variations(one(kit, "ordinary"), [], 0)] == [False] * 4


def test_there_are_as_many_ways_and_perturbations_as_promised() -> None:
    assert len(ways.ways(diagnose_sensitivity.MIXTURES)) >= 250
    assert len(PERTURBATIONS) >= 40


def test_a_perturbation_is_not_known_at_its_place(kit: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("one weight of fc1 changed", "another checkpoint")
    monkeypatch.setattr(diagnosing, "PERTURBATIONS", {name: PERTURBATIONS[name] for name in names})
    cases, promise = one(kit, "ordinary"), diagnose_sensitivity.PROMISES[-2]
    say("not known", [], "layers.0.fc1")
    assert [run.right for run in diagnosing.perturbations(cases)] == [True, True, False, False]
    say("not known", [], "layers.0.fc2")
    assert [run.off for run in diagnosing.perturbations(cases)][:2] == [["place: layers.0.fc2"]] * 2
    say("known", [("checkpoint-differs", {})], "embed_tokens")
    runs = list(diagnosing.perturbations(cases))
    assert [run.right for run in runs] == [False, False, True, True]
    assert diagnose_sensitivity.counted(promise, runs) == (2, 4)
    assert diagnose_sensitivity.is_broken(promise, runs)


def convention(kit: Path, name: str, case: str, array: str) -> tuple[Any, Any]:
    """Return an array, right and in the form of a convention."""
    (found,) = one(kit, case)
    changed = CONVENTIONS[name].change(found, right_arrays(found))
    assert changed is not None
    return right_arrays(found)[array], changed[array]


def test_a_convention_has_another_form(kit: Path) -> None:
    path = "layers.1.self_attn"
    right, other = convention(kit, "q scaled", "ordinary", f"{path}.q")
    assert torch.equal(other, right * 7**-0.5)
    right, other = convention(kit, "positions (T,)", "ordinary", "position_ids")
    assert other.tolist() == list(range(13))
    right, other = convention(
        kit, "preallocated cache, unused scores -inf", "cache_steps", f"step.1/{path}.scores_masked"
    )
    assert other.shape == (*right.shape[:-1], 40)
    assert torch.equal(other[..., :6], right)
    assert other[..., 6:].unique().tolist() == [-math.inf]
    right, other = convention(kit, "preallocated cache, unused scores -inf", "cache_steps", f"step.1/{path}.v")
    assert torch.equal(other[:, :, :6], right)
    assert not other[:, :, 6:].any()
    right, other = convention(kit, "vocabulary padded with -inf", "ordinary", "logits")
    assert torch.equal(other[..., :149], right)
    assert other.shape[-1] == 160
    right, other = convention(kit, "logits of the last position (B, V)", "left_pad", "logits")
    assert torch.equal(other, right[:, -1])


@pytest.mark.parametrize("value", [-1e4, -1e9, -math.inf])
def test_filled_scores_give_the_same_probabilities(kit: Path, value: float) -> None:
    right, other = convention(
        kit, f"hidden scores {value:.0e}".replace("e+0", "e"), "left_pad", "layers.0.self_attn.scores_masked"
    )
    assert not torch.equal(other, right)
    assert value in other
    assert torch.equal(other.softmax(-1), right.softmax(-1))


def test_the_hidden_states_of_5_end_with_the_final_norm(kit: Path) -> None:
    (case,) = one(kit, "ordinary")
    right, other = right_arrays(case), CONVENTIONS["hidden_states of transformers 5.x"].change(case, right_arrays(case))
    assert other is not None
    assert list(other) == ["hidden_states.0", "hidden_states.1", "hidden_states.2", "logits"]
    for i, name in enumerate(("embeddings", "layers.0", "layer_norm")):
        assert torch.equal(other[f"hidden_states.{i}"], right[name])


def test_the_command_reports_promises_and_keeps_the_runs(
    kit: Path, tmp_path: Path, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    say("known", [("gelu-tanh", {})])
    page, results = tmp_path / "page.md", tmp_path / "runs.json"
    arguments = [str(kit), "--diagnose", "--part", "singles", "--cases", "ordinary", "--results", str(results)]
    assert sensitivity.main([*arguments, "--mistakes", "tanh GELU", "--markdown", str(page)]) == 0
    assert "promises hold" in capsys.readouterr().out
    assert "| one mistake, float64 | 95 % | 1 of 1 (100.0 %) | PASS |" in page.read_text()
    assert "| tanh GELU | `gelu-tanh` | 1/1 | 1/1 |  |  |  |" in page.read_text()
    assert sensitivity.main([*arguments, "--mistakes", "sigmoid GELU"]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN: one mistake, float64" in printed
    assert "sigmoid GELU in ordinary, float32: gelu-sigmoid; said gelu-tanh (known)" in printed
    kept = [Run(**run) for run in json.loads(results.read_text())]
    assert [run.subject for run in kept] == ["tanh GELU"] * 2 + ["sigmoid GELU"] * 2
