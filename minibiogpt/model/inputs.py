"""What a caller hands to the model, checked once and brought to the model's backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minibiogpt.backend import HALVES, Array, Backend, backend_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.model.cache import KVCache


def as_array(name: str, x: Any, backend: Backend, must: str) -> Array:
    """Lists, NumPy or CuPy arrays as an array of ``backend``; ragged or wordy lists are an InputError."""
    return backend.asarray(as_checked_array(name, x, backend, must))


def as_checked_array(name: str, x: Any, backend: Backend, must: str) -> Array:
    """The same, but what is NumPy's or a list stays NumPy's: there it can be looked at without asking a device."""
    remedy = f"hand over {name} as a list of equally long lists of numbers, or as an array"
    try:
        known = isinstance(x, np.ndarray) or not hasattr(x, "dtype")
        array = np.asarray(x) if known else backend.asarray(x)
    except (ValueError, TypeError, OverflowError) as error:
        reason = "rows of unequal length" if "inhomogeneous" in str(error) else str(error)
        raise InputError(f"{name} must be {must}", reason, remedy) from None
    if array.dtype.kind not in "biuf" and array.dtype.name not in HALVES:
        raise InputError(f"{name} must be {must}", f"dtype {array.dtype}", remedy)
    return array


def as_integers(name: str, x: Any, backend: Backend, low: int, high: int, shape: str = "(B, T)") -> Array:
    """Integers in [low, high) of a shape with as many axes as ``shape`` names, as int64.

    Raises
    ------
    InputError
        For another dtype (floats and booleans are not ids), another number of axes, no element at all, or a value
        outside the range: NumPy would take -1 for the last row without a word.
    """
    axes = shape.count(",") + 1
    must = f"integers of shape {shape}"
    array = as_checked_array(name, x, backend, must)
    if array.ndim != axes:
        raise InputError(f"{name} must be {must}", f"shape {array.shape}", f"one sequence is a batch of 1: [{name}]")
    if array.size == 0:
        raise InputError(f"{name} must hold at least one position", f"shape {array.shape}", "hand over a token or more")
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be {must}", f"dtype {array.dtype}", "convert them with .astype('int64')")
    smallest, largest = int(array.min()), int(array.max())
    if smallest < low or largest >= high:
        found = smallest if smallest < low else largest
        raise InputError(f"{name} must lie in [{low}, {high})", str(found), "check the tokenizer and the model match")
    return backend.asarray(array.astype("int64", copy=False))


def as_embeddings(x: Any, config: BioGptConfig, backend: Backend, dtype: str) -> Array:
    """inputs_embeds: (B, T, D) floats, already multiplied by the embedding scale."""
    must = f"floats of shape (B, T, {config.hidden_size})"
    array = as_array("inputs_embeds", x, backend, must)
    if array.ndim != 3 or array.shape[-1] != config.hidden_size or array.size == 0:
        raise InputError(
            f"inputs_embeds must be {must}", f"shape {array.shape}", "take rows of embed_tokens.weight, times its scale"
        )
    if array.dtype.kind in "biu":
        raise InputError(
            f"inputs_embeds must be {must}", f"dtype {array.dtype}", "hand over floats; ids go to input_ids"
        )
    return array.astype(dtype, copy=False)


def as_mask(x: Any, B: int, past: int, T: int, backend: Backend) -> Array | None:
    """attention_mask (B, past + T) of 0 and 1 as booleans; None (all real) when there is no padding."""
    if x is None:
        return None
    must = "0 (padding) or 1 (a real token), of shape (B, S)"
    array = as_checked_array("attention_mask", x, backend, must)
    if array.shape != (B, past + T):
        raise InputError(
            f"attention_mask must cover past and new positions: shape ({B}, {past} + {T})",
            f"shape {array.shape}",
            f"append a column of ones for each new token, {past + T} in all",
        )
    real = array.astype(bool)
    if array.dtype.kind != "b" and not bool((array == real).all()):
        raise InputError(f"attention_mask must be {must}", "other values", "hand over the tokenizer's attention_mask")
    return None if bool(real.all()) else backend.asarray(real)


def as_head_mask(x: Any, config: BioGptConfig, backend: Backend, dtype: str) -> Array | None:
    """head_mask (H,) for every layer or (L, H), as (L, H)."""
    if x is None:
        return None
    L, H = config.num_hidden_layers, config.num_attention_heads
    must = f"numbers of shape ({H},) for every layer or ({L}, {H})"
    array = as_array("head_mask", x, backend, must).astype(dtype)
    if array.shape not in ((H,), (L, H)):
        raise InputError(f"head_mask must be {must}", f"shape {array.shape}", "give one number a head")
    return backend.xp.broadcast_to(array, (L, H))


def as_cache(x: Any, config: BioGptConfig, B: int, backend: Backend, dtype: str) -> KVCache | None:
    """past_key_values: a KVCache, or the legacy tuple of (k, v) pairs, that fits the model and the batch."""
    if x is None:
        return None
    if not isinstance(x, KVCache | Iterable):
        must = "past_key_values must be a KVCache or a (k, v) pair for each layer"
        raise InputError(must, type(x).__name__, "hand over what a model call returned")
    cache = x if isinstance(x, KVCache) else KVCache.from_legacy(list(x), backend)
    k = cache[0][0]
    want = (config.num_hidden_layers, B, config.num_attention_heads, config.head_size, dtype)
    got = (len(cache), k.shape[0], k.shape[1], k.shape[3], str(k.dtype))
    if got != want:
        raise InputError(
            f"past_key_values must fit the model and the batch: (L, B, H, Dh, dtype) {want}",
            str(got),
            "hand over the cache that this model returned for this batch",
        )
    if backend_of(k) is not backend:
        raise TypeError(f"past_key_values must be arrays of {backend}; found {backend_of(k)}; convert them")
    return cache


def positions_of(attention_mask: Array | None, B: int, past: int, T: int, backend: Backend) -> Array:
    """Position ids (B, T): real tokens count from 0, pads are -1.

    cumsum(mask) * mask - 1, cut to the new positions; a left-padded row thus gets the positions of the unpadded one.
    Source: BioGptLearnedPositionalEmbedding in transformers 4.57.
    """
    xp = backend.xp
    if attention_mask is None:
        return xp.broadcast_to(xp.arange(past, past + T), (B, T))
    counts = attention_mask.astype("int64")  # (B, S)
    return (xp.cumsum(counts, axis=1) * counts - 1)[:, past:]


def check_positions(position_ids: Array, config: BioGptConfig) -> None:
    """No position beyond the table: NumPy's own error would not say what N is, and it would take -3 without a word."""
    largest, smallest = int(position_ids.max()), int(position_ids.min())
    if smallest < -1:
        raise InputError("a position must be -1 (a pad) or more", str(smallest), "correct the edit of position_ids")
    check_largest_position(largest, config)


def check_largest_position(largest: int, config: BioGptConfig) -> None:
    """The same of positions whose largest is known without asking a device."""
    N = config.max_position_embeddings
    if largest >= N:
        raise InputError(
            f"a sequence must have at most N = {N} real positions (max_position_embeddings)",
            f"{largest + 1}",
            "shorten the text, or generate fewer tokens",
        )
