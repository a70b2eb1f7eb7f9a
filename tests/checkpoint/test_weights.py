"""Load and save safetensors: every form in use loads, and every broken file is one clear error."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptModel, CheckpointError, InputError
from minibiogpt.catalog.parameters import causal_lm_shapes
from minibiogpt.checkpoint.weights import stored_tensors
from tests.support.configs import CONFIGS

SIZES = {
    "vocab_size": 67, "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37,
    "max_position_embeddings": 31,
}  # fmt: skip
IDS = [[2, 5, 11, 60, 3]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BioGptForCausalLM.from_config(BioGptConfig(**SIZES), seed=1).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def logits(folder: Path, **options: str) -> np.ndarray:
    return BioGptForCausalLM.from_pretrained(folder, **options)(IDS).logits


def rewrite(folder: Path, change: object) -> None:
    """Let ``change`` edit the tensors {name: array} of a saved model in place."""
    tensors = {name: x.copy() for name, x in load_file(folder / "model.safetensors").items()}
    change(tensors)  # type: ignore[operator]
    save_file(tensors, folder / "model.safetensors")


def test_weights_of_several_dtypes_are_not_saved_as_one(tmp_path: Path) -> None:
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    model.biogpt.layer_norm.bias = model.biogpt.layer_norm.bias.astype("float64")
    with pytest.raises(InputError, match="all weights must have the same dtype; found float32, float64"):
        model.save_pretrained(tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_we_save_transformers_loads_and_computes_alike(folder: Path) -> None:
    theirs = transformers.BioGptForCausalLM.from_pretrained(folder, attn_implementation="eager").double().eval()
    ours = logits(folder, dtype="float64")
    with torch.no_grad():
        want = theirs(torch.tensor(IDS)).logits.numpy()
    assert np.abs(ours - want).max() <= 1e-10 * np.abs(want).max()
    again = folder.parent / "again"
    BioGptForCausalLM.from_pretrained(folder).save_pretrained(again)
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert sorted(path.name for path in again.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


def test_what_transformers_saves_we_load_single_and_sharded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = transformers.BioGptForCausalLM(transformers.BioGptConfig(**SIZES)).eval()
    with torch.no_grad():
        want = theirs(torch.tensor(IDS)).logits.numpy()
    theirs.save_pretrained(tmp_path / "single")
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 3
    assert np.array_equal(logits(tmp_path / "single"), logits(tmp_path / "sharded"))
    assert np.abs(logits(tmp_path / "single") - want).max() < 1e-5


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_widened_to_exactly_the_stored_numbers(folder: Path, kind: str) -> None:
    full = transformers.BioGptForCausalLM.from_pretrained(folder)
    narrow = full.to(getattr(torch, kind))
    narrow.save_pretrained(folder.parent / kind)
    narrow.float().save_pretrained(folder.parent / "wide")
    assert np.array_equal(logits(folder.parent / kind), logits(folder.parent / "wide"))


def test_names_with_and_without_prefix_and_a_stored_tied_head(folder: Path) -> None:
    want = logits(folder)

    def strip(tensors: dict) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("biogpt.")] = tensors.pop(name)

    rewrite(folder, strip)
    assert np.array_equal(logits(folder), want)
    rewrite(folder, lambda t: t.update({"output_projection.weight": t["embed_tokens.weight"].copy()}))
    assert np.array_equal(logits(folder), want)
    rewrite(folder, lambda t: t.pop("embed_tokens.weight"))
    assert np.array_equal(logits(folder), want), "a single tied tensor under the head's name"
    rewrite(folder, lambda t: t.update({"biogpt.layer_norm.bias": t["layer_norm.bias"].copy()}))
    with pytest.raises(CheckpointError, match="stored only once.*both names for layer_norm.bias"):
        logits(folder)


def test_a_different_head_is_dropped_with_a_warning_when_tied_and_used_when_untied(folder: Path) -> None:
    want = logits(folder)
    rewrite(folder, lambda t: t.update({"output_projection.weight": t["biogpt.embed_tokens.weight"] + 1}))
    with pytest.warns(UserWarning, match="different output_projection"):
        assert np.array_equal(logits(folder), want)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    assert not np.array_equal(logits(folder), want)
    model = BioGptForCausalLM.from_pretrained(folder)
    assert model.num_parameters() == BioGptModel.from_pretrained(folder).num_parameters() + 67 * 21
    model.save_pretrained(folder.parent / "untied")
    assert np.array_equal(logits(folder.parent / "untied"), logits(folder))


def test_an_untied_head_is_not_taken_for_the_embedding(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    rewrite(folder, lambda t: t.update({"output_projection.weight": t.pop("biogpt.embed_tokens.weight")}))
    with pytest.raises(CheckpointError, match="1 missing: embed_tokens.weight"):
        BioGptModel.from_pretrained(folder)


def test_a_saved_config_names_the_dtype_that_is_saved(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16", "torch_dtype": "float16"}))
    BioGptForCausalLM.from_pretrained(folder, dtype="float64").save_pretrained(folder.parent / "again")
    saved = json.loads((folder.parent / "again" / "config.json").read_text())
    assert (saved["dtype"], "torch_dtype" in saved) == ("float64", False)


def test_one_report_lists_all_that_is_wrong(folder: Path) -> None:
    def corrupt(tensors: dict) -> None:
        del tensors["biogpt.layers.0.fc1.bias"], tensors["biogpt.layer_norm.weight"]
        tensors["biogpt.layers.1.fc2.weight"] = tensors["biogpt.layers.1.fc2.weight"].T.copy()
        tensors["biogpt.layers.0.fc2.bias"] = np.zeros(21, dtype=np.int32)
        tensors["biogpt.version"] = np.zeros(1, dtype=np.float32)

    rewrite(folder, corrupt)
    with pytest.raises(CheckpointError) as caught:
        logits(folder)
    for part in (
        "2 missing: ",
        "layers.0.fc1.bias",
        "layer_norm.weight",
        "2 misshapen: ",
        "layers.1.fc2.weight (37, 21), not (21, 37)",
        "layers.0.fc2.bias of dtype I32",
        "1 unexpected: version",
    ):
        assert part in str(caught.value)


def test_unknown_tensors_are_ignored_with_a_warning(folder: Path) -> None:
    want = logits(folder)
    rewrite(folder, lambda t: t.update({"biogpt.layers.0.self_attn.extra": np.zeros(3, dtype=np.int64)}))
    with pytest.warns(UserWarning, match="ignored 1 unexpected: layers.0.self_attn.extra"):
        assert np.array_equal(logits(folder), want)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(folder: Path, bad: float) -> None:
    def corrupt(tensors: dict) -> None:
        tensors["biogpt.layers.1.fc1.weight"][3, 4] = bad

    rewrite(folder, corrupt)
    with pytest.raises(CheckpointError, match="finite number in float32; found NaN or infinity in layers.1.fc1.weight"):
        logits(folder)


def test_broken_files_are_one_clear_error(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    header = struct.pack("<Q", 20) + b'{"a": {"dtype": "F3' + whole[28:]
    for content in (b"", whole[:5], whole[:300], whole[:-1], whole + b"x", b"\xff" * 64, header, b"PK\x03\x04" * 9):
        file.write_bytes(content)
        with pytest.raises(
            CheckpointError, match=r"model.safetensors must be a complete safetensors file; found .*fetch"
        ):
            logits(folder)


def shard(folder: Path) -> Path:
    """Split a saved model into two shards with an index; return the index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in halves.items() for name in part}}))
    return index


