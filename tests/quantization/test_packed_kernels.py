"""Products with packed weights on a device against NumPy: every format, dtype, number of rows and layout.

On the CPU the threads of a block run in turn, in several orders, so that a missing barrier shows.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from minibiogpt import get_backend
from minibiogpt.backend.products import packed_kernels
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.model.ops import linear
from minibiogpt.quantization import Quantization
from minibiogpt.quantization.dynamic import DynamicEightBits, QuantizedRows
from minibiogpt.quantization.weights import four_bit_weight
from tests.backend.test_kernels import ORDERS, assert_near, numbers, wide
from tests.support import emulated
from tests.support.cuda_on_host import Function
from tests.support.device import device, host, require_dtype

KINDS: dict[str, Any] = {
    "nf4": lambda x: Quantization("nf4").pack(x, "float32"),
    "nf4, plain": lambda x: Quantization("nf4", double_quant=False).pack(x, "float32"),
    "nf4 of float16": lambda x: Quantization("nf4").pack(x.astype("float16"), "float32"),
    "nf4, blocks of 128": lambda x: four_bit_weight(x, "nf4", block=128),
    "fp4": lambda x: Quantization("fp4").pack(x, "float32"),
    "fp4, plain": lambda x: Quantization("fp4", double_quant=False).pack(x, "float32"),
    "int8": lambda x: Quantization("int8").pack(x, "float32"),
    "q8_0": lambda x: Quantization("q8_0").pack(x, "float32"),
    "q4_0": lambda x: Quantization("q4_0").pack(x, "float32"),
}
# M, N, K: of one group of rows and several, one block of threads and several, with K in eights, in blocks, and odd.
SIZES = [(1, 1, 1), (1, 9, 64), (2, 8, 40), (8, 17, 288), (9, 5, 33), (32, 3, 96), (1, 4, 1056), (3, 40, 416)]
MANY = [(33, 5, 64), (40, 7, 33), (130, 90, 32)]  # for cuBLAS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    device("emulated")  # registers the dtype name bfloat16 with NumPy
    return str(request.param)


def weight_of(kind: str, N: int, K: int, seed: int = 0) -> PackedWeight:
    """Return a weight, with blocks of very different sizes."""
    rng = np.random.default_rng([seed, N, K])
    x = rng.normal(0, 1, (N, K)) * 10.0 ** rng.integers(-3, 2, (N, 1))
    return KINDS[kind](x.astype(np.float32))  # type: ignore[no-any-return]


def sizes_of(kind: str, sizes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    return [size for size in sizes if kind not in ("q8_0", "q4_0") or size[2] % 32 == 0]


@pytest.mark.parametrize("seed", ORDERS)
def test_a_few_rows(backend: Any, dtype: str, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Function, "order", seed)
    for (M, N, K), biased in itertools.product(sizes_of(kind, SIZES), (True, False)):
        x, b = numbers(backend, dtype, M, K, seed=1), numbers(backend, dtype, N, seed=2) if biased else None
        weight = weight_of(kind, N, K)
        want = wide(x) @ np.asarray(weight, np.float64).T + (0 if b is None else wide(b))
        got = linear(x, backend.asarray(weight, dtype), b)
        assert str(got.dtype) == dtype
        assert_near(got, want, dtype)


def test_many_rows(backend: Any, dtype: str, kind: str) -> None:
    for (M, N, K), biased in itertools.product(sizes_of(kind, MANY), (True, False)):
        x, b = numbers(backend, dtype, M, K, seed=1), numbers(backend, dtype, N, seed=2) if biased else None
        weight = weight_of(kind, N, K)
        values = np.asarray(weight, np.float32).astype(dtype).astype(np.float64)  # rounded to the dtype of the product
        got = linear(x, backend.asarray(weight, dtype), b)
        assert str(got.dtype) == dtype
        assert_near(got, wide(x) @ values.T + (0 if b is None else wide(b)), dtype)


def test_it_unpacks_to_numpys_values(backend: Any, dtype: str, kind: str) -> None:
    """Bit for bit, of the whole weight, of a part, and of a row as a product sees it."""
    for _, N, K in sizes_of(kind, SIZES):
        weight = weight_of(kind, N, K)
        values = np.asarray(weight, np.float32)
        moved = backend.asarray(weight, dtype)
        got = backend.unpack(moved)
        assert str(got.dtype) == dtype
        assert np.array_equal(host(got), values.astype(dtype).astype(np.float64))
        if "nf" in kind or "fp" in kind:
            part = moved.part(N // 3, N)
            assert np.array_equal(host(backend.unpack(part)), host(got)[N // 3 :])
        if dtype in ("float32", "float64"):
            for start in range(0, min(K, 64), 32):
                few = np.eye(K)[start : start + 32]
                picked = backend.product(backend.asarray(few).astype(dtype), moved, None)
                assert np.array_equal(host(picked), few @ values.astype(np.float64).T)
            assert np.array_equal(host(picked), host(backend.product(backend.asarray(few).astype(dtype), moved)))


def test_a_part_of_a_weight_is_multiplied(backend: Any) -> None:
    for shape in ((9, 64), (9, 40), (9, 33)):  # blocks end with rows, eights do, nothing does
        weight, x = weight_of("nf4", *shape), numbers(backend, "float32", 40, shape[1])
        part = backend.asarray(weight).part(3, 8)
        for rows in (x[:2], x):
            assert_near(backend.product(rows, part), wide(rows) @ np.asarray(weight, np.float64)[3:8].T, "float32")


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_sums_are_float32(backend: Any, half: str) -> None:
    require_dtype(backend, half)
    for kind, K in (("int8", 4097), ("int8", 4096), ("nf4, plain", 4097), ("q8_0", 4096)):  # in eights, and not
        weight = KINDS[kind](np.ones((1, K), np.float32))
        x = np.full((2, K), 2.0**-9)  # too small to be added to 8, in 16 bits
        x[:, :256] = 1  # 8 of each thread
        got = backend.product(backend.asarray(x).astype(half), backend.asarray(weight, half))
        assert_near(got, x @ np.asarray(weight, np.float64).T, half)  # 263.5


def host_of(weight: PackedWeight) -> PackedWeight:
    return get_backend("numpy").asarray(weight)


@pytest.mark.parametrize("K", [33, 64])
def test_values_are_not_rounded_to_16_bits(backend: Any, dtype: str, K: int) -> None:
    """Otherwise the difference of two values that are close would be wrong by percents."""
    weight = KINDS["int8"](np.linspace(0.5, 1, K, dtype=np.float32)[None])
    x = np.eye(8, K, 1) - np.eye(8, K)  # of neighbours
    got = backend.product(backend.asarray(x).astype(dtype), backend.asarray(weight, dtype))
    assert_near(got, x @ np.asarray(weight, np.float64).T, dtype)


def test_float64_takes_the_float32_values_as_they_are(backend: Any) -> None:
    weight = weight_of("nf4", 5, 64)
    x = numbers(backend, "float64", 2, 64)
    exact = wide(x) @ np.asarray(weight, np.float64).T
    assert_near(backend.product(x, backend.asarray(weight, "float64")), exact, "float64")


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The name and the last argument of each launch: whether eights are loaded."""
    backend = device("emulated")
    found: list[tuple[str, Any]] = []
    original = backend.packed_products._launch

    def launch(name: str, dtype: Any, blocks: int, *args: Any, **options: Any) -> None:
        found.append((name, args[-1]))
        original(name, dtype, blocks, *args, **options)

    monkeypatch.setattr(backend.packed_products, "_launch", launch)
    return found


