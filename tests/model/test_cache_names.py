"""A KVCache has the names of transformers' DynamicCache, or says what to write instead."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, KVCache
from minibiogpt.errors import short_repr
from tests.support.configs import PRIMES

IDS = [[2, 3, 5, 7]]


@pytest.fixture
def model() -> BioGptForCausalLM:
    return BioGptForCausalLM(BioGptConfig(**PRIMES))


def test_lengths_and_the_legacy_format_are_transformers(model: BioGptForCausalLM) -> None:
    cache = model(IDS).past_key_values
    config = transformers.BioGptConfig(**PRIMES)
    theirs = transformers.BioGptForCausalLM(config).eval()(torch.tensor(IDS)).past_key_values
    assert cache.get_seq_length() == cache.get_seq_length(1) == theirs.get_seq_length() == 4
    assert cache.get_max_cache_shape() == theirs.get_max_cache_shape()
    ours, want = cache.to_legacy_cache(), theirs.to_legacy_cache()
    assert isinstance(ours, tuple)
    assert isinstance(ours[0], tuple)
    assert [[x.shape for x in pair] for pair in ours] == [[tuple(x.shape) for x in pair] for pair in want]
    again = KVCache.from_legacy(ours)
    assert np.array_equal(model([[9]], past_key_values=again).logits, model([[9]], past_key_values=cache).logits)


def test_every_other_public_name_of_a_dynamic_cache_has_advice(model: BioGptForCausalLM) -> None:
    cache = model(IDS).past_key_values
    internal = {"early_initialization", "is_initialized", "is_sliding", "layer_class_to_replicate", "offloading"}
    names = [name for name in dir(transformers.DynamicCache()) if not name.startswith("_") and name not in internal]
    assert "crop" in names
    for name in names:
        if hasattr(cache, name):
            continue
        with pytest.raises(AttributeError) as caught:
            getattr(cache, name)
        message = str(caught.value)
        assert message.startswith(f"KVCache has no attribute {name!r}; ")
        assert "see its documentation" not in message
        assert "did you mean" not in message
    with pytest.raises(AttributeError, match="run the model on the ids that you keep"):
        cache.crop(2)


def test_a_cache_is_still_copied_and_pickled(model: BioGptForCausalLM) -> None:
    cache = model(IDS).past_key_values
    for again in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert np.array_equal(again[0][0], cache[0][0])


def test_a_cache_still_continues_generation(model: BioGptForCausalLM) -> None:
    cache = model(IDS).past_key_values
    longer = np.array([[2, 3, 5, 7, 9]])
    want = model.generate(longer, max_new_tokens=2)
    assert np.array_equal(model.generate(longer, max_new_tokens=2, past_key_values=cache), want)


@pytest.mark.parametrize(
    "empty", [transformers.DynamicCache(), transformers.DynamicCache(config=transformers.BioGptConfig(**PRIMES))]
)
def test_an_empty_cache_of_transformers_is_none(model: BioGptForCausalLM, empty: transformers.DynamicCache) -> None:
    with pytest.raises(InputError, match="found an empty DynamicCache; pass None; the call returns the cache"):
        model(IDS, past_key_values=empty)


def test_a_filled_cache_of_transformers_is_read(model: BioGptForCausalLM) -> None:
    own = model(IDS).past_key_values
    pairs = tuple(tuple(torch.tensor(x) for x in pair) for pair in own)
    theirs = transformers.DynamicCache.from_legacy_cache(pairs)
    assert np.array_equal(model([[9]], past_key_values=theirs).logits, model([[9]], past_key_values=own).logits)


@pytest.mark.parametrize("layers", [7, None, [10**5000], [(1, 2)], [None], [(None, None)], []], ids=short_repr)
def test_what_is_no_cache_is_one_error(model: BioGptForCausalLM, layers: Any) -> None:
    with pytest.raises(InputError, match=r"must be a KVCache or a \(k, v\) pair for each layer"):
        KVCache.from_legacy(layers)


@pytest.mark.parametrize("indices", [[10**5000], 10**5000, [7], "x", None, 0, [[0]], [0.5]], ids=short_repr)
def test_rows_that_a_cache_lacks_are_one_error(model: BioGptForCausalLM, indices: Any) -> None:
    cache = model([[2, 5]], use_cache=True).past_key_values
    with pytest.raises(InputError, match="beam_indices must be a row of integers, 0 to 0"):
        cache.reorder(indices)
