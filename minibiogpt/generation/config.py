"""GenerationConfig: every option of generation, where each may come from, and what each must be."""

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

Rule = tuple[Callable[[Any], bool], str]  # whether a value can be, and what it must be, in words
TEMPERATURES = (1e-6, 1e6)  # beyond these, logits in float32 may overflow, or all become equal
GENERATION_CONFIG = "generation_config.json"


@dataclass
class GenerationConfig:
    """What ``generate`` does; names and defaults are those of transformers 4.57, and so is the precedence:

    an option of the call, then a ``generation_config`` handed to the call where it says other than the default, then
    the model's own (generation_config.json, or else what config.json says of generation), then the default.

    Attributes
    ----------
    max_new_tokens : how many new tokens at most; None: 20, or what fits into N positions.
    max_length : the same, counting the prompt and its padding; ``max_new_tokens`` holds where both are given.
    min_length, min_new_tokens : no end token before so many tokens, with the prompt and its padding or without;
        ``min_new_tokens`` holds where both are given.
    do_sample : draw from the distribution instead of taking the most probable token.
    num_beams : above 1, beam search: so many hypotheses are kept for each row, and the best returned.
    num_return_sequences : rows of the result for each row of the prompt; without sampling at most num_beams.
    length_penalty : a hypothesis' score is its summed log-probability / length ** length_penalty.
    early_stopping : beam search ends when num_beams hypotheses have ended (True), when the best one still running is
        no better at its present length (False), or when it can be no better at the longest length ("never").
    scoring : "transformers", or "fairseq": as Microsoft's own decoder, which counts the prompt's log-probabilities and
        tokens too, ends when num_beams hypotheses have ended, and whose ``min_length`` is one token longer.
    temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff : with do_sample; see each rule's class.
    repetition_penalty, no_repeat_ngram_size, bad_words_ids, sequence_bias, suppress_tokens, begin_suppress_tokens,
    forced_bos_token_id, forced_eos_token_id, exponential_decay_length_penalty, renormalize_logits : see the classes.
    stop_strings : texts that end a row; ``generate`` then needs the tokenizer.
    eos_token_id : one id or several, each of which ends a row; None: none does.
    pad_token_id : what fills a row that has ended. bos_token_id : the prompt, when there is none.
    use_cache : whether each position is computed once.
    return_dict_in_generate : return a GenerateOutput instead of the ids alone; output_scores, output_logits : with the
        scores of each step after the rules, and the logits before them.
    extra : keys of generation_config.json that are not here, kept and written back.

    Source: GenerationConfig in transformers 4.57; ``scoring`` is ours.
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
        """From the keys of a generation_config.json; unknown ones go to ``extra``."""
        if not isinstance(values, dict):
            raise InputError("a generation config must be a JSON object", type(values).__name__, "write {...}")
        names = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        known = {key: value for key, value in values.items() if key in names}
        config = cls(**known, extra={key: value for key, value in values.items() if key not in names})
        config.check_all()
        return config

    @classmethod
    def from_model_config(cls, config: BioGptConfig) -> GenerationConfig:
        """What config.json says of generation: the special ids, and options that old files keep there."""
        names = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        own = {name: getattr(config, name) for name in names if hasattr(config, name)}
        old = {key: value for key, value in config.extra.items() if key in names and value is not None}
        return cls.from_dict(old | own)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> GenerationConfig:
        """Read FOLDER/generation_config.json.

        Raises
        ------
        CheckpointError
            If the file is absent, is not JSON, or says what cannot be; the file is named.
        """
        path = Path(folder) / GENERATION_CONFIG
        values = read_json(path, f"generation options must be in {GENERATION_CONFIG}")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {path}", error.remedy) from None

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write what is not the default to FOLDER/generation_config.json (beside, then renamed)."""
        said = self.extra | self._said()
        text = json.dumps(said, indent=2, sort_keys=True, default=lambda number: number.item()) + "\n"  # NumPy's
        write_atomically(Path(folder) / GENERATION_CONFIG, lambda beside: beside.write_text(text, encoding="utf-8"))

    def _said(self) -> dict[str, Any]:
        default = GenerationConfig()
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extra"}
        said = {name: value for name, value in values.items() if value != getattr(default, name)}
        if isinstance(bias := said.get("sequence_bias"), dict):
            said["sequence_bias"] = [[list(ids), value] for ids, value in bias.items()]  # JSON has no tuples for keys
        return said

    def over(self, model: GenerationConfig) -> GenerationConfig:
        """This config where it says other than the default, and the model's where it does not."""
        return dataclasses.replace(model, **self._said(), extra=model.extra | self.extra)

    def updated(self, options: dict[str, Any]) -> GenerationConfig:
        """This config with a call's options, each checked."""
        names = [f.name for f in dataclasses.fields(self) if f.name != "extra"]
        options = {name: x for name, x in options.items() if name not in _NOT_HERE or x != _NOT_HERE[name]}
        for name in options:
            if name in _NOT_HERE:
                remedy = f"leave it out, or set it to {_NOT_HERE[name]}"
                raise InputError("an option of generate must be one that it has", f"{name}, which is not here", remedy)
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                remedy = f"do you mean {close[0]}?" if close else "see GenerationConfig for the options there are"
                raise InputError("an option of generate must be one that it has", name, remedy)
        config = dataclasses.replace(self, **{name: _plain(x) for name, x in options.items()})
        if config.max_length == 20 and "max_length" not in options:
            config.max_length = None  # transformers' default, which means 20 new tokens, not 20 in all
        config.check_all(options)
        return config

    def warn_of_what_has_no_effect(self, said: Collection[str]) -> None:
        """Options of the call that only sampling or beam search looks at, where there is none."""
        idle = [name for name in _SAMPLING if name in said and not self.do_sample]
        idle += [name for name in _OF_BEAMS if name in said and self.num_beams == 1]
        idle = [name for name in idle if getattr(self, name) != getattr(GenerationConfig(), name)]
        if idle:
            needs = "do_sample=True" if idle[0] in _SAMPLING else "num_beams"
            warnings.warn(f"without {needs} this changes nothing: {', '.join(idle)}", stacklevel=4)

    def check_all(self, said: Collection[str] = ()) -> None:
        """Raise if an option cannot be, whatever the model; one of sampling only when it is used or just ``said``."""
        for name, (holds, rule) in _RULES.items():
            value = getattr(self, name)
            if not holds(value) and (self.do_sample or name not in _SAMPLING or name in said):
                raise InputError(f"{name} must be {rule}", short_repr(value), f"correct {name}")

    def warn_of_what_is_passed_over(self) -> None:
        """Options of transformers that would change the result and are not here."""
        told = [f"{name} {self.extra[name]!r}" for name, off in _NOT_HERE.items() if self.extra.get(name, off) != off]
        if told:
            warnings.warn(f"generation options that are not here are passed over: {', '.join(told)}", stacklevel=4)


