"""Each loss against PyTorch's in float64, and the labels it ignores."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minibiogpt.heads import losses
from tests.budgets import LOSS_OF_HALVES
from tests.model.test_ops import RNG, assert_near


def test_cross_entropy_ignores_what_it_should() -> None:
    logits, labels = RNG.normal(size=(5, 7)), np.array([3, -100, 0, 6, -100])
    assert_near(
        np.asarray(losses.cross_entropy(logits, labels)), F.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    )
    assert math.isnan(losses.cross_entropy(logits, np.full(5, -100)))


def test_the_losses_of_float16_are_float32() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 1, (20_000, 7)).astype(np.float16), rng.integers(0, 7, 20_000)
    exact = logits.astype(np.float64)
    for loss, want in (
        (losses.cross_entropy(logits, labels), losses.cross_entropy(exact, labels)),
        (losses.binary_cross_entropy(logits, logits), losses.binary_cross_entropy(exact, exact)),
        (losses.mean_squared_error(logits, -logits), losses.mean_squared_error(exact, -exact)),
    ):
        assert loss.dtype == np.float32
        assert loss == pytest.approx(float(want), rel=LOSS_OF_HALVES)
