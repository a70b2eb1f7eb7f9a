"""Cases: what is recorded, written, read again, and rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptModel, InputError, Trace
from minibiogpt.cli import main
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.format.case import Case, sample_indices, sums_of
from minibiogpt.golden.format.record import SLIM_BYTES, record
from minibiogpt.golden.kit.models import make_model
from tests.budgets import LANE_A, SUMMED
from tests.compare import assert_close
from tests.support.configs import PRIMES

IDS, MASK = np.array([[2, 5, 9, 11, 3], [1, 1, 2, 8, 4]]), np.array([[1] * 5, [0, 0, 1, 1, 1]])


@pytest.fixture(scope="module")
def model() -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", dtype="float64")


@pytest.fixture(scope="module")
def whole(model: BioGptForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("case") / "whole.safetensors"
    call = {"input_ids": IDS, "attention_mask": MASK, "labels": IDS}
    record(model, [call], path, name="whole", about="Two rows.", files={"model.safetensors": "abc"})
    return path


def test_a_case_holds_the_trace_and_the_inputs(model: BioGptForCausalLM, whole: Path) -> None:
    trace, case = Trace(), Case.read(whole)
    model(IDS, MASK, labels=IDS, trace=trace)
    assert [entry.name for entry in case.entries] == list(trace)
    for entry in case.entries:
        x = trace[entry.name]
        assert np.array_equal(case.array(entry.name), x)
        assert (case.array(entry.name).dtype, entry.shape) == (x.dtype, x.shape)
        shown = x[x > np.finfo(np.float64).min] if x.dtype.kind == "f" else x
        assert entry.largest == np.abs(shown).max()
    assert {name: x.tolist() for name, x in case.inputs().items()} == {
        "inputs/input_ids": IDS.tolist(),
        "inputs/attention_mask": MASK.tolist(),
        "inputs/labels": IDS.tolist(),
    }
    assert (case.name, case.about, case.kind, case.architecture) == ("whole", "Two rows.", "full", "BioGptForCausalLM")
    assert case.config == model.config.to_dict()
    assert case.model == {"model.safetensors": "abc"}


def test_the_letters_are_the_sizes(model: BioGptForCausalLM, whole: Path) -> None:
    sizes = model.config.letters | {"B": 2, "T": 5, "S": 5}
    for entry in Case.read(whole).entries:
        assert entry.shape == tuple(sizes[letter] for letter in entry.axes.split()), entry.name


def test_any_reader_of_safetensors_finds_it(whole: Path) -> None:
    """As docs/golden-format.md promises to readers without this package."""
    with safe_open(whole, framework="np") as file:
        metadata = file.metadata()
        arrays = json.loads(metadata["arrays"])
        assert set(file.keys()) == {one["name"] for one in arrays} | set(json.loads(metadata["inputs"]))
        for one in arrays:
            assert list(file.get_slice(one["name"]).get_shape()) == one["shape"]
            assert set(one) == {"name", "shape", "axes", "largest", "budgets"}
    assert set(metadata) == {
        "format", "version", "kind", "case", "about", "architecture", "config", "model", "dtype", "budget", "inputs",
        "arrays",
    }  # fmt: skip
    assert (metadata["format"], metadata["version"], metadata["dtype"]) == ("minibiogpt-golden", "1", "float64")


def test_several_calls_continue_one_cache(model: BioGptForCausalLM, tmp_path: Path) -> None:
    path = tmp_path / "steps.safetensors"
    record(model, [{"input_ids": IDS[:1, :3]}, {"input_ids": IDS[:1, 3:4]}, {"input_ids": IDS[:1, 4:]}], path, name="s")
    case, trace = Case.read(path), Trace()
    model(IDS[:1], trace=trace)
    assert list(case.inputs()) == [f"step.{n}/inputs/input_ids" for n in range(3)]
    got = np.concatenate([case.array(f"step.{n}/logits") for n in range(3)], axis=1)
    assert_close("logits", got, trace["logits"], LANE_A)
    assert case.array("step.2/position_ids").tolist() == [[4]]
    assert case.entry("step.2/layers.0.self_attn.probs").shape == (1, 4, 1, 5)


def test_the_slim_form_is_small_and_says_what_the_whole_has(model: BioGptForCausalLM, tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(4, 1874, (3, 60))
    mask = np.ones_like(ids)
    mask[0, :20] = 0
    record(model, [{"input_ids": ids, "attention_mask": mask}], tmp_path / "slim", name="slim", slim=True, seeds=1)
    case, trace = Case.read(tmp_path / "slim"), Trace()
    model(ids, mask, trace=trace)
    assert case.kind == "slim"
    assert (tmp_path / "slim").stat().st_size < 5_000_000 < sum(x.nbytes for x in trace.values())
    for entry in case.entries:
        x = trace[entry.name]
        K = min(1024, SLIM_BYTES // (8 * len(trace)), x.size)
        flat = x.reshape(-1)[sample_indices(x.size, K)].tolist()
        assert (entry.samples, case.array(entry.name).tolist()) == (K, flat)
        sums = case.sums(entry.name)
        assert (sums is None) == entry.name.endswith("scores_masked")
        if sums is not None:
            assert np.allclose(sums[:3], [x.sum(), np.abs(x).sum(), np.square(x).sum()], rtol=SUMMED, atol=0)
            assert sums[3] == sums_of(x)[3]
            assert entry.sums is not None
            assert set(entry.sums) == set(entry.budgets)


def test_samples_and_sums_by_hand() -> None:
    assert sample_indices(3, 3).tolist() == [0, 1, 2]
    one, two = 2654435761, 2 * 2654435761 % 2**32  # the hashes of 0 and 1
    assert sample_indices(7, 2).tolist() == [(one >> 8) % 3, 3 + (two >> 8) % 3]
    weighted = (one / 2**32 - 0.5) - 2 * (two / 2**32 - 0.5)
    assert sums_of(np.array([1.0, -2.0])).tolist() == [-1.0, 3.0, 5.0, weighted]


def test_the_samples_are_one_in_each_part_and_at_no_regular_distance() -> None:
    for size, samples in ((1000, 37), (128 * 1024, 1024), (50, 50), (51, 50)):
        indices = sample_indices(size, samples).tolist()
        assert all(j * size // samples <= index < (j + 1) * size // samples for j, index in enumerate(indices))
    assert len(set((sample_indices(128 * 1024, 1024) % 1024).tolist())) > 500, "many columns, not the same few"


def test_only_the_requested_arrays(model: BioGptForCausalLM, tmp_path: Path) -> None:
    record(model, [{"input_ids": IDS[:1]}], tmp_path / "c", name="c", names=["logits", "layers.{0..1}.fc1"])
    assert [entry.name for entry in Case.read(tmp_path / "c").entries] == ["layers.0.fc1", "layers.1.fc1", "logits"]
    with pytest.raises(InputError, match="every name of the trace must match an array"):
        record(model, [{"input_ids": IDS[:1]}], tmp_path / "d", name="d", names="layers.9.fc1")
    assert not (tmp_path / "d").exists()


def test_what_cannot_be_recorded(model: BioGptForCausalLM, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in float64; found float32; load it with"):
        record(BioGptForCausalLM.from_pretrained("demo"), [{"input_ids": [[2]]}], tmp_path / "c", name="c")
    base = BioGptModel.from_pretrained("demo", dtype="float64")
    with pytest.raises(InputError, match="the base model has no loss"):
        record(base, [{"input_ids": [[2]], "labels": [[2]]}], tmp_path / "c", name="c")
    tagger = make_model("token")
    tagger = type(tagger)(
        tagger.config, {k.removeprefix("biogpt."): x.astype("f8") for k, x in tagger.named_parameters()}
    )
    with pytest.raises(InputError, match="the model of several calls must return its cache"):
        record(tagger, [{"input_ids": [[2, 5]]}, {"input_ids": [[7]]}], tmp_path / "x", name="x")
    with pytest.raises(InputError, match="every array of a case must be finite; found NaN or infinity first in loss"):
        record(model, [{"input_ids": [[2, 5]], "labels": [[-100, -100]]}], tmp_path / "c", name="c")
    assert list(tmp_path.iterdir()) == []


def corrupted(whole: Path, target: Path, change: Any) -> Path:
    with safe_open(whole, framework="np") as file:
        metadata = dict(file.metadata())
    tensors = load_file(whole)
    change(metadata, tensors)
    save_file(tensors, target, metadata=metadata)
    return target


def _arrays(change: Any) -> Any:
    def apply(metadata: dict[str, str], tensors: Any) -> None:
        arrays = json.loads(metadata["arrays"])
        change(arrays)
        metadata["arrays"] = json.dumps(arrays)

    return apply


CORRUPTIONS: dict[str, Any] = {
    "a different format": lambda m, t: m.update(format="pt"),
    "a later version": lambda m, t: m.update(version="2"),
    "no arrays": lambda m, t: m.pop("arrays"),
    "arrays that are not JSON": lambda m, t: m.update(arrays="[{"),
    "arrays that are not a list": lambda m, t: m.update(arrays="3"),
    "an empty list": lambda m, t: m.update(arrays="[]"),
    "an unknown kind": lambda m, t: m.update(kind="fat"),
    "a config that is not an object": lambda m, t: m.update(config="7"),
    "a missing tensor": lambda m, t: t.pop("logits"),
    "an extra tensor": lambda m, t: t.update(more=np.zeros(1)),
    "a missing input": lambda m, t: t.pop("inputs/labels"),
    "a tensor of a different shape": lambda m, t: t.update(loss=np.zeros((1,))),
    "a tensor in float32": lambda m, t: t.update(logits=t["logits"].astype(np.float32)),
    "an infinite budget": _arrays(lambda arrays: arrays[3]["budgets"].update(float32=float("inf"))),
    "a negative budget": _arrays(lambda arrays: arrays[3]["budgets"].update(float32=-1.0)),
    "a budget that is NaN": _arrays(lambda arrays: arrays[3]["budgets"].update(float32=float("nan"))),
    "an entry without budgets": _arrays(lambda arrays: arrays[3].pop("budgets")),
    "a budget that is a word": _arrays(lambda arrays: arrays[3]["budgets"].update(float32="small")),
    "a missing precision": _arrays(lambda arrays: arrays[3]["budgets"].pop("float32")),
    "a shape that is a word": _arrays(lambda arrays: arrays[3].update(shape="wide")),
    "an entry that is a number": _arrays(lambda arrays: arrays.append(3)),
    "samples without their tensor": _arrays(lambda arrays: arrays[3].update(samples=7)),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_corrupted_case_is_one_clear_error(whole: Path, tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError, match="must be a golden case, format 'minibiogpt-golden', version '1'; found"):
        Case.read(corrupted(whole, tmp_path / "c", CORRUPTIONS[what]))


def test_rewriting_a_case_alone_is_no_error(whole: Path, tmp_path: Path) -> None:
    assert Case.read(corrupted(whole, tmp_path / "c", lambda m, t: None)).name == "whole"


def run(*line: str) -> int:
    return main(["golden", *line])


def test_record_and_inspect_as_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "two.safetensors")
    texts = ["--text", "Ibuprofen", "--text", "A lack of insulin causes diabetes."]
    assert run("record", *texts, "--padding-side", "left", "--labels", "-o", file, "--about", "Two texts.") == 0
    assert "83 arrays" in (printed := capsys.readouterr().out)
    assert f"minibiogpt golden check {file} THEIRS" in printed
    case = Case.read(file)
    mask = case.array("inputs/attention_mask")
    assert mask[0, 0] == 0
    assert mask[1].all()
    assert np.array_equal(case.array("inputs/labels") == -100, mask == 0)
    assert list(case.model) == ["model.safetensors"]
    assert len(case.model["model.safetensors"]) == 64
    assert run("inspect", file) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()][-83:] == [entry.name for entry in case.entries]
    assert "Two texts." in shown
    assert run("inspect", file, "--names", "*.fc1", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["case"], facts["model"]) == (case.name, case.model)
    assert [one["name"] for one in facts["arrays"]] == [f"layers.{i}.fc1" for i in range(4)]
    assert facts["arrays"][0]["budgets"]["float32"] == case.entry("layers.0.fc1").budgets["float32"]


def test_the_inputs_of_a_case_can_be_recorded_again(tmp_path: Path) -> None:
    first, second = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    assert run("record", "--ids", "2,5,9", "--ids", "2,7,8", "-o", first, "--names", "logits") == 0
    assert (
        run("record", "--inputs", first, "-o", second, "--slim", "--head", "base", "--seeds", "2", "--name", "again")
        == 0
    )
    case = Case.read(second)
    assert (case.name, case.kind, case.architecture, case.budget["seeds"]) == ("again", "slim", "BioGptModel", 2)
    assert case.array("inputs/input_ids").tolist() == [[2, 5, 9], [2, 7, 8]]
    save_file({"step.0/input_ids": np.array([[2, 5]]), "step.1/input_ids": np.array([[9]])}, tmp_path / "s")
    assert run("record", "--inputs", str(tmp_path / "s"), "-o", second, "--names", "logits") == 0
    assert [entry.name for entry in Case.read(second).entries] == ["step.0/logits", "step.1/logits"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--ids", "2,x"], "--ids must be integers"),
        (["--ids", "2,5", "--ids", "4"], "found 2 and 1 of them"),
        (["--ids", "2", "--text", "x"], "found several"),
        ([], "found none"),
        (["--ids", "2,99999"], "input_ids must lie in"),
        (["--ids", "2", "--seeds", "1"], "seeds must be an integer, 2 to 1000"),
        (["--ids", "2", "--model", "nothing here"], "a model must be"),
        (["--inputs", "FILE", "--labels"], "--labels goes with"),
        (["--inputs", "FILE"], "must hold inputs of a model call"),
        (["--inputs", "absent"], "must exist"),
        (["--ids", "2", "--name", "../x"], "--name must be the name of a file on every system"),
        (["--ids", "2", "--name", ""], "--name must be the name of a file on every system"),
        (["--ids", "2", "--name", "con"], "found 'con'; choose a name such as"),
        (["--ids", "2", "-o", "c.npz"], "must end in .safetensors; found 'c.npz'; write -o c.safetensors"),
        (["--ids", "2", "-o", "c.json", "--model", "nothing here"], "-o c.safetensors"),
    ],
)
def test_unusable_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str], words: str
) -> None:
    save_file({"ids": np.array([[2, 5]])}, tmp_path / "f.safetensors")
    line = [str(tmp_path / "f.safetensors") if part == "FILE" else part for part in line]
    output = [] if "-o" in line else ["-o", str(tmp_path / "c")]
    assert run("record", *line, *output) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("words", [["nothing"], ["."], ["model.safetensors"]])
def test_what_is_no_case_cannot_be_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    save_file({"ids": np.array([[2, 5]])}, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    assert run("inspect", *words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_name_that_the_case_lacks(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", str(whole), "--names", "probz") == 2
    assert "nearest: layers.*.self_attn.probs, layers.0.self_attn.probs" in capsys.readouterr().err


def test_a_case_never_takes_the_place_of_what_it_is_made_from(
    model: BioGptForCausalLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert run("record", "--model", str(tmp_path), "--ids", "2,5", "-o", str(tmp_path / "model.safetensors")) == 2
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    save_file({"input_ids": np.array([[2, 5]])}, tmp_path / "inputs")
    assert run("record", "--inputs", str(tmp_path / "inputs"), "-o", str(tmp_path / "inputs")) == 2
    save_file({"input_ids": np.array([[2, 5]]), "step.1/input_ids": np.array([[7]])}, tmp_path / "both")
    assert run("record", "--inputs", str(tmp_path / "both"), "-o", str(tmp_path / "c")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["-o must not overwrite a file that is read" in line for line in lines] == [True, True, False]
    assert "must hold one call, or only steps" in lines[2]


def test_a_loss_in_the_slim_form_is_compared(model: BioGptForCausalLM, tmp_path: Path) -> None:
    record(model, [{"input_ids": IDS[:1], "labels": IDS[:1]}], tmp_path / "c", name="c", slim=True, seeds=2)
    case = Case.read(tmp_path / "c")
    trace = Trace()
    model(IDS[:1], labels=IDS[:1], trace=trace)
    for off, code in ((0.0, 0), (1e-6, 1)):
        trace["loss"] = np.asarray(trace["loss"] + off)
        trace.save(tmp_path / "theirs.safetensors")
        assert check(case, tmp_path / "theirs.safetensors").code == code


def test_sums_that_come_to_nothing_keep_a_budget(tmp_path: Path) -> None:
    """The rows of a norm without gain and bias sum to 0, up to rounding."""
    tiny = BioGptForCausalLM.from_config(BioGptConfig(**(PRIMES | {"hidden_size": 2, "num_attention_heads": 1})))
    model = BioGptForCausalLM(tiny.config, dict(_widened(tiny)), "numpy")
    record(model, [{"input_ids": IDS[:1]}], tmp_path / "c", name="c", slim=True, seeds=2)
    case = Case.read(tmp_path / "c")
    entry, sums = case.entry("layer_norm"), case.sums("layer_norm")
    assert sums is not None
    assert entry.sums is not None
    assert entry.sums["float64"] is not None
    assert abs(sums[0]) < LANE_A * sums[1], "only rounding is left"
    assert entry.sums["float64"][0] > 2.0**-53 * np.sqrt(sums[2])


def _widened(model: BioGptForCausalLM) -> Iterator[tuple[str, np.ndarray]]:
    return ((name.removeprefix("biogpt."), x.astype(np.float64)) for name, x in model.named_parameters())


@pytest.mark.parametrize("step", ["²", "9" * 5000, "-1", "01", "", "1.5", "٣", "0\n"])
def test_steps_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str) -> None:
    save_file({f"step.{step}/input_ids": np.array([[2, 5]])}, tmp_path / "s")
    assert run("record", "--inputs", str(tmp_path / "s"), "-o", str(tmp_path / "c")) == 2
    error = capsys.readouterr().err
    assert "must name its inputs input_ids or step.0/input_ids" in error
    assert error.count("\n") == 1
    assert len(error) < 500
