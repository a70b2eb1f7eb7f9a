"""The CuPy backend: missing software or devices, full memory, settings, and the memory of captured steps.

Each test runs on the stand-in (emulated.py), and on a device if there is one.
"""

from __future__ import annotations

import gc
import sys
import weakref
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, DeviceMemoryError, InputError, get_backend
from minibiogpt.backend.cupy import CupyBackend, cuda_version, import_cupy, require_device
from tests.backend.test_cupy import PROMPTS
from tests.support import emulated
from tests.support.device import demo, device, host


def test_a_full_memory_is_one_error_and_everything_goes_on(backend: CupyBackend) -> None:
    model = demo(backend.name)
    want = host(model(PROMPTS).logits)
    with full(backend), pytest.raises(DeviceMemoryError) as caught:
        model([list(range(2, 202))] * 64)
    message = str(caught.value)
    assert message.startswith("the device's memory, ")
    assert "must hold the model and its arrays; found " in message
    assert message.endswith("use a smaller batch, shorter sequences, or a narrower dtype")
    assert "\n" not in message
    assert caught.value.__suppress_context__
    assert np.array_equal(host(model(PROMPTS).logits), want)


def test_what_was_under_way_is_given_up_with_the_error(backend: CupyBackend) -> None:
    """The error's traceback must not keep the arrays in its frames, and their memory, alive."""
    held = []

    def step() -> None:
        x = backend.asarray(np.ones(4))
        held.append(weakref.ref(x))
        raise MemoryError(message())

    def message() -> str:
        return "CUDA_ERROR_OUT_OF_MEMORY"

    with pytest.raises(DeviceMemoryError) as caught, backend.memory_errors():
        step()
    assert held[0]() is None
    del caught


def test_a_model_that_does_not_fit_is_the_same_error(backend: CupyBackend) -> None:
    config = BioGptConfig(vocab_size=9, hidden_size=1024, num_attention_heads=2, num_hidden_layers=8)
    with full(backend), pytest.raises(DeviceMemoryError, match="the device's memory"):
        BioGptForCausalLM.from_config(config, backend=backend)


def full(backend: CupyBackend) -> Any:
    """Context manager in which little memory is left."""
    return emulated.little_memory() if backend.name == "emulated" else Limited(backend)


class Limited:
    """Limits the memory pool of a device to 8 MB more than it uses."""

    def __init__(self, backend: CupyBackend) -> None:
        self.pool = backend.xp.get_default_memory_pool()

    def __enter__(self) -> None:
        gc.collect()
        self.pool.free_all_blocks()
        self.pool.set_limit(size=self.pool.used_bytes() + (8 << 20))

    def __exit__(self, *error: Any) -> None:
        self.pool.set_limit(size=0)


def test_other_errors_are_left_as_they_are(backend: CupyBackend) -> None:
    with pytest.raises(RuntimeError, match="something else"), backend.memory_errors():
        raise RuntimeError("something else")
    for code in ("cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"):
        with pytest.raises(DeviceMemoryError, match=code), backend.memory_errors():
            raise RuntimeError(f"{code}: a library's message")
    with pytest.raises(MemoryError, match="the computer's own"), backend.memory_errors():
        raise MemoryError("the computer's own")


def test_tf32_is_off_until_it_is_asked_for(backend: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    products = backend.xp._core._routines_linalg
    compute_types = products.COMPUTE_TYPE_FP32, products.COMPUTE_TYPE_TF32
    assert not backend.tf32
    for enabled in (True, False):
        backend.tf32 = enabled
        found = (
            backend.xp.compute_types[np.float32]
            if backend.name == "emulated"
            else products.get_compute_type(np.float32)
        )
        assert backend.tf32 == enabled
        assert found == compute_types[enabled]
    for value, enabled in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("CUPY_TF32", value)
        assert emulated.make().tf32 == enabled


def test_facts_and_memory(backend: CupyBackend) -> None:
    info = backend.device_info()
    assert isinstance(info["device"], str)
    assert info["memory"] > 0
    assert cuda_version(12040) == "12.4"
    held = backend.asarray(np.ones(1 << 20))
    backend.free_unused()
    assert backend.reserved_bytes() >= 0
    if backend.name == "cupy":
        assert backend.reserved_bytes() >= held.nbytes
    assert get_backend("numpy").device_info() == {}
    assert get_backend("numpy").reserved_bytes() == 0


class NoDevice:
    """CuPy without a device: it raises its own error, or counts 0 devices."""

    def __init__(self, error: str | None) -> None:
        self.error, self.cuda = error, self
        self.runtime, self.CUDARuntimeError = self, emulated.CUDARuntimeError

    def getDeviceCount(self) -> int:
        if self.error:
            raise self.CUDARuntimeError(self.error)
        return 0


def test_an_older_cupy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("cupy")
    old.__version__ = "13.6.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", old)
    with pytest.raises(InputError, match="backend cupy needs CuPy 14 or later; found 13.6.0; pip install"):
        import_cupy()