@pytest.mark.parametrize("name", ["../away.safetensors", "/away.safetensors", "a/b.safetensors", "..", "", "x.bin"])
def test_an_index_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    index = shard(folder)
    content = json.loads(index.read_text())
    content["weight_map"]["biogpt.layer_norm.weight"] = name
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="must name safetensors files in its own folder; found "):
        logits(folder)


@pytest.mark.parametrize("name", ["\ud800.safetensors", "a\0.safetensors"])
def test_an_index_with_a_name_that_no_file_can_have_is_refused(folder: Path, name: str) -> None:
    index = shard(folder)
    index.write_text(json.dumps({"weight_map": {"biogpt.layer_norm.weight": name}}))
    with pytest.raises(CheckpointError, match="must name files; found .*, which no file can have; fetch"):
        logits(folder)


def test_a_shard_or_an_index_that_is_missing_or_senseless(folder: Path) -> None:
    want = logits(folder)
    index = shard(folder)
    assert np.array_equal(logits(folder), want)
    whole = index.read_text()
    for content in ("[]", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": 3}'):
        index.write_text(content)
        with pytest.raises(CheckpointError, match="weight_map"):
            logits(folder)
    index.write_text(whole)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-2.* must exist; found no such file"):
        logits(folder)


def test_a_folder_with_only_a_pickle_or_nothing_says_what_to_do(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="found neither"):
        logits(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="found only a pickle; .*: minibiogpt convert .*/model FOLDER"):
        logits(folder)


def test_weights_can_be_changed_in_memory_without_changing_the_file(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    want = logits(folder)
    model = BioGptForCausalLM.from_pretrained(folder)
    model.biogpt.layers[0].fc1.bias[0] = 10
    assert not np.array_equal(model(IDS).logits, want)
    assert (folder / "model.safetensors").read_bytes() == before
    assert np.array_equal(logits(folder), want)


def test_a_failed_save_leaves_the_old_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minibiogpt.files.shards.save_file", full)
    with pytest.raises(InputError, match=r"model.safetensors must be writable; found No space left on device"):
        BioGptForCausalLM.from_pretrained(folder).save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_table_of_names_is_the_files(folder: Path) -> None:
    stored = {name.removeprefix("biogpt."): t.shape for name, t in stored_tensors(folder).items()}
    assert stored == causal_lm_shapes(BioGptConfig(**SIZES))
    model = BioGptForCausalLM.from_pretrained(folder)
    assert {name.removeprefix("biogpt."): x.shape for name, x in model.named_parameters()} == stored


def test_the_base_model_alone_is_saved_as_transformers_saves_it(folder: Path) -> None:
    base = BioGptModel.from_pretrained(folder, dtype="float64")
    base.save_pretrained(folder.parent / "base")
    theirs = (
        transformers.BioGptModel.from_pretrained(folder.parent / "base", attn_implementation="eager").double().eval()
    )
    with torch.no_grad():
        want = theirs(torch.tensor(IDS)).last_hidden_state.numpy()
    got = base(IDS).last_hidden_state
    assert np.abs(got - want).max() <= 1e-10 * np.abs(want).max()
    assert np.array_equal(BioGptModel.from_pretrained(folder.parent / "base", dtype="float64")(IDS)[0], got)


def test_a_signalling_nan_is_a_nan_like_any_other(tmp_path: Path) -> None:
    """NumPy warns when it narrows one; the error names its tensor instead."""
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]), dtype="float64")
    model.biogpt.layer_norm.bias.view(np.uint64)[0] = 0x7FF0000000000001
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="NaN or infinity in layer_norm.bias"):
        BioGptForCausalLM.from_pretrained(tmp_path, dtype="float32")
