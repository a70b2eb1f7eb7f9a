"""GenerationConfig: every option of generation, its precedence, and its valid values."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.checks import is_finite_number, is_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import write_atomically

Check = tuple[Callable[[Any], bool], str]  # whether a value is valid, and a description of valid values
TEMPERATURES = (1e-6, 1e6)  # outside this range float32 logits may overflow or all become equal
GENERATION_CONFIG = "generation_config.json"


@dataclass
class GenerationConfig:
    """The options of ``generate``. Names, defaults and precedence are those of transformers 4.57.

    An option comes from the first of these that sets it: the call; the ``generation_config`` passed to the call, where
    it differs from the default; the model's own config (generation_config.json, or else the generation options in
    config.json); the default.

    Attributes
    ----------
    max_new_tokens : the largest number of new tokens; None: 20, or as many as fit into N positions.
    max_length : the same, counting the prompt and its padding. If both are given, ``max_new_tokens`` is used.
    min_length, min_new_tokens : the number of tokens before an end token is allowed; ``min_length`` counts the prompt
        and its padding. If both are given, ``min_new_tokens`` is used.
    do_sample : draw from the distribution instead of taking the most probable token.
    num_beams : the number of hypotheses kept for each row; above 1, beam search.
    num_return_sequences : rows returned for each row of the prompt; without sampling at most num_beams.
    length_penalty : a hypothesis' score is its summed log-probability / length ** length_penalty.
    early_stopping : beam search ends when num_beams hypotheses have ended (True), when no running hypothesis, scored
        at its current length, beats the worst finished one (False), or when none could at the maximum length ("never").
    scoring : "transformers", or "fairseq": like Microsoft's own decoder, which also counts the prompt's
        log-probabilities and tokens, ends when num_beams hypotheses have ended, and allows an end token one token later
        than ``min_length`` or ``min_new_tokens`` sets.
    temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff : with do_sample; see the processor classes.
    repetition_penalty, no_repeat_ngram_size, bad_words_ids, sequence_bias, suppress_tokens, begin_suppress_tokens,
    forced_bos_token_id, forced_eos_token_id, exponential_decay_length_penalty, renormalize_logits : see the classes.
    stop_strings : texts that end a row; ``generate`` then needs the tokenizer.
    eos_token_id : one id or several, each of which ends a row; None: rows have no end token.
    pad_token_id : fills a row after its end. bos_token_id : the prompt if none is given.
    use_cache : whether keys and values are cached, so that each position is computed once.
    return_dict_in_generate : return a GenerateOutput instead of only the ids.
    output_scores, output_logits : include each step's scores (after the logits processors) or logits (before them).
    extra : unknown keys of generation_config.json, kept and written back.

    Source: GenerationConfig in transformers 4.57. Only ``scoring`` is not part of transformers.
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    do_sample: bool = False
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    scoring: str = "transformers"
    temperature: float | None = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    typical_p: float | None = 1.0
    epsilon_cutoff: float | None = 0.0
    eta_cutoff: float | None = 0.0
    repetition_penalty: float | None = 1.0
    no_repeat_ngram_size: int | None = 0
    bad_words_ids: list[list[int]] | None = None
    sequence_bias: dict[tuple[int, ...], float] | list | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    renormalize_logits: bool = False
    stop_strings: str | list[str] | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    use_cache: bool = True
    return_dict_in_generate: bool = False
    output_scores: bool = False
    output_logits: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Any) -> GenerationConfig:
        """Create a config from the keys of a generation_config.json. Unknown keys go to ``extra``."""
        if not isinstance(values, dict):
            raise InputError("a generation config must be a JSON object", type(values).__name__, "write {...}")
        names = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        # null leaves an option at its default, unless null is a value of its own, as in top_k.
        nullable = {f.name for f in dataclasses.fields(cls) if "None" in str(f.type)}
        known = {key: x for key, x in values.items() if key in names and (x is not None or key in nullable)}
        config = cls(**known, extra={key: value for key, value in values.items() if key not in names})
        config.check_all()
        return config

    @classmethod
    def from_model_config(cls, config: BioGptConfig) -> GenerationConfig:
        """Create a config from config.json: the special ids, and the generation options that old files have there."""
        names = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        special_ids = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name in names}
        old = {key: value for key, value in config.extra.items() if key in names and value is not None}
        return cls.from_dict(old | special_ids)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> GenerationConfig:
        """Read generation_config.json in ``folder``.

        Raises
        ------
        CheckpointError
            If the file is missing, is not JSON, or has an invalid value. The error names the file.
        """
        path = Path(folder) / GENERATION_CONFIG
        values = read_json(path, f"generation options must be in {GENERATION_CONFIG}")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {path}", error.remedy) from None

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the options that differ from the defaults to generation_config.json in ``folder``, atomically."""
        values = self.extra | self._non_defaults()
        text = json.dumps(values, indent=2, sort_keys=True, default=lambda x: x.item()) + "\n"  # x: a NumPy scalar
        write_atomically(Path(folder) / GENERATION_CONFIG, lambda path: path.write_text(text, encoding="utf-8"))

    def _non_defaults(self) -> dict[str, Any]:
        default = GenerationConfig()
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extra"}
        changed = {name: value for name, value in values.items() if value != getattr(default, name)}
        if isinstance(bias := changed.get("sequence_bias"), dict):
            changed["sequence_bias"] = [[list(ids), value] for ids, value in bias.items()]  # JSON keys can't be tuples
        return changed

    def over(self, model: GenerationConfig) -> GenerationConfig:
        """Return the model's config, overridden by the options of this one that differ from the defaults."""
        return dataclasses.replace(model, **self._non_defaults(), extra=model.extra | self.extra)

    def updated(self, options: dict[str, Any]) -> GenerationConfig:
        """Return this config with the options of a call, after checking each."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "extra"]
        options = {name: x for name, x in options.items() if name not in _UNSUPPORTED or x != _UNSUPPORTED[name]}
        for name in options:
            if name in _UNSUPPORTED:
                remedy = f"leave it out, or set it to {_UNSUPPORTED[name]}"
                raise InputError("generate must support the option", f"{name}, which is unsupported", remedy)
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                remedy = f"did you mean {close[0]}?" if close else "see GenerationConfig for all options"
                raise InputError("an argument of generate must be a known option", name, remedy)
        config = dataclasses.replace(self, **{name: _array_to_list(x) for name, x in options.items()})
        if config.max_length == 20 and "max_length" not in options:
            config.max_length = None  # transformers' default, which means 20 new tokens, not 20 in total
        config.check_all(options)
        return config

    def warn_of_what_has_no_effect(self, call_options: Collection[str]) -> None:
        """Warn about ``call_options`` that need sampling or beam search but are used without it."""
        unused = [name for name in _SAMPLING_OPTIONS if name in call_options and not self.do_sample]
        unused += [name for name in _BEAM_OPTIONS if name in call_options and self.num_beams == 1]
        unused = [name for name in unused if getattr(self, name) != getattr(GenerationConfig(), name)]
        if unused:
            needs = "do_sample=True" if unused[0] in _SAMPLING_OPTIONS else "num_beams"
            warnings.warn(f"without {needs} these options have no effect: {', '.join(unused)}", stacklevel=4)

    def check_all(self, call_options: Collection[str] = ()) -> None:
        """Raise if an option is invalid for every model.

        Sampling options are checked only if they are used, or if they are in ``call_options``, the options of the call.
        """
        for name, (is_valid, description) in _CHECKS.items():
            value = getattr(self, name)
            if not is_valid(value) and (self.do_sample or name not in _SAMPLING_OPTIONS or name in call_options):
                raise InputError(f"{name} must be {description}", short_repr(value), f"correct {name}")

    def warn_of_what_is_passed_over(self) -> None:
        """Warn about unsupported options of transformers that would change the result."""
        ignored = [f"{name} {self.extra[name]!r}" for name, x in _UNSUPPORTED.items() if self.extra.get(name, x) != x]
        if ignored:
            warnings.warn(f"unsupported generation options are ignored: {', '.join(ignored)}", stacklevel=4)


def _array_to_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def ids_as_tuple(ids: Any) -> tuple[int, ...]:
    """Return None, one id or several ids as a tuple."""
    return () if ids is None else tuple(int(i) for i in ids) if isinstance(ids, list | tuple) else (int(ids),)


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
_STOP_STRINGS: Check = (_is_stop_strings, "a string or a list of strings, none of them empty")
_FLAG = _one_of(False, True)
_CHECKS: dict[str, Check] = {
    "max_length": _or_none(_at_least(1)),
    "max_new_tokens": _or_none(_at_least(1)),
    "min_length": _or_none(_at_least(0)),
    "min_new_tokens": _or_none(_at_least(0)),
    "num_beams": _at_least(1),
    "num_return_sequences": _at_least(1),
    "length_penalty": (is_finite_number, "a finite number"),
    "early_stopping": _one_of(False, True, "never"),
    "scoring": _one_of("transformers", "fairseq"),
    "temperature": _or_none(_between(*TEMPERATURES, "[]")),
    "top_k": _or_none(_at_least(0)),
    "top_p": _or_none(_between(0, 1, "(]")),
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
    "stop_strings": _or_none(_STOP_STRINGS),
    "eos_token_id": _or_none(_IDS),
    "pad_token_id": _or_none(_ID),
    "bos_token_id": _or_none(_ID),
    **{
        name: _FLAG
        for name in (
            "do_sample",
            "use_cache",
            "renormalize_logits",
            "return_dict_in_generate",
            "output_scores",
            "output_logits",
        )
    },
}
_SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_BEAM_OPTIONS = ("length_penalty", "early_stopping")
_UNSUPPORTED = {
    "num_beam_groups": 1, "diversity_penalty": 0.0, "penalty_alpha": None, "guidance_scale": None, "max_time": None,
    "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0, "watermarking_config": None,
    "prompt_lookup_num_tokens": None, "dola_layers": None, "constraints": None, "force_words_ids": None,
    "remove_invalid_values": False,
}  # fmt: skip
