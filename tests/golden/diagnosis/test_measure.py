"""Which elements of an array are wrong, in words."""

from __future__ import annotations

import numpy as np
import pytest

from minibiogpt.golden.diagnosis.measure import pattern_of
from minibiogpt.golden.diagnosis.run import Known

RIGHT = np.random.default_rng(0).normal(size=(2, 5, 7))


def pattern(wrong: np.ndarray) -> str:
    return pattern_of(Known(lambda: wrong, "float64", {"float64": 1e-12}, 1.0), RIGHT, "B T D")


def changed(*where: object, by: object = 1.0) -> np.ndarray:
    x = RIGHT.copy()
    x[where] += by
    return x


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(..., 3), "10 of 70 elements, all at d=3; "),
        (changed(slice(None), slice(1, 4)), "42 of 70 elements, all at t=1 to 3; "),
        (changed(slice(None), [1, 3]), "28 of 70 elements; "),
        (changed(1, 2, 3), "1 of 70 elements; at b=1, t=2, d=3 yours is "),
        (changed(..., by=np.arange(1.0, 8.0)), "70 of 70 elements, by the same numbers at every b, t; "),
        (changed(..., by=RIGHT), "70 of 70 elements; "),
        (RIGHT, ""),
    ],
)
def test_it_says_which_elements_are_wrong(wrong: np.ndarray, words: str) -> None:
    assert pattern(wrong).startswith(words)
    assert bool(pattern(wrong)) == bool(words)


def test_two_numbers_that_look_alike_have_more_digits() -> None:
    largest = np.unravel_index(RIGHT.argmax(), RIGHT.shape)
    found = pattern(changed(*largest, by=1e-8))
    yours, right = (float(text) for text in found.partition("yours is ")[2].split(", and should be "))
    assert (yours != right, right) == (True, pytest.approx(RIGHT.max(), abs=1e-8))


def test_a_number_without_axes_has_no_index() -> None:
    known = Known(lambda: np.array(2.0), "float64", {"float64": 1e-12}, 1.0)
    assert pattern_of(known, np.array(1.0), "") == "1 of 1 elements; yours is 2, and should be 1"
