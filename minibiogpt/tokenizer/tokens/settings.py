"""The tokenizer's options: their checks, and the files that hold them.

Source: PreTrainedTokenizerBase._from_pretrained and save_pretrained in transformers 4.57, with the same precedence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minibiogpt.checks import checked_integer, is_integer
from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import write_atomically
from minibiogpt.idioms import no_option
from minibiogpt.tokenizer.encoding import checked_flag, checked_model_length
from minibiogpt.tokenizer.tokens.added_tokens import AddedToken, checked_token
from minibiogpt.tokenizer.tokens.chat import TEMPLATE, checked_template, read_templates
from minibiogpt.tokenizer.tokens.names import OPTION_ADVICE
from minibiogpt.tokenizer.tokens.special_tokens import DEFAULTS, MORE, REQUIRED, checked_tokens
from minibiogpt.tokenizer.vocabulary import MAX_IDS, NO_LIMIT

PADDED_TO = 8  # transformers' pad_to_multiple_of is a multiple of 8: larger matrix products are faster then
CONFIG, SPECIAL_MAP, ADDED, FAST = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)


def _side(name: str) -> Callable[[Any], str]:
    def checked(side: Any) -> str:
        if side not in ("left", "right"):
            raise InputError(f"{name} must be 'left' or 'right'", short_repr(side), "choose one of these")
        return side

    return checked


def _length(value: Any) -> int:
    return (
        NO_LIMIT if value is None or (isinstance(value, float) and value >= NO_LIMIT) else checked_model_length(value)
    )


def _names(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or "input_ids" not in value or not all(isinstance(x, str) for x in value):
        must = "model_input_names must be a list of names with 'input_ids'"
        raise InputError(must, short_repr(value), 'pass ["input_ids", "attention_mask"]')
    return list(value)


def _flag(name: str) -> Callable[[Any], bool]:
    return lambda value: checked_flag(name, value)


SETTINGS: dict[str, tuple[Any, Callable[[Any], Any]]] = {  # {name: (its default, its check)}
    "padding_side": ("right", _side("padding_side")),
    "truncation_side": ("right", _side("truncation_side")),
    "model_max_length": (NO_LIMIT, _length),
    "clean_up_tokenization_spaces": (False, _flag("clean_up_tokenization_spaces")),
    "split_special_tokens": (False, _flag("split_special_tokens")),
    "model_input_names": (["input_ids", "attention_mask"], _names),
    "name_or_path": ("", str),
    TEMPLATE: (None, checked_template),
}
EXTRA, DECODER, SOFT = "extra_special_tokens", "added_tokens_decoder", "soft_prompt"
OPTIONS = (*DEFAULTS, MORE, EXTRA, DECODER, *SETTINGS, "max_len", SOFT)
# Arguments of transformers that make no difference: there is one tokenizer class, and no file holds code to run.
WITHOUT_EFFECT = {"use_fast", "from_slow", "trust_remote_code", "verbose", "processor_class", "tokenizer_file"}


class Options(NamedTuple):
    """The options of a tokenizer, sorted by what they are about."""

    settings: dict[str, Any]
    named: dict[str, Any]
    more: list[Any]
    decoder: dict[int, AddedToken]
    soft_prompt: int


def checked_options(options: Mapping[str, Any]) -> Options:
    """Check the constructor's options and fill in the defaults."""
    for name in options:
        if name not in OPTIONS and name not in WITHOUT_EFFECT:
            raise no_option("BioGptTokenizer", name, set(OPTIONS) - {"max_len"}, OPTION_ADVICE)
    given = {"model_max_length": options.get("max_len"), **options}
    settings = {name: check(given.get(name, default)) for name, (default, check) in SETTINGS.items()}
    named = {name: given.get(name, default) for name, default in DEFAULTS.items()}
    more, extra = given.get(MORE) or [], given.get(EXTRA) or {}
    if isinstance(extra, list | tuple):  # as transformers 5 writes the additional special tokens
        more, extra = [*checked_tokens(more, MORE), *extra], {}
    if not isinstance(extra, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in extra):
        must = f"{EXTRA} must be a dictionary of names and tokens, or a list of tokens"
        raise InputError(must, short_repr(extra), 'pass {"drug_token": "[DRUG]"}')
    soft = checked_integer(SOFT, given.get(SOFT, 0), 0, MAX_IDS)
    return Options(settings, {**named, **extra}, more, checked_decoder(given.get(DECODER) or {}), soft)


