"""Files of quantized weights that are wrong in one way: each is one error that says what, and none loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, CheckpointError

IDS = [[2, 34, 8, 10, 7]]
NAME = "biogpt.layers.1.fc1.weight"
STATE = f"{NAME}.quant_state.bitsandbytes__nf4"
KINDS: dict[str, dict[str, Any]] = {
    "double": {"quantization": "nf4"},
    "plain": {"quantization": "nf4", "double_quant": False},
    "int8": {"quantization": "int8"},
    "q8_0": {"quantization": "q8_0"},
    "q4_0": {"quantization": "q4_0"},
}
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a small model of one kind."""
    sizes = {"vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BioGptConfig(**sizes, intermediate_size=96, max_position_embeddings=24)

    @cache
    def of(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        BioGptForCausalLM.from_config(config, seed=3).save_pretrained(folder / "floats")
        BioGptForCausalLM.from_pretrained(folder / "floats", **KINDS[kind]).save_pretrained(folder / "packed")
        return folder / "packed"

    return of


def without(end: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[NAME + end]

    return change


def changed(end: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], None]:
    """Return a function that changes the tensor whose name ends in ``end``; ".SCB" is beside the weight."""

    def apply(tensors: Tensors) -> None:
        name = NAME.replace(".weight", end) if end in (".SCB", ".weight_format") else NAME + end
        tensors[name] = np.ascontiguousarray(change(tensors[name]))

    return apply


def holding(value: float, place: int = 3) -> Callable[[np.ndarray], np.ndarray]:
    def put(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x.reshape(-1)[place] = value
        return x

    return put


def state(**changes: Any) -> Callable[[Tensors], None]:
    """Return a function that changes fields of the quant_state; None removes one."""

    def apply(tensors: Tensors) -> None:
        values = json.loads(tensors[STATE].tobytes()) | changes
        text = json.dumps({key: value for key, value in values.items() if value is not None})
        tensors[STATE] = np.frombuffer(text.encode(), np.uint8).copy()

    return apply


def text(raw: bytes) -> Callable[[Tensors], None]:
    def apply(tensors: Tensors) -> None:
        tensors[STATE] = np.frombuffer(raw, np.uint8).copy()

    return apply


def two_states(tensors: Tensors) -> None:
    tensors[STATE.replace("nf4", "fp4")] = tensors[STATE]


def overflowing(tensors: Tensors) -> None:
    state(nested_offset=3e38)(tensors)
    changed(".nested_absmax", holding(3e38, 0))(tensors)
    changed(".absmax", holding(255))(tensors)


def no_scb(tensors: Tensors) -> None:
    del tensors[NAME.replace(".weight", ".SCB")]


def no_weight_format(tensors: Tensors) -> None:
    del tensors[NAME.replace(".weight", ".weight_format")]


def huge_offset(tensors: Tensors) -> None:
    state(nested_offset=12345)(tensors)
    text(tensors[STATE].tobytes().replace(b"12345", b"1e400"))(tensors)


def other_kind(tensors: Tensors) -> None:
    tensors[STATE.replace("nf4", "nf3")] = tensors.pop(STATE)


def scale(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that replaces the scale of the first block of GGUF's bytes."""

    def put(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[0, :2] = np.float16([value]).view(np.uint8)
        return x

    return put


# What is wrong, the kind of model, the change, and what the error says.
CASES: list[tuple[str, str, Callable[[Tensors], None], str]] = [
    ("too few bytes", "double", changed("", lambda x: x[:-1]), "3072 bytes in .* of shape .96, 64.; found 3071"),
    ("too many bytes", "plain", changed("", lambda x: np.append(x, x[:1], 0)), "3072 bytes in .*; found 3073"),
    ("codes of wider numbers", "plain", changed("", lambda x: x.astype(np.float32)), "3072 bytes in .*; found 12288"),
    ("no codes", "plain", changed("", lambda x: x[:0]), "with 3072 bytes .* found 0"),
    ("no absmax", "double", without(".absmax"), "found no layers.1.fc1.weight.absmax; save the model again"),
    ("no quant_map", "plain", without(".quant_map"), "found no layers.1.fc1.weight.quant_map"),
    ("no nested_absmax", "double", without(".nested_absmax"), "found no layers.1.fc1.weight.nested_absmax"),
    ("no nested_quant_map", "double", without(".nested_quant_map"), "found no layers.1.fc1.weight.nested_quant_map"),
    ("no quant_state", "double", without(".quant_state.bitsandbytes__nf4"), "weights quantized by bitsandbytes"),
    ("absmax too short", "double", changed(".absmax", lambda x: x[:-1]), "96 numbers in layers.1.fc1.weight.absmax"),
    ("absmax of other numbers", "double", changed(".absmax", lambda x: x.astype(np.int8)), "absmax of U8; found I8"),
    ("absmax of integers", "plain", changed(".absmax", lambda x: x.astype(np.int32)), "absmax of F32 or .*found I32"),
    ("absmax NaN", "plain", changed(".absmax", holding(np.nan)), "absmax of layers.1.fc1.weight .* finite numbers"),
    ("absmax infinite", "plain", changed(".absmax", holding(np.inf)), "absmax of layers.1.fc1.weight .* finite"),
    ("nested_absmax NaN", "double", changed(".nested_absmax", holding(np.nan, 0)), "nested_absmax of .* finite"),
    ("nested numbers that overflow", "double", overflowing, "^absmax of layers.1.fc1.weight .* finite numbers"),
    ("nested_absmax too long", "double", changed(".nested_absmax", lambda x: x.repeat(2)), "1 numbers in .*; found 2"),
    ("nested_quant_map infinite", "double", changed(".nested_quant_map", holding(-np.inf)), "quant_map of .* finite"),
    ("nested_quant_map of 16", "double", changed(".nested_quant_map", lambda x: x[:16]), "256 numbers in .*; found 16"),
    ("quant_map of zeros", "plain", changed(".quant_map", np.zeros_like), "quant_map of .* the 16 numbers of nf4"),
    ("quant_map reversed", "double", changed(".quant_map", lambda x: x[::-1]), "must be the 16 numbers of nf4"),
    ("quant_map NaN", "double", changed(".quant_map", holding(np.nan)), "must be the 16 numbers of nf4"),
    ("quant_map of 256", "double", changed(".quant_map", lambda x: x.repeat(16)), "16 numbers in .*; found 256"),
    ("two quant_states", "double", two_states, "with one quant_state of nf4 or fp4; found"),
    ("a quant_state of nf3", "double", other_kind, "with one quant_state of nf4 or fp4; found '.*nf3'"),
    ("quant_state empty", "double", text(b""), "with JSON in quant_state; found no JSON"),
    ("quant_state not JSON", "double", text(b"\xff\xfe{"), "with JSON in quant_state; found no JSON"),
    ("quant_state deep", "double", text(b"[" * 100_000), "with JSON in quant_state; found no JSON"),
    ("quant_state a list", "double", text(b"[]"), "with a quant_state that describes them; found no object"),
    ("another quant_type", "double", state(quant_type="fp4"), "found quant_type 'fp4'"),
    ("a negative shape", "double", state(shape=[-96, -64]), r"found shape \[-96, -64\]"),
    ("a large shape", "double", state(shape=[2**31 - 1, 2**31 - 1]), "bytes in .*; found 3072"),
    ("a huge shape", "double", state(shape=[2**31, 1]), r"found shape \[2147483648, 1\]"),
    ("a shape of a thousand digits", "double", state(shape=[10**1000, 1]), r"found shape \[1000000"),
    ("a shape of floats", "double", state(shape=[96.0, 64.0]), r"found shape \[96.0, 64.0\]"),
    ("a shape of truth", "double", state(shape=[True, 6144]), r"found shape \[True, 6144\]"),
    ("one axis", "double", state(shape=[6144]), r"found shape \[6144\]"),
    ("the shape of another weight", "double", state(shape=[64, 96]), r"layers.1.fc1.weight \(64, 96\), not \(96, 64\)"),
    ("blocks of 63", "double", state(blocksize=63), "found blocksize 63"),
    ("blocks of 0", "double", state(blocksize=0), "found blocksize 0"),
    ("blocks of 32", "double", state(blocksize=32), "192 numbers in layers.1.fc1.weight.absmax .*; found 96"),
    ("blocks of text", "double", state(blocksize="64"), "found blocksize '64'"),
    ("no blocksize", "double", state(blocksize=None), "found blocksize None"),
    ("rounded to int8", "double", state(dtype="int8"), "found dtype 'int8'"),
    ("an offset of text", "double", state(nested_offset="0.1"), "found nested_offset '0.1'"),
    ("an offset of NaN", "double", state(nested_offset=float("nan")), "found nested_offset nan"),
    ("an offset of 1e400", "double", huge_offset, "found nested_offset inf"),
    ("an offset beyond float32", "double", state(nested_offset=1e39), "found nested_offset 1e[+]39"),
    ("no offset", "double", state(nested_offset=None), "found nested_offset None"),
    ("groups of 0", "double", state(nested_blocksize=0), "found nested_blocksize 0"),
    ("groups of 2^62", "double", state(nested_blocksize=2**62), "found nested_blocksize 4611686018427387904"),
    ("groups of 32", "double", state(nested_blocksize=32), "with 3 numbers in .*nested_absmax .*; found 1"),
    ("SCB too short", "int8", changed(".SCB", lambda x: x[:-1]), "for each of 96 rows; found SCB F32 .95"),
    ("SCB NaN", "int8", changed(".SCB", holding(np.nan)), "SCB of layers.1.fc1.weight .* from 0 to 2e.36"),
    ("SCB too large", "int8", changed(".SCB", holding(3e36)), "SCB of layers.1.fc1.weight .* numbers from 0 to"),
    ("SCB negative", "int8", changed(".SCB", holding(-1)), "SCB of layers.1.fc1.weight .* from 0 to"),
    ("SCB of integers", "int8", changed(".SCB", lambda x: x.astype(np.int64)), "found SCB I64"),
    ("int8 of floats", "int8", changed("", lambda x: x.astype(np.float32)), r"I8 .out, in.; found F32 \(96, 64\)"),
    ("int8 of one axis", "int8", changed("", lambda x: x.reshape(-1)), r"I8 .out, in.; found I8 \(6144,\)"),
    ("weight_format 1", "int8", changed(".weight_format", lambda x: x + np.uint8(1)), "weight_format other than 0"),
    ("weight_format empty", "int8", changed(".weight_format", lambda x: np.uint8([])), "weight_format other than"),
    ("no SCB", "int8", no_scb, "quantized by bitsandbytes"),
    ("q8_0 cut", "q8_0", changed("", lambda x: x[:, :-1]), "blocks of 34 bytes, as q8_0 of GGUF has them; found shape"),
    ("q8_0 NaN", "q8_0", changed("", scale(np.nan)), "scales of layers.1.fc1.weight .* must be finite numbers"),
    ("q8_0 of one axis", "q8_0", changed("", lambda x: x.reshape(-1)), "blocks of 34 bytes"),
    ("q8_0 of fewer rows", "q8_0", changed("", lambda x: x[:-1]), r"layers.1.fc1.weight \(95, 64\), not \(96, 64\)"),
    ("q4_0 cut", "q4_0", changed("", lambda x: x[:, :-1]), "blocks of 18 bytes, as q4_0 of GGUF has them; found shape"),
    ("q4_0 infinite", "q4_0", changed("", scale(np.inf)), "scales of layers.1.fc1.weight .* must be finite numbers"),
    ("q4_0 of signed bytes", "q4_0", changed("", lambda x: x.view(np.int8)), "weights quantized by minibiogpt"),
]  # fmt: skip


def write(folder: Path, source: Path, change: Callable[[Tensors], None]) -> None:
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())


@pytest.mark.parametrize(("kind", "change", "said"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_one_error_says_what_is_wrong(
    kind: str, change: Callable[[Tensors], None], said: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    write(tmp_path, saved(kind), change)
    with pytest.raises(CheckpointError, match=said) as caught:
        BioGptForCausalLM.from_pretrained(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert message.count("; ") >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_files_unchanged_load(kind: str, saved: Callable[[str], Path], tmp_path: Path) -> None:
    write(tmp_path, saved(kind), lambda tensors: None)
    assert np.isfinite(BioGptForCausalLM.from_pretrained(tmp_path)(IDS).logits).all()


# What looks odd and means the same: (name, kind, change).
HARMLESS: list[tuple[str, str, Callable[[Tensors], None]]] = [
    ("more axes of absmax", "plain", changed(".absmax", lambda x: x.reshape(-1, 1))),
    ("more axes of all parts", "double", lambda tensors: [
        changed(end, lambda x: x.reshape(1, -1))(tensors) for end in (".absmax", ".nested_absmax", ".nested_quant_map")
    ] and None),
    ("codes in one row", "plain", changed("", lambda x: x.reshape(1, -1))),
    ("codes as floats of the same bytes", "plain", changed("", lambda x: x.reshape(-1).view(np.float32))),
    ("spaces after the JSON", "double", changed(STATE.removeprefix(NAME), lambda x: np.append(x, np.uint8([32] * 9)))),
    ("a column of SCB", "int8", changed(".SCB", lambda x: x.reshape(-1, 1))),
    ("no weight_format", "int8", no_weight_format),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), [row[1:] for row in HARMLESS], ids=[row[0] for row in HARMLESS])
def test_another_shape_of_the_same_numbers_loads(
    kind: str, change: Callable[[Tensors], None], saved: Callable[[str], Path], tmp_path: Path
) -> None:
    write(tmp_path, saved(kind), change)
    want = BioGptForCausalLM.from_pretrained(saved(kind))(IDS).logits
    np.testing.assert_array_equal(BioGptForCausalLM.from_pretrained(tmp_path)(IDS).logits, want)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "minibiogpt", "format": ["q8_0"]}, "quantized by minibiogpt"),
        ({"quant_method": "minibiogpt", "format": "q9_0"}, "quantized by minibiogpt"),
        ({"quant_method": "minibiogpt", "format": "q4_0"}, "blocks of 18 bytes, as q4_0 of GGUF has them"),
        ({"quant_method": ["minibiogpt"], "format": "q8_0"}, "found "),
        (None, "found quantized weights"),
        ([7], "found quantized weights"),
    ],
)
def test_settings_that_do_not_describe_the_file(
    settings: Any, said: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    write(tmp_path, saved("q8_0"), lambda tensors: None)
    config = json.loads((tmp_path / "config.json").read_text()) | {"quantization_config": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=said):
        BioGptForCausalLM.from_pretrained(tmp_path)
