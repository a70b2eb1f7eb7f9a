"""--model, --revision, --tokenizer and --adapter of the commands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification
from minibiogpt.cli import main
from minibiogpt.cli.batch.resume import fingerprint
from minibiogpt.files.hub import DEMO

TEXT = "Ibuprofen is best used for"
LAYERS = 4


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The demo model without its tokenizer."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        shutil.copyfile(DEMO / name, folder / name)
    return folder


def write_adapter(folder: Path, seed: int = 0, base: str = "demo", **replaced: np.ndarray) -> Path:
    """Write an adapter of rank 2 for the demo's q_proj, and whole tensors."""
    rng, tensors = np.random.default_rng(seed), dict(replaced)
    for layer in range(LAYERS):
        name = f"base_model.model.biogpt.layers.{layer}.self_attn.q_proj.lora_"
        tensors[f"{name}A.weight"] = rng.normal(size=(2, 128)).astype(np.float32)
        tensors[f"{name}B.weight"] = rng.normal(size=(128, 2)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "target_modules": ["q_proj"]}
    task = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]} if replaced else {}
    settings |= {"base_model_name_or_path": base} | task
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter")


@pytest.fixture
def merged(tmp_path: Path, adapter: Path) -> Path:
    """The demo with the adapter merged, and its tokenizer."""
    BioGptForCausalLM.from_pretrained(adapter).save_pretrained(tmp_path / "merged")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(DEMO / name, tmp_path / "merged" / name)
    return tmp_path / "merged"


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


