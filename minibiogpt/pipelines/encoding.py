"""Texts to rows of ids, with the tokenizer's options as a pipeline takes them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_option
from minibiogpt.pipelines.base import named
from minibiogpt.tokenizer import BioGptTokenizer

TOKENIZER_OPTIONS = ("truncation", "padding", "max_length", "add_special_tokens", "parse_special")
PADDINGS = (None, False, True, "longest", "max_length", "do_not_pad")


def checked_kwargs(name: str, options: Any) -> dict[str, Any]:
    """Return an argument that is a dict of options of the tokenizer, such as ``tokenize_kwargs``."""
    if not isinstance(options, Mapping | None):
        raise InputError(f"{name} must be a dict", short_repr(options), 'write {"truncation": True}')
    for key in options or ():
        if key not in TOKENIZER_OPTIONS:
            raise no_option(name, key, TOKENIZER_OPTIONS, {})
    return dict(options or {})


def checked_tokenizer_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set, after checking what the tokenizer itself would not see.

    Padding is made and removed by the pipeline, so its kind makes no difference.
    """
    if options.get("padding") not in PADDINGS:
        must = "padding must be False, True, 'longest' or 'max_length'"
        raise InputError(must, short_repr(options["padding"]), "leave it out: batches are always padded")
    if options.get("max_length") is not None:
        checked_integer("max_length", options["max_length"], 1)
    return {name: options[name] for name in TOKENIZER_OPTIONS if options.get(name) is not None and name != "padding"}


def encoded(
    tokenizer: BioGptTokenizer, text: str, pair: str | None, options: Mapping[str, Any], N: int, index: int | None
) -> list[int]:
    """Return the ids of a text, truncated if the options say so, by default to the model's maximum N.

    As in transformers, ``max_length`` without ``truncation`` truncates too; if that changes a text, a warning says so.
    """
    options = dict(options)
    truncation, max_length = options.pop("truncation", None), options.pop("max_length", None)
    known = min(tokenizer.model_max_length, N)
    if truncation or (truncation is None and max_length is not None):
        limit = known if max_length is None else max_length
        row = tokenizer.encode(
            text, pair, truncation=True if truncation is None else truncation, max_length=limit, **options
        )
        if truncation is None and (n := len(tokenizer.encode(text, pair, **options))) > limit:
            warnings.warn(f"{named(index)} has {n} tokens and is truncated to max_length {limit}", stacklevel=2)
    else:
        row = tokenizer.encode(text, pair, **options)
    if not row:
        must = f"{named(index)} must have a token"
        raise InputError(must, "none", "leave add_special_tokens out, or drop the text")
    return row


def window_settings(config: BioGptConfig, settings: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the window, and the distance between two from their overlap, which transformers calls stride."""
    overlap, N = settings.get("stride"), config.max_position_embeddings
    if settings.get("window") is None and overlap is None:
        return {"window": None, "stride": None}
    window = checked_integer("window", N if settings.get("window") is None else settings["window"], 2, N)
    overlap = window - window // 2 if overlap is None else checked_integer("stride", overlap, 1, window - 1)
    return {"window": window, "stride": window - overlap}
