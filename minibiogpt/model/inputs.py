"""Validation of the inputs of a model call, and their conversion to the model's backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from minibiogpt.backend import HALVES, Array, Backend, backend_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_option
from minibiogpt.model.cache import KVCache
from minibiogpt.model.transformers_names import CALL

# The order of transformers' BioGptModel.forward, after input_ids and attention_mask.
ORDER = (
    "head_mask", "inputs_embeds", "past_key_values", "use_cache", "position_ids", "output_attentions",
    "output_hidden_states", "return_dict",
)  # fmt: skip
NO_DIFFERENCE = {"token_type_ids": "any", "logits_to_keep": 0, "num_items_in_batch": None}
Method = TypeVar("Method", bound=Callable[..., Any])


def by_position(*names: str, two: tuple[str, ...] = ()) -> Callable[[Method], Method]:
    """Decorate a model's call so that its arguments can be given by position, in this order.

    Parameters
    ----------
    two : what two arguments mean, if not the first two names.

    Raises
    ------
    InputError
        If there are too many, or one is given by name too.
    """

    def decorate(method: Method) -> Method:
        @wraps(method)
        def call(self: Any, *args: Any, **options: Any) -> Any:
            order = two if len(args) == 2 and two else names
            twice = [name for name in order[: len(args)] if name in options]
            if len(args) > len(names) or twice:
                found = f"{twice[0]} twice" if twice else f"{len(args)} by position"
                raise InputError("a model must get each input once", found, "pass the inputs by name")
            return method(self, **dict(zip(order, args, strict=False)), **options)

        return call  # type: ignore[return-value]

    return decorate


def check_others(others: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check that the remaining keyword arguments of a call change nothing: unknown ones would be lost silently."""
    for name, value in others.items():
        if name not in NO_DIFFERENCE:
            raise no_option("a model", name, known, CALL)
        if NO_DIFFERENCE[name] != "any" and value not in (None, NO_DIFFERENCE[name]):
            raise InputError(f"{name} must be {NO_DIFFERENCE[name]}", short_repr(value), f"leave {name} out")


def check_cache_position(cache_position: Any, P: int, T: int) -> None:
    """Check that the new tokens follow the cache, which holds P positions; there is no other place for them."""
    if cache_position is not None and np.asarray(cache_position).tolist() != list(range(P, P + T)):
        must = f"cache_position must be where the tokens follow the cache: {P} to {P + T - 1}"
        raise InputError(must, short_repr(np.asarray(cache_position).tolist()), "leave it out")


def as_backend_array(name: str, x: Any, backend: Backend, must: str) -> Array:
    """Convert lists, NumPy or CuPy arrays to a numeric array of ``backend``; see ``as_numeric_array``."""
    return backend.asarray(as_numeric_array(name, x, backend, must))


def as_numeric_array(name: str, x: Any, backend: Backend, must: str) -> Array:
    """Convert x to an array of numbers or booleans. Lists and NumPy arrays stay on the host, to be checked there.

    Raises
    ------
    InputError
        If rows have unequal lengths, or elements are not numbers.
    """
    remedy = f"pass {name} as a list of equally long lists of numbers, or as an array"
    if isinstance(x, Mapping):
        raise InputError(f"{name} must be {must}", type(x).__name__, "unpack the encoding: model(**enc)")
    if _is_text(x):
        raise InputError(f"{name} must be {must}", f"text {short_repr(x)}", 'tokenize first: tok(text)["input_ids"]')
    try:
        on_host = isinstance(x, np.ndarray) or not hasattr(x, "dtype")
        array = np.asarray(x) if on_host else backend.asarray(x)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # RuntimeError: of a PyTorch tensor
        reason = "rows of unequal length" if "inhomogeneous" in str(error) else str(error)
        raise InputError(f"{name} must be {must}", reason, remedy) from None
    if array.dtype.kind not in "biuf" and array.dtype.name not in HALVES:
        remedy = 'tokenize first: tok(text)["input_ids"]' if array.dtype.kind == "U" else remedy
        raise InputError(f"{name} must be {must}", f"dtype {array.dtype}", remedy)
    return array


def _is_text(x: Any) -> bool:
    return isinstance(x, str) or (isinstance(x, list | tuple) and bool(x) and isinstance(x[0], str))


def as_integers(name: str, x: Any, backend: Backend, low: int, high: int, shape: str = "(B, T)") -> Array:
    """Convert x to an int64 array with as many axes as ``shape`` names and values in [low, high).

    Raises
    ------
    InputError
        If the dtype is not integer (floats and booleans are not ids), the number of axes differs, there are no
        elements, or a value is out of range: NumPy would silently take -1 as the last row.
    """
    axes = shape.count(",") + 1
    must = f"integers of shape {shape}"
    array = as_numeric_array(name, x, backend, must)
    if array.ndim != axes:
        raise InputError(f"{name} must be {must}", f"shape {array.shape}", f"one sequence is a batch of 1: [{name}]")
    if array.size == 0:
        raise InputError(f"{name} must hold at least one position", f"shape {array.shape}", "pass one token or more")
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be {must}", f"dtype {array.dtype}", "convert them with .astype('int64')")
    smallest, largest = int(array.min()), int(array.max())
    if smallest < low or largest >= high:
        found = smallest if smallest < low else largest
        remedy = "use the model's own tokenizer; after add_tokens, call model.resize_token_embeddings(len(tokenizer))"
        remedy = remedy if name == "input_ids" else "check that the tokenizer and the model match"
        raise InputError(f"{name} must lie in [{low}, {high})", str(found), remedy)
    return backend.asarray(array.astype("int64", copy=False))


