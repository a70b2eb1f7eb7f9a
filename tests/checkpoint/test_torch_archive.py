"""The reader of torch.save's files returns the same values as torch.load, and never runs code from a file."""

from __future__ import annotations

import argparse
import collections
import contextlib
import enum
import functools
import io
import os
import pickle
import pickletools
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import CheckpointError
from minibiogpt.checkpoint.torch_archive import MAX_KEY, MAX_PICKLE_BYTES, PickledTensor, read_pickled
from minibiogpt.checkpoint.unpickle import Inert, Unpickler

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
FORMATS: dict[str, dict[str, Any]] = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    "protocol 3": {"pickle_protocol": 3},
    "protocol 4": {"pickle_protocol": 4},
    "protocol 5": {"pickle_protocol": 5},
}


def raw(tensor: torch.Tensor) -> np.ndarray:
    """Return the values as stored in the file: bfloat16 as 16-bit integers."""
    tensor = tensor.detach()
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def assert_same(got: PickledTensor, want: torch.Tensor) -> None:
    assert (got.shape, got.strides) == (tuple(want.shape), want.stride())
    for mapped in (got.mapped(), np.concatenate([*got.blocks(), got.mapped().reshape(-1)[:0]]).reshape(got.shape)):
        assert (mapped.shape, mapped.dtype.str) == (want.shape, raw(want).dtype.str)
        assert mapped.tobytes() == raw(want).tobytes()


@st.composite
def views(draw: Any) -> dict[str, torch.Tensor]:
    """Views of one storage: slices with steps, permuted dimensions, single rows, sizes of 0 and 1."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    values = torch.arange(int(np.prod(shape, dtype=int))) * 3 % 11
    base = values.to(getattr(torch, draw(st.sampled_from(DTYPES)))).reshape(shape)
    found = {"base": base}
    for i in range(draw(st.integers(0, 4))):
        cuts = [slice(draw(st.integers(0, d)), None, draw(st.integers(1, 3))) for d in shape]
        view = base[tuple(cuts)].permute(draw(st.permutations(range(len(shape)))))
        if view.ndim and view.shape[0] and draw(st.booleans()):
            view = view[draw(st.integers(0, view.shape[0] - 1))]
        found[f"view {i}"] = view.unsqueeze(0) if draw(st.booleans()) else view
    return found


@given(tensors=views(), form=st.sampled_from(sorted(FORMATS)))
def test_every_view_is_what_torch_loads(tmp_path_factory: pytest.TempPathFactory, tensors: dict, form: str) -> None:
    path = tmp_path_factory.getbasetemp() / "views.bin"
    torch.save(tensors, path, **FORMATS[form])
    want, got = torch.load(path, weights_only=False), read_pickled(path)
    assert list(got) == list(want)
    for name in want:
        assert_same(got[name], want[name])
    assert len({id(tensor.storage) for tensor in got.values()}) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_what_models_are_saved_as(tmp_path: Path, form: str) -> None:
    module = torch.nn.Linear(3, 5)
    module.register_buffer("counts", torch.arange(4))
    both: dict[Any, Any] = {"state": module.state_dict(), "parameter": module.weight, "transposed": module.weight.T}
    both |= {"plain": [1, -(2**70), 2.5, None, True, "é", b"x", (), (1,), (1, 2), (1, 2, 3), {3, 4}], 7: {"a": {}}}
    torch.save(both, tmp_path / "x.bin", **FORMATS[form])
    got = read_pickled(tmp_path / "x.bin", strict=False)  # a set is a call in protocol 2
    for name, tensor in module.state_dict().items():
        assert_same(got["state"][name], tensor)
    assert_same(got["parameter"], module.weight)
    assert_same(got["transposed"], module.weight.T)
    assert got["plain"][:6] == both["plain"][:6]
    assert got["plain"][7:11] == both["plain"][7:11]
    assert got[7] == {"a": {}}
    del both["plain"][11], both["plain"][6]  # and so are bytes
    torch.save(both, tmp_path / "y.bin", **FORMATS[form])
    assert read_pickled(tmp_path / "y.bin")["plain"] == both["plain"]


def test_numbers_are_mapped_and_read_only(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "x.bin")
    mapped = read_pickled(tmp_path / "x.bin")["a"].mapped()
    assert not mapped.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 2


# Malicious pickles.


def archive(path: Path, data: bytes, **members: bytes) -> Path:
    """Write an archive such as torch.save writes, with this data.pkl; return its path."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", data)
        for name, content in members.items():
            file.writestr(f"m/{name}".replace("__", "/"), content)
    return path


