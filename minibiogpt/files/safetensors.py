"""Read and write safetensors files, single or sharded. Files are validated by the library, tensors memory-mapped."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open

from minibiogpt.errors import CheckpointError, listed, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.kinds import kind_of
from minibiogpt.files.reading import FETCH_AGAIN, MAX_TEXT_BYTES, check_regular, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # bfloat16 is the upper half of a float32
INTEGERS = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "BOOL": "?"}
INTEGERS |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1"}
DTYPES = FLOATS | INTEGERS  # all that can be read; weights must be FLOATS


@dataclass(frozen=True)
class StoredTensor:
    """The location of a tensor: file, dtype (safetensors' name), shape, and byte range ``begin`` to ``end``."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    def raw(self) -> np.ndarray:
        """Return the bytes, memory-mapped copy-on-write: read when accessed, never written to the file."""
        if self.begin == self.end:
            return np.empty(0, np.uint8)
        mapped = np.memmap(self.path, dtype=np.uint8, mode="c", offset=self.begin, shape=(self.end - self.begin,))
        return np.asarray(mapped)

    def mapped(self) -> np.ndarray:
        """Return the values, memory-mapped like ``raw``; those of bfloat16 as 16-bit integers.

        Raises
        ------
        CheckpointError
            If NumPy has no such dtype, as for 8-bit floats and complex numbers.
        """
        if self.dtype not in DTYPES:
            must = f"{self.path} must hold tensors of the dtypes {', '.join(DTYPES)}"
            raise CheckpointError(must, short_repr(self.dtype), "convert them to one of these")
        return self.raw().view(DTYPES[self.dtype]).reshape(self.shape)

    def read_into(self, out: np.ndarray) -> None:
        """Read into ``out``, C-contiguous and of the same shape, converted to its dtype. Overflow gives inf.

        Raises
        ------
        CheckpointError
            If the file ends before the tensor does, or NumPy has no such dtype.
        """
        if self.dtype == "BF16" or out.dtype != np.dtype(DTYPES.get(self.dtype, "V")):
            with np.errstate(all="ignore"):
                out[...] = widened(self.mapped(), self.dtype)
            return
        remaining = out.reshape(-1).view(np.uint8).data
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.begin)
            while remaining:
                count = file.readinto(remaining)
                if not count:
                    must = f"{self.path} must be complete"
                    raise CheckpointError(must, "fewer bytes than its header lists", "fetch it again")
                remaining = remaining[count:]


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return {name: tensor} of the folder's safetensors files, single or sharded.

    Raises
    ------
    CheckpointError
        If there is no such file, one is truncated, corrupt or missing, or the index names a file in a different folder.
    """
    index = folder / INDEX
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)[1]
    if index.is_file():
        return _read_shards(folder, index)
    raise CheckpointError(f"{folder} must hold model.safetensors or its index", *_found_instead(folder))


def _found_instead(folder: Path) -> tuple[str, str]:
    """Return what a folder without model.safetensors holds, and what to do."""
    for path in (folder / SINGLE, folder / INDEX):
        if path.is_symlink() and not path.exists():
            return f"{path.name}, a link to {os.readlink(path)}, which is missing", "fetch what it links to"
        if path.is_dir():
            return f"a folder named {path.name}", "put the file in its place"
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if "adapter_model.safetensors" in others:
        return "only an adapter", "name its base model, and this folder as its adapter"
    if others:
        shards = all(name.startswith("model-") for name in others)
        return listed(others), f"fetch {INDEX}, too" if shards else f"if that is the model, rename it to {SINGLE}"
    if any(path for suffix in PICKLES for path in folder.glob(f"*{suffix}")):
        return "only a pickle", f"convert it without running its code: minibiogpt convert {folder} FOLDER"
    remedy = "if the model is published as pytorch_model.bin, fetch that file and run minibiogpt convert"
    return "neither", f"{remedy}; microsoft/biogpt has safetensors: minibiogpt download microsoft/biogpt FOLDER"


def widened(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Return the values of a raw array: bfloat16, which NumPy lacks, as float32; other dtypes unchanged."""
    if dtype != "BF16":
        return raw
    wide = raw.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def convert_dtype(raw: np.ndarray, dtype: str, target: str) -> np.ndarray:
    """Convert raw values from one dtype to another, rounding to nearest, ties to even.

    Examples
    --------
    >>> bits = convert_dtype(np.float32([1, 1 + 2**-8, 1 + 3 * 2**-8]), "F32", "BF16")
    >>> widened(bits, "BF16").tolist()
    [1.0, 1.0, 1.015625]
    """
    if dtype == target:
        return raw
    with np.errstate(all="ignore"):
        if target != "BF16":
            return widened(raw, dtype).astype(FLOATS[target])
        bits = widened(raw, dtype).astype("<f4").view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def _read_shards(folder: Path, index: Path) -> dict[str, StoredTensor]:
    table = shard_table(index, ".safetensors")
    headers = {file: read_header(folder / file)[1] for file in sorted(set(table.values()))}
    return {name: headers[file][name] for name, file in table.items() if name in headers[file]}


