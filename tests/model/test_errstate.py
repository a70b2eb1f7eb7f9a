"""A caller's np.errstate, or np.seterr, does not change what the package computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, InputError, Trace, get_backend, pipeline
from minibiogpt.checkpoint.lora import Replacement
from minibiogpt.files.arrays import write_arrays
from minibiogpt.files.safetensors import read_header
from minibiogpt.heads.labelling import sigmoid
from minibiogpt.lens import logit_lens
from minibiogpt.model import ops
from tests.support.small import HEADS, ids, model

SCALES = (1.0, 1e-30, 1e12)
EXTREME = {
    "float32": [0.0, -1e3, 90.0, 3e38, -3e38, 1e-38, 1e-45, np.inf, -np.inf, np.nan],
    "float64": [0.0, -1e3, 740.0, 1e308, -1e308, 1e-308, 5e-324, np.inf, -np.inf, np.nan],
}


def scaled(factor: float, dtype: str = "float32") -> BioGptForCausalLM:
    """Return the demo with all weights multiplied: they underflow, or overflow."""
    found = BioGptForCausalLM.from_pretrained("demo", dtype=dtype)
    found._replace_weights(lambda x: x * x.dtype.type(factor))
    return found


def outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except InputError as error:
        return str(error)


def same_with_errors_raised(work: Callable[[], Any]) -> None:
    with np.errstate(all="ignore"):
        want = outcome(work)
    with np.errstate(all="raise"):
        found = outcome(work)
    assert type(found) is type(want)
    np.testing.assert_equal(found, want)


@pytest.mark.parametrize("dtype", EXTREME)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "gelu", "gelu_new", "relu", "selu"])
def test_every_equation(name: str, dtype: str) -> None:
    for count in (3, 7, 10):
        x = np.array([EXTREME[dtype][:count]], dtype)
        same_with_errors_raised(lambda x=x: getattr(ops, name)(x))  # type: ignore[misc]


@pytest.mark.parametrize("dtype", EXTREME)
def test_norms_products_and_erf(dtype: str) -> None:
    for count in (3, 7, 10):
        x = np.array([EXTREME[dtype][:count]], dtype)
        ones = np.ones(count, dtype)
        same_with_errors_raised(lambda x=x, ones=ones: ops.layer_norm(x, ones, ones, 1e-12))  # type: ignore[misc]
        same_with_errors_raised(lambda x=x, ones=ones: ops.linear(x, ones[None]))  # type: ignore[misc]
        same_with_errors_raised(lambda x=x: get_backend("numpy").erf(x))  # type: ignore[misc]
        same_with_errors_raised(lambda x=x: sigmoid(x))  # type: ignore[misc]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_a_forward_pass(head: str, attention: str) -> None:
    same_with_errors_raised(lambda: np.array(model(head, attention)(ids()).logits))


@pytest.mark.parametrize("scale", SCALES)
def test_what_a_model_does(scale: float) -> None:
    instance, prompt = scaled(scale), np.array([[2, 5, 9, 11]])
    sampled = {"do_sample": True, "seed": 0, "top_p": 0.9, "top_k": 5, "temperature": 0.01}
    for options in ({}, {"num_beams": 2, "length_penalty": -1e5}, sampled):
        same_with_errors_raised(lambda options=options: instance.generate(prompt, max_new_tokens=3, **options))  # type: ignore[misc]
    same_with_errors_raised(lambda: instance.score(prompt).perplexity)
    same_with_errors_raised(lambda: float(instance(prompt, labels=prompt).loss))

    def lens() -> dict[str, Any]:
        trace = Trace()
        instance(prompt, trace=trace)
        return logit_lens(instance, trace)

    same_with_errors_raised(lens)


def test_other_dtypes_and_a_conversion() -> None:
    for factor in (1e-200, 1e200):
        same_with_errors_raised(lambda factor=factor: scaled(factor, "float64").float().biogpt.layer_norm.weight)  # type: ignore[misc]


def test_a_tensor_that_an_adapter_replaces(tmp_path: Path) -> None:
    write_arrays(tmp_path / "x", {"a": np.array([1e300, 1e-300])})
    out = np.empty(2, np.float32)
    with np.errstate(all="raise"):
        Replacement(read_header(tmp_path / "x")[1]["a"]).read_into(out)
    assert out.tolist() == [np.inf, 0]


def test_pipelines_and_saved_files(tmp_path: Path) -> None:
    scaled(1e-30).save_pretrained(tmp_path / "model")
    for task, options in (("text-generation", {"do_sample": False, "max_new_tokens": 5}), ("feature-extraction", {})):
        made = pipeline(task, model=BioGptForCausalLM.from_pretrained(tmp_path / "model"), tokenizer="demo")
        same_with_errors_raised(lambda made=made, options=options: made("Pain in the body", **options))  # type: ignore[misc]


def test_a_setting_for_the_whole_program(monkeypatch: pytest.MonkeyPatch) -> None:
    before, options = np.seterr(all="raise"), np.get_printoptions()
    try:
        np.set_printoptions(threshold=1, edgeitems=1, precision=0, linewidth=10)
        found = scaled(1e-30).generate([[2, 5, 9]], max_new_tokens=2)
        with pytest.raises(InputError) as caught:
            scaled(1.0)(np.full((1, 3), 1e300))
        assert "\n" not in str(caught.value)
    finally:
        np.seterr(**before)
        np.set_printoptions(**options)
    assert np.array_equal(found, scaled(1e-30).generate([[2, 5, 9]], max_new_tokens=2))
