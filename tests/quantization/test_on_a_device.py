"""Quantized models on the CuPy backend: NumPy's logits and texts, captured steps, moves, and files.

Each test runs on the emulated backend (emulated.py), and on a device if there is one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, get_backend
from minibiogpt.backend.cupy import CupyBackend
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.quantization import FORMATS
from tests.backend.test_cupy import PROMPTS
from tests.budgets import QUANTIZED_ROWS, lane_c, lane_c_base
from tests.compare import assert_close, drift
from tests.support import emulated
from tests.support.configs import PRIMES
from tests.support.device import absent, demo, device, host, require_dtype
from tests.support.strict import StrictBackend
from tools.benching import quantized

MANY = [list(range(2, 72))]
# Every format in float32, and the others' dtypes with one of 4 bits and one of 8, and with quantized rows.
CASES = [(kind, "float32") for kind in FORMATS]
CASES += [(kind, dtype) for kind in ("nf4", "int8-dynamic") for dtype in ("float64", "float16", "bfloat16")]
ODD = ("nf4", "fp4", "int8", "int8-dynamic")  # formats of which a row may have any length


def options_of(kind: str) -> dict[str, Any]:
    return {"quantization": kind} | ({"outlier_threshold": 4.0} if kind == "int8-dynamic" else {})


@cache
def quantized_demo(backend: str, kind: str, dtype: str = "float32") -> Any:
    return BioGptForCausalLM.from_pretrained("demo", backend=backend, dtype=dtype, **options_of(kind))


@cache
def quantized_small(backend: str, kind: str, dtype: str = "float32") -> Any:
    """A model of odd sizes, in which blocks don't end where rows end, for the formats that allow it."""
    sizes = PRIMES if kind in ODD else PRIMES | {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 96}
    config = BioGptConfig(**sizes, initializer_range=0.3)
    return BioGptForCausalLM.from_config(config, seed=5, backend=backend, dtype=dtype).quantize(kind)


def packed_of(model: Any) -> dict[str, PackedWeight]:
    return {name: x for name, x in model.named_parameters() if isinstance(x, PackedWeight)}


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize(("kind", "dtype"), CASES)
def test_logits_are_numpys(backend: CupyBackend, kind: str, dtype: str, many: bool) -> None:
    """A few rows, by kernels, and more than a kernel takes."""
    require_dtype(backend, dtype)
    ids = MANY if many else PROMPTS[:1]
    # Quantized from float32: read in 16 bits, the weights would be others.
    model = BioGptForCausalLM.from_pretrained("demo", **options_of(kind)).to(backend, dtype)
    got = model(ids).logits
    want = quantized_demo("numpy", kind, "float64")(ids).logits
    budget = QUANTIZED_ROWS[dtype] if kind == "int8-dynamic" else lane_c(dtype, "logits")
    assert_close("logits", host(got), want, budget)


def test_logits_at_base_size_are_numpys() -> None:
    """Only on a device: the stand-in takes too long."""
    reason = absent("cupy")
    if reason:
        pytest.skip(reason)
    for kind in FORMATS:
        for length, dtype in ((12, "float32"), (12, "float16"), (40, "float32"), (40, "float16")):
            model = BioGptForCausalLM.from_config(BioGptConfig(), seed=0).quantize(kind)
            ids = np.random.default_rng(0).integers(3, 42384, (2, length))  # 24 rows, by kernels; 80, by tiles
            want = model.double()(ids).logits
            got = model.to(device("cupy"), dtype)(ids).logits
            budget = QUANTIZED_ROWS[dtype] if kind == "int8-dynamic" else lane_c_base(dtype, "logits")
            assert_close("logits", host(got), want, budget)


def test_the_table_of_formats_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantized.main(["numpy", "demo", "2"]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[2:]] == [f"| {kind or 'float16'}" for kind in quantized.FORMATS]
    assert all(np.isfinite(float(line[4].split()[0])) for line in lines[2:])  # speeds, which no test judges
    assert quantized.main(["numpy", "huge"]) == 2
    assert capsys.readouterr().err == "SIZE must be one of base, large, demo; found huge\n"


