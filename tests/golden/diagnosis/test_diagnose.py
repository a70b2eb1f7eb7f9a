"""Planted in PyTorch, each mistake is named: from all arrays, from logits alone, alone and in pairs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from minibiogpt.golden import diagnose
from minibiogpt.golden.check.result import Options
from minibiogpt.golden.diagnosis.diagnosis import Diagnosis
from minibiogpt.golden.diagnosis.findings import Trial
from minibiogpt.golden.diagnosis.measure import Error
from minibiogpt.golden.diagnosis.ways.attempt import Attempt
from minibiogpt.golden.kit.writer import write_kit
from tests.reference.kits import KitCase, cases_of, run
from tests.reference.more_mistakes import EVERY
from tests.reference.perturbations import PERTURBATIONS
from tests.reference.planting import attribute
from tests.reference.wrong import NORMS

CASES = (
    "ordinary", "nearly_constant", "gelu_range", "left_pad", "cache_steps", "head_mask", "longest", "one_token",
    "lm_loss", "token_labels", "sequence_left_pad",
)  # fmt: skip


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "kit"
    write_kit(folder, cases=CASES)
    return folder


@cache
def _cases(kit: Path) -> dict[str, KitCase]:
    return {case.name: case for case in cases_of(kit)}


def arrays_of(kit: Path, case: str, *mistakes: str, dtype: str = "float64") -> dict[str, torch.Tensor]:
    def plant(model: Any) -> Any:
        stack = ExitStack()
        for mistake in mistakes:
            stack.enter_context(EVERY[mistake].plant(model))
        return stack

    found = run(_cases(kit)[case], dtype, plant)
    assert found is not None
    return found


def diagnosis_of(kit: Path, case: str, *mistakes: str, only: Any = None, dtype: str = "float64") -> Diagnosis:
    arrays = arrays_of(kit, case, *mistakes, dtype=dtype)
    return diagnose(kit / "cases" / f"{case}.safetensors", {k: x for k, x in arrays.items() if not only or only(k)})


def test_a_correct_run_has_no_cause(kit: Path) -> None:
    for case in CASES:
        found = diagnosis_of(kit, case)
        assert (found.verdict, found.causes, found.own_errors, found.code) == ("agrees", [], [], 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("case", "mistake", "cause", "parameters"),
    [
        ("nearly_constant", "norm eps 1e-12", "norm-eps", {"eps": 1e-12}),
        ("ordinary", "tanh GELU", "gelu-tanh", {}),
        ("ordinary", "no embedding scale", "embed-scale", {"factor": 1.0}),
        ("ordinary", "scale by sqrt(D)", "attention-scale", {"scale": 21**-0.5}),
        ("left_pad", "positions count pads", "positions-ignore-mask", {}),
        ("left_pad", "no padding mask", "padding-mask-missing", {}),
        ("cache_steps", "positions from 0 in each cached step", "positions-restart", {}),
        ("cache_steps", "cached keys one row late", "cache-offset", {"rows": 1}),
        ("head_mask", "head mask ignored", "head-mask-missing", {}),
        ("ordinary", "heads interleaved", "heads-split", {}),
        ("one_token", "heads interleaved", "heads-split", {}),
        ("ordinary", "post-norm", "norm-post", {}),
        ("ordinary", "layer 0 everywhere", "layer-weights", {"layer": 0}),
    ],
)
def test_one_mistake_is_named(
    kit: Path, case: str, mistake: str, cause: str, parameters: dict[str, float], dtype: str
) -> None:
    found = diagnosis_of(kit, case, mistake, dtype=dtype)
    assert [one.id for one in found.causes] == [cause]
    assert found.unexplained == []
    assert found.code == 1
    for name, value in parameters.items():
        assert found.causes[0].parameters[name] == pytest.approx(value, rel=0.01)
    assert found.causes[0].after <= 1 < found.causes[0].before


def test_two_mistakes_are_named(kit: Path) -> None:
    found = diagnosis_of(kit, "left_pad", "no padding mask", "tanh GELU")
    assert {one.id for one in found.causes} == {"padding-mask-missing", "gelu-tanh"}


def test_a_mistake_is_named_from_logits_alone(kit: Path) -> None:
    found = diagnosis_of(kit, "ordinary", "tanh GELU", only=lambda name: name == "logits")
    assert [one.id for one in found.causes] == ["gelu-tanh"]


def test_noise_is_not_known(kit: Path) -> None:
    name = next(name for name in PERTURBATIONS if "noise" in name and "fc1" in name)
    found = run(_cases(kit)["ordinary"], "float64", PERTURBATIONS[name].plant)
    assert found is not None
    said = diagnose(kit / "cases" / "ordinary.safetensors", {key: x.numpy() for key, x in found.items()})
    assert (said.verdict, said.causes) == ("not known", [])
    assert {error.name for error in said.unexplained} <= {"layers.0.fc1", "layers.1.fc1"}
    assert " of 481 elements" in said.unexplained[0].pattern


def test_an_array_under_the_name_of_another_is_no_mistake_of_the_model(kit: Path) -> None:
    arrays = arrays_of(kit, "ordinary")
    arrays["layers.1"] = arrays["layer_norm"]
    found = diagnose(kit / "cases" / "ordinary.safetensors", arrays)
    assert [(one.id, one.where, one.parameters) for one in found.causes] == [
        ("array-misnamed", ["layers.1"], {"saved": "layer_norm"})
    ]
    assert found.unexplained == []


def over(kit: Path, folder: Path, runs: dict[str, dict[str, torch.Tensor]]) -> Diagnosis:
    """Return the diagnosis of several cases of the kit at once."""
    for case, arrays in runs.items():
        save_file({name: x.clone().contiguous() for name, x in arrays.items()}, folder / f"{case}.safetensors")
    return diagnose(kit, folder, options=Options(subset=True))


def said(found: Diagnosis) -> list[tuple[str, list[str], Any]]:
    return [(one.id, one.where, one.parameters.get("saved")) for one in found.causes]


def test_arrays_under_other_names_are_found_behind_another_mistake_and_in_a_cache(kit: Path) -> None:
    arrays = arrays_of(kit, "cache_steps", "transposed self_attn.out_proj")
    for name in [name for name in arrays if name.endswith("layers.1.self_attn.k")]:
        arrays[name] = arrays[name[:-1] + "v"]
    found = diagnose(kit / "cases" / "cache_steps.safetensors", arrays)
    assert said(found)[0] == ("array-misnamed", ["layers.1.self_attn.k"], "layers.1.self_attn.v")
    assert [one.id for one in found.causes[1:]] == ["weight-transposed"]
    assert found.unexplained == []


def test_an_array_that_nothing_reads_is_no_mistake_of_the_model_even_if_a_cause_fits(kit: Path) -> None:
    arrays = arrays_of(kit, "ordinary")
    for name in [name for name in arrays if name.endswith("activation_fn")]:
        arrays[name] = torch.nn.functional.gelu(arrays[name.replace("activation_fn", "fc1")], approximate="tanh")
    found = diagnose(kit / "cases" / "ordinary.safetensors", arrays)
    names = [f"layers.{layer}.activation_fn" for layer in range(2)]
    assert [(one.id, one.where, one.explains, one.certainty) for one in found.causes] == [
        ("array-misnamed", names, 2, "likely")
    ]
    assert [(error.name, error.cause) for error in found.own_errors] == [(name, "array-misnamed") for name in names]


def test_two_arrays_under_each_other_s_names_are_found(kit: Path) -> None:
    arrays = arrays_of(kit, "ordinary")
    for norm in ("layers.0", "layers.1"):
        one, two = f"{norm}.self_attn_layer_norm", f"{norm}.final_layer_norm"
        arrays |= {one: arrays[two], two: arrays[one]}
    found = diagnose(kit / "cases" / "ordinary.safetensors", arrays)
    names = [[f"layers.{layer}.{norm}_layer_norm" for layer in range(2)] for norm in ("self_attn", "final")]
    assert said(found) == [
        ("array-misnamed", names[0], ", ".join(names[1])),
        ("array-misnamed", names[1], ", ".join(names[0])),
    ]


def test_arrays_one_layer_late_are_found_in_all_cases_of_a_kit(kit: Path, tmp_path: Path) -> None:
    runs = {}
    for case in ("ordinary", "longest"):  # the latter has hidden states only, from which alone it would not be known
        runs[case] = arrays_of(kit, case)
        runs[case] |= {"layers.0": runs[case]["embeddings"], "layers.1": runs[case]["layers.0"]}
    found = over(kit, tmp_path, runs)
    late = [("array-misnamed", ["layers.0"], "embeddings"), ("array-misnamed", ["layers.1"], "layers.0")]
    assert said(found) == late
    assert (found.unexplained, {name for one in found.causes for name in one.cases}) == ([], {"ordinary", "longest"})


def test_what_an_array_is_in_one_case_decides_where_it_equals_several(kit: Path, tmp_path: Path) -> None:
    runs = {case: arrays_of(kit, case) for case in ("ordinary", "one_token")}
    for arrays in runs.values():
        arrays["layers.1.self_attn.context"] = arrays["layers.0.self_attn.context"]
    one_token = runs["one_token"]
    assert torch.equal(one_token["layers.0.self_attn.context"], one_token["layers.0.self_attn.v_proj"])
    found = over(kit, tmp_path, runs)
    assert said(found) == [("array-misnamed", ["layers.1.self_attn.context"], "layers.0.self_attn.context")]


def test_a_reused_buffer_is_found_where_another_mistake_lies_between_the_known_arrays(
    kit: Path, tmp_path: Path
) -> None:
    runs = {case: arrays_of(kit, case, "scale by sqrt(D)") for case in ("ordinary", "gelu_range")}
    for arrays in runs.values():
        arrays |= {f"layers.{layer}.attn_residual": arrays[f"layers.{layer}"] for layer in range(2)}
    assert "layers.0.self_attn.scores" not in runs["gelu_range"]
    found = over(kit, tmp_path, runs)
    names = [f"layers.{layer}.attn_residual" for layer in range(2)]
    assert said(found)[0] == ("array-misnamed", names, "layers.0, layers.1")
    assert ([one.id for one in found.causes[1:]], found.unexplained) == (["attention-scale"], [])


@pytest.mark.parametrize(
    ("mistake", "cause", "only"),
    [
        ("class read at the first token", "pooling-index", None),
        ("norm eps 1e-12", "norm-eps", None),
        ("loss summed", "loss-reduction", "in the language model"),
        ("loss of tokens shifted", "label-shift", None),
    ],
)
def test_a_mistake_of_one_kind_of_model_is_named_beside_the_others(
    kit: Path, tmp_path: Path, mistake: str, cause: str, only: str | None
) -> None:
    cases = ("nearly_constant", "lm_loss", "token_labels", "sequence_left_pad")
    found = over(kit, tmp_path, {case: arrays_of(kit, case, mistake) for case in cases})
    said = [(one.id, one.parameters.get("only"), one.certainty) for one in found.causes]
    assert said == [(cause, only, "known")]


def test_a_cached_source_is_named_as_that_of_the_call_before(kit: Path) -> None:
    cause = diagnosis_of(kit, "cache_steps", "cached values of layer 1 in layer 0").causes[0]
    assert (cause.id, cause.parameters["layer"]) == ("cache-layer", 1)
    assert cause.right.endswith("x = layers.0.self_attn.v_proj, past = layers.0.self_attn.v of the call before")


def test_a_number_is_fitted_to_the_case_that_shows_it_best(kit: Path, tmp_path: Path) -> None:
    plant = attribute(NORMS, "eps", lambda _: 2e-5)
    runs = {case: run(_cases(kit)[case], "float32", plant) for case in ("ordinary", "nearly_constant")}
    found = over(kit, tmp_path, {case: arrays for case, arrays in runs.items() if arrays is not None})
    assert [(one.id, one.certainty) for one in found.causes] == [("norm-eps", "known")]
    assert found.causes[0].parameters["eps"] == pytest.approx(2e-5, rel=1e-4)
    assert found.unexplained == []


def test_other_ids_are_one_cause_in_all_cases(kit: Path, tmp_path: Path) -> None:
    runs = {}
    for case in ("ordinary", "nearly_constant"):
        done = run(_cases(kit)[case], "float64", EVERY["another id"].plant)
        runs[case] = {name: x for name, x in (done or {}).items() if not name.startswith("inputs/")}
    found = over(kit, tmp_path, runs)
    assert [(one.id, one.cases) for one in found.causes] == [("inputs-differ", list(runs))]


def test_scores_of_minus_infinity_are_right_where_nothing_became_nan(kit: Path) -> None:
    arrays = arrays_of(kit, "left_pad")
    for name in [name for name in arrays if name.endswith(".scores_masked")]:
        arrays[name] = torch.where(arrays[name] < -1e300, -torch.inf, arrays[name])
        assert (arrays[name] == -torch.inf).all(-1).any()
    found = diagnose(kit / "cases" / "left_pad.safetensors", arrays)
    assert (found.verdict, found.code) == ("agrees", 0)
    for name in [name for name in arrays if name.endswith(".probs")]:
        arrays[name] = torch.softmax(arrays[name.replace("probs", "scores_masked")], -1)
    found = diagnose(kit / "cases" / "left_pad.safetensors", arrays)
    assert "mask-infinite" in [one.id for one in found.causes]


def test_a_mask_of_minus_infinity_is_named_beside_cases_that_it_does_not_harm(kit: Path, tmp_path: Path) -> None:
    cases = ("ordinary", "left_pad", "head_mask", "sequence_left_pad")
    found = over(kit, tmp_path, {case: arrays_of(kit, case, "mask of -inf") for case in cases})
    said = [(one.id, one.parameters.get("only"), one.certainty) for one in found.causes]
    assert (said, found.unexplained) == ([("mask-infinite", None, "known")], [])


def test_float32_numbers_in_float64_are_judged_as_such(kit: Path) -> None:
    case = kit / "cases" / "left_pad.safetensors"
    for mistakes, causes in (((), []), (("no padding mask",), ["padding-mask-missing"])):
        arrays = arrays_of(kit, "left_pad", *mistakes, dtype="float32")
        wide = {name: x.double() if x.is_floating_point() else x for name, x in arrays.items()}
        found = diagnose(case, wide)
        assert ([one.id for one in found.causes], found.unexplained) == (causes, [])
        assert "float32" in " ".join(found.conventions)


def test_an_explanation_of_a_few_that_leaves_many_or_is_hardly_closer_is_none() -> None:
    place, far, near = (0, "logits"), Error(50.0, 1.0, 1.0), Error(0.5, 0.0, 0.0)
    factor, table = (Attempt(cause, {"logits": {}}) for cause in ("logits-scale", "table-float16"))

    def trial(attempt: Attempt, before: Error, after: Error, left: int = 0) -> Trial:
        return Trial(attempt, frozenset(), {place: (before, after)}, [], [(i, "logits") for i in range(left)])

    assert trial(factor, far, near).telling
    assert trial(factor, far, near, 2).telling
    assert not trial(factor, far, near, 3).telling
    assert not trial(factor, Error(1.5, 0.1, 1.0), Error(0.9, 0.0, 0.9)).telling
    assert [trial(one, Error(1.5, 0.1, 1.0), near).telling for one in (factor, table)] == [True, False]


def test_what_remains_is_said_of_a_cause_and_makes_it_likely(kit: Path, tmp_path: Path) -> None:
    runs = {case: arrays_of(kit, case, "scale by sqrt(D)") for case in ("ordinary", "nearly_constant")}
    generator = torch.Generator().manual_seed(0)
    wrong = runs["ordinary"]["layers.1.self_attn.scores"]
    runs["ordinary"]["layers.1.self_attn.scores"] = wrong + torch.randn(wrong.shape, generator=generator)
    cause = over(kit, tmp_path, runs).causes[0]
    assert (cause.id, cause.certainty, cause.touches, cause.remain) == ("attention-scale", "likely", 4, 1)
    assert cause.support == "1 of the 4 arrays that it touches remains wrong"


def test_a_mistake_in_some_calls_is_named_with_its_condition(kit: Path) -> None:
    arrays = arrays_of(kit, "cache_steps")
    wrong = arrays_of(kit, "cache_steps", "scale by sqrt(D)")
    arrays |= {name: x for name, x in wrong.items() if name.startswith("step.1/")}
    for name in [name for name in arrays if name.startswith("step.2/")]:
        del arrays[name]
    found = diagnose(kit / "cases" / "cache_steps.safetensors", arrays)
    assert found.causes[0].id == "attention-scale"
    assert found.causes[0].parameters["only"] in ("in calls with a past", "in calls with one token")


def test_what_is_right_agrees_also_from_little(kit: Path) -> None:
    found = diagnosis_of(kit, "ordinary", only=lambda name: name == "logits")
    assert (found.verdict, found.code) == ("agrees", 1)  # incomplete, as the check says
    assert any("are missing" in line for line in found.lines())
