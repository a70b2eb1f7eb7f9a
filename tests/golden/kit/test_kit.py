"""The conformance kit: transformers agrees with every case; the same seed gives the same bytes; it is written whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from minibiogpt import BioGptConfig, InputError
from minibiogpt.cli import main
from minibiogpt.files.reading import sha256
from minibiogpt.golden.format.case import INPUT, PRECISIONS, Case
from minibiogpt.golden.kit.models import CHECKPOINTS, FLAT_TOKENS, LOUD_COLUMN, QUIET_POSITIONS, make_model
from minibiogpt.golden.kit.probes import probes
from minibiogpt.golden.kit.writer import write_kit
from tests.budgets import LANE_A
from tests.compare import compare_traces
from tests.reference import Arrays
from tools.dump_torch import record, record_steps

NAMES = list(probes())
every_case = pytest.mark.parametrize("name", NAMES)
every_model = pytest.mark.parametrize("name", CHECKPOINTS)
# Letters whose sizes must be equal: S and T without a past, and N too in a case that uses all positions.
SAME = {"one_token": [{"T", "S"}], "longest": [{"T", "S", "N"}]}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "kit"
    write_kit(folder)
    return folder


def manifest(kit: Path) -> dict[str, Any]:
    return json.loads((kit / "manifest.json").read_text())


def steps_of(case: Case) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Return (prefix of its names, inputs) of each call."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, x in case.inputs().items():
        prefix, _, key = name.partition(INPUT)
        found.setdefault(prefix, {})[key] = x
    return list(found.items())


def their_loss(architecture: str, logits: torch.Tensor, call: dict[str, np.ndarray]) -> torch.Tensor:
    """Return transformers' loss in float64; its own language model rounds the logits to float32 first."""
    labels = torch.tensor(call["labels"])
    if architecture == "BioGptForCausalLM":
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    if architecture == "BioGptForTokenClassification":
        active = torch.where(torch.tensor(call["attention_mask"]) == 1, labels, -100)
        return F.cross_entropy(logits.flatten(0, 1), active.flatten())
    if logits.shape[1] == 1:
        return F.mse_loss(logits[:, 0], labels)
    if labels.dtype == torch.int64:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels)


def their_arrays(kit: Path, case: Case, folder: Path, precision: str = "float64") -> Arrays:
    """Return transformers' arrays for the case's inputs, under the case's names, as float64."""
    kind, dtype = getattr(transformers, case.architecture), getattr(torch, precision)
    model = kind.from_pretrained(folder, attn_implementation="eager").to(dtype).eval()
    steps = steps_of(case)
    if len(steps) > 1:
        return {name: widened(x) for name, x in record_steps(model, [call for _, call in steps]).items()}
    ((_, call),) = steps
    found = {name: widened(x) for name, x in record(model, **call).items()}
    if "score" in found:  # 4.57 pools at the rightmost token only if all padding is on the right
        real = (call["input_ids"] != 1) & (call.get("attention_mask", 1) == 1)
        last = [int(np.flatnonzero(row)[-1]) for row in real]
        found["logits"] = found["score"][np.arange(len(last)), last]
        if "labels" in call:
            found["loss"] = their_loss(case.architecture, torch.tensor(found["logits"]), call).numpy()
    return found


def widened(x: torch.Tensor) -> np.ndarray:
    return x.to(torch.float64 if x.is_floating_point() else x.dtype).numpy()


@every_case
def test_transformers_agrees_with_every_array_of_every_case(kit: Path, name: str) -> None:
    case = Case.read(kit / "cases" / f"{name}.safetensors")
    (listed,) = [entry for entry in manifest(kit)["cases"] if entry["name"] == name]
    theirs = their_arrays(kit, case, kit / listed["model"])
    ours = {entry.name: case.array(entry.name) for entry in case.entries}
    shared = {key: theirs[key] for key in ours}
    compare_traces(ours, shared, lambda key: LANE_A)


