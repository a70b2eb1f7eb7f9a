"""The CuPy backend: every array within its budget of NumPy's float64, the same texts, nothing that leaves the device.

Each test runs on the stand-in (emulated.py), and on a device where there is one.
"""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, Trace, get_backend
from minibiogpt.cuda import CupyBackend, require_device, version
from minibiogpt.errors import DeviceMemoryError
from minibiogpt.golden.case import Case
from minibiogpt.golden.check import check
from minibiogpt.golden.record import record
from tests import emulated
from tests.budgets import KERNEL, lane_c, lane_c_base
from tests.compare import HIDDEN, assert_close
from tests.device import BACKENDS, DTYPES, absent, computes, demo, device, host, small

PROMPTS = [[2, 45, 300, 17, 9], [1, 1, 2, 8, 70]]
MASK = [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
SHORT = [[2, 45, 30, 17, 9], [1, 1, 2, 8, 60]]  # for the small model
INPUTS: dict[str, dict[str, Any]] = {
    "one row": {"input_ids": PROMPTS[:1]},
    "padded, head mask, labels": {
        "input_ids": PROMPTS, "attention_mask": MASK, "head_mask": [1.0, 0.5, 0.0, 1.0], "labels": PROMPTS,
    },
    "many positions": {"input_ids": [list(range(2, 72))]},
}  # fmt: skip


def test_on_a_device() -> None:
    """Skipped where there is none: then every test of this file ran on the stand-in alone."""
    reason = absent("cupy")
    if reason:
        pytest.skip(reason)
    x = get_backend("cupy").asarray([1.0, 2.0])
    assert get_backend("cupy").to_numpy(x * 2).tolist() == [2.0, 4.0]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> CupyBackend:
    return device(request.param)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest, backend: CupyBackend) -> str:
    computes(backend, request.param)
    return request.param


def marked(got: np.ndarray, want: np.ndarray, dtype: Any, backend: Any) -> np.ndarray:
    """Hidden scores as the reference marks them; they must hold this dtype's own mark."""
    hidden = want <= HIDDEN
    if not hidden.any():
        return got
    assert np.all(got[hidden] == backend.lowest(dtype))
    return np.where(hidden, want, got)


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "equations"])
@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_lane_c(backend: CupyBackend, dtype: str, given: dict[str, Any], kernels: bool) -> None:
    """Every traced array of the demo model, by kernels and by CuPy's own operations."""
    want, got = Trace(), Trace()
    demo("numpy", "float64")(**given, trace=want)
    backend.use_kernels = kernels
    try:
        demo(backend.name, dtype)(**given, trace=got)
    finally:
        backend.use_kernels = True
    assert list(got) == list(want)
    for name, x in got.items():
        assert type(x) is backend.array_type
        assert str(x.dtype) == dtype or str(want[name].dtype) != "float64", f"{name} is {x.dtype}"
        assert_close(name, marked(host(x), want[name], x.dtype, backend), want[name], lane_c(dtype, name))


def test_lane_c_at_base_size() -> None:
    """On a device alone: the stand-in takes minutes (it was run once, for the budgets)."""
    reason = absent("cupy")
    if reason:
        pytest.skip(reason)
    backend = device("cupy")
    ids = np.random.default_rng(0).integers(3, 42384, (2, 12))
    mask = np.ones_like(ids)
    mask[0, :4] = 0
    want = Trace()
    BioGptForCausalLM.from_config(BioGptConfig(), seed=0, dtype="float64")(ids, mask, trace=want)
    for dtype in ("float32", "float16"):
        got = Trace()
        BioGptForCausalLM.from_config(BioGptConfig(), seed=0, dtype=dtype, backend=backend)(ids, mask, trace=got)
        for name, x in got.items():
            assert_close(name, marked(host(x), want[name], x.dtype, backend), want[name], lane_c_base(dtype, name))


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_blocked_attention_gives_the_same_logits(backend: CupyBackend, dtype: str, given: dict[str, Any]) -> None:
    want = demo("numpy", "float64")(**given).logits
    got = demo(backend.name, dtype, "blocked")(**given).logits
    assert_close("logits", host(got), want, lane_c(dtype, "logits"))


