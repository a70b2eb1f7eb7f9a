"""Each CUDA kernel against its equation in NumPy, on the CPU and on a device, in every dtype.

On the CPU the threads of a block run in turn, in several orders, so that a missing barrier shows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt.backend import kernels
from minibiogpt.backend.kernels import Kernels
from minibiogpt.backend.products.packed_kernels import PackedProducts
from minibiogpt.model import ops
from minibiogpt.model.attention import AttentionMask, attend_blocked, attend_eager, make_mask
from minibiogpt.trace import Tap
from tests.budgets import KERNEL
from tests.compare import drift
from tests.support.cuda_on_host import COMPILER, MISSING, Function
from tests.support.device import DTYPES, device, host

ORDERS = (0, 1, 7)  # forwards, backwards, shuffled


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest) -> Iterator[int]:
    """The order of threads on the CPU. A device chooses its own; there each test just runs several times."""
    Function.order = request.param
    yield request.param
    Function.order = 0


def numbers(backend: Any, dtype: str, *shape: int, seed: int = 0, size: float = 1.0) -> Any:
    """Return normal random values in this dtype, on the backend."""
    return backend.asarray(np.random.default_rng([seed, *shape]).normal(0, size, shape)).astype(dtype)


def assert_near(got: Any, want: Any, dtype: str) -> None:
    got, want = host(got), host(want)
    assert got.shape == want.shape
    assert np.array_equal(np.isnan(got), np.isnan(want))
    found = drift(np.nan_to_num(got), np.nan_to_num(want))
    assert found <= KERNEL[dtype], f"drift {found:.2e}"


def wide(x: Any) -> np.ndarray:
    return host(x).astype(np.float64)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 33), (4, 256), (2, 1000)])
def test_layer_norm(backend: Any, dtype: str, order: int, shape: tuple[int, ...]) -> None:
    x, w, b = (numbers(backend, dtype, *s, seed=i) for i, s in enumerate((shape, shape[-1:], shape[-1:])))
    got = backend.kernels.layer_norm(x, w, b, 1e-5)
    assert str(got.dtype) == dtype
    assert_near(got, ops.layer_norm(wide(x), wide(w), wide(b), 1e-5), dtype)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 300)])
def test_gelu(backend: Any, dtype: str, order: int, shape: tuple[int, ...]) -> None:
    x = numbers(backend, dtype, *shape, size=3)
    assert_near(backend.kernels.gelu(x), ops.gelu(wide(x)), dtype)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 2, 300), (2, 1025)])
def test_softmax(backend: Any, dtype: str, order: int, shape: tuple[int, ...]) -> None:
    x = numbers(backend, dtype, *shape, size=8)
    assert_near(backend.kernels.softmax(x), ops.softmax(wide(x)), dtype)


@pytest.mark.parametrize("values", [[0.0, np.inf, 1.0], [np.nan, 0.0, 1.0], [0.0, 1.0, np.nan], [-np.inf, 0.0, 1.0]])
def test_softmax_of_what_is_not_finite_is_numpys(backend: Any, order: int, values: list[float]) -> None:
    x = backend.asarray(np.float32([values * 40]))
    with np.errstate(invalid="ignore"):
        assert_near(backend.kernels.softmax(x), ops.softmax(wide(x)), "float32")


def mask_of(backend: Any, B: int, T: int, S: int, padded: str) -> AttentionMask:
    if padded == "none":
        return make_mask(backend, T, S, None)
    real = np.ones((B, S), bool)
    for row in range(B):
        real[row, : row + 1 if padded == "left" else 0] = False
        real[row, S - row if padded == "right" else S :] = False
    return make_mask(backend, T, S, backend.asarray(real))


def by_equation(q: Any, k: Any, v: Any, mask: AttentionMask) -> np.ndarray:
    visible = AttentionMask(host(mask.visible), mask.padded, mask.fully_masked_rows)
    return attend_eager(wide(q), wide(k), wide(v), visible, None, Tap())[0]


@pytest.mark.parametrize("padded", ["none", "left", "right"])
@pytest.mark.parametrize(("B", "H", "T", "S"), [(1, 1, 1, 1), (2, 3, 4, 4), (2, 2, 3, 70), (1, 2, 8, 300)])
def test_masked_softmax(backend: Any, dtype: str, order: int, padded: str, B: int, H: int, T: int, S: int) -> None:
    mask = mask_of(backend, B, T, S, padded)
    scores = numbers(backend, dtype, B, H, T, S, size=4)
    hidden = np.where(host(mask.visible), wide(scores), backend.lowest(scores.dtype))
    got = backend.kernels.masked_softmax(scores, mask.visible)
    assert got is scores
    assert_near(got, ops.softmax(hidden), dtype)


@pytest.mark.parametrize("padded", ["none", "left", "right"])
@pytest.mark.parametrize(
    ("B", "H", "T", "S", "Dh"),
    [(1, 1, 1, 1, 1), (2, 3, 1, 5, 8), (2, 2, 3, 70, 32), (1, 2, 8, 300, 64), (1, 1, 1, 3, 7), (1, 2, 2, 40, 301)],
)
def test_attend(backend: Any, dtype: str, order: int, padded: str, B: int, H: int, T: int, S: int, Dh: int) -> None:
    mask = mask_of(backend, B, T, S, padded)
    q, k, v = (numbers(backend, dtype, B, H, n, Dh, seed=i) for i, n in enumerate((T, S, S)))
    got = backend.kernels.attend(q, k, v, mask.visible)
    assert_near(got, by_equation(q, k, v, mask), dtype)


def test_attend_never_reads_what_is_hidden(backend: Any, dtype: str) -> None:
    """The unused part of a cache may hold any values."""
    q = numbers(backend, dtype, 1, 2, 1, 16)
    k, v = numbers(backend, dtype, 1, 2, 9, 16, seed=1), numbers(backend, dtype, 1, 2, 9, 16, seed=2)
    seen = backend.asarray(np.arange(9)[None, None, None] < 6)
    want = by_equation(q, k[:, :, :6], v[:, :, :6], AttentionMask(seen[..., :6], True, False))
    k[:, :, 6:], v[:, :, 6:] = float("nan"), float("inf")
    assert_near(backend.kernels.attend(q, k, v, seen), want, dtype)


def test_attend_takes_part_of_a_cache_in_its_own_layout(backend: Any, dtype: str) -> None:
    store = numbers(backend, dtype, 2, 2, 3, 40, 24)
    k, v = store[0][:, :, :17], store[1][:, :, :17]
    q, mask = numbers(backend, dtype, 2, 3, 2, 24, seed=1), mask_of(backend, 2, 2, 17, "none")
    assert_near(backend.kernels.attend(q, k, v, mask.visible), by_equation(q, k, v, mask), dtype)


def test_attend_leaves_what_it_cannot_do(backend: Any) -> None:
    many, few = numbers(backend, "float32", 1, 1, 9, 4), numbers(backend, "float32", 1, 1, 1, 4)
    k, long = numbers(backend, "float32", 1, 1, 9, 4), numbers(backend, "float32", 1, 1, 13_000, 4)
    seen = backend.asarray(np.ones((1, 1, 9, 13_000), bool))
    assert backend.kernels.attend(many, k, k, seen[..., :9]) is None
    assert backend.kernels.attend(few, long, long, seen[:, :, :1]) is None
    assert backend.kernels.attend(few, k, k[:, :, ::-1], seen[:, :, :1, :9]) is None
    mask = AttentionMask(seen[:, :, :1], padded=False, fully_masked_rows=False)
    assert_near(attend_blocked(few, long, long, mask, None), by_equation(few, long, long, mask), "float32")


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("M", "N", "K"), [(1, 1, 1), (1, 9, 16), (2, 8, 40), (8, 17, 264), (9, 5, 33), (32, 3, 24)])
def test_product(backend: Any, dtype: str, order: int, biased: bool, M: int, N: int, K: int) -> None:
    x, w = numbers(backend, dtype, M, K), numbers(backend, dtype, N, K, seed=1)
    b = numbers(backend, dtype, N, seed=2) if biased else None
    want = wide(x) @ wide(w).T + (0 if b is None else wide(b))
    assert_near(backend.kernels.product(x, w, b), want, dtype)
    assert_near(ops.linear(x, w, b), want, dtype)


def test_more_rows_are_left_to_the_library(backend: Any, dtype: str) -> None:
    x, w, b = numbers(backend, dtype, 33, 8), numbers(backend, dtype, 5, 8, seed=1), numbers(backend, dtype, 5)
    assert backend.kernels.product(x, w, b) is None
    assert backend.kernels.product(x[:2], w[:, ::-1], b) is None
    assert_near(ops.linear(x, w, b), wide(x) @ wide(w).T + wide(b), dtype)


HEADS = [(1, 1, 1, 1, 1), (2, 3, 4, 5, 6), (1, 3, 7, 2, 9), (2, 2, 1, 8, 3), (3, 1, 5, 1, 2)]


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize(("B", "H", "M", "N", "K"), HEADS)
def test_head_products(backend: Any, dtype: str, transposed: bool, B: int, H: int, M: int, N: int, K: int) -> None:
    """In any layout: contiguous, (B, T, H, Dh) transposed as a projection returns it, part of a cache, reversed."""
    a, store = (
        numbers(backend, dtype, B, H, M, K),
        numbers(backend, dtype, B, H, (N if transposed else K) + 3, 11, seed=1),
    )
    b = store[:, :, : N if transposed else K, : K if transposed else N]
    want = 0.5 * wide(a) @ (wide(b).swapaxes(2, 3) if transposed else wide(b))
    projected = backend.xp.empty((B, M, H, K), dtype=dtype).transpose(0, 2, 1, 3)
    projected[...] = a
    reversed_rows = store[:, :, ::-1][:, :, 3:, : b.shape[3]]
    want_reversed = 0.5 * wide(a) @ (wide(reversed_rows).swapaxes(2, 3) if transposed else wide(reversed_rows))
    for left, right, product in ((a, b, want), (projected, b, want), (a, reversed_rows, want_reversed)):
        got = backend.head_products(left, right, transposed=transposed, scale=0.5)
        assert str(got.dtype) == dtype
        assert_near(got, product, dtype)
        out = backend.xp.empty((B, M, H, N), dtype=dtype).transpose(0, 2, 1, 3)
        assert backend.head_products(left, right, transposed=transposed, scale=0.5, out=out) is out
        assert_near(out, product, dtype)


@pytest.mark.parametrize(("B", "H", "Dh", "capacity"), [(1, 1, 1, 1), (2, 3, 8, 5), (3, 2, 100, 4)])
def test_append(backend: Any, dtype: str, order: int, B: int, H: int, Dh: int, capacity: int) -> None:
    keys, values = (numbers(backend, dtype, B, H, capacity, Dh, seed=i) for i in (1, 2))
    k, v = (numbers(backend, dtype, B, H, 1, Dh, seed=i) for i in (3, 4))
    for position in (0, capacity - 1):
        want_keys, want_values = host(keys).copy(), host(values).copy()
        want_keys[:, :, position], want_values[:, :, position] = host(k)[:, :, 0], host(v)[:, :, 0]
        backend.kernels.append(k, v, keys, values, backend.asarray([position]))
        assert np.array_equal(host(keys), want_keys)
        assert np.array_equal(host(values), want_values)
    for out_of_range in (-1, capacity):
        backend.kernels.append(v, k, keys, values, backend.asarray([out_of_range]))
        assert np.array_equal(host(keys), want_keys)


@given(st.integers(1, 8), st.integers(1, 40), st.integers(1, 300), st.integers(0, 9), st.integers(0, 5))
def test_any_sizes_and_values(M: int, N: int, K: int, seed: int, power: int) -> None:
    """Products, norms and softmax equal NumPy's for every size, and for small and large values."""
    backend = device("emulated")
    x = numbers(backend, "float32", M, K, seed=seed, size=10.0 ** (power - 2))
    w, g = numbers(backend, "float32", N, K, seed=seed + 1), numbers(backend, "float32", K, seed=seed + 2)
    assert_near(backend.kernels.product(x, w, None), wide(x) @ wide(w).T, "float32")
    assert_near(backend.kernels.layer_norm(x, g, g, 1e-5), ops.layer_norm(wide(x), wide(g), wide(g), 1e-5), "float32")
    assert_near(backend.kernels.softmax(x), ops.softmax(wide(x)), "float32")


