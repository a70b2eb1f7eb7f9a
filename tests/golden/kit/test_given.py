"""A kit with given weights, such as those of a quantized port, and with a given vocabulary."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from minibiogpt import InputError
from minibiogpt.cli import main
from minibiogpt.files.hub import find_model
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.limits import Limits
from minibiogpt.golden.kit.probes import probes
from minibiogpt.golden.kit.writer import write_kit
from tests.budgets import EQUATION
from tests.support.paths import ROOT
from tools import dump_torch

BLOCK = 32
CASES = ["ordinary", "left_pad"]


class QuantizedLinear(torch.nn.Module):
    """A linear layer that keeps its weight as int8 in blocks of 32, each with a float16 scale."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.numbers, self.scales = quantized(linear.weight.detach())
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, dequantized(self.numbers, self.scales), self.bias)


def quantized(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = weight.reshape(*weight.shape[:-1], -1, BLOCK)
    scales = (blocks.abs().amax(-1, keepdim=True) / 127).half()
    return (blocks / scales.float()).round().to(torch.int8), scales


def dequantized(numbers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (numbers.float() * scales.float()).flatten(-2)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "kit"
    write_kit(folder, limits=Limits(multiple_of=BLOCK), cases=CASES, runs=2)
    return folder


def quantized_port(kit: Path) -> torch.nn.Module:
    """Return PyTorch's model with every linear layer of the decoder layers quantized."""
    model = transformers.BioGptForCausalLM.from_pretrained(kit / "models" / "base", attn_implementation="eager").eval()
    for layer in model.biogpt.layers:
        for parent, name in [(layer.self_attn, part) for part in ("q_proj", "k_proj", "v_proj", "out_proj")] + [
            (layer, "fc1"), (layer, "fc2")
        ]:  # fmt: skip
            setattr(parent, name, QuantizedLinear(getattr(parent, name)))
    return model


def test_a_quantized_port_agrees_with_a_kit_of_its_own_weights(kit: Path, tmp_path: Path) -> None:
    """And differs from the kit that it was quantized from, at the first product."""
    port = quantized_port(kit)
    saved = {
        f"{name}.weight": dequantized(part.numbers, part.scales).numpy()
        for name, part in port.named_modules()
        if isinstance(part, QuantizedLinear)
    }
    assert len(saved) == 12
    (tmp_path / "dequantized" / "base").mkdir(parents=True)
    save_file(saved, tmp_path / "dequantized" / "base" / "model.safetensors")
    line = ["golden", "kit", str(tmp_path / "kit"), "--multiple-of", "32", "--weights", str(tmp_path / "dequantized")]
    assert main(line) == 0
    for name in CASES:
        case = Case.read(tmp_path / "kit" / "cases" / f"{name}.safetensors")
        inputs = {key.removeprefix("inputs/"): x for key, x in case.inputs().items()}
        arrays = {key: x.numpy() for key, x in dump_torch.record(port, **inputs).items()}
        save_file({key: np.ascontiguousarray(x) for key, x in arrays.items()}, tmp_path / f"{name}.safetensors")
        assert check(case, tmp_path / f"{name}.safetensors").code == 0
        original = check(Case.read(kit / "cases" / f"{name}.safetensors"), tmp_path / f"{name}.safetensors")
        assert original.code == 1
        assert original.first_difference is not None
        assert original.first_difference.name == "layers.0.self_attn.q_proj"
    manifest = json.loads((tmp_path / "kit" / "manifest.json").read_text())
    assert list(manifest["models"]) == ["models/base"]
    assert manifest["left_out"]["untied"] == "no weights of untied"
    assert len(manifest["cases"]) + len(manifest["left_out"]) == len(probes())
    page = " ".join((tmp_path / "kit" / "README.md").read_text().split())
    assert "The weights are given ones (`--weights`)" in page
    assert "No weight is 0 or 1" not in page


def base_file(kit: Path, tmp_path: Path, weights: dict[str, np.ndarray]) -> Path:
    """Write the weights as those of the model base, and return the folder to give."""
    (tmp_path / "given" / "models" / "base").mkdir(parents=True, exist_ok=True)
    save_file(weights, tmp_path / "given" / "models" / "base" / "model.safetensors")
    return tmp_path / "given"


def test_weights_that_a_file_lacks_are_the_kits_own(kit: Path, tmp_path: Path) -> None:
    own = load_file(kit / "models" / "base" / "model.safetensors")
    name = "biogpt.layers.1.fc1.weight"
    given = base_file(kit, tmp_path, {name.removeprefix("biogpt."): own[name] * 2})
    write_kit(tmp_path / "kit", limits=Limits(multiple_of=BLOCK), cases=["ordinary"], runs=1, weights=given)
    found = load_file(tmp_path / "kit" / "models" / "base" / "model.safetensors")
    assert {key for key, x in found.items() if not np.array_equal(x, own[key])} == {name}
    assert set(found) == set(own)
    assert np.array_equal(found[name], own[name] * 2)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_head_that_differs_from_the_embedding_unties_the_model(kit: Path, tmp_path: Path, factor: int) -> None:
    embedding = load_file(kit / "models" / "base" / "model.safetensors")["biogpt.embed_tokens.weight"]
    given = base_file(kit, tmp_path, {"output_projection.weight": embedding * factor})
    write_kit(tmp_path / "kit", limits=Limits(multiple_of=BLOCK), cases=["ordinary"], runs=1, weights=given)
    case = Case.read(tmp_path / "kit" / "cases" / "ordinary.safetensors")
    assert case.config.get("tie_word_embeddings", True) == (factor == 1)
    own = Case.read(kit / "cases" / "ordinary.safetensors").array("logits")
    assert np.allclose(case.array("logits"), factor * own, rtol=EQUATION)


def test_weights_that_do_not_fit_are_refused(kit: Path, tmp_path: Path) -> None:
    for weights, message in (
        ({"layers.0.fc3.weight": np.ones((64, 96), np.float32)}, "found 'layers.0.fc3.weight'; rename it: layers.0.fc"),
        (
            {"layers.0.fc1.weight": np.ones((96, 64), np.float32)},
            "must have the shape \\(64, 96\\); found \\(96, 64\\)",
        ),
        ({"layers.0.fc1.weight": np.ones((64, 96), np.int8)}, "must be of floats; found I8; dequantize it"),
    ):
        given = base_file(kit, tmp_path, weights)
        with pytest.raises(InputError, match=message):
            write_kit(tmp_path / "kit", limits=Limits(multiple_of=BLOCK), weights=given)
        assert not (tmp_path / "kit").exists()
    with pytest.raises(
        InputError, match="must have the weights of the kit's models, as NAME/model.safetensors; found none"
    ):
        write_kit(tmp_path / "kit", weights=tmp_path / "absent")
    with pytest.raises(InputError, match="found untied: no weights of untied"):
        write_kit(tmp_path / "kit", limits=Limits(multiple_of=BLOCK), weights=given, cases=["untied"])


def test_the_files_of_a_given_vocabulary_are_those_of_every_model(tmp_path: Path) -> None:
    demo = find_model("demo")
    pieces = len(json.loads((demo / "vocab.json").read_text(encoding="utf-8")))
    write_kit(tmp_path / "kit", vocabulary=demo, limits=Limits(multiple_of=32), cases=["untied"], runs=1)
    for model in ("base", "untied"):
        folder = tmp_path / "kit" / "models" / model
        for name in ("vocab.json", "merges.txt"):
            assert (folder / name).read_bytes() == (demo / name).read_bytes()
        assert json.loads((folder / "config.json").read_text())["vocab_size"] == -(-pieces // 32) * 32
    cases = json.loads((tmp_path / "kit" / "tokenizer.json").read_text())
    tokenizer = transformers.BioGptTokenizer.from_pretrained(demo)
    text = next(case for case in cases if case["text"] == "Ibuprofen is used for pain.")
    assert text["ids"] == tokenizer.encode(text["text"])


def test_a_vocabulary_whose_special_tokens_have_other_ids_is_refused(tmp_path: Path) -> None:
    vocab = ["<pad>", "<s>", "</s>", "<unk>", *(f"piece{i}</w>" for i in range(200))]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocab)}))
    (tmp_path / "merges.txt").write_text("p i\n")
    with pytest.raises(InputError, match="the vocabulary must have bos_token_id 0; found 1 in"):
        write_kit(tmp_path / "kit", vocabulary=tmp_path)


def test_the_real_vocabulary_makes_a_kit(tmp_path: Path) -> None:
    folder = Path(os.environ.get("MINIBIOGPT_REAL_VOCAB", ROOT.parent / "shared" / "data")) / "biogpt"
    if not folder.is_dir():
        pytest.skip("the real vocabulary is not beside the project (set MINIBIOGPT_REAL_VOCAB to its folder)")
    content = write_kit(tmp_path / "kit", vocabulary=folder, cases=["one_token"], runs=1)
    assert content["limits"] == {"vocabulary": 42384}
    cases = json.loads((tmp_path / "kit" / "tokenizer.json").read_text())
    assert next(case["ids"] for case in cases if case["text"] == "COVID-19 is") == [2, 4805, 9, 656, 21]
    assert "but no piece" not in (tmp_path / "kit" / "README.md").read_text()