def legacy(path: Path, data: bytes) -> Path:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, facts)]
    path.write_bytes(b"".join([*parts, data, pickle.dumps([], 2)]))
    return path


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args, state) if state is not None else (function, args)

    def __reduce__(self) -> tuple:
        return self.parts

    def __call__(self) -> None:
        """Never called; pickle requires a callable as the function."""


class Attack:
    """Objects whose pickles run a command when they are loaded the usual way."""

    def __init__(self, marker: Path) -> None:
        system, text = Calls(os.system, f"touch {marker}"), str(marker)
        rebuild, made = torch._utils._rebuild_tensor_v2, Calls(os.mkdir, text)
        touch, make = Calls(getattr, marker, "touch"), Calls(functools.partial, os.mkdir, text)
        self.objects: dict[str, tuple[str, Any]] = {
            "a function": ("posix.system", system),
            "eval": ("(builtins|__builtin__).eval", Calls(eval, f"__import__('os').mkdir({text!r})")),
            "exec": ("(builtins|__builtin__).exec", Calls(exec, f"import os; os.mkdir({text!r})")),
            "a class": ("zipfile.ZipFile", Calls(zipfile.ZipFile, text, "w")),
            "a class by NEWOBJ": ("tests.checkpoint.test_torch_archive.Writes", Writes.unmade(text)),
            "a method found by name": ("(builtins|__builtin__).getattr", Calls(touch)),
            "a partial": ("functools.partial", Calls(make)),
            "in a list in a dict": ("posix.mkdir", {"weight": [1, (made,)]}),
            "as a key": ("posix.mkdir", {made: 1}),
            "as an item of a set": ("posix.mkdir|__builtin__.frozenset", [frozenset([made])]),
            "in the arguments of a tensor": ("posix.mkdir", Calls(rebuild, made, 0, (1,), (1,), False, None)),
            "as a hook": ("posix.mkdir", Calls(torch._utils._rebuild_parameter, made, True, made)),
            "in the arguments of an OrderedDict": ("posix.mkdir", Calls(collections.OrderedDict, [("a", made)])),
            "as attributes": ("posix.mkdir", Calls(collections.OrderedDict, state={"a": made})),
        }


class Writes:
    """Creating an instance, even without ``__init__``, makes a folder."""

    def __new__(cls, path: str) -> Writes:
        os.mkdir(path)
        return super().__new__(cls)

    @classmethod
    def unmade(cls, path: str) -> Writes:
        self = object.__new__(cls)
        self.path = path
        return self

    def __getnewargs__(self) -> tuple:
        return (self.path,)


WAYS = list(Attack(Path("x")).objects)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("pack", [archive, legacy])
def test_nothing_runs_and_what_would_have_is_named(tmp_path: Path, way: str, protocol: int, pack: Any) -> None:
    marker = tmp_path / "it-ran"
    name, content = Attack(marker).objects[way]
    data = pickle.dumps(content, protocol)
    path = pack(tmp_path / "x.bin", data)
    must = "must hold tensors .* and nothing that runs code"
    with pytest.raises(CheckpointError, match=f"{must}; found the name '({name})"):
        read_pickled(path)
    read_pickled(path, strict=False)
    assert not marker.exists()
    with contextlib.suppress(TypeError, AttributeError, RuntimeError):  # raised by what surrounds the call
        pickle.loads(data)
    assert marker.exists(), "the pickle must run code, or the lines above prove nothing"


