"""Windows of a classification head, compared with each window alone; and the labels of words."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import (
    BioGptConfig,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptTokenizer,
    InputError,
)
from minibiogpt.heads.labelling import class_scores, hidden_states, token_probabilities
from minibiogpt.heads.tagging import Tagged, entities, word_label
from minibiogpt.heads.words import word_ids
from minibiogpt.model.ops import softmax
from tests.budgets import LANE_A
from tests.support.configs import HEADS

N = 11
rows_of_ids = st.lists(st.lists(st.integers(4, 60), min_size=1, max_size=40), min_size=1, max_size=4)


@cache
def model(kind: type, positions: int = N) -> Any:
    sizes = HEADS["TokenClassification"] | {"max_position_embeddings": positions, "initializer_range": 0.5}
    return kind.from_config(BioGptConfig(**sizes), dtype="float64")  # type: ignore[attr-defined]


def windows(n: int, size: int, stride: int) -> list[tuple[int, int, int]]:
    """Return (begin, end, first new position) of each window, one by one."""
    found, done, begin = [], 0, 0
    while done < n:
        end = min(begin + size, n)
        found.append((begin, end, done))
        done, begin = end, begin + stride
    return found


@settings(max_examples=40, deadline=None)
@given(rows_of_ids, st.integers(2, N), st.data(), st.sampled_from([{}, {"batch_size": 2}, {"batch_tokens": 7}]))
def test_each_token_has_the_first_window_that_contains_it(
    rows: list[list[int]], size: int, data: Any, batches: dict[str, int]
) -> None:
    stride = data.draw(st.integers(1, size - 1))
    head = model(BioGptForTokenClassification)
    found = token_probabilities(head, rows, window=size, stride=stride, **batches)
    states = hidden_states(head.biogpt, rows, window=size, stride=stride, **batches)
    for row, p, h in zip(rows, found, states, strict=True):
        assert (len(p), len(h)) == (len(row), len(row))
        for begin, end, new in windows(len(row), size, stride):
            want = softmax(head([row[begin:end]]).logits[0])[new - begin :]
            assert np.abs(p[new:end] - want).max() < LANE_A
            want = head.biogpt([row[begin:end]]).last_hidden_state[0, new - begin :]
            assert np.abs(h[new:end] - want).max() < LANE_A * np.abs(want).max()


@settings(max_examples=40, deadline=None)
@given(rows_of_ids, st.integers(2, N), st.data(), st.sampled_from(["mean", "last", "max"]))
def test_the_scores_of_windows_are_combined(rows: list[list[int]], size: int, data: Any, combine: str) -> None:
    stride = data.draw(st.integers(1, size - 1))
    head = model(BioGptForSequenceClassification)
    found = class_scores(head, rows, softmax, combine=combine, window=size, stride=stride)
    for row, scores in zip(rows, found, strict=True):
        parts = [(softmax(head([row[b:e]]).logits[0]), e - new) for b, e, new in windows(len(row), size, stride)]
        want = {
            "mean": sum(p * new for p, new in parts) / len(row),
            "last": softmax(head([row[-size:]]).logits[0]),
            "max": np.max([p for p, _ in parts], axis=0),
        }[combine]
        assert np.abs(scores - want).max() < LANE_A


def test_a_model_of_one_position_needs_no_stride() -> None:
    head = model(BioGptForTokenClassification, 1)
    assert token_probabilities(head, [[5]])[0].shape == (1, 5)
    with pytest.raises(InputError, match="window must be an integer"):
        token_probabilities(head, [[5, 6]])


def test_what_is_invalid_is_said() -> None:
    head = model(BioGptForSequenceClassification)
    with pytest.raises(InputError, match="combine must be one of mean, last, max; found 'sum'"):
        class_scores(head, [[5]], softmax, combine="sum")
    with pytest.raises(InputError, match="stride must be an integer, 1 to 4; found 5"):
        class_scores(head, [[5]], softmax, window=5, stride=5)
    with pytest.raises(InputError, match="the strategy of a word must be first, average or max; found 'simple'"):
        word_label(np.ones((1, 2)), "simple")
    with pytest.raises(InputError, match="the strategy of tagged tokens must be first or simple; found 'max'"):
        entities([Tagged((0, 1), "O", 1.0)], "max")


def test_the_first_of_equally_certain_tokens_labels_its_word() -> None:
    p = np.array([[0.25, 0.75], [0.75, 0.25]])
    assert word_label(p, "max") == (1, 0.75)
    assert word_label(p[::-1], "max") == (0, 0.75)


def test_an_added_token_is_a_word_of_its_own_even_if_it_is_not_special() -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    tok.add_tokens(["nir"])
    for text, words in (("nirpain a", [0, 1, 2]), ("pain nir nir", [0, 1, 2])):
        assert word_ids(tok, tok.analyse(text)) == tok(text).word_ids()[1:] == words
