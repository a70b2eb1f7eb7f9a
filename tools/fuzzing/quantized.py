"""The target for checkpoints with quantized weights: their tensors, their JSON and the settings in config.json."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy

from minibiogpt import BioGptConfig, BioGptForCausalLM
from minibiogpt.files.safetensors import stored_tensors, widened
from tools.fuzzing.checkpoints import PIECES, WEIGHTS, corrupted_weights
from tools.fuzzing.mutate import json_bytes, mutate_json, odd_value
from tools.fuzzing.supervise import Target

SIZES: dict[str, Any] = {
    "vocab_size": len(PIECES), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 24,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "nf4": {"quantization": "nf4"},
    "nf4 plain": {"quantization": "nf4", "double_quant": False},
    "fp4": {"quantization": "fp4", "skip": ["fc2"]},
    "int8": {"quantization": "int8"},
    "int8-dynamic": {"quantization": "int8-dynamic"},
    "q8_0": {"quantization": "q8_0"},
    "q4_0": {"quantization": "q4_0"},
}
STATE = ".quant_state."
NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-45, 1e-30, 3e38, -3e38, 65504.0, 1e10]
OTHER_DTYPES = [np.float64, np.float32, np.float16, np.int32, np.int64, np.uint8, np.int8, np.bool_]
FIELDS = {  # of a quant_state
    "shape": [[-32, -32], [0, 32], [2**31, 2**31], [2**62, 4], [32.0, 32.0], ["32", "32"], [1024], [32, 32, 1],
              [True, 8], [64, 16], [1, 1024], None, 1024, [10**400, 1]],
    "blocksize": [0, -64, 1, 32, 63, 128, 4096, 2**40, "64", 64.0, None, True, 10**400],
    "nested_blocksize": [0, -1, 1, 2, 255, 2**20, 2**62, "256", 256.0, None, True, 10**400],
    "nested_offset": ["0.1", None, float("nan"), float("inf"), "@infinite", "@long", 3.4e38, 1e39, -0.0, 0,
                      10**400, True, []],
    "nested_dtype": ["float16", None, 7],
    "dtype": ["float16", "bfloat16", "float64", "int8", None, 7, [], "float8_e4m3fn"],
    "quant_type": ["fp4", "nf4", "int8", "", None, 7, []],
}  # fmt: skip


@cache
def seed_files(kind: str) -> dict[str, bytes]:
    """Return the files of a valid model with weights of this kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        BioGptForCausalLM.from_config(BioGptConfig(**SIZES), seed=1).save_pretrained(folder / "floats")
        BioGptForCausalLM.from_pretrained(folder / "floats", **KINDS[kind]).save_pretrained(folder / "packed")
        return {path.name: path.read_bytes() for path in (folder / "packed").iterdir()}


def make(rng: Random, folder: Path) -> dict[str, Any]:
    """Write a model with quantized weights, with its tensors, header or settings corrupted."""
    kind = rng.choice(list(KINDS))
    files = dict(seed_files(kind))
    draw = rng.random()
    if draw < 0.15:
        config = json.loads(files["config.json"])
        _corrupt_settings(rng, config)
        files["config.json"] = json_bytes(rng, config)
    elif draw < 0.3:
        files[WEIGHTS] = corrupted_weights(rng, files[WEIGHTS])
    elif draw < 0.97:
        tensors = safetensors.numpy.load(files[WEIGHTS])
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            _corrupt_tensors(rng, tensors)
        files[WEIGHTS] = safetensors.numpy.save(tensors)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    wanted = rng.choice([None] * 6 + ["int8", "int8-dynamic", "nf4", "q4_0"])
    return {"dtype": rng.choice(["float32", "float32", "float64", "float16"]), "quantization": wanted}


def _corrupt_settings(rng: Random, config: dict[str, Any]) -> None:
    settings = config["quantization_config"]
    if rng.random() < 0.3:
        config["quantization_config"] = rng.choice([odd_value(rng), mutate_json(rng, settings)])
        return
    for key in rng.sample(sorted(settings), rng.choice([1, 2, 3])):
        kinds = ["bitsandbytes", "minibiogpt", "gptq", "nf4", "fp4", "q8_0", "q4_0", "int8", True, False]
        settings[key] = rng.choice([odd_value(rng), rng.choice(kinds), ["fc1"], ["layers.0"], ["\ud800"], [7], {}])