def test_unknown_things_stay_inert_and_keep_their_data(tmp_path: Path) -> None:
    class_names = argparse.Namespace(heads=3, nested=argparse.Namespace(a=1), color=enum.IntFlag("F", "a"))
    del class_names.color
    content = {
        "args": class_names,
        "counter": collections.Counter("aab"),
        "default": collections.defaultdict(list, {"a": [1]}),
        "deque": collections.deque([1, 2]),
        "scalar": np.float64(3.5),
        "path": Path("x"),
        "weights": torch.ones(2),
        (1, 2): "a tuple as key is left out",
    }
    for form in FORMATS.values():
        torch.save(content, tmp_path / "x.pt", **form)
        got = read_pickled(tmp_path / "x.pt", strict=False)
        assert list(got) == ["args", "counter", "default", "deque", "scalar", "path", "weights"]
        assert all(isinstance(got[name], Inert) for name in ("args", "counter", "default", "deque", "scalar", "path"))
        assert (got["args"].name, got["args"].state["heads"]) == ("argparse.Namespace", 3)
        assert got["args"].state["nested"].state == {"a": 1}
        assert_same(got["weights"], torch.ones(2))
        with pytest.raises(CheckpointError, match="the name 'argparse.Namespace'"):
            read_pickled(tmp_path / "x.pt")


OPCODES = {
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "INST": b"(S'ls'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'ls'\no.",
    "PERSID": b"Pstorage\n.",
    "NEXT_BUFFER": b"\x97.",
    "READONLY_BUFFER": b"]\x98.",
}


@pytest.mark.parametrize("name", OPCODES)
def test_opcodes_that_no_checkpoint_needs_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "x.bin", OPCODES[name])
    for strict in (True, False):
        with pytest.raises(CheckpointError, match=f"found the (opcode {name}|name 'os.system'); "):
            read_pickled(path, strict=strict)


def nested_key() -> bytes:
    """{t: None}, where t is a pair of pairs, 60 levels deep: hashing it takes 2**60 steps."""
    return b"}K\x01" + b"2\x86" * 60 + b"Ns."


