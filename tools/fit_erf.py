"""Fit the coefficients in minibiogpt/backend/erf.py and print them: `python tools/fit_erf.py` (needs mpmath).

float64: erf has two pieces, each a Chebyshev interpolant written as a polynomial in a variable u in [-1, 1]:

    |x| <= 1:       erf(x) = x P(u),                 u = 2 x^2 - 1
    1 < |x| <= 6:   erf(x) = 1 - exp(-x^2) Q(u),     u = (3/(3+x) - MIDDLE) / HALF,  a linear map of 3/(3+x)

float32: erf(x) = tanh(x R(x^2)) for |x| <= LAST; beyond LAST, erf(x) rounds to 1 in float32. R approximates
atanh(erf(x)) / x. Because tanh gets flatter, an error of R changes the result x (1 - erf(x)^2) times as much; Lawson's
iteration minimizes the largest error weighted in this way.
"""

import math
from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 60
LAST = 4.2


def chebyshev_nodes(n: int) -> list[mp.mpf]:
    return [mp.cos(mp.pi * (k + mp.mpf(1) / 2) / n) for k in range(n)]


def power_basis(function: Callable[[mp.mpf], mp.mpf], n: int) -> list[mp.mpf]:
    """The n coefficients, lowest power first, of the polynomial through ``function`` at the Chebyshev nodes."""
    nodes = chebyshev_nodes(n)
    vandermonde = mp.matrix([[u**j for j in range(n)] for u in nodes])
    return list(mp.lu_solve(vandermonde, mp.matrix([function(u) for u in nodes])))


def erf_over_x(w: mp.mpf) -> mp.mpf:
    """erf(x) / x as a function of w = x^2."""
    x = mp.sqrt(w)
    return mp.erf(x) / x if x else 2 / mp.sqrt(mp.pi)


def inside_tanh(degree: int, points: int = 1500, rounds: int = 3000) -> list[float]:
    """Return the coefficients of R, lowest power first: least squares, reweighted by the remaining error (Lawson)."""
    x = LAST * np.cos(np.linspace(0, np.pi / 2, points, endpoint=False))
    exact = [mp.erf(mp.mpf(v)) for v in x.tolist()]
    target = np.array([float(mp.atanh(e) / mp.mpf(v)) for e, v in zip(exact, x.tolist(), strict=True)])
    slope = np.maximum(x, 0.02) * np.array([float(1 - e * e) for e in exact])  # near 0 the relative error matters
    powers = np.polynomial.chebyshev.chebvander(2 * (x / LAST) ** 2 - 1, degree)
    weight, best, least = np.ones(points), None, math.inf
    for _ in range(rounds):
        scale = slope * np.sqrt(weight)
        found = np.linalg.lstsq(powers * scale[:, None], target * scale, rcond=None)[0]
        error = np.abs(powers @ found - target) * slope
        if error.max() < least:
            best, least = found, error.max()
        weight = weight * error
        weight = weight / weight.sum() + 1e-14
    assert best is not None
    fitted = np.polynomial.Chebyshev(best, domain=[0, LAST**2])
    return fitted.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef.tolist()


def show(name: str, coefficients: list[mp.mpf], digits: int) -> None:
    print(f"{name} = (  # lowest power first")
    for c in coefficients:
        print(f"    {mp.nstr(c, digits)},")
    print(")")


def main() -> None:
    low, high = mp.mpf(3) / 9, mp.mpf(3) / 4  # 3 / (3 + x) at x = 6 and at x = 1
    middle, half = (low + high) / 2, (high - low) / 2
    print(f"MIDDLE, HALF = {mp.nstr(middle, 20)}, {mp.nstr(half, 20)}")

    def centre(u: mp.mpf) -> mp.mpf:
        return erf_over_x((u + 1) / 2)

    def tail(u: mp.mpf) -> mp.mpf:
        x = 3 / (middle + half * u) - 3
        return mp.exp(x * x) * mp.erfc(x)

    show("CENTER", power_basis(centre, 13), 20)
    show("TAIL", power_basis(tail, 16), 20)
    show("INSIDE_TANH", [mp.mpf(c) for c in inside_tanh(9)], 10)


if __name__ == "__main__":
    main()
