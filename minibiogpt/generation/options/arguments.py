"""Checks of the arguments of generate that are objects of the caller: functions, a streamer, a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minibiogpt.checks import plain
from minibiogpt.errors import InputError, short_repr
from minibiogpt.generation.config import GenerationConfig, ids_as_tuple


def resolve_config(
    model_config: Any, call_config: Any, options: dict[str, Any], use_model_defaults: bool | None = None
) -> GenerationConfig:
    """Merge the options of the call over its generation_config over the model's.

    Both configs may be a GenerationConfig, a dict of its options, or transformers' own config object. With
    ``use_model_defaults=False`` only the special ids come from the model, as in transformers.
    """
    config = model_config = _as_config(model_config)
    if call_config is not None:
        call_config = _as_config(call_config)
        config = _with_ids_of(model_config, call_config) if use_model_defaults is False else call_config.over(config)
    config = config.updated(options)
    config.warn_of_what_is_passed_over()
    config.warn_of_what_has_no_effect(options)
    return config


def _as_config(value: Any) -> GenerationConfig:
    if isinstance(value, GenerationConfig):
        return value
    values = value.to_dict() if type(value).__name__ == "GenerationConfig" else value
    if not isinstance(values, Mapping):
        must = "generation_config must be a GenerationConfig or a dict of its options"
        raise InputError(must, type(value).__name__, "write generation_config=GenerationConfig(max_new_tokens=20)")
    if type(value).__name__ == "GenerationConfig":
        return GenerationConfig.from_dict(values)
    return GenerationConfig(**values)


def _with_ids_of(model_config: GenerationConfig, config: GenerationConfig) -> GenerationConfig:
    """Return ``config`` with the special ids of the model where it sets none."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return config.updated({n: getattr(model_config, n) for n in names if getattr(config, n) is None})


def list_of_functions(name: str, value: Any) -> list[Any]:
    """Return one function or several as a list; an empty one for None.

    Raises
    ------
    InputError
        If an element is no function, or an object of transformers, which works on PyTorch tensors. A class of your own
        may be derived from one of transformers if it has its own ``__call__``.
    """
    value = plain(value)
    several = isinstance(value, list | tuple)
    functions = list(value) if several else [value] if callable(value) else value or []
    for function in functions if isinstance(functions, list) else ():
        if _is_of_transformers(function):
            must = f"{name} must be functions of arrays"
            found = f"transformers' {type(function).__name__}, which needs PyTorch tensors"
            raise InputError(
                must, found, "use the option of generate that makes it, or write a function of NumPy arrays"
            )
    if not isinstance(functions, list) or not all(map(callable, functions)):
        second = "logits" if name == "logits_processor" else "scores"
        found = short_repr(value)[:80]
        raise InputError(f"{name} must be a list of functions", found, f"pass functions of ids and {second}")
    return functions


def check_function(name: str, value: Any) -> None:
    """Raise unless ``value`` is a function or None."""
    if value is not None and not callable(value):
        raise InputError(f"{name} must be a function", short_repr(value), "pass a function, or leave it out")


def _is_of_transformers(function: Any) -> bool:
    """Return whether transformers defines what a call of the object runs."""
    owner = next((cls for cls in type(function).__mro__ if "__call__" in vars(cls)), type(function))
    return owner.__module__.partition(".")[0] == "transformers"


def check_streamer(streamer: Any) -> None:
    """Raise if ``streamer`` has no methods ``put`` and ``end``."""
    if streamer is not None and not (
        callable(getattr(streamer, "put", None)) and callable(getattr(streamer, "end", None))
    ):
        found = short_repr(streamer)[:80]
        raise InputError("streamer must have the methods put and end", found, "pass TextStreamer(tokenizer)")


def pad_of(config: GenerationConfig) -> int:
    """Return the id that fills a row after its end: the pad token, else an end token, else 0."""
    return config.pad_token_id if config.pad_token_id is not None else (*ids_as_tuple(config.eos_token_id), 0)[0]
