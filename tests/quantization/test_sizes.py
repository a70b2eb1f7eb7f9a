"""The bytes that are computed from a shape are those that a packed weight has."""

from __future__ import annotations

import numpy as np
import pytest

from minibiogpt.quantization import FORMATS, Quantization
from minibiogpt.quantization.sizes import fits, packed_bytes
from minibiogpt.quantization.weights import four_bit_weight

SHAPES = ((64, 128), (1, 1), (7, 10), (33, 32), (129, 100), (300, 192))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_packed_weight_has_the_computed_bytes(kind: str) -> None:
    shapes = [shape for shape in SHAPES if fits(kind, shape)]
    assert (shapes == list(SHAPES)) is (kind not in ("q8_0", "q4_0"))
    for shape in shapes:
        for double_quant in (True, False):
            packed = Quantization(kind, double_quant).pack(np.ones(shape, np.float32), "float32")
            assert packed.nbytes == packed_bytes(kind, shape, double_quant=double_quant), shape


def test_blocks_may_have_another_size() -> None:
    for block in (32, 4096):
        for double_quant in (True, False):
            packed = four_bit_weight(np.ones((100, 97), np.float32), "fp4", double_quant, block)
            assert packed.nbytes == packed_bytes("fp4", (100, 97), double_quant=double_quant, block=block)


def test_a_shape_fits_if_blocks_end_where_rows_do() -> None:
    assert [kind for kind in FORMATS if fits(kind, (64, 48))] == ["nf4", "fp4", "int8", "int8-dynamic"]