def _plain(value: Any) -> Any:
    """An array of ids as a list."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def listed_ids(ids: Any) -> tuple[int, ...]:
    """None, one id or several, as a tuple."""
    return () if ids is None else tuple(int(i) for i in ids) if isinstance(ids, list | tuple) else (int(ids),)


def _at_least(least: int) -> Rule:
    return lambda value: is_integer(value) and value >= least, f"a whole number, {least} or more"


def _or_none(rule: Rule) -> Rule:
    return lambda value: value is None or rule[0](value), rule[1]


def _between(low: float, high: float, brackets: str) -> Rule:
    def holds(value: Any) -> bool:
        if not is_finite_number(value):
            return False
        return (value > low or (value == low and brackets[0] == "[")) and (
            value < high or (value == high and brackets[1] == "]")
        )

    return holds, f"a number in {brackets[0]}{low:g}, {high:g}{brackets[1]}"


def _one_of(*values: Any) -> Rule:
    def holds(value: Any) -> bool:
        return any(value is one or (isinstance(one, str) and value == one) for one in values)

    return holds, f"one of {', '.join(map(repr, values))}"


def _is_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(is_integer(i) and i >= 0 for i in value)


def _is_bias(value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    pairs: list[Any] = list(value.items()) if isinstance(value, dict) else value
    whole = all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs)
    return whole and all(_is_ids(ids) and len(ids) > 0 and (is_finite_number(b) or b == -math.inf) for ids, b in pairs)


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_is_ids(ids) and len(ids) > 0 for ids in value)


def _is_texts(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list | tuple) and len(texts) > 0 and all(isinstance(t, str) and t != "" for t in texts)


def _is_decay(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and is_integer(value[0]) and is_finite_number(value[1]) and value[1] > 0


_ID: Rule = (lambda value: is_integer(value) and value >= 0, "an id")
_IDS: Rule = (lambda value: _ID[0](value) or _is_ids(value), "an id or a list of ids")
_STOPS: Rule = (_is_texts, "a text or a list of texts, none of them empty")
_FLAG = _one_of(False, True)
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = TEMPERATURES
_RULES: dict[str, Rule] = {
    "max_length": _or_none(_at_least(1)),
    "max_new_tokens": _or_none(_at_least(1)),
    "min_length": _or_none(_at_least(0)),
    "min_new_tokens": _or_none(_at_least(0)),
    "num_beams": _at_least(1),
    "num_return_sequences": _at_least(1),
    "length_penalty": (is_finite_number, "a finite number"),
    "early_stopping": _one_of(False, True, "never"),
    "scoring": _one_of("transformers", "fairseq"),
    "temperature": _or_none(_between(_LEAST_TEMPERATURE, _MOST_TEMPERATURE, "[]")),
    "top_k": _or_none(_at_least(0)),
    "top_p": _or_none(_between(0, 1, "(]")),
    "min_p": _or_none(_between(0, 1, "[]")),
    "typical_p": _or_none(_between(0, 1, "(]")),
    "epsilon_cutoff": _or_none(_between(0, 1, "[)")),
    "eta_cutoff": _or_none(_between(0, 1, "[)")),
    "repetition_penalty": _or_none((lambda value: is_finite_number(value) and value > 0, "a finite number above 0")),
    "no_repeat_ngram_size": _or_none(_at_least(0)),
    "bad_words_ids": _or_none((_is_words, "a list of lists of one or more ids")),
    "sequence_bias": _or_none((_is_bias, "a list of pairs of ids and a number, [[[5, 7], -1.5], ...]")),
    "suppress_tokens": _or_none((_is_ids, "a list of ids")),
    "begin_suppress_tokens": _or_none((_is_ids, "a list of ids")),
    "forced_bos_token_id": _or_none(_ID),
    "forced_eos_token_id": _or_none(_IDS),
    "exponential_decay_length_penalty": _or_none((_is_decay, "a pair: how many new tokens, and a factor above 0")),
    "stop_strings": _or_none(_STOPS),
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
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_OF_BEAMS = ("length_penalty", "early_stopping")
_NOT_HERE = {
    "num_beam_groups": 1, "diversity_penalty": 0.0, "penalty_alpha": None, "guidance_scale": None, "max_time": None,
    "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0, "watermarking_config": None,
    "prompt_lookup_num_tokens": None, "dola_layers": None, "constraints": None, "force_words_ids": None,
    "remove_invalid_values": False,
}  # fmt: skip
