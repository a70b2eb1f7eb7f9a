"""Files of a candidate: every format is read correctly, and a corrupted file is one error that names it."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from minibiogpt import InputError
from minibiogpt.files.safetensors import convert_dtype
from minibiogpt.golden.candidate.npy import MAX_HEADER
from minibiogpt.golden.candidate.reader import open_candidate
from tests.support.golden_cases import normal

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
SHAPES = [(), (3,), (2, 3), (0,), (2, 0, 3), (1, 1, 4)]


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(normal(*shape) * 5).astype(dtype)


def save(form: str, folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / ("theirs" if form == "folder" else f"theirs.{form}")
    if form == "safetensors":
        save_file(arrays, path)
    elif form == "npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif form == "compressed":
        np.savez_compressed(path := folder / "theirs.npz", **arrays)  # type: ignore[arg-type]
    else:
        for name, x in arrays.items():
            (path / f"{name}.npy").parent.mkdir(parents=True, exist_ok=True)
            np.save(path / f"{name}.npy", x)
    return path


@pytest.mark.parametrize("form", ["safetensors", "npz", "compressed", "folder"])
def test_every_form_dtype_and_shape(tmp_path: Path, form: str) -> None:
    arrays = {f"step.0/{dtype}.{i}": values(dtype, shape) for dtype in DTYPES for i, shape in enumerate(SHAPES)}
    with open_candidate(save(form, tmp_path, arrays)) as tensors:
        assert sorted(tensors) == sorted(arrays)
        for name, x in arrays.items():
            one = tensors[name]
            assert (one.name, one.dtype, one.shape) == (name, str(x.dtype), x.shape)
            assert one.is_float is (x.dtype.kind == "f")
            found = one.decode(one.raw())
            assert found.dtype == ("float64" if one.is_float else x.dtype)
            assert np.array_equal(found, x)
            assert np.array_equal(one.decode(one.raw()), x), "read twice"


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_memory_order_and_byte_order(tmp_path: Path, form: str) -> None:
    x, ids = normal(2, 3, 5), np.arange(6).reshape(2, 3)
    arrays = {"F": np.asfortranarray(x), "big": x.astype(">f4"), "both": np.asfortranarray(ids).astype(">i8")}
    with open_candidate(save(form, tmp_path, arrays)) as tensors:
        found = {name: one.decode(one.raw()) for name, one in tensors.items()}
        assert np.array_equal(found["F"], x)
        assert np.array_equal(found["big"], x.astype("f4"))
        assert np.array_equal(found["both"], ids)
        assert found["both"].dtype == np.dtype("int64")
        assert [tensors[name].dtype for name in ("F", "big", "both")] == ["float64", "float32", "int64"]


def test_bfloat16(tmp_path: Path) -> None:
    x = normal(2, 3).astype("f4")
    bits = convert_dtype(x, "F32", "BF16")
    header = json.dumps({"b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    path = tmp_path / "b.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    with open_candidate(path) as tensors:
        one = tensors["b"]
        assert one.dtype == "bfloat16"
        assert np.array_equal(one.decode(one.raw()), (bits.astype("u4") << 16).view("f4"))
        assert np.array_equal(one.decode(one.raw().T), (bits.T.astype("u4") << 16).view("f4"))


def test_files_beside_the_arrays_and_links_out_of_the_folder(tmp_path: Path) -> None:
    folder = save("folder", tmp_path, {"a": normal(2)})
    (folder / "notes.txt").write_text("no array")
    (folder / "deep").mkdir()
    (folder / "deep" / "round").symlink_to(folder)
    with open_candidate(folder) as tensors:
        assert list(tensors) == ["a"]


def npy(header: str | bytes, data: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(2 * version, "little")[: 2 * version] + text + data


GOOD = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n"
CORRUPTED = {
    "nothing": b"",
    "a text": b"1.0 2.0",
    "its magic only": b"\x93NUMPY",
    "truncated in its header": npy(GOOD)[:30],
    "a byte missing": npy(GOOD, b"\0" * 15),
    "an extra value": npy(GOOD, b"\0" * 24),
    "a header of 4 GB": npy(GOOD, b"\0" * 16, 2, 2**32 - 1),
    "a long header": npy(GOOD + " " * MAX_HEADER, b"\0" * 16, 2),
    "an endless shape": npy(GOOD.replace("(2,)", f"({2**62},)"), b"\0" * 16),
    "a shape too large for any number": npy(GOOD.replace("(2,)", f"({10**400},)"), b"\0" * 16),
    "a negative shape": npy(GOOD.replace("(2,)", "(-2, -1)"), b"\0" * 16),
    "many axes": npy(GOOD.replace("(2,)", "(2," + "1," * 40 + ")"), b"\0" * 16),
    "no shape": npy(GOOD.replace("(2,)", "'2'"), b"\0" * 16),
    "a shape of floats": npy(GOOD.replace("(2,)", "(2.0,)"), b"\0" * 16),
    "no dictionary": npy("[1, 2]\n", b"\0" * 16),
    "code": npy("__import__('os').system('true')\n", b"\0" * 16),
    "deep brackets": npy("(" * 3000 + ")" * 3000 + "\n", b"\0" * 16),
    "no Python": npy("{'descr': \n", b"\0" * 16),
    "no text": npy(b"\xff\xfe\x00" * 9, b"\0" * 16),
    "a later version": npy(GOOD, b"\0" * 16, 3),
    "version 0": npy(GOOD, b"\0" * 16)[:6] + b"\0" + npy(GOOD, b"\0" * 16)[7:],
    "an odd dtype": npy(GOOD.replace("<f8", "nonsense"), b"\0" * 16),
}
NOT_NUMERIC = {
    "objects": npy(GOOD.replace("<f8", "|O"), b"\0" * 16),
    "complex": npy(GOOD.replace("<f8", "<c8"), b"\0" * 16),
    "strings": npy(GOOD.replace("<f8", "<U2"), b"\0" * 16),
    "bytes": npy(GOOD.replace("<f8", "|S8"), b"\0" * 16),
    "records": npy(GOOD.replace("'<f8'", "[('a', '<f4'), ('b', '<f4')]"), b"\0" * 16),
    "nested arrays": npy(GOOD.replace("'<f8'", "('<f4', (2,))"), b"\0" * 16),
    "times": npy(GOOD.replace("<f8", "<M8[s]"), b"\0" * 16),
    "16 bytes per value": npy(GOOD.replace("<f8", "<f16").replace("(2,)", "(1,)"), b"\0" * 16),
    "bfloat16 as raw bytes": npy(GOOD.replace("<f8", "|V2"), b"\0" * 4),
}


@pytest.mark.parametrize("form", ["npz", "compressed", "folder"])
@pytest.mark.parametrize("what", [*CORRUPTED, *NOT_NUMERIC])
def test_a_corrupted_npy_is_one_error_that_names_the_file_and_the_array(tmp_path: Path, form: str, what: str) -> None:
    content = (CORRUPTED | NOT_NUMERIC)[what]
    if form == "folder":
        path = tmp_path / "theirs"
        path.mkdir()
        (path / "layers.0.npy").write_bytes(content)
    else:
        path = tmp_path / "theirs.npz"
        with zipfile.ZipFile(
            path, "w", zipfile.ZIP_DEFLATED if form == "compressed" else zipfile.ZIP_STORED
        ) as archive:
            archive.writestr("layers.0.npy", content)
    must = "must be a complete array" if what in CORRUPTED else "must be floats or integers"
    with pytest.raises(InputError) as error, open_candidate(path) as tensors:
        tensors["layers.0"].raw()
    assert str(error.value).startswith(f"'layers.0' in {path}")
    assert must in str(error.value)
    assert ("a pickle" in str(error.value)) is (what == "objects")
    assert len(str(error.value)) < 700


def test_python_2_wrote_headers_too(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "a.npy").write_bytes(npy(GOOD.replace("(2,)", "(2L,)"), struct.pack("<2d", 1.5, 2.5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_candidate(folder) as tensors:
            assert tensors["a"].raw().tolist() == [1.5, 2.5]


def test_a_zip_that_promises_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    """The header claims a terabyte that the archive doesn't contain: rejected before any data is read."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(GOOD.replace("(2,)", "(131072, 1048576)"), bytes(1 << 16)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="'a' in .*complete array"), open_candidate(path):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_header_that_unpacks_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(GOOD, bytes(1 << 26), 2, 1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="a header of 67108864 bytes"), open_candidate(path):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_member_that_ends_before_its_directory_says(tmp_path: Path) -> None:
    path = tmp_path / "short.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(GOOD.replace("(2,)", "(3,)"), b"\0" * 16))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24
    struct.pack_into("<I", content, at, struct.unpack_from("<I", content, at)[0] + 8)
    path.write_bytes(content)
    with open_candidate(path) as tensors, pytest.raises(InputError, match="'a' in .*found 16 bytes instead of the 24"):
        tensors["a"].raw()