def test_what_is_missing_to_compile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    device("emulated")

    def fail(*args: Any) -> None:
        raise RuntimeError("catastrophic error:\n cannot open source file cuda_bf16.h")

    monkeypatch.setattr(emulated.RawModule, "get_function", fail)
    with pytest.raises(InputError) as caught:
        emulated.make()
    assert str(caught.value).startswith("backend cupy must be able to compile a kernel and run it; found catastrophic")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [None, "cudaErrorNoDevice: no CUDA-capable device is detected"])
def test_no_device_is_one_line(error: str | None) -> None:
    with pytest.raises(InputError, match="backend cupy needs a CUDA device; found none.*; check nvidia-smi .*, or use"):
        require_device(NoDevice(error))


def test_halves_are_dtypes_and_integers_are_not() -> None:
    with pytest.raises(InputError, match="must be one of float32, float64, float16, bfloat16 on backend emulated"):
        device("emulated").dtype("int8")


def test_a_step_is_run_again_when_the_other_pool_had_the_memory() -> None:
    """Unused memory is freed before the second try. A step that fails otherwise is not retried."""
    backend, runs = device("emulated"), []
    freed = backend.xp.pool.freed

    def once() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise emulated.OutOfMemoryError("Out of memory")

    backend.capture(once)
    assert len(runs) == 3  # failed, run, captured
    assert backend.xp.pool.freed == freed + 1
    count = len(backend.free_graph_pools)
    with pytest.raises(ZeroDivisionError):
        backend.capture(lambda: 1 // 0)
    assert len(backend.free_graph_pools) == count


def test_what_is_reserved_counts_the_pools_of_captured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = device("emulated")
    kept = backend.capture(lambda: None)
    monkeypatch.setattr(emulated.Pool, "total_bytes", lambda self: 100)
    assert backend.reserved_bytes() == 100 * (1 + len(backend.graph_pools)) > 100
    assert kept is not None


def test_a_captured_step_has_a_stream_and_a_pool_of_its_own() -> None:
    backend, seen = device("emulated"), []
    stream, default = backend.xp.stream, backend.xp.pool
    synchronized = stream.synchronized

    def step() -> None:
        seen.append((emulated.current_pool(), emulated.current_stream()))

    kept = backend.capture(step)
    assert kept is not None
    assert stream.synchronized > synchronized  # waited for the work queued before
    stream.launched.clear()
    kept()
    assert stream.launched == [kept.graph]  # replayed on the current stream, in order with other work
    (pool,) = [pool for pool in backend.graph_pools if seen[0] == (pool.memory, pool.stream)]
    assert seen == [seen[0]] * 2
    assert pool.memory is not default
    assert pool.stream.synchronized > 0
    assert pool not in backend.free_graph_pools
    other = backend.capture(step)
    assert other is not None
    assert seen[2] != seen[0]  # the first is still in use


def test_what_is_only_kept_is_given_back_and_what_is_in_use_is_not() -> None:
    backend = device("emulated")
    gc.collect()
    first, second = backend.capture(lambda: None), backend.capture(lambda: None)
    assert first is not None
    assert second is not None
    del first

    def freed_pools() -> list[int]:
        before = [pool.memory.freed for pool in backend.graph_pools]
        backend.free_unused()
        return [pool.memory.freed - old for pool, old in zip(backend.graph_pools, before, strict=True)]

    assert freed_pools() == [int(pool in backend.free_graph_pools) for pool in backend.graph_pools]
    assert 0 < len(backend.free_graph_pools) < len(backend.graph_pools)
    freed = backend.xp.pool.freed
    with pytest.raises(DeviceMemoryError), backend.memory_errors():
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
    assert backend.xp.pool.freed == freed + 1


def test_bfloat16_is_offered_where_cupy_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device("emulated")
    monkeypatch.setattr(emulated.EmulatedModule, "add", SimpleNamespace(types=["ee->e"]))
    assert emulated.make().float_dtypes == ("float32", "float64", "float16")