def shard_table(index: Path, suffix: str) -> dict[str, str]:
    """Return {tensor name: file name} from an index. The files must have this suffix and be in the index's folder.

    Raises
    ------
    CheckpointError
        If the index has no such table.
    """
    content = read_json(index, "a sharded model needs its index")
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise CheckpointError(f"{index} must hold a weight_map of names to files", "none", "fetch the file again")
    for file in sorted(set(table.values())):
        if "\0" in file or not _is_utf8(file):
            raise CheckpointError(
                f"{index} must name files", f"{short_repr(file)}, which no file can have", FETCH_AGAIN
            )
        if file != os.path.basename(file) or "\\" in file or not file.endswith(suffix):
            kind = suffix.removeprefix(".")
            must = f"{index} must name {kind} files in its own folder"
            raise CheckpointError(must, short_repr(file), "do not use this index: it reads files elsewhere")
    return table


def _is_utf8(name: str) -> bool:
    """Whether the name has no lone surrogate: JSON can contain one, a file's name cannot."""
    return name.encode("utf-8", "replace") == name.encode("utf-8", "surrogatepass")


def read_header(path: Path) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Return the metadata of a safetensors file, and its tensors without reading them.

    The library validates the file; the tensors' byte ranges are taken from the header.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated or corrupt.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > max(MAX_TEXT_BYTES, path.stat().st_size):
                raise ValueError("no header of such a file")
            if size > MAX_TEXT_BYTES:
                raise ValueError(f"a header of {size} bytes, more than {MAX_TEXT_BYTES}")
            with safe_open(path, framework="np"):
                pass
            header = json.loads(file.read(size))
    except FileNotFoundError:
        raise CheckpointError(f"{path} must exist", "no such file", "check the path, or fetch it again") from None
    except CheckpointError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        must, kind = f"{path} must be a complete safetensors file", _foreign(path)
        if kind is not None:
            raise CheckpointError(must, kind, "name a safetensors file, or fetch it again") from None
        raise CheckpointError(must, str(error), "fetch it again: it is truncated or corrupt") from None
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = StoredTensor(path, entry["dtype"], tuple(entry["shape"]), begin, end)
    return header.get("__metadata__") or {}, tensors  # MLX writes null if there is none


def _foreign(path: Path) -> str | None:
    """Return what the file is if it is in another format, such as "a GGUF file"."""
    try:
        return kind_of(path)
    except (OSError, ValueError):  # also of a name that no file can have
        return None


@dataclass(frozen=True)
class TensorToWrite:
    """A tensor to write: dtype (safetensors' name), shape, and a function that yields its raw values in blocks."""

    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterable[np.ndarray]]


def write_tensors(path: Path, tensors: Mapping[str, TensorToWrite], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with no more than one block in memory at a time.

    Wider dtypes are written first, so that every value is aligned to its size. The same arguments give the same bytes,
    unlike those of the library, which writes the metadata in random order.
    """
    ordered = sorted(tensors.items(), key=lambda item: -_itemsize(item[1].dtype))
    text, _ = _header({name: (tensor.dtype, tensor.shape) for name, tensor in ordered}, metadata)
    with path.open("wb") as file:
        file.write(text)
        for _, tensor in ordered:
            for block in tensor.blocks():
                file.write(np.ascontiguousarray(block, DTYPES[tensor.dtype]).data)


class TensorFile:
    """A safetensors file whose tensors are written one by one, in any order: ``layout`` gives the place of each.

    Parameters
    ----------
    layout : {name: (dtype, shape)} of every tensor. As in ``write_tensors``, the wider dtypes come first in the file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> with TensorFile(path, {"a": ("U8", (1,)), "b": ("F32", (2,))}) as file:
    ...     file.write("a", np.array([7], np.uint8))
    ...     file.write("b", np.array([1, 2], np.float32))
    >>> {name: tensor.mapped().tolist() for name, tensor in read_header(path)[1].items()}
    {'b': [1.0, 2.0], 'a': [7]}
    """

    def __init__(self, path: Path, layout: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.layout = layout
        text, self.begins = _header(dict(sorted(layout.items(), key=lambda item: -_itemsize(item[1][0]))))
        self.file = path.open("wb")
        self.file.write(text)

    def write(self, name: str, values: np.ndarray, start: int = 0) -> None:
        """Write raw values of a tensor, from its element ``start`` on."""
        dtype, _ = self.layout[name]
        self.file.seek(self.begins[name] + start * _itemsize(dtype))
        self.file.write(np.ascontiguousarray(values, DTYPES[dtype]).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def _header(
    layout: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, int]]:
    """Return the first bytes of a file with these tensors in this order, and where in the file each one begins."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"} if metadata is None else dict(metadata)}
    begins, end = {}, 0
    for name, (dtype, shape) in layout.items():
        begins[name] = end
        end += math.prod(shape) * _itemsize(dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begins[name], end]}
    text = json_text(header, compact=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, {name: 8 + len(text) + begin for name, begin in begins.items()}


def _itemsize(dtype: str) -> int:
    return np.dtype(DTYPES[dtype]).itemsize
