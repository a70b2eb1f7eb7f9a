"""A model from a config alone: Class(config) draws what transformers draws, and from_config is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minibiogpt
from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptModel, InputError
from tests.support.configs import PRIMES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = ("BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification")
SIZES = {"vocab_size": 997, "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2} | {
    "intermediate_size": 128, "max_position_embeddings": 211, "num_labels": 53, "initializer_range": 0.05,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": False, "pad_token_id": 7}, {"pad_token_id": None}, {"pad_token_id": 0}],
    ids=str,
)
@pytest.mark.parametrize("name", CLASSES)
def test_untrained_weights_are_drawn_as_transformers_draws_them(name: str, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    theirs = getattr(transformers, name)(transformers.BioGptConfig(**SIZES, **changes)).state_dict()
    ours = getattr(minibiogpt, name)(BioGptConfig(**SIZES, **changes)).state_dict()
    assert {key: x.shape for key, x in ours.items()} == {key: tuple(x.shape) for key, x in theirs.items()}
    for key, x in ours.items():
        want = theirs[key].numpy()
        if want.ndim == 1:  # biases 0, norms 1
            assert np.array_equal(x, want), key
            continue
        zero = np.flatnonzero((want == 0).all(axis=1))
        assert np.flatnonzero((x == 0).all(axis=1)).tolist() == zero.tolist(), key
        drawn = np.delete(x, zero, axis=0).astype(np.float64) / 0.05  # N(0, 1)
        n = drawn.size
        assert abs(drawn.mean()) < 5 / np.sqrt(n), key
        assert abs(drawn.std() - 1) < 5 / np.sqrt(2 * n), key
        assert abs((np.abs(drawn) < 1).mean() - 0.6827) < 5 * 0.4654 / np.sqrt(n), key


@pytest.mark.parametrize("name", CLASSES)
def test_a_seed_chooses_the_weights_and_from_config_is_the_same(name: str) -> None:
    kind, config = getattr(minibiogpt, name), BioGptConfig(**PRIMES)
    first, same, other = kind(config), kind.from_config(config), kind(config, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not np.array_equal(first.get_input_embeddings().weight, other.get_input_embeddings().weight)
    assert kind(config, dtype="float64").dtype == "float64"
    assert kind(config, None, "numpy", "eager").base_model.attn_implementation == "eager"
    assert first.config is config
    assert first([[2, 3, 5]])[0].dtype == np.float32


def test_weights_that_are_given_are_used() -> None:
    config = BioGptConfig(**PRIMES)
    model = BioGptForCausalLM(config, seed=5)
    weights = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
    assert np.array_equal(BioGptForCausalLM(config, weights)([[2, 3]]).logits, model([[2, 3]]).logits)


def test_half_precision_is_kept() -> None:
    model = BioGptModel(BioGptConfig(**PRIMES), dtype="float16")
    assert model.dtype == "float16"
    assert {x.dtype.name for x in model.parameters()} == {"float16"}


def test_a_config_of_transformers_is_taken() -> None:
    model = BioGptModel(transformers.BioGptConfig(**PRIMES, foo=2))
    assert (model.config.hidden_size, model.config.foo) == (21, 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("demo", "must be built from a BioGptConfig; found 'demo'; load the checkpoint with from_pretrained"),
        ({"hidden_size": 3}, r"write BioGptConfig.from_dict\(values\)"),
        (BioGptConfig, r"write Class\(BioGptConfig\(\)\)"),
        (None, "found None"),
    ],
)
def test_what_is_no_config_says_what_to_call(config: Any, message: str) -> None:
    for build in (BioGptForCausalLM, BioGptForCausalLM.from_config):
        with pytest.raises(InputError, match=message):
            build(config)


@pytest.mark.parametrize("seed", [-1, "a", 1.5])
def test_a_seed_that_is_none_is_one_error(seed: Any) -> None:
    with pytest.raises(InputError, match="seed must be an integer, 0 or more"):
        BioGptModel(BioGptConfig(**PRIMES), seed=seed)