class Setting:
    """An attribute of a tokenizer, checked when it is set. The class's is the default.

    The values are in the tokenizer's ``_settings``.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, tokenizer: Any, owner: type | None = None) -> Any:
        return SETTINGS[self.name][0] if tokenizer is None else tokenizer._settings[self.name]

    def __set__(self, tokenizer: Any, value: Any) -> None:
        tokenizer._settings[self.name] = SETTINGS[self.name][1](value)


def checked_decoder(decoder: Any) -> dict[int, AddedToken]:
    """Return {id: AddedToken} of the option ``added_tokens_decoder``; in a file, ids are strings."""
    if not isinstance(decoder, Mapping):
        must = "added_tokens_decoder must map ids to tokens"
        raise InputError(must, type(decoder).__name__, "pass {1874: AddedToken(...)}")
    found = {}
    for key, value in decoder.items():
        i = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < len(str(MAX_IDS)) + 1 else key
        token = checked_token(value, f"the added token of id {short_repr(key)}")
        if not isinstance(token, AddedToken):
            must = "added_tokens_decoder must give each token with its options"
            raise InputError(must, short_repr(token), "pass an AddedToken")
        found[_id(i)] = token
    return found


def _id(i: Any) -> int:
    return checked_integer("the id of an added token", i, 0, MAX_IDS - 1)


def read_settings(folder: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's options from its files and ``overrides``, which win.

    Of the files, tokenizer_config.json counts, and of that its ``added_tokens_decoder``. Only without that entry are
    special_tokens_map.json (which then overrides tokenizer_config.json), added_tokens.json and the added tokens of
    tokenizer.json read, as in transformers. Keys that change nothing here are ignored: tokenizer_class (a different
    class is a warning), auto_map, processor_class, and any other. Chat templates in files of their own win.
    """
    config = _json_object(folder / CONFIG)
    _check_class(folder, config)
    templates = read_templates(folder)
    given = {**config, **({TEMPLATE: templates} if templates is not None else {}), **overrides}
    if given.get("added_tokens_decoder") is not None:
        decoder = checked_decoder(given["added_tokens_decoder"])
    else:
        _apply_special_map(given, _json_object(folder / SPECIAL_MAP), overrides)
        decoder = _legacy_decoder(folder, given)
    options = {name: x for name, x in given.items() if name in OPTIONS or name in overrides}
    by_content = {token.content: token for token in decoder.values()}
    for name in DEFAULTS:
        if name in options and options[name] is not None:
            token = checked_token(options[name], name)
            options[name] = by_content.get(str(token), token)
        elif name in options and name in REQUIRED and name not in overrides:
            del options[name]  # null in the file: the default is in every vocabulary
    for name in (*SETTINGS, "max_len", SOFT):
        if name in options and config.get(name, "") is None and name not in overrides:
            del options[name]
    return options | {DECODER: decoder}


def _check_class(folder: Path, config: dict[str, Any]) -> None:
    found = config.get("tokenizer_class")
    if isinstance(found, str) and found.removesuffix("Fast") not in ("BioGptTokenizer", "PreTrainedTokenizer"):
        shown = f"{folder / CONFIG} names the class {short_repr(found)}; BioGptTokenizer may split text differently"
        warnings.warn(shown, UserWarning, stacklevel=4)