def test_eights_are_loaded_only_where_they_begin(launches: list[tuple[str, Any]]) -> None:
    """A device can load 16 bytes only from aligned addresses. A CPU loads from any, so the test reads the argument."""
    backend = device("emulated")
    flat = numbers(backend, "float32", 200)

    def shifted(x: Any) -> Any:
        """Return a copy of an array of bytes that starts at an odd address."""
        raw = np.zeros(x.nbytes + 16, np.uint8)
        start = -raw.ctypes.data % 16 + 1
        raw[start : start + x.nbytes] = host(x).reshape(-1).view(np.uint8)
        return emulated.EmulatedArray(raw[start : start + x.nbytes].view(x.dtype).reshape(x.shape))

    for kind, name in (("nf4", "packed_product"), ("int8", "packed_product"), ("dynamic", "integer_product")):
        threshold = {"dynamic": 0.0}.get(kind)

        def packed(K: int, threshold: float | None = threshold, kind: str = kind) -> Any:
            if threshold is None:
                return backend.asarray(weight_of(kind, 3, K))
            return backend.asarray(dynamic_weight(3, K, threshold))

        aligned = packed(64)
        moved = aligned.with_arrays(lambda x: shifted(x) if x.itemsize == 1 and x.ndim == 2 else x)
        rows, off = flat[:128].reshape(2, 64), flat[1:129].reshape(2, 64)
        cases = [(rows, aligned, 1), (off, aligned, int(kind == "dynamic")), (rows, moved, 0)]
        cases += [(flat[:66].reshape(2, 33), packed(33), 0), (flat[:24].reshape(2, 12), packed(12), 0)]
        cases += [(flat[:80].reshape(2, 40), packed(40), 1)]
        for x, weight, want in cases:
            launches.clear()
            got = backend.product(x, weight, None)
            assert launches[-1] == (f"{name}_8", want)
            if threshold is None:
                assert_near(got, wide(x) @ np.asarray(host_of(weight), np.float64).T, "float32")


