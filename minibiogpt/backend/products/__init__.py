"""Where matrix products come from: NumPy's own BLAS, OpenBLAS as a package of its own, or Intel's MKL.

``base`` is the interface, ``numpy`` and ``libraries`` implement it. A name chooses one: ``get_product("mkl")``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache

from minibiogpt.backend.processor import this_processor
from minibiogpt.backend.products.base import Product
from minibiogpt.backend.products.libraries import MklProduct, OpenBlasProduct
from minibiogpt.backend.products.numpy import NumpyProduct
from minibiogpt.backend.threads import WORKERS
from minibiogpt.errors import InputError, short_repr

__all__ = ["PRODUCTS", "VARIABLE", "Product", "get_product", "product_name", "why_not"]

VARIABLE = "MINIBIOGPT_PRODUCT"  # the environment variable that replaces the default, "auto"
_CLASSES: dict[str, Callable[[], Product]] = {"numpy": NumpyProduct, "mkl": MklProduct, "openblas": OpenBlasProduct}
FAST = ("openblas", "mkl", "blis", "flexiblas")  # libraries of NumPy that are fast, by threadpoolctl's names
PRODUCTS = ("auto", *_CLASSES)
_loaded = cache(lambda name: _CLASSES[name]())


def product_name(name: str | None = None) -> str:
    """Return "numpy", "mkl" or "openblas": what ``name`` means on this machine.

    Parameters
    ----------
    name : one of these; "auto": mkl if it is installed and the processor is Intel's; openblas if it is installed and
        NumPy has no fast library of its own; otherwise numpy. None: what the environment variable MINIBIOGPT_PRODUCT
        says, or "auto".

    Raises
    ------
    InputError
        If there is no such name. Whether the library can be used, only ``get_product`` finds out.

    Examples
    --------
    >>> product_name("numpy")
    'numpy'
    """
    given = name or os.environ.get(VARIABLE) or "auto"
    if given not in PRODUCTS:
        whose = "product" if name else VARIABLE
        raise InputError(f"{whose} must be one of {', '.join(PRODUCTS)}", short_repr(given), "choose one of these")
    return _automatic() if given == "auto" else given


@cache
def _automatic() -> str:
    """Return the product that can be used and pays: MKL's kernels for AMD are slower than OpenBLAS's."""
    if this_processor().vendor == "GenuineIntel" and not why_not("mkl"):
        return "mkl"
    known = any(one.internal_api in FAST for one in WORKERS.blas.libraries) or sys.platform == "darwin"
    return "numpy" if known or why_not("openblas") else "openblas"


def get_product(name: str | None = None) -> Product:
    """Return the product called ``name``; see ``product_name``.

    Raises
    ------
    InputError
        If its library is absent, too old or broken.
    """
    return _loaded(product_name(name))


def why_not(name: str) -> str:
    """Return why a product can't be used; "" if it can."""
    try:
        _loaded(name)
    except InputError as error:
        return str(error)
    return ""
