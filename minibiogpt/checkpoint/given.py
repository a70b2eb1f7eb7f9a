"""Weights given as a dict: checked against a model's shapes, and converted to its backend and dtype."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.backend import Array, Backend
from minibiogpt.catalog.parameters import EMBEDDING, HEAD, Shapes
from minibiogpt.checkpoint.names import by_model_name
from minibiogpt.config import dtype_text
from minibiogpt.errors import InputError, listed, short_repr


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` returns, as in PyTorch: the names that were absent, and those that were not used."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@dataclass
class Given:
    """Arrays by the model's names, without the leading ``biogpt.``, and what was wrong with the others."""

    arrays: dict[str, Array]
    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    def check(self, count: int, *, strict: bool = True) -> None:
        """Raise one InputError that lists everything that is wrong.

        Parameters
        ----------
        count : how many tensors the model has. strict : whether missing and unexpected ones are wrong.
        """
        lists = {"misshapen": self.misshapen}
        if strict:
            lists = {"missing": self.missing} | lists | {"unexpected": self.unexpected}
        details = "; ".join(f"{len(names)} {what}: {listed(names)}" for what, names in lists.items() if names)
        if details:
            must = f"the weights must be those of the model, {count} in all, with its names and shapes"
            raise InputError(must, details, "check that the config and the weights belong together")


def read_given(weights: Any, shapes: Shapes, backend: Backend, tied: bool) -> Given:
    """Sort a dict of arrays by the model's names; a leading ``biogpt.`` is optional, a tied head may be listed.

    Raises
    ------
    InputError
        If it is not a dict of names and arrays of numbers.
    """
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        is_path = isinstance(weights, str | os.PathLike)
        remedy = "load a checkpoint with Class.from_pretrained(folder)" if is_path else "pass model.state_dict()"
        raise InputError("weights must be a dict of names and arrays", short_repr(weights), remedy)
    named = by_model_name(weights, "the weights")
    if tied and HEAD in named and HEAD not in shapes:
        _drop_tied_head(named, backend)
    arrays = {name: _array(name, named[name], backend) for name in shapes if name in named}
    misshapen = [f"{name} {x.shape}, not {shapes[name]}" for name, x in arrays.items() if x.shape != shapes[name]]
    missing = [name for name in shapes if name not in named]
    return Given(arrays, missing, [name for name in named if name not in shapes], misshapen)


def _drop_tied_head(named: dict[str, Any], backend: Backend) -> None:
    """Drop a head that is the token embedding; warn if it differs from it. It replaces a missing embedding."""
    head = named.pop(HEAD)
    table = named.setdefault(EMBEDDING, head)
    if table is head:
        return
    one, two = (backend.to_numpy(_array(name, x, backend)) for name, x in ((EMBEDDING, table), (HEAD, head)))
    if not np.array_equal(one, two):
        warnings.warn(
            "the config ties the head to the token embedding, but the weights hold a different output_projection: "
            "it is not used; set tie_word_embeddings=False in the config to use it",
            stacklevel=5,
        )


def _array(name: str, x: Any, backend: Backend) -> Array:
    narrow = dtype_text(getattr(x, "dtype", "")) == "bfloat16"
    widen = getattr(x, "float", None)  # of a tensor of PyTorch, whose bfloat16 NumPy doesn't read
    if narrow and callable(widen) and (backend.name == "numpy" or "bfloat16" not in backend.float_dtypes):
        x = widen()
    try:
        array = backend.asarray(x)
        if narrow and "bfloat16" in backend.float_dtypes:
            array = array.astype("bfloat16", copy=False)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # RuntimeError: of a PyTorch tensor
        raise InputError(f"{name} must be an array of floats", str(error), "convert it first") from None
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise InputError(f"{name} must be an array of floats", f"dtype {array.dtype}", "convert it first")
    return array


def as_weights(weights: Any, shapes: Shapes, backend: Backend, tied: bool) -> dict[str, Array]:
    """Return the weights of a new model, ``Class(config, weights)``, without copying arrays of the backend.

    Tensors of another model's head are ignored with a warning, as on loading a checkpoint.

    Raises
    ------
    InputError
        If one is missing, has the wrong shape, or they have several dtypes.
    """
    given = read_given(weights, shapes, backend, tied)
    if given.missing or given.misshapen:
        given.check(len(shapes))
    if given.unexpected:
        found = f"{len(given.unexpected)} unexpected: {listed(sorted(given.unexpected))}"
        warnings.warn(f"the weights: ignored {found}", stacklevel=3)
    dtypes = sorted({dtype_text(x.dtype) for x in given.arrays.values()})
    if len(dtypes) > 1:
        raise InputError("all weights must have the same dtype", ", ".join(dtypes), "convert them: x.astype(dtype)")
    return given.arrays