@pytest.mark.parametrize("name", [*ops.ACTIVATION_FUNCTIONS, "softmax", "log_softmax"])
def test_equations_give_the_dtype_they_are_given(backend: Any, dtype: str, name: str) -> None:
    x = numbers(backend, dtype, 3, 5)
    got = getattr(ops, name)(x)
    assert str(got.dtype) == dtype
    assert_near(got, getattr(ops, name)(wide(x)), dtype)


def test_float16_attention_does_not_overflow(backend: Any) -> None:
    """q k^T overflows float16 here, but q k^T / sqrt(Dh) does not: eager, by tiles and in one kernel."""
    q = backend.asarray(np.full((1, 1, 9, 64), 40, "float16"))
    v = numbers(backend, "float16", 1, 1, 9, 64)
    mask = mask_of(backend, 1, 9, 9, "none")
    want = by_equation(q, q, v, mask)
    assert_near(attend_eager(q, q, v, mask, None, Tap())[0], want, "float16")
    assert_near(attend_blocked(q, q, v, mask, None), want, "float16")
    assert_near(attend_blocked(q, q, v, mask, None, rows=4, columns=4), want, "float16")
    last = AttentionMask(mask.visible[:, :, 8:], padded=False, fully_masked_rows=False)
    assert_near(attend_blocked(q[:, :, 8:], q, v, last, None), want[:, :, 8:], "float16")


