"""Files that would take minutes or gigabytes to read: colliding keys, floods of opcodes, patterns, long names."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from minibiogpt import CheckpointError
from minibiogpt.checkpoint.adapter import Adapter
from minibiogpt.checkpoint.adapter_config import MAX_ENTRIES, MAX_MODULE, MAX_PATTERN
from minibiogpt.checkpoint.torch_archive import PickledTensor, Storage, _checked
from minibiogpt.checkpoint.unpickle import MAX_INTEGER_KEY, MAX_NAME, MAX_OPCODES, NotData, Unpickler

SAME_HASH = 2**61 - 1  # Python's hash of an integer is its remainder, so that of every multiple is 0


def read(pickled: bytes, strict: bool = True) -> Any:
    return Unpickler({}, (), repr, strict=strict).load(io.BytesIO(pickled))


def integer(value: int) -> bytes:
    return b"L%dL\n" % value


@pytest.mark.parametrize("key", [SAME_HASH, 3 * SAME_HASH, -SAME_HASH, MAX_INTEGER_KEY, -MAX_INTEGER_KEY, 1 << 70])
def test_integers_that_can_share_a_hash_are_no_keys(key: int) -> None:
    """Before, 200,000 of them took minutes."""
    pickled = b"}(" + integer(7) + b"N" + integer(key) + b"Nu."
    with pytest.raises(NotData, match="a key of more than 31 bits that is 'int'"):
        read(pickled)
    assert read(pickled, strict=False) == {7: None}
    with pytest.raises(NotData, match="a memo index of more than 31 bits"):
        read(b"Np%d\n." % abs(key))
    with pytest.raises(NotData, match="a memo index of more than 31 bits"):
        read(b"Np-1\n.")


def test_the_keys_of_optimizers_are_kept() -> None:
    keys = [0, 1, -1, -2, MAX_INTEGER_KEY - 1, True]
    assert read(b"}(" + b"".join(integer(key) + b"N" for key in keys) + b"u.") == dict.fromkeys(keys)


@pytest.mark.parametrize("flood", [b"N0", b"(", b"N2", b"\x94", b"]", b")", b"\x85"])
def test_a_flood_of_opcodes_is_refused(flood: bytes) -> None:
    with pytest.raises(NotData, match=f"more than {MAX_OPCODES} opcodes"):
        read(b"N" + flood * MAX_OPCODES + b".")


def test_the_opcodes_of_all_pickles_of_a_file_count() -> None:
    reader, stream = Unpickler({}, (), repr, strict=True), io.BytesIO((b"N0" * (MAX_OPCODES // 3) + b"N.") * 2)
    assert reader.load(stream) is None
    with pytest.raises(NotData, match="opcodes"):
        reader.load(stream)


def test_a_repeated_long_name_is_refused() -> None:
    """Each repetition of two bytes would be a copy of it."""
    name = b"\x8c\xff" + b"m" * 255
    assert read(name + b"\x94\x8c\x01f\x93.", strict=False).full == "m" * 255 + ".f"
    with pytest.raises(NotData, match=f"a name of more than {MAX_NAME} characters"):
        read(name + b"\x94h\0\x93.", strict=False)


def test_a_long_shape_is_refused_by_its_length() -> None:
    class Long(tuple):
        def __iter__(self) -> Any:
            raise AssertionError("a pickle can repeat a long tuple with two bytes")

    with pytest.raises(NotData, match="shape, strides or offset"):
        _checked(PickledTensor(Storage(Path("x"), "F32", 4, 0), 0, Long([1] * 33), Long([1] * 33)))


def adapter(folder: Path, module: str = "layers.0.self_attn.q_proj", **settings: Any) -> Path:
    tensors = {f"base_model.model.biogpt.{module}.lora_{part}.weight": np.ones((2, 2), np.float32) for part in "AB"}
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [module]} | settings
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(
    "pattern",
    [
        ".*" * 10 + "x",
        "a?" * 25 + "a" * 25,
        "(.|.)" * 31 + "Z",
        ".+.+.+.+.+.+ ",
        "a{1,9}" * 9,
        "(b|" * 30 + ")" * 30,
        "a?" * 19 + "|b",
    ],
)
@pytest.mark.parametrize("name", ["target_modules", "exclude_modules", "modules_to_save", "rank_pattern"])
def test_a_pattern_that_can_take_forever_is_refused(tmp_path: Path, pattern: str, name: str) -> None:
    value: Any = {pattern: 3} if name == "rank_pattern" else [pattern] if name == "modules_to_save" else pattern
    with pytest.raises(CheckpointError, match=f"{name} in .* must repeat no group, at most four other parts"):
        Adapter.read(adapter(tmp_path, **{name: value}))


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.layers\.\d+\.self_attn\.(q|k|v|out)_proj",
        r"(?:^|.*\.)(model\.)?layers\.[0-9]+\.(self_attn\.q_proj|fc1|fc2)",
        r".*layers\.(" + "|".join(map(str, range(48))) + r")\..*q_proj", r"[*+{?|(]*.*q_proj",
    ],
)  # fmt: skip
def test_patterns_that_people_write_are_accepted(tmp_path: Path, pattern: str) -> None:
    assert len(Adapter.read(adapter(tmp_path, target_modules=pattern)).changes) == 1


def test_settings_and_names_of_adapters_are_limited(tmp_path: Path) -> None:
    for name in ("target_modules", "rank_pattern", "layers_to_transform"):
        value: Any = [1] * (MAX_ENTRIES + 1) if name[0] == "l" else [f"m{i}" for i in range(MAX_ENTRIES + 1)]
        value = dict.fromkeys(value, 2) if name == "rank_pattern" else value
        with pytest.raises(CheckpointError, match=f"{name} in .* must have at most {MAX_ENTRIES} entries"):
            Adapter.read(adapter(tmp_path, **{name: value}))
    with pytest.raises(CheckpointError, match=f"must be a regular expression of at most {MAX_PATTERN} characters"):
        Adapter.read(adapter(tmp_path, target_modules="a" * (MAX_PATTERN + 1)))
    with pytest.raises(CheckpointError, match="must name each module that the adapter changes; found no biogpt.a.a"):
        Adapter.read(adapter(tmp_path, "a." * MAX_MODULE + "q_proj", target_modules=".*"))
    with pytest.raises(CheckpointError, match="must name its tensors in at most 200 characters"):
        Adapter.read(adapter(tmp_path, "a" * 300, target_modules=".*"))
