"""Converted checkpoints of transformers and fairseq load here and in transformers, with equal logits."""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

import minibiogpt
from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, CheckpointError, InputError
from minibiogpt.checkpoint.convert import KNOWN, SIZES, convert
from minibiogpt.checkpoint.originals.fairseq import read_dictionary
from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO
from minibiogpt.files.safetensors import stored_tensors
from tests import reference
from tests.budgets import FACTOR
from tests.compare import assert_close
from tests.support.configs import PRIMES as SMALL
from tests.support.folders import assert_loads
from tests.tokenizer.test_tokenizer import FOLDERS, TEXTS, folder


@pytest.fixture
def model() -> transformers.BioGptForCausalLM:
    return reference.build(seed=3, **SMALL)


def with_tokenizer(folder: Path) -> Path:
    """Write the demo's tokenizer files, with the vocabulary cut to the small models' size."""
    pieces = json.loads((DEMO / "vocab.json").read_text(encoding="utf-8"))
    folder.mkdir(exist_ok=True)
    small = {piece: i for piece, i in pieces.items() if i < SMALL["vocab_size"]}
    (folder / "vocab.json").write_text(json.dumps(small), encoding="utf-8")
    shutil.copyfile(DEMO / "merges.txt", folder / "merges.txt")
    shutil.copyfile(DEMO / "tokenizer_config.json", folder / "tokenizer_config.json")
    return folder