TWISTED: list = [([],)]
TWISTED[0][0].append(TWISTED[0])
LONG_TWISTED: list = [([], 1, 2, 3)]
LONG_TWISTED[0][0].append(LONG_TWISTED[0])
BOMBS = {
    "a memo of 32 GB": (b"]r\xff\xff\xff\x7f.", None),
    "bytes of 4 EB": (b"\x8e" + b"\xff" * 7 + b"\x3f.", "a broken pickle: expected .* bytes"),
    "a text of 2 GB": (b"X\xff\xff\xff\x7fabc.", "a broken pickle: expected .* bytes"),
    "a long of 2 GB": (b"\x8b\xff\xff\xff\x7fabc.", "a broken pickle: not enough data"),
    "a key that takes forever to hash": (nested_key(), "a key that is 'tuple'"),
    "lists in lists": (b"]" * 100_000 + b"a" * 99_999 + b".", None),
    "a list in itself": (b"]q\x00h\x00a.", None),
    "a dict in itself": (b"}q\x00K\x01h\x00s.", None),
    "a tuple in itself": (pickle.dumps(TWISTED, 2), None),
    "a longer tuple in itself": (pickle.dumps(LONG_TWISTED, 2), None),
    "a mark popped": (b"](0.", None),
    "a number popped": (b"]K\x010.", None),
    "an empty stack": (b"a.", "a broken pickle: it reads what it did not store"),
    "a memo that was not stored": (b"h\x07.", "a broken pickle: it reads what it did not store"),
    "no mark": (b"]e.", "a broken pickle: it reads what it did not store"),
    "odd entries": (b"}(K\x01u.", "a broken pickle: "),
    "no end": (b"]", "a broken pickle: "),
    "nothing": (b"", "a broken pickle: "),
    "a number of a million characters": (b"I" + b"x" * 1_000_000 + b"\n.", "a broken pickle: .{,140}; do not"),
    "an unknown opcode": (b"\xff.", "a broken pickle: "),
    "entries for a number": (b"K\x01K\x02K\x03s.", "entries for 'int'"),
    "items for a number": (b"K\x01K\x02a.", "items for 'int'"),
    "attributes for a list": (b"]}b.", "attributes for 'list'"),
    "a call of a number": (b"K\x01)R.", "a call of 'int'"),
    "a name that is no string": (b"K\x01K\x02\x93.", "a name that is not a string"),
    "an endless name": (b"c" + b"x" * 5000 + b"\ny\n.", r"the name 'x{80}\.\.\.'"),
    "a name that moves the cursor": (b"cos\x1b[2J\ny\n.", r"the name 'os\\x1b\[2J.y'"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_and_nonsense(tmp_path: Path, what: str) -> None:
    data, found = BOMBS[what]
    path = archive(tmp_path / "x.bin", data)
    if found is None:
        assert isinstance(read_pickled(path), list | dict)
    else:
        with pytest.raises(CheckpointError, match=f"found {found}"):
            read_pickled(path)


def tensor_pickle(shape: tuple, strides: tuple, offset: Any = 0, count: Any = 6, kind: str = "FloatStorage") -> bytes:
    """Return the data.pkl of {"a": a tensor}, written by hand."""
    pid = b"((X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    values = [pickle.dumps(x, 2)[2:-1] for x in (count, offset, shape, strides)]
    view = b"tQ" + values[1] + values[2] + values[3] + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n" + pid + values[0] + view + b"s."


SIX = np.arange(6, dtype=np.float32).tobytes()


def test_the_tensor_written_by_hand_is_one(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.bin", tensor_pickle((2, 2), (3, 1), 1), data__0=SIX, byteorder=b"little")
    assert read_pickled(path)["a"].mapped().tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("length", [MAX_KEY, MAX_KEY + 1])
def test_the_name_of_a_storage_is_short(tmp_path: Path, length: int) -> None:
    """A pickle can repeat a long name with two bytes, and each repetition would be a new text to look up."""
    name = b"0" * length
    data = tensor_pickle((2, 2), (3, 1), 1).replace(b"X\x01\0\0\0" + b"0", b"X" + bytes([length]) + b"\0\0\0" + name)
    path = archive(tmp_path / "x.bin", data, **{f"data__{name.decode()}": SIX}, byteorder=b"little")
    if length == MAX_KEY:
        assert read_pickled(path)["a"].mapped().tolist() == [[1, 2], [4, 5]]
    else:
        with pytest.raises(CheckpointError, match="no member for storage"):
            read_pickled(path)


HUGE = 1 << 39
VIEWS = {
    "an offset beyond": ((2, 2), (3, 1), 2),
    "an offset below": ((2,), (1,), -1),
    "a shape beyond": ((7,), (1,)),
    "a stride beyond": ((2, 2), (5, 1)),
    "a stride below": ((2,), (-1,), 3),
    "sizes below": ((-2, -3), (3, 1)),
    "one element for many": ((1000, 1000), (0, 0)),
    "sizes beyond any address": ((HUGE, HUGE), (1, 1)),
    "no elements, but sizes beyond any address": ((0, HUGE, HUGE), (1, 1, 1)),
    "a size of a million digits": ((1 << 4_000_000,), (1,)),
    "fewer strides": ((2, 3), (3,)),
    "33 dimensions": ((1,) * 33, (1,) * 33),
    "a string": (("2",), (1,)),
    "a fraction": ((2.0,), (1,)),
}


@pytest.mark.parametrize("what", VIEWS)
def test_tensors_that_leave_their_storage_are_refused(tmp_path: Path, what: str) -> None:
    path = archive(tmp_path / "x.bin", tensor_pickle(*VIEWS[what]), data__0=SIX)
    for strict in (True, False):
        with pytest.raises(CheckpointError, match="found a tensor (of shape .* that exceeds|whose shape)"):
            read_pickled(path, strict=strict)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"count": 7}, "storage '0' of 7 F32 in 24 bytes"),
        ({"count": -1}, "an unusual form of storage"),
        ({"count": 1 << 60}, "an unusual form of storage"),
        ({"count": "6"}, "an unusual form of storage"),
        ({"kind": "ComplexFloatStorage"}, "the name 'torch.ComplexFloatStorage'"),
        ({"kind": "FloatStorage\nX\x01\x00\x00\x001X\x03\x00\x00\x00cpuK\x01tQ0("}, "an unusual form of tensor|broken"),
        ({"offset": None}, "an unusual form of tensor"),
    ],
)
def test_storages_that_are_none_are_refused(tmp_path: Path, options: dict, found: str) -> None:
    path = archive(tmp_path / "x.bin", tensor_pickle((2,), (1,), **options), data__0=SIX, data__1=SIX)
    with pytest.raises(CheckpointError, match=found):
        read_pickled(path)


