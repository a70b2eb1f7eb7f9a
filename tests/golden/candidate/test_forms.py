"""Candidates from torch.save, pickles, JSON and raw files; other files are refused by what they are."""

from __future__ import annotations

import collections
import gzip
import io
import json
import pickle
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import InputError
from minibiogpt.files.arrays import write_arrays
from minibiogpt.files.safetensors import read_header
from minibiogpt.golden.candidate.reader import open_candidate
from tests.support.golden_cases import normal
from tools.fuzzing.archives import CALLS

X, IDS = normal(2, 3, 5).astype("f4"), np.arange(6).reshape(2, 3)


def read(path: Path, shapes: Mapping[str, tuple[tuple[int, ...], bool]] | None = None) -> dict[str, np.ndarray]:
    with open_candidate(path, (shapes or {}).get) as tensors:
        return {name: one.decode(one.raw()) for name, one in tensors.items()}


def same(found: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, x in expected.items():
        assert np.array_equal(found[name], x), name
        assert found[name].shape == np.shape(x), name


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ""])
def test_torch_save(tmp_path: Path, zipped: bool, ending: str) -> None:
    t, path = torch.from_numpy(X), tmp_path / f"theirs{ending}"
    content = {
        "logits": t, "turned": t.transpose(0, 2), "half": t.bfloat16(), "ids": torch.from_numpy(IDS), "epoch": "x",
        "hidden_states": (t, t + 1), "past_key_values": [(t, t), (t, t)], "inner": {"fc1": torch.nn.Parameter(t)},
        "numpy": X, "none": None,
    }  # fmt: skip
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read(path)
    same(
        found,
        {
            "logits": X, "turned": X.transpose(2, 1, 0), "half": t.bfloat16().float().numpy(), "ids": IDS,
            "hidden_states[0]": X, "hidden_states[1]": X + 1, "past_key_values[0][0]": X, "past_key_values[0][1]": X,
            "past_key_values[1][0]": X, "past_key_values[1][1]": X, "inner.fc1": X, "numpy": X,
        },
    )  # fmt: skip
    with open_candidate(path) as tensors:
        assert [tensors[name].dtype for name in ("logits", "half", "ids")] == ["float32", "bfloat16", "int64"]


def test_outputs_of_transformers(tmp_path: Path) -> None:
    config = transformers.BioGptConfig(
        vocab_size=30, hidden_size=6, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    model = transformers.BioGptForCausalLM._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(torch.tensor([[2, 5, 9]]), output_hidden_states=True, output_attentions=True, use_cache=True)
    torch.save(output, tmp_path / "output.pt")
    found = read(tmp_path / "output.pt")
    assert np.array_equal(found["logits"], output.logits)
    assert [name for name in found if "hidden" in name or "attentions" in name] == [
        "hidden_states[0]", "hidden_states[1]", "hidden_states[2]", "attentions[0]", "attentions[1]",
    ]  # fmt: skip
    keys = {name: x for name, x in found.items() if name.startswith("past_key_values.") and name.endswith("[1].keys")}
    assert [*keys] == ["past_key_values.layers[1].keys"]
    assert np.array_equal(keys["past_key_values.layers[1].keys"], output.past_key_values[1][0])
    torch.save(output.logits, tmp_path / "logits.pt")
    assert list(read(tmp_path / "logits.pt")) == ["logits"]


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays(tmp_path: Path, protocol: int) -> None:
    content = {
        "a": X, "b": [IDS, {"c": X.astype(">f8")}], "F": np.asfortranarray(X), "scalar": np.float32(2.5),
        "number": 2.5, "numbers": [[1, 2], [3, 4]], "text": "x", "empty": np.zeros((2, 0)), "bool": X > 0,
    }  # fmt: skip
    (tmp_path / "theirs.pkl").write_bytes(pickle.dumps(content, protocol))
    same(
        read(tmp_path / "theirs.pkl"),
        {
            "a": X, "b[0]": IDS, "b[1].c": X, "F": X, "scalar": 2.5, "number": 2.5, "numbers": [[1, 2], [3, 4]],
            "empty": np.zeros((2, 0)), "bool": X > 0,
        },
    )  # fmt: skip


@pytest.mark.parametrize("name", ["theirs", "theirs.bin", "theirs.npz"])
def test_a_pickle_is_known_by_its_start(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"a": X}))
    same(read(tmp_path / name), {"a": X})


