"""Comparing one array: what agrees, what is measured, where it differs, and the memory it takes."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt.golden.check.compare import LOWEST, MASKED_MARGIN, SUMS, Measure, blocks, measure, measure_slim
from minibiogpt.golden.format.case import sample_indices, sums_of
from minibiogpt.golden.format.rounding import rounded
from tests.budgets import SUMMED
from tests.support.golden_cases import normal


def compared(c: np.ndarray, r: np.ndarray, budget: float = 0.5, **options: object) -> Measure:
    return measure(c, r, budget, np.asarray, **options)  # type: ignore[arg-type]


def test_numbers_that_can_be_worked_out_by_hand() -> None:
    found = compared(np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[1.0, 2.25], [3.0, 4.0]]))
    assert (found.compared, found.exceeding, found.largest_error, found.worst) == (4, 1, 1.0, (1, 1))
    assert (found.candidate, found.reference, found.agrees) == (5.0, 4.0, False)
    dot, c, r = 1 + 4.5 + 9 + 20, 1 + 4 + 9 + 25, 1 + 2.25**2 + 9 + 16
    assert found.cosine == pytest.approx(dot / math.sqrt(c * r), rel=SUMMED)


def test_an_error_of_the_budget_itself_agrees_and_the_next_number_does_not() -> None:
    r = np.zeros(3)
    assert compared(np.array([0.5, -0.5, 0]), r).agrees
    assert not compared(np.array([0, 0, np.nextafter(0.5, 1)]), r).agrees
    assert not compared(np.array([0, 0, -np.nextafter(0.5, 1)]), r).agrees


def test_zero_has_no_sign_and_nothing_compared_is_no_agreement() -> None:
    assert compared(np.array([-0.0]), np.array([0.0]), 0.0).agrees
    assert not compared(np.zeros((0, 3)), np.zeros((0, 3))).agrees
    assert not compared(np.zeros(2), np.zeros(2), keep=np.zeros(2, bool)).agrees
    assert not compared(np.zeros(2), np.zeros(2), math.nan).agrees


def test_the_cosine_of_opposites_and_of_nothing() -> None:
    x = normal(4)
    assert compared(-x, x).cosine == pytest.approx(-1.0)
    assert compared(x * 0, x).cosine is None
    assert compared(x * np.inf, x).cosine is None
    assert compared(x * 1e200, x).cosine is None
    holes = np.array([x[0], np.nan, x[2], -np.inf])
    assert compared(holes, x).cosine == pytest.approx(1.0), "of the finite elements"


@given(shape=st.lists(st.integers(1, 6), max_size=4).map(tuple), max_size=st.integers(1, 40), data=st.data())
def test_any_element_beyond_the_budget_is_found_and_located(shape: tuple, max_size: int, data: st.DataObject) -> None:
    r = normal(*shape)
    at = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    off = data.draw(st.sampled_from([0.01, -0.01, 1e300, np.nan, np.inf, -np.inf]))
    c = np.array(r)
    assert compared(c, r, 0.001, max_size=max_size).agrees
    c[at] += off
    found = compared(c, r, 0.001, max_size=max_size)
    assert (found.exceeding, found.compared, found.agrees) == (1, r.size, False)
    index = found.worst if math.isfinite(off) else found.not_finite
    assert index == at
    assert (found.nan, found.inf) == (int(math.isnan(off)), int(math.isinf(off)))


@given(st.lists(st.integers(0, 5), max_size=4).map(tuple), st.integers(1, 30))
def test_blocks_cover_every_element_once_in_order(shape: tuple, max_size: int) -> None:
    x = np.arange(math.prod(shape)).reshape(shape)
    parts = [x[at] for at in blocks(shape, max_size)]
    assert [int(i) for part in parts for i in np.ravel(part)] == list(range(x.size))
    assert max((part.size for part in parts), default=0) <= max(max_size, 1)


def test_the_first_of_several_that_are_not_finite() -> None:
    c = normal(3, 4)
    c[1, 2], c[2, 0] = np.inf, np.nan
    for max_size in (1, 3, 100):
        found = compared(c, normal(3, 4), max_size=max_size)
        assert (found.nan, found.inf, found.not_finite, found.exceeding) == (1, 1, (1, 2), 2)
        assert found.largest_error == math.inf


def test_an_infinity_is_the_worst_and_numbers_too_large_to_subtract_too() -> None:
    found = compared(np.array([0.0, -1.7e308]), np.array([0.0, 1.7e308]))
    assert (found.largest_error, found.worst, found.inf, found.agrees) == (math.inf, (1,), 0, False)


def test_integers_are_exact_where_float64_is_not() -> None:
    r = np.array([2**53, 7])
    assert compared(r.astype("int64"), r, 0.0).agrees
    found = compared(np.array([2**53 + 1, 7]), r, 0.0)
    assert (found.largest_error, found.exceeding, found.worst) == (1.0, 1, (0,))
    assert not compared(np.array([2**64 - 1], "uint64"), np.array([-1]), 0.0).agrees
    assert compared(np.array([True, False]), np.array([1, 0]), 0.0).agrees
    assert not compared(np.array([True, True]), np.array([1, 0]), 0.0).agrees


def test_representable_are_the_precisions_of_every_block() -> None:
    every = {"float64", "float32", "bfloat16", "float16"}
    for c, precisions in (([0.1, 0.5], {"float64"}), ([0.5, 0.1], {"float64"}), ([0.25, 0.5], every)):
        assert compared(np.array(c), np.zeros(2), 0.05, max_size=1).representable == precisions, c


def test_the_precision_that_many_values_hold() -> None:
    wide = np.random.default_rng(0).standard_normal((5, 20))
    for precision in ("bfloat16", "float16", "float32"):
        narrow = rounded(wide.astype("f4"), precision).astype("f8")
        assert compared(narrow, wide).held == precision
        assert compared(narrow, narrow).held is None, "the reference has such values, too"
        ours, theirs = (np.where(narrow == narrow[0, 0], masked, narrow) for masked in (LOWEST, -np.inf))
        assert compared(theirs, ours, has_masked=True).held is None, "whatever stands for a masked score"
        assert compared(narrow[:, :1], wide[:, :1]).held is None, "five values"
        for empty in (np.zeros_like(wide), np.ones_like(wide), 2.0 ** np.round(wide)):
            assert compared(empty, wide).held is None, "every precision has these values"
        mixed = np.array(narrow)
        mixed[4, 19] = 0.1
        assert compared(mixed, wide, max_size=7).held is None, "one value that needs float64"
    tiny = (wide * 2.0**-20).astype("f2").astype("f8")  # subnormal: fewer bits, none of which bfloat16 lacks
    assert compared(tiny, wide * 2.0**-20).held in ("float16", "bfloat16")
    large = rounded((wide * 1e6).astype("f4"), "bfloat16").astype("f8")  # beyond float16's 65504
    assert compared(large, wide * 1e6).held == "bfloat16"


def test_what_a_coarser_precision_does_not_explain() -> None:
    assert compared(np.array([[0.75, 0.0]]), np.zeros((1, 2)), 0.5).within(1.0)
    assert not compared(np.array([[0.75, np.nan]]), np.zeros((1, 2)), 0.5).within(1.0)
    visible = compared(np.array([[0.75, 0.0]]), np.array([[0.0, LOWEST]]), 0.5, has_masked=True)
    assert not visible.within(1.0)


MARKED = np.array([[1.0, LOWEST, LOWEST], [2.0, 3.0, LOWEST], [LOWEST, LOWEST, LOWEST]])


@pytest.mark.parametrize("value", [-np.inf, LOWEST, float(np.finfo("f4").min), -65504.0, -1e9])
def test_hidden_is_what_is_hidden_in_effect(value: float) -> None:
    found = compared(np.where(MARKED == LOWEST, value, MARKED), MARKED, 0.0, has_masked=True)
    assert found.agrees
    assert (found.largest_error, found.wrong_marks, found.inf) == (0.0, 0, 0)
    assert found.cosine == pytest.approx(1.0), "of the visible scores"


def test_a_mark_is_judged_in_its_own_row() -> None:
    c = np.where(MARKED == LOWEST, -np.inf, MARKED)
    for x, agrees in ((1.0 - MASKED_MARGIN, False), (1.0 - MASKED_MARGIN - 1e-9, True), (2.5 - MASKED_MARGIN, False)):
        c[0, 1] = x
        found = compared(c, MARKED, 0.0, has_masked=True)
        assert found.agrees is agrees, x
        assert (found.wrong_marks, found.wrong_mark) == ((0, None) if agrees else (1, (0, 1)))


@pytest.mark.parametrize(
    ("blind", "agrees"),
    [
        ([-1e9] * 3, True),
        ([-6e4] * 3, False),
        ([-60001.0] * 3, True),
        ([-1e9, -1e9 + 64, -1e9], False),
        ([0.0] * 3, False),
    ],
)
def test_a_row_that_sees_nothing_is_one_low_value(blind: list[float], agrees: bool) -> None:
    c = np.array(MARKED)
    c[2] = blind
    assert compared(c, MARKED, 0.0, has_masked=True).agrees is agrees


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_what_does_not_hide(value: float) -> None:
    c = np.array(MARKED)
    c[0, 1] = value  # next to a masked score
    found = compared(c, MARKED, 0.0, has_masked=True)
    assert not found.agrees
    assert found.exceeding == 1
    assert (found.nan, found.wrong_marks) == ((1, 0) if math.isnan(value) else (0, 1))


def test_a_mark_where_the_reference_has_none_and_marks_in_other_arrays() -> None:
    c = np.array(MARKED)
    c[1, 1] = LOWEST
    assert not compared(c, MARKED, 1.0, has_masked=True).agrees
    c[1, 1] = -np.inf
    found = compared(c, MARKED, 1.0, has_masked=True)
    assert (found.agrees, found.hidden_marks, found.hidden_mark) == (False, 1, (1, 1))
    assert (found.largest_error, found.exceeding, found.inf, found.within(1.0)) == (0.0, 1, 0, False)
    assert not compared(np.where(MARKED == LOWEST, -np.inf, MARKED), MARKED, 1.0).agrees


def test_rows_are_not_cut_where_marks_are_judged() -> None:
    r = np.full((2, 3, 9), LOWEST)
    r[..., 0] = 1.0
    c = np.where(r == LOWEST, -900.0, r)
    assert compared(c, r, 0.0, has_masked=True, max_size=4).agrees
    c[0, 1, 3] = c[1, 0, 5] = 0.0
    found = compared(c, r, 0.0, has_masked=True, max_size=4)
    assert (found.wrong_marks, found.wrong_mark) == (2, (0, 1, 3))


def test_what_is_left_out_is_not_looked_at() -> None:
    c, r = normal(2, 3), normal(2, 3)
    c[0] = [np.nan, np.inf, 9.0]
    keep = np.array([[False], [True]])
    found = compared(c, r, 0.0, keep=keep)
    assert (found.agrees, found.compared, found.nan, found.inf, found.largest_error) == (True, 3, 0, 0, 0.0)
    c[1, 2] += 1
    assert compared(c, r, 0.0, keep=keep).worst == (1, 2)
    marked = np.full((2, 3), LOWEST)
    candidate = np.where(keep, -np.inf, 0.0) * np.ones((2, 3))
    assert compared(candidate, marked, 0.0, keep=keep, has_masked=True).agrees
    assert not compared(candidate, marked, 0.0, keep=~keep, has_masked=True).agrees


def slim(c: np.ndarray, r: np.ndarray, samples: int, budget: float = 1e-9, **options: object) -> Measure:
    stored = r.reshape(-1)[sample_indices(r.size, samples)]
    arguments: dict = {"sums": sums_of(np.where(r == LOWEST, 0.0, r)), "sum_budgets": [1e-6] * 4} | options
    return measure_slim(c, stored, budget, np.asarray, **arguments)


def test_the_slim_form_by_its_samples_and_sums() -> None:
    r = normal(3, 7)
    assert slim(r, r, 5).agrees
    assert slim(r, r, 5).compared == 5
    at_sample, between = np.array(r), np.array(r)
    at_sample[1, 2] += 1.0  # the flat index 9 is a sample, 8 is not
    between[1, 1] += 1.0
    assert sample_indices(21, 5).tolist() == [1, 7, 9, 14, 16]
    assert (slim(at_sample, r, 5).worst, slim(at_sample, r, 5).exceeding) == ((1, 2), 1)
    found = slim(between, r, 5)
    assert (found.agrees, found.exceeding) == (False, 0)
    assert found.sums[0][0] == "the sum"
    assert slim(between, r, 5, keep=np.ones((3, 1), bool)).agrees
    assert not slim(at_sample, r, 5, keep=np.ones((3, 1), bool)).agrees
    assert slim(at_sample, r, 5, keep=np.array([[True], [False], [True]])).agrees


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda x: -x, {"the sum", "the index-weighted sum"}),
        (lambda x: x * [1, 1, 1, 1, -1], {"the sum", "the index-weighted sum"}),
        (lambda x: x[::-1], {"the index-weighted sum"}),
        (lambda x: x + np.array([0, 1, 0, -1, 0]), {"the sum of squares", "the index-weighted sum"}),
        (lambda x: x + np.eye(5)[0], set(SUMS)),
    ],
)
def test_each_sum_of_the_slim_form(change: Any, what: set[str]) -> None:
    r = np.array([0.0, 3.0, 0.5, 5.0, 1.0])
    assert {description for description, _, _ in slim(change(r), r, 1).sums} == what


def test_the_weights_of_places_go_on_from_block_to_block() -> None:
    x = normal(3, 1000)
    parts = sums_of(x[0]) + sums_of(x[1], 1000) + sums_of(x[2], 2000)
    assert np.allclose(parts, sums_of(x), rtol=SUMMED, atol=0)
    assert not np.allclose(sums_of(x[0]) + sums_of(x[1]) + sums_of(x[2]), sums_of(x), rtol=1e-6)


def test_a_sum_that_is_no_number_differs() -> None:
    r = np.array([0.0, 3.0, 0.0, 5.0])
    assert not slim(np.array([0.0, np.nan, 0.0, 5.0]), r, 2).agrees


def test_a_mark_of_the_slim_form_is_judged_in_its_row() -> None:
    options = {"sums": None, "sum_budgets": None, "has_masked": True}
    assert slim(np.where(MARKED == LOWEST, -1e9, MARKED), MARKED, 9, 0.0, **options).agrees
    found = slim(np.where(MARKED == LOWEST, -700.0, MARKED), MARKED, 9, 0.0, **options)
    assert (found.agrees, found.wrong_mark) == (False, (0, 1))


@pytest.mark.parametrize("has_masked", [False, True])
def test_memory_is_that_of_a_block(has_masked: bool) -> None:
    r, c = np.zeros((64, 65536)), np.zeros((64, 65536), "f4")
    tracemalloc.start()
    try:
        assert measure(c, r, 0.0, lambda block: block.astype("f8"), has_masked=has_masked).agrees
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < r.nbytes / 2
