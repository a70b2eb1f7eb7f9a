"""The comparator fails when it should. A check that cannot fail proves nothing."""

import numpy as np
import pytest

from tests.compare import assert_close, compare_traces, first_difference

WANT = np.arange(1.0, 7.0).reshape(2, 3)


def changed(value: float) -> np.ndarray:
    got = WANT.copy()
    got[1, 2] = value
    return got


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (WANT.T, "shape"),
        (WANT[:1], "shape"),
        (np.float64(3.0), "shape"),
        (WANT.astype(np.float32), "dtype"),
        (changed(np.nan), "not finite"),
        (changed(np.inf), "not finite"),
        (changed(6.1), r"drift 1.67e-02 exceeds 1.00e-10, worst at \(1, 2\)"),
        (changed(6 + 1e-8), "exceeds"),
        (-WANT, "exceeds"),
        (np.empty((0, 3)), "nothing to compare"),
    ],
)
def test_each_kind_of_difference_fails(got: np.ndarray, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_close("x", got, WANT, 1e-10)


def test_equal_passes_and_zero_must_be_zero() -> None:
    assert assert_close("x", WANT.copy(), WANT, 1e-10) == 0
    assert_close("x", changed(6 + 1e-11), WANT, 1e-10)
    with pytest.raises(AssertionError, match="drift inf"):
        assert_close("x", np.full(3, 1e-300), np.zeros(3), 1e-10)


def test_marks_of_hidden_scores_are_equal_but_a_score_is_none() -> None:
    want = np.array([1.0, -np.finfo(np.float64).max])
    assert_close("x", np.array([1.0, -1e300]), want, 1e-10)
    with pytest.raises(AssertionError, match="exceeds"):
        assert_close("x", np.array([1.0, -5.0]), want, 1e-10)


def test_a_mark_may_be_minus_infinity_and_is_never_the_worst_index() -> None:
    want = np.array([1.0, 2.0, -np.finfo(np.float64).max])
    assert assert_close("x", np.array([1.0, 2.0, -np.inf]), want, 1e-10) == 0
    with pytest.raises(AssertionError, match=r"worst at \(1,\): np.float64\(2.5\)"):
        assert_close("x", np.array([1.0, 2.5, -1e300]), want, 1e-10)
    with pytest.raises(AssertionError, match="not finite"):
        assert_close("x", np.array([1.0, -np.inf, -1e300]), want, 1e-10)


def test_a_transposed_square_fails() -> None:
    square = WANT[:, :2]
    with pytest.raises(AssertionError, match="exceeds"):
        assert_close("x", square.T, square, 1e-10)


@pytest.mark.parametrize(
    ("got", "message"),
    [({}, "a is missing"), ({"a": np.float64(1.0)}, "shape"), ({"a": WANT.astype(np.float32)}, "dtype")],
)
def test_the_first_difference_refuses_what_cannot_be_compared(got: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        first_difference(got, {"a": WANT}, lambda name: 1e-10)


def test_the_first_difference_sees_nan_and_needs_something_to_compare() -> None:
    found = first_difference({"a": changed(np.nan)}, {"a": WANT}, lambda name: 1e-10)
    assert found is not None
    assert found[0] == "a"
    with pytest.raises(AssertionError, match="nothing was compared"):
        first_difference({"a": WANT}, {}, lambda name: 1e-10)


def test_traces_are_compared_in_order_and_never_empty() -> None:
    want = {"a": WANT, "b": WANT, "c": WANT}
    with pytest.raises(AssertionError, match="nothing was compared"):
        compare_traces(want, {}, lambda name: 1e-10)
    with pytest.raises(AssertionError, match="c is missing"):
        compare_traces({"a": WANT, "b": WANT}, want, lambda name: 1e-10)
    with pytest.raises(AssertionError, match=r"b \(last good tensor: a\)"):
        compare_traces(want | {"b": WANT * 2}, want, lambda name: 1e-10)
    assert first_difference(want | {"b": WANT * 2}, want, lambda name: 0.1) == ("b", 10.0)
    assert first_difference(want, want, lambda name: 1e-10) is None
