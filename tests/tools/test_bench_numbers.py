"""tools/benching: counts checked by hand, limits, ratios, the linear fit, the texts and the rows."""

from __future__ import annotations

import doctest
import importlib
import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig
from minibiogpt.catalog.parameters import base_shapes
from minibiogpt.files.hub import find_model
from tests.budgets import SUMMED
from tests.compare import assert_close
from tests.support.configs import PRIMES
from tools.benching import cases, limits, numbers, rounds, table, texts
from tools.benching.limits import Rates, Work
from tools.benching.workers import ROOT

DEMO = find_model("demo")
SMALL = BioGptConfig(
    vocab_size=5, hidden_size=2, num_hidden_layers=1, num_attention_heads=1, intermediate_size=3,
    max_position_embeddings=7,
)  # fmt: skip


@pytest.mark.parametrize("name", ["answer", "cases", "limits", "numbers", "rounds", "table"])
def test_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"tools.benching.{name}"))
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize(("name", "absent"), [("ours", {"torch", "transformers"}), ("theirs", {"minibiogpt"})])
def test_a_worker_holds_one_library(name: str, absent: set[str]) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tools.benching.{name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert f"tools.benching.{name}" in loaded
    assert absent.isdisjoint(loaded)


def test_counts_are_those_of_a_sheet_of_paper() -> None:
    # matrices 4 x 2 x 2 and 2 x 2 x 3; biases and norms 9 x 2 + 3; two positions on top of three see 4 and 5
    assert (limits.matrix_weights(SMALL), limits.layer_weights(SMALL), limits.head_weights(SMALL)) == (28, 49, 10)
    assert limits.seen_positions(2, 3) == 4 + 5
    assert limits.operations(SMALL, 2, past=3) == 2 * 28 * 2 + 4 * 2 * 9 + 2 * 10
    assert limits.operations(SMALL, 2, past=3, logits=0, rows=3) == 3 * (112 + 72)
    assert limits.bytes_read(SMALL, past=3) == 4 * (49 + 10 + 2 * 2 * 3)
    assert limits.bytes_read(SMALL, past=3, logits=0, rows=2) == 4 * (49 + 2 * 12)
    assert limits.forward(SMALL, 2, past=3) == Work(284, 204)
    assert limits.mean_step(SMALL, 3, 3) == Work((284 + 300) / 2, 2 * 28 + 4 * 2 * 4.5 + 20)
    assert limits.scoring(SMALL, [2, 1], [[0, 1]]) == Work(236, (112 + 24 + 20) + (56 + 8))


def test_weights_that_are_counted_are_those_that_are_stored() -> None:
    config = BioGptConfig(**PRIMES)
    sizes = {name: math.prod(shape) for name, shape in base_shapes(config).items()}
    assert limits.layer_weights(config) == sum(size for name, size in sizes.items() if name.startswith("layers."))
    one = 7 * 3 * config.hidden_size + 2 * 3 * config.intermediate_size + config.vocab_size
    cache = 2 * config.num_hidden_layers * config.hidden_size * config.max_position_embeddings
    assert limits.least_memory(config, 3) == 4 * (sum(sizes.values()) + cache + one)


def test_the_limit_is_the_slower_of_reading_and_computing() -> None:
    assert Work(100, 8).limit(Rates(bandwidth=50, operations=2)) == 4
    assert Work(100, 8).limit(Rates(bandwidth=20, operations=2)) == 5


numbers_of_seconds = st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=9)


@given(st.integers(1, 100), st.integers(1, 100), st.integers(100, 10**4), st.sets(st.integers(1, 99), min_size=1))
def test_the_fit_recovers_a_line(fixed: int, each: int, middle: int, away: set[int]) -> None:
    points = [middle + sign * d for d in away for sign in (-1, 1)]  # symmetric, so that nothing is rounded
    assert numbers.fitted(points, [fixed + each * x for x in points]) == (fixed, each)


def test_growth_reports_how_far_a_point_is_from_the_line() -> None:
    found = numbers.growth([0, 1, 2], [1, 6, 5])  # the line through them: 2 + 2 x
    assert_close("fitted", np.array(found["fitted_seconds"]), np.array([2.0, 4.0, 6.0]), SUMMED)
    assert_close("percent", np.array(found["percent"]), np.array([-50.0, 50.0, -100 / 6]), SUMMED)
    assert_close("rate", np.array(found["gflops"]), np.array(0.5e-9), SUMMED)
    assert numbers.growth([0, 1], [2, 1])["gflops"] is None


def test_the_ratio_is_ours_over_theirs_of_medians() -> None:
    ours, peer = [1.0, 3.0, 20.0], [4.0, 2.0, 5.0]
    assert numbers.ratio(ours, peer) == (0.75, 0.25, 4.0)
    each = [a / b for a, b in zip(ours, peer, strict=True)]
    wrong = (numbers.ratio(peer, ours).median, statistics.mean(ours) / statistics.mean(peer), statistics.median(each))
    assert 0.75 not in wrong
    with pytest.raises(ValueError, match="shorter"):
        numbers.ratio(ours, peer[:2])


@given(numbers_of_seconds)
def test_twice_the_time_is_twice_the_ratio(ours: list[float]) -> None:
    assume(len(set(ours)) > 1)
    assert numbers.ratio([2 * x for x in ours], ours) == (2, 2, 2)
    found = numbers.spread(ours)
    assert found.least <= found.median <= found.largest


@given(st.integers(1, 6))
def test_every_side_is_first_equally_often(count: int) -> None:
    sides = [str(i) for i in range(count)]
    orders = [rounds.rotated(sides, turn) for turn in range(count)]
    assert sorted(order[0] for order in orders) == sides
    assert all(sorted(order) == sides for order in orders)


def test_the_table_shows_ours_over_theirs() -> None:
    results = {
        "minibiogpt": {"peak_bytes": 1.5e9, "load_seconds": 3.0},
        "transformers": {"peak_bytes": 2e9, "load_seconds": 2.0},
    }
    rows = [line.split() for line in table.loading({"file_bytes": 1e9, "results": results}).splitlines()]
    assert rows[2] == ["peak", "1.500", "GB", "2.000", "GB", "0.75"]
    assert rows[3] == ["load", "seconds", "3.000", "s", "2.000", "s", "1.50"]


def test_texts_come_from_a_seed() -> None:
    some = texts.abstracts(20, DEMO, 1)
    assert some == texts.abstracts(20, DEMO, 1) != texts.abstracts(20, DEMO, 2)
    assert all(120 < len(text.split()) < 300 for text in some)
    assert all(part in " ".join(some) for part in (" %", "(p < 0.", "IL-", "'s ", ". ", "-"))
    assert len(set(some)) == 20


def test_sentences_have_the_lengths_of_sentences() -> None:
    lengths = [len(row) for row in cases.sentences(BioGptConfig(), 2000)]
    assert min(lengths) >= 5
    assert max(lengths) <= 80
    assert 23 < statistics.mean(lengths) < 27
    assert cases.within(BioGptConfig(), (128, 1000, 5000), 16) == [128, 1000, 1008]
