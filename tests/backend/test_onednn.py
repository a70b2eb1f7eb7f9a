"""oneDNN: what it computes itself, its threads, its compiled products, and which product multiplies integers."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minibiogpt import InputError
from minibiogpt.backend import products
from minibiogpt.backend.processor import Processor
from minibiogpt.backend.products import get_product, integer_product, libraries, onednn, primitives
from minibiogpt.backend.products.libraries import sums_exactly
from minibiogpt.backend.products.onednn import OneDnnProduct
from minibiogpt.backend.products.primitives import BFLOAT16, bits_of_bfloat16
from minibiogpt.backend.threads import WORKERS
from tests.backend.test_products import available, within
from tests.support.paths import ROOT


@pytest.fixture
def product() -> OneDnnProduct:
    found = available("onednn")
    assert isinstance(found, OneDnnProduct)
    return found


@pytest.fixture
def calls(product: OneDnnProduct, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The data types of the products that oneDNN has computed."""
    kinds: list[Any] = []
    multiply = product.primitives.multiply

    def counted(shape: primitives.Shape, *addresses: int) -> None:
        kinds.append(shape.kind)
        multiply(shape, *addresses)

    monkeypatch.setattr(product.primitives, "multiply", counted)
    return kinds


def test_few_rows_and_float64_are_left_to_numpy(product: OneDnnProduct, calls: list[Any]) -> None:
    rng = np.random.default_rng(0)
    for M, dtype, own in ((48, "float32", False), (49, "float32", True), (60, "float64", False)):
        calls.clear()
        rows, weight = rng.normal(size=(M, 70)).astype(dtype), rng.normal(size=(33, 70)).astype(dtype)
        out = np.full((M, 40), np.nan, dtype)
        product.linear(rows, weight, None, out[:, :33], WORKERS)
        within(out[:, :33], rows, weight)
        assert np.isnan(out[:, 33:]).all()
        assert bool(calls) == own, (M, dtype)


def test_products_write_to_a_part_of_an_array_and_read_from_parts(product: OneDnnProduct) -> None:
    rng = np.random.default_rng(0)
    for M in (1, 2, 60):
        rows = rng.integers(0, 256, (M, 80)).astype(np.uint8)[:, :77]
        weight = rng.integers(-128, 128, (50, 90)).astype(np.int8)[3:40, :77]
        for x, y in ((rows, weight), (np.asfortranarray(rows), np.asfortranarray(weight))):
            out = np.full((M, 64), 7, np.int32)
            product.multiply_integers(x, y, out[:, 9:46])
            want = np.full((M, 64), 7)
            want[:, 9:46] = rows.astype(int) @ weight.T.astype(int)
            assert np.array_equal(out, want)
    if product.bfloat16:
        for M in (1, 2, 60):
            rows, weight = rng.integers(-9, 9, (M, 80)), rng.integers(-9, 9, (50, 90))
            halves = [bits_of_bfloat16(x.astype(np.float32)) for x in (rows, weight)]
            sums = np.full((M, 64), 7, np.float32)
            product.multiply_bfloat16(halves[0][:, :77], halves[1][3:40, :77], sums[:, 9:46])
            want = np.full((M, 64), 7)
            want[:, 9:46] = rows[:, :77] @ weight[3:40, :77].T
            assert np.array_equal(sums, want)


def test_ordered_integers_are_multiplied_exactly_and_restored(product: OneDnnProduct) -> None:
    rng = np.random.default_rng(0)
    for N, K in ((1, 1), (37, 77), (64, 2049), (130, 64)):
        for weight in (rng.integers(-128, 128, (N, K)).astype(np.int8), np.full((N, K), -128, np.int8)):
            ordered = product.order_integers(np.asfortranarray(weight))
            assert isinstance(ordered, onednn.Ordered) == product.fast_integers
            assert np.array_equal(product.restore_integers(ordered), weight)
            for M in (0, 1, 2, 9, 70):
                rows = rng.integers(200, 256, (M, K + 3)).astype(np.uint8)[:, :K]
                want = np.full((M, N + 5), 7)
                want[:, 2 : N + 2] = rows.astype(int) @ weight.T.astype(int)
                for x in (rows, np.asfortranarray(rows)):
                    out = np.full((M, N + 5), 7, np.int32)
                    product.multiply_ordered(x, ordered, out[:, 2 : N + 2])
                    assert np.array_equal(out, want), (M, N, K)