COMMANDS = [
    ("generate", TEXT), ("generate", TEXT, "x", "--num-beams", "2", "--json"), ("tokenize", TEXT), ("score", TEXT),
    ("score", TEXT, "--tokens"), ("trace", TEXT),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_a_tokenizer_from_elsewhere(bare: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    want = ran(capsys, *words)
    for tokenizer in ("demo", DEMO, DEMO / "vocab.json"):
        assert ran(capsys, *words, "--model", bare, "--tokenizer", tokenizer) == want
    error = refused(capsys, *words, "--model", bare)
    assert f"a tokenizer needs vocab.json; found no file {bare / 'vocab.json'}; name a tokenizer, such as" in error
    assert "--tokenizer microsoft/biogpt" in error


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] != "tokenize"])
def test_an_adapter_gives_what_the_merged_model_gives(
    adapter: Path, merged: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    want = ran(capsys, *words, "--model", merged)
    assert want != ran(capsys, *words)
    assert ran(capsys, *words, "--adapter", adapter) == want
    assert ran(capsys, *words, "--model", adapter) == want
    assert ran(capsys, *words, "--model", adapter, "--tokenizer", "demo") == want
    shutil.copyfile(DEMO / "vocab.json", adapter / "vocab.json")
    shutil.copyfile(DEMO / "merges.txt", adapter / "merges.txt")
    assert ran(capsys, *words, "--model", adapter) == want


def test_embed_and_view_take_both(
    bare: Path, adapter: Path, merged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", bare, "--tokenizer", "demo", "--adapter", adapter)
    ran(capsys, "embed", TEXT, "--model", merged, "--output", tmp_path / "want.npy")
    ran(capsys, "embed", TEXT, *options, "--output", tmp_path / "got.npy")
    assert (tmp_path / "got.npy").read_bytes() == (tmp_path / "want.npy").read_bytes()
    ran(capsys, "view", TEXT, *options, "--output", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_classify_takes_the_adapters_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = np.random.default_rng(1).normal(size=(3, 128)).astype(np.float32)
    adapter = write_adapter(tmp_path / "adapter", **{"base_model.model.score.weight": score})
    model = BioGptForSequenceClassification.from_pretrained(adapter, dtype="float64", seed=None)
    model.save_pretrained(tmp_path / "merged")
    want = ran(capsys, "classify", TEXT, "--model", tmp_path / "merged", "--tokenizer", "demo")
    assert "LABEL_" in want
    assert ran(capsys, "classify", TEXT, "--model", adapter) == want
    assert ran(capsys, "classify", TEXT, "--adapter", adapter) == want
    info = json.loads(ran(capsys, "info", "--json", "--model", adapter))
    assert info["adapter"] == "merged adapter r=2 alpha=3, 4 modules, 1 tensor replaced"
    assert info["parameters"] == model.num_parameters()
    assert info["config"]["id2label"]["2"] == "LABEL_2"
    ran(
        capsys,
        "golden",
        "record",
        "--ids",
        "2,5",
        "--model",
        adapter,
        "-o",
        tmp_path / "case.safetensors",
        "--seeds",
        2,
    )
    case = json.loads(ran(capsys, "golden", "inspect", tmp_path / "case.safetensors", "--json"))
    assert case["architecture"] == "BioGptForSequenceClassification"
    assert sorted(case["model"]) == ["adapter_model.safetensors", "model.safetensors"]


def test_tag_takes_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = BioGptConfig.from_pretrained(DEMO).changed(num_labels=3)
    BioGptForTokenClassification.from_config(config).save_pretrained(tmp_path)
    assert "LABEL_" in ran(capsys, "tag", TEXT, "--model", tmp_path, "--tokenizer", "demo", "--tokens")
    assert "--tokenizer microsoft/biogpt" in refused(capsys, "tag", TEXT, "--model", tmp_path)


def test_a_case_is_recorded_with_both(bare: Path, adapter: Path, tmp_path: Path, capsys: Any) -> None:
    words = ("golden", "record", "--text", TEXT, "--seeds", 2, "--slim", "-o")
    options = ("--model", bare, "--tokenizer", "demo", "--adapter", adapter)
    ran(capsys, *words, tmp_path / "a.safetensors", *options)
    ran(capsys, *words, tmp_path / "b.safetensors", "--model", adapter)
    first, second = (load_file(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    error = refused(capsys, *words, adapter / "adapter_model.safetensors", *options)
    assert "-o must not overwrite a file that is read" in error


def test_info_shows_an_adapter(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "merged adapter r=2 alpha=3, 4 modules\n" in ran(capsys, "info", "--adapter", adapter)
    facts = json.loads(ran(capsys, "info", "--adapter", adapter, "--json"))
    assert facts["parameters"] == json.loads(ran(capsys, "info", "--json"))["parameters"]
    assert "adapter" not in json.loads(ran(capsys, "info", "--json"))


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = BioGptConfig.from_pretrained(DEMO)
    small = BioGptConfig(hidden_size=4, num_attention_heads=1, num_hidden_layers=1, vocab_size=config.vocab_size - 1)
    BioGptForCausalLM.from_config(small).save_pretrained(tmp_path)
    error = refused(capsys, "generate", "x", "--model", tmp_path, "--tokenizer", "demo")
    assert "must not have more pieces than the model has embeddings (vocab_size 1873); found ids up to 1873" in error


def test_a_soft_prompt_of_a_model_without_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = BioGptConfig.from_pretrained(DEMO).changed(vocab_size=1874 + 9)
    BioGptForCausalLM.from_config(config).save_pretrained(tmp_path)
    words = ("generate", TEXT, "--model", tmp_path, "--tokenizer", "demo", "--max-new-tokens", 1, "--json")
    (record,) = json.loads(ran(capsys, *words, "--soft-prompt", 9))
    assert record["prompt_ids"][-9:] == list(range(1874, 1883))
    assert "at most the number of embeddings beyond the vocabulary, 9" in refused(capsys, *words, "--soft-prompt", 10)


@pytest.mark.parametrize("option", ["tokenizer", "adapter"])
def test_a_run_is_resumed_only_with_the_same_tokenizer_and_adapter(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    if option == "adapter":
        one, other = write_adapter(tmp_path / "one", 1), write_adapter(tmp_path / "other", 2)
        fixed = ("--tokenizer", "demo")
    else:
        one, other = (tmp_path / name for name in ("one", "other"))
        for folder in (one, other):
            folder.mkdir()
            for name in ("vocab.json", "merges.txt"):
                shutil.copyfile(DEMO / name, folder / name)
        (other / "tokenizer_config.json").write_text("{}")
        fixed = ()
    output = tmp_path / "out.jsonl"
    words = ("score", "a", "b", "--chunk", 1, "--model", bare, *fixed, "--output", output)
    score, calls = BioGptForCausalLM.score, []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(*args, **options)

    monkeypatch.setattr(BioGptForCausalLM, "score", interrupted)
    assert main([str(word) for word in (*words, f"--{option}", one)]) == 130
    capsys.readouterr()
    error = refused(capsys, *words, f"--{option}", other)
    assert f"can only be resumed by the command that started it; found different {option};" in error
    ran(capsys, *words, f"--{option}", one)
    assert len(output.read_text().splitlines()) == 2


def test_a_change_of_any_file_that_a_run_depends_on_changes_its_fingerprint(tmp_path: Path) -> None:
    names = ("config.json", "adapter_config.json", "merges.txt", "model.safetensors", "adapter_model.bin")
    seen = [fingerprint(tmp_path)]
    for name in names:
        for content in (b"1", b"2"):
            (tmp_path / name).write_bytes(content)
            seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == len(seen) == 1 + 2 * len(names)
    (tmp_path / "README.md").write_text("a run does not depend on it")
    assert fingerprint(tmp_path) == seen[-1]


@pytest.mark.filterwarnings("default")
def test_a_revision_without_a_hub_id_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", TEXT, "--revision", "main"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "minibiogpt: warning: revision 'main' has no effect: demo is not on the hub"


@pytest.mark.filterwarnings("default")
def test_a_folder_with_a_model_and_an_adapter_is_said_once(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in DEMO.iterdir():
        shutil.copyfile(path, adapter / path.name)
    assert main(["generate", TEXT, "--model", str(adapter)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds an adapter: it is merged into demo, not the weights beside it" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--file", "FOLDER/none.txt"], "--file must be a readable file; found no file .*none.txt; check"),
        (["generate", "--file", "FOLDER"], "--file must be a readable file; found a folder .*; name one of its files"),
        (["generate", "--file", "FOLDER/bytes"], "line 1 of .* must be UTF-8; found UTF-16, .*; convert it: iconv"),
        (["golden", "check", "FOLDER/t.json", "FOLDER/none.json"], "the reference .* JSON|make a kit"),
        (["generate", "x", "--adapter", "FOLDER/none"], "error: an adapter must be a folder or a hub id; found"),
        (["generate", "x", "--model", "demo", "--adapter", "FOLDER/none"], "error: an adapter must be a folder or"),
        (["generate", "x", "--tokenizer", "FOLDER/none"], "error: a tokenizer must be a folder or a hub id; found"),
        (["generate", "x", "--adapter", "FOLDER"], "an adapter's folder must hold adapter_config.json; found no file"),
        (["tokenize", "x", "--tokenizer", "FOLDER"], "a tokenizer needs vocab.json; found no file"),
        (["convert", "ADAPTER", "FOLDER/new"], "found a LoRA adapter; it needs no conversion: --model .*adapter$"),
    ],
)
def test_what_to_do_fits_the_file(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "bytes").write_bytes(b"\xff\xfe")
    (folder / "t.json").write_text("[")
    words = [word.replace("FOLDER", str(folder)).replace("ADAPTER", str(adapter)) for word in words]
    error = refused(capsys, *words)
    assert re.search(message, error), error
    assert "fetch the file again" not in error


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "complex64", "bfloat16"])
def test_the_inputs_of_a_case_in_any_dtype(tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str) -> None:
    x = torch.linspace(-1, 1, 2 * 128).reshape(1, 2, 128).to(getattr(torch, dtype))
    save_torch({"inputs_embeds": x}, tmp_path / "inputs.safetensors")
    words = ("golden", "record", "--inputs", tmp_path / "inputs.safetensors", "--seeds", 2, "-o")
    if dtype == "bfloat16":
        ran(capsys, *words, tmp_path / "case.safetensors")
        stored = load_file(tmp_path / "case.safetensors")
        (name,) = (name for name in stored if "inputs_embeds" in name)
        assert np.array_equal(stored[name], x.double().numpy())
    else:
        error = refused(capsys, *words, tmp_path / "case.safetensors")
        assert "must hold tensors of the dtypes F64" in error


def other_base(folder: Path, hidden_size: int = 128) -> Path:
    """Write a model with other weights than the demo's, and its tokenizer."""
    config = BioGptConfig.from_pretrained(DEMO).changed(hidden_size=hidden_size)
    BioGptForCausalLM.from_config(config, seed=5).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(DEMO / name, folder / name)
    return folder


def test_an_adapter_alone_is_merged_into_the_model_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = other_base(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", base=str(base))
    want = ran(capsys, "trace", TEXT, "--model", base, "--adapter", adapter)
    assert ran(capsys, "trace", TEXT, "--adapter", adapter) == want
    assert json.loads(ran(capsys, "info", "--adapter", adapter, "--json"))["model"] == str(base)
    nowhere = write_adapter(tmp_path / "nowhere", base="/home/someone/base")
    assert "base_model_name_or_path" in refused(capsys, "trace", TEXT, "--adapter", nowhere)
    assert "an adapter's folder must hold adapter_config.json" in refused(capsys, "trace", TEXT, "--adapter", base)


@pytest.mark.filterwarnings("default")
def test_a_model_that_the_adapter_was_not_trained_on_is_a_warning(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = other_base(tmp_path / "base")
    monkeypatch.chdir(tmp_path)  # "../base" must not be a folder that happens to lie beside the clone
    for named, model, warned in (
        (str(base), "demo", True), ("demo", base, True), ("microsoft/biogpt", "demo", True), ("demo", bare, False),
        ("demo", "demo", False), ("../base", base, False), ("microsoft/biogpt", base, False),
        ("/no/base", "demo", False),
    ):  # fmt: skip
        adapter = write_adapter(tmp_path / "adapter", base=named)
        words = ["tokenize", TEXT, "--model", str(model), "--tokenizer", "demo", "--adapter", str(adapter)]
        assert main(["trace", *words[1:]]) == 0
        lines = capsys.readouterr().err.splitlines()
        expected = [f"minibiogpt: warning: {adapter} was trained on {named}, and is merged into {model}: "]
        assert [line.partition(": leave")[0] + ": " for line in lines] == (expected if warned else []), named


def test_info_refuses_an_adapter_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = write_adapter(tmp_path / "adapter", base=str(other_base(tmp_path / "base", hidden_size=64)))
    assert "must fit its base model" in refused(capsys, "info", "--adapter", adapter)
    settings = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "demo"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["q_proj", "fc1"]}))
    assert "must hold a change of every module that target_modules names" in refused(
        capsys, "info", "--adapter", adapter
    )


def test_info_says_that_weights_do_not_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other_base(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    fc1 = tensors["biogpt.layers.0.fc1.weight"]
    save_file(tensors | {"biogpt.layers.0.fc1.weight": fc1[:-1]}, tmp_path / "model.safetensors")
    rows, loads = len(fc1), json.loads(ran(capsys, "info", "--model", tmp_path, "--json"))["loads"]
    assert loads == (
        f"no, the weights do not fit config.json: layers.0.fc1.weight ({rows - 1}, 128), not ({rows}, 128)"
    )
    tensors["biogpt.layers.0.fc1.weight"] = fc1.astype(np.int8)
    tensors["biogpt.layers.0.fc1.g_idx"] = fc1[:, 0].copy()
    save_file(tensors, tmp_path / "model.safetensors")
    table = ran(capsys, "info", "--model", tmp_path)
    assert "loads                   no, weights quantized by GPTQ" in table
    assert "loads" not in json.loads(ran(capsys, "info", "--json"))


@pytest.mark.parametrize(
    "words",
    [["embed", "x", "--json"], ["generate", "x", "--token", "hf_x"], ["--vers"], ["golden", "record", "--na", "x"]],
)
def test_an_abbreviation_is_no_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
