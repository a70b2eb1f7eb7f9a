"""Every library of matrix products: what it computes, how it is chosen, and what is said when it can't be used."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import BioGptForCausalLM, InputError, get_backend
from minibiogpt.backend import products
from minibiogpt.backend.processor import Processor, parse_cpuinfo, this_processor
from minibiogpt.backend.products import base, get_product, libraries, product_name, why_not
from minibiogpt.backend.products import numpy as numpy_product
from minibiogpt.backend.products.libraries import LibraryProduct, MklProduct, OpenBlasProduct
from minibiogpt.backend.products.numpy import FewRows, NumpyProduct
from minibiogpt.backend.threads import WORKERS
from tests.support.paths import ROOT

IDS = [[2, 45, 300, 7, 9], [2, 8, 9, 10, 11]]
ROUNDING = {"float32": 2.0**-24, "float64": 2.0**-53}


def available(name: str) -> products.Product:
    if reason := why_not(name):
        pytest.skip(reason)
    return get_product(name)


@pytest.fixture(params=["numpy", "openblas", "mkl", "onednn"])
def product(request: pytest.FixtureRequest) -> products.Product:
    return available(request.param)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    given = WORKERS.blas.count
    WORKERS.blas.count = request.param
    yield request.param
    WORKERS.blas.count = given


@pytest.fixture
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share and block products of any size."""
    monkeypatch.setattr(base, "MIN_WORK", 0)
    monkeypatch.setattr(numpy_product, "LARGE", 0)


def within(got: np.ndarray, rows: np.ndarray, weight: np.ndarray, bias: Any = 0) -> None:
    """Check a product against float64, by the error bound of a sum of K terms."""
    exact = rows.astype(float) @ weight.T.astype(float) + bias
    bound = (rows.shape[1] + 1) * ROUNDING[str(got.dtype)] * (np.abs(rows) @ np.abs(weight).T + np.abs(bias))
    assert got.shape == exact.shape
    assert (np.abs(got - exact) <= bound).all()


@pytest.mark.usefixtures("every_size", "threads")
def test_a_product_is_the_product_of_the_rows_with_the_transposed_weight(product: products.Product) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        for M, K, N in ((0, 5, 3), (1, 1, 1), (1, 64, 97), (2, 64, 300), (5, 33, 41), (9, 64, 64), (50, 70, 130)):
            rows, weight, bias = (rng.normal(size=s).astype(dtype) for s in ((M, K), (N, K), (N,)))
            for b in (bias, None):
                out = np.full((M, N), np.nan, dtype)
                product.linear(rows, weight, b, out, WORKERS)
                within(out, rows, weight, 0 if b is None else b)
            out = np.full((M, N), np.nan, dtype)
            product.linear(np.asfortranarray(rows), np.asfortranarray(weight), bias, out, WORKERS)
            within(out, rows, weight, bias)
            assert np.isnan(np.full((M, 0), 1)).all()


@pytest.mark.usefixtures("every_size")
@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 90), st.integers(1, 13), st.integers(1, 2000), st.booleans())
def test_few_rows_in_blocks_are_the_product(M: int, N: int, K: int, size: int, small: bool) -> None:
    product = NumpyProduct()
    few = FewRows(small, size, 8)
    type(product).few_rows, kept = property(lambda self: few), type(product).few_rows  # type: ignore[assignment]
    try:
        rng = np.random.default_rng(N)
        rows, weight, out = rng.normal(size=(M, K)), rng.normal(size=(N, K)), np.full((M, N), np.nan)
        product.multiply(rows, weight, out)
        within(out, rows, weight)
    finally:
        type(product).few_rows = kept  # type: ignore[assignment]


@pytest.mark.usefixtures("every_size")
def test_how_few_rows_are_multiplied_depends_on_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []

    class Counted(np.ndarray):
        def __matmul__(self, other: np.ndarray) -> np.ndarray:
            calls.append((self.shape[0], *self.shape[1:]))
            return np.asarray(self) @ np.asarray(other)

    monkeypatch.setattr(numpy_product, "VECTORS", FewRows(False, 8, 3))
    monkeypatch.setattr(numpy_product, "KERNELS", {"SkylakeX": FewRows(True, 32, 4)})
    rows, weight = np.ones((5, 4)).view(Counted), np.ones((6, 4)).view(Counted)
    for kernel, M, want in (
        ("Haswell", 1, []), ("Haswell", 2, [(3, 1, 2, 4)]), ("Haswell", 3, [(3, 1, 2, 4)]), ("Haswell", 4, []),
        ("SkylakeX", 1, []), ("SkylakeX", 2, [(1, 4, 4)]), ("SkylakeX", 4, [(3, 2, 4)]), ("SkylakeX", 5, []),
    ):  # fmt: skip
        monkeypatch.setattr(type(WORKERS.blas), "kernel", kernel)
        calls.clear()
        out = np.zeros((M, 6))
        NumpyProduct().multiply(rows[:M], weight, out)
        assert (calls, out.tolist()) == (want, [[4.0] * 6] * M), (kernel, M)