def test_archives_that_are_none_are_refused(tmp_path: Path) -> None:
    data, path = tensor_pickle((6,), (1,)), tmp_path / "x.bin"

    def refused(found: str) -> None:
        with pytest.raises(CheckpointError, match=found):
            read_pickled(path)

    archive(path, data)
    refused("no member for storage '0'")
    archive(path, data, data__0=SIX, byteorder=b"big")
    refused("byte order b'big', not little")
    archive(path, data.replace(b"\x01\x00\x00\x000", b"\x05\x00\x00\x00../.."), data__0=SIX)
    refused(r"no member for storage '../..'")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/data.pkl", data)
        file.writestr("m/data/0", bytes(1 << 20))
    refused("the compressed or encrypted member 'm/data.pkl'")
    archive(path, data, data__pkl=data)
    path.write_bytes(path.read_bytes().replace(b"m/data/pkl", b"m/data.pkl"))
    refused("two members with the same name")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data.pkl", data)
        file.writestr("n/data.pkl", data)
    refused("2 members called NAME/data.pkl")
    archive(path, bytes(MAX_PICKLE_BYTES + 1))
    refused(f"{MAX_PICKLE_BYTES + 1} bytes of 'm/data.pkl', more than")
    archive(path, data, data__0=SIX)
    whole = path.read_bytes()
    at = whole.rindex(b"PK\x01\x02")  # the directory entry of data/0: set its size to 2 GB
    path.write_bytes(whole[: at + 20] + struct.pack("<II", 1 << 31, 1 << 31) + whole[at + 28 :])
    refused("member 'm/data/0' outside the file")
    path.write_bytes(whole[: at + 8] + b"\x01" + whole[at + 9 :])
    refused("the compressed or encrypted member 'm/data/0'")
    path.write_bytes(whole[: at + 42] + struct.pack("<I", 7) + whole[at + 46 :])
    refused("no header of member 'm/data/0'")
    path.write_bytes(whole[:-30])
    refused("a broken or truncated zip archive")
    for content in (b"", b"<html>", pickle.dumps({"a": 1}), pickle.dumps({"a": 1}, 2)):
        path.write_bytes(content)
        refused("neither a zip archive nor torch's legacy format")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    refused("a pointer of Git LFS to the file; run git lfs pull in")
    path.unlink()
    refused("found no .*x.bin")
    path.mkdir()
    refused("must be a file; found a folder")


def test_a_truncated_file_of_the_older_format_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    torch.save({"a": torch.ones(6)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert_same(read_pickled(path)["a"], torch.ones(6))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_pickled(path)
    path.write_bytes(whole.replace(struct.pack("<q", 6) + struct.pack("<f", 1), struct.pack("<qf", 7, 1)))
    with pytest.raises(CheckpointError, match="a storage of a different size"):
        read_pickled(path)
    path.write_bytes(whole.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    with pytest.raises(CheckpointError, match="a byte order other than little"):
        read_pickled(path)


@given(seed=st.integers(0, 1 << 32), form=st.sampled_from(["zip", "legacy", "protocol 4"]), strict=st.booleans())
@settings(max_examples=300)
def test_a_corrupted_file_is_one_clear_error_or_stays_in_its_bounds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, form: str, strict: bool
) -> None:
    path, rng = tmp_path_factory.getbasetemp() / "corrupted.bin", random.Random(seed)
    torch.save({"a": torch.ones(3, 4).T, "b": torch.arange(5), "c": argparse.Namespace(x=1)}, path, **FORMATS[form])
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.choice([0, 1, 255, rng.randrange(256), *b"cR.tQb}])Kh"])
    path.write_bytes(content)
    try:
        found = read_pickled(path, strict=strict)
    except CheckpointError:
        return
    for value in found.values() if isinstance(found, dict) else ():
        if isinstance(value, PickledTensor):
            value.mapped().tobytes()


def test_the_reader_knows_every_opcode_that_torch_writes() -> None:
    """If a later torch writes another one, this test shows which."""
    content = {"a": torch.nn.Linear(3, 2).state_dict(), "b": torch.ones(3, dtype=torch.bfloat16), "c": [True, False]}
    for form, options in FORMATS.items():
        stream = io.BytesIO()
        torch.save(content, stream, **options)
        if form != "legacy":
            with zipfile.ZipFile(stream) as file:
                (name,) = [name for name in file.namelist() if name.endswith("/data.pkl")]
                used = {opcode.name for opcode, _, _ in pickletools.genops(file.read(name))}
            assert "BINPERSID" in used
            assert {name for name in used if not hasattr(Unpickler, f"op_{name.lower()}")} == {"STOP"}
