"""Targets for the files in a model folder: weights, index, configs, vocabulary, merges."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, InputError
from tools.fuzzing.mutate import KEPT, STRINGS, json_bytes, mutate_bytes, mutate_json, odd_file, odd_value
from tools.fuzzing.supervise import Target

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *"abcdeinorst",
    *(f"{c}</w>" for c in "abcdeinorst.,-"),
    "&",
    "@-@</w>",
    "an",
]
PIECES += ["in</w>", "is</w>", "tr", "drug</w>", "pain</w>"]
MERGES = "a n 90\ni n</w> 80\ni s</w> 70\nt r 60\npa in</w> 50\n"
SIZES: dict[str, Any] = {
    "vocab_size": len(PIECES), "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 12, "max_position_embeddings": 24,
}  # fmt: skip
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "f32", "", None, 7]
TEXTS = ["a drug is in pain.", "tr-an &lt; <pad> 7", "\u00b5\ud800 \0"]
Json = Any


@cache
def seed_files() -> dict[str, bytes]:
    """Return all files of a valid, small model folder as {name: content}."""
    with tempfile.TemporaryDirectory() as folder:
        BioGptForCausalLM.from_config(BioGptConfig(**SIZES), seed=1).save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    settings = {"padding_side": "left", "model_max_length": 24, "unk_token": {"content": "<unk>", "lstrip": False}}
    generation = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "max_new_tokens": 4, "num_beams": 1}
    generation |= {"do_sample": False, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "suppress_tokens": [4, 5]}
    texts: dict[str, Json] = {
        "vocab.json": {piece: i for i, piece in enumerate(PIECES)},
        "tokenizer_config.json": settings | {"tokenizer_class": "BioGptTokenizer", "eos_token": "</s>"},
        "generation_config.json": generation,
    }
    return files | {name: json.dumps(value).encode() for name, value in texts.items()} | {"merges.txt": MERGES.encode()}


def write_seed(folder: Path) -> None:
    for name, content in seed_files().items():
        (folder / name).write_bytes(content)


def _make(name: str, corrupt: Callable[[Random, bytes], bytes], rng: Random, folder: Path) -> dict[str, Json]:
    """Write the valid folder with one file corrupted: its content, or the kind of file."""
    write_seed(folder)
    if rng.random() < 0.04:
        odd_file(rng, folder / name)
    else:
        (folder / name).write_bytes(corrupt(rng, seed_files()[name]))
    if name == "vocab.json" and rng.random() < 0.5:
        (folder / "config.json").unlink()  # it limits the number of pieces
    return {"dtype": rng.choice(["float32", "float64"]), "text": rng.choice(TEXTS)}


def _corrupted_json(rng: Random, content: bytes) -> bytes:
    return json_bytes(rng, mutate_json(rng, json.loads(content)))


def _corrupted_config(rng: Random, content: bytes) -> bytes:
    """Give random fields odd values, or change only fields that do not affect sizes."""
    config = json.loads(content)
    if rng.random() < 0.3:
        harmless = {
            "eos_token_id": [None, [], [2, 3], 0], "pad_token_id": [None, 2], "use_cache": [False],
            "hidden_act": ["relu", "selu", "gelu_new"], "scale_embedding": [False], "return_dict": [False],
            "output_attentions": [True], "output_hidden_states": [True], "num_attention_heads": [1, 4, 8],
            rng.choice(STRINGS): [odd_value(rng)], "dtype": [odd_value(rng)], "architectures": [odd_value(rng)],
        }  # fmt: skip
        config |= {key: rng.choice(harmless[key]) for key in rng.sample(sorted(harmless), rng.choice([1, 2, 5]))}
        return json_bytes(rng, config)
    if rng.random() < 0.05:  # names of classes: a million, none that can be printed, or with one hash
        config |= rng.choice(
            [
                {"num_labels": rng.choice([10**5, 10**6, 2**40, "@long"])},
                {"id2label": {rng.choice(["9" * 5000, "-1", "0"]): rng.choice(["@long", "x" * 10**6, 1e300])}},
                {"id2label": {str(i * (2**61 - 1)): "x" for i in range(30_000)}},
            ]
        )
    for key in rng.sample(sorted(config), rng.choice([1, 1, 2, 3])):
        config[key] = rng.choice([odd_value(rng), rng.choice([1, 2, 3, 4, 6, 10**6, 10**9, 10**12, 2**62])])
    return json_bytes(rng, config if rng.random() < 0.8 else mutate_json(rng, config))


def corrupted_weights(rng: Random, content: bytes) -> bytes:
    """Return a safetensors file with changed bytes, header length or header fields."""
    size = int.from_bytes(content[:8], "little")
    kind = rng.random()
    if kind < 0.1:
        at = rng.randrange(8 + size, len(content))
        return content[:at] + rng.randbytes(1) + content[at + 1 :]
    if kind < 0.4:
        return mutate_bytes(rng, content, head=8 + size)
    if kind < 0.5:
        length = rng.choice([0, 1, size - 1, size + 1, len(content), 10**8, 10**8 + 1, 2**31, 2**63, 2**64 - 1])
        return length.to_bytes(8, "little") + content[8:]
    header = json.loads(content[8 : 8 + size])
    for _ in range(rng.choice([1, 1, 2])):
        _corrupt_header(rng, header)
    return _with_header(rng, json_bytes(rng, header), content[8 + size :])


def _with_header(rng: Random, text: bytes, data: bytes) -> bytes:
    if rng.random() < 0.02:
        text = text.ljust(rng.choice([2**20, 3 * 10**7]))  # the format allows trailing spaces
    length = len(text) + (rng.choice([-1, 1, 8]) if rng.random() < 0.05 else 0)
    return length.to_bytes(8, "little", signed=True) + text + data


def _corrupt_header(rng: Random, header: dict[str, Json]) -> None:
    name = rng.choice(sorted(header))
    entry = header[name]
    if rng.random() < 0.03:  # names of megabytes, or very many tensors
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        names = rng.choice(
            [[f"{'a.' * 300_000}{i}" for i in range(9)], [f"t{i}" for i in range(60_000)], ["module." * 10**5]]
        )
        header |= dict.fromkeys(names, empty)
        return
    whole = isinstance(entry, dict) and all(isinstance(entry.get(key), list) for key in ("shape", "data_offsets"))
    if not whole or len(entry["data_offsets"]) < 2 or rng.random() < 0.2:
        header[rng.choice([name, "__metadata__"])] = mutate_json(rng, entry)
        return
    edit = rng.randrange(7)
    if edit == 0:
        entry["dtype"] = rng.choice(DTYPES)
    elif edit == 1:
        entry["shape"] = rng.choice(
            [[], [0], entry["shape"][::-1], [*entry["shape"], 1], [2**32, 2**32], [-1], [2**63]]
        )
    elif edit == 2:
        entry["data_offsets"] = rng.choice([[0, 0], [8, 0], [0, 2**63], [-8, 8], [0, entry["data_offsets"][1]]])
    elif edit == 3:
        header[rng.choice([f"biogpt.{name}", name.removeprefix("biogpt."), "x", "", "\ud800", "\n"])] = header.pop(name)
    elif edit == 4:
        del header[name]
    elif edit == 5:
        _change_all_dtypes(rng, header)
    else:
        header[f"{name}.{rng.choice(['x', '', '🧬'])}"] = copy.deepcopy(entry)


def _change_all_dtypes(rng: Random, header: dict[str, Json]) -> None:
    """Give every tensor the same dtype, so that the file may still be consistent."""
    dtype = rng.choice(DTYPES)
    for entry in header.values():
        if isinstance(entry, dict) and "dtype" in entry:
            entry["dtype"] = dtype


def _make_index(rng: Random, folder: Path) -> dict[str, Json]:
    """Write two shards and an index, with the index, a shard or a kind of file corrupted."""
    write_seed(folder)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).unlink()
    names = _split(folder, content)
    index = {"metadata": {"total_size": len(content)}, "weight_map": names}
    kind = rng.random()
    if kind < 0.2:
        file = folder / rng.choice(SHARDS)
        file.write_bytes(corrupted_weights(rng, file.read_bytes()))
    elif kind < 0.5:
        elsewhere = [
            f"../{KEPT}/kept",
            f"../{KEPT}/{SHARDS[0]}",
            str(folder.parent / KEPT / "kept"),
            "..",
            "",
            "x\0.safetensors",
        ]
        elsewhere += ["\ud800.safetensors", "A" * 400 + ".safetensors", "sub/model.safetensors", ".\\x.safetensors"]
        elsewhere += ["config.json", "absent.safetensors", "linked.safetensors", SHARDS[0], SHARDS[1]]
        (folder.parent / KEPT).mkdir(exist_ok=True)
        (folder.parent / KEPT / SHARDS[0]).write_bytes((folder / SHARDS[0]).read_bytes())
        for name in rng.sample(sorted(names), rng.choice([1, 3])):
            names[name] = rng.choice(elsewhere)
    elif kind < 0.9:
        index = mutate_json(rng, index)
    (folder / INDEX).write_bytes(json_bytes(rng, index))
    if kind > 0.9:
        odd_file(rng, folder / rng.choice([INDEX, *SHARDS]))
    return {"dtype": "float32", "text": "a"}


def _split(folder: Path, content: bytes) -> dict[str, str]:
    """Write half of the tensors to each shard; return {name: file}."""
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    names = sorted(name for name in header if name != "__metadata__")
    for half, file in enumerate(SHARDS):
        part, body = {}, b""
        for name in names[half::2]:
            begin, end = header[name]["data_offsets"]
            part[name] = header[name] | {"data_offsets": [len(body), len(body) + end - begin]}
            body += data[begin:end]
        text = json.dumps(part).encode()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + body)
    return {name: SHARDS[i % 2] for i, name in enumerate(names)}


def _corrupted_vocab(rng: Random, content: bytes) -> bytes:
    vocab: Json = json.loads(content)
    kind = rng.random()
    if kind < 0.2:
        vocab = {piece: i + rng.choice([1, 10**9, 2**31, 2**63]) for piece, i in vocab.items()}
    elif kind < 0.3:
        vocab[rng.choice(sorted(vocab))] = rng.choice([10**9, 2**63, 10**30, 7, 7.0, "7"])
    elif kind < 0.5:
        ids = rng.sample(sorted(vocab.values()), len(vocab))
        vocab = {piece: i for piece, i in zip(vocab, ids, strict=True) if len(piece) > 1 or rng.random() < 0.9}
    elif kind < 0.6:
        vocab |= {rng.choice(["", " ", "\ud800", "a b", "\n", "A" * 9999, "\0", "</w>"]): len(vocab)}
    else:
        vocab = mutate_json(rng, vocab)
    return json_bytes(rng, vocab)


def _corrupted_merges(rng: Random, content: bytes) -> bytes:
    kind = rng.random()
    if kind < 0.5:
        return mutate_bytes(rng, content)
    if kind < 0.6:
        return rng.choice([b"a " * 10**6, b"a" * 10**7, b"\n" * 10**6, b"", b"#version: 0.2\n" + content, b"\r\n" * 99])
    blank, end = rng.choice([" ", "\t", "\u00a0", "\u3000", "\x1c"]), rng.choice(["\n", "\r\n", "\r", "\u2028", "\x85"])
    odd = ["", "a", "a  n", "a n 1 2 3", "\ud800 a", "\0 a", "</w> </w>", "a" * 5000 + " n", "n a", "an an"]
    lines = [line.replace(" ", blank) for line in content.decode().split("\n")]
    return end.join([*lines, *rng.sample(odd, 3), *lines]).encode("utf-8", "surrogatepass")


def _make_adapter(rng: Random, folder: Path) -> dict[str, Json]:
    """Write a model and a LoRA adapter for it, with the adapter's settings or tensors corrupted."""
    (folder / "base").mkdir()
    write_seed(folder / "base")
    sizes = json.loads((folder / "base" / "config.json").read_text())
    width, names = sizes["hidden_size"], [f"biogpt.layers.0.self_attn.{part}_proj" for part in "qv"]
    tensors = {f"base_model.model.{name}.lora_A.weight": np.ones((2, width), np.float32) for name in names}
    tensors |= {f"base_model.model.{name}.lora_B.weight": np.ones((width, 2), np.float32) / 9 for name in names}
    settings: Json = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
    settings |= {"base_model_name_or_path": "base", "rank_pattern": {}, "bias": "none", "modules_to_save": None}
    settings |= {"layers_to_transform": [0], "exclude_modules": r".*fc\d", "alpha_pattern": {"q_proj": 3}}
    weights = safetensors.numpy.save(tensors)
    if rng.random() < 0.25:  # expressions that can be matched in very many ways
        slow = [".*" * 10 + "Z", ".?" * 32 + "Z", "(.|.)" * 31 + "Z", "(.*)*Z", ".+" * 9 + "Z", "(a|" * 500 + ")" * 500]
        names = ["target_modules", "exclude_modules", "layers_pattern", "modules_to_save"]
        settings |= {name: rng.choice(slow) for name in rng.sample(names, rng.choice([1, 2]))}
        settings |= rng.choice([{}, {"rank_pattern": {rng.choice(slow): 2}}])
        settings |= rng.choice([{}, {"alpha_pattern": {f"(q|k){i}": 2 for i in range(20_000)}}])
    elif rng.random() < 0.7:
        settings = mutate_json(rng, settings)
    else:
        weights = corrupted_weights(rng, weights)
    (folder / "adapter_config.json").write_bytes(json_bytes(rng, settings))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return {"dtype": "float32", "text": "a"}