def test_json_of_javascript(tmp_path: Path) -> None:
    """JSON.stringify writes a typed array as an object of its indices, and NaN and infinities as null."""
    path, flat = tmp_path / "theirs.json", [float(x) for x in X.reshape(-1)]
    typed = {str(i): x for i, x in enumerate(flat)}
    half = {"0": None, "1": 2, "2": 0.5}
    content = {
        "typed": typed, "logits": {"shape": [2, 3, 5], "data": typed, "dtype": "f32"}, "rows": [half, half],
        "onnx": {"cpuData": typed, "dims": [2, 3, 5], "type": "float32", "size": 30, "dataLocation": "cpu"},
        "holes": [[1.5, None], [None, 2.5]], "nan": {"shape": [2], "data": [None, None]}, "all": [[None, None]],
        "absent": None, "unknown": [None, None], "no array": {"0": 1, "2": 2},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    nan, ignored = np.nan, dict[str, str]()
    with open_candidate(path, ignored=ignored) as tensors:
        found = {name: one.decode(one.raw()) for name, one in tensors.items()}
        assert [tensors[name].dtype for name in ("typed", "logits", "onnx")] == ["float64", "float32", "float32"]
        assert all(("null" in tensors[name].note) == (name in ("rows", "holes", "nan", "all")) for name in tensors)
    expected = {
        "typed": flat, "logits": X, "rows": [[nan, 2, 0.5]] * 2, "onnx": X, "holes": [[1.5, nan], [nan, 2.5]],
        "nan": [nan, nan], "all": [[nan, nan]], "no array.0": 1, "no array.2": 2,
    }  # fmt: skip
    assert list(found) == list(expected)
    for name, x in expected.items():
        assert np.array_equal(found[name], x, equal_nan=True), name
    assert ignored == {"unknown": "only null"}


def test_how_many_digits_numbers_are_written_with(tmp_path: Path) -> None:
    path, x = tmp_path / "theirs.json", X.reshape(-1)
    shortest = [float(str(value)) for value in x]
    rounded = [round(float(value), 3) for value in x]
    path.write_text(json.dumps({"exact": x.tolist(), "shortest": shortest, "rounded": rounded, "ids": [1, 2]}))
    with open_candidate(path) as tensors:
        digits = {name: one.digits for name, one in tensors.items()}
    assert digits["exact"] is None
    assert 7 <= (digits["shortest"] or 0) <= 9
    assert digits["rounded"] == 4
    assert digits["ids"] == 1


@pytest.mark.parametrize("name", ["hidden_states", "attentions", "past_key_values"])
def test_a_tuple_that_is_an_output_of_transformers_has_the_name_of_its_file(tmp_path: Path, name: str) -> None:
    t = torch.from_numpy(X)
    torch.save((t, t), tmp_path / f"{name}.pt")
    assert list(read(tmp_path / f"{name}.pt")) == [f"{name}[0]", f"{name}[1]"]
    torch.save((t, t), tmp_path / "theirs.pt")
    assert list(read(tmp_path / "theirs.pt")) == ["[0]", "[1]"]


def test_objects_beside_arrays_are_said(tmp_path: Path) -> None:
    content = {"logits": torch.from_numpy(X), "layers.0": "x", "c": torch.ones(2, dtype=torch.complex64), "none": None}
    torch.save(content, tmp_path / "theirs.pt")
    ignored: dict[str, str] = {}
    with open_candidate(tmp_path / "theirs.pt", ignored=ignored) as tensors:
        assert list(tensors) == ["logits"]
    assert ignored == {"layers.0": "text", "c": "a tensor that is complex or quantized"}


def test_zip_archives_of_other_tools(tmp_path: Path) -> None:
    """Some write folders, litter, or members without the ending."""
    npy = io.BytesIO()
    np.save(npy, X)
    with zipfile.ZipFile(tmp_path / "theirs.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (("step.0/", b""), ("__MACOSX/._logits", b"x"), ("logits", npy.getvalue())):
            archive.writestr(name, content)
        archive.writestr("step.0/logits.npy", npy.getvalue())
    same(read(tmp_path / "theirs.npz"), {"logits": X, "step.0/logits": X})


def test_the_error_for_a_raw_file_of_halves_names_the_ending(tmp_path: Path) -> None:
    """Also where an odd number of them makes no whole number of float32."""
    for x in (X, X[0]):
        x.astype("<f2").tofile(tmp_path / "logits.bin")
        with open_candidate(tmp_path / "logits.bin", {"logits": (x.shape, False)}.get) as tensors:
            assert tensors["logits"].note.endswith("two for each value: name the file .f16 or .bf16")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    nan = X.tolist()
    nan[0][0][:2] = [float("nan"), float("-inf")]
    content = {
        "logits": X.tolist(), "loss": 2.5, "ids": IDS.tolist(), "note": "text", "nan": nan, "big": [10**30, 1],
        "flat": {"shape": [2, 3, 5], "data": X.reshape(-1).tolist(), "dtype": "float32"},
        "plain": {"shape": [6], "data": IDS.tolist()}, "none": {"shape": [0, 2], "data": []},
        "layers": [{"fc1": [1.5]}, {"fc1": [2.5]}], "step.0": {"logits": [1.0]},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    found = read(path)
    assert np.array_equal(found.pop("nan"), np.array(nan), equal_nan=True)
    same(
        found,
        {
            "logits": X, "loss": 2.5, "ids": IDS, "big": [1e30, 1], "flat": X, "plain": IDS.reshape(-1),
            "none": np.empty((0, 2)), "layers[0].fc1": [1.5], "layers[1].fc1": [2.5], "step.0/logits": [1.0],
        },
    )  # fmt: skip
    with open_candidate(path) as tensors:
        assert {name: tensors[name].dtype for name in ("logits", "ids", "flat")} == {
            "logits": "float64", "ids": "int64", "flat": "float32",
        }  # fmt: skip
        assert "add --precision float32" in tensors["logits"].note
        assert tensors["flat"].note == ""
    path.write_text(json.dumps([[1.0, 2.0]]))
    same(read(path), {"theirs": [[1.0, 2.0]]})


@pytest.mark.parametrize("form", ["x.json", "x.pkl", "x.npz", "x.safetensors", "folder"])
def test_no_form_has_more_arrays_than_the_limit(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, arrays = tmp_path / form, {f"a{i}": X for i in range(3)}
    if form == "folder":
        path.mkdir()
        for name, x in arrays.items():
            np.save(path / name, x)
    elif form == "x.json":
        path.write_text(json.dumps({name: x.tolist() for name, x in arrays.items()}))
    elif form == "x.pkl":
        path.write_bytes(pickle.dumps(arrays))
    else:
        write_arrays(path, arrays)
    monkeypatch.setattr("minibiogpt.golden.candidate.tensor.MAX_ARRAYS", 3)
    same(read(path), arrays)
    monkeypatch.setattr("minibiogpt.golden.candidate.tensor.MAX_ARRAYS", 2)
    with pytest.raises(InputError, match="must have at most 2 arrays; found 3"):
        read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": [[1, 2], [3]]}, "'a' in .* complete array; found lists of 1 and of 2 in one array"),
        ({"a": {"shape": [2], "data": [1, 2, 3]}}, "found 3 numbers for the shape"),
        ({"a": {"shape": [-1], "data": [1]}}, "found a shape that is no list of sizes"),
        ({"a": {"shape": 3, "data": [1, 2, 3]}}, "found a shape that is no list of sizes"),
        ({"a": {"shape": [1], "data": ["x"]}}, "found no numbers for the shape"),
        ({"a": {"shape": [1], "data": [1], "dtype": "O"}}, "must be floats or integers; found dtype 'O'"),
        ({"a": [10**400]}, "a number that float64 cannot represent"),
        ({"a": "text", "b": None, "c": True, "d": [], "e": [True]}, "found JSON without lists of numbers"),
        ({"a.b": [1], "a": {"b": [2]}}, "two arrays of this name"),
    ],
)
def test_json_that_holds_no_arrays(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("ending", "dtype"), [(".f32", "<f4"), (".bin", "<f4"), (".bin", "<f8"), (".f64", "<f8")])
def test_raw_files(tmp_path: Path, ending: str, dtype: str) -> None:
    folder = tmp_path / "theirs"
    (folder / "step.0").mkdir(parents=True)
    (folder / "step.0" / f"logits{ending}").write_bytes(X.astype(dtype).tobytes())
    np.save(folder / "loss.npy", np.float32(2.5))
    (folder / "notes.txt").write_text("x")
    shapes = {"step.0/logits": ((2, 3, 5), False)}
    same(read(folder, shapes), {"loss": 2.5, "step.0/logits": X})
    with open_candidate(folder, shapes.get) as tensors:
        assert tensors["step.0/logits"].note.startswith(
            f"read as raw little-endian {np.dtype(dtype).name} of the shape"
        )
    assert read(folder / "step.0" / f"logits{ending}", {"logits": ((30,), False)})["logits"].shape == (30,)
    other = read(folder, {"step.0/logits": ((7,), False)})["step.0/logits"]
    assert other.ndim == 1, "another size is one axis, and the report says what is expected"
    (folder / "step.0" / f"logits{ending}").write_bytes(b"abc")
    with pytest.raises(InputError, match="3 bytes, no multiple of"):
        read(folder)


def test_raw_integers_and_half_precision(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "position_ids.bin").write_bytes(IDS.astype("<i4").tobytes())
    (folder / "a.bf16").write_bytes((X.view("u4") >> 16).astype("<u2").tobytes())
    (folder / "b.bin").write_bytes(X.astype("<f2").tobytes())
    shapes = {"position_ids": ((2, 3), True), "a": ((2, 3, 5), False), "b": ((2, 3, 5), False)}
    found = read(folder, shapes)
    assert np.array_equal(found["position_ids"], IDS)
    assert np.array_equal(found["a"], (X.view("u4") & 0xFFFF0000).view("f4"))
    with open_candidate(folder, shapes.get) as tensors:
        assert tensors["b"].note == "60 bytes, two for each value: name the file .f16 or .bf16"


def test_a_single_npy_is_named_by_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", X)
    same(read(tmp_path / "logits.npy"), {"logits": X})


def _packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.npy"), io.BytesIO())
    return buffer.getvalue()


FOREIGN = {
    "a GGUF file": b"GGUF\x03\0\0\0" + bytes(99),
    "an ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "a MATLAB file": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(99),
    "a gzip file": gzip.compress(b"x"),
    "a tar archive": _packed("tar"),
    "a text": b"layers.0: 1.0",
    "a table of numbers in text": b"1.0,2.5\n3,-4e-5\n",
    "an HTML page": b"<!DOCTYPE html><html><body>Log in",
    "a text in UTF-16": "x".encode("utf-16"),
    "an empty file": b"",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_refused_by_what_they_are(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(InputError, match=f"found {kind}; save the arrays with") as error:
        read(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=f"must be a complete safetensors file; found {kind}; name a safetensors"):
        read_header(path)


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    path = tmp_path / "theirs.npz"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(InputError, match="found a pointer of Git LFS to the file; run git lfs pull"):
        read(path)


@pytest.mark.parametrize("call", CALLS)
def test_pickles_that_would_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "theirs.pkl"
    path.write_bytes(call)
    with pytest.raises(InputError):
        read(path)
    assert [one.name for one in tmp_path.iterdir()] == ["theirs.pkl"]


def test_pickles_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pkl"
    for content, words in (
        (collections.Counter("ab"), "a pickle with an object of collections.Counter"),
        ("text", "a pickle of a str without any"),
        ({"a": "text"}, "a pickle of a dict without any"),
        ({"a": np.array(["x"])}, "'a' in .* must be floats or integers; found dtype 'U1'"),
        ({"a": np.array([None])}, "must be floats or integers; found Python objects"),
        ({"a": np.zeros(2, "c8")}, "must be floats or integers; found dtype 'c8'"),
        ({"a": np.zeros(2, "f4,f8")}, "must be floats or integers"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=words):
            read(path)


def test_a_pickle_that_holds_one_list_many_times(tmp_path: Path) -> None:
    """Each level holds the one below twice: 2^60 numbers in a hundred bytes, and a list in itself."""
    value: Any = [1.0, 2.0]
    for _ in range(60):
        value = [value, value]
    loop: list[Any] = []
    loop += [loop, {"a": loop}]
    for name, content in (("many", value), ("deep", {"a": [value, None]}), ("loop", {"a": loop})):
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match="values in lists|levels of dicts|must contain arrays"):
            read(tmp_path / f"{name}.pkl")


def test_a_pickle_that_promises_a_long_text_takes_no_memory(tmp_path: Path) -> None:
    """Python's files allocate what is to be read, however little is there."""
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04}X\xff\xff\xff\x7fx")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="must be a complete pickle of arrays; found a broken pickle"):
            read(tmp_path / "x.pkl")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_stated_dtypes_whatever_the_callers_errstate(tmp_path: Path) -> None:
    for dtype in ("float16", "bfloat16"):
        (tmp_path / "x.json").write_text(json.dumps({"x": {"shape": [2], "data": [1e-300, 1.0], "dtype": dtype}}))
        with np.errstate(all="raise"):
            found = read(tmp_path / "x.json")
        assert found["x"].tolist() == [0, 1]
