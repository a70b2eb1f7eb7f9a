"""Tensors in files of torch.save, without PyTorch: the pickle is read as data, and each tensor is memory-mapped.

A file is a zip archive of uncompressed members: NAME/data.pkl describes the tensors, and NAME/data/KEY holds the raw
values of one storage. Files from before PyTorch 1.6 are several pickles in a row, followed by the storages.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minibiogpt.checkpoint.unpickle import Inert, Name, NotData, Unpickler
from minibiogpt.errors import CheckpointError
from minibiogpt.files.reading import check_regular

# torch's storage classes, and safetensors' names of their dtypes.
STORAGES = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
}
RAW = {  # the NumPy dtype of the stored values
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip
OTHER_NUMBERS = (  # what torch calls to make tensors of dtypes that are not in STORAGES
    "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_qtensor", "torch.Complex", "torch._utils._rebuild_sparse",
    "torch._utils._rebuild_wrapper_subclass", "torch.QInt", "torch.QUInt",
)  # fmt: skip
MODEL_PACKAGES = ("transformers", "torch.nn", "peft")  # of whole models, which torch.save(model) pickles
MAX_PICKLE_BYTES = 8 << 20  # bytes of data.pkl: ten times what BioGPT-Large needs with its optimizer state
BLOCK = 1 << 22  # elements per block
MAX_KEY = 100  # characters of the name of a storage: torch numbers them
MAX_SIZE = 1 << 40  # of a size, stride or count: no file holds more elements
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, itself a pickle


@dataclass(eq=False)
class Storage:
    """A contiguous range of values in a file; ``begin`` is the offset of its first byte."""

    path: Path
    dtype: str
    count: int
    begin: int = -1

    @property
    def bytes(self) -> int:
        return self.count * np.dtype(RAW[self.dtype]).itemsize


@dataclass(frozen=True)
class PickledTensor:
    """A view of a storage; ``offset`` and ``strides`` count elements, as in PyTorch."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """The dtype as safetensors names it: "F32", "BF16", "I64" ..."""
        return self.storage.dtype

    @property
    def bytes(self) -> int:
        """The size of the tensor in bytes, stored contiguously."""
        return math.prod(self.shape) * np.dtype(RAW[self.dtype]).itemsize

    def mapped(self) -> np.ndarray:
        """Return the raw values, memory-mapped and read on access; bfloat16 as 16-bit integers."""
        raw = np.dtype(RAW[self.dtype])
        if 0 in self.shape:
            return np.empty(self.shape, raw)
        begin = self.storage.begin + self.offset * raw.itemsize
        size = (_reach(self.shape, self.strides) + 1) * raw.itemsize
        flat = np.memmap(self.storage.path, dtype=np.uint8, mode="r", offset=begin, shape=(size,))
        strides = [stride * raw.itemsize if d > 1 else 0 for d, stride in zip(self.shape, self.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(np.asarray(flat).view(raw), self.shape, strides)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the raw values in row-major order, in blocks; a view that is not contiguous is copied once."""
        flat = self.mapped().reshape(-1)
        yield from (flat[i : i + BLOCK] for i in range(0, flat.size, BLOCK))

    def same_values(self, other: PickledTensor) -> bool:
        """Whether both hold the same raw values; equal views of one storage are not read."""
        if (self.shape, self.dtype) != (other.shape, other.dtype):
            return False
        if self == other:
            return True
        return all(np.array_equal(a, b) for a, b in zip(self.blocks(), other.blocks(), strict=True))


def read_pickled(path: Path, *, strict: bool = True) -> Any:
    """Return what torch.save wrote: dicts, lists, tuples, numbers, strings, and a PickledTensor for each tensor.

    Parameters
    ----------
    strict : reject a file that names anything but tensors and dicts; otherwise such objects become ``Inert``.

    Raises
    ------
    CheckpointError
        If the file is not what torch.save writes, is broken or truncated, has tensors outside their storage, or
        (``strict``) names anything else. The message shows that name.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(64)
            if start.startswith(LEGACY):
                return _read_legacy(path, file, strict)
            _require_zip(start)
            return _read_zip(path, file, strict)
    except FileNotFoundError:
        raise CheckpointError("every file of the model must exist", f"no {path}", "fetch it again") from None
    except NotData as error:
        must = f"{path} must hold tensors as torch.save writes them, and nothing that runs code"
        remedy = "do not unpickle it; download it from a source you trust"
        if any(name in str(error) for name in OTHER_NUMBERS):
            remedy = "it has 8-bit floats, quantized or complex numbers: save the model in float32 (model.float())"
        elif any(f"'{package}." in str(error) for package in MODEL_PACKAGES):
            remedy = f"{remedy}; if it is a model that you saved as a whole, save model.state_dict() instead"
        raise CheckpointError(must, str(error), remedy) from None
    except OSError as error:
        found = error.strerror or str(error)
        raise CheckpointError(f"{path} must be a readable file", found, "check the path and its permissions") from None


def _require_zip(start: bytes) -> None:
    if not start.startswith(b"PK"):
        raise NotData("neither a zip archive nor torch's legacy format")


def _read_zip(path: Path, file: BinaryIO, strict: bool) -> Any:
    members = _members(file)
    roots = [name.removesuffix("data.pkl") for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise NotData(f"{len(roots)} members called NAME/data.pkl, not one")
    (root,) = roots
    if f"{root}byteorder" in members:
        order = _content(file, members[f"{root}byteorder"])
        if order != b"little":
            raise NotData(f"values in byte order {order[:20]!r}, not little")
    storages: dict[str, Storage] = {}

    def storage(dtype: str, key: str, count: int) -> Storage:
        if len(key) > MAX_KEY or f"{root}data/{key}" not in members:
            raise NotData(f"no member for storage {key[:80]!a}")
        begin, size = _data_range(file, members[f"{root}data/{key}"])
        found = storages.setdefault(key, Storage(path, dtype, count, begin))
        if (found.dtype, found.count) != (dtype, count) or count < 0 or found.bytes > size:
            raise NotData(f"storage {key[:80]!a} of {count} {dtype} in {size} bytes")
        return found

    data = _content(file, members[f"{root}data.pkl"])
    return _unpickler(storage, strict).load(io.BytesIO(data))


def _members(file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's directory. Names must differ, and no member may be compressed or encrypted."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, OverflowError) as error:
        raise NotData(f"a broken or truncated zip archive ({error})") from None
    members = {info.filename: info for info in infos}
    if len(members) < len(infos):
        raise NotData("two members with the same name")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise NotData(f"the compressed or encrypted member {info.filename[:80]!a}")
    return members


def _data_range(file: BinaryIO, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the offset and size of a member's data, read from its header and checked against the file."""
    end = file.seek(0, io.SEEK_END)
    if not 0 <= info.header_offset <= end:
        raise NotData(f"member {info.filename[:80]!a} outside the file")
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        raise NotData(f"no header of member {info.filename[:80]!a}")
    begin = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if begin + info.file_size > end:
        raise NotData(f"member {info.filename[:80]!a} outside the file")
    return begin, info.file_size