def test_a_zip_whose_directory_lies_about_a_size(tmp_path: Path) -> None:
    path = tmp_path / "lie.npz"
    np.savez(path, a=np.zeros(4))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 20  # compressed size, then size, in the directory
    size = struct.unpack_from("<I", content, at + 4)[0]
    struct.pack_into("<II", content, at, size + 8, size + 8)
    path.write_bytes(content)
    with pytest.raises(InputError, match="a' in .*complete array"), open_candidate(path) as tensors:
        tensors["a"].raw()


def test_a_changed_byte_in_a_zip_is_noticed(tmp_path: Path) -> None:
    path = save("npz", tmp_path, {"a": np.arange(5000.0)})
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(4321.0).tobytes())] ^= 1
    path.write_bytes(content)
    with open_candidate(path) as tensors, pytest.raises(InputError, match="'a' in .*CRC"):
        tensors["a"].raw()


def made(path: Path, kind: str) -> Path:
    if kind == "nothing":
        return path
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "torch":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02)x.")
    elif kind == "zip of texts":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "text")
    else:
        path.write_bytes({"empty": b"", "text": b"layers.0: 1.0", "start of a zip": b"PK\x03\x04" + bytes(40)}[kind])
    return path


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "the candidate must be a file or a folder; found no "),
        ("pipe", "must be a file or a folder; found a pipe or a device"),
        ("device", "must be a file or a folder; found a pipe or a device"),
        ("loop", "must be readable; found "),
        ("empty folder", "must contain npy files, or raw values as .f32; found none"),
        ("torch", "must be a complete file of torch.save; found a broken pickle"),
        ("zip of texts", "must contain only npy files; found 'a.txt'"),
        ("empty", "found an empty file"),
        ("text", "found a text"),
        ("start of a zip", "must be a complete npz file"),
    ],
)
def test_what_is_no_candidate(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(InputError) as error, open_candidate(made(tmp_path / "theirs", kind)):
        pass
    assert message in str(error.value)
    assert str(tmp_path / "theirs") in str(error.value)


def test_names_that_no_path_can_have() -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError), open_candidate(Path(name)):
            pass


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a.npy"), open_candidate(tmp_path):
        pass