def test_without_a_layout_of_its_own_an_ordered_weight_is_the_weight() -> None:
    numpy, weight = get_product("numpy"), np.full((3, 600), -128, np.int8)
    ordered, out = numpy.order_integers(weight), np.empty((2, 3), np.int32)
    numpy.multiply_ordered(np.full((2, 600), 255, np.uint8), ordered, out)
    assert ordered is numpy.restore_integers(ordered) is weight
    assert (out == -128 * 255 * 600).all()


def test_nothing_is_multiplied_where_there_is_nothing(product: OneDnnProduct) -> None:
    for M, N in ((0, 3), (3, 0)):
        product.multiply_integers(np.ones((M, 4), np.uint8), np.ones((N, 4), np.int8), np.empty((M, N), np.int32))
        product.multiply_bfloat16(np.ones((M, 4), np.uint16), np.ones((N, 4), np.uint16), np.empty((M, N), np.float32))
        product.multiply(np.ones((M, 4), np.float32), np.ones((N, 4), np.float32), np.empty((M, N), np.float32))


def test_without_instructions_for_integers_they_are_float32s(monkeypatch: pytest.MonkeyPatch) -> None:
    available("onednn")
    monkeypatch.setattr(onednn, "this_processor", lambda: Processor("old", "GenuineIntel", frozenset({"avx2"})))
    old = OneDnnProduct()
    assert (old.bfloat16, old.fast_integers) == (False, False)
    monkeypatch.setattr(old, "integers", None)
    out = np.empty((2, 3), np.int32)
    weight = np.full((3, 600), -128, np.int8)
    for multiply, w in ((old.multiply_integers, weight), (old.multiply_ordered, old.order_integers(weight))):
        out[...] = 0
        multiply(np.full((2, 600), 255, np.uint8), w, out)
        assert (out == -128 * 255 * 600).all()
    assert old.restore_integers(weight) is weight


