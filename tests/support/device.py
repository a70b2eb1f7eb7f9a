"""Where tests of the CuPy backend run: on the stand-in for the CPU (emulated.py), and on a device if there is one."""

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
    """Return the reason why a backend is unavailable, or None if it is available."""
    if name == "emulated":
        return None if COMPILER else MISSING
    try:
        get_backend(name)
    except InputError as error:
        return str(error)
    return None


BACKENDS = ("emulated", "cupy") if absent("cupy") is None else ("emulated",)


def device(name: str) -> Any:
    """Return the backend, or skip the test with the reason."""
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
    require_dtype(backend, request.param)
    return request.param


def require_dtype(backend: Any, dtype: str) -> None:
    """Skip the test if the installed CuPy does not support the dtype."""
    if dtype not in backend.float_dtypes:
        pytest.skip(f"the installed CuPy has no {dtype} (it needs ml_dtypes)")


@cache
def demo(backend: str, dtype: str = "float32", attention: str = "auto") -> Any:
    return BioGptForCausalLM.from_pretrained("demo", backend=backend, dtype=dtype, attn_implementation=attention)


@cache
def small(backend: str, dtype: str = "float32") -> Any:
    """A small model of odd sizes, fast on the emulated device, with the same random weights on every backend."""
    config = BioGptConfig(**PRIMES, initializer_range=0.3)
    return BioGptForCausalLM.from_config(config, seed=5, backend=backend, dtype=dtype)


def host(x: Any) -> np.ndarray:
    """Return an array of any backend as NumPy float64, or with its integer or bool dtype."""
    array = get_backend(type(x).__module__.partition(".")[0]).to_numpy(x)
    return array.astype(np.float64) if array.dtype.kind in "fV" else array
