"""Where the tests of the CuPy backend run: on its stand-in for this processor, and on a device where there is one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, get_backend
from minibiogpt.backend.cupy import CupyBackend
from tests.support import emulated
from tests.support.configs import PRIMES
from tests.support.cuda_on_host import COMPILER, MISSING

DTYPES = ("float32", "float64", "float16", "bfloat16")


emulated.register()


@cache
def absent(name: str) -> str | None:
    """Why there is no such backend here; None where there is."""
    if name == "emulated":
        return None if COMPILER else MISSING
    try:
        get_backend(name)
    except InputError as error:
        return str(error)
    return None


BACKENDS = ("emulated", "cupy") if absent("cupy") is None else ("emulated",)


def device(name: str) -> Any:
    """The backend, or a skipped test with the reason."""
    reason = absent(name)
    if reason:
        pytest.skip(reason)
    backend = get_backend(name)
    assert isinstance(backend, CupyBackend)
    return backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> CupyBackend:
    return device(request.param)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest, backend: CupyBackend) -> str:
    computes(backend, request.param)
    return request.param


def computes(backend: Any, dtype: str) -> None:
    """Skip the test where the installed CuPy has no such dtype."""
    if dtype not in backend.float_dtypes:
        pytest.skip(f"the CuPy that is installed has no {dtype} (it needs ml_dtypes)")


@cache
def demo(backend: str, dtype: str = "float32", attention: str = "auto") -> Any:
    return BioGptForCausalLM.from_pretrained("demo", backend=backend, dtype=dtype, attn_implementation=attention)


@cache
def small(backend: str, dtype: str = "float32") -> Any:
    """A model of odd sizes with the same random weights on every backend; quick where a device is emulated."""
    config = BioGptConfig(**PRIMES, initializer_range=0.3)
    return BioGptForCausalLM.from_config(config, seed=5, backend=backend, dtype=dtype)


def host(x: Any) -> np.ndarray:
    """An array of either backend as float64, or as the whole numbers that it holds."""
    array = get_backend(type(x).__module__.partition(".")[0]).to_numpy(x)
    return array.astype(np.float64) if array.dtype.kind in "fV" else array