def test_a_row_after_a_row_is_left_to_the_threads_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    workers = SimpleNamespace(count=2, blas=WORKERS.blas, run=lambda function, count: runs.append(count) or function(0))
    product, weight = NumpyProduct(), np.ones((2048, 1024), np.float32)
    for M, run in ((3, 4), (1, 4), (1, 0), (1, 0), (2, 4), (1, 4)):
        runs.clear()
        product.linear(np.ones((M, 1024), np.float32), weight, None, np.empty((M, 2048), np.float32), workers)  # type: ignore[arg-type]
        assert sum(runs) == run, M


def test_sums_of_integers_are_exact(product: products.Product) -> None:
    rng = np.random.default_rng(0)
    for M, K, N in ((1, 1, 1), (3, 512, 5), (10, 2049, 7), (11, 4095, 40)):  # 4095 * 255 * 127 is odd, and above 2^24
        for low, high in ((0, 256), (255, 256)):
            rows = rng.integers(low, high, (M, K)).astype(np.uint8)
            drawn = rng.integers(-128, 128, (N, K)).astype(np.int8)
            for weight in (drawn, np.full((N, K), -128, np.int8), np.full((N, K), 127, np.int8)):
                out = np.empty((M, N), np.int32)
                product.multiply_integers(rows, weight, out)
                assert np.array_equal(out, rows.astype(np.int64) @ weight.T.astype(np.int64)), (M, K, N)


@pytest.mark.parametrize("name", ["mkl", "onednn"])
def test_bfloat16_is_summed_in_float32(name: str) -> None:
    pytest.importorskip("ml_dtypes")
    product, rng = available(name), np.random.default_rng(0)
    if name == "onednn" and not product.bfloat16:
        pytest.skip("oneDNN computes bfloat16 only where the processor does")
    for M, K, N in ((1, 64, 33), (5, 1024, 70), (40, 300, 9)):
        rows, weight = (rng.normal(size=s).astype("bfloat16") for s in ((M, K), (N, K)))
        out = np.empty((M, N), np.float32)
        product.multiply_bfloat16(rows, weight, out)
        within(out, rows.astype(np.float32), weight.astype(np.float32))


def test_a_model_has_the_product_it_was_loaded_with(product: products.Product) -> None:
    plain, model = BioGptForCausalLM.from_pretrained("demo", product="numpy"), None
    model = BioGptForCausalLM.from_pretrained("demo", product=product.name)
    assert model.backend is get_backend("numpy", product.name) is get_backend("numpy", product=product.name)
    assert get_backend(model.backend) is model.backend
    assert get_backend(get_backend("numpy", "numpy"), product.name) is model.backend
    assert pickle.loads(pickle.dumps(model.backend)) is copy.deepcopy(model.backend) is model.backend
    assert model.to("cpu").backend is model.to("float64").float().backend is model.backend
    assert plain.to(model.backend).backend is model.backend, "a backend changes the product"
    plain.to(get_backend("numpy", "numpy"))
    used = []
    original = type(product).linear

    def linear(self: Any, *arguments: Any) -> None:
        used.append(self.name)
        original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(product), "linear", linear)
        model(IDS)
        assert set(used) == {product.name}
        used.clear()
        plain(IDS)
        assert used == [] or product.name == "numpy", "two models side by side"
    assert np.abs(model(IDS).logits - plain(IDS).logits).max() < 1e-4
    assert np.array_equal(model.generate(IDS, max_new_tokens=5), plain.generate(IDS, max_new_tokens=5))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system doesn't list a process's threads")
