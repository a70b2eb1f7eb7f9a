"""Fit the coefficients in minibiogpt/erf.py and print them: `python tools/fit_erf.py` (needs mpmath).

erf has two pieces, each a Chebyshev interpolant written as a polynomial in a variable u of [-1, 1]:

    |x| <= 1:       erf(x) = x P(u),                 u = 2 x^2 - 1
    1 < |x| <= 6:   erf(x) = 1 - exp(-x^2) Q(u),     u = (3/(3+x) - MIDDLE) / HALF,  a linear map of 3/(3+x)

float32 takes the same two pieces with fewer coefficients.
"""

from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60


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

    show("CENTRE", power_basis(centre, 13), 20)
    show("TAIL", power_basis(tail, 16), 20)
    show("CENTRE_FLOAT32", power_basis(centre, 8), 10)
    show("TAIL_FLOAT32", power_basis(tail, 9), 10)


if __name__ == "__main__":
    main()
