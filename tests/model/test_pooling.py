"""Text embeddings against transformers' hidden states."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptModel, InputError, get_backend
from minibiogpt.backend import register_backend
from tests import reference
from tests.budgets import LANE_A, lane_b
from tests.compare import assert_close
from tests.support.configs import CONFIGS, PRIMES
from tests.support.strict import StrictArray, StrictBackend

LENGTHS = (7, 31, 1, 12, 20)
LAYERS = {None: "layer_norm", 0: "embeddings", 1: "layers.0", 2: "layers.1"}


@cache
def small() -> BioGptModel:
    return BioGptModel.from_config(BioGptConfig(**CONFIGS["gelu"]), dtype="float64")


def rows(*lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [[2, *rng.integers(3, 67, n - 1).tolist()] for n in lengths]


def padded(texts: list[list[int]], side: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    ids, mask = np.full((len(texts), width), 1), np.zeros((len(texts), width), int)
    for b, text in enumerate(texts):
        columns = slice(width - len(text), width) if side == "left" else slice(len(text))
        ids[b, columns], mask[b, columns] = text, 1
    return ids, mask


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, np.ndarray]]]:
    """A folder written by transformers, and every array of its forward pass over each single text, in float64."""
    theirs = reference.build(**PRIMES)
    traces = [reference.torch_trace(theirs, input_ids=[text])[0] for text in rows(*LENGTHS)]
    return reference.save(theirs, tmp_path_factory.mktemp("model")), traces


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_vectors_are_transformers_states(both: Any, pooling: str, layer: int | None) -> None:
    folder, traces = both
    states = [trace[LAYERS[layer]][0] for trace in traces]
    want = np.array([x[-1] if pooling == "last" else x.mean(axis=0) for x in states])
    for dtype, budget in (("float64", LANE_A), ("float32", lane_b("gelu", LAYERS[layer]))):
        model = BioGptModel.from_pretrained(folder, dtype=dtype)
        for batch_tokens in (512, 40):
            got = model.embed(rows(*LENGTHS), pooling=pooling, layer=layer, batch_tokens=batch_tokens)
            assert_close(f"{pooling} {layer} {dtype}", got, want.astype(dtype), budget)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_padding_on_either_side_changes_nothing(pooling: str) -> None:
    texts = rows(*LENGTHS)
    together = small().embed(texts, pooling=pooling)
    for side in ("left", "right"):
        assert np.array_equal(small().embed(*padded(texts, side, 33), pooling=pooling), together), "bit for bit"
    for b, text in enumerate(texts):
        assert_close("alone", together[b], small().embed([text], pooling=pooling)[0], LANE_A)


def test_a_text_longer_than_n() -> None:
    """Pooling "last" uses the last N tokens, "mean" each token's first state in the windows at 0, 15, 30, 45."""
    (text,) = rows(70)
    last = small()([text[-31:]]).last_hidden_state[0, -1]
    assert_close("last", small().embed([text])[0], last, LANE_A)
    states = []
    for begin in (0, 15, 30, 45):
        window = small()([text[begin : begin + 31]]).last_hidden_state[0]
        states += list(window[len(states) - begin :])
    assert len(states) == 70
    assert_close("mean", small().embed([text], pooling="mean")[0], np.mean(states, axis=0), LANE_A)


def test_the_arrays_stay_on_the_backend() -> None:
    register_backend("strict", StrictBackend)
    strict, plain = BioGptModel.from_pretrained("demo", backend="strict"), BioGptModel.from_pretrained("demo")
    for options in ({"pooling": "mean"}, {"pooling": "last"}, {"layer": 2}):
        got, want = strict.embed([[2, 45, 300], [2, 8]], **options), plain.embed([[2, 45, 300], [2, 8]], **options)
        assert isinstance(got, StrictArray)
        assert np.array_equal(get_backend("strict").to_numpy(got), want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "cls"}, "pooling must be one of last, mean; found 'cls'"),
        ({"layer": 3}, "layer must be an integer, 0 to 2; found 3"),
        ({"layer": -1}, "layer must be an integer, 0 to 2; found -1"),
        ({"batch_tokens": 0}, "batch_tokens must be an integer"),
        ({"attention_mask": [[0, 0]]}, "each row must hold a real token"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small().embed([[2, 3]], **options)
