"""Weights that are hard to quantize: 200 tensors, random and adversarial, and their exchange with PyTorch."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

COUNT = 200
LENGTHS = (1, 2, 31, 64, 65, 100, 127, 128, 1000, 1024, 2047, 2048, 4096, 5000)


def tensor(seed: int, n: int, points: np.ndarray) -> np.ndarray:
    """Return (n,) float32 of kind seed % 10. ``points`` are fractions of absmax that are hard to round."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    match seed % 10:
        case 0:
            x = 0.02 * x
        case 1:
            x = np.zeros(n)
        case 2:
            x[rng.integers(n)] = 1e4
        case 3:
            x = 1e-40 * x  # subnormal
        case 4:
            x = np.clip(1e38 * x, -3.4e38, 3.4e38)
        case 5:  # ties: every block of 32 has its largest value, a power of 2
            x = rng.choice(points, n)
            x[::32] = rng.choice([-1, 1], len(x[::32]))
            x = x * 2.0 ** rng.integers(-20, 20)
        case 6:
            x = np.where(rng.random(n) < 0.9, 0, x)
        case 7:
            x = x * np.exp(rng.uniform(-90, 80, n))  # magnitudes from 1e-39 to 1e35
        case 8:
            x = np.full(n, x[0])
        case 9:
            x = rng.uniform(-1, 1, n)
    return x.astype(np.float32)


def neighbours(points: np.ndarray) -> np.ndarray:
    """Return float32 points, with the floats next to each."""
    points = points.astype(np.float32)
    infinity = np.float32(np.inf)
    return np.concatenate([points, np.nextafter(points, infinity), np.nextafter(points, -infinity)])


def to_torch(x: np.ndarray) -> Any:
    import torch

    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def to_numpy(x: Any) -> np.ndarray:
    import torch

    if x.dtype == torch.bfloat16:
        return x.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return x.numpy()


def bits(x: np.ndarray) -> np.ndarray:
    """Return the bits of floats, to tell 0 from -0."""
    return x.view(f"u{x.itemsize}")
