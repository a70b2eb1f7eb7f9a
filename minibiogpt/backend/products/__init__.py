"""Where matrix products come from: NumPy's own BLAS, OpenBLAS as a package of its own, Intel's MKL or oneDNN.

``base`` is the interface; ``numpy``, ``libraries`` and ``onednn`` implement it. A name chooses one:
``get_product("mkl")``.
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
from minibiogpt.backend.products.onednn import OneDnnProduct
from minibiogpt.backend.threads import WORKERS
from minibiogpt.errors import InputError, short_repr

__all__ = ["PRODUCTS", "VARIABLE", "Product", "get_product", "integer_product", "product_name", "why_not"]

VARIABLE = "MINIBIOGPT_PRODUCT"  # the environment variable that replaces the default, "auto"
_CLASSES: dict[str, Callable[[], Product]] = {
    "numpy": NumpyProduct,
    "mkl": MklProduct,
    "openblas": OpenBlasProduct,
    "onednn": OneDnnProduct,
}
FAST = ("openblas", "mkl", "blis", "flexiblas")  # libraries of NumPy that are fast, by threadpoolctl's names
PRODUCTS = ("auto", *_CLASSES)
_loaded = cache(lambda name: _CLASSES[name]())


def product_name(name: str | None = None) -> str:
    """Return "numpy", "mkl", "openblas" or "onednn": what ``name`` means on this machine.

    Parameters
    ----------
    name : one of these; "auto": mkl if it is installed and the processor is Intel's; onednn if it is installed and the
        processor is AMD's and has AVX512-BF16; openblas if it is installed and NumPy has no fast library of its own;
        otherwise numpy. None: what the environment variable MINIBIOGPT_PRODUCT says, or "auto".

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
    processor = this_processor()
    if processor.vendor == "GenuineIntel" and not why_not("mkl"):
        return "mkl"
    if processor.vendor == "AuthenticAMD" and "avx512_bf16" in processor.flags and not why_not("onednn"):
        return "onednn"
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


def integer_product(chosen: Product) -> Product:
    """Return the product that multiplies uint8 with int8 for a model whose product is ``chosen``.

    That is the chosen one if it is fast at it, otherwise an installed one that is: onednn, or mkl; otherwise the chosen
    one, which is exact, but slower than in float32.

    Examples
    --------
    >>> integer_product(get_product("numpy")).name in ("onednn", "mkl", "numpy")
    True
    """
    return chosen if chosen.fast_integers else _with_fast_integers() or chosen


@cache
def _with_fast_integers() -> Product | None:
    usable = (get_product(name) for name in ("onednn", "mkl") if not why_not(name))
    return next((product for product in usable if product.fast_integers), None)


def why_not(name: str) -> str:
    """Return why a product can't be used; "" if it can."""
    try:
        _loaded(name)
    except InputError as error:
        return str(error)
    return ""
