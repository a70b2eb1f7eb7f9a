"""GenerationConfig: every option of generation, and its precedence."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Self

from minibiogpt.checks import checked_folder, plain, plain_row
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.files.hub import find_model
from minibiogpt.files.json_text import json_text
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import write_atomically
from minibiogpt.generation.options import foreign
from minibiogpt.generation.options.valid import (
    BEAM_OPTIONS,
    CHECKS,
    FLAGS,
    SAMPLING_OPTIONS,
    check_option,
    none_is_valid,
)
from minibiogpt.generation.options.warning import warn_caller
from minibiogpt.idioms import no_attribute

GENERATION_CONFIG = "generation_config.json"
ONE_ID = ("bos_token_id", "pad_token_id", "forced_bos_token_id")
IDS = (*ONE_ID, "eos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")
OUTPUTS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")


@dataclass(init=False)
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
    max_time : seconds after which generation ends with the current token; None: no limit.
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
    forced_bos_token_id, forced_eos_token_id, remove_invalid_values, exponential_decay_length_penalty,
    renormalize_logits : see the classes.
    stop_strings : texts that end a row; ``generate`` then needs the tokenizer.
    eos_token_id : one id or several, each of which ends a row; None: rows have no end token.
    pad_token_id : fills a row after its end. bos_token_id : the prompt if none is given.
    use_cache : whether keys and values are cached, so that each position is computed once.
    return_dict_in_generate : return a GenerateOutput instead of only the ids.
    return_legacy_cache : its ``past_key_values`` is a tuple of (k, v) pairs.
    output_scores, output_logits, output_attentions, output_hidden_states : include each step's scores (after the logits
        processors), logits (before them), attention weights, or hidden states.
    extra : unknown keys of generation_config.json, kept and written back.

    Raises
    ------
    InputError
        If an option is unknown, or its value is invalid for every model. Sampling options are checked only if
        ``do_sample`` is set, as in transformers.

    Source: GenerationConfig in transformers 4.57. Only ``scoring`` is not part of transformers. transformers keeps an
    unknown option as an attribute; here it is an error.

    Examples
    --------
    >>> GenerationConfig(num_beams=4, max_new_tokens=30).to_diff_dict()
    {'max_new_tokens': 30, 'num_beams': 4}
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = 0
    min_new_tokens: int | None = None
    max_time: float | None = None
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
    remove_invalid_values: bool = False
    exponential_decay_length_penalty: tuple[int, float] | None = None
    renormalize_logits: bool = False
    stop_strings: str | list[str] | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    use_cache: bool = True
    return_dict_in_generate: bool = False
    return_legacy_cache: bool = False
    output_scores: bool = False
    output_logits: bool = False
    output_attentions: bool = False
    output_hidden_states: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def __init__(self, *, extra: dict[str, Any] | None = None, **options: Any) -> None:
        if not isinstance(extra, dict | None):
            raise InputError("extra must be a dict", type(extra).__name__, "write GenerationConfig(NAME=value)")
        vars(self).update(DEFAULTS, extra=dict(extra or {}))
        for name, value in options.items():
            if name in DEFAULTS:
                vars(self)[name] = _plain(name, value)
            elif foreign.is_off(name, value):
                self.extra[name] = value
            else:
                raise foreign.refused(type(self).__name__, name, value, DEFAULTS)
        self.validate()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DEFAULTS:
            value = _plain(name, value)
            if name not in SAMPLING_OPTIONS or self.do_sample:
                check_option(name, value)
            vars(self)[name] = value
        elif name == "extra":
            vars(self)[name] = value
        elif foreign.is_off(name, value):
            vars(self)["extra"] = {**self.extra, name: value}  # a copy of the config may share the old one
        elif foreign.exists(name):
            raise foreign.refused(type(self).__name__, name, value, DEFAULTS)
        else:
            raise no_attribute(self, name, foreign.ADVICE)

    def __getattr__(self, name: str) -> Any:
        """Return an option of transformers that does not exist here: its default, or what the file says."""
        extra = vars(self).get("extra", {})
        if name in extra:
            return extra[name]
        if foreign.exists(name):
            return foreign.default_of(name)
        raise no_attribute(self, name, foreign.ADVICE)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Create a config from the keys of a generation_config.json. Unknown keys go to ``extra``.

        A null means that the option is off where None does, and otherwise that it is not set.
        """
        if not isinstance(values, dict):
            raise InputError("a generation config must be a JSON object", type(values).__name__, "write {...}")
        extra = {key: value for key, value in values.items() if key not in DEFAULTS}
        known = {k: v for k, v in values.items() if k in DEFAULTS and (v is not None or none_is_valid(k))}
        return cls(**known, extra=extra)

    @classmethod
    def from_model_config(cls, config: BioGptConfig) -> Self:
        """Create a config from config.json: the special ids, and the generation options that old files have there.

        If it requests attentions or hidden states, ``return_dict_in_generate`` is set, as in transformers.
        """
        old = {key: value for key, value in config.extra.items() if key in DEFAULTS and value is not None}
        fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name in DEFAULTS}
        new = cls.from_dict(old | fields)
        vars(new)["return_dict_in_generate"] |= any(getattr(new, name) for name in OUTPUTS)
        return new

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], config_file_name: str = GENERATION_CONFIG, **options: Any
    ) -> Self:
        """Read generation_config.json of "demo", a folder or a hub id; ``options`` go before it.

        Raises
        ------
        CheckpointError
            If the file is missing, is not JSON, or has an invalid value. The error names the file.
        """
        path = find_model(name) / config_file_name
        values = read_json(path, f"generation options must be in {config_file_name}")
        try:
            config = cls.from_dict(values)
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {path}", error.remedy) from None
        return config.updated(options) if options else config

    def save_pretrained(self, folder: str | os.PathLike[str], config_file_name: str = GENERATION_CONFIG) -> None:
        """Write the options that differ from the defaults to generation_config.json in ``folder``, atomically."""
        text = self.to_json_string()
        write_atomically(
            checked_folder("folder", folder) / config_file_name, lambda path: path.write_text(text, encoding="utf-8")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all options, and the unknown keys of the file that they come from."""
        return self.extra | {name: getattr(self, name) for name in DEFAULTS}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the options that differ from the defaults, and the unknown keys of the file."""
        return self.extra | self._non_defaults()

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return ``to_diff_dict`` as JSON; with ``use_diff=False``, ``to_dict``."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        if isinstance(bias := values.get("sequence_bias"), dict):
            values["sequence_bias"] = [[list(ids), value] for ids, value in bias.items()]  # JSON keys can't be tuples
        return json_text(values, indent=2, sort_keys=True, default=lambda x: x.item()) + "\n"  # x: a NumPy scalar

    def update(self, **options: Any) -> dict[str, Any]:
        """Set these options, and return those that are none of this config's, as in transformers."""
        known = {name: value for name, value in options.items() if name in DEFAULTS or foreign.is_off(name, value)}
        changed = type(self)(**vars(self) | known)
        vars(self).update(vars(changed))
        return {name: value for name, value in options.items() if name not in known}

    def _non_defaults(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name, value in DEFAULTS.items() if getattr(self, name) != value}

    def over(self, model: GenerationConfig) -> GenerationConfig:
        """Return the model's config, overridden by the options of this one that differ from the defaults.

        A temperature of 0 turns sampling off, as in transformers.
        """
        changes = self._non_defaults()
        changes |= {"do_sample": False} if changes.get("temperature", model.temperature) == 0 else {}
        return dataclasses.replace(model, **changes, extra=model.extra | self.extra)

    def updated(self, options: dict[str, Any]) -> Self:
        """Return this config with the options of a call, after checking each, also those that are not used."""
        known = {}
        for name, value in options.items():
            if name in DEFAULTS:
                known[name] = _plain(name, value)
            elif not foreign.is_off(name, value):
                raise foreign.refused("generate", name, value, DEFAULTS)
        config = dataclasses.replace(self, **known)
        for name in known.keys() & set(SAMPLING_OPTIONS):
            if not (name == "temperature" and known[name] == 0):  # 0 and no sampling: what is meant is greedy decoding
                check_option(name, known[name])
        if config.max_length == 20 and "max_length" not in options:
            config.max_length = None  # transformers' default, which means 20 new tokens, not 20 in total
        return config

    def without_effect(self, call_options: Collection[str]) -> dict[str, list[str]]:
        """Return {what it needs: those of ``call_options`` that need sampling or beams and are used without}."""
        needs = {"do_sample=True": (SAMPLING_OPTIONS, self.do_sample), "num_beams": (BEAM_OPTIONS, self.num_beams > 1)}
        off = {name: [DEFAULTS[name], None] for name in (*SAMPLING_OPTIONS, *BEAM_OPTIONS)}
        off["temperature"].append(0)
        return {
            need: [x for x in names if x in call_options and getattr(self, x) not in off[x]] if not used else []
            for need, (names, used) in needs.items()
        }

    def warn_of_what_has_no_effect(self, call_options: Collection[str]) -> None:
        """Warn about ``call_options`` that need sampling or beam search but are used without it."""
        for need, unused in self.without_effect(call_options).items():
            if unused:
                warn_caller(f"without {need} these options have no effect: {', '.join(unused)}")

    def validate(self) -> None:
        """Raise if an option is invalid for every model. Sampling options are checked only if they are used."""
        for name in CHECKS:
            if self.do_sample or name not in SAMPLING_OPTIONS:
                check_option(name, getattr(self, name))

    def warn_of_what_is_passed_over(self) -> None:
        """Warn about unsupported options of transformers that would change the result."""
        on = {name: x for name, x in self.extra.items() if not foreign.is_off(name, x)}
        ignored = [f"{name} {x!r}" for name, x in on.items() if foreign.exists(name)]
        if ignored:
            warn_caller(f"unsupported generation options are ignored: {', '.join(ignored)}")


DEFAULTS: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(GenerationConfig) if f.name != "extra"}


