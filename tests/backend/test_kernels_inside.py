"""Properties of the CUDA kernels that no tolerance shows: float32 accumulation, array layouts, 16-byte loads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minibiogpt import KVCache
from minibiogpt.model import ops
from minibiogpt.model.attention import make_mask
from tests.backend.test_kernels import assert_near, by_equation, numbers, wide
from tests.support import emulated
from tests.support.device import demo, device, host, require_dtype

LONG = 256 * 4096  # 4,096 elements per thread: a float16 sum of ones stops at 2,048


@pytest.fixture(params=["float16", "bfloat16"])
def half(request: pytest.FixtureRequest, backend: Any) -> str:
    require_dtype(backend, request.param)
    return request.param


def test_the_mean_and_the_variance_of_a_norm_are_float32(backend: Any, half: str) -> None:
    signs = np.where(np.arange(LONG) // 256 % 2, 1.0, -1.0)
    one, nothing = (backend.asarray(np.full(LONG, value)).astype(half) for value in (1.0, 0.0))
    for row, want in ((np.ones(LONG), np.zeros(LONG)), (signs, signs)):  # mean 1, deviation 0; mean 0, deviation 1
        got = backend.kernels.layer_norm(backend.asarray(row[None]).astype(half), one, nothing, 1e-12)
        assert np.array_equal(host(got)[0], want)


def test_the_sum_of_a_softmax_is_float32(backend: Any, half: str) -> None:
    got = host(backend.kernels.softmax(backend.asarray(np.zeros((1, LONG))).astype(half)))
    assert np.all(got == 1 / LONG)


@pytest.mark.parametrize("K", [4096, 4097])  # in packs, and not
def test_the_sum_of_a_product_is_float32(backend: Any, half: str, K: int) -> None:
    x = np.full((2, K), 2.0**-12)
    x[:, :256] = 1
    got = backend.kernels.product(*(backend.asarray(a).astype(half) for a in (x, np.ones((1, K)))), None)
    assert host(got).tolist() == [[257.0 if half == "float16" else 256.0]] * 2  # 256.94, rounded once
    ones = backend.asarray(np.ones((1, 2049))).astype(half)
    one = backend.asarray(np.ones(1)).astype(half)
    assert host(backend.kernels.product(ones, ones, one)).tolist() == [[2050.0 if half == "float16" else 2048.0]]


def test_the_sum_of_an_attention_is_float32(backend: Any, half: str) -> None:
    """Each thread's first key has score 0, its 29 others -8: 0.01 of the weight, in steps too small for float16."""
    k = np.zeros((1, 1, 7680, 8))
    k[0, 0, 256:, 0] = -8 * np.sqrt(8)
    q, v = np.eye(1, 8)[None, None], np.ones((1, 1, 7680, 8))
    seen = make_mask(backend, 1, 7680, None).visible
    got = backend.kernels.attend(*(backend.asarray(a).astype(half) for a in (q, k, v)), seen)
    assert host(got).ravel().tolist() == [1.0] * 8


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_arrays_may_have_any_layout(backend: Any, dtype: str) -> None:
    x, w = numbers(backend, dtype, 40, 8), numbers(backend, dtype, 40, 40, seed=1)
    for strided in (x.T, x[::-1], numbers(backend, dtype, 8, 80)[:, ::2]):
        contiguous = backend.asarray(host(strided)).astype(dtype)
        for name in ("gelu", "softmax"):
            kernel = getattr(backend.kernels, name)
            assert np.array_equal(host(kernel(strided)), host(kernel(contiguous)))
    assert_near(backend.kernels.product(x.T, w, None), wide(x).T @ wide(w).T, dtype)
    heads = numbers(backend, dtype, 2, 3, 4, 16).transpose(0, 2, 1, 3)  # (B, H, T, Dh), as a projection returns it
    mask = make_mask(backend, 3, 3, None)
    assert_near(backend.kernels.attend(heads, heads, heads, mask.visible), by_equation(*[heads] * 3, mask), dtype)
    keys, values = numbers(backend, dtype, 2, 4, 5, 16), numbers(backend, dtype, 2, 4, 5, 16, seed=1)
    backend.kernels.append(heads[:, :, 1:2], heads[:, :, 2:3], keys, values, backend.asarray([4]))
    assert np.array_equal(host(keys)[:, :, 4], host(heads)[:, :, 1])
    assert np.array_equal(host(values)[:, :, 4], host(heads)[:, :, 2])


def test_gains_and_biases_may_have_any_layout(backend: Any) -> None:
    x, w = numbers(backend, "float32", 3, 8), numbers(backend, "float32", 8, 8, seed=1)
    g, b = numbers(backend, "float32", 16, seed=2)[::2], numbers(backend, "float32", 16, seed=3)[::-2]
    assert_near(ops.layer_norm(x, g, b, 1e-5), ops.layer_norm(wide(x), wide(g), wide(b), 1e-5), "float32")
    assert_near(ops.linear(x, w, b), wide(x) @ wide(w).T + wide(b), "float32")


