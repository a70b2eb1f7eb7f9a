"""Files of arrays: the ending decides the format, both are read back by their own libraries."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from minibiogpt import InputError
from minibiogpt.files import arrays as writing
from minibiogpt.files.arrays import write_arrays

ARRAYS = {
    "step.0/layers.0.self_attn.q": np.arange(24.0).reshape(2, 3, 4).swapaxes(1, 2),
    "layers.0": np.float16([[1.5]]),
    "file": np.array(3, dtype="int8"),
    "arr_0": np.array([True, False]),
    "self": np.zeros((0, 3), dtype="uint16"),
    'last {"} é ٣': np.array(7),
}


def test_an_npz_is_read_by_numpy(tmp_path: Path) -> None:
    write_arrays(tmp_path / "new" / "x.npz", ARRAYS, {"lost": "here"})
    with np.load(tmp_path / "new" / "x.npz") as back:
        assert list(back) == list(ARRAYS)
        for name, x in ARRAYS.items():
            assert back[name].dtype == x.dtype
            assert np.array_equal(back[name], x)
            assert back[name].shape == x.shape
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.npz"]


def test_an_npz_has_the_same_bytes_whenever_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arrays(tmp_path / "a.npz", ARRAYS)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000)
    write_arrays(tmp_path / "b.NPZ", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.NPZ").read_bytes()


@pytest.mark.parametrize("name", ["x", "x.safetensors", ".safetensors", "X.SAFETENSORS"])
def test_other_files_are_safetensors(tmp_path: Path, name: str) -> None:
    write_arrays(tmp_path / name, {"a": np.ones(2), "b/c": np.zeros(3, "int64")}, {"key": "text"})
    back = load_file(tmp_path / name)
    assert {key: x.tolist() for key, x in back.items()} == {"a": [1, 1], "b/c": [0, 0, 0]}


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u2", "u1", "?"])
def test_each_dtype_keeps_its_own_name_in_safetensors(tmp_path: Path, dtype: str) -> None:
    write_arrays(tmp_path / "x", {"a": np.array([0, 1], dtype)})
    back = load_file(tmp_path / "x")["a"]
    assert (back.dtype, back.tolist()) == (np.dtype(dtype), [0, 1])


def test_an_npz_may_have_arrays_of_more_than_zip_counts_in_32_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    write_arrays(tmp_path / "x.npz", {"a": np.arange(500)})
    assert np.load(tmp_path / "x.npz")["a"].tolist() == list(range(500))


@pytest.mark.parametrize("name", ["x.npy", "x.pt", "x.json", "x.tar.gz", "x.npz.bak", "a b.txt"])
def test_another_ending_is_refused_with_what_to_write(tmp_path: Path, name: str) -> None:
    stem = Path(name).stem
    with pytest.raises(InputError, match=rf"must end in .safetensors or .npz; found '.*'; write {stem}.safetensors or"):
        write_arrays(tmp_path / name, ARRAYS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 5, "", b"x.npz", ["x.npz"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(InputError, match="the file of arrays must be a path; found"):
        write_arrays(path, ARRAYS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.ones(2, "complex64")},
            "must hold floats, integers or booleans that NumPy has; found 'x' of complex64",
        ),
        ({"x": np.array(["a"])}, "found 'x' of <U1"),
        ({"x": np.array([None])}, "found 'x' of object"),
        ({"x\0y": np.ones(2)}, "must hold no null character"),
        ({"\ud800": np.ones(2)}, "must be valid Unicode"),
    ],
)
def test_what_npz_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        write_arrays(tmp_path / "x.npz", arrays)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_npz_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(path: Path, arrays: Any) -> None:
        path.write_bytes(b"half")
        raise error

    write_arrays(tmp_path / "x.npz", ARRAYS)
    before = (tmp_path / "x.npz").read_bytes()
    monkeypatch.setattr(writing, "_write_npz", half)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        write_arrays(tmp_path / "x.npz", {})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.npz", before)]