@pytest.mark.parametrize("kind", FORMATS)
def test_texts_are_numpys(backend: CupyBackend, kind: str) -> None:
    for options in ({}, {"num_beams": 3}, {"do_sample": True, "seed": 3, "num_return_sequences": 3}):
        kwargs: dict[str, Any] = {"max_new_tokens": 9, "eos_token_id": None} | options
        want = quantized_small("numpy", kind).generate([[2, 45, 30, 17, 9]], **kwargs)
        assert np.array_equal(host(quantized_small(backend.name, kind).generate([[2, 45, 30, 17, 9]], **kwargs)), want)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_captured_step_is_the_step_itself(backend: CupyBackend, kind: str) -> None:
    """Bit for bit. A step that could not be captured would warn."""
    model, found = quantized_small(backend.name, kind, "float16"), []
    kwargs: dict[str, Any] = {"max_new_tokens": 9, "eos_token_id": None, "return_dict_in_generate": True}
    for graphs in (True, False):
        backend.use_graphs = graphs
        try:
            found.append(model.generate([[2, 45, 30, 17, 9]], **kwargs, output_logits=True))
        finally:
            backend.use_graphs = True
    for one, other in zip(found[0].logits, found[1].logits, strict=True):
        assert np.array_equal(host(one), host(other))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_captured_step_launches_nothing_one_by_one(kind: str) -> None:
    device("emulated")
    launched, model = emulated.EmulatedModule.launched, quantized_small("emulated", kind)
    if kind == "int8-dynamic":
        for x in packed_of(model).values():
            x.threshold = 2.0  # type: ignore[attr-defined]
    counts = []
    for new in (8, 20):
        launched.clear()
        model.generate([[2, 45]], max_new_tokens=new, eos_token_id=None)
        counts.append(len(launched))
    assert counts[0] == counts[1] > 0
    assert ("integer_product_1" if kind == "int8-dynamic" else "packed_product_1") in launched
    assert "unpack" not in launched


@pytest.mark.parametrize("kind", FORMATS)
def test_it_moves_and_is_saved_as_it_is(backend: CupyBackend, kind: str, tmp_path: Path) -> None:
    """The packed arrays are the same on both sides, byte for byte, and so are the files."""
    here, there = quantized_demo("numpy", kind), quantized_demo(backend.name, kind)
    assert packed_of(there).keys() == packed_of(here).keys() != set()
    for name, x in packed_of(there).items():
        for one, other in zip(x.arrays, packed_of(here)[name].arrays, strict=True):
            assert type(one) is backend.array_type
            assert backend.to_numpy(one).tobytes() == other.tobytes()
    assert there.get_memory_footprint() == here.get_memory_footprint() < demo("numpy").get_memory_footprint() / 1.5
    here.save_pretrained(tmp_path / "here")
    there.save_pretrained(tmp_path / "there")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    again = BioGptForCausalLM.from_pretrained(tmp_path / "there", backend=backend)
    assert again.get_memory_footprint() == here.get_memory_footprint()
    back = again.cpu()
    assert all(type(one) is np.ndarray for x in packed_of(back).values() for one in x.arrays)
    assert np.array_equal(back(PROMPTS).logits, here(PROMPTS).logits)


@pytest.mark.parametrize("kind", FORMATS)
def test_it_is_quantized_and_dequantized_on_the_device(backend: CupyBackend, kind: str) -> None:
    model = BioGptForCausalLM.from_pretrained("demo", backend=backend).quantize(kind)
    for name, x in packed_of(model).items():
        for one, other in zip(x.arrays, packed_of(quantized_demo("numpy", kind))[name].arrays, strict=True):
            assert backend.to_numpy(one).tobytes() == other.tobytes()
    floats = dict(model.dequantize().named_parameters())
    for name, x in packed_of(quantized_demo("numpy", kind)).items():
        assert type(floats[name]) is backend.array_type
        assert np.array_equal(backend.to_numpy(floats[name]), np.asarray(x))


def test_nothing_as_large_as_the_float_weights_is_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is read, while it reads a prompt, and while it writes."""
    from minibiogpt.backend.products import packed_kernels

    backend = device("emulated")
    config = BioGptConfig(
        vocab_size=50, hidden_size=128, num_hidden_layers=1, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=64,
    )  # fmt: skip
    monkeypatch.setattr(packed_kernels, "TILE", 1 << 14)
    model = BioGptForCausalLM.from_config(config).quantize("nf4")
    with emulated.little_memory(4 * 1024 * 128 - 1):
        model.to(backend)
        model([list(range(2, 50))])
        model.generate([[2, 5]], max_new_tokens=6, eos_token_id=None)
        with pytest.raises(MemoryError):
            model.to(backend).dequantize()


def test_a_backend_without_kernels_unpacks_through_numpy() -> None:
    from minibiogpt.backend import register_backend

    register_backend("strict", StrictBackend)
    backend = get_backend("strict")
    weight = packed_of(quantized_demo("numpy", "nf4"))["biogpt.layers.0.fc1.weight"]
    x = np.random.default_rng(0).normal(size=(2, weight.shape[1])).astype(np.float32)
    got = backend.product(backend.asarray(x), backend.asarray(weight))
    assert drift(backend.to_numpy(got), x @ np.asarray(weight).T) <= lane_c("float32", "logits")