def _apply_special_map(given: dict[str, Any], special: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Let special_tokens_map.json override tokenizer_config.json, in place; additional tokens are merged."""
    for name, value in special.items():
        if overrides.get(name):
            continue
        if name == MORE and isinstance(value, list):
            listed = given.get(MORE) or []
            merged = [*(listed if isinstance(listed, list) else [])]
            seen = {token for token in merged if isinstance(token, Hashable)}
            for new in map(_as_special, value):
                if not isinstance(new, Hashable):  # no token: refused later
                    merged.append(new)
                elif new not in seen:
                    merged.append(new)
                    seen.add(new)
            value = merged
        given[name] = _as_special(value)


def _legacy_decoder(folder: Path, given: dict[str, Any]) -> dict[int, AddedToken]:
    """Return the added tokens of added_tokens.json and of a tokenizer.json."""
    more = given.get(MORE) or []
    named = [given[name] for name in DEFAULTS if given.get(name) is not None]
    special = {_content(token) for token in [*named, *(more if isinstance(more, list) else [])]}
    found: dict[int, Any] = {}
    for content, i in _json_object(folder / ADDED).items():
        found[_id(i)] = AddedToken(content, special=content in special)
    listed = _json_object(folder / FAST).get("added_tokens", [])
    for token in listed if isinstance(listed, list) else []:
        if isinstance(token, dict):
            found[_id(token.get("id"))] = token
    return checked_decoder(found)


def _as_special(token: Any) -> Any:
    return (
        checked_token(token | {"special": True}, "a token") if isinstance(token, dict) and "content" in token else token
    )


def _content(token: Any) -> Any:
    content = token.get("content") if isinstance(token, dict) else getattr(token, "content", token)
    return content if isinstance(content, str) else None


def _json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty dict if there is no file."""
    found = read_json(path, f"{path.name} must be readable") if path.is_file() else {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold a JSON object", type(found).__name__, "fetch the file again")
    return found


def embeddings_of(folder: Path, pieces: int, tokens: int) -> int | None:
    """Return how many embeddings the model has (config.json's vocab_size); None if that is unknown.

    Fewer embeddings than pieces of the vocabulary is an error: it belongs to another model. Fewer than tokens is a
    warning: someone adds tokens, saves them and resizes the model later.
    """
    rows = _json_object(folder / "config.json").get("vocab_size")
    if rows is None or not is_integer(rows):
        return None
    if pieces > rows:
        must = f"{folder} must not have more pieces than embeddings (vocab_size {rows})"
        raise CheckpointError(must, f"ids up to {pieces - 1}", "use the vocab.json that belongs to the model")
    if tokens > rows:
        shown = (
            f"the added tokens with ids from {rows} to {tokens - 1} have no embedding in {folder}; after loading its"
        )
        warnings.warn(f"{shown} model, call model.resize_token_embeddings(len(tokenizer))", UserWarning, stacklevel=3)
    return rows


def soft_prompt_of(rows: int | None, tokens: int) -> int:
    """Return how many of a model's embeddings are a soft prompt.

    All beyond the tokens are, unless the number of embeddings is a multiple of 8: then they are padding.

    Examples
    --------
    >>> soft_prompt_of(42393, 42384), soft_prompt_of(57726, 57717), soft_prompt_of(42385, 42384)
    (9, 9, 1)
    >>> soft_prompt_of(1880, 1874), soft_prompt_of(None, 1874)
    (0, 0)
    """
    return 0 if rows is None or rows % PADDED_TO == 0 else max(rows - tokens, 0)


def check_soft_prompt(soft: int, rows: int | None, tokens: int) -> None:
    """Check that the tokens leave the embeddings of the soft prompt alone."""
    if soft and rows is not None and tokens + soft > rows:
        must = f"the {rows} embeddings must suffice for the tokens and the soft prompt"
        remedy = "pass soft_prompt=0 to give its embeddings to new tokens"
        raise InputError(must, f"{tokens} tokens and a soft prompt of {soft}", remedy)


def write_settings(folder: Path, prefix: str, settings: Mapping[str, Any], special: Mapping[str, Any]) -> list[str]:
    """Write tokenizer_config.json and special_tokens_map.json; return their paths. An unknown length is omitted."""
    content = {"tokenizer_class": "BioGptTokenizer"} | {key: x for key, x in settings.items() if x != NO_LIMIT}
    return [write_json(folder / (prefix + CONFIG), content), write_json(folder / (prefix + SPECIAL_MAP), special)]


def write_json(path: Path, content: Mapping[str, Any]) -> str:
    text = json_text(content, indent=2, sort_keys=True) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return str(path)