def _plain(name: str, value: Any) -> Any:
    """Return arrays and tensors as lists and numbers, and None for a flag as its default.

    A row of ids (1, n), as a tokenizer returns it for one text, becomes a list of n.
    """
    if value is None and name in FLAGS:
        return DEFAULTS[name]
    if name == "bad_words_ids" and isinstance(value, list | tuple):
        return [plain_row(ids) for ids in value]
    if name == "sequence_bias" and isinstance(value, list | tuple | dict):
        pairs = value.items() if isinstance(value, dict) else value
        read = [_plain_pair(pair) for pair in pairs]
        return dict(read) if isinstance(value, dict) else read
    found = plain_row(value) if name in IDS else plain(value)
    if name in ONE_ID and found is not value and isinstance(found, list) and len(found) == 1:
        return found[0]
    return found


def _plain_pair(pair: Any) -> Any:
    """Return a pair of ids and a number without arrays; lists stay lists, and tuples, which can be keys, tuples."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return pair
    found = plain_row(pair[0]), plain(pair[1])
    return found if isinstance(pair, tuple) else list(found)


def ids_as_tuple(ids: Any) -> tuple[int, ...]:
    """Return None, one id or several ids as a tuple."""
    return () if ids is None else tuple(int(i) for i in ids) if isinstance(ids, list | tuple) else (int(ids),)
