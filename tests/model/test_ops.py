"""Each equation against PyTorch's in float64, with prime sizes, and its behaviour in edge cases."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minibiogpt.model import ops
from tests.budgets import LANE_A

RNG = np.random.default_rng(0)
X = RNG.normal(0, 3, (2, 5, 7))


def assert_near(got: np.ndarray, want: torch.Tensor) -> None:
    expected = want.numpy()
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert np.abs(got - expected).max() <= LANE_A * np.abs(expected).max()


def test_linear() -> None:
    w, b = RNG.normal(size=(11, 7)), RNG.normal(size=11)
    assert_near(ops.linear(X, w, b), F.linear(*map(torch.tensor, (X, w, b))))
    assert_near(ops.linear(X, w), F.linear(*map(torch.tensor, (X, w))))


def test_layer_norm_at_ordinary_and_at_nearly_constant_rows() -> None:
    w, b = RNG.normal(size=7), RNG.normal(size=7)
    for x in (X, 5 + 1e-3 * X):
        assert_near(
            ops.layer_norm(x, w, b, 1e-5), F.layer_norm(torch.tensor(x), (7,), *map(torch.tensor, (w, b)), 1e-5)
        )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ops.gelu, F.gelu),
        (ops.gelu_new, lambda x: F.gelu(x, approximate="tanh")),
        (ops.relu, F.relu),
        (ops.selu, F.selu),
    ],
    ids=["gelu", "gelu_new", "relu", "selu"],
)
def test_activations(ours: object, theirs: object) -> None:
    assert_near(ours(X), theirs(torch.tensor(X)))  # type: ignore[operator]
    x32 = X.astype(np.float32)
    assert ours(x32).dtype == np.float32  # type: ignore[operator]
    assert np.array_equal(x32, X.astype(np.float32)), "the input was modified"


def test_softmax_and_log_softmax_survive_extreme_scores() -> None:
    for x in (X, X * 1e4, np.full((2, 3), np.finfo(np.float64).min)):
        assert_near(ops.softmax(x), F.softmax(torch.tensor(x), dim=-1))
    assert_near(ops.log_softmax(X * 100), F.log_softmax(torch.tensor(X * 100), dim=-1))


def test_top_k_of_many_equal_numbers_takes_the_first() -> None:
    x = np.random.default_rng(2).integers(0, 4, (5, 999)).astype(np.float32)
    for k in (1, 40, 300, 999):
        values, indices = ops.top_k(x, k)
        assert np.array_equal(indices, np.argsort(-x, axis=-1, kind="stable")[:, :k])
        assert np.array_equal(values, torch.topk(torch.tensor(x), k)[0].numpy())


HALF_FUNCTIONS = [
    ops.softmax,
    ops.log_softmax,
    ops.gelu,
    ops.gelu_new,
    ops.selu,
    lambda x: ops.layer_norm(x, x[0], x[1], 1e-5),
]


@pytest.mark.parametrize("function", HALF_FUNCTIONS)
@pytest.mark.parametrize("size", [1, 30])
def test_half_precision_is_widened_inside_and_narrowed_again(function: Any, size: float) -> None:
    """With small values too: for large ones softmax gives 0 and 1, and an activation x or 0, in any precision."""
    x = (X * size).astype(np.float16)
    got = function(x)
    assert got.dtype == np.float16
    assert np.array_equal(got, function(x.astype(np.float32)).astype(np.float16))