def test_libraries_leave_the_threads_to_the_pool(product: products.Product) -> None:
    """A library with threads of its own would compete with the pool's, even if the environment allows it some."""
    code = f"""
import os
import numpy as np
from minibiogpt.backend.products import get_product
from minibiogpt.backend.threads import WORKERS

WORKERS.blas.count = 2  # starts NumPy's own thread
np.ones((64, 1024), np.float32) @ np.ones((1024, 2048), np.float32)
product, out = get_product({product.name!r}), np.empty((64, 2048), np.float32)
WORKERS.run(lambda i: None, 2)
before = len(os.listdir("/proc/self/task"))
product.linear(np.ones((64, 1024), np.float32), np.ones((2048, 1024), np.float32), None, out, WORKERS)
assert (out == 1024).all()
print(len(os.listdir("/proc/self/task")) - before)
"""
    free = os.environ | {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=free, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("0\n", "")


INTEL, AMD = Processor("Xeon", "GenuineIntel"), Processor("EPYC", "AuthenticAMD")
NEW_AMD = Processor("EPYC", "AuthenticAMD", frozenset({"avx512f", "avx512_bf16"}))


@pytest.mark.parametrize(
    ("processor", "installed", "blas", "want"),
    [
        (INTEL, ["mkl", "openblas"], "openblas", "mkl"),
        (INTEL, ["openblas"], "openblas", "numpy"),
        (AMD, ["mkl", "openblas"], "openblas", "numpy"),
        (AMD, ["mkl", "openblas"], "", "openblas"),
        (AMD, ["mkl"], "", "numpy"),
        (INTEL, [], "openblas", "numpy"),
        (INTEL, ["onednn"], "openblas", "numpy"),
        (AMD, ["onednn"], "openblas", "numpy"),
        (NEW_AMD, ["mkl", "openblas", "onednn"], "openblas", "onednn"),
        (NEW_AMD, ["mkl", "openblas"], "openblas", "numpy"),
    ],
)
def test_auto_takes_what_pays_on_this_processor(
    processor: Processor, installed: list[str], blas: str, want: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(products.VARIABLE, raising=False)
    monkeypatch.setattr(products, "this_processor", lambda: processor)
    monkeypatch.setattr(products, "why_not", lambda name: "" if name in installed else "absent")
    monkeypatch.setitem(vars(WORKERS.blas), "libraries", [SimpleNamespace(internal_api=blas)] if blas else [])
    products._automatic.cache_clear()
    try:
        assert product_name() == product_name("auto") == want
        monkeypatch.setenv(products.VARIABLE, "numpy")
        assert (product_name(), product_name("mkl")) == ("numpy", "mkl")
    finally:
        products._automatic.cache_clear()


def test_a_name_that_is_none_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="product must be one of auto, numpy, mkl, openblas, onednn; found 'blis'"):
        get_backend("numpy", product="blis")
    with pytest.raises(InputError, match="product must be one of"):
        BioGptForCausalLM.from_pretrained("demo", product="blis")
    monkeypatch.setenv(products.VARIABLE, "fast")
    with pytest.raises(InputError, match="MINIBIOGPT_PRODUCT must be one of auto, .*; found 'fast'"):
        product_name()
    with pytest.raises(InputError, match="only backend numpy has a choice of products"):
        get_backend("cupy", product="mkl")


def test_a_library_that_is_absent_or_no_library_or_another_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_mkl", lambda: iter(()))
    with pytest.raises(InputError, match=r"product mkl needs the package mkl; found no library mkl_rt; pip install"):
        MklProduct()
    broken = tmp_path / "libmkl_rt.so.3"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(libraries, "find_mkl", lambda: iter([broken]))
    with pytest.raises(InputError, match=r"product mkl must be able to load libmkl_rt.so.3; found "):
        MklProduct()
    monkeypatch.setitem(__import__("sys").modules, "scipy_openblas64", None)
    with pytest.raises(InputError, match="product openblas needs the package scipy-openblas64; found not installed"):
        OpenBlasProduct()
    empty = SimpleNamespace(get_lib_dir=lambda: str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "scipy_openblas64", empty)
    with pytest.raises(InputError, match="product openblas needs the library of scipy-openblas64; found none in"):
        OpenBlasProduct()


def test_a_library_without_the_function_or_with_a_wrong_one_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake(LibraryProduct):
        name = "fake"

    fake = SimpleNamespace()
    monkeypatch.setattr(libraries.ctypes, "CDLL", lambda path: fake)
    with pytest.raises(InputError, match="libx.so must have the function cblas_sgemm; found an older or another"):
        Fake(Path("libx.so"), "upgrade")

    class Nothing:
        def __call__(self, *arguments: Any) -> None:
            return None

    fake.cblas_sgemm, fake.cblas_dgemm = Nothing(), Nothing()
    with pytest.raises(InputError, match="libx.so must multiply matrices; found a wrong product; upgrade"):
        Fake(Path("libx.so"), "upgrade")


def test_the_folders_where_mkl_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(libraries.site, "getuserbase", lambda: str(tmp_path / "user"))
    monkeypatch.setenv("MKLROOT", str(tmp_path / "root"))
    assert list(libraries.find_mkl()) == []
    for name in ("venv/lib/libmkl_rt.so.3", "user/Library/bin/mkl_rt.2.dll", "root/lib/intel64/libmkl_rt.so.2"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in libraries.find_mkl()]
    assert found == ["venv/lib/libmkl_rt.so.3", "user/Library/bin/mkl_rt.2.dll", "root/lib/intel64/libmkl_rt.so.2"]


def test_the_processor_is_read_from_the_system() -> None:
    text = "processor: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon 6\n"
    intel = parse_cpuinfo(f"{text}flags\t: avx2 avx512f amx_bf16 amx_int8 amx_tile\n\nmodel name : other\n")
    assert (intel.name, intel.vendor, intel.has_amx) == ("Xeon 6", "GenuineIntel", True)
    assert intel.kinds == ["avx2", "avx512f", "amx_int8", "amx_bf16"]
    arm = parse_cpuinfo("processor : 0\nFeatures : fp asimd sve\n")
    assert (arm.vendor, arm.kinds, arm.has_amx) == ("", ["asimd", "sve"], False)
    assert this_processor().name
