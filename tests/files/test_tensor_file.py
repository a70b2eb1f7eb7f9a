"""A safetensors file that is written tensor by tensor, in any order, is the file that ``write_tensors`` writes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from minibiogpt.files.safetensors import DTYPES, TensorFile, TensorToWrite, write_tensors

SHAPES = {
    "a": ("U8", (3, 5)), "b": ("F32", (2, 3)), "c": ("F16", (7,)), "d": ("I8", ()), "e": ("F64", (2,)),
    "f": ("U8", (0,)), "g": ("BF16", (1, 2)), "h": ("F32", (4,)),
}  # fmt: skip


def test_any_order_and_any_pieces_give_the_same_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.integers(0, 99, shape).astype(DTYPES[dtype]) for name, (dtype, shape) in SHAPES.items()}
    tensors = {n: TensorToWrite(dtype, shape, partial(iter, [values[n]])) for n, (dtype, shape) in SHAPES.items()}
    write_tensors(tmp_path / "want", tensors)
    for seed in range(5):
        pieces = [(name, i) for name, x in values.items() for i in range(0, x.size, 2)]
        Random(seed).shuffle(pieces)
        with TensorFile(tmp_path / "got", SHAPES) as file:
            for name, start in pieces:
                file.write(name, values[name].reshape(-1)[start : start + 2], start)
        assert (tmp_path / "got").read_bytes() == (tmp_path / "want").read_bytes()