def as_embeddings(x: Any, config: BioGptConfig, backend: Backend, dtype: str) -> Array:
    """Check inputs_embeds: (B, T, D) floats, already multiplied by the embedding scale."""
    must = f"floats of shape (B, T, {config.hidden_size})"
    array = as_backend_array("inputs_embeds", x, backend, must)
    if array.ndim != 3 or array.shape[-1] != config.hidden_size or array.size == 0:
        raise InputError(
            f"inputs_embeds must be {must}", f"shape {array.shape}", "use rows of embed_tokens.weight, times its scale"
        )
    if array.dtype.kind in "biu":
        raise InputError(f"inputs_embeds must be {must}", f"dtype {array.dtype}", "pass floats; ids go to input_ids")
    return array.astype(dtype, copy=False)


def as_mask(x: Any, B: int, past: int, T: int, backend: Backend) -> Array | None:
    """Check attention_mask, (B, past + T) of 0 and 1; return it as booleans, or None if nothing is padding."""
    if x is None:
        return None
    must = "0 (padding) or 1 (a real token), of shape (B, S)"
    array = as_numeric_array("attention_mask", x, backend, must)
    if array.shape != (B, past + T):
        raise InputError(
            f"attention_mask must cover past and new positions: shape ({B}, {past} + {T})",
            f"shape {array.shape}",
            f"append a column of ones for each new token, {past + T} in all",
        )
    real = array.astype(bool)
    if array.dtype.kind != "b" and not bool((array == real).all()):
        raise InputError(f"attention_mask must be {must}", "other values", "pass the tokenizer's attention_mask")
    return None if bool(real.all()) else backend.asarray(real)


def as_head_mask(x: Any, config: BioGptConfig, backend: Backend, dtype: str) -> Array | None:
    """Check head_mask, (H,) for every layer or (L, H); return it as (L, H)."""
    if x is None:
        return None
    L, H = config.num_hidden_layers, config.num_attention_heads
    must = f"numbers of shape ({H},) for every layer or ({L}, {H})"
    array = as_backend_array("head_mask", x, backend, must).astype(dtype)
    if array.shape not in ((H,), (L, H)):
        raise InputError(f"head_mask must be {must}", f"shape {array.shape}", "give one value per head")
    return backend.xp.broadcast_to(array, (L, H))


def as_cache(x: Any, config: BioGptConfig, B: int, backend: Backend, dtype: str) -> KVCache | None:
    """Check that past_key_values, a KVCache or the legacy tuple of (k, v) pairs, fits the model and the batch."""
    if x is None:
        return None
    if not isinstance(x, KVCache) and callable(length := getattr(x, "get_seq_length", None)) and length() == 0:
        found = f"an empty {type(x).__name__}"
        remedy = "pass None; the call returns the cache as past_key_values, and the next call needs that one"
        raise InputError("past_key_values must be the KVCache that an earlier call returned", found, remedy)
    if not isinstance(x, KVCache | Iterable):
        must = "past_key_values must be a KVCache or a (k, v) pair for each layer"
        raise InputError(must, type(x).__name__, "pass what a model call returned")
    cache = x if isinstance(x, KVCache) else KVCache.from_legacy(list(x), backend)
    k = cache[0][0]
    want = (config.num_hidden_layers, B, config.num_attention_heads, config.head_size, dtype)
    got = (len(cache), k.shape[0], k.shape[1], k.shape[3], str(k.dtype))
    if got != want:
        raise InputError(
            f"past_key_values must fit the model and the batch: (L, B, H, Dh, dtype) {want}",
            str(got),
            "pass the cache that this model returned for this batch",
        )
    if backend_of(k) is not backend:
        raise TypeError(f"past_key_values must be arrays of {backend}; found {backend_of(k)}; convert them")
    return cache


def position_ids_from_mask(attention_mask: Array | None, B: int, past: int, T: int, backend: Backend) -> Array:
    """Return position ids (B, T): real tokens are numbered from 0, pads are -1.

    This is cumsum(mask) * mask - 1, restricted to the new positions, so left padding doesn't change a row's positions.
    Source: BioGptLearnedPositionalEmbedding in transformers 4.57.
    """
    xp = backend.xp
    if attention_mask is None:
        return xp.broadcast_to(xp.arange(past, past + T), (B, T))
    counts = attention_mask.astype("int64")  # (B, S)
    return (xp.cumsum(counts, axis=1) * counts - 1)[:, past:]


def check_position_ids(position_ids: Array, config: BioGptConfig) -> None:
    """Check that every position is in [-1, N). NumPy's own error wouldn't mention N, and it would silently take -3."""
    largest, smallest = int(position_ids.max()), int(position_ids.min())
    if smallest < -1:
        raise InputError("a position must be -1 (a pad) or more", str(smallest), "correct the edit of position_ids")
    check_largest_position(largest, config)


def check_largest_position(largest: int, config: BioGptConfig) -> None:
    """Check that the largest position is below N, without synchronizing with the device."""
    N = config.max_position_embeddings
    if largest >= N:
        raise InputError(
            f"a sequence must have at most N = {N} real positions (max_position_embeddings)",
            f"{largest + 1}",
            "shorten the text, or generate fewer tokens",
        )