def _load_model(folder: Path, case: dict[str, Json]) -> None:
    """Load, generate, save, load again: the parameters must be equal."""
    model = BioGptForCausalLM.from_pretrained(folder, dtype=case["dtype"])
    assert model.num_parameters() > 0
    assert repr(model)
    model.generate([[2, 3, 4]], max_new_tokens=2, use_cache=case["dtype"] == "float32")
    model.save_pretrained(folder / "saved")
    again = dict(BioGptForCausalLM.from_pretrained(folder / "saved", dtype=case["dtype"]).named_parameters())
    for name, x in model.named_parameters():
        assert np.array_equal(again[name], x), name


def _load_tokenizer(folder: Path, case: dict[str, Json]) -> None:
    """Load, encode, decode, save: the vocabulary must be equal."""
    tokenizer = BioGptTokenizer.from_pretrained(folder)
    text = case["text"]
    ids = tokenizer([text, "a"], padding=True, return_offsets=True)["input_ids"]
    tokenizer.batch_decode(ids, skip_special_tokens=True)
    tokenizer(text, truncation=True, padding="max_length", max_length=9)
    vocab, _ = tokenizer.save_vocabulary(folder / "saved")
    assert json.loads(Path(vocab).read_text(encoding="utf-8")) == tokenizer.vocab


def _load_both(folder: Path, case: dict[str, Json]) -> None:
    """Load the tokenizer, which also reads config.json, then the model."""
    with contextlib.suppress(InputError):
        BioGptTokenizer.from_pretrained(folder)
    _load_model(folder, case)


def _target(name: str, share: int, file: str, corrupt: Any, run: Any) -> Target:
    return Target(name, share, partial(_make, file, corrupt), run, lambda case: ("saved",))


TARGETS = (
    _target("weights", 12, WEIGHTS, corrupted_weights, _load_model),
    Target("index", 8, _make_index, _load_model, lambda case: ("saved",)),
    Target("adapter", 8, _make_adapter, _load_model, lambda case: ("saved",)),
    _target("config", 12, "config.json", _corrupted_config, _load_both),
    _target("generation_config", 3, "generation_config.json", _corrupted_json, _load_model),
    _target("tokenizer_config", 7, "tokenizer_config.json", _corrupted_json, _load_tokenizer),
    _target("vocab", 8, "vocab.json", _corrupted_vocab, _load_tokenizer),
    _target("merges", 6, "merges.txt", _corrupted_merges, _load_tokenizer),
)
