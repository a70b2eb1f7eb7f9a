"""erf against math.erf: the measured error is within the claimed one."""

import math

import numpy as np
import pytest

from minibiogpt.backend.erf import erf
from tests.budgets import ERF_FLOAT32_ABSOLUTE, ERF_FLOAT64_ABSOLUTE


def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-300, 0, 2000) * rng.choice([-1, 1], 2000)
    seams = np.concatenate([s + np.linspace(-1e-6, 1e-6, 401) for s in (-6, -4, -1, 0, 1, 4, 6)])
    return np.concatenate([np.linspace(-7, 7, 200_001), rng.normal(0, 2, 50_000), tiny, seams])


@pytest.mark.parametrize(
    ("dtype", "budget"), [("float64", ERF_FLOAT64_ABSOLUTE), ("float32", ERF_FLOAT32_ABSOLUTE)], ids=["f64", "f32"]
)
def test_erf_is_within_its_stated_error(dtype: str, budget: float) -> None:
    x = points().astype(dtype)
    got = erf(x)
    exact = np.array([math.erf(v) for v in x.tolist()])
    assert got.dtype == x.dtype
    assert np.abs(got).max() <= 1
    worst = np.abs(got.astype("float64") - exact).max()
    assert worst <= budget
    assert worst > 0, "an error of exactly zero means that nothing was compared"


def test_special_values() -> None:
    for dtype in ("float32", "float64"):
        got = erf(np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype=dtype))
        assert got[:4].tolist() == [0.0, -0.0, 1.0, -1.0]
        assert np.isnan(got[4])


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="float32 or float64; found int64"):
        erf(np.arange(3))