def test_arrays_of_two_dtypes_and_empty_ones_are_left_to_the_equations(backend: Any) -> None:
    one, other = numbers(backend, "float32", 2, 4), numbers(backend, "float64", 4)
    assert backend.kernel("layer_norm", one, other, other) is None
    assert backend.kernel("softmax", one[:0]) is None
    assert backend.kernel("softmax", backend.asarray([[1, 2]])) is None
    assert backend.kernel("log_softmax", one) is None
    assert backend.kernel("softmax", one) is not None


def test_the_emulated_launch_refuses_what_a_device_would_take_for_something_else() -> None:
    backend = device("emulated")
    x = numbers(backend, "float32", 2, 4)
    launch = backend.kernels._function(x.dtype, "gelu")
    with pytest.raises(AssertionError, match="takes 3 arguments; found 2"):
        launch((1,), (32,), (x, x))
    with pytest.raises(AssertionError, match="expects Int; found 4.0"):
        launch((1,), (32,), (x, x, 4.0))
    with pytest.raises(AssertionError, match="expects an array of float32; found float64"):
        launch((1,), (32,), (x, x.astype("float64"), 8))
    with pytest.raises(RuntimeError, match="an invalid grid"):
        launch((0,), (32,), (x, x, 8))


FAULTS = {
    "a barrier that some threads skip": "if (threadIdx.x < 32) __syncthreads();",
    "shared memory": "extern __shared__ double shared[]; shared[0] = 1;",
}


