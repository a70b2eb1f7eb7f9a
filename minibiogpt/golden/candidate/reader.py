"""Open a candidate in any of the formats that porters write, and refuse other files by what they are.

safetensors, npz, a single npy, torch.save, a pickle of NumPy arrays, JSON, or a folder of npy and raw files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minibiogpt.checkpoint.torch_archive import LEGACY
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.files.kinds import START, kind_of_bytes
from minibiogpt.files.reading import check_regular, read_json
from minibiogpt.files.safetensors import DTYPES, StoredTensor, read_header
from minibiogpt.golden.candidate.nested import Nested
from minibiogpt.golden.candidate.npy import NPY, members_of, open_archive, read_npy
from minibiogpt.golden.candidate.pickled import read_plain, read_torch
from minibiogpt.golden.candidate.raw import ENDINGS, read_raw
from minibiogpt.golden.candidate.tensor import MAX_AXES, NAMES, SAVE, Tensor, check_count, corrupted, not_numeric

ZIP = b"PK\x03\x04"
FORMS = "safetensors, npz, npy, torch.save, a pickle of arrays, JSON, or a folder of npy or raw files"
WHOLE = (".safetensors", ".npz", ".pt", ".pth", ".pkl", ".json")  # endings of files that hold several arrays
PICKLED = (".pkl", ".pickle")
JSON_NOTE = "numbers in JSON are judged as float64: if you computed in float32, add --precision float32"
Expected = Callable[[str], tuple[tuple[int, ...], bool] | None]


@contextmanager
def open_candidate(
    path: Path, expected: Expected = lambda name: None, ignored: dict[str, str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Yield {name: tensor} of the file or folder, in its order. The tensors can be read inside the ``with`` block.

    Parameters
    ----------
    expected : function that returns (shape, has integers) of the case's array with a name, or None; for raw files.
    ignored : gets {name: what it is} of values in JSON or a pickle that are no arrays, such as texts.

    Raises
    ------
    InputError
        If there is no such file or folder, it is corrupted or in another format, or a tensor is not numeric. The
        message names the file and the tensor.
    """
    ignored = {} if ignored is None else ignored
    try:
        start = _start(path)
        if start is None:
            yield _folder(path, expected)
        elif start.startswith(ZIP):
            with open_archive(path) as archive:
                if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in archive.namelist()):
                    yield read_torch(path, ignored)
                else:
                    yield members_of(path, archive)
        else:
            yield _file(path, start, expected, ignored)
    except OSError as error:
        must = f"the candidate {path} must be readable"
        raise InputError(must, error.strerror or str(error), "check the path and its permissions") from None


def _start(path: Path) -> bytes | None:
    """Return the first bytes of the file, or None for a folder."""
    try:
        if path.is_dir():
            return None
        check_regular(path)
        with path.open("rb") as file:
            return file.read(START)
    except FileNotFoundError:
        raise InputError("the candidate must be a file or a folder", f"no {path}", "check the path") from None
    except ValueError as error:
        if isinstance(error, InputError):
            remedy = SAVE if "pipe" in error.found else error.remedy
            raise InputError(f"the candidate {path} must be a file or a folder", error.found, remedy) from None
        raise InputError("the candidate must be a file or a folder", short_repr(str(path)), "check the path") from None


def _file(path: Path, start: bytes, expected: Expected, ignored: dict[str, str]) -> dict[str, Tensor]:
    """Return the tensors of a file that is no zip archive."""
    if start.startswith(NPY):
        return {path.stem: read_npy(path, path.stem)}
    if start.startswith(LEGACY):
        return read_torch(path, ignored)
    kind = kind_of_bytes(start)
    if path.suffix in ENDINGS and (kind is None or len(ENDINGS[path.suffix]) == 1):
        return {path.stem: read_raw(path, path.stem, expected(path.stem))}
    if kind == "a pickle" or (kind in ("a text", None) and path.suffix in PICKLED):  # protocol 0 has no mark
        return read_plain(path, ignored)
    if kind == "JSON":
        return _json(path, ignored)
    if kind is not None:
        raise InputError(f"the candidate {path} must be {FORMS}", kind, SAVE)
    return _safetensors(path)


def _json(path: Path, ignored: dict[str, str]) -> dict[str, Tensor]:
    content = read_json(path, "the candidate must exist", broken=f"write it again: {SAVE}")
    nested = Nested(path, lambda name, value: None if value is None else "true or false", JSON_NOTE, from_json=True)
    found = nested.tensors(content, path.stem)
    ignored |= nested.ignored
    if not found:
        remedy = 'write {"logits": [[...], ...]} or {"logits": {"shape": [...], "data": [...]}}'
        raise InputError(f"the candidate {path} must contain arrays", "JSON without lists of numbers", remedy)
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        stored = read_header(path)[1]
    except InputError as error:
        must = f"the candidate {path} must be a complete safetensors file"
        raise InputError(must, error.found, f"write it again: {SAVE}") from None
    check_count(path, len(stored))
    return {name: _safetensors_tensor(path, name, tensor) for name, tensor in stored.items()}


def _safetensors_tensor(path: Path, name: str, tensor: StoredTensor) -> Tensor:
    if tensor.dtype not in DTYPES:
        raise not_numeric(path, name, tensor.dtype)
    if len(tensor.shape) > MAX_AXES:
        raise corrupted(path, name, f"{len(tensor.shape)} axes")
    dtype = NAMES.get(tensor.dtype) or np.dtype(DTYPES[tensor.dtype]).name
    return Tensor(name, dtype, tensor.shape, tensor.mapped)


def _folder(path: Path, expected: Expected) -> dict[str, Tensor]:
    """Return the tensors of a folder: each npy or raw file is one, named by its path."""
    tensors, others = dict[str, Tensor](), list[str]()
    for parent, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(files):
            one = Path(parent, file)
            if one.suffix != ".npy" and one.suffix not in ENDINGS:
                others.append(one.relative_to(path).as_posix())
                continue
            name = one.relative_to(path).as_posix().removesuffix(one.suffix)
            if name in tensors:
                raise corrupted(path, name, "two files of this name")
            tensors[name] = read_npy(one, name) if one.suffix == ".npy" else read_raw(one, name, expected(name))
            check_count(path, len(tensors))
    if not tensors:
        raise InputError(f"the folder {path} must contain npy files, or raw values as .f32", *_no_arrays(path, others))
    return tensors


def _no_arrays(path: Path, files: list[str]) -> tuple[str, str]:
    """Return what a folder without arrays is, and what to do."""
    if "manifest.json" in files and "tokenizer.json" in files:
        return "a kit", "pass the folder that your implementation wrote; the kit itself comes first: CASE THEIRS"
    if "config.json" in files:
        return "a model", "pass the arrays that your implementation computes, not its weights"
    one = next((file for file in files if file.endswith(WHOLE)), None)
    if one is not None:
        return listed(files, 3), f"pass the file: {path / one}"
    return listed(files, 3) if files else "none", f"{SAVE}; or numpy.save('NAME.npy', array)"
