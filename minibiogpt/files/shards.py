"""Write a model's safetensors as one file or as several, and remove the files of an older save."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.safetensors import INDEX, SINGLE
from minibiogpt.files.temporaries import clear_leftovers_of
from minibiogpt.files.writing import write_atomically

SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([KMGT]B)\s*", re.IGNORECASE)
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
ANY = re.compile("|".join([SHARD.pattern, re.escape(SINGLE), re.escape(INDEX)]))


def size_in_bytes(size: Any) -> int:
    """Return a size such as "5GB", or a number of bytes, as a number of bytes; a KB is 1000 bytes.

    Raises
    ------
    InputError
        If it is neither, or less than 1 byte.

    Examples
    --------
    >>> size_in_bytes("1.5MB"), size_in_bytes(20)
    (1500000, 20)
    """
    found = SIZE.fullmatch(size) if isinstance(size, str) else None
    value = int(float(found[1]) * UNITS[found[2].upper()]) if found else size
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        must = "max_shard_size must be a number of bytes, or a size with KB, MB, GB or TB"
        raise InputError(must, short_repr(size), "write '5GB', or leave it out for one file")
    return int(value)


def split(sizes: Mapping[str, int], most: float) -> list[list[str]]:
    """Return the names of each shard's tensors, in order; a tensor of more than ``most`` bytes has its own.

    Source: split_torch_state_dict_into_shards of huggingface_hub, which transformers calls.

    Examples
    --------
    >>> split({"a": 4, "b": 9, "c": 2, "d": 3}, 6)
    [['b'], ['a', 'c'], ['d']]
    """
    shards: list[list[str]] = []
    current: list[str] = []
    for name, size in sizes.items():
        if size > most:
            shards.append([name])
            continue
        if sum(sizes[one] for one in current) + size > most:
            shards.append(current)
            current = []
        current.append(name)
    return [*shards, current] if current else shards


def save_tensors(folder: Path, tensors: Mapping[str, np.ndarray], max_shard_size: Any = None) -> None:
    """Write model.safetensors, or shards and their index; each file atomically. An older save's other files go last.

    Parameters
    ----------
    max_shard_size : the most bytes in a file, as ``size_in_bytes`` takes it; None: one file.
    """
    most = math.inf if max_shard_size is None else size_in_bytes(max_shard_size)
    shards = split({name: x.nbytes for name, x in tensors.items()}, most)
    if len(shards) == 1:
        _write(folder / SINGLE, tensors)
        _remove(folder, {SINGLE})
        return
    files = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for file, names in zip(files, shards, strict=True):
        _write(folder / file, {name: tensors[name] for name in names})
    metadata = {"total_parameters": sum(x.size for x in tensors.values())}
    metadata["total_size"] = sum(x.nbytes for x in tensors.values())
    table = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    text = json_text({"metadata": metadata, "weight_map": table}, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / INDEX, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    _remove(folder, {INDEX, *files})


def _write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    write_atomically(path, lambda temporary: save_file(dict(tensors), temporary, metadata={"format": "pt"}))


def _remove(folder: Path, kept: set[str]) -> None:
    """Remove the other files that a model's weights may be in, so that no reader mixes two saves; the index first.

    A killed save may have left the temporary folder of a shard that this one does not have.
    """
    clear_leftovers_of(folder, ANY)
    shards = sorted(path.name for path in folder.iterdir() if SHARD.fullmatch(path.name))
    for name in (INDEX, SINGLE, *shards):
        path = folder / name
        if name not in kept and (path.is_file() or path.is_symlink()):
            try:
                path.unlink()
            except OSError as error:
                must = f"{path} of an older save must be removed"
                raise InputError(must, f"{error.strerror or error}", "remove it yourself") from None
