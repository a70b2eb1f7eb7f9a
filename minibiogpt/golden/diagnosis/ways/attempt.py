"""An attempt to explain an error: a cause, and the steps that it does otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NEARLY = 1e-2  # of the largest number of a parameter, that an estimate of it may be off to be tried
SAME = 1e-6  # by which a factor that is estimated may differ from 1 without being another
Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Attempt:
    """A cause to try.

    Attributes
    ----------
    cause : its id in the library.
    changes : {template of a step: knobs}, at whichever layer the attempt is made.
    parameters : what the report says: {"eps": 1e-12}.
    estimated : the parameters that were estimated from the candidate's arrays, rather than tried.
    rank : of attempts that explain as much, the one of the lowest rank is named first.
    local : whether it is made in one case only, such as another input.
    """

    cause: str
    changes: Mapping[str, Knobs]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    estimated: tuple[str, ...] = ()
    rank: int = 0
    local: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two attempts the same."""
        return (self.cause, _frozen(self.changes))


def _frozen(x: Any) -> Any:
    if isinstance(x, Mapping):
        return tuple(sorted((key, _frozen(value)) for key, value in x.items()))
    if isinstance(x, np.ndarray):
        return (x.shape, x.tobytes())
    if isinstance(x, float):
        return float(f"{x:.3g}")
    return tuple(_frozen(item) for item in x) if isinstance(x, list | tuple) else x


def everywhere(attempt: Attempt, layers: int) -> frozenset[tuple[str, int | None]]:
    """Return the sites of an attempt, (template, layer), at all layers."""
    found: set[tuple[str, int | None]] = set()
    for template in attempt.changes:
        found |= {(template, layer) for layer in range(layers)} if "{l}" in template else {(template, None)}
    return frozenset(found)


def factor_between(y: np.ndarray, x: np.ndarray) -> float | None:
    """Return the c for which y is closest to c x, from the elements of usual size; None if there is none."""
    counted = np.isfinite(y) & np.isfinite(x) & (x > -1e30) & (y > -1e30)
    a, b = y[counted], x[counted]
    squares = float(np.dot(b, b)) if b.size else 0.0
    return float(np.dot(a, b)) / squares if squares > 0 else None


def relative(name: str, layer: int | None) -> tuple[str, str]:
    """Return the name of a parameter with {l} for its layer if that is this one, and the parameter in words.

    Examples
    --------
    >>> relative("layers.1.fc2.bias", 1), relative("layers.0.fc2.bias", 1)
    (('layers.{l}.fc2.bias', 'fc2.bias of the same layer'), ('layers.0.fc2.bias', 'layers.0.fc2.bias'))
    """
    prefix = f"layers.{layer}."
    if not name.startswith(prefix):
        return name, name
    rest = name.removeprefix(prefix)
    return f"layers.{{l}}.{rest}", f"{rest} of the same layer"


def is_other(y: np.ndarray, x: np.ndarray) -> bool:
    """Whether two parameters are the same, as closely as one can be estimated."""
    return y.shape == x.shape and bool(np.abs(y - x).max(initial=0.0) <= NEARLY * np.abs(x).max(initial=0.0))


def nice(x: float, tolerance: float = 1e-3) -> float:
    """Return the closest of some usual numbers if it is within the tolerance, else x.

    Examples
    --------
    >>> nice(9.9997e-7), nice(4.582), nice(0.3)
    (1e-06, 4.582, 0.3)
    """
    if x == 0 or not math.isfinite(x):
        return x
    exponent = math.floor(math.log10(abs(x)) + 0.5)
    round_number = math.copysign(float(f"1e{exponent}"), x)
    return round_number if abs(x - round_number) <= tolerance * abs(x) else x
