"""resize_token_embeddings: rows added and cut as transformers does, the head following, files exchanged both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minibiogpt
from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError
from minibiogpt.model.resize import resized
from tests.budgets import MODELS_FLOAT32, SUMMED
from tests.compare import assert_close
from tests.support.configs import PRIMES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = ("BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification")
IDS = [[2, 3, 5, 7]]


def pair(folder: Path, name: str = "BioGptForCausalLM", **changes: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = transformers.BioGptConfig(**PRIMES | changes, initializer_range=0.3)
    theirs = getattr(transformers, name)(config).eval()
    theirs.save_pretrained(folder)
    return getattr(minibiogpt, name).from_pretrained(folder), theirs


@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 8}, {"mean_resizing": False}])
@pytest.mark.parametrize("rows", [None, 67, 71, 40])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_shapes_and_old_rows_are_transformers(
    name: str, tied: bool, rows: int | None, options: dict[str, Any], tmp_path: Path
) -> None:
    ours, theirs = pair(tmp_path, name, tie_word_embeddings=tied)
    returned, want = ours.resize_token_embeddings(rows, **options), theirs.resize_token_embeddings(rows, **options)
    assert returned is ours.get_input_embeddings()
    assert returned.weight.shape == tuple(want.weight.shape)
    assert ours.config.vocab_size == theirs.config.vocab_size == ours.base_model.config.vocab_size
    kept = min(67, len(want.weight))
    for key, x in ours.state_dict().items():
        theirs_now = theirs.state_dict()[key].numpy()
        assert x.shape == theirs_now.shape, key
        same = slice(kept if x.shape[0] == len(want.weight) else None)
        assert np.array_equal(x[same], theirs_now[same]), key
    head = ours.get_output_embeddings()
    assert head is None or (head.weight is returned.weight) == tied
    assert ours(IDS)[0].shape == tuple(theirs(torch.tensor(IDS))[0].shape)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_near_the_mean_as_transformers(tied: bool, tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path, tie_word_embeddings=tied)
    old = ours.get_input_embeddings().weight.astype(np.float64)
    ours.resize_token_embeddings(1067)
    theirs.resize_token_embeddings(1067)
    for key in ("biogpt.embed_tokens.weight", "output_projection.weight"):
        got, want = ours.state_dict()[key][67:], theirs.state_dict()[key].numpy()[67:]
        mean = old.mean(axis=0) if tied or key.startswith("biogpt") else ours.state_dict()[key][:67].mean(axis=0)
        spread = [np.sqrt(((x - mean) ** 2).mean()) for x in (got, want)]
        assert spread[0] == pytest.approx(spread[1], rel=0.05)
        assert 0 < spread[0] < 1e-4
    noise = (ours.get_input_embeddings().weight[67:] - old.mean(axis=0)) / np.sqrt(1e-9)
    expected = np.cov(old.T, bias=True)
    assert np.abs(np.cov(noise.T) - expected).max() < 0.25 * np.abs(expected).max()


def test_the_spread_of_new_rows_by_hand() -> None:
    """The rows -1 and 1 have the mean 0 and the covariance 1 (2, if their number less one divided it)."""
    drawn = np.random.default_rng(3).standard_normal((4, 1))
    got = resized(np.array([[-1.0], [1.0]]), 6, True, 0.02, np.random.default_rng(3))
    assert_close("new rows", got[2:], np.sqrt(1e-9) * drawn, SUMMED)


def test_with_fewer_rows_than_columns_new_rows_are_the_mean(tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path, vocab_size=11)
    ours.resize_token_embeddings(13)
    theirs.resize_token_embeddings(13)
    got, want = (model.state_dict()["output_projection.weight"][11:] for model in (ours, theirs))
    assert_close("new rows", got, want.numpy(), MODELS_FLOAT32)


def test_without_the_mean_new_rows_are_drawn_as_untrained_weights(tmp_path: Path) -> None:
    ours, _ = pair(tmp_path)
    new = ours.resize_token_embeddings(2067, mean_resizing=False).weight[67:]
    assert abs(new.mean()) < 5 * 0.3 / np.sqrt(new.size)
    assert new.std() == pytest.approx(0.3, rel=0.03)
    assert new.dtype == np.float32


def test_a_seed_chooses_the_new_rows() -> None:
    rows = [
        BioGptForCausalLM(BioGptConfig(**PRIMES)).resize_token_embeddings(70, seed=seed).weight[67:]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [73, 41])
def test_a_resized_model_is_exchanged_both_ways(rows: int, tied: bool, tmp_path: Path) -> None:
    ours, theirs = pair(tmp_path, tie_word_embeddings=tied)
    ours.resize_token_embeddings(rows)
    theirs.resize_token_embeddings(rows)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    back = transformers.BioGptForCausalLM.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        assert_close("logits", ours(IDS).logits, back(torch.tensor(IDS)).logits.numpy(), MODELS_FLOAT32)
        read = BioGptForCausalLM.from_pretrained(tmp_path / "theirs")
        assert_close("logits", read(IDS).logits, theirs(torch.tensor(IDS)).logits.numpy(), MODELS_FLOAT32)
    assert ours.generate(IDS, max_new_tokens=3).shape[0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"new_num_tokens": 2}, r"eos_token_id must be null or an id in \[0, 2\)"),
        ({"new_num_tokens": 0}, "new_num_tokens must be an integer, 1 or more"),
        ({"new_num_tokens": "70"}, "new_num_tokens must be an integer, 1 or more; found '70'"),
        ({"new_num_tokens": 10**12}, "the model must have at most"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of must be an integer, 1 or more"),
        ({"new_num_tokens": 70, "seed": -1}, "seed must be an integer"),
    ],
)
def test_a_size_that_cannot_be_changes_nothing(options: dict[str, Any], message: str) -> None:
    model = BioGptForCausalLM(BioGptConfig(**PRIMES))
    want = model(IDS).logits
    with pytest.raises(InputError, match=message):
        model.resize_token_embeddings(**options)
    assert model.config.vocab_size == 67
    assert np.array_equal(model(IDS).logits, want)
