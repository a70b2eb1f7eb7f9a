"""Write named arrays to one file, in the format that its ending names: safetensors, or NumPy's npz."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.safetensors import DTYPES, TensorToWrite, write_tensors
from minibiogpt.files.writing import write_atomically

NPZ = ".npz"
ENDINGS = ("", ".safetensors", NPZ)
"""The endings that ``write_arrays`` takes; without one it writes safetensors."""


def array_file(path: str | os.PathLike[str], what: str = "the file of arrays") -> Path:
    """Return the path of a file of arrays.

    Raises
    ------
    InputError
        If it is not a path, or ends in something other than .safetensors or .npz.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise InputError(f"{what} must be a path", short_repr(path), 'write "arrays.safetensors" or "arrays.npz"')
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        stem = short_repr(Path(path).stem)[1:-1]
        must = f"{what} must end in .safetensors or .npz"
        raise InputError(must, short_repr(Path(path).suffix), f"write {stem}.safetensors or {stem}.npz")
    return Path(path)


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the arrays atomically; ``numpy.load`` and ``safetensors`` read them back by the same names.

    An npz file keeps their order; a safetensors file begins with the widest dtypes.

    Parameters
    ----------
    path : ends in .npz for NumPy's format, in .safetensors or without an ending for safetensors.
    metadata : {key: text} of a safetensors file; an npz file has no place for it, so it is left out there.

    Raises
    ------
    InputError
        If the ending is a different one, the file cannot be written, or an array or a name does not fit the format.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> file = Path(tempfile.mkdtemp()) / "arrays.npz"
    >>> write_arrays(file, {"step.0/logits": np.array([1.0, 2.0])})
    >>> np.load(file)["step.0/logits"].tolist()
    [1.0, 2.0]
    """
    file = array_file(path)
    if file.suffix.lower() == NPZ:
        _check_npz(file, arrays)
        write_atomically(file, lambda temporary: _write_npz(temporary, arrays))
        return
    tensors = {name: _tensor(file, name, np.asanyarray(x)) for name, x in arrays.items()}
    write_atomically(file, lambda temporary: write_tensors(temporary, tensors, metadata))


def _tensor(file: Path, name: str, x: np.ndarray) -> TensorToWrite:
    if x.dtype.name == "bfloat16":  # of ml_dtypes; NumPy has none
        return TensorToWrite("BF16", x.shape, lambda: [np.ascontiguousarray(x).view(np.uint16)])
    code = next((code for code, dtype in DTYPES.items() if code != "BF16" and np.dtype(dtype) == x.dtype), None)
    if code is None:
        must = f"{file} must hold floats, integers or booleans"
        raise InputError(must, f"{short_repr(name)} of {x.dtype}", "convert it with .astype")
    return TensorToWrite(code, x.shape, lambda: [x])


def _check_npz(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    for name, x in arrays.items():
        if x.dtype.kind not in "fiub":
            found, remedy = (
                f"{short_repr(name)} of {x.dtype}",
                f"write {file.stem}.safetensors, or convert it with .astype",
            )
            raise InputError(f"{file} must hold floats, integers or booleans that NumPy has", found, remedy)
        if "\0" in name:
            raise InputError(f"a name in {file} must hold no null character", short_repr(name), "rename the array")


def _write_npz(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what ``numpy.savez`` would, which takes no array named "file"; the bytes are those of any other day."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, x in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(x), allow_pickle=False)