def _corrupt_tensors(rng: Random, tensors: dict[str, np.ndarray]) -> None:
    """Change one part of a quantized weight."""
    packed = {name for name, x in tensors.items() if x.dtype.kind in "iu"}
    parts = [name for name in sorted(tensors) if name in packed or ".weight." in name or name.endswith(".SCB")]
    if not parts:
        return
    name = rng.choice(parts)
    if STATE in name and rng.random() < 0.8:
        _corrupt_state(rng, tensors, name)
        return
    x, edit = tensors[name], rng.randrange(8)
    if edit == 0:
        del tensors[name]
    elif edit == 1:
        flat = x.reshape(-1)
        cut = [flat[:0], flat[:-1], np.append(flat, flat[:1]), flat.repeat(2), flat.reshape(1, -1), flat[:, None], x.T]
        tensors[name] = np.ascontiguousarray(rng.choice(cut))
    elif edit == 2:
        with np.errstate(all="ignore"):
            tensors[name] = x.astype(rng.choice(OTHER_DTYPES))
    elif edit == 3:  # other numbers
        changed = x.reshape(-1).copy()
        for _ in range(min(changed.size, rng.choice([1, 2, 40]))):
            with np.errstate(all="ignore"):
                odd = rng.randrange(-128, 256) if x.dtype.kind in "iu" else rng.choice(NUMBERS)
                changed[rng.randrange(changed.size)] = np.array(odd).astype(x.dtype)
        tensors[name] = changed.reshape(x.shape)
    elif edit == 4:  # other bytes
        size = x.nbytes
        tensors[name] = np.frombuffer(rng.randbytes(size), x.dtype).reshape(x.shape).copy()
    elif edit == 5:
        tensors[rng.choice([f"{name}.x", name.replace("weight", "other"), name.replace("biogpt.", "")])] = x
        if rng.random() < 0.7:
            del tensors[name]
    elif edit == 6:  # that of another weight
        other = rng.choice([one for one in parts if one.rpartition(".")[2] == name.rpartition(".")[2]])
        tensors[name] = tensors[other]
    else:
        module = name.partition(".weight")[0].removesuffix(".SCB")
        ends = ["SCB", "weight_format", "weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__fp4"]
        odd = [np.float32([1, 2]), np.uint8([1]), np.uint8(1), np.zeros(0, np.uint8), np.ones(32, np.float32)]
        tensors[f"{module}.{rng.choice(ends)}"] = np.asarray(rng.choice(odd))


def _corrupt_state(rng: Random, tensors: dict[str, np.ndarray], name: str) -> None:
    """Change the JSON of bitsandbytes, or its text."""
    state: dict[str, Any] = {}
    with suppress(ValueError, TypeError):  # it may be corrupted already
        state |= json.loads(tensors[name].tobytes())
    draw = rng.random()
    if draw < 0.2:
        text = json_bytes(rng, mutate_json(rng, state))
    elif draw < 0.9:
        for key in rng.sample(sorted(FIELDS), rng.choice([1, 1, 2])):
            if rng.random() < 0.15:
                state.pop(key, None)
            else:
                state[key] = rng.choice(FIELDS[key])
        text = json_bytes(rng, state)
    else:
        text = rng.choice([b"", b"{", b"\xff\xfe{", b"[]", b"null", b"{}", tensors[name].tobytes() + b"}", b" " * 99])
    tensors[name] = np.frombuffer(text, np.uint8).copy()
    if rng.random() < 0.05:
        tensors[name] = tensors[name].astype(rng.choice([np.float32, np.int8, np.int64]))


