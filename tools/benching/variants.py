"""Sides of our own: how a worker loads each of them, and which there may be beside the first.

"ours" is what --dtype, --product and --quantization say. `ours-NAME` has other weights: NAME is a dtype, or a format of
quantization. `ours-NAME+PRODUCT` has another matrix product, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minibiogpt.backend.products import PRODUCTS
from minibiogpt.quantization import FORMATS
from tools.benching import products
from tools.benching.limits import WIDTHS

FIRST, BEFORE = "ours", "ours-"
NONE = "none"  # --quantization of weights that are not quantized
NAMES = (*WIDTHS, *FORMATS)
FORM = f"ours-NAME or ours-NAME+PRODUCT (NAME: {', '.join(NAMES)})"


class Variant(NamedTuple):
    """How minibiogpt loads a model. The dtype is that of the arithmetic if the weights are quantized."""

    dtype: str = "float32"
    product: str | None = products.DEFAULT  # None on a device
    quantization: str = NONE

    def named(self, side: str) -> Variant:
        """Return the variant that a side is, if this one is "ours".

        Examples
        --------
        >>> Variant("bfloat16", "mkl").named("ours-nf4")
        Variant(dtype='bfloat16', product='mkl', quantization='nf4')
        >>> Variant("bfloat16", "mkl", "nf4").named("ours-float32+numpy")
        Variant(dtype='float32', product='numpy', quantization='none')
        """
        if side == FIRST:
            return self
        name, _, product = side.removeprefix(BEFORE).partition("+")
        dtype, quantization = (name, NONE) if name in WIDTHS else (self.dtype, name)
        return Variant(dtype, product or self.product, quantization)

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of ``from_pretrained`` that are not of every worker.

        Examples
        --------
        >>> Variant(product=None).keywords(), Variant(quantization="nf4").keywords()
        ({}, {'product': 'numpy', 'quantization': 'nf4'})
        """
        quantized = {} if self.quantization == NONE else {"quantization": self.quantization}
        return products.keywords(self.product) | quantized

    def written(self) -> str:
        """Return the same as source text, to be appended to other keyword arguments.

        Examples
        --------
        >>> Variant(product="mkl", quantization="int8").written()
        ", product='mkl', quantization='int8'"
        """
        return "".join(f", {name}={value!r}" for name, value in self.keywords().items())

    def options(self) -> list[str]:
        """Return the same as options of a worker."""
        return [f"--{name}={value}" for name, value in self.keywords().items()]


def is_variant(peer: str) -> bool:
    """Return whether a peer is a side of our own.

    Examples
    --------
    >>> [is_variant(name) for name in ("ours-q8_0", "ours-int8+numpy", "ours-int8+", "ours-int9", "ours", "int8")]
    [True, True, False, False, False, False]
    """
    name, plus, product = peer.removeprefix(BEFORE).partition("+")
    return peer.startswith(BEFORE) and name in NAMES and (product in PRODUCTS if plus else True)


def product_facts(peers: tuple[str, ...], threads: int) -> dict[str, str]:
    """Return what each product that the peers name is on this machine.

    Raises
    ------
    InputError
        The error of the backend if there is no such product here.
    """
    named = dict.fromkeys(product for peer in peers if is_variant(peer) and (product := peer.partition("+")[2]))
    found = {name: products.facts(name, threads) for name in named}
    return {f"product {name}": _words(name, facts) for name, facts in found.items()}


def _words(name: str, facts: dict[str, Any]) -> str:
    which = "" if facts["product"] == name else f"is {facts['product']}"
    return " ".join(filter(None, [which, facts.get("product_details", "")])) or facts["blas"]