@pytest.mark.parametrize("planted", FAULTS.values(), ids=FAULTS)
def test_the_emulator_finds_what_is_wrong(planted: str) -> None:
    if not COMPILER:
        pytest.skip(MISSING)
    source = f'typedef ARRAYS T; typedef long long Int; extern "C" __global__ void wrong(Int n) {{ {planted} }}'
    launch = Function(source, ("-DARRAYS=float", "-DSUMS=float"), "wrong", lambda x: (0, ""))
    with pytest.raises(RuntimeError, match="wrong: "):
        launch((1,), (64,), (1,))


def test_a_missing_barrier_is_seen_in_some_order() -> None:
    """A correct kernel gives the same result in each order; without its barriers, block_sum does not."""
    if not COMPILER:
        pytest.skip(MISSING)
    source = kernels.SOURCE.read_text(encoding="utf-8")
    for code, same in ((source, True), (source.replace("__syncthreads();", ""), False)):
        found = set()
        for order in (*ORDERS, 8, 9):
            x, y = np.arange(512, dtype=np.float32), np.zeros(512, np.float32)
            launch = Function(
                code, ("-DARRAYS=float", "-DSUMS=float"), "softmax", lambda a: (a.ctypes.data, str(a.dtype))
            )
            Function.order = order
            launch((2,), (256,), (x, y, 256))
            found.add(y.tobytes())
        Function.order = 0
        assert (len(found) == 1) == same


NEWER = [("float32", "sm_90"), ("bfloat16", "sm_100")]


@pytest.mark.parametrize("sources", [Kernels.sources, PackedProducts.sources], ids=["kernels", "packed"])
@pytest.mark.parametrize(("dtype", "architecture"), [*((dtype, "sm_75") for dtype in DTYPES), *NEWER])
def test_a_devices_compiler_takes_the_source(
    dtype: str, architecture: str, sources: tuple[Path, ...], tmp_path: Path
) -> None:
    nvcc = shutil.which("nvcc")
    if not nvcc:
        pytest.skip("nvcc is not installed")
    arrays, sums, _ = kernels.TYPES[dtype]
    source = tmp_path / "kernels.cu"
    source.write_text(kernels.source_of(sources), encoding="utf-8")
    options = [f"-DARRAYS={arrays}", f"-DSUMS={sums}", f"-arch={architecture}", "-std=c++17", "-Werror=all-warnings"]
    line = [nvcc, "-cubin", "-Xptxas=-v", *options, "-o", str(tmp_path / "kernels.cubin"), str(source)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sizes = re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", done.stderr)
    assert set(sizes) == {"0"}, done.stderr


def test_packs_are_sixteen_bytes() -> None:
    for dtype, (_, _, pack) in kernels.TYPES.items():
        device("emulated")  # registers the dtype name bfloat16 with NumPy
        assert pack * np.dtype(dtype).itemsize == 16
    assert kernels.THREADS % kernels.WARP == 0
