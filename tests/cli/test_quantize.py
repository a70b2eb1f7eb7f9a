"""minibiogpt quantize: the folder that it writes is the model that ``from_pretrained`` quantizes, in every format."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptModel,
    BioGptTokenizer,
)
from minibiogpt.checkpoint.quantize import quantize_folder
from minibiogpt.checkpoint.source import find_source
from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO
from minibiogpt.files.safetensors import TensorFile
from minibiogpt.quantization import FORMATS, Quantization
from tests.cli.test_model_options import ran, refused, write_adapter

IDS = [[2, 34, 8, 10, 7]]
SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 24,
}  # fmt: skip
HEADS = {
    "generate": BioGptForCausalLM, "classify": BioGptForSequenceClassification, "tag": BioGptForTokenClassification,
    "embed": BioGptModel,
}  # fmt: skip


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new"


def small(folder: Path, kind: Any = BioGptForCausalLM, **sizes: Any) -> Path:
    """Save a small model with random weights, in float32."""
    kind.from_config(BioGptConfig(**SIZES | sizes), seed=3).save_pretrained(folder)
    return folder


def weights_of(model: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(x) for name, x in model.named_parameters()}


def assert_equal_models(got: Any, want: Any) -> None:
    assert repr(got) == repr(want)
    found, wanted = weights_of(got), weights_of(want)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], name)
    np.testing.assert_array_equal(got(IDS)[0], want(IDS)[0])  # logits, or hidden states


@pytest.mark.parametrize("kind", FORMATS)
def test_the_folder_is_the_model_that_is_quantized_while_it_is_loaded(
    kind: str, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, "quantize", "demo", target, "--to", kind)
    assert_equal_models(
        BioGptForCausalLM.from_pretrained(target), BioGptForCausalLM.from_pretrained("demo", quantization=kind)
    )


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("command", "head"), HEADS.items())
def test_every_head(command: str, head: Any, tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = small(tmp_path / "source", head, num_labels=3)
    line = ["quantize", source, target, "--to", "q8_0", "--skip", "layers.1", "--json"]
    assert main([str(word) for word in line]) == 0
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert printed.err == f"minibiogpt: warning: no vocab.json in {source}: the model has no tokenizer\n"
    assert facts["command"] == command
    assert_equal_models(
        head.from_pretrained(target), head.from_pretrained(source, quantization="q8_0", skip=["layers.1"])
    )
    assert json.loads((target / "config.json").read_text())["architectures"] == [head.__name__]
    assert facts["skip"] == ["layers.1"]


@pytest.mark.parametrize("options", [["nf4"], ["nf4", "--no-double-quant"], ["fp4", "--skip", "fc2"], ["int8"]])
def test_the_tensors_are_those_of_save_pretrained(
    options: list[str], tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, "quantize", "demo", target, "--to", *options)
    saved = {"double_quant": "--no-double-quant" not in options, "skip": ["fc2"] if "--skip" in options else []}
    BioGptForCausalLM.from_pretrained("demo", quantization=options[0], **saved).save_pretrained(tmp_path / "saved")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (target, tmp_path / "saved"))
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        if "quant_state" in name:
            assert json.loads(x.tobytes()) == json.loads(theirs[name].tobytes())
        else:
            assert (x.dtype, x.shape) == (theirs[name].dtype, theirs[name].shape)
            np.testing.assert_array_equal(x, theirs[name])
    assert (target / "config.json").read_bytes() == (tmp_path / "saved" / "config.json").read_bytes()


@pytest.mark.parametrize(("kind", "skip"), [
    ("nf4", []), ("fp4", ["fc2"]), ("int8", ["layers.1"]), ("nf4", ["layers.0.fc2", "layers.1.self_attn.q_proj"]),
])  # fmt: skip
def test_transformers_loads_the_folder(
    kind: str, skip: list[str], tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    ran(capsys, "quantize", "demo", target, "--to", kind, *(word for name in skip for word in ("--skip", name)))
    BioGptForCausalLM.from_pretrained("demo", quantization=kind, skip=skip).save_pretrained(tmp_path / "saved")
    logits = []
    for folder in (target, tmp_path / "saved"):
        model = transformers.BioGptForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            logits.append(model(torch.tensor(IDS)).logits.numpy())
        floats = [name for name, module in model.named_modules() if type(module) is torch.nn.Linear]
        assert {any(f".{key}." in f".{name}." for key in skip) for name in floats if "layers" in name} <= {True}
    np.testing.assert_array_equal(*logits)


def test_the_folder_has_all_that_the_commands_need(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = ran(capsys, "quantize", "demo", target, "--to", "q8_0")
    line = printed.rpartition("try: minibiogpt ")[2].split()
    assert line == ["generate", "--model", str(target), "TEXT"]
    text = ran(capsys, *line[:-1], "Ibuprofen is best used for")
    assert text == "Ibuprofen is best used for pain and inflammation.\n"
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "generation_config.json"):
        assert (target / name).read_bytes() == (DEMO / name).read_bytes()


def test_an_adapter_is_merged(tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)
    adapter = write_adapter(tmp_path / "adapter", **{"base_model.model.score.weight": score})
    for i, words in enumerate(([adapter], ["demo", "--adapter", adapter])):
        folder = tmp_path / f"new{i}"
        facts = json.loads(ran(capsys, "quantize", words[0], folder, "--to", "nf4", "--json", *words[1:]))
        assert facts["command"] == "classify"
        got = BioGptForSequenceClassification.from_pretrained(folder)
        assert_equal_models(got, BioGptForSequenceClassification.from_pretrained(adapter, quantization="nf4"))
        BioGptTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_is_that_of_the_other_tensors_and_of_the_unpacked_numbers(
    dtype: str, tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    want = BioGptForCausalLM.from_pretrained("demo", dtype=dtype, quantization="nf4")
    halves = tmp_path / "halves"
    BioGptForCausalLM.from_pretrained("demo", dtype=dtype).save_pretrained(halves)
    BioGptTokenizer.from_pretrained("demo").save_pretrained(halves)
    for source, more in (("demo", ["--dtype", dtype]), (halves, [])):
        shutil.rmtree(target, ignore_errors=True)
        facts = json.loads(ran(capsys, "quantize", source, target, "--to", "nf4", "--json", *more))
        assert facts["dtypes"] == [json.loads((target / "config.json").read_text())["dtype"]] == [dtype]
        assert_equal_models(BioGptForCausalLM.from_pretrained(target, dtype=dtype), want)
    assert "must be a finite number in float16" in refused(
        capsys, "quantize", huge(tmp_path / "huge"), tmp_path / "other", "--to", "nf4", "--dtype", "float16"
    )


def huge(folder: Path, value: float = 1e6, name: str = "biogpt.layers.1.fc1.weight") -> Path:
    """Save a small model with one number that float16 does not have."""
    tensors = load_file(small(folder) / "model.safetensors")
    tensors[name].reshape(-1)[5] = value
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", ["biogpt.layers.1.fc1.weight", "biogpt.layers.1.fc1.bias"])
def test_numbers_that_are_not_finite_are_refused(
    name: str, tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "quantize", huge(tmp_path / "source", np.nan, name), target, "--to", "nf4")
    assert f"must be a finite number in float32; found NaN or infinity in {name.removeprefix('biogpt.')}; " in line
    assert not target.exists()


def test_the_report(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(ran(capsys, "quantize", "demo", target, "--to", "fp4", "--json"))
    model = BioGptForCausalLM.from_pretrained("demo")
    before, after = weights_of(model), weights_of(BioGptForCausalLM.from_pretrained(target))
    errors = {
        name: np.sqrt(np.square(after[name].astype(float) - x).sum() / np.square(x.astype(float)).sum())
        for name, x in before.items()
        if not np.array_equal(after[name], x)
    }
    worst = max(errors, key=lambda name: errors[name])
    assert facts["largest_relative_error"]["module"] == worst.removeprefix("biogpt.").removesuffix(".weight")
    assert facts["largest_relative_error"]["error"] == pytest.approx(errors[worst], rel=1e-9)
    assert (facts["quantized"], facts["other_tensors"]) == (len(errors), len(before) - len(errors)) == (24, 44)
    assert facts["parameters"] == model.num_parameters()
    assert facts["bytes_before"] == (DEMO / "model.safetensors").stat().st_size
    assert facts["bytes_after"] == (target / "model.safetensors").stat().st_size
    packed = [x for x in BioGptForCausalLM.from_pretrained(target).parameters() if not isinstance(x, np.ndarray)]
    assert facts["bits_per_weight"] == 8 * sum(x.nbytes for x in packed) / sum(x.size for x in packed)
    assert (facts["format"], facts["double_quant"], facts["skip"]) == ("fp4", True, [])
    shutil.rmtree(target)
    printed = ran(capsys, "quantize", "demo", target, "--to", "fp4").splitlines()
    assert printed[0] == "demo: 1,066,240 parameters, 4.27 MB"
    assert printed[1] == (
        f"24 matrices in fp4 with double quantization, {facts['bits_per_weight']:.2f} bits a weight; "
        "44 other tensors in float32"
    )
    assert printed[2].startswith(f"largest relative error: {errors[worst]:.2%}, in layers.")
    assert printed[3].startswith(f"the model is in {target}, {facts['bytes_after'] / 1e6:.2f} MB; try: ")


def test_a_quantized_model_is_not_quantized_again(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("nf4", "int8"):
        ran(capsys, "quantize", "demo", tmp_path / kind, "--to", kind)
    for kind, other in (("nf4", "int8"), ("nf4", "nf4"), ("int8", "q4_0"), ("int8", "int8")):
        line = refused(capsys, "quantize", tmp_path / kind, target, "--to", other)
        assert f"must hold floats; found weights in {kind}; quantize the model that it was made from" in line
    refused(capsys, "quantize", tmp_path / "int8", target, "--to", "int8-dynamic", "--skip", "fc1")
    assert not target.exists()
    facts = json.loads(
        ran(capsys, "quantize", tmp_path / "int8", target, "--to", "int8-dynamic", "--outlier-threshold", "6", "--json")
    )
    assert facts["largest_relative_error"] is None
    want = BioGptForCausalLM.from_pretrained("demo", quantization="int8-dynamic", outlier_threshold=6)
    assert_equal_models(BioGptForCausalLM.from_pretrained(target), want)


def test_what_cannot_be_quantized_so_is_refused(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = small(tmp_path / "source", hidden_size=24)
    line = refused(capsys, "quantize", source, target, "--to", "q4_0")
    assert "for q4_0 the rows of each matrix must be a multiple of 32 long; found layers.0.self_attn.k_proj" in line
    assert line.endswith("; choose nf4 or int8")
    line = refused(capsys, "quantize", "demo", target, "--to", "nf4", "--skip", "fc3")
    assert "skip must name modules of the model; found 'fc3'; write" in line
    assert "must hold every tensor that its config.json requires" in refused(
        capsys, "quantize", lacking(tmp_path / "lacking"), target, "--to", "nf4"
    )
    assert not target.exists()
    target.mkdir()
    (target / "kept").write_text("mine")
    assert "must be new or empty" in refused(capsys, "quantize", "demo", target, "--to", "nf4")
    assert [path.name for path in target.iterdir()] == ["kept"]
    assert "must exist; found no folder" in refused(capsys, "quantize", "demo", target / "a" / "b", "--to", "nf4")


def lacking(folder: Path) -> Path:
    """Save a small model without one of its tensors."""
    tensors = load_file(small(folder) / "model.safetensors")
    del tensors["biogpt.layers.0.fc1.bias"]
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_full_disk_leaves_nothing(
    target: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def full(self: TensorFile, name: str, values: np.ndarray, start: int = 0) -> None:
        written.append(name)
        if len(written) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(TensorFile, "write", full)
    assert "No space left on device" in refused(capsys, "quantize", "demo", target, "--to", "nf4")
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["nf4", "q8_0"])
def test_only_one_tensor_is_in_memory_at_a_time(kind: str, tmp_path: Path) -> None:
    """Four times as many layers take no more memory."""
    peaks = []
    for layers in (2, 2, 8):  # the first fills caches
        source, target = tmp_path / f"{layers}", tmp_path / "new"
        small(source, num_hidden_layers=layers, hidden_size=128, intermediate_size=512)
        tracemalloc.start()
        with pytest.warns(UserWarning, match="no tokenizer"):
            quantize_folder(find_source(source), target, Quantization(kind))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        shutil.rmtree(target)
    largest = 4 * 128 * 512
    assert peaks[2] < peaks[1] + largest
