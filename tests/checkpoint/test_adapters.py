"""LoRA adapters of peft: merged while loading, equal to peft's own models."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import minibiogpt
from minibiogpt import BioGptForCausalLM, BioGptModel, CheckpointError, InputError
from minibiogpt.checkpoint.adapter import Adapter
from minibiogpt.checkpoint.lora import Change, Merged, Shift
from minibiogpt.checkpoint.source import find_source
from minibiogpt.files.safetensors import read_header
from tests import reference
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.support.configs import PRIMES

IDS = [[2, 5, 11, 60, 3]]
TASKS = {"CausalLM": "CAUSAL_LM", "SequenceClassification": "SEQ_CLS", "TokenClassification": "TOKEN_CLS"}
ATTENTION = ["q_proj", "v_proj"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_arithmetic_by_hand(tmp_path: Path, dtype: str) -> None:
    numbers = {"w": [[1, 2], [3, 4], [5, 6]], "a": [[1, -1]], "b": [[1], [0], [2]], "m": [5, 10, 1], "bias": [1, 0, 2]}
    save_file({name: torch.tensor(x, dtype=torch.float32) for name, x in numbers.items()}, tmp_path / "x.safetensors")
    t = read_header(tmp_path / "x.safetensors")[1]

    def merged(base: str, change: Change | Shift) -> list[Any]:
        out = np.empty(t[base].shape, dtype)
        Merged(t[base], change).read_into(out)
        return out.tolist()

    assert merged("w", Change(t["a"], t["b"], 0.5)) == [[1.5, 1.5], [3, 4], [6, 5]]
    assert merged("bias", Shift(t["m"], 2)) == [11, 20, 4]
    lengths = merged("w", Change(t["a"], t["b"], 0, lengths=t["m"]))
    assert lengths[1] == [6, 8], "the row (3, 4) of length 5 gets the length 10"
    assert Change(t["a"], t["b"], 1, transposed=True).shape == (2, 3), "an embedding, where A is (r, V) and B (D, r)"
    raw = Merged(t["w"], Change(t["a"], t["b"], 0.5)).raw()
    assert raw.view(np.float64).tolist() == [1.5, 1.5, 3, 4, 6, 5], "the bytes that are compared are those merged"


def base_model(folder: Path, head: str = "CausalLM", **config: Any) -> Any:
    """Save a random model of transformers as the base, and return it in float64."""
    model = reference.build(3, head, **PRIMES | config)
    model.save_pretrained(folder)
    return getattr(transformers, f"BioGptFor{head}").from_pretrained(folder, dtype=torch.float64).eval()


def trained(model: Any, folder: Path, seed: int = 5, **settings: Any) -> Any:
    """Return the model with an adapter whose every tensor is random, and save the adapter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about tied weights
        adapted = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval()
        generator = torch.Generator().manual_seed(seed)
        for name, x in adapted.named_parameters():
            if x.requires_grad or "lora_" in name:
                noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
                x.data = (x.data.abs() + 0.1 * noise.abs() if "magnitude" in name else x.data + 0.1 * noise).detach()
        adapted.save_pretrained(folder)
    return adapted


