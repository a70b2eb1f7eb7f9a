"""The error function, which NumPy lacks. tools/fit_erf.py fits the coefficients.

erf(x) = 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x. Maximum absolute error over all x, measured against
``math.erf`` in tests/backend/test_erf.py:

- float64, 2.3e-16. For x <= 1, x times a polynomial in x^2; up to 6, 1 - exp(-x^2) times a polynomial in 3 / (3 + x);
  beyond 6, it is 1.
- float32, 9.3e-8. tanh of (x times a polynomial in x^2). tanh is fast, and hides the polynomial's error at large x.
  The "tanh approximation" of GELU is the same formula with two coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CENTER = (  # lowest power first
    0.96546873866986730832,
    -0.14053608902271711934,
    0.019852496688983707387,
    -0.002285485561144113203,
    0.00021751715604159931544,
    -0.00001753716944112486552,
    1.2233827383598968634e-6,
    -7.5115692865917268259e-8,
    4.1158005832081491142e-9,
    -2.0352284058157689785e-10,
    9.167619596865806325e-12,
    -3.8078824063194955214e-13,
    1.4543887079465115733e-14,
)
TAIL = (  # lowest power first
    0.20798329133342886696,
    0.15436117429436918023,
    0.049698445403394136469,
    0.012713147695691918153,
    0.0024793146970862531428,
    0.00033160296057928385217,
    0.00001956358319778174069,
    -2.4255574850429228446e-6,
    -5.5412730980166399362e-7,
    4.5267318133461338766e-9,
    1.1339335731147059302e-8,
    2.6377560229741262012e-10,
    -2.5700407551346904028e-10,
    -6.0217325603032397128e-12,
    6.0437921477888128218e-12,
    -6.6976455647908150851e-15,
)
INSIDE_TANH = (  # lowest power first
    1.128379251,
    0.1027713442,
    -0.0002041345985,
    -0.000598563059,
    7.144356614e-5,
    5.654518687e-7,
    -1.133909392e-6,
    1.384369865e-7,
    -7.420081065e-9,
    1.539030348e-10,
)
LAST = 4.2  # beyond it, erf is 1 in float32
MIDDLE, HALF = 13 / 24, 5 / 24  # 3 / (3 + x) is in MIDDLE -+ HALF for x in [1, 6]


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function of x, elementwise.

    Parameters
    ----------
    x : float32 or float64, any shape. Infinities give -1 and 1; NaN gives NaN.

    Returns
    -------
    An array of x's shape and dtype, within [-1, 1].

    Examples
    --------
    >>> erf(np.array([0.0, 1.0, -np.inf])).round(6).tolist()  # math.erf(1) = 0.842700792949715
    [0.0, 0.842701, -1.0]
    """
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"erf takes float32 or float64; found {x.dtype}; convert with x.astype first")
    return _erf_float32(x) if x.dtype == np.float32 else _erf_float64(x)


def _erf_float32(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, -LAST, LAST)
    return np.tanh(x * _polynomial(x * x, INSIDE_TANH))


def _erf_float64(x: np.ndarray) -> np.ndarray:
    z = np.minimum(np.abs(x), 6)
    center = z * _polynomial(2 * np.minimum(z, 1) ** 2 - 1, CENTER)
    u = (3 / (3 + np.maximum(z, 1)) - MIDDLE) / HALF
    tail = 1 - np.exp(-z * z) * _polynomial(u, TAIL)
    return np.copysign(np.where(z <= 1, center, tail), x)


def _polynomial(x: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Evaluate by Horner's method, in place. Coefficients, lowest power first, are Python floats, to keep x's dtype."""
    total = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        total += c
        total *= x
    total += coefficients[0]
    return total
