"""Arguments: checks of what the pages take, and the tokenizer and ids that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minibiogpt import BioGptTokenizer
from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.hub import DEMO
from minibiogpt.model.pretrained import Pretrained


def check_types(model: Any, tokenizer: Any, max_megabytes: Any) -> None:
    """Check the arguments whose later errors would not name them."""
    if not isinstance(model, Pretrained):
        must, remedy = "model must be a BioGPT model", "pass BioGptForCausalLM.from_pretrained(...)"
        raise InputError(must, type(model).__name__, remedy)
    if not isinstance(tokenizer, BioGptTokenizer | None):
        must, remedy = "tokenizer must be a BioGptTokenizer or None", "pass BioGptTokenizer.from_pretrained(...)"
        raise InputError(must, type(tokenizer).__name__, remedy)
    if isinstance(max_megabytes, bool) or not isinstance(max_megabytes, int | float) or not max_megabytes > 0:
        raise InputError(
            "max_megabytes must be a number above 0", short_repr(max_megabytes), "choose a different value"
        )


def is_demo(loaded: Any) -> bool:
    """Return whether a model or tokenizer is the included demo."""
    name = str(getattr(loaded, "name_or_path", "") or "")
    return name == "demo" or (bool(name) and Path(name) == DEMO)


def origin_of(loaded: Any) -> str:
    """Return what a page says about where a model or tokenizer is from: that it is the demo, or the name of its folder.

    Examples
    --------
    >>> origin_of(BioGptTokenizer.from_pretrained("demo"))
    'the demo model, a toy made for teaching: not a medical source'
    """
    if is_demo(loaded):
        return "the demo model, a toy made for teaching: not a medical source"
    return Path(str(getattr(loaded, "name_or_path", "") or "")).name


def tokenizer_of(model: Any, needed: bool) -> BioGptTokenizer | None:
    """Load the tokenizer from the folder of the model; without one, return None if only ids were passed."""
    name = getattr(model, "name_or_path", "")
    try:
        if not name:
            must, found = "a text needs a tokenizer", "a model that was not loaded from a folder"
            raise CheckpointError(must, found, "pass tokenizer=BioGptTokenizer.from_pretrained(...)")
        return BioGptTokenizer.from_pretrained(name)
    except CheckpointError:
        if needed:
            raise
        return None


def one_row(ids: Any) -> Any:
    """Return ids as (1, T)."""
    if isinstance(ids, list | tuple) and ids and not isinstance(ids[0], list | tuple):
        return [list(ids)]
    shape = getattr(ids, "shape", None)
    if shape is not None and len(shape) == 1:
        return ids[None]
    rows = len(ids) if shape is None and isinstance(ids, list | tuple) else shape[0] if shape else 0
    if rows != 1 or (shape is not None and len(shape) != 2):
        found = f"shape {tuple(shape)}" if shape is not None else f"{rows} rows" if rows else type(ids).__name__
        raise InputError("text must be a string, or the ids of one sequence", found, "pass one row, (1, T)")
    return ids