def test_masks_may_have_any_layout(backend: Any) -> None:
    q, k = numbers(backend, "float32", 2, 2, 3, 8), numbers(backend, "float32", 2, 2, 5, 8, seed=1)
    values = np.random.default_rng(0).random((1, 1, 3, 10)) < 0.6
    values[..., :2] = True
    strided = backend.asarray(values)[..., ::2]
    contiguous = backend.asarray(values[..., ::2].copy())  # one mask for both rows
    for visible in (strided, contiguous, backend.xp.broadcast_to(contiguous, (2, 1, 3, 5))):
        mask = type(make_mask(backend, 3, 5, None))(visible, padded=True, fully_masked_rows=False)
        assert_near(backend.kernels.attend(q, k, k, visible), by_equation(q, k, k, mask), "float32")


def packed_of(backend: Any, monkeypatch: pytest.MonkeyPatch, call: Any) -> int:
    """Return the argument ``packed``, the last one, of the single launch of a call."""
    found: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(backend.kernels, "_launch", lambda *args, **options: found.append(args[-1]))
        call()
    (packed,) = found
    return packed


def test_packs_are_loaded_only_where_they_begin(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device can load 16 bytes only from aligned addresses. A CPU loads from any, so the test reads the argument."""
    shape = (2, 8)
    flat = numbers(backend, "float32", 64)
    aligned, shifted = flat[:16].reshape(shape), flat[1:17].reshape(shape)
    product = backend.kernels.product
    for x, w, packed in ((aligned, aligned, 1), (shifted, aligned, 0), (aligned, shifted, 0)):
        assert packed_of(backend, monkeypatch, lambda x=x, w=w: product(x, w, None)) == packed
    odd = flat[:18].reshape(2, 9)
    assert packed_of(backend, monkeypatch, lambda: product(odd, odd, None)) == 0
    seen = make_mask(backend, 1, 2, None).visible
    heads, moved = aligned.reshape(1, 1, 2, 8), shifted.reshape(1, 1, 2, 8)
    gaps, narrow = odd.reshape(1, 1, 2, 9)[..., :8], flat[:12].reshape(1, 1, 2, 6)
    wider = flat[:32].reshape(1, 1, 2, 16)[..., :6]  # rows start aligned, but end within a pack
    cases = ((heads, heads, 1), (moved, heads, 0), (heads, moved, 0), (gaps, gaps, 0), (narrow, narrow, 0))
    cases += ((wider, wider, 0),)
    for k, v, packed in cases:
        q = heads[:, :, :1, : k.shape[3]]
        assert packed_of(backend, monkeypatch, lambda q=q, k=k, v=v: backend.kernels.attend(q, k, v, seen)) == packed
    assert backend.kernels.attend(heads[:, :, :1, :4], heads[..., ::2], heads[..., ::2], seen) is None


def test_tf32_reaches_the_products_of_heads() -> None:
    backend, compute_types = device("emulated"), emulated.Cublas.compute_types
    cases = (("float32", False, 68), ("float32", True, 77), ("float16", True, 68), ("float64", True, 70))
    for dtype, tf32, want in cases:
        x = numbers(backend, dtype, 1, 1, 2, 3)
        compute_types.clear()
        backend.tf32 = tf32
        try:
            backend.head_products(x, x, transposed=True)
        finally:
            backend.tf32 = False
        assert compute_types == [want]


def test_what_is_switched_off_is_not_launched(backend: Any) -> None:
    backend.use_kernels = False
    try:
        assert backend.kernel("gelu", numbers(backend, "float32", 2, 3)) is None
        assert not backend.can_capture(1, 64, 8, "float32")
    finally:
        backend.use_kernels = True
    backend.use_graphs = False
    try:
        assert not backend.can_capture(1, 64, 8, "float32")
    finally:
        backend.use_graphs = True
    assert backend.can_capture(32, 64, 8, "float32")
    assert not backend.can_capture(33, 64, 8, "float32")
    assert not backend.can_capture(1, 20_000, 8, "float32")


def test_lowest_numbers_and_capacities(backend: Any) -> None:
    assert backend.lowest(np.dtype("float16")) == -65504
    if "bfloat16" in backend.float_dtypes:
        assert backend.lowest(np.dtype("bfloat16")) == float(emulated.ml_dtypes.finfo("bfloat16").min)
    config = demo("numpy").config
    capacities = [KVCache.empty(config, 1, n, backend).capacity for n in (1, 64, 65, 1000)]
    assert capacities == [64, 64, 128, 1024]
    assert KVCache.empty(config, 1, 65).capacity == 65


def test_a_bias_of_another_dtype_is_not_read_as_if_it_were_the_same(backend: Any) -> None:
    x, w = numbers(backend, "float32", 2, 3), numbers(backend, "float32", 4, 3, seed=1)
    b = numbers(backend, "float64", 4, seed=2)
    assert_near(backend.product(x, w, b.astype("float32")), wide(x) @ wide(w).T + wide(b), "float32")
    assert backend.kernel("product", x, w, b) is None