def test_sums_that_saturate_or_are_wrong_are_noticed() -> None:
    def exact(rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        out[...] = rows.astype(int) @ weight.T.astype(int)

    def saturated(rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        pairs = (rows[:, None].astype(int) * weight).reshape(len(rows), len(weight), -1, 2).sum(-1)
        out[...] = pairs.clip(-(2**15), 2**15 - 1).sum(-1)

    def transposed(rows: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
        exact(rows, weight, out)
        out[...] = out.T.reshape(out.shape)

    assert [sums_exactly(multiply) for multiply in (exact, saturated, transposed)] == [True, False, False]


def test_threads_of_openmp_stay_as_many_as_they_were(product: OneDnnProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    given = product.threads()
    during = []
    try:
        product.set_threads(3)
        multiply = product.primitives.multiply
        spied = lambda *arguments: (during.append(product.threads()), multiply(*arguments))  # noqa: E731
        monkeypatch.setattr(product.primitives, "multiply", spied)
        product.multiply(*(np.ones((60, 60), np.float32) for _ in range(3)))
        assert (during, product.threads()) == ([1], 3)
    finally:
        product.set_threads(given)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system doesn't list a process's threads")
def test_integers_and_bfloat16_start_no_threads(product: OneDnnProduct) -> None:
    code = """
import os
import numpy as np
from minibiogpt.backend.products import get_product

product = get_product("onednn")
before = len(os.listdir("/proc/self/task"))
out = np.empty((64, 2048), np.int32)
product.multiply_integers(np.ones((64, 1024), np.uint8), np.ones((2048, 1024), np.int8), out)
assert (out == 1024).all()
if product.bfloat16:
    ones = np.full((2048, 1024), 0x3f80, np.uint16)
    sums = np.empty((64, 2048), np.float32)
    product.multiply_bfloat16(ones[:64], ones, sums)
    assert (sums == 1024).all()
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "4"},
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_each_thread_has_its_own_compiled_products(product: OneDnnProduct) -> None:
    rng = np.random.default_rng(0)
    rows, weight = rng.normal(size=(90, 64)).astype(np.float32), rng.normal(size=(70, 64)).astype(np.float32)
    outs = [np.zeros((90, 70), np.float32) for _ in range(6)]

    small = rng.integers(0, 256, (90, 64)).astype(np.uint8)
    whole = rng.integers(-128, 128, (70, 64)).astype(np.int8)
    ordered, want, exact = product.order_integers(whole), small.astype(int) @ whole.T.astype(int), list[bool]()
    own: list[bool] = []

    def work(out: np.ndarray) -> None:
        sums = np.zeros((90, 70), np.int32)
        own.append(product.primitives.of_thread.compiled is not mine)
        for M in range(49, 91):
            product.multiply(rows[:M], weight, out[:M])
            product.multiply_ordered(small[:M], ordered, sums[:M])
        exact.append(np.array_equal(sums, want))

    mine = product.primitives.of_thread.compiled
    threads = [Thread(target=work, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in outs:
        within(out, rows, weight)
    assert own == exact == [True] * 6


def test_compiled_products_are_kept_and_freed(product: OneDnnProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primitives, "MOST", 3)
    freed: list[str] = []
    library = product.primitives.library

    class Counted:
        def __getattr__(self, name: str) -> Any:
            if name.endswith("_destroy"):
                freed.append(name.removeprefix("dnnl_").removesuffix("_destroy"))
            return getattr(library, name)

    monkeypatch.setattr(product.primitives, "library", Counted())
    monkeypatch.setattr(product.primitives, "of_thread", primitives._OfThread())
    square = np.ones((64, 64), np.float32)
    for M in (50, 51, 50, 52, 53):
        product.multiply(square[:M], square, np.empty((M, 64), np.float32))
    gc.collect()
    kept = [shape.M for shape in product.primitives.of_thread.compiled]
    assert kept == [51, 52, 53]
    counts = {kind: freed.count(kind) for kind in freed}
    assert counts == {"memory": 3, "stream": 1, "primitive": 1, "primitive_desc": 1, "memory_desc": 3}


def test_a_status_of_onednn_is_an_error(product: OneDnnProduct) -> None:
    product.primitives.require(0)
    with pytest.raises(MemoryError):
        product.primitives.require(1)
    with pytest.raises(InputError, match="oneDNN must multiply these matrices; found its status 2; pip install"):
        product.primitives.multiply(primitives.Shape(BFLOAT16, 2, 3, -4, 1, 1, 1), 0, 0, 0)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """Pretend that products are installed: {name: whether its integers are fast}."""
    installed: dict[str, bool] = {}
    monkeypatch.setattr(products, "why_not", lambda name: "" if name in installed else "absent")
    monkeypatch.setattr(products, "get_product", lambda name: SimpleNamespace(name=name, fast_integers=installed[name]))
    products._with_fast_integers.cache_clear()
    yield installed
    products._with_fast_integers.cache_clear()


@pytest.mark.parametrize(
    ("chosen", "installed", "want"),
    [
        ("numpy", {}, "numpy"),
        ("numpy", {"mkl": True}, "mkl"),
        ("numpy", {"mkl": True, "onednn": True}, "onednn"),
        ("openblas", {"mkl": False, "onednn": True}, "onednn"),
        ("numpy", {"mkl": False, "onednn": False}, "numpy"),
        ("mkl", {"mkl": False}, "mkl"),
        ("mkl", {"mkl": True, "onednn": True}, "mkl"),
    ],
)
def test_what_multiplies_integers(chosen: str, installed: dict[str, bool], want: str, found: dict[str, bool]) -> None:
    found.update(installed)
    product: Any = SimpleNamespace(name=chosen, fast_integers=installed.get(chosen, False))
    assert integer_product(product).name == want


def test_only_libraries_with_instructions_for_integers_are_fast() -> None:
    assert not get_product("numpy").fast_integers
    assert not libraries.OpenBlasProduct.fast_integers


def test_where_the_library_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(libraries.site, "getuserbase", lambda: str(tmp_path / "user"))
    monkeypatch.setenv("DNNLROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ONEDNNROOT", str(tmp_path / "other"))
    assert list(onednn.find_onednn()) == []
    with pytest.raises(InputError, match="product onednn needs the package onednn-cpu-gomp; found no library libdnnl"):
        OneDnnProduct()
    names = ("root/lib/libdnnl.so.3", "other/lib64/libdnnl.so", "venv/lib/libdnnl.so.3", "user/lib/libdnnl.3.dylib")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"not a library")
    assert [path.relative_to(tmp_path).as_posix() for path in onednn.find_onednn()] == list(names)
    with pytest.raises(InputError, match=r"product onednn must be able to load libdnnl.so.3; found "):
        OneDnnProduct()


def test_a_build_with_threads_of_its_own_is_refused(product: OneDnnProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    version = onednn.Version(3, 13, 2, b"", 0x200, 0)
    fake = SimpleNamespace(dnnl_version=lambda: SimpleNamespace(contents=version))
    monkeypatch.setattr(libraries.ctypes, "CDLL", lambda path: fake)
    with pytest.raises(InputError, match="must compute on the thread that calls it .* found a build for TBB or SYCL"):
        OneDnnProduct()