def output_of(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


def assert_merged(tmp_path: Path, head: str = "CausalLM", config: Any = None, **settings: Any) -> Any:
    """Assert that the adapter gives peft's logits, merged and not; return our model."""
    base = base_model(tmp_path / "base", head, **config or {})
    before = output_of(base)
    adapted = trained(base, tmp_path / "adapter", task_type=TASKS[head], **settings)
    want = output_of(adapted)
    assert np.abs(want - before).max() > 1e-3, "the adapter changes something"
    ours = getattr(minibiogpt, f"BioGptFor{head}").from_pretrained(tmp_path / "adapter", dtype="float64")
    assert_close("logits", ours(IDS).logits, want, LANE_A)
    named = {name.removeprefix("biogpt."): x for name, x in ours.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = adapted.merge_and_unload()
    if np.abs(output_of(merged) - want).max() < 1e-12 * np.abs(want).max():  # not for a tied embedding: see below
        for name, x in merged.named_parameters():
            assert_close(name, named[name.removeprefix("biogpt.")], x.detach().numpy(), 1e-15)
    return ours


@pytest.mark.parametrize("r", [1, 2, 8])
@pytest.mark.parametrize("alpha", [1, 16, 12.5])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_rank_and_scale(tmp_path: Path, r: int, alpha: float, use_rslora: bool) -> None:
    assert_merged(tmp_path, r=r, lora_alpha=alpha, use_rslora=use_rslora, target_modules=ATTENTION)


TARGETS: dict[str, Any] = {
    "list": ["q_proj", "fc1", "out_proj"],
    "full names": ["biogpt.layers.1.self_attn.k_proj", "layers.0.fc2"],
    "regex": r".*\.1\..*(fc\d|k_proj)",
    "all-linear": "all-linear",
}


@pytest.mark.parametrize("targets", TARGETS.values(), ids=list(TARGETS))
@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_targets_and_biases(tmp_path: Path, targets: Any, bias: str) -> None:
    assert_merged(tmp_path, r=3, target_modules=targets, bias=bias)


@pytest.mark.parametrize("targets", ["all-linear", "ALL-LINEAR", ["q_proj"]])
def test_settings_that_peft_does_not_rewrite(tmp_path: Path, targets: Any) -> None:
    """peft lists the modules when it saves; a file may also say all-linear itself."""
    assert_merged(tmp_path, r=3, target_modules="all-linear" if isinstance(targets, str) else targets)
    set_keys(tmp_path / "adapter", target_modules=targets)
    BioGptForCausalLM.from_pretrained(tmp_path / "adapter")


@pytest.mark.parametrize(
    "settings",
    [
        {"rank_pattern": {"q_proj": 5, "1.self_attn.v_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"rank_pattern": {r"layers\.1\..*_proj": 4, "q_proj": 7}, "use_rslora": True},
        {"layers_to_transform": [1]},
        {"layers_to_transform": 0, "layers_pattern": "layers"},
        {"layers_to_transform": [0, 1], "layers_pattern": ["h", "layers"]},
        {"layers_to_transform": []},
        {"layers_to_transform": [0], "target_modules": ["v_proj", "biogpt.layers.1.self_attn.k_proj"]},
        {"exclude_modules": ["layers.0.self_attn.v_proj"]},
        {"exclude_modules": r".*0\.self_attn\.q_proj"},
        {"exclude_modules": r".*0\.self_attn\.q"},
        {"lora_bias": True},
        {"modules_to_save": ["layer_norm", "fc1"]},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"lora_dropout": 0.5},
        {"fan_in_fan_out": True},
    ],
    ids=str,
)
def test_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert_merged(tmp_path, **{"r": 3, "lora_alpha": 5, "target_modules": ATTENTION} | settings)


@pytest.mark.parametrize("targets", ["all-linear", ["fc1"], ["q_proj", "embed_tokens"]])
def test_dora(tmp_path: Path, targets: Any) -> None:
    untied = {"tie_word_embeddings": False}
    assert_merged(tmp_path, config=untied, r=3, lora_alpha=7, use_dora=True, target_modules=targets)


def test_the_lengths_of_dora_are_not_read_as_plain_lora(tmp_path: Path) -> None:
    trained(base_model(tmp_path / "base"), tmp_path / "adapter", r=3, use_dora=True, target_modules=ATTENTION)
    set_keys(tmp_path / "adapter", use_dora=False)
    with pytest.raises(CheckpointError, match="use_dora in .* must say whether the adapter holds lora_magnitude_vec"):
        logits(tmp_path / "adapter")


@pytest.mark.parametrize("head", TASKS)
@pytest.mark.parametrize("settings", [{"target_modules": "all-linear"}, {"target_modules": ATTENTION, "bias": "all"}])
def test_the_heads_of_classifiers_come_with_the_adapter(tmp_path: Path, head: str, settings: Any) -> None:
    settings = settings if head != "TokenClassification" else settings | {"target_modules": ATTENTION}
    assert_merged(tmp_path, head, {"num_labels": 5}, r=3, **settings)


def test_the_number_of_labels_is_the_adapters(tmp_path: Path) -> None:
    """The usual fine-tune: a base model without a head, an adapter with one."""
    base_model(tmp_path / "base")
    classifier = transformers.BioGptForSequenceClassification.from_pretrained(
        tmp_path / "base", num_labels=5, dtype=torch.float64
    ).eval()
    want = output_of(trained(classifier, tmp_path / "adapter", r=3, target_modules=ATTENTION, task_type="SEQ_CLS"))
    ours = minibiogpt.BioGptForSequenceClassification.from_pretrained(tmp_path / "adapter", dtype="float64", seed=None)
    assert ours.config.num_labels == 5
    assert_close("logits", ours(IDS).logits, want, LANE_A)
    named = minibiogpt.BioGptForSequenceClassification.from_pretrained(
        tmp_path / "adapter", id2label={i: f"class {i}" for i in range(5)}
    )
    assert named.config.id2label[4] == "class 4"
    with pytest.raises(CheckpointError, match=r"score.weight \(5, 21\), not \(3, 21\)"):
        minibiogpt.BioGptForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=3)
    with pytest.raises(CheckpointError, match=r"score.weight \(5, 21\), not \(3, 21\)"):  # and no warning before
        minibiogpt.BioGptForSequenceClassification.from_pretrained(
            tmp_path / "adapter", id2label={0: "a", 1: "b", 2: "c"}
        )
    with pytest.warns(UserWarning, match="ignored 1 unexpected: score.weight"):
        BioGptForCausalLM.from_pretrained(tmp_path / "adapter")


def test_the_number_of_labels_of_a_token_classifier_is_the_adapters(tmp_path: Path) -> None:
    base_model(tmp_path / "base")
    theirs = transformers.BioGptForTokenClassification.from_pretrained(
        tmp_path / "base", num_labels=5, dtype=torch.float64
    ).eval()
    want = output_of(trained(theirs, tmp_path / "adapter", r=3, target_modules=ATTENTION, task_type="TOKEN_CLS"))
    ours = minibiogpt.BioGptForTokenClassification.from_pretrained(tmp_path / "adapter", dtype="float64", seed=None)
    assert_close("logits", ours(IDS).logits, want, LANE_A)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["embed_tokens"]},
        {"target_modules": ["output_projection", "q_proj"]},
        {"target_modules": ["embed_tokens", "output_projection"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["output_projection"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["output_projection", "embed_tokens"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", ["tied", "untied", "kept equal"])
def test_the_embedding_and_the_head(tmp_path: Path, settings: Any, tied: str) -> None:
    """A tied head is untied, as in the model that was trained; peft's merge_and_unload changes both matrices."""
    if tied == "kept equal":
        settings = settings | {"ensure_weight_tying": True}
    ours = assert_merged(tmp_path, config={"tie_word_embeddings": tied != "untied"}, r=3, **settings)
    one_tensor = tied == "kept equal" and "embed_tokens" in settings.get("modules_to_save", ())
    assert ours.config.tie_word_embeddings is one_tensor
    ours.save_pretrained(tmp_path / "saved")
    again = BioGptForCausalLM.from_pretrained(tmp_path / "saved", dtype="float64")
    assert np.array_equal(again(IDS).logits, ours(IDS).logits)
    classifier = BioGptModel.from_pretrained(tmp_path / "adapter", dtype="float64")
    assert np.array_equal(classifier.embed_tokens.weight, ours.biogpt.embed_tokens.weight)


def test_added_tokens_bring_their_embeddings(tmp_path: Path) -> None:
    """peft saves the whole embedding after resize_token_embeddings; transformers needs the base resized by hand."""
    model = base_model(tmp_path / "base")
    model.resize_token_embeddings(71, mean_resizing=False)
    want = output_of(trained(model, tmp_path / "adapter", r=3, target_modules=ATTENTION))
    ours = BioGptForCausalLM.from_pretrained(tmp_path / "adapter", dtype="float64")
    assert (ours.config.vocab_size, ours.config.tie_word_embeddings) == (71, True)
    assert_close("logits", ours(IDS).logits, want, LANE_A)


def set_keys(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A base model, an adapter for it, and the logits of both together."""
    base = base_model(tmp_path / "base")
    adapted = trained(base, tmp_path / "adapter", r=3, target_modules=ATTENTION)
    return tmp_path / "base", tmp_path / "adapter", output_of(adapted)


def logits(name: Any, **options: Any) -> np.ndarray:
    return BioGptForCausalLM.from_pretrained(name, dtype="float64", **options)(IDS).logits


def test_the_base_is_named_by_a_path_or_given(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapter, want = folders
    monkeypatch.chdir(base.parent)
    for name in (str(base), "base", "../base"):  # absolute, from here, from the adapter's folder
        set_keys(adapter, base_model_name_or_path=name)
        assert_close(name, logits(adapter), want, LANE_A)
    for name in ("/home/them/base", "", None, 7, "..", "a" * 5000, "a\0b", "base/config.txt"):
        set_keys(adapter, base_model_name_or_path=name)
        with pytest.raises(CheckpointError, match="must name the model that .*; name that model yourself, and the ad"):
            logits(adapter)
        assert_close("given", logits(base, adapter=adapter), want, LANE_A)
    set_keys(adapter, base_model_name_or_path=str(adapter))
    with pytest.raises(CheckpointError, match="an adapter itself"):
        logits(adapter)


def test_the_base_is_fetched_at_the_revision_that_the_adapter_names(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter, want = folders
    asked: dict[str, Any] = {}

    def find(name: Any, revision: str | None = None) -> Path:
        asked[str(name)] = revision
        return base if name == "owner/base" else Path(name)

    monkeypatch.setattr("minibiogpt.checkpoint.source.find_model", find)
    for revision in ("v2", None):
        set_keys(adapter, base_model_name_or_path="owner/base", revision=revision)
        assert_close("logits", logits(adapter), want, LANE_A)
        assert asked == {str(adapter): None, "owner/base": revision}


def test_a_tokenizer_beside_the_adapter_comes_before_that_of_its_base(folders: Any) -> None:
    base, adapter, _ = folders
    for folder in folders[:2]:
        (folder / "vocab.json").write_text("{}")
    for want in (adapter, base):
        found = find_source(adapter).tokenizer_folder
        assert found is not None
        assert found.samefile(want)
        (want / "vocab.json").unlink()
    assert find_source(adapter).tokenizer_folder is None


def test_the_demo_is_a_base(tmp_path: Path) -> None:
    model = transformers.BioGptForCausalLM.from_pretrained(find_source("demo").folder, dtype=torch.float64).eval()
    want = output_of(trained(model, tmp_path, r=4, target_modules=ATTENTION))
    set_keys(tmp_path, base_model_name_or_path="demo")
    assert_close("demo", logits(tmp_path), want, LANE_A)
    assert_close("demo", logits("demo", adapter=str(tmp_path)), want, LANE_A)


def test_a_folder_with_a_model_and_an_adapter_is_an_adapter_as_in_transformers(folders: Any) -> None:
    base, adapter, want = folders
    for path in adapter.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="holds an adapter: it is merged into .*base; remove adapter_config.json to"):
        assert_close("in its base's folder", logits(base), want, LANE_A)
    theirs = transformers.BioGptForCausalLM.from_pretrained(base, dtype=torch.float64).eval()
    assert_close("transformers", output_of(theirs), want, LANE_A)
    for path in adapter.iterdir():
        (base / path.name).unlink()
    other = reference.build(seed=9, **PRIMES)
    other.save_pretrained(adapter)
    with pytest.warns(UserWarning, match="merged into .*base, not the weights beside it"):
        assert_close("beside other weights", logits(adapter), want, LANE_A)
    set_keys(adapter, base_model_name_or_path="gone")
    with pytest.raises(CheckpointError, match="or remove adapter_config.json to load .* without the adapter"):
        logits(adapter)


def test_two_adapters_are_refused(folders: Any, tmp_path: Path) -> None:
    base, adapter, want = folders
    trained(base_model(tmp_path / "b"), tmp_path / "second", r=3, target_modules=ATTENTION)
    with pytest.raises(InputError, match="at most one adapter; found .*adapter and .*second"):
        logits(adapter, adapter=tmp_path / "second")
    assert_close("itself", logits(adapter, adapter=adapter), want, LANE_A)
    with pytest.raises(CheckpointError, match="an adapter's folder must hold adapter_config.json"):
        logits(base, adapter=base)
    for path in (tmp_path / "second").iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="at most one adapter; found .*base and .*adapter"):
        logits(base, adapter=adapter)
    with pytest.raises(CheckpointError, match="found '.*base', an adapter itself; name that model yourself"):
        logits(adapter)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_adapter_in_half_precision(folders: Any, dtype: str) -> None:
    _, adapter, _ = folders
    file = adapter / "adapter_model.safetensors"
    halves = {name: x.to(getattr(torch, dtype)) for name, x in load_file(file).items()}
    save_file({name: x.double() for name, x in halves.items()}, file)
    want = logits(adapter)
    save_file(halves, file)
    assert np.array_equal(logits(adapter), want)


def test_an_adapter_in_a_pickle_is_read_as_data(folders: Any) -> None:
    _, adapter, want = folders
    file = adapter / "adapter_model.safetensors"
    torch.save(load_file(file), adapter / "adapter_model.bin")
    file.unlink()
    assert_close("pickle", logits(adapter), want, LANE_A)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(
        CheckpointError, match="must hold adapter_model.safetensors or adapter_model.bin; found neither"
    ):
        logits(adapter)


RENAMINGS = {
    "with the adapter's name": lambda n: n.replace(".weight", ".default.weight"),
    "from FSDP": lambda n: f"_fsdp_wrapped_module.{n}",
    "as transformers' own adapters": lambda n: n.removeprefix("base_model.model."),
    "for the base model": lambda n: n.replace(".biogpt.", "."),
}


@pytest.mark.parametrize("renamed", RENAMINGS.values(), ids=list(RENAMINGS))
def test_other_names_of_the_same_tensors(folders: Any, renamed: Any) -> None:
    _, adapter, want = folders
    file = adapter / "adapter_model.safetensors"
    save_file({renamed(name): x for name, x in load_file(file).items()}, file)
    assert_close("renamed", logits(adapter), want, LANE_A)


def test_the_float32_model_is_the_float64_one_to_rounding(folders: Any) -> None:
    _, adapter, want = folders
    got = BioGptForCausalLM.from_pretrained(adapter)(IDS).logits
    assert got.dtype == np.float32
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type in .* must be LORA; found 'IA3'; merge it in peft"),
        ({"peft_type": "PREFIX_TUNING"}, "must be LORA; found 'PREFIX_TUNING'"),
        ({"peft_type": None}, "must be LORA; found None"),
        ({"init_lora_weights": "pissa"}, "found init_lora_weights 'pissa', which changes them; merge"),
        ({"init_lora_weights": 1}, "init_lora_weights 1"),
        ({"trainable_token_indices": [5]}, r"plain LoRA only; found trainable_token_indices \[5\]"),
        ({"layer_replication": [[0, 2]], "use_qalora": True}, "found layer_replication .*, use_qalora True"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"a_setting_of_the_future": {"x": 1}}, "a_setting_of_the_future"),
        ({"r": 0}, "r in .* must be an integer, 1 or more; found r 0"),
        ({"r": "8"}, "r in .* must be an integer"),
        ({"r": 4}, r"A \(r, in\) and B \(out, r\) .*, with r = 4; found shapes \(3, 21\) and \(21, 3\)"),
        ({"lora_alpha": None}, "lora_alpha in .* must be a number"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern .* must be a regular expression"),
        ({"alpha_pattern": ["q"]}, "alpha_pattern"),
        ({"target_modules": "("}, "target_modules .* must be a regular expression"),
        ({"target_modules": "(.+)+x"}, "must repeat no group"),
        ({"target_modules": "(.|.)*x"}, "must repeat no group"),
        ({"rank_pattern": {".*" * 11: 3}}, "at most four other parts"),
        ({"target_modules": [1]}, "target_modules .* must be a string or a list of strings"),
        ({"target_modules": ["q_proj"]}, "must name each module .*; found no biogpt.layers.0.self_attn.v_proj, "),
        (
            {"target_modules": ["q_proj", "v_proj", "fc1"]},
            "must hold a change of .*; found no layers.0.fc1, layers.1",
        ),
        ({"layers_to_transform": "1"}, "layers_to_transform"),
        ({"use_dora": True}, "use_dora in .* must say whether the adapter holds lora_magnitude_vector"),
        ({"use_rslora": "yes"}, "use_rslora in .* must be true or false"),
    ],
    ids=str,
)
def test_what_is_not_plain_lora_is_refused_by_name(folders: Any, changes: dict[str, Any], message: str) -> None:
    _, adapter, _ = folders
    set_keys(adapter, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        logits(adapter)
    assert len(str(caught.value)) < 900


def test_broken_files_of_an_adapter(folders: Any) -> None:
    _, adapter, _ = folders
    file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    tensors = load_file(file)
    first = "base_model.model.biogpt.layers.0.self_attn.q_proj.lora_"

    def refused(message: str, **changes: torch.Tensor | None) -> None:
        kept = {name: x for name, x in tensors.items() if changes.get(name.removeprefix(first), x) is not None}
        save_file(kept | {first + n: x for n, x in changes.items() if x is not None}, file)
        with pytest.raises(CheckpointError, match=message):
            logits(adapter)

    refused("only lora_A", **{"B.weight": None})
    refused("a change of .22, 21. for layers.0.self_attn.q_proj.weight .21, 21.", **{"B.weight": torch.ones(22, 3)})
    refused("found shapes", **{"A.weight": torch.ones(63)})
    refused("lora_A.weight of dtype I8", **{"A.weight": torch.ones(3, 21, dtype=torch.int8)})
    refused("parts of LoRA and whole weights only; found .*lora_E", **{"E": torch.ones(3, 1)})
    refused("must hold one adapter; found several", **{"A.default.weight": torch.ones(3, 21)})
    refused(
        "every weight in .*base with the adapter in .*adapter must be .*NaN or infinity in layers.0.self_attn.q_proj.w",
        **{"A.weight": torch.full((3, 21), torch.nan)},
    )
    for content in ("[]", "{", '"x"'):
        config.write_text(content)
        with pytest.raises(CheckpointError, match="must hold (JSON|a JSON object)"):
            logits(adapter)
    file.write_bytes(b"x")
    config.write_text('{"peft_type": "LORA", "r": 3, "lora_alpha": 1}')
    with pytest.raises(CheckpointError, match="must be a complete safetensors file"):
        logits(adapter)


def test_a_base_of_another_size_is_refused(folders: Any, tmp_path: Path) -> None:
    _, adapter, _ = folders
    base_model(tmp_path / "other", hidden_size=24, num_attention_heads=2)
    with pytest.raises(CheckpointError, match=r"must fit its base model; found a change of \(21, 21\) for layers.0"):
        logits(tmp_path / "other", adapter=adapter)
    base_model(tmp_path / "shallow", num_hidden_layers=1)
    with pytest.raises(CheckpointError, match="must hold each tensor that it changes; found no layers.1.self_attn.q"):
        logits(tmp_path / "shallow", adapter=adapter)


def test_a_base_with_more_layers_is_refused_as_another_model(folders: Any, tmp_path: Path) -> None:
    _, adapter, _ = folders
    base_model(tmp_path / "deep", num_hidden_layers=3)
    for name in (tmp_path / "deep", "demo"):
        with pytest.raises(CheckpointError) as caught:
            logits(name, adapter=adapter)
        message = str(caught.value)
        assert "must fit its base model; found " in message
        assert message.endswith("name the base model that it was trained on: this one has other layers or sizes")
    with pytest.raises(CheckpointError, match="found changes of 2 layers, and 3 layers"):
        logits(tmp_path / "deep", adapter=adapter)


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "CPT"])
def test_soft_prompts_are_not_said_to_be_mergeable(tmp_path: Path, kind: str) -> None:
    assert not hasattr(peft.PEFT_TYPE_TO_TUNER_MAPPING[kind], "merge_and_unload")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    with pytest.raises(CheckpointError, match="can't be merged into the weights, and aren't supported here"):
        logits(tmp_path)


def test_a_lora_that_peft_does_not_merge_is_not_said_to_be_mergeable(folders: Any) -> None:
    _, adapter, _ = folders
    for changes in ({"layer_replication": [[0, 2]]}, {"layer_replication": None, "alora_invocation_tokens": [1]}):
        set_keys(adapter, **changes)
        with pytest.raises(CheckpointError, match="can't be merged into the weights"):
            logits(adapter)


def test_an_adapter_describes_itself(folders: Any) -> None:
    assert str(Adapter.read(folders[1])) == "r=3 alpha=8, 4 modules"