def run(folder: Path, case: dict[str, Any]) -> None:
    """Load the model: its weights must be the numbers that the file stands for; then compute, save and load again."""
    model = BioGptForCausalLM.from_pretrained(folder, dtype=case["dtype"], quantization=case["quantization"])
    got = {name.removeprefix("biogpt."): np.asarray(x, np.float32) for name, x in model.named_parameters()}
    for name, want in expected(folder).items():
        if name in got:
            _assert_close(name, got[name], want, 1e-2)
    assert repr(model)
    ids = [[2, 3, 4, 9]]
    logits = model(ids).logits
    model.generate(ids, max_new_tokens=2)
    model.save_pretrained(folder / "saved")
    again = dict(BioGptForCausalLM.from_pretrained(folder / "saved", dtype=case["dtype"]).named_parameters())
    for name, x in model.named_parameters():
        assert np.array_equal(np.asarray(again[name], np.float32), np.asarray(x, np.float32)), name
    if "int8-dynamic" not in repr(model) and max(float(np.abs(x).max(initial=0)) for x in got.values()) < 2:
        _assert_close("logits", logits, model.dequantize()(ids).logits, 2e-2 if case["dtype"] == "float16" else 1e-3)


def _assert_close(name: str, got: np.ndarray, want: np.ndarray, share: float) -> None:
    assert got.shape == want.shape, f"{name}: {got.shape}, not {want.shape}"
    largest = float(np.abs(want).max(initial=0))
    worst = float(np.abs(got.astype(np.float64) - want).max(initial=0))
    assert worst <= share * largest, f"{name}: {worst} off, of {largest}"


def expected(folder: Path) -> dict[str, np.ndarray]:
    """Return the numbers that the file stands for, by the equations of its formats; only what is complete."""
    stored = {name.removeprefix("biogpt."): x for name, x in stored_tensors(folder).items()}
    tensors = {name: widened(x.mapped(), x.dtype) for name, x in stored.items()}
    settings = BioGptConfig.from_pretrained(folder).extra.get("quantization_config")
    own = settings.get("format") if isinstance(settings, dict) else None
    found = {}
    every = {name.partition(STATE)[0]: name for name in tensors if STATE in name}
    for name, x in tensors.items():
        module = name.removesuffix(".weight")
        if not name.endswith(".weight"):
            continue
        if name in every:
            found[name] = _four_bits(tensors, name, json.loads(tensors[every[name]].tobytes()))
        elif f"{module}.SCB" in tensors:
            found[name] = x.astype(np.float64) * tensors[f"{module}.SCB"].reshape(-1, 1) / 127
        elif own in ("q8_0", "q4_0") and x.dtype == np.uint8:
            found[name] = _blocks(x, own)
    return found


def _four_bits(tensors: dict[str, np.ndarray], name: str, state: dict[str, Any]) -> np.ndarray:
    (rows, columns), block = state["shape"], state["blocksize"]
    halves = tensors[name].reshape(-1).view(np.uint8)
    codes = np.stack([halves >> 4, halves & 15], axis=1).reshape(-1)[: rows * columns]
    scales = tensors[f"{name}.absmax"].reshape(-1)
    if "nested_offset" in state:
        groups = np.repeat(tensors[f"{name}.nested_absmax"].reshape(-1), state["nested_blocksize"])[: scales.size]
        scales = tensors[f"{name}.nested_quant_map"].reshape(-1)[scales] * groups.astype(float) + state["nested_offset"]
    values = tensors[f"{name}.quant_map"].reshape(-1)[codes].astype(np.float64)
    return (values * np.repeat(scales.astype(np.float64), block)[: codes.size]).reshape(rows, columns)


def _blocks(x: np.ndarray, kind: str) -> np.ndarray:
    parts = x.reshape(len(x), -1, 34 if kind == "q8_0" else 18)
    scales = np.ascontiguousarray(parts[:, :, :2]).view(np.float16).astype(np.float64)
    codes = parts[:, :, 2:]
    values = codes.view(np.int8) if kind == "q8_0" else np.concatenate([codes & 15, codes >> 4], axis=2) - 8.0
    return (values * scales).reshape(len(x), -1)


TARGETS = (Target("quantized", 12, make, run, lambda case: ("saved",)),)