def test_weights_in_every_stored_dtype_load_and_are_saved(backend: CupyBackend, dtype: str, tmp_path: Path) -> None:
    model = demo(backend.name, dtype)
    assert model.dtype == dtype
    assert {str(x.dtype) for _, x in model.named_parameters()} == {dtype}
    model.save_pretrained(tmp_path)
    again = BioGptForCausalLM.from_pretrained(tmp_path, backend=backend, dtype=dtype)
    for (name, x), (other, y) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert np.array_equal(host(x), host(y))


def test_the_other_jobs_stay_on_the_device(backend: CupyBackend, dtype: str) -> None:
    model, reference = demo(backend.name, dtype), demo("numpy", "float64")
    got, want = model.score(PROMPTS), reference.score(PROMPTS)
    assert_close("score", host(got.total), host(want.total), lane_c(dtype, "loss"))
    got, want = model.biogpt.embed(PROMPTS), reference.biogpt.embed(PROMPTS)
    assert type(got) is backend.array_type
    assert_close("embed", host(got), want, lane_c(dtype, "layer_norm"))


def test_edits_and_ablations(backend: CupyBackend) -> None:
    options: dict[str, Any] = {"edits": {"layers.1.fc1": lambda x: x * 0.5}, "ablate": [(0, 1)]}
    got = demo(backend.name)(PROMPTS, **options).logits
    want = demo("numpy", "float64")(PROMPTS, **options).logits
    assert_close("logits", host(got), want, lane_c("float32", "logits"))


