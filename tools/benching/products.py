"""--product: which matrix product minibiogpt uses, passed on only if it is not the default.

This is the only place that knows how minibiogpt takes it: as the keyword argument ``product`` of ``get_backend`` and of
``from_pretrained``.
"""

from __future__ import annotations

PRODUCTS = ("auto", "numpy", "mkl", "openblas")
DEFAULT = "numpy"


def keywords(product: str) -> dict[str, str]:
    """Return the keyword arguments of ``get_backend`` and ``from_pretrained``.

    Examples
    --------
    >>> keywords("mkl"), keywords("numpy")
    ({'product': 'mkl'}, {})
    """
    return {} if product == DEFAULT else {"product": product}


def written(product: str) -> str:
    """Return the same as source text, to be appended to other keyword arguments.

    Examples
    --------
    >>> written("mkl"), written("numpy")
    (", product='mkl'", '')
    """
    return "".join(f", {name}={value!r}" for name, value in keywords(product).items())


def options(product: str) -> list[str]:
    """Return the same as options of a worker."""
    return [f"--{name}={value}" for name, value in keywords(product).items()]
