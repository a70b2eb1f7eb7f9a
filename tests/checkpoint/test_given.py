"""Weights given as a dict of arrays: to a class, or to load_state_dict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import minibiogpt
from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptModel, InputError
from tests.support.configs import PRIMES

IDS = [[2, 3, 5, 7]]
CLASSES = ("BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification")


def build(name: str = "BioGptForCausalLM", seed: int = 0, **changes: Any) -> Any:
    return getattr(minibiogpt, name)(BioGptConfig(**PRIMES | changes), seed=seed)


def first(model: Any) -> np.ndarray:
    return model(IDS, use_cache=False).to_tuple()[0]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_a_class_takes_the_names_of_state_dict(name: str, tied: bool) -> None:
    model = build(name, tie_word_embeddings=tied)
    again = type(model)(model.config, model.state_dict())
    assert np.array_equal(first(again), first(model))
    assert again.biogpt.embed_tokens.weight is model.biogpt.embed_tokens.weight if name != "BioGptModel" else True
    short = {key.removeprefix("biogpt."): x for key, x in model.named_parameters()}
    assert np.array_equal(first(type(model)(model.config, short)), first(model))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_load_state_dict_takes_tensors_of_pytorch(name: str, tied: bool) -> None:
    config = transformers.BioGptConfig(**PRIMES, tie_word_embeddings=tied)
    theirs = getattr(transformers, name)(config).eval()
    ours = build(name, seed=1, tie_word_embeddings=tied).double()
    result = ours.load_state_dict(theirs.state_dict())
    assert tuple(result) == tuple(theirs.load_state_dict(theirs.state_dict())) == ([], [])
    assert ours.dtype == "float64"
    for key, x in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[key], x.numpy().astype("float64")), key
    if name == "BioGptForCausalLM":
        assert (ours.output_projection.weight is ours.biogpt.embed_tokens.weight) == tied


def test_the_model_keeps_its_own_copies_unless_assigned() -> None:
    state = {key: x.copy() for key, x in build(seed=1).state_dict().items()}
    model, assigned = build(), build()
    model.load_state_dict(state)
    assigned.load_state_dict(state, assign=True)
    state["biogpt.layer_norm.bias"] += 1
    assert model.biogpt.layer_norm.bias.max() == 0
    assert assigned.biogpt.layer_norm.bias.max() == 1


def test_names_that_differ_are_an_error_or_returned_as_pytorch_returns_them() -> None:
    state = {**build(seed=1).state_dict(), "score.weight": np.ones(3, np.float32)}
    del state["biogpt.layer_norm.bias"]
    model = build()
    before = first(model)
    with pytest.raises(InputError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert "1 missing: layer_norm.bias; 1 unexpected: score.weight" in message
    assert "\n" not in message
    assert np.array_equal(first(model), before)
    theirs = transformers.BioGptForCausalLM(transformers.BioGptConfig(**PRIMES))
    want = theirs.load_state_dict({key: torch.tensor(x) for key, x in state.items()}, strict=False)
    got = model.load_state_dict(state, strict=False)
    assert (got.missing_keys, got.unexpected_keys) == (want.missing_keys, want.unexpected_keys)
    assert not np.array_equal(first(model), before)


@pytest.mark.parametrize("strict", [True, False])
def test_shapes_that_differ_are_always_an_error(strict: bool) -> None:
    model, other = build(), build(vocab_size=71)
    before = first(model)
    with pytest.raises(InputError, match=r"1 misshapen: embed_tokens.weight \(71, 21\), not \(67, 21\)"):
        model.load_state_dict(other.state_dict(), strict=strict)
    assert np.array_equal(first(model), before)


def test_missing_and_misshapen_weights_of_a_class_are_one_list() -> None:
    model = build()
    state = model.state_dict()
    for key in [key for key in state if ".layers.1." in key]:
        del state[key]
    state["biogpt.layer_norm.bias"] = np.ones(5, np.float32)
    for kind in (BioGptForCausalLM, BioGptModel):
        with pytest.raises(InputError) as caught:
            kind(model.config, state)
        message = str(caught.value)
        assert "16 missing: layers.1." in message
        assert "and 8 more; 1 misshapen: layer_norm.bias (5,), not (21,)" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("folder", r"found 'folder'; load a checkpoint with Class.from_pretrained\(folder\)"),
        ([1], r"found \[1\]; pass model.state_dict\(\)"),
        ({}, "36 missing: embed_tokens.weight"),
        ({"embed_tokens.weight": "text"}, "embed_tokens.weight must be an array of floats"),
        (
            {"embed_tokens.weight": np.ones((67, 21), int)},
            "embed_tokens.weight must be an array of floats; found dtype",
        ),
        ({"embed_tokens.weight": [[1.0], [2.0, 3.0]]}, "embed_tokens.weight must be an array of floats"),
    ],
)
def test_what_is_no_dict_of_arrays_is_one_line(weights: Any, message: str) -> None:
    for call in (build().load_state_dict, lambda x: BioGptForCausalLM(BioGptConfig(**PRIMES), x)):
        with pytest.raises(InputError, match=message):
            call(weights)


def test_dtypes() -> None:
    model = build()
    mixed = model.state_dict() | {"biogpt.layer_norm.bias": np.zeros(21)}
    with pytest.raises(InputError, match="must have the same dtype; found float32, float64"):
        type(model)(model.config, mixed)
    model.load_state_dict(mixed)
    assert {str(x.dtype) for x in model.parameters()} == {"float32"}
    for half in ("float16", "bfloat16"):
        narrow = {key: torch.tensor(x).to(getattr(torch, half)) for key, x in model.state_dict().items()}
        again = build()
        again.load_state_dict(narrow)
        assert np.array_equal(again.biogpt.embed_tokens.weight, narrow["biogpt.embed_tokens.weight"].float().numpy())
        assert (again.dtype, type(model)(model.config, narrow).dtype) == ("float32", half)
    wide = type(model)(model.config, {key: x.astype("float64") for key, x in model.state_dict().items()})
    assert wide.dtype == "float64"


def test_a_tied_head_that_differs_is_said() -> None:
    state = build(seed=1).state_dict()
    state["output_projection.weight"] = state["output_projection.weight"] + 1
    model = build()
    with pytest.warns(UserWarning, match="ties the head to the token embedding"):
        model.load_state_dict(state)
    with pytest.warns(UserWarning, match="ties the head to the token embedding"):
        again = BioGptForCausalLM(model.config, state)
    assert np.array_equal(first(again), first(model))
    assert np.array_equal(first(model), first(build(seed=1)))


def test_another_models_head_is_ignored_with_a_warning() -> None:
    model = build("BioGptForTokenClassification")
    with pytest.warns(UserWarning, match="ignored 2 unexpected: classifier.bias, classifier.weight") as caught:
        base = BioGptModel(model.config, model.state_dict())
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.array_equal(base(IDS).last_hidden_state, model.biogpt(IDS).last_hidden_state)