def test_rows_and_biases_may_have_any_layout(backend: Any, dtype: str) -> None:
    weight = weight_of("nf4", 8, 40)
    moved = backend.asarray(weight, dtype)
    x, b = numbers(backend, dtype, 40, 40), numbers(backend, dtype, 16, seed=3)[::-2]
    for rows in (x.T, x[::-1][:5], numbers(backend, dtype, 8, 80)[:, ::2]):
        for bias in (b, None):
            values = np.asarray(weight, np.float32).astype(dtype if len(rows) > 32 else "float32").astype(np.float64)
            want = wide(rows) @ values.T + (0 if bias is None else wide(bias))
            assert_near(backend.product(rows, moved, bias), want, dtype)


def test_a_weight_that_no_kernel_reads_is_multiplied_on_numpy(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As golden's weights that round the rows of their products."""
    weight = weight_of("nf4", 5, 64)
    monkeypatch.setattr(type(weight), "layout", None)
    monkeypatch.setattr(type(weight), "prepared", lambda self, rows: 2 * rows)
    moved, x, b = backend.asarray(weight), numbers(backend, "float32", 2, 64), numbers(backend, "float32", 5)
    values = np.asarray(weight, np.float64)
    assert_near(backend.product(x, moved, b), 2 * wide(x) @ values.T + wide(b), "float32")
    assert_near(backend.product(x, moved), 2 * wide(x) @ values.T, "float32")
    assert np.array_equal(host(backend.unpack(moved)), values)


def test_what_is_switched_off_is_not_launched(launches: list[tuple[str, Any]]) -> None:
    backend = device("emulated")
    x = numbers(backend, "float32", 2, 64)
    backend.use_kernels = False
    try:
        for weight in (weight_of("nf4", 5, 64), dynamic_weight(5, 64)):
            backend.product(x, backend.asarray(weight))
    finally:
        backend.use_kernels = True
    assert [name for name, _ in launches] == ["unpack", "quantize_rows"]


def test_other_dtypes_and_no_rows_are_left_to_tiles(backend: Any) -> None:
    for weight in (weight_of("nf4", 5, 64), dynamic_weight(5, 64)):
        moved, x = backend.asarray(weight), numbers(backend, "float32", 2, 64)
        b = numbers(backend, "float64", 5)
        plain = host(backend.product(x, moved))
        assert_near(backend.product(x, moved, b), plain + wide(b), "float32")
        empty = backend.product(x[:0], moved, b)
        assert empty.shape == (0, 5)
        assert str(empty.dtype) == "float32"
        backend.use_kernels = False
        try:
            assert_near(backend.product(x, moved), plain, "float32")
        finally:
            backend.use_kernels = True


def test_a_tile_is_a_part_of_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many rows, no array is as large as the weight in float32."""
    backend = device("emulated")
    monkeypatch.setattr(packed_kernels, "TILE", 64 * 64)
    N, K = 1000, 64
    x = numbers(backend, "float32", 40, K)
    for weight in (weight_of("nf4", N, K), dynamic_weight(N, K, 1.5)):
        moved = backend.asarray(weight)
        want = get_backend("numpy").product(host(x).astype(np.float32), weight)
        with emulated.little_memory(200_000):
            got = backend.product(x, moved)
        assert_near(got, want, "float32")
        with emulated.little_memory(200_000), pytest.raises(MemoryError):
            backend.unpack(moved)


def test_tiles_cover_every_output_once() -> None:
    assert [list(packed_kernels._tiles(N, K)) for N, K in ((1, 1 << 23), (5, 8))] == [[slice(0, 1)], [slice(0, 5)]]
    for N, K in ((6400, 1600), (1600, 6400), (1000, 1 << 14), (100, 1 << 20)):
        tiles = list(packed_kernels._tiles(N, K))
        assert [one.start for one in tiles[1:]] == [one.stop for one in tiles[:-1]]
        assert (tiles[0].start, tiles[-1].stop) == (0, N)
        assert all((one.stop - one.start) * K <= packed_kernels.TILE for one in tiles)
        assert len({one.stop - one.start for one in tiles[:-1]}) <= 1
        assert tiles[0].stop % 64 == 0 or K * 64 > packed_kernels.TILE


def dynamic_weight(N: int, K: int, threshold: float = 0.0, seed: int = 0) -> DynamicEightBits:
    x = np.random.default_rng([seed, N, K]).normal(0, 1, (N, K)).astype(np.float32)
    weight = Quantization("int8-dynamic", threshold=threshold).pack(x, "float32")
    assert isinstance(weight, DynamicEightBits)
    return weight


@pytest.mark.parametrize("threshold", [0.0, 2.0, 100.0])
@pytest.mark.parametrize("seed", ORDERS)
def test_rows_are_quantized_as_on_numpy(
    backend: Any, dtype: str, threshold: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Function, "order", seed)
    for M, K in ((1, 1), (3, 33), (9, 300), (2, 1000)):
        x = numbers(backend, dtype, M, K, seed=seed)
        x[0] *= 1e-38
        x[-1] = 0.0
        x[:, K // 2] *= 3
        codes, scales, outliers = backend.packed_products._quantized(x, threshold, weight_unit())
        want = QuantizedRows(host(x).astype(np.float32), threshold)
        assert np.array_equal(host(codes).astype(int) + 128, want.codes)
        assert np.array_equal(host(scales), want.scales[:, 0])
        columns = [] if want.outliers is None else want.outliers[0].tolist()
        assert (outliers is None) == (threshold == 0)
        assert outliers is None or np.flatnonzero(host(outliers)).tolist() == columns


def weight_unit() -> float:
    layout = dynamic_weight(1, 1).layout
    assert layout
    return layout.unit


def test_integers_are_summed_exactly(backend: Any) -> None:
    """Sums beyond 2^24, which float32 cannot hold, by the kernel and by cuBLAS."""
    rng = np.random.default_rng(0)
    for M, K in ((1, 5000), (8, 5001), (32, 4096), (33, 5000), (40, 5001)):
        x = rng.choice([127.0, 126.0], (M, K))
        x[:, 0] = 127
        codes = rng.choice(np.array([-128, -127, 127, 126], np.int8), (3, K))
        codes[1] = 127
        weight = DynamicEightBits((3, K), codes, np.full(3, 127, np.float32))
        scale = weight.scales * np.float32(weight_unit())
        want = (x.astype(np.int64) @ weight.codes.astype(np.int64).T) * (
            np.float32(127) * np.float32(weight_unit()) * scale
        )
        got = backend.product(backend.asarray(x), backend.asarray(weight, "float64"))
        assert np.array_equal(host(got), want)


@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_a_dynamic_product_is_numpys(backend: Any, dtype: str, threshold: float) -> None:
    for (M, N, K), biased in itertools.product([*SIZES, *MANY], (True, False)):
        x, b = numbers(backend, dtype, M, K, seed=1), numbers(backend, dtype, N, seed=2) if biased else None
        weight = dynamic_weight(N, K, threshold)
        given = host(x).astype(np.float64)
        want = get_backend("numpy").product(given, weight.astype("float64"), None if b is None else wide(b))
        got = linear(x, backend.asarray(weight, dtype), b)
        assert str(got.dtype) == dtype
        # The outliers' products are float32 in every dtype.
        assert_near(got, want, "float32" if threshold and dtype == "float64" else dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_what_is_not_finite_stays_so(backend: Any, value: float, threshold: float) -> None:
    """In a row's own outputs only, so that logits that are no numbers are reported."""
    for weight in (weight_of("nf4", 9, 64), dynamic_weight(9, 64, threshold)):
        for M in (2, 40):
            x = np.random.default_rng(0).normal(0, 0.3, (M, 64)).astype(np.float32)
            x[1, 5] = value
            with np.errstate(invalid="ignore"):  # the stand-in computes with NumPy
                got = host(backend.product(backend.asarray(x), backend.asarray(weight)))
            assert not np.isfinite(got[1]).any()
            assert np.isfinite(np.delete(got, 1, axis=0)).all()
