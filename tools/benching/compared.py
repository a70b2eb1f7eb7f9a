"""The answers of all sides to one small request, compared before anything is timed."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS, LENGTH = 2, 24  # of the prompt whose logits are compared
# Largest allowed root mean square of the difference, relative to that of our logits. Missing masks, scales or positions
# give about 1; rounding in float32 gives 2e-6, in bfloat16 0.01 to 0.03, in int8 0.03 to 0.09.
BOUNDS = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1, "default": 0.1, "int8": 0.2}


def bound(ours: str, theirs: str) -> float:
    """Return the bound for two precisions: what each of them may add."""
    return BOUNDS[theirs] + (BOUNDS[ours] if ours != "float32" else 0)


def compared(ours: np.ndarray, theirs: np.ndarray, most: float) -> dict[str, Any]:
    """Compare logits (B, T, V): the largest difference, its root mean square, and the fraction of equal argmax.

    Examples
    --------
    >>> found = compared(np.array([[[3.0, 4.0]]]), np.array([[[3.0, 4.1]]]), 0.1)
    >>> round(found["largest"], 6), found["of"], found["right"], found["equal"]
    (0.1, 4.0, True, 1.0)
    """
    if ours.shape != theirs.shape:
        return {"right": False, "reason": f"gives logits of shape {theirs.shape} instead of {ours.shape}"}
    difference = theirs.astype(np.float64) - ours
    relative = float(np.sqrt(np.mean(difference**2) / np.mean(ours.astype(np.float64) ** 2)))
    right = relative <= most  # False for NaN
    found = {
        "largest": float(np.abs(difference).max()),
        "of": float(np.abs(ours).max()),
        "relative": relative,
        "bound": most,
        "equal": float(np.mean(ours.argmax(axis=-1) == theirs.argmax(axis=-1))),
        "right": right,
    }
    return (
        found
        if right
        else found | {"reason": f"gives logits that differ from ours by {relative:.2g}, more than {most:g}"}
    )