def _content(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    begin, size = _data_range(file, info)
    if size > MAX_PICKLE_BYTES:
        raise NotData(f"{size} bytes of {info.filename[:80]!a}, more than {MAX_PICKLE_BYTES}")
    file.seek(begin)
    return file.read(size)


def _read_legacy(path: Path, file: BinaryIO, strict: bool) -> Any:
    """Read magic number, version, machine facts, object and storage keys; then the count and values of each storage."""
    file.seek(len(LEGACY))
    stream = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    storages: dict[str, Storage] = {}

    def storage(dtype: str, key: str, count: int) -> Storage:
        return storages.setdefault(key, Storage(path, dtype, count))

    reader = _unpickler(storage, strict)
    version, machine, content, keys = (reader.load(stream) for _ in range(4))
    if version != 1001 or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise NotData("a version other than 1001, or a byte order other than little")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise NotData("storages that are not those of the tensors")
    end, offset = file.seek(0, io.SEEK_END), len(LEGACY) + stream.tell()
    for found in (storages[key] for key in keys):
        file.seek(offset)
        if file.read(8) != struct.pack("<q", found.count) or offset + 8 + found.bytes > end:
            raise NotData("a truncated file, or a storage of a different size")
        found.begin = offset + 8
        offset = found.begin + found.bytes
    return content


def _unpickler(storage: Callable[[str, str, int], Storage], strict: bool) -> Unpickler:
    """Return an unpickler that knows dicts, tensors and storages."""

    def unknown(what: str, args: Any) -> Inert:
        if strict:
            raise NotData(f"an unusual form of {what}")
        return Inert(what, args)

    def persistent(value: Any) -> Any:
        match value:
            case ("storage", Name(kind), str(key), str(), int(count)) if kind in STORAGES and 0 <= count < MAX_SIZE:
                return storage(STORAGES[kind], key, count)
            case ("storage", Name(kind), str(key), str(), int(count), None) if (
                kind in STORAGES and 0 <= count < MAX_SIZE
            ):
                return storage(STORAGES[kind], key, count)
        return unknown("storage", value)

    def tensor(args: Any) -> Any:
        match args:
            case (Storage() as values, int(offset), tuple(shape), tuple(strides), *_):
                return _checked(PickledTensor(values, offset, shape, strides))
        return unknown("tensor", args)

    def parameter(args: Any) -> Any:
        match args:
            case (PickledTensor() as data, *_):
                return data
        return unknown("parameter", args)

    def ordered_dict(args: Any) -> Any:
        return {} if args == () else unknown("OrderedDict", args)

    calls: Mapping[str, Callable[[Any], Any]] = {
        "collections.OrderedDict": ordered_dict,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
    }
    names: Container[str] = STORAGES
    return Unpickler(calls, names, persistent, strict=strict)


def _checked(tensor: PickledTensor) -> PickledTensor:
    """Return the tensor if its sizes and strides are valid.

    It must lie within its storage and have no more elements than that: a stride of 0 must not make it larger.
    """
    shape, strides, count = tensor.shape, tensor.strides, tensor.storage.count
    valid = len(shape) == len(strides) <= 32  # first: a pickle can repeat a long tuple with two bytes
    if not valid or not all(type(n) is int and 0 <= n < MAX_SIZE for n in (tensor.offset, *shape, *strides)):
        raise NotData("a tensor whose shape, strides or offset are invalid")
    if 0 in shape:
        fits = math.prod(max(d, 1) for d in shape) <= MAX_SIZE
    else:
        fits = tensor.offset + _reach(shape, strides) < count and math.prod(shape) <= count
    if not fits:
        raise NotData(f"a tensor of shape {shape} that exceeds its storage of {count} elements")
    return tensor


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Return the distance from the first element to the last, in elements."""
    return sum((d - 1) * stride for d, stride in zip(shape, strides, strict=True))
