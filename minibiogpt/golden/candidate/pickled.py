"""Candidates in pickles: of torch.save, or of pickle.dump with NumPy arrays. They are read as data; no code is run."""

from __future__ import annotations

import math
import re
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from minibiogpt.checkpoint.torch_archive import PickledTensor, read_pickled
from minibiogpt.checkpoint.unpickle import Inert, Name, NotData, Unpickler
from minibiogpt.errors import CheckpointError, InputError, listed
from minibiogpt.golden.candidate.nested import Nested
from minibiogpt.golden.candidate.tensor import MAX_AXES, NAMES, SAVE, Tensor, corrupted, in_memory, not_numeric

MAX_BYTES = 256 << 20  # of a plain pickle, which is read as a whole; torch.save's tensors are memory-mapped
INTEGER_NAMES = {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
ARRAY = re.compile(r"numpy\.(_core|core)\.(multiarray\._reconstruct|numeric\._frombuffer|multiarray\.scalar)")
ODD_TENSORS = {
    "tensor": "a tensor that is complex or quantized",
    "torch._utils._rebuild_tensor_v3": "a tensor of a dtype such as float8",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_tensor_v2": "a tensor of PyTorch that torch.save did not write",
}
PARTS = ("torch.device", "torch.Size", "collections.defaultdict")  # of objects that hold tensors, as caches do
DTYPE = re.compile(r"f[248]|[iu][1248]|b1")


def read_torch(path: Path, ignored: dict[str, str]) -> dict[str, Tensor]:
    """Return {name: tensor} of a file of torch.save: dicts, lists and tuples of tensors, or outputs of transformers.

    ``ignored`` gets {name: what it is} of what is no array.

    Raises
    ------
    InputError
        If the file is broken, or holds no array.
    """
    try:
        content = read_pickled(path, strict=False)
    except CheckpointError as error:
        must = f"the candidate {path} must be a complete file of torch.save"
        raise InputError(must, error.found, f"write it again: {SAVE}") from None
    return _tensors(path, content, ignored)


def read_plain(path: Path, ignored: dict[str, str]) -> dict[str, Tensor]:
    """Return {name: tensor} of a pickle with dicts, lists and tuples of NumPy arrays or numbers.

    ``ignored`` gets {name: what it is} of what is no array.

    Raises
    ------
    InputError
        If the file is broken or too large, or holds no array.
    """
    must = f"the candidate {path} must be a complete pickle of arrays"
    if path.stat().st_size > MAX_BYTES:
        raise InputError(must, f"{path.stat().st_size} bytes, more than {MAX_BYTES}", SAVE)

    def persistent(value: Any) -> Any:
        raise NotData("a reference to something outside of the pickle")

    try:
        # A map and not the file, whose read(n) allocates n bytes first, however many there are.
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
            content = Unpickler({}, (), persistent, strict=False).load(cast(BinaryIO, mapped))
    except NotData as error:
        raise InputError(must, str(error), f"write it again: {SAVE}") from None
    return _tensors(path, content, ignored)


def _tensors(path: Path, content: Any, ignored: dict[str, str]) -> dict[str, Tensor]:
    unknown: dict[str, None] = {}

    def leaf(name: str, value: Any) -> Tensor | str | None:
        if isinstance(value, PickledTensor):
            dtype = NAMES.get(value.dtype) or INTEGER_NAMES[value.dtype]
            return Tensor(name, dtype, value.shape, value.mapped)
        if isinstance(value, Inert):
            if ARRAY.fullmatch(value.name):
                return _array(path, name, value)
            what = ODD_TENSORS.get(value.name) or f"an object of {value.name}"
            unknown[what] = None
            return None if value.name in PARTS else what
        return None

    nested = Nested(path, leaf)
    found = nested.tensors(_without_classes(content), path.stem)
    ignored |= nested.ignored
    if not found:
        what = f"a pickle with {listed(unknown, 3)}" if unknown else f"a pickle of {_described(content)}"
        raise InputError(f"the candidate {path} must contain arrays", what, f"save a dict of tensors or arrays: {SAVE}")
    return found


def _described(content: Any) -> str:
    return content.full if isinstance(content, Name) else f"a {type(content).__name__} without any"


def _without_classes(content: Any) -> Any:
    """Return the content with each object replaced by its attributes, as of ModelOutput and caches of transformers.

    Containers are changed in place, so that something held twice, or in itself, is visited once.
    """
    holder, waiting, seen = [content], list[Any](), set[int]()
    waiting.append(holder)
    while waiting:
        container = waiting.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        if isinstance(container, tuple):  # fixed: its objects stay, its containers are visited
            waiting += [x for x in container if isinstance(x, dict | list | tuple)]
            continue
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(value, Inert) and isinstance(value.state, dict) and not ARRAY.fullmatch(value.name):
                container[key] = value.state
            elif isinstance(value, tuple) and any(isinstance(x, Inert) for x in value):
                container[key] = list(value)
            if isinstance(container[key], dict | list | tuple):
                waiting.append(container[key])
    return holder[0]


def _array(path: Path, name: str, value: Inert) -> Tensor:
    """Return the array that a call of NumPy in a pickle would have made.

    Raises
    ------
    InputError
        If its dtype isn't numeric, or its parts are inconsistent.
    """
    order: Any = "C"
    match value.name.rpartition(".")[2], value.args, value.state:
        case "_reconstruct", _, (_, tuple(shape), dtype, fortran, data):
            order = "F" if fortran else "C"
        case "_frombuffer", (data, dtype, tuple(shape), order), _:
            pass
        case "scalar", (dtype, data), _:
            shape = ()
        case _:
            raise corrupted(path, name, "a pickled array in an unknown form")
    kind, bfloat16 = _dtype(path, name, dtype)
    raw = _bytes(data)
    valid = all(type(n) is int and 0 <= n < 1 << 40 for n in shape) and len(shape) <= MAX_AXES
    if not valid or raw is None or order not in ("C", "F") or len(raw) != math.prod(shape) * kind.itemsize:
        found = "no bytes" if raw is None else f"{len(raw)} bytes"
        raise corrupted(path, name, f"{found} for the shape {shape} of {kind}" if valid else "an invalid shape")
    return in_memory(name, np.frombuffer(raw, kind).reshape(shape, order=order), bfloat16=bfloat16)


def _dtype(path: Path, name: str, dtype: Any) -> tuple[np.dtype, bool]:
    """Return the dtype of the bytes, and whether they are bfloat16 of ml_dtypes (JAX)."""
    if isinstance(dtype, Inert) and dtype.name == "numpy.dtype" and isinstance(dtype.args, tuple) and dtype.args:
        code, state = dtype.args[0], dtype.state
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
        if code == Name("ml_dtypes.bfloat16"):
            return np.dtype("<u2"), True
        if (
            isinstance(code, str)
            and DTYPE.fullmatch(code)
            and code not in ("f1", "b2", "b4", "b8")
            and order in _ORDERS
        ):
            return np.dtype(_ORDERS[order] + code), False
        found = code.full if isinstance(code, Name) else ascii(str(code)[:80])
        raise not_numeric(path, name, "Python objects" if found.startswith("'O") else f"dtype {found}")
    raise not_numeric(path, name, "an unknown dtype")


_ORDERS = {"<": "<", ">": ">", "|": "|", "=": "<"}


def _bytes(data: Any) -> bytes | bytearray | None:
    """Return the bytes of an array; older protocols write them as text."""
    if isinstance(data, Inert) and data.name in ("__builtin__.bytes", "builtins.bytes") and data.args == ():
        return b""
    if isinstance(data, Inert) and data.name == "_codecs.encode" and isinstance(data.args, tuple) and data.args:
        data = data.args[0]
    if isinstance(data, str):
        try:
            return data.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return data if isinstance(data, bytes | bytearray) else None
