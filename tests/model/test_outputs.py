"""What a call returns is an ordered mapping without Nones, as transformers' ModelOutput is."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import minibiogpt
from minibiogpt import BioGptConfig
from tests.support.configs import PRIMES

IDS = [[2, 3, 5, 7]]
CLASSES = ("BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"use_cache": False, "output_hidden_states": True},
    {"use_cache": True, "output_attentions": True},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", CLASSES)
def test_an_output_is_a_mapping_as_in_transformers(name: str, options: dict[str, Any]) -> None:
    ours = getattr(minibiogpt, name)(BioGptConfig(**PRIMES))(IDS, **options)
    theirs = getattr(transformers, name)(transformers.BioGptConfig(**PRIMES)).eval()(torch.tensor(IDS), **options)
    assert list(ours) == list(theirs) == list(ours.keys())
    assert len(ours) == len(theirs)
    for key in (*theirs, "loss", "no_such_key"):
        assert (key in ours) == (key in theirs)
        assert (ours.get(key) is None) == (theirs.get(key) is None)
    assert [key for key, _ in ours.items()] == [key for key, _ in theirs.items()]
    for values in (ours.values(), dict(ours).values(), {**ours}.values(), ours[:], ours.to_tuple()):
        assert all(one is other for one, other in zip(values, ours.to_tuple(), strict=True))
    assert ours[0] is ours.to_tuple()[0]
    first = next(iter(theirs))
    assert ours[first] is ours[0] is getattr(ours, first)


def test_the_output_of_generate_is_one_too() -> None:
    out = minibiogpt.BioGptForCausalLM(BioGptConfig(**PRIMES)).generate(
        np.array(IDS), max_new_tokens=2, return_dict_in_generate=True, use_cache=False
    )
    assert list(out) == ["sequences"]
    assert "scores" not in out
    with pytest.raises(KeyError, match="scores of GenerateOutput is None; pass output_scores=True"):
        out["scores"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("logit", "CausalLMOutput has no attribute 'logit'; did you mean logits?"),
        ("hidden_state", "CausalLMOutput has no attribute 'hidden_state'; did you mean hidden_states?"),
        ("pooler_output", "BioGPT has no pooler"),
        ("last_hidden_state", "call the base model, or pass output_hidden_states=True"),
    ],
)
def test_an_unknown_field_is_one_line(name: str, advice: str) -> None:
    out = minibiogpt.BioGptForCausalLM(BioGptConfig(**PRIMES))(IDS)
    with pytest.raises(KeyError) as caught:
        out[name]
    assert advice in caught.value.args[0]
    with pytest.raises(AttributeError) as other:
        getattr(out, name)
    assert advice in str(other.value)
    assert not hasattr(out, name)


def test_a_field_that_is_none_is_no_key_and_the_error_says_how_to_get_it() -> None:
    out = minibiogpt.BioGptForCausalLM(BioGptConfig(**PRIMES))(IDS)
    assert out.loss is None
    with pytest.raises(KeyError, match="loss of CausalLMOutput is None; pass labels"):
        out["loss"]


def test_an_output_is_copied_and_pickled() -> None:
    out = minibiogpt.BioGptForCausalLM(BioGptConfig(**PRIMES))(IDS, use_cache=False)
    for again in (copy.copy(out), copy.deepcopy(out), pickle.loads(pickle.dumps(out))):
        assert type(again) is type(out)
        assert np.array_equal(again.logits, out.logits)