def pickled(model: transformers.BioGptForCausalLM, folder: Path, **options: Any) -> Path:
    """Save the model as transformers did before safetensors; return the folder."""
    model.float().save_pretrained(folder, safe_serialization=False, **options)
    return with_tokenizer(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# transformers' files.


@pytest.mark.parametrize("way", ["folder", "file", "shards", "index", "legacy", "base model"])
def test_a_pickle_of_transformers(tmp_path: Path, model: transformers.BioGptForCausalLM, way: str) -> None:
    source = pickled(model, tmp_path / "old", **({"max_shard_size": "20KB"} if way in ("shards", "index") else {}))
    if way == "legacy":
        state = torch.load(source / "pytorch_model.bin", weights_only=True)
        torch.save(state, source / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    if way == "base model":
        model.biogpt.save_pretrained(source, safe_serialization=False)
    bins = [path for path in sorted(source.iterdir()) if path.suffix == ".bin"]
    assert len(bins) == (2 if way in ("shards", "index") else 1)
    file = {"file": "pytorch_model.bin", "index": "pytorch_model.bin.index.json"}.get(way, "")
    facts = convert(source / file, tmp_path / "new")
    assert_loads(tmp_path / "new", model)
    want = "config.json generation_config.json merges.txt model.safetensors tokenizer_config.json vocab.json"
    assert names(tmp_path / "new") == want.split()
    for copied in ("vocab.json", "merges.txt", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "new" / copied).read_bytes() == (source / copied).read_bytes()
    assert json.loads((tmp_path / "new/config.json").read_text()) == json.loads((source / "config.json").read_text())
    assert facts["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in bins}
    assert (facts["layout"], facts["dtypes"], facts["tensors"]) == ("transformers", ["float32"], 36)
    assert (facts["known_as"], facts["assumed"], facts["left_out"]) == (None, {}, [])
    stored = load_file(tmp_path / "new" / "model.safetensors")
    assert set(stored) == {name for name, _ in model.named_parameters() if name != "output_projection.weight"}
    assert all(torch.equal(stored[name], x.float()) for name, x in model.named_parameters() if name in stored)
    assert names(tmp_path) == ["new", "old"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_the_dtype_of_the_file_is_kept(tmp_path: Path, model: transformers.BioGptForCausalLM, dtype: str) -> None:
    model.to(getattr(torch, dtype)).save_pretrained(with_tokenizer(tmp_path / "old"), safe_serialization=False)
    assert convert(tmp_path / "old", tmp_path / "new")["dtypes"] == [dtype]
    stored = load_file(tmp_path / "new" / "model.safetensors")
    assert all(torch.equal(stored[name], x) for name, x in model.named_parameters() if name in stored)
    assert len(stored) == 36
    assert_loads(tmp_path / "new", model)


def test_each_tensor_of_several_dtypes_keeps_its_own(tmp_path: Path, model: transformers.BioGptForCausalLM) -> None:
    """Wider dtypes are stored first, so that every value is aligned to its size, as other readers may expect."""
    model.half()
    for layer in model.biogpt.layers:
        layer.fc1.weight.data = layer.fc1.weight.data.float()
    model.save_pretrained(with_tokenizer(tmp_path / "old"), safe_serialization=False)
    assert convert(tmp_path / "old", tmp_path / "new")["dtypes"] == ["float16", "float32"]
    assert "dtype" not in json.loads((tmp_path / "new" / "config.json").read_text())
    stored = stored_tensors(tmp_path / "new")
    assert all(tensor.begin % (4 if tensor.dtype == "F32" else 2) == 0 for tensor in stored.values())
    assert sum(tensor.dtype == "F32" for tensor in stored.values()) == 2
    assert_loads(tmp_path / "new", model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("of", ["float64", "float32", "float16", "bfloat16"])
def test_another_dtype_is_rounded_as_torch_rounds(
    tmp_path: Path, model: transformers.BioGptForCausalLM, of: str, dtype: str
) -> None:
    with torch.no_grad():
        model.biogpt.layer_norm.weight[:5] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 2.0**-25, 65000])
    model.to(getattr(torch, of)).save_pretrained(with_tokenizer(tmp_path / "old"), safe_serialization=False)
    assert convert(tmp_path / "old", tmp_path / "new", dtype=dtype)["dtypes"] == [dtype]
    want, stored = model.to(getattr(torch, dtype)), load_file(tmp_path / "new" / "model.safetensors")
    assert all(torch.equal(stored[name], x) for name, x in want.named_parameters() if name in stored)
    assert json.loads((tmp_path / "new" / "config.json").read_text())["dtype"] == dtype


def test_values_that_a_dtype_cannot_hold_are_refused(tmp_path: Path, model: transformers.BioGptForCausalLM) -> None:
    with torch.no_grad():
        model.biogpt.layers[1].fc2.bias[3] = 70000
    source = pickled(model, tmp_path / "old")
    with pytest.raises(CheckpointError, match="finite number in float16; found NaN or infinity in layers.1.fc2.bias"):
        convert(source, tmp_path / "new", dtype="float16")
    assert names(tmp_path) == ["old"]
    convert(source, tmp_path / "new", dtype="bfloat16")
    with torch.no_grad():
        model.biogpt.layers[1].fc2.bias[3] = torch.nan
    with pytest.raises(CheckpointError, match="finite number in bfloat16; found NaN"):
        convert(pickled(model, tmp_path / "old"), tmp_path / "nan", dtype="bfloat16")
    with pytest.raises(InputError, match="dtype must be one of float32, .*; found 'int8'"):
        convert(source, tmp_path / "nan", dtype="int8")


def resave(source: Path, change: Any) -> Path:
    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    change(state)
    torch.save(state, source / "pytorch_model.bin")
    return source


def test_heads_and_buffers(tmp_path: Path, model: transformers.BioGptForCausalLM) -> None:
    source = pickled(model, tmp_path / "old")
    head, embedding = "output_projection.weight", "biogpt.embed_tokens.weight"
    resave(source, lambda s: s.update({head: s[embedding].clone()}))  # the same values in another storage
    assert convert(source, tmp_path / "copied")["tensors"] == 36
    resave(source, lambda s: s.pop(embedding))
    assert convert(source, tmp_path / "single")["tensors"] == 36
    assert_loads(tmp_path / "single", model)
    resave(source, lambda s: s.update({"biogpt.embed_positions.position_ids": torch.arange(31), "x": torch.ones(2)}))
    with pytest.warns(UserWarning, match="left out tensors .* does not have: embed_positions.position_ids, x"):
        facts = convert(source, tmp_path / "buffers")
    assert (facts["tensors"], facts["left_out"]) == (36, ["embed_positions.position_ids", "x"])
    resave(source, lambda s: (s.pop("x"), s.pop("biogpt.embed_positions.position_ids")))
    resave(source, lambda s: s.update({"score.weight": torch.ones(2, 21), embedding: s[head] + 1}))
    assert convert(source, tmp_path / "different")["tensors"] == 38
    stored = load_file(tmp_path / "different" / "model.safetensors")
    assert torch.equal(stored[head] + 1, stored[embedding])
    assert torch.equal(stored["score.weight"], torch.ones(2, 21))
    convert(resave(source, lambda s: s.pop("score.weight")), tmp_path / "no score")
    with pytest.warns(UserWarning, match="a different output_projection"):
        BioGptForCausalLM.from_pretrained(tmp_path / "no score")


def test_an_untied_head_is_kept_and_needed_by_a_language_model_only(tmp_path: Path) -> None:
    model = reference.build(seed=4, **SMALL, tie_word_embeddings=False)
    source = pickled(model, tmp_path / "old")
    assert convert(source, tmp_path / "new")["tensors"] == 37
    assert_loads(tmp_path / "new", model)
    resave(source, lambda state: state.pop("output_projection.weight"))
    with pytest.raises(CheckpointError, match="37 in all; found no output_projection.weight"):
        convert(source, tmp_path / "no")
    config = json.loads((source / "config.json").read_text())
    labels = {str(i): f"LABEL_{i}" for i in range(5)}
    config |= {"architectures": ["BioGptForTokenClassification"], "id2label": labels}
    (source / "config.json").write_text(json.dumps(config))
    resave(
        source, lambda state: state.update({"classifier.weight": torch.ones(5, 21), "classifier.bias": torch.ones(5)})
    )
    assert convert(source, tmp_path / "classifier")["tensors"] == 38
    theirs = transformers.BioGptForTokenClassification.from_pretrained(tmp_path / "classifier")
    assert torch.equal(theirs.classifier.weight, torch.ones(5, 21))


def test_a_long_list_of_names_is_cut(tmp_path: Path, model: transformers.BioGptForCausalLM) -> None:
    source = resave(pickled(model, tmp_path / "old"), lambda s: s.update({f"x{i}": torch.ones(1) for i in range(99)}))
    with pytest.warns(UserWarning, match="does not have: x0, x1, .*, x7 and 91 more$"):
        assert len(convert(source, tmp_path / "new")["left_out"]) == 99


def test_without_a_config_it_is_derived_and_says_what_was_assumed(tmp_path: Path) -> None:
    sizes = SMALL | {"hidden_size": 128, "num_attention_heads": 2}
    model = reference.build(seed=5, **sizes)
    source = pickled(model, tmp_path / "old")
    (source / "config.json").unlink()
    facts = convert(source, tmp_path / "new")
    assert_loads(tmp_path / "new", model)
    made = json.loads((tmp_path / "new" / "config.json").read_text())
    assert {name: made[name] for name in sizes} == sizes
    assert facts["assumed"] == {
        "num_attention_heads": 2, "hidden_act": "gelu", "scale_embedding": True, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "activation_dropout": 0.0, "layerdrop": 0.0,
    }  # fmt: skip
    narrow = pickled(reference.build(**SMALL), tmp_path / "narrow")
    (narrow / "config.json").unlink()
    with pytest.raises(CheckpointError, match="heads must be known; found no setting for it, and a hidden size of 21"):
        convert(narrow, tmp_path / "no")


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
def test_a_classifier_without_a_config_keeps_its_classes(tmp_path: Path, head: str) -> None:
    sizes = SMALL | {"hidden_size": 128, "num_attention_heads": 2, "num_labels": 5}
    theirs = reference.build(head=head, **sizes).float()
    source = pickled(theirs, tmp_path / "old")
    (source / "config.json").unlink()
    convert(source, tmp_path / "new")
    kind = getattr(minibiogpt, f"BioGptFor{head}")
    ours = kind.from_pretrained(tmp_path / "new")
    assert ours.config.extra["architectures"] == [f"BioGptFor{head}"]
    with torch.no_grad():
        want = theirs(torch.tensor([[2, 5, 9]])).logits.numpy()
    assert_close("logits", ours([[2, 5, 9]]).logits, want, FACTOR * 1e-6)
    theirs.config.id2label, theirs.config.label2id = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    theirs.config.save_pretrained(source)
    with pytest.raises(CheckpointError, match=r"(score|classifier).weight \(5, 128\), not \(3, 128\)"):
        convert(source, tmp_path / "newer")


@pytest.mark.filterwarnings("default")
def test_whose_file_it_is(
    tmp_path: Path,
    model: transformers.BioGptForCausalLM,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = pickled(model, tmp_path / "old")
    digest = hashlib.sha256((source / "pytorch_model.bin").read_bytes()).hexdigest()
    assert main(["convert", str(source), str(tmp_path / "a")]) == 0
    assert f"pytorch_model.bin: an unknown file, sha256 {digest}\n" in capsys.readouterr().out
    monkeypatch.setitem(SIZES, (67, 21, 2), "some/body")
    assert main(["convert", str(source), str(tmp_path / "b")]) == 0
    assert "warning: " in (captured := capsys.readouterr()).err
    assert "has the name and sizes of some/body's file, but a different sha256" in captured.err
    monkeypatch.setitem(KNOWN, digest, "some/body")
    assert main(["convert", str(source), str(tmp_path / "c")]) == 0
    assert f"pytorch_model.bin: this is some/body's file, sha256 {digest}\n" in (captured := capsys.readouterr()).out
    assert captured.err == ""
    assert set(KNOWN.values()) == set(SIZES.values())


# fairseq's files.


def dict_text(vocab: dict[str, int]) -> str:
    """Return the dict.txt from which a vocab.json was made."""
    pieces = sorted(vocab, key=lambda piece: vocab[piece])
    assert pieces[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    symbols = [piece.removesuffix("</w>") if piece.endswith("</w>") else piece + "@@" for piece in pieces[4:]]
    return "".join(f"{symbol} {len(symbol)}\n" for symbol in symbols)


class DictConfig:
    """Pickled like omegaconf's class of this name: attributes, the content in _content, and a link to the parent."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = {key: AnyNode(value, self) for key, value in content.items()}


class AnyNode:
    def __init__(self, value: Any, parent: DictConfig) -> None:
        self._val, self._parent = value, parent


def fairseq_settings(model: transformers.BioGptForCausalLM) -> dict[str, Any]:
    c = model.config
    return {
        "_name": "transformer_lm_biogpt", "activation_fn": c.hidden_act, "dropout": 0.2, "attention_dropout": 0.3,
        "activation_dropout": 0.25, "decoder_layerdrop": 0.125, "decoder_attention_heads": c.num_attention_heads,
        "decoder_embed_dim": c.hidden_size, "no_scale_embedding": not c.scale_embedding, "max_target_positions": 31,
        "share_decoder_input_output_embed": c.tie_word_embeddings, "decoder_normalize_before": True,
    }  # fmt: skip


def settings_forms(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the forms in which versions of fairseq have stored the settings."""
    namespace = argparse.Namespace(**settings)
    return {
        "dict": {"args": None, "cfg": {"model": settings, "task": {}}},
        "namespace in cfg": {"args": None, "cfg": {"_name": None, "model": namespace, "task": namespace}},
        "omegaconf": {"args": None, "cfg": {"model": DictConfig(settings)}},
        "omegaconf in omegaconf": {"args": None, "cfg": DictConfig({"model": DictConfig(settings)})},
        "args": {"args": namespace},
    }


def fairseq_state(model: transformers.BioGptForCausalLM) -> dict[str, torch.Tensor]:
    state = {f"decoder.{n.removeprefix('biogpt.')}": x.float() for n, x in model.state_dict().items()}
    return collections.OrderedDict({"decoder.version": torch.tensor([3.0]), **state})


def fairseq_folder(model: transformers.BioGptForCausalLM, folder: Path, **more: Any) -> Path:
    """Write checkpoint.pt, with the other entries of fairseq, dict.txt and bpecodes; return the folder."""
    folder.mkdir()
    optimizer = {"state": {0: {"step": 7, "exp_avg": torch.ones(3)}}, "param_groups": [{"betas": (0.9, 0.98)}]}
    content = {"model": fairseq_state(model), "last_optimizer_state": optimizer, "optimizer_history": [more], **more}
    content["extra_state"] = {"metrics": collections.OrderedDict(loss=argparse.Namespace(sum=np.float64(1.5)))}
    torch.save(content, folder / "checkpoint.pt")
    vocab = json.loads((with_tokenizer(folder) / "vocab.json").read_text(encoding="utf-8"))
    (folder / "dict.txt").write_text(dict_text(vocab), encoding="utf-8")
    (folder / "merges.txt").rename(folder / "bpecodes")
    for name in ("vocab.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize("form", settings_forms({}))
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_checkpoint_of_fairseq(tmp_path: Path, form: str, activation: str) -> None:
    model = reference.build(seed=6, **SMALL, scale_embedding=activation == "gelu", hidden_act=activation)
    source = fairseq_folder(model, tmp_path / "old", **settings_forms(fairseq_settings(model))[form])
    facts = convert(source, tmp_path / "new")
    assert_loads(tmp_path / "new", model)
    assert (facts["layout"], facts["tensors"], facts["assumed"]) == ("fairseq", 36, {})
    want = "config.json merges.txt model.safetensors tokenizer_config.json vocab.json"
    assert names(tmp_path / "new") == want.split()
    made = json.loads((tmp_path / "new" / "config.json").read_text())
    want = {**SMALL, "hidden_act": activation, "scale_embedding": activation == "gelu", "tie_word_embeddings": True}
    want |= {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "activation_dropout": 0.25}
    assert {name: made[name] for name in [*want, "layerdrop"]} == want | {"layerdrop": 0.125}
    theirs = transformers.BioGptTokenizer.from_pretrained(str(tmp_path / "new"))
    assert theirs.model_max_length == 31
    assert BioGptTokenizer.from_pretrained(tmp_path / "new").encode("a cat") == theirs("a cat")["input_ids"]


def test_a_checkpoint_of_fairseq_without_settings_or_with_a_head_of_its_own(tmp_path: Path) -> None:
    sizes = SMALL | {"hidden_size": 128, "num_attention_heads": 2}
    tied, untied = reference.build(**sizes), reference.build(seed=1, **sizes, tie_word_embeddings=False)
    for name, model in (("tied", tied), ("untied", untied)):
        facts = convert(fairseq_folder(model, tmp_path / f"old-{name}"), tmp_path / name)
        assert facts["tensors"] == 36 + (name == "untied")
        assert (facts["assumed"]["num_attention_heads"], len(facts["assumed"])) == (2, 7)
        assert_loads(tmp_path / name, model)
    config = json.loads((tmp_path / "untied" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False


def test_half_precision_and_soft_prompts_of_fairseq(tmp_path: Path) -> None:
    """Nine learned rows follow the dictionary's: they load, and no text is encoded to their ids."""
    model = reference.build(seed=7, **SMALL | {"vocab_size": 76})
    source = fairseq_folder(model.half().double(), tmp_path / "old", args=argparse.Namespace(**fairseq_settings(model)))
    content = torch.load(source / "checkpoint.pt", weights_only=False)
    content["model"] = {name: x.half() for name, x in content["model"].items()}
    torch.save(content, source / "checkpoint_avg.pt")
    (source / "checkpoint.pt").unlink()
    assert convert(source, tmp_path / "new")["dtypes"] == ["float16"]
    assert_loads(tmp_path / "new", model)
    assert len(BioGptTokenizer.from_pretrained(tmp_path / "new")) == 67


@pytest.mark.parametrize("name", FOLDERS)
def test_the_tokenizer_from_fairseqs_files_is_the_one_from_vocab_and_merges(tmp_path: Path, name: str) -> None:
    known = folder(name)
    vocab = json.loads((known / "vocab.json").read_text(encoding="utf-8"))
    (tmp_path / "dict.txt").write_text(dict_text(vocab), encoding="utf-8", newline="\n")
    codes = (known / "merges.txt").read_bytes()
    (tmp_path / "codes").write_bytes(codes.removesuffix(b"\n"))  # as some editors leave it
    assert read_dictionary(tmp_path / "dict.txt") == vocab
    model = reference.build(**SMALL | {"vocab_size": len(vocab)})
    source = pickled(model, tmp_path / "old")
    convert(source, tmp_path / "new", dictionary=tmp_path / "dict.txt", bpecodes=tmp_path / "codes")
    assert (tmp_path / "new" / "merges.txt").read_bytes() == codes
    ours, want = BioGptTokenizer.from_pretrained(tmp_path / "new"), BioGptTokenizer.from_pretrained(known)
    theirs = transformers.BioGptTokenizer.from_pretrained(str(tmp_path / "new"))
    assert (ours.vocab, ours.ranks) == (want.vocab, want.ranks)
    for text in TEXTS[::40]:
        assert ours.encode(text) == want.encode(text) == theirs(text)["input_ids"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a 1\n\nb 2\n", "no count in line 2, ''"),
        ("a 1\nb x\n", "no count in line 2, 'b x'"),
        ("a\n", "no count in line 1, 'a'"),
        ("a 1\na 2\n", "a repeated piece in line 2, 'a 2'"),
        ("<s>@@ 1\n", "a repeated piece in line 1"),
        ("", "no count in line 1"),
    ],
)
def test_a_dictionary_that_is_none(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "dict.txt").write_text(text)
    with pytest.raises(CheckpointError, match=f"must hold a symbol and its count in each line.*found {found}"):
        read_dictionary(tmp_path / "dict.txt")


def test_a_dictionary_as_fairseq_reads_it(tmp_path: Path) -> None:
    lines = ["a@@ 3", "\u2028 2", "b c 2", "a 1", "a@@ 1 #fairseq:overwrite", "@@ 1"]
    (tmp_path / "dict.txt").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    vocab = read_dictionary(tmp_path / "dict.txt")
    specials = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    assert vocab == specials | {"a": 8, "\u2028</w>": 5, "b c</w>": 6, "a</w>": 7, "": 9}
    (tmp_path / "dict.txt").write_bytes(b"\xff 1\n")
    with pytest.raises(CheckpointError, match="must be a readable UTF-8 file"):
        read_dictionary(tmp_path / "dict.txt")


# What cannot be converted.


class Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def test_a_hostile_checkpoint_is_named_and_does_not_run(
    tmp_path: Path, model: transformers.BioGptForCausalLM, capsys: pytest.CaptureFixture[str]
) -> None:
    marker, source = tmp_path / "it-ran", pickled(model, tmp_path / "old")
    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    torch.save(state | {"harm": Touch(marker)}, source / "pytorch_model.bin")
    assert main(["convert", str(source), str(tmp_path / "new")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        r"minibiogpt: error: .*pytorch_model.bin must hold tensors .* found the name 'posix.mkdir'; .*\n", captured.err
    )
    assert names(tmp_path) == ["old"]
    fairseq = fairseq_folder(
        model, tmp_path / "fairseq", args=argparse.Namespace(**fairseq_settings(model)), x=Touch(marker)
    )
    convert(fairseq, tmp_path / "new")
    assert_loads(tmp_path / "new", model)
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - the pickle runs: loaded twice, its second mkdir fails
        [torch.load(fairseq / "checkpoint.pt", weights_only=False) for _ in range(2)]
    assert marker.exists()


def with_changes(folder: Path, **changes: Any) -> Path:
    content = torch.load(folder / "checkpoint.pt", weights_only=False)
    content["model"].update(changes.pop("tensors", {}))
    torch.save(content | changes, folder / "checkpoint.pt")
    return folder


def test_other_architectures_are_refused(tmp_path: Path, model: transformers.BioGptForCausalLM) -> None:
    args = argparse.Namespace(**fairseq_settings(model))
    source = fairseq_folder(model, tmp_path / "old", args=args)

    def refused(message: str, **changes: Any) -> None:
        with pytest.raises(CheckpointError, match=message):
            convert(with_changes(source, **changes), tmp_path / "new")
        assert names(tmp_path) == ["old"]

    refused(
        "one of the activations gelu, relu, .*; found 'tanh'",
        args=argparse.Namespace(**fairseq_settings(model) | {"activation_fn": "tanh"}),
    )
    refused(
        "hidden_size must be divisible by num_attention_heads.*put the right config.json beside",
        args=argparse.Namespace(**fairseq_settings(model) | {"decoder_attention_heads": 2}),
    )
    refused("one of the activations .*; found list", args=argparse.Namespace(activation_fn=[]))
    refused("heads must be known; found no setting for it", args=argparse.Namespace(decoder_attention_heads=10**5000))
    refused("must have BioGPT's architecture; found also layernorm_embedding.weight", args=args,
            tensors={"decoder.layernorm_embedding.weight": torch.ones(21)})  # fmt: skip
    refused("nothing but fairseq's decoder under 'model'; found encoder.version",
            tensors={"encoder.version": torch.ones(1)})  # fmt: skip
    refused("must hold BioGPT's matrices embed_tokens.weight", model={"decoder.layers.0.fc1.weight": torch.ones(2, 2)})
    refused("must name its tensors in printable ASCII", model={"decoder.\x1b[2J": torch.ones(1)})
    refused("must name its tensors in printable ASCII", model={10**5: torch.ones(1)})
    refused("found no tensors, only nothing", model={10**5000: torch.ones(1)})  # a key of more than 31 bits is ignored
    refused("must hold a state dict, {name: tensor}; found no tensors, only nothing", model={10**5000: 1})
    refused("must hold a state dict, {name: tensor}; found no tensors, only 'decoder.version'",
            model={"decoder.version": 3})  # fmt: skip


def test_wrong_shapes_are_one_report_and_nothing_is_written(
    tmp_path: Path, model: transformers.BioGptForCausalLM
) -> None:
    source = pickled(model, tmp_path / "old")

    def corrupt(state: dict) -> None:
        del state["biogpt.layers.0.fc1.bias"]
        state["biogpt.layers.1.fc2.weight"] = state["biogpt.layers.1.fc2.weight"].T
        state["biogpt.layer_norm.bias"] = torch.arange(21)

    resave(source, corrupt)
    wrong = r"no layers.0.fc1.bias, layers.1.fc2.weight \(37, 21\), not \(21, 37\), layer_norm.bias of dtype I64"
    with pytest.raises(CheckpointError, match=f"every tensor of its config, 36 in all; found {wrong}"):
        convert(source, tmp_path / "new")
    resave(source, lambda state: state.update({"layer_norm.weight": torch.ones(21)}))
    with pytest.raises(CheckpointError, match="stored only once, .*; found both names for layer_norm.weight"):
        convert(source, tmp_path / "new")
    resave(source, lambda state: state.pop("layer_norm.weight"))
    (source / "config.json").write_text('{"hidden_size": 0}')
    with pytest.raises(CheckpointError, match="hidden_size must be an integer"):
        convert(source, tmp_path / "new")
    assert names(tmp_path) == ["old"]


def test_a_small_file_does_not_fill_the_disk(tmp_path: Path) -> None:
    """Every matrix is a view of one storage: small in the file, many times larger written out."""
    model = reference.build(**SMALL | {"num_hidden_layers": 12, "intermediate_size": 21})
    source = pickled(model, tmp_path / "old")
    values = torch.ones(67 * 21)
    resave(source, lambda s: s.update({name: values[: x.numel()].view(x.shape) for name, x in s.items()}))
    with pytest.raises(CheckpointError, match="must not be views of one another"):
        convert(source, tmp_path / "new")


def test_targets_and_sources_that_cannot_be(
    tmp_path: Path, model: transformers.BioGptForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, full = pickled(model, tmp_path / "old"), tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("x")
    for target in (full, full / "mine", source):
        with pytest.raises(InputError, match="the folder to write must be new or empty"):
            convert(source, target)
    with pytest.raises(InputError, match="full/mine/new must be writable; found (Not a directory|File exists)"):
        convert(source, full / "mine" / "new")
    with pytest.raises(InputError, match="a checkpoint must be a folder or a file; found no .*nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "new")
    with pytest.raises(CheckpointError, match="must hold pytorch_model.bin, .*; found none of them"):
        convert(full, tmp_path / "new")
    with pytest.raises(CheckpointError, match="found safetensors; they need no conversion: --model .*demo$"):
        convert(DEMO, tmp_path / "new")
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        (full / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match="found checkpoint_best.pt, checkpoint_last.pt; pass the file itself"):
        convert(full, tmp_path / "new")
    (source / "vocab.json").write_text("[]")
    with pytest.raises(CheckpointError, match="vocab.json must hold a JSON object"):
        convert(source, tmp_path / "new")
    (source / "vocab.json").unlink()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device", "model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("minibiogpt.checkpoint.convert.write_tensors", no_space)
        with (
            pytest.warns(UserWarning, match="no vocab.json beside the checkpoint"),
            pytest.raises(InputError, match=r"new must be writable; found No space left .*model.safetensors"),
        ):
            convert(source, tmp_path / "new")
    assert names(tmp_path) == ["full", "old"]
    assert names(full) == ["checkpoint_best.pt", "checkpoint_last.pt", "mine"]
    (tmp_path / "new").mkdir()
    with pytest.warns(UserWarning, match="the model has no tokenizer"):
        convert(source, tmp_path / "new")  # an empty folder is accepted
    assert (tmp_path / "new").stat().st_mode & 0o777 == full.stat().st_mode & 0o777


def test_what_was_written_is_read_again(
    tmp_path: Path, model: transformers.BioGptForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minibiogpt.checkpoint import convert as module

    source, write = pickled(model, tmp_path / "old"), module.write_tensors

    def incomplete(path: Path, tensors: dict) -> None:
        write(path, {name: x for name, x in tensors.items() if name != "biogpt.layer_norm.bias"})

    monkeypatch.setattr(module, "write_tensors", incomplete)
    with pytest.raises(CheckpointError, match="must hold what was written"):
        convert(source, tmp_path / "new")
    assert names(tmp_path) == ["old"]


def test_the_command_says_all_in_json(
    tmp_path: Path, model: transformers.BioGptForCausalLM, capsys: pytest.CaptureFixture[str]
) -> None:
    source = fairseq_folder(model, tmp_path / "old", args=argparse.Namespace(**fairseq_settings(model)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("dict.txt", "bpecodes"):
        (source / name).rename(elsewhere / name)
    line = ["convert", str(source), str(tmp_path / "new")]
    assert main(line) == 2
    assert "found no " in (error := capsys.readouterr().err)
    assert "dict.txt; give their paths with --dict and --bpecodes" in error
    line += ["--dict", str(elsewhere / "dict.txt"), "--bpecodes", str(elsewhere / "bpecodes"), "--dtype", "float16"]
    assert main([*line, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["folder"], facts["dtypes"]) == (str(tmp_path / "new"), ["float16"])
    assert facts["bytes"] == {path.name: path.stat().st_size for path in (tmp_path / "new").iterdir()}


MEASURE = """
import re, sys
from minibiogpt.checkpoint.convert import convert
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
before = peak()
convert(*sys.argv[1:])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read as Linux reports it")
def test_the_weights_are_not_held_in_memory(tmp_path: Path) -> None:
    config = BioGptConfig(**SMALL | {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 16})
    from minibiogpt.catalog.parameters import base_shapes

    state = {f"biogpt.{name}": torch.ones(shape) for name, shape in base_shapes(config).items()}
    source = with_tokenizer(tmp_path / "old")
    config.save_pretrained(source)
    torch.save(state, source / "pytorch_model.bin")
    size = (source / "pytorch_model.bin").stat().st_size
    assert size > 60e6
    line = [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "new")]
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    assert int(run.stdout) < size / 2


@pytest.mark.filterwarnings("default:no vocab.json")
def test_a_file_that_is_no_pickle_of_weights_is_named(
    tmp_path: Path, model: transformers.BioGptForCausalLM, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice never leads back to the same command."""
    torch.save(torch.optim.AdamW(model.parameters()).state_dict(), tmp_path / "optimizer.pt")
    torch.save(model, tmp_path / "whole.bin")
    for name in ("training_args.bin", "scheduler.pt", "rng_state_0.pth", "x.safetensors", "adapter_model.bin"):
        (tmp_path / name).write_bytes(b"x")
    for name, message in {
        "optimizer.pt": "found a file that training wrote beside the weights; pass the file of the weights$",
        "training_args.bin": "found a file that training wrote beside the weights",
        "scheduler.pt": "found a file that training wrote",
        "rng_state_0.pth": "found a file that training wrote",
        "x.safetensors": f"found safetensors; they need no conversion: --model {tmp_path}$",
        "adapter_model.bin": f"found a LoRA adapter; it needs no conversion: --model {tmp_path}$",
        "whole.bin": r"you trust; if it is a model that you saved as a whole, save model.state_dict\(\) instead$",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            convert(tmp_path / name, tmp_path / "new")
    folder = tmp_path / "lightning"
    folder.mkdir()
    shutil.copyfile(tmp_path / "optimizer.pt", folder / "optimizer.pt")
    with pytest.raises(CheckpointError, match="found none of them; check the path"):
        convert(folder, tmp_path / "new")
    torch.save({"state_dict": model.state_dict()}, folder / "last.ckpt")
    (folder / "config.json").write_text(model.config.to_json_string())
    with pytest.raises(
        CheckpointError, match=f"found last.ckpt; .*: minibiogpt convert {folder / 'last.ckpt'} FOLDER$"
    ):
        convert(folder, tmp_path / "new")
    assert main(["convert", str(folder / "last.ckpt"), str(tmp_path / "new")]) == 0
    hint = capsys.readouterr().out.splitlines()[-1]
    assert hint.endswith(f"try: minibiogpt generate --model {tmp_path / 'new'} --tokenizer microsoft/biogpt TEXT")