LOWEST = np.finfo(np.float64).min


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_right_is_within_the_budgets_in_every_precision(kit: Path, precision: str) -> None:
    """With PyTorch's own kernels and order of sums. In float16 transformers adds -65504, too little for loud scores."""
    beyond, compared = {}, 0
    for listed in manifest(kit)["cases"]:
        case = Case.read(kit / listed["file"])
        theirs = their_arrays(kit, case, kit / listed["model"], precision)
        for entry in case.entries:
            seen = case.array(entry.name) != LOWEST
            error = np.abs(theirs[entry.name] - case.array(entry.name))[seen].max()
            budget = entry.budgets[precision]
            assert budget or entry.name.endswith("position_ids"), (case.name, entry.name)
            compared += 1
            if not error <= budget:
                beyond[case.name, entry.name] = (error, budget)
    assert compared > 1000
    wrong = {name for name, _ in beyond}
    assert wrong == ({"loud_left_pad"} if precision == "float16" else set()), beyond


def test_transformers_pools_elsewhere_where_the_case_says_so(kit: Path) -> None:
    """And only there: the case's sentence explains to implementers why transformers doesn't agree."""
    for entry in manifest(kit)["cases"]:
        if entry["architecture"] == "BioGptForSequenceClassification":
            case = Case.read(kit / entry["file"])
            ids = case.array("inputs/input_ids")
            theirs = (ids != 1).sum(1) - 1
            real = (ids != 1) & (case.array("inputs/attention_mask") == 1)
            ours = np.array([np.flatnonzero(row)[-1] for row in real])
            assert (theirs != ours).any() == ("transformers 4.57 pools elsewhere" in entry["about"])


@every_case
def test_no_two_sizes_of_a_case_are_equal(kit: Path, name: str) -> None:
    case = Case.read(kit / "cases" / f"{name}.safetensors")
    letters = BioGptConfig.from_dict(case.config).letters
    for prefix, call in steps_of(case):
        B, T = (call["input_ids"] if "input_ids" in call else call["inputs_embeds"]).shape[:2]
        sizes = letters | {"B": B, "T": T, "S": T}
        for entry in case.entries:
            if entry.name.startswith(prefix):
                assert len(entry.axes.split()) == len(entry.shape), entry.name
                sizes |= dict(zip(entry.axes.split(), entry.shape, strict=True))
        equal = [{a, b} for a in sizes for b in sizes if a < b and sizes[a] == sizes[b]]
        allowed = SAME.get(name, [{"T", "S"}] if prefix in ("", "step.0/") else [])
        assert all(any(pair <= group for group in allowed) for pair in equal), (equal, sizes)


@every_model
@pytest.mark.parametrize("seed", [0, 1])
def test_every_weight_counts_and_is_exact_in_every_precision(name: str, seed: int) -> None:
    model = make_model(name, seed)
    parameters = dict(model.named_parameters())
    assert len(parameters) >= 36
    for key, x in parameters.items():
        assert x.dtype == np.float32
        assert not np.isin(np.abs(x), (0, 1)).any(), key
        assert np.array_equal(x.astype(np.float16).astype(np.float32), x), key
        assert not (x.view(np.uint32) & 0xFFFF).any(), f"{key} in bfloat16"
    assert not any(np.array_equal(x, parameters[key]) for key, x in make_model(name, seed + 2).named_parameters())


@every_model
def test_the_traps_are_built_in(kit: Path, name: str) -> None:
    """Nearly constant rows, the norm's eps, and fc1 biases where the two forms of GELU differ."""
    config = json.loads((kit / "models" / name / "config.json").read_text())
    assert (config["layer_norm_eps"], config["hidden_act"]) == (1e-12, "gelu")
    assert config["architectures"] == [CHECKPOINTS[name].model_class.__name__]
    weights = {key.removeprefix("biogpt."): x for key, x in make_model(name).named_parameters()}
    others = np.arange(21) != (LOUD_COLUMN if name == "loud" else -1)
    for token, position in zip(FLAT_TOKENS, QUIET_POSITIONS, strict=True):
        row = weights["embed_tokens.weight"][token] * 21**0.5 + weights["embed_positions.weight"][position + 2]
        assert 1e-7 < row[others].var() < 1e-5
    for layer in range(2):
        bias = np.abs(weights[f"layers.{layer}.fc1.bias"])
        low, high = (0, 8.4) if name == "spread" else (1.6, 2.8)
        assert low < bias.min() < bias.max() < high


