"""--product: which matrix product minibiogpt uses, passed on only if it is not the default.

This is the only place that knows how minibiogpt takes it: as the keyword argument ``product`` of ``get_backend`` and of
``from_pretrained``. The default is not passed on, so that versions without products can be measured too.
"""

from __future__ import annotations

import json
from typing import Any

from minibiogpt.errors import InputError
from tools.benching.workers import run_alone

PRODUCTS = ("auto", "numpy", "mkl", "openblas")
DEFAULT = "numpy"


def keywords(product: str) -> dict[str, Any]:
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


QUERY = """
import json, sys
import numpy as np
from minibiogpt import InputError, get_backend
from tools.benching.machine import libraries
try:
    backend = get_backend("numpy", **json.loads(sys.argv[1]))
    backend.product(*(np.ones((64, 64), dtype=np.float32) for _ in range(2)))
    print(json.dumps({"libraries": libraries()}))
except InputError as error:
    print(json.dumps({"refused": [error.must, error.found, error.remedy]}))
except TypeError as error:
    must = "--product needs a minibiogpt whose get_backend takes product"
    print(json.dumps({"refused": [must, str(error), "leave --product out"]}))
"""


def facts(product: str, threads: int) -> dict[str, Any]:
    """Return the libraries of a process that multiplied with this product, their kernels and threads.

    Raises
    ------
    InputError
        The error of the backend if there is no such product here.
    """
    answer = run_alone(QUERY, json.dumps(keywords(product)), threads=threads)
    if "refused" in answer:
        raise InputError(*answer["refused"])
    return {"blas": "; ".join(answer["libraries"])} | ({} if product == DEFAULT else {"product": product})
