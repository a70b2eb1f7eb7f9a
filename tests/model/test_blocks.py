"""What is computed in blocks, for speed, equals what is computed as a whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, get_backend
from minibiogpt.backend import NumpyBackend
from minibiogpt.backend.numpy import HUGE_PAGE
from minibiogpt.errors import CheckpointError
from minibiogpt.files.safetensors import read_header
from minibiogpt.model import ops
from minibiogpt.model.attention import attend_blocked, attend_eager, make_mask
from minibiogpt.trace import Tap
from tests.budgets import LANE_A
from tests.support.configs import CONFIGS

RNG = np.random.default_rng(0)
ROWWISE = [ops.gelu, ops.gelu_new, ops.selu, ops.softmax, ops.log_softmax]


def assert_near(got: np.ndarray, want: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert np.abs(got - want).max() <= LANE_A * np.abs(want).max()


@pytest.fixture
def numpy_backend(monkeypatch: pytest.MonkeyPatch) -> NumpyBackend:
    """The backend, whose block sizes may be changed for one test."""
    backend = get_backend("numpy")
    assert isinstance(backend, NumpyBackend)
    monkeypatch.setattr(backend, "block_elements", backend.block_elements)
    return backend


@pytest.mark.parametrize("equation", ROWWISE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("block_elements", [1, 7, 20, 3 * 5 * 7 - 1])
def test_row_by_row_is_bit_for_bit_the_whole(
    equation: Callable[[np.ndarray], np.ndarray], block_elements: int, numpy_backend: NumpyBackend
) -> None:
    for dtype in ("float32", "float64"):
        x = RNG.normal(0, 3, (3, 5, 7)).astype(dtype)
        want = equation(x)
        numpy_backend.block_elements = block_elements
        assert np.array_equal(equation(x), want)
        assert equation(x[0, 0]).shape == (7,), "a single row is not a batch"
        numpy_backend.block_elements = 1 << 17


def test_a_block_is_no_larger_than_block_elements_or_a_row(numpy_backend: NumpyBackend) -> None:
    sizes: list[int] = []

    def identity(rows: np.ndarray) -> np.ndarray:
        sizes.append(rows.size)
        return rows

    for block_elements, want in ((1, [7] * 15), (20, [14] * 7 + [7]), (105, [105]), (104, [98, 7])):
        numpy_backend.block_elements = block_elements
        sizes.clear()
        assert numpy_backend.map_rows(identity, np.zeros((3, 5, 7))).shape == (3, 5, 7)
        assert sizes == want


@pytest.mark.parametrize("heads_at_once", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("padding", ["none", "left", "right", "blind"])
def test_heads_together_or_apart_attend_alike(heads_at_once: int, padding: str, numpy_backend: NumpyBackend) -> None:
    q, (k, v) = RNG.normal(size=(3, 3, 5, 7)), RNG.normal(size=(2, 3, 3, 11, 7))
    real = np.ones((3, 11), dtype=bool)
    real[1] = {"left": np.arange(11) > 3, "right": np.arange(11) < 8, "blind": np.arange(11) > 8}.get(padding, real[1])
    mask = make_mask(numpy_backend, 5, 11, None if padding == "none" else real)
    for head_mask in (None, np.array([1.0, 0.5, 0.0])):
        want, _ = attend_eager(q, k, v, mask, head_mask, Tap())
        for rows, columns in ((2, 3), (5, 11)):
            numpy_backend.block_elements = heads_at_once * rows * columns
            assert_near(attend_blocked(q, k, v, mask, head_mask, rows, columns), want)


def test_buffers_are_side_by_side_from_a_page_on() -> None:
    shapes = {"a": (3, 5), "b": (), "c": (0, 7), "d": (11,)}
    for dtype in ("float32", "float64"):
        buffers = dict(get_backend("numpy").allocate(shapes, dtype))
        assert {name: (x.shape, str(x.dtype)) for name, x in buffers.items()} == {
            n: (s, dtype) for n, s in shapes.items()
        }
        for i, x in enumerate(buffers.values()):
            assert x.flags.c_contiguous
            x[...] = i
        assert [np.unique(x).tolist() for x in buffers.values()] == [[0], [1], [], [3]], "buffers overlap"
        assert buffers["a"].ctypes.data % HUGE_PAGE == 0


def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = read_header(file)[1]
    last = max(tensors.values(), key=lambda tensor: tensor.end)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(
        CheckpointError, match="model.safetensors must be complete; found fewer bytes than its header lists"
    ):
        last.read_into(np.empty(last.shape, np.float32))
