"""What looks inside a model works with a quantized one: traces, edits, the lens, attribution, and the pages."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, InputError, Trace
from minibiogpt.lens import head_out, logit_attribution, logit_lens
from minibiogpt.quantization import FORMATS
from minibiogpt.view import Explorer, Stepper
from tests.budgets import LANE_A, LENS_FLOAT64
from tests.compare import assert_close

IDS = np.array([[2, 45, 300, 7, 9]])
FLOATS = [one for one in FORMATS if one != "int8-dynamic"]
every_format = pytest.mark.parametrize("kind", FORMATS)
WITH_FLOATS = pytest.mark.parametrize("kind", FLOATS)


@cache
def quantized(kind: str, dtype: str = "float64") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", quantization=kind, dtype=dtype)


def traced(model: BioGptForCausalLM, **options: object) -> Trace:
    trace = Trace()
    model(IDS, trace=trace, **options)
    return trace


@WITH_FLOATS
def test_its_arrays_are_those_of_the_values_that_it_unpacks_to(kind: str) -> None:
    model = BioGptForCausalLM.from_pretrained("demo", quantization=kind, dtype="float64").dequantize()
    got, want = traced(quantized(kind)), traced(model)
    assert list(got) == list(want)
    for name, x in got.items():
        assert_close(name, x, want[name], LANE_A)
    assert not np.array_equal(got["logits"], BioGptForCausalLM.from_pretrained("demo", dtype="float64")(IDS).logits)


def test_named_values_are_unpacked_and_have_the_models_dtype() -> None:
    model, whole = quantized("nf4"), BioGptForCausalLM.from_pretrained("demo", quantization="nf4", dtype="float64")
    values = dict(model.named_values())
    whole.dequantize()
    assert list(values) == [name for name, _ in model.named_parameters()]
    for name, x in whole.named_parameters():
        assert type(values[name]) is np.ndarray
        assert (values[name].dtype, values[name].tobytes()) == (x.dtype, x.tobytes()), name


@every_format
def test_an_edit_changes_what_follows_it_and_the_equations_are_explained(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, plain = quantized(kind), traced(quantized(kind))
    same = traced(model, edits={"layers.1.fc1": lambda x: x})
    zero = traced(model, edits={"layers.1.fc1": lambda x: 0 * x})
    assert all(np.array_equal(same[name], x) for name, x in plain.items())
    bias = model.biogpt.layers[1].fc2.bias
    assert np.abs(zero["layers.1.fc2"] - bias).max() <= LANE_A, "GELU(0) is 0"
    assert np.abs(zero["logits"] - plain["logits"]).max() > 0
    plain.explain("layers.1.fc1")
    assert "x @ W.T + b" in capsys.readouterr().out


@every_format
def test_the_lens_ends_in_the_logits(kind: str) -> None:
    trace = traced(quantized(kind))
    lens = logit_lens(quantized(kind), trace, position=None)
    assert np.array_equal(lens["layers.3"], trace["logits"])


@WITH_FLOATS
def test_the_parts_of_a_logit_sum_to_it(kind: str) -> None:
    model, trace = quantized(kind), traced(quantized(kind))
    parts = logit_attribution(model, trace, token=7)
    assert_close("logit", sum(parts.values()), trace["logits"][:, -1, 7], LENS_FLOAT64)
    heads = head_out(model, trace, 2).sum(axis=2) + model.biogpt.layers[2].self_attn.out_proj.bias
    assert_close("out_proj", heads, trace["layers.2.self_attn.out_proj"], LENS_FLOAT64)


def test_rounded_activations_leave_a_rest_in_the_parts_of_a_logit() -> None:
    """What the docstring says: the heads' parts are those of contexts that are not rounded."""
    model, trace = quantized("int8-dynamic"), traced(quantized("int8-dynamic"))
    rest = sum(logit_attribution(model, trace, token=7).values()) - trace["logits"][:, -1, 7]
    assert LENS_FLOAT64 < abs(rest) < 0.05 * np.abs(trace["logits"]).max()


@every_format
def test_the_pages_are_made_from_the_unpacked_values(kind: str) -> None:
    model = quantized(kind, "float32")
    stepper = Stepper(model, IDS[0].tolist(), layer=1)
    _, matrices = stepper._parameters()
    weight = np.asarray(model.biogpt.layers[1].fc1.weight)
    assert np.array_equal(matrices["layers.1.fc1.weight"], weight)
    assert "layers.1.fc1.weight" in stepper.html
    explorer = Explorer(model, IDS[0].tolist() if kind == "int8-dynamic" else "BRCA1 mutations")
    assert len(explorer.html) > 1000
    assert explorer.live == (kind != "int8-dynamic")


def test_a_live_page_computes_with_floats_only() -> None:
    with pytest.raises(InputError, match=r"int8-dynamic; load it with quantization=\"int8\""):
        Explorer(quantized("int8-dynamic", "float32"), "BRCA1 mutations", live=True)
    assert "rounds activations" in Explorer(quantized("int8-dynamic", "float32"), "BRCA1 mutations").why
