"""The answers of all sides to one small request, compared before anything is timed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ROWS, LENGTH = 2, 24  # of the prompt whose logits are compared
# Largest allowed root mean square of the difference, relative to that of our logits. Missing masks, scales or positions
# give about 1; rounding in float32 gives 2e-6, in bfloat16 0.01 to 0.03, in int8 0.03 to 0.09. "dynamic int8" is the
# rounding of activations alone, 0.02.
BOUNDS = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1, "default": 0.1, "int8": 0.2, "dynamic int8": 0.05}
# What quantized weights may add; two sides with the same weights do not differ by it. Measured at base size with random
# weights, and on the demo: nf4 0.21 to 0.23, fp4 0.30 to 0.35, int8 0.02, q8_0 0.010 to 0.013, q4_0 0.18 to 0.22.
WEIGHTS = {"none": 0.0, "nf4": 0.5, "fp4": 0.7, "int8": 0.05, "q8_0": 0.03, "q4_0": 0.5}


class Precision(NamedTuple):
    """What a side multiplies with: "int8" are integers in a way of the engine's own, weights and activations.

    Examples
    --------
    >>> str(Precision("float32")), str(Precision("bfloat16", "nf4"))
    ('float32', 'weights nf4, products in bfloat16')
    """

    arithmetic: str
    weights: str = "none"

    def __str__(self) -> str:
        return self.arithmetic if self.weights == "none" else f"weights {self.weights}, products in {self.arithmetic}"


def bound(ours: Precision, theirs: Precision) -> float:
    """Return the bound for two precisions: what each of them may add.

    Examples
    --------
    >>> exact, rounded = Precision("float32", "int8"), Precision("bfloat16", "int8")
    >>> bound(exact, exact) == BOUNDS["float32"], bound(exact, rounded) == BOUNDS["bfloat16"]
    (True, True)
    """
    rounding = BOUNDS[theirs.arithmetic] + (BOUNDS[ours.arithmetic] if ours.arithmetic != "float32" else 0)
    return rounding + (WEIGHTS[ours.weights] + WEIGHTS[theirs.weights] if ours.weights != theirs.weights else 0)


def compared(ours: np.ndarray, theirs: np.ndarray, most: float, name: str = "ours") -> dict[str, Any]:
    """Compare logits (B, T, V): the largest difference, its root mean square, and the fraction of equal argmax.

    ``name`` is what the side is called that the logits "ours" are of.

    Examples
    --------
    >>> found = compared(np.array([[[3.0, 4.0]]]), np.array([[[3.0, 4.1]]]), 0.1)
    >>> round(found["largest"], 6), found["of"], found["right"], found["equal"]
    (0.1, 4.0, True, 1.0)
    """
    if ours.shape != theirs.shape:
        reason = f"gives logits of shape {theirs.shape} instead of {ours.shape}"
        return {"right": False, "reason": reason, "reference": name}
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
        "reference": name,
    }
    if right:
        return found
    return found | {"reason": f"gives logits that differ from {name} by {relative:.2g}, more than {most:g}"}