def test_two_members_of_one_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", buffer.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", buffer.getvalue())
    with pytest.raises(InputError, match="'a' in .*two arrays of this name"), open_candidate(tmp_path / "a.npz"):
        pass


def test_dtypes_that_safetensors_knows_and_numpy_does_not(tmp_path: Path) -> None:
    header = json.dumps({"e": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "e.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(InputError, match="'e' in .*must be floats or integers; found F8_E4M3"), open_candidate(path):
        pass


def test_a_header_larger_than_any(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with (
        pytest.raises(InputError, match=r"large.safetensors must be .*; found no header of such"),
        open_candidate(path),
    ):
        pass


@given(
    data=st.data(), form=st.sampled_from(["safetensors", "npz", "compressed", "folder"]),
)  # fmt: skip
def test_garbage_never_gives_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, form: str
) -> None:
    """A valid file with a few bytes changed, cut or inserted is either read or raises one InputError."""
    folder = tmp_path_factory.mktemp("garbage")
    path = save(form, folder, {"a": normal(3, 2), "b": np.arange(4)})
    file = path / "a.npy" if path.is_dir() else path
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "end"]))
        if kind == "set" and content:
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 20))]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(max_size=12))
        else:
            del content[at:]
    file.write_bytes(content)
    try:
        with open_candidate(path) as tensors:
            for one in tensors.values():
                assert one.decode(one.raw()).shape == one.shape
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_signaling_nan_is_a_nan(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([0x7F800001], "u4").view("f4"))
    with open_candidate(tmp_path / "a.npy") as tensors:
        assert np.isnan(tensors["a"].decode(tensors["a"].raw())).all()