def test_a_trace_is_saved_and_agrees_with_golden_values(
    backend: CupyBackend, dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a porter does: values from NumPy, the trace of a run on the device, the check of the one by the other."""
    case, theirs, trace = tmp_path / "case.safetensors", tmp_path / "theirs.safetensors", Trace()
    call = {"input_ids": np.array(SHORT), "attention_mask": np.array(MASK)}
    record(small("numpy", "float64"), [call], case, name="case")
    small(backend.name, dtype)(**call, trace=trace)
    trace.save(theirs)
    assert check(Case.read(case), theirs).code == 0
    trace.summary()
    told = capsys.readouterr().out
    assert told.count(dtype) == len(trace) - 1  # positions are whole numbers
    assert "nan" not in told
    assert list(Trace.load(theirs)) == list(trace)


def test_golden_values_are_recorded_on_the_device(backend: CupyBackend, tmp_path: Path) -> None:
    call = {"input_ids": np.array(SHORT), "attention_mask": np.array(MASK), "labels": np.array(SHORT)}
    cases = []
    for name in ("numpy", backend.name):
        record(small(name, "float64"), [call], tmp_path / name, name="case", seeds=2)
        cases.append(Case.read(tmp_path / name))
    want, got = cases
    assert [entry.name for entry in got.entries] == [entry.name for entry in want.entries]
    for entry in want.entries:
        assert_close(entry.name, got.array(entry.name), want.array(entry.name), lane_c("float64", entry.name))


def test_a_full_memory_is_one_error_and_everything_goes_on(backend: CupyBackend) -> None:
    model = demo(backend.name)
    want = host(model(PROMPTS).logits)
    with full(backend), pytest.raises(DeviceMemoryError) as caught:
        model([list(range(2, 202))] * 64)
    message = str(caught.value)
    assert message.startswith("the device's memory, ")
    assert "must take the model and its arrays; found " in message
    assert message.endswith("use fewer rows, shorter ones, or dtype float16")
    assert "\n" not in message
    assert caught.value.__suppress_context__
    assert np.array_equal(host(model(PROMPTS).logits), want)


def test_what_was_under_way_is_given_up_with_the_error(backend: CupyBackend) -> None:
    """The frames of the error would keep their arrays, and with them the memory, as long as somebody has the error."""
    held = []

    def under_way() -> None:
        x = backend.asarray(np.ones(4))
        held.append(weakref.ref(x))
        raise MemoryError(cupy_says())

    def cupy_says() -> str:
        return "CUDA_ERROR_OUT_OF_MEMORY"

    with pytest.raises(DeviceMemoryError) as caught, backend.memory():
        under_way()
    assert held[0]() is None
    del caught


def test_a_model_that_does_not_fit_is_the_same_error(backend: CupyBackend) -> None:
    config = BioGptConfig(vocab_size=9, hidden_size=1024, num_attention_heads=2, num_hidden_layers=8)
    with full(backend), pytest.raises(DeviceMemoryError, match="the device's memory"):
        BioGptForCausalLM.from_config(config, backend=backend)


def full(backend: CupyBackend) -> Any:
    """While it is entered, there is little memory left."""
    return emulated.little_memory() if backend.name == "emulated" else Limited(backend)


class Limited:
    """A memory pool of a device that may take 8 MB more than it uses."""

    def __init__(self, backend: CupyBackend) -> None:
        self.pool = backend.xp.get_default_memory_pool()

    def __enter__(self) -> None:
        gc.collect()
        self.pool.free_all_blocks()
        self.pool.set_limit(size=self.pool.used_bytes() + (8 << 20))

    def __exit__(self, *error: Any) -> None:
        self.pool.set_limit(size=0)


def test_other_errors_are_left_as_they_are(backend: CupyBackend) -> None:
    with pytest.raises(RuntimeError, match="something else"), backend.memory():
        raise RuntimeError("something else")
    with pytest.raises(DeviceMemoryError, match="CUBLAS_STATUS_ALLOC_FAILED"), backend.memory():
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")


def test_tf32_is_off_until_it_is_asked_for(backend: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    products = backend.xp._core._routines_linalg
    kinds = products.COMPUTE_TYPE_FP32, products.COMPUTE_TYPE_TF32
    assert not backend.tf32
    for wanted in (True, False):
        backend.tf32 = wanted
        found = (
            backend.xp.compute_types[np.float32]
            if backend.name == "emulated"
            else products.get_compute_type(np.float32)
        )
        assert backend.tf32 == wanted
        assert found == kinds[wanted]
    for value, wanted in (("1", True), ("0", False)):
        monkeypatch.setenv("CUPY_TF32", value)
        assert emulated.make().tf32 == wanted


def test_facts_and_memory(backend: CupyBackend) -> None:
    facts = backend.facts()
    assert isinstance(facts["device"], str)
    assert facts["memory"] > 0
    assert version(12040) == "12.4"
    held = backend.asarray(np.ones(1 << 20))
    backend.release()
    assert backend.reserved() >= 0
    if backend.name == "cupy":
        assert backend.reserved() >= held.nbytes
    assert get_backend("numpy").facts() == {}
    assert get_backend("numpy").reserved() == 0


class NoDevice:
    """CuPy where there is none: its own error, or a count of 0."""

    def __init__(self, error: str | None) -> None:
        self.error, self.cuda = error, self
        self.runtime, self.CUDARuntimeError = self, emulated.CUDARuntimeError

    def getDeviceCount(self) -> int:
        if self.error:
            raise self.CUDARuntimeError(self.error)
        return 0


@pytest.mark.parametrize("error", [None, "cudaErrorNoDevice: no CUDA-capable device is detected"])
def test_no_device_is_one_line(error: str | None) -> None:
    with pytest.raises(InputError, match="backend cupy needs a CUDA device; found none.*; check nvidia-smi, or use"):
        require_device(NoDevice(error))


def test_halves_need_this_backend() -> None:
    for name in ("float16", "bfloat16"):
        with pytest.raises(InputError, match=f"found '{name}'; use backend cupy for {name}"):
            get_backend("numpy").dtype(name)
    with pytest.raises(InputError, match="must be one of float32, float64, float16, bfloat16 on backend emulated"):
        device("emulated").dtype("int8")


def test_the_page_about_it_runs(backend: CupyBackend, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "gpu.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace('"cupy"', f'"{backend.name}"'), names)
    assert "Ibuprofen is best used for pain" in capsys.readouterr().out
    sums = names["probs"].astype(np.float64).sum(axis=-1)
    assert_close("probs", sums, np.ones_like(sums), KERNEL["float16"])
    assert backend.use_kernels
    assert backend.use_graphs
