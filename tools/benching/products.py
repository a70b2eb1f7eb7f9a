"""--product: where minibiogpt's matrix products come from.

minibiogpt takes it as the keyword argument ``product`` of ``get_backend`` and of ``from_pretrained``. It is always
passed on for the CPU, because without it minibiogpt chooses by itself; None, for a GPU, is not.
"""

from __future__ import annotations

import json
from typing import Any

from minibiogpt.errors import InputError
from tools.benching.workers import run_alone

DEFAULT = "numpy"


def keywords(product: str | None) -> dict[str, Any]:
    """Return the keyword arguments of ``get_backend`` and ``from_pretrained``.

    Examples
    --------
    >>> keywords("mkl"), keywords(None)
    ({'product': 'mkl'}, {})
    """
    return {} if product is None else {"product": product}


QUERY = """
import json, sys
import numpy as np
from minibiogpt import InputError, get_backend
from minibiogpt.backend.report import kernel_to_set
from tools.benching.machine import libraries
try:
    backend = get_backend("numpy", **json.loads(sys.argv[1]))
    backend.product(*(np.ones((64, 64), dtype=np.float32) for _ in range(2)))
    found = {"product": backend.product_name, "product_details": backend.products.describe()}
    print(json.dumps(found | {"blas": "; ".join(libraries()), "better_kernels": kernel_to_set() or "none"}))
except InputError as error:
    print(json.dumps({"refused": [error.must, error.found, error.remedy]}))
"""


def facts(product: str, threads: int) -> dict[str, Any]:
    """Return which product a name means here, its kernel, and the BLAS libraries of a process that multiplied with it.

    Raises
    ------
    InputError
        The error of the backend if there is no such product here.
    """
    found = run_alone(QUERY, json.dumps(keywords(product)), threads=threads)
    if "refused" in found:
        raise InputError(*found["refused"])
    details = {name: value for name, value in found.pop("product_details").items() if name != "path"}
    words = ", ".join(f"{name} {value}" for name, value in details.items())
    return found | ({"product_details": words} if found["product"] != DEFAULT else {})


def title(machine: dict[str, Any]) -> str:
    """Return the product and its kernel, from the facts of a report; "" for the default.

    Examples
    --------
    >>> title({"product": "mkl", "product_details": "library mkl 2026.2"}), title({"product": "numpy"})
    (', product mkl (library mkl 2026.2)', '')
    """
    if machine.get("product", DEFAULT) == DEFAULT:
        return ""
    return f", product {machine['product']} ({machine.get('product_details', 'unknown')})"
