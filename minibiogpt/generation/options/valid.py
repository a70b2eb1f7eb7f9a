"""Which values each option of generation may have, and which options need sampling or beam search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minibiogpt.checks import is_finite_number, is_integer
from minibiogpt.errors import InputError, short_repr

Check = tuple[Callable[[Any], bool], str]  # whether a value is valid, and a description of valid values
TEMPERATURES = (1e-6, 1e6)  # outside this range float32 logits may overflow or all become equal
SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
BEAM_OPTIONS = ("length_penalty", "early_stopping")
FLAGS = (
    "do_sample", "use_cache", "renormalize_logits", "remove_invalid_values", "return_dict_in_generate",
    "return_legacy_cache", "output_scores", "output_logits", "output_attentions", "output_hidden_states",
)  # fmt: skip


def check_option(name: str, value: Any) -> None:
    """Raise if ``value`` is invalid for the option ``name``, whatever the model."""
    is_valid, description = CHECKS[name]
    if not is_valid(value):
        raise InputError(f"{name} must be {description}", short_repr(value), _remedy(name, value))


def none_is_valid(name: str) -> bool:
    """Return whether an option may be None."""
    return CHECKS[name][0](None)


def _remedy(name: str, value: Any) -> str:
    if name == "temperature" and is_finite_number(value) and value == 0:
        return "for greedy decoding write do_sample=False"
    if name == "eos_token_id" and is_integer(value):
        return "write None for no end token"
    if name == "top_k" and is_integer(value):
        return "write top_k=0 to keep all tokens"
    if name in ("top_p", "typical_p") and is_finite_number(value) and 10 <= value <= 100:
        return f"write {name}={value / 100:g} for {value:g} %"
    if name in ("top_p", "typical_p") and is_finite_number(value) and value > 1:
        return f"write {name}=1.0 to turn it off"
    if name in ("epsilon_cutoff", "eta_cutoff") and is_finite_number(value):
        return f"write {name}=0.0 to turn it off"
    return f"correct {name}"


def _at_least(least: int) -> Check:
    return lambda value: is_integer(value) and value >= least, f"an integer, {least} or more"


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check[0](value), check[1]


def _between(low: float, high: float, brackets: str) -> Check:
    def is_valid(value: Any) -> bool:
        if not is_finite_number(value):
            return False
        return (value > low or (value == low and brackets[0] == "[")) and (
            value < high or (value == high and brackets[1] == "]")
        )

    return is_valid, f"a number in {brackets[0]}{low:g}, {high:g}{brackets[1]}"


def _one_of(*values: Any) -> Check:
    def is_valid(value: Any) -> bool:
        return any(value is allowed or (isinstance(allowed, str) and value == allowed) for allowed in values)

    return is_valid, f"one of {', '.join(map(repr, values))}"


def _is_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(is_integer(i) and i >= 0 for i in value)


def _is_sequence_bias(value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    pairs: list[Any] = list(value.items()) if isinstance(value, dict) else value
    valid = all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs)
    return valid and all(_is_ids(ids) and len(ids) > 0 and (is_finite_number(b) or b == -math.inf) for ids, b in pairs)


def _is_list_of_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_is_ids(ids) and len(ids) > 0 for ids in value)


def _is_stop_strings(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list | tuple) and len(texts) > 0 and all(isinstance(t, str) and t != "" for t in texts)


def _is_decay_pair(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and is_integer(value[0]) and is_finite_number(value[1]) and value[1] > 0


_ID: Check = (lambda value: is_integer(value) and value >= 0, "an id")
_IDS: Check = (lambda value: _ID[0](value) or _is_ids(value), "an id or a list of ids")
_FLAG = _one_of(False, True)
CHECKS: dict[str, Check] = {
    "max_length": _or_none(_at_least(1)),
    "max_new_tokens": _or_none(_at_least(1)),
    "min_length": _or_none(_at_least(0)),
    "min_new_tokens": _or_none(_at_least(0)),
    "max_time": _or_none((lambda value: is_finite_number(value) and value >= 0, "seconds, a number, 0 or more")),
    "num_beams": _at_least(1),
    "num_return_sequences": _at_least(1),
    "length_penalty": (is_finite_number, "a finite number"),
    "early_stopping": _one_of(False, True, "never"),
    "scoring": _one_of("transformers", "fairseq"),
    "temperature": _or_none(_between(*TEMPERATURES, "[]")),
    "top_k": _or_none(_at_least(0)),
    "top_p": _or_none(_between(0, 1, "[]")),
    "min_p": _or_none(_between(0, 1, "[]")),
    "typical_p": _or_none(_between(0, 1, "(]")),
    "epsilon_cutoff": _or_none(_between(0, 1, "[)")),
    "eta_cutoff": _or_none(_between(0, 1, "[)")),
    "repetition_penalty": _or_none((lambda value: is_finite_number(value) and value > 0, "a finite number above 0")),
    "no_repeat_ngram_size": _or_none(_at_least(0)),
    "bad_words_ids": _or_none((_is_list_of_ids, "a list of lists of one or more ids")),
    "sequence_bias": _or_none((_is_sequence_bias, "a list of pairs of ids and a number, [[[5, 7], -1.5], ...]")),
    "suppress_tokens": _or_none((_is_ids, "a list of ids")),
    "begin_suppress_tokens": _or_none((_is_ids, "a list of ids")),
    "forced_bos_token_id": _or_none(_ID),
    "forced_eos_token_id": _or_none(_IDS),
    "exponential_decay_length_penalty": _or_none((_is_decay_pair, "a pair: how many new tokens, and a factor above 0")),
    "stop_strings": _or_none((_is_stop_strings, "a string or a list of strings, none of them empty")),
    "eos_token_id": _or_none(_IDS),
    "pad_token_id": _or_none(_ID),
    "bos_token_id": _or_none(_ID),
    **dict.fromkeys(FLAGS, _FLAG),
}
