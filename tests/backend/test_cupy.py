"""The CuPy backend: every array within its budget of NumPy's float64, the same texts, and no array leaves the device.

Each test runs on the stand-in (emulated.py), and on a device if there is one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, Trace, get_backend
from minibiogpt.backend import HALVES
from minibiogpt.backend.cupy import CupyBackend
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from minibiogpt.lens import logit_attribution
from minibiogpt.trace import mean_and_largest
from tests.budgets import KERNEL, lane_c, lane_c_base
from tests.compare import HIDDEN, assert_close
from tests.support.device import absent, demo, device, host, small
from tests.support.paths import ROOT

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
    """Skipped without a device: then all tests of this file ran on the stand-in only."""
    reason = absent("cupy")
    if reason:
        pytest.skip(reason)
    x = get_backend("cupy").asarray([1.0, 2.0])
    assert get_backend("cupy").to_numpy(x * 2).tolist() == [2.0, 4.0]


def replace_masked(got: np.ndarray, want: np.ndarray, dtype: Any, backend: Any) -> np.ndarray:
    """Replace masked scores, which must be the dtype's lowest value, by those of the reference."""
    hidden = want <= HIDDEN
    if not hidden.any():
        return got
    assert np.all(got[hidden] == backend.lowest(dtype))
    return np.where(hidden, want, got)


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "equations"])
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_lane_c(backend: CupyBackend, dtype: str, inputs: dict[str, Any], kernels: bool) -> None:
    """Every traced array of the demo model, computed by kernels and by CuPy's own operations."""
    want, got = Trace(), Trace()
    demo("numpy", "float64")(**inputs, trace=want)
    backend.use_kernels = kernels
    try:
        demo(backend.name, dtype)(**inputs, trace=got)
    finally:
        backend.use_kernels = True
    assert list(got) == list(want)
    for name, x in got.items():
        assert type(x) is backend.array_type
        wide = name == "loss" and dtype in HALVES
        assert str(x.dtype) in (dtype, "int64", *(["float32"] if wide else [])), f"{name} is {x.dtype}"
        assert_close(name, replace_masked(host(x), want[name], x.dtype, backend), want[name], lane_c(dtype, name))


def test_lane_c_at_base_size() -> None:
    """Only on a device: the stand-in takes minutes (it was run once, to measure the budgets)."""
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
            assert_close(
                name, replace_masked(host(x), want[name], x.dtype, backend), want[name], lane_c_base(dtype, name)
            )


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_blocked_attention_gives_the_same_logits(backend: CupyBackend, dtype: str, inputs: dict[str, Any]) -> None:
    want = demo("numpy", "float64")(**inputs).logits
    got = demo(backend.name, dtype, "blocked")(**inputs).logits
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


def test_the_library_at_a_glance_runs_on_a_device(backend: CupyBackend, capsys: pytest.CaptureFixture[str]) -> None:
    """Run every block of docs/library.md except the last, which passes a Python function as logits processor."""
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:-1]:
        exec(
            block.replace('CausalLM.from_pretrained("demo"', f'CausalLM.from_pretrained("demo", "{backend.name}"'),
            names,
        )
    assert type(names["out"].logits) is backend.array_type
    assert {type(x) for x in names["lens"].values()} == {backend.array_type}
    assert "Ibuprofen is best used for pain" in capsys.readouterr().out


def test_attribution(backend: CupyBackend, dtype: str) -> None:
    got, want = Trace(), Trace()
    model, reference = demo(backend.name, dtype), demo("numpy", "float64")
    logits = model(PROMPTS, trace=got).logits
    reference(PROMPTS, trace=want)
    token = logits.argmax(axis=-1)[0, -1]  # a 0-d array on the device
    parts = logit_attribution(model, got, token=token)
    expected = logit_attribution(reference, want, token=int(token))
    assert list(parts) == list(expected)
    found, largest = np.stack([host(x) for x in parts.values()]), np.stack(list(expected.values()))
    assert_close("parts", found, largest, lane_c(dtype, "logits"))


def test_the_largest_score_is_no_mark(backend: CupyBackend, dtype: str) -> None:
    """A summary ignores masked scores, whatever value masks them in the dtype."""
    trace, name = Trace("layers.0.self_attn.scores*"), "layers.0.self_attn.scores"
    small(backend.name, dtype)(SHORT, attention_mask=MASK, trace=trace)
    assert mean_and_largest(trace[f"{name}_masked"])[1] <= mean_and_largest(trace[name])[1]


def test_embeddings_are_taken_in_the_models_dtype(backend: CupyBackend, dtype: str) -> None:
    model = small(backend.name, dtype)
    embeddings = model.biogpt.embed_tokens(backend.asarray([[2, 5, 9]]))
    assert str(embeddings.dtype) == dtype
    assert np.array_equal(host(model(inputs_embeds=embeddings).logits), host(model([[2, 5, 9]]).logits))


def test_edits_and_ablations(backend: CupyBackend) -> None:
    options: dict[str, Any] = {"edits": {"layers.1.fc1": lambda x: x * 0.5}, "ablate": [(0, 1)]}
    got = demo(backend.name)(PROMPTS, **options).logits
    want = demo("numpy", "float64")(PROMPTS, **options).logits
    assert_close("logits", host(got), want, lane_c("float32", "logits"))


def test_a_trace_is_saved_and_agrees_with_golden_values(
    backend: CupyBackend, dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check a trace from the device against golden values from NumPy, as for any port."""
    case, theirs, trace = tmp_path / "case.safetensors", tmp_path / "theirs.safetensors", Trace()
    call = {"input_ids": np.array(SHORT), "attention_mask": np.array(MASK)}
    record(small("numpy", "float64"), [call], case, name="case")
    small(backend.name, dtype)(**call, trace=trace)
    trace.save(theirs)
    assert check(Case.read(case), theirs).code == 0
    trace.summary()
    printed = capsys.readouterr().out
    assert printed.count(dtype) == len(trace) - 1  # position_ids are integers
    assert "nan" not in printed
    again = Trace.load(theirs)
    assert list(again) == list(trace)
    for name, x in trace.items():
        assert np.array_equal(again[name].astype(host(x).dtype), host(x)), name


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


def test_the_page_about_it_runs(backend: CupyBackend, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace('"cupy"', f'"{backend.name}"'), names)
    assert "Ibuprofen is best used for pain" in capsys.readouterr().out
    sums = names["probs"].astype(np.float64).sum(axis=-1)
    assert_close("probs", sums, np.ones_like(sums), KERNEL["float16"])
    assert backend.use_kernels
    assert backend.use_graphs
