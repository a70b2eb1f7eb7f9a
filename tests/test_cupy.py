"""The CuPy backend: every array within its budget of NumPy's float64, the same texts, nothing that leaves the device.

Each test runs on the stand-in (emulated.py), and on a device where there is one.
"""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, Trace, get_backend
from minibiogpt.cuda import CupyBackend, require_device, version
from minibiogpt.errors import DeviceMemoryError
from minibiogpt.generation.recorded import RecordedStep
from tests import emulated
from tests.budgets import lane_c
from tests.compare import HIDDEN, assert_close
from tests.device import BACKENDS, DTYPES, absent, computes, demo, device, host, small
from tests.strict import Tape

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


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_blocked_attention_gives_the_same_logits(backend: CupyBackend, dtype: str, given: dict[str, Any]) -> None:
    want = demo("numpy", "float64")(**given).logits
    got = demo(backend.name, dtype, "blocked")(**given).logits
    assert_close("logits", host(got), want, lane_c(dtype, "logits"))


GENERATION: dict[str, dict[str, Any]] = {
    "greedy": {},
    "one row": {"input_ids": SHORT[:1]},
    "padded": {"input_ids": SHORT, "attention_mask": MASK},
    "several each": {"do_sample": True, "seed": 3, "top_k": 20, "num_return_sequences": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 2},
    "beams, padded": {"input_ids": SHORT, "attention_mask": MASK, "num_beams": 2},
    "fairseq": {"num_beams": 3, "scoring": "fairseq"},
    "uncached": {"use_cache": False, "max_new_tokens": 4},
}


@pytest.mark.parametrize("options", GENERATION.values(), ids=GENERATION)
def test_generation_is_numpys(backend: CupyBackend, options: dict[str, Any]) -> None:
    given = {"input_ids": [SHORT[0]] * 2, "max_new_tokens": 12, "eos_token_id": None} | options
    want = small("numpy").generate(**given)
    got = small(backend.name).generate(**given)
    assert type(got) is backend.array_type
    assert np.array_equal(host(got), want)


def test_sixty_four_greedy_tokens_are_those_of_float64(backend: CupyBackend) -> None:
    want = demo("numpy", "float64").generate(PROMPTS, attention_mask=MASK, max_new_tokens=64, eos_token_id=None)
    got = demo(backend.name).generate(PROMPTS, attention_mask=MASK, max_new_tokens=64, eos_token_id=None)
    assert np.array_equal(host(got), want)


@pytest.mark.parametrize("options", [{}, {"attention_mask": MASK}, {"num_beams": 2}], ids=["plain", "padded", "beams"])
def test_a_recorded_step_is_the_step_itself(backend: CupyBackend, dtype: str, options: dict[str, Any]) -> None:
    """Bit for bit: the same kernels on the same numbers."""
    model, found = small(backend.name, dtype), []
    given = {"max_new_tokens": 9, "eos_token_id": None, "output_logits": True, "return_dict_in_generate": True}
    for graphs in (True, False):
        backend.use_graphs = graphs
        try:
            found.append(model.generate(SHORT, **given, **options))
        finally:
            backend.use_graphs = True
    recorded, eager = found
    assert np.array_equal(host(recorded.sequences), host(eager.sequences))
    assert len(recorded.logits) == 9
    for one, other in zip(recorded.logits, eager.logits, strict=True):
        assert np.array_equal(host(one), host(other))
    (k, v), (other_k, other_v) = recorded.past_key_values[1], eager.past_key_values[1]
    assert recorded.past_key_values.seq_length == eager.past_key_values.seq_length == 13
    assert np.array_equal(host(k), host(other_k))
    assert np.array_equal(host(v), host(other_v))


def test_steps_are_recorded_when_they_are_many_and_alike() -> None:
    backend = device("emulated")
    model, made = small("emulated"), []
    original = RecordedStep.__init__

    def counted(self: RecordedStep, *given: Any) -> None:
        made.append(1)
        original(self, *given)

    cases: list[tuple[dict[str, Any], int]] = [
        ({"max_new_tokens": 8}, 1),
        ({"max_new_tokens": 4}, 0),  # not worth it
        ({"max_new_tokens": 8, "use_cache": False}, 0),
        ({"max_new_tokens": 8, "trace": Trace("tokens")}, 0),  # somebody looks
        ({"max_new_tokens": 8, "num_beams": 17}, 0),  # 34 rows: products of so many are the library's
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordedStep, "__init__", counted)
        for options, times in cases:
            made.clear()
            model.generate(SHORT, eos_token_id=None, **options)
            assert len(made) == times, options
        made.clear()
        backend.use_kernels = False
        try:
            model.generate(SHORT, eos_token_id=None, max_new_tokens=8)
        finally:
            backend.use_kernels = True
        assert not made


def test_a_recording_launches_kernels_alone_and_once() -> None:
    """Replaying asks Python for nothing: no kernel is launched by itself after the recording."""
    device("emulated")
    launched, model = emulated.EmulatedModule.launched, small("emulated")
    counts = []
    for new in (8, 20):
        launched.clear()
        model.generate(SHORT, max_new_tokens=new, eos_token_id=None)
        counts.append(len(launched))
    assert counts[0] == counts[1] > 0


def test_what_cannot_be_recorded_is_told_and_run_all_the_same(backend: CupyBackend) -> None:
    x = backend.asarray([1.0])

    def step() -> None:
        x[...] = x + 1
        if float(x[0]) < 0:  # which asks the device
            raise AssertionError

    with pytest.warns(UserWarning, match="steps are launched kernel by kernel, as no graph can be recorded"):
        again = backend.record(step)
    assert Tape.now is None
    assert host(x).tolist() == [2.0]
    again()
    again()
    assert host(x).tolist() == [4.0]
    assert backend.to_numpy(backend.xp.arange(3)).tolist() == [0, 1, 2]  # the device goes on


def test_a_recording_changes_nothing_until_it_is_run(backend: CupyBackend) -> None:
    x, y = backend.asarray(np.ones((2, 4), "float32")), backend.asarray(np.zeros((2, 4), "float32"))

    def step() -> None:
        y[...] = backend.kernels.gelu(x) + y
        x[...] = x + 1

    again = backend.record(step)
    assert host(x).tolist() == [[2.0] * 4] * 2
    again()
    backend.synchronize()
    assert host(x).tolist() == [[3.0] * 4] * 2
    assert host(y)[0, 0] == pytest.approx(0.8413447 + 1.9544997, rel=1e-6)  # gelu(1) + gelu(2)


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


def test_two_thousand_tokens_take_no_more_memory() -> None:
    """On a device alone: the stand-in has no memory of its own."""
    reason = absent("cupy")
    if reason:
        pytest.skip(reason)
    backend = device("cupy")
    config = BioGptConfig.from_pretrained(Path(__file__).parents[1] / "minibiogpt" / "demo")
    config = config.changed(max_position_embeddings=2100)
    model = BioGptForCausalLM.from_config(config, backend="cupy", dtype="float16")
    held = []

    def note(ids: Any, scores: Any) -> Any:
        if ids.shape[1] % 100 == 0:
            held.append(backend.reserved())
        return ids[:, 0] != ids[:, 0]

    model.generate([[2, 5]], max_new_tokens=2000, min_new_tokens=2000, stopping_criteria=[note], progress=False)
    assert len(held) == 20
    assert held[-1] == held[1]
