"""Double quantization against bitsandbytes, bit for bit on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minibiogpt.quantization.code_books import DYNAMIC, NF4, dynamic_code_book
from minibiogpt.quantization.double import STEPS, DoubleQuantized, dequantize, mean, quantize, quantize_groups
from minibiogpt.quantization.four_bits import quantize as quantize_four_bits
from tests.budgets import DOUBLE_OFFSET_ULPS, QUANTIZATION_ROUNDING
from tests.quantization.tensors import COUNT, bits, tensor

F = pytest.importorskip("bitsandbytes", reason="bitsandbytes is the reference of double quantization").functional
torch = pytest.importorskip("torch")

LENGTHS = (1, 2, 7, 8, 9, 100, 255, 256, 257, 1000, 1024, 5000, 16384)
LONG = (32768, 40000, 65536, 160000, 262144 + 13)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _one_thread(threads: None) -> None:
    torch.set_num_threads(1)


def absmax(seed: int, n: int) -> np.ndarray:
    return np.abs(tensor(seed, n, DYNAMIC))


def test_the_dynamic_map() -> None:
    np.testing.assert_array_equal(bits(dynamic_code_book()), bits(F.create_dynamic_map().numpy()))
    np.testing.assert_array_equal(DYNAMIC, dynamic_code_book())
    assert not DYNAMIC.flags.writeable
    assert (np.diff(DYNAMIC) > 0).all()


@pytest.mark.usefixtures("_one_thread")
def test_the_mean_of_any_length() -> None:
    rng = np.random.default_rng(0)
    for n in [*range(1, 1200), *range(1200, 20000, 977), *LONG]:
        x = np.abs(rng.standard_normal(n)).astype(np.float32)
        assert mean(x) == torch.from_numpy(x).mean().item(), n
    assert mean(np.empty(0, np.float32)) == 0


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("kind", range(10))
def test_random_and_adversarial_absmax(kind: int) -> None:
    for seed in range(kind, COUNT, 10):
        x = absmax(seed, LENGTHS[seed % len(LENGTHS)])
        if seed % 10 == 4:
            x /= 2**15  # a sum of more would overflow
        theirs = torch.from_numpy(x)
        offset = theirs.mean()
        codes, state = F.quantize_blockwise(theirs - offset, blocksize=256)
        got = quantize(x)
        assert (got.offset, got.block) == (offset.item(), 256)
        np.testing.assert_array_equal(got.codes, codes.numpy())
        np.testing.assert_array_equal(bits(got.absmax), bits(state.absmax.numpy()))
        np.testing.assert_array_equal(got.code_book, state.code.numpy())
        want = (F.dequantize_blockwise(codes, state) + offset).numpy()
        np.testing.assert_array_equal(bits(dequantize(got)), bits(want))


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("n", [64, 100, 64 * 256, 64 * 300 + 5, 64 * 40000])
def test_statistics_of_a_weight(n: int) -> None:
    x = tensor(0, n, NF4)
    _, state = F.quantize_4bit(torch.from_numpy(x), quant_type="nf4", compress_statistics=True)
    got = quantize(quantize_four_bits(x, NF4)[1])
    np.testing.assert_array_equal(got.codes, state.absmax.numpy())
    np.testing.assert_array_equal(bits(got.absmax), bits(state.state2.absmax.numpy()))
    assert got.offset == state.offset.item()


def test_every_step_of_the_grid_and_the_floats_beside_it() -> None:
    edges = ((np.arange(STEPS + 1) - 0.5) / STEPS * 2 - 1).astype(np.float32)
    x = np.concatenate([edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-2))])
    x = np.clip(np.append(x, np.zeros(-len(x) % 255, np.float32)), -1, 1).reshape(-1, 255)
    x = np.concatenate([np.ones((len(x), 1), np.float32), x], axis=1).reshape(-1)
    codes, largest = quantize_groups(x)
    want, state = F.quantize_blockwise(torch.from_numpy(x), blocksize=256)
    np.testing.assert_array_equal(codes, want.numpy())
    np.testing.assert_array_equal(largest, state.absmax.numpy())
    assert len(np.unique(codes)) == 249  # around 0, codes are closer to each other than the steps


def test_with_more_threads_only_the_offset_may_differ(threads: None) -> None:
    torch.set_num_threads(2)
    ulps = 0
    for n in LONG:
        for seed in range(0, 50, 10):
            x = absmax(seed, n)
            offset = torch.from_numpy(x).mean().numpy()
            ulps = max(ulps, abs(int(bits(mean(x))) - int(bits(offset))))
            codes, state = F.quantize_blockwise(torch.from_numpy(x - offset), blocksize=256)
            got = quantize_groups(x - offset)
            np.testing.assert_array_equal(got[0], codes.numpy())
            np.testing.assert_array_equal(got[1], state.absmax.numpy())
    assert ulps <= DOUBLE_OFFSET_ULPS


def test_some_blocks() -> None:
    got = quantize(absmax(0, 1000))
    whole = dequantize(got)
    for start, stop in ((0, 1000), (0, 256), (255, 257), (300, 301), (999, None), (5, 5), (0, None), (256, 2000)):
        np.testing.assert_array_equal(dequantize(got, start, stop), whole[start:stop])
    assert dequantize(got).dtype == np.float32


def test_nothing() -> None:
    got = quantize(np.empty(0, np.float32))
    assert (got.codes.size, got.absmax.size, dequantize(got).size) == (0, 0, 0)


def test_another_code_book_and_another_group() -> None:
    book = np.linspace(-1, 1, 256, dtype=np.float32)
    double = DoubleQuantized(np.array([0, 255, 255], np.uint8), np.array([2, 4], np.float32), 1.0, book, 2)
    assert dequantize(double).tolist() == [-1, 3, 5]


@given(arrays(np.float32, st.integers(1, 600), elements=st.floats(0, 2.0**20, width=32, allow_subnormal=False)))
def test_the_error_is_at_most_half_the_widest_gap_and_a_step(x: np.ndarray) -> None:
    """The largest positive difference is exact; -1 is not in the map, and its neighbour is 0.007 away."""
    got = quantize(x)
    error = np.abs(dequantize(got).astype(np.float64) - x)
    half = max(np.diff(DYNAMIC.astype(np.float64)).max() / 2, 1 + float(DYNAMIC[0])) + 1 / STEPS
    rounding = QUANTIZATION_ROUNDING * (np.abs(x) + abs(got.offset))
    assert (error <= half * got.absmax.repeat(256)[: x.size] + rounding).all()
