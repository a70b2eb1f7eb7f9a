"""Diagnoses of ports with quantized weights: the mistakes in dequantizing are named, and right ports agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, Trace
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.golden import diagnose
from minibiogpt.golden.diagnosis.ways.packed import MISTAKE_OF_ROWS, dequantized, mistakes_in
from minibiogpt.golden.diagnosis.weights import Weights
from minibiogpt.golden.format.record import record
from minibiogpt.quantization import FORMATS, Quantization
from tests.support.paths import ROOT

DEMO = ROOT / "minibiogpt" / "demo"
IDS = np.array([[2, 45, 300, 7, 9]])
MISTAKES = [
    (kind, mistake)
    for kind in ("nf4", "int8", "q4_0")
    for mistake in mistakes_in(Quantization(kind).pack(np.ones((2, 64), np.float32), "float32"))
]


def quantized(kind: str, dtype: str = "float32") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", quantization=kind, dtype=dtype)


def case_of(kind: str, folder: Path) -> Path:
    path = folder / "case.safetensors"
    record(quantized(kind, "float64"), [{"input_ids": IDS}], path, name="case", seeds=2)
    return path


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    trace = Trace()
    model(IDS, trace=trace)
    return dict(trace)


def test_every_mistake_is_listed_once() -> None:
    assert len(MISTAKES) == 8
    assert ("int8", MISTAKE_OF_ROWS) in MISTAKES
    assert mistakes_in(None) == []
    with pytest.raises(ValueError, match="no weight in which blocks of 32"):
        dequantized(None, "blocks of 32")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_right_port_has_no_error_of_its_own(kind: str, tmp_path: Path) -> None:
    found = diagnose(case_of(kind, tmp_path), arrays_of(quantized(kind).dequantize()), model=DEMO)
    assert found.verdict == "agrees", found.lines()


@pytest.mark.parametrize(("kind", "mistake"), MISTAKES)
def test_a_mistake_in_dequantizing_is_named(kind: str, mistake: str, tmp_path: Path) -> None:
    case, model = case_of(kind, tmp_path), quantized(kind)
    wrong = {
        id(x): dequantized(x, mistake).astype(np.float32) for x in model.parameters() if isinstance(x, PackedWeight)
    }
    model._replace_weights(lambda x: wrong.get(id(x), x))
    found = diagnose(case, arrays_of(model), model=DEMO)
    first = found.causes[0]
    assert (first.id, first.parameters) == ("weights-dequantized", {"mistake": mistake}), found.lines()
    assert first.explains == first.differing == 24
    assert len(found.causes) == 1


def test_the_weights_of_a_quantized_file_are_read(tmp_path: Path) -> None:
    model = quantized("nf4")
    model.save_pretrained(tmp_path)
    saved = BioGptForCausalLM.from_pretrained(tmp_path)
    config = saved.config.to_dict()["quantization_config"]
    read, made = Weights(tmp_path, config, Quantization("nf4")), Weights(DEMO, None, Quantization("nf4"))
    for name, x in model.named_values():
        name = name.removeprefix("biogpt.")
        assert np.array_equal(read[name], x), name
        assert np.array_equal(made[name], x), name
        assert read.shape(name) == x.shape