def test_loud_scores_are_large_and_fit_into_float16(kit: Path) -> None:
    for name in ("loud_future", "loud_left_pad"):
        case = Case.read(kit / "cases" / f"{name}.safetensors")
        scores, masked = (case.array(f"layers.0.self_attn.{key}") for key in ("scores", "scores_masked"))
        largest_masked, largest_visible = np.where(masked < scores, scores, -np.inf).max(-1), masked.max(-1)
        assert largest_masked.max() > 15_000
        assert (largest_masked - 1e4 > largest_visible).sum() > 2, "rows in which adding -1e4 does not mask"
        assert np.abs(scores).max() * 7**0.5 < np.finfo(np.float16).max, "even before the division by sqrt(Dh)"
        assert all(None not in entry.budgets.values() for entry in case.entries)


def test_equal_scores_are_equal(kit: Path) -> None:
    case = Case.read(kit / "cases" / "equal_scores.safetensors")
    uniform = np.tri(6) / np.tri(6).sum(-1, keepdims=True)
    for layer in range(2):
        probs = case.array(f"layers.{layer}.self_attn.probs")
        assert np.abs(probs - uniform).max() <= case.entry(f"layers.{layer}.self_attn.probs").budgets["float64"]


def test_the_manifest_lists_every_file(kit: Path) -> None:
    content = manifest(kit)
    models = content["models"]
    assert (content["format"], content["version"], content["seed"]) == ("minibiogpt-golden-kit", "1", 0)
    listed = {f"{folder}/{file}": digest for folder, files in models.items() for file, digest in files.items()}
    listed |= {entry["file"]: entry["sha256"] for entry in (*content["cases"], content["tokenizer"], content["readme"])}
    found = {str(path.relative_to(kit)): sha256(path) for path in kit.rglob("*") if path.is_file()}
    assert listed == {name: digest for name, digest in found.items() if name != "manifest.json"}
    assert [entry["name"] for entry in content["cases"]] == NAMES
    assert content["tokenizer"]["model"] in models
    for entry in content["cases"]:
        case, probe = Case.read(kit / entry["file"]), probes()[entry["name"]]
        assert (case.name, case.about, case.architecture) == (entry["name"], entry["about"], entry["architecture"])
        assert case.model == {"model.safetensors": models[entry["model"]]["model.safetensors"]}
        assert (entry["about"], entry["exposes"]) == (probe.about, list(probe.exposes))
        assert all(set(one.budgets) == set(PRECISIONS) for one in case.entries)


def test_the_page_names_every_case_every_mistake_and_every_array(kit: Path) -> None:
    page = (kit / "README.md").read_text()
    for name, probe in probes().items():
        assert f"| `{name}` | {probe.model} | {probe.about} | {'; '.join(probe.exposes)} |" in page
    assert all(f"| `models/{name}` |" in page for name in CHECKPOINTS)
    arrays = {entry.name for path in kit.glob("cases/*") for entry in Case.read(path).entries}
    words = {name.rpartition("/")[2].rpartition(".")[2] for name in arrays} - {"0", "1"}
    assert not {word for word in words if f"{word}`" not in page}
    assert "{" not in page.replace("{text: ids}", ""), "an unfilled field of the template"


def test_the_kit_is_small(kit: Path) -> None:
    assert sum(path.stat().st_size for path in kit.rglob("*") if path.is_file()) < 5_200_000


def inputs(kit: Path) -> dict[str, bytes]:
    paths = sorted(kit.glob("cases/*"))
    return {f"{path.name}/{name}": x.tobytes() for path in paths for name, x in Case.read(path).inputs().items()}


def model_bytes(kit: Path) -> dict[str, bytes]:
    return {str(path.relative_to(kit)): path.read_bytes() for path in kit.glob("models/*/*")}


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(kit: Path, tmp_path: Path) -> None:
    write_kit(tmp_path / "again", runs=1)
    write_kit(tmp_path / "other", runs=1, seed=1)
    assert model_bytes(tmp_path / "again") == model_bytes(kit)
    assert inputs(tmp_path / "again") == inputs(kit)
    weights = [{k: x for k, x in model_bytes(path).items() if "safetensors" in k} for path in (kit, tmp_path / "other")]
    assert all(weights[0][key] != weights[1][key] for key in weights[0])
    same = {
        key.split("/")[0] for key, x in inputs(tmp_path / "other").items() if x == inputs(kit)[key] and "ids" in key
    }
    assert same <= {"explicit_positions.safetensors", "equal_scores.safetensors"}, "position_ids are not drawn"


def test_some_cases_bring_only_their_models(tmp_path: Path) -> None:
    content = write_kit(tmp_path / "kit", cases=["regression", "one_token", "regression"], runs=1)
    assert [entry["name"] for entry in content["cases"]] == ["regression", "one_token"]
    assert list(content["models"]) == ["models/base", "models/regression"]
    assert sorted(path.name for path in (tmp_path / "kit" / "cases").iterdir()) == [
        "one_token.safetensors",
        "regression.safetensors",
    ]
    assert (tmp_path / "kit" / "tokenizer.json").is_file()


@pytest.mark.parametrize(("options", "message"), [
    ({"cases": ["absent"]}, "a case must be one of the kit's; found 'absent'; choose from ordinary, "),
    ({"cases": []}, "a case must be one of the kit's; found none"),
    ({"seed": -1}, "seed must be an integer"),
])  # fmt: skip
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_kit(tmp_path / "kit", **options)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "mine").write_text("mine")
    with pytest.raises(InputError, match="the folder to write must be new or empty"):
        write_kit(tmp_path / "kit")
    assert [path.name for path in tmp_path.rglob("*")] == ["kit", "mine"]


def test_a_kit_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise InputError("a", "b", "c")

    monkeypatch.setattr("minibiogpt.golden.kit.writer.record", fail)
    with pytest.raises(InputError):
        write_kit(tmp_path / "kit")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_what_was_made_and_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kit"
    line = ["golden", "kit", str(folder), "--cases", "one_token", "--cases", "untied", "--seed", "5"]
    assert main(line) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("models/base: a language model")
    assert [text.partition(":")[0] for text in printed[2:5]] == [
        "cases/one_token.safetensors", "cases/untied.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert printed[-2].startswith(f"{folder}: 2 models, 2 cases, ")
    assert printed[-1].endswith(f"then: minibiogpt golden check {folder} THEIRS")
    assert main(line) == 2
    assert "must be new or empty" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == manifest(folder)
    assert main(["golden", "kit", str(tmp_path / "none"), "--cases", "left_pat"]) == 2
    assert "a case must be one of the kit's; found 'left_pat' (nearest: left_pad" in capsys.readouterr().err
    assert main(["golden", "kit", str(tmp_path / "kit.npz")]) == 2
    assert "its name must not end like a file's" in capsys.readouterr().err


def test_two_kits_of_one_seed_have_the_same_bytes(tmp_path: Path) -> None:
    """In processes whose hashes differ; the order of the metadata in a case is that of its sorted keys."""
    written = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        line = [sys.executable, "-m", "minibiogpt", "golden", "kit", str(folder), "--cases", "one_token"]
        subprocess.run(line, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        written.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
    assert written[0] == written[1]
    header = written[0]["cases/one_token.safetensors"]
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    assert list(metadata) == sorted(metadata)
