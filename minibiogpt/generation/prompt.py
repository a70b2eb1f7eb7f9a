"""The prompt of generate: ids, embeddings and a cache, checked against each other and the options."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError, short_repr
from minibiogpt.generation.config import GenerationConfig, ids_as_tuple
from minibiogpt.generation.protocols import LanguageModel
from minibiogpt.model import inputs
from minibiogpt.model.cache import KVCache

DEFAULT_NEW_TOKENS = 20


@dataclass(frozen=True)
class Prompt:
    """What a call of generate continues. The model computes P positions of it; P is T, except with ``embeds``.

    Attributes
    ----------
    ids : (B, T) int64; T is 0 if there are only embeddings.
    embeds : (B, P, D), which the model reads instead of ``ids``; None to read the ids.
    mask : (B, P) booleans, or None when nothing is padding.
    past : the cache of the first positions, of 1 or B rows, or None.
    head_mask : (L, H) or None.
    """

    ids: Array
    embeds: Array | None = None
    mask: Array | None = None
    past: KVCache | None = None
    head_mask: Array | None = None

    @property
    def positions(self) -> int:
        """The number of positions, P."""
        return self.ids.shape[1] if self.embeds is None else self.embeds.shape[1]


def read_prompt(
    model: LanguageModel,
    config: GenerationConfig,
    input_ids: Any,
    attention_mask: Any,
    inputs_embeds: Any,
    past_key_values: Any,
    cache_position: Any,
    head_mask: Any,
) -> Prompt:
    """Check the inputs of a call, and convert them to the model's backend."""
    backend, xp = model.backend, model.backend.xp
    embeds = None
    if inputs_embeds is not None:
        embeds = inputs.as_embeddings(inputs_embeds, model.config, backend, model.dtype)
    if embeds is not None and (input_ids is None or getattr(input_ids, "shape", None) == (embeds.shape[0], 0)):
        ids = xp.zeros((embeds.shape[0], 0), dtype="int64")
    else:
        ids = _read_ids(model, input_ids, config.bos_token_id)
    if embeds is not None and ids.shape[0] != embeds.shape[0]:
        must = "input_ids and inputs_embeds must have the same number of rows"
        raise InputError(must, f"{ids.shape[0]} and {embeds.shape[0]}", "pass one of them")
    P = ids.shape[1] if embeds is None else embeds.shape[1]
    mask = prompt_mask(attention_mask, ids, P, config.pad_token_id, ids_as_tuple(config.eos_token_id))
    past = None if past_key_values is None else _read_cache(model, past_key_values, ids.shape[0], P)
    if past is not None and embeds is not None and ids.shape[1]:
        must = "a prompt with past_key_values must be input_ids or inputs_embeds"
        raise InputError(must, "both", "pass one of them, for all positions")
    if past is not None and embeds is None and not config.use_cache:
        raise InputError("past_key_values needs the cache", "use_cache=False", "leave one of them out")
    _check_cache_position(cache_position, 0 if past is None else past.seq_length, P)
    return Prompt(ids, embeds, mask, past, inputs.as_head_mask(head_mask, model.config, backend, model.dtype))


def _read_ids(model: LanguageModel, input_ids: Any, bos: int | None) -> Array:
    """Return the prompt ids, (B, T), on the model's backend."""
    if input_ids is None:
        if bos is None:
            raise InputError("there must be a prompt, or a bos_token_id to start with", "neither", "pass input_ids")
        input_ids = [[bos]]
    must = "the prompt must be ids of shape (B, T)"
    if isinstance(input_ids, str) or (
        isinstance(input_ids, list | tuple) and any(isinstance(x, str) for x in input_ids)
    ):
        remedy = "tokenize first: enc = tokenizer(texts, padding=True, padding_side='left'), then generate(**enc)"
        raise InputError(must, "text", remedy)
    if isinstance(input_ids, Mapping):
        raise InputError(must, f"a {type(input_ids).__name__}", "write generate(**enc)")
    if isinstance(input_ids, list | tuple) and not input_ids:
        raise InputError(must, "an empty list", "pass one prompt or more, or None to start with bos_token_id")
    return inputs.as_integers("input_ids", input_ids, model.backend, 0, model.config.vocab_size)


def _read_cache(model: LanguageModel, past_key_values: Any, B: int, P: int) -> KVCache:
    """Check the cache of the first positions of a prompt of P positions. One row serves all B rows."""
    cache = past_key_values
    if hasattr(cache, "to_legacy_cache") and not isinstance(cache, KVCache):
        must = "past_key_values must be a KVCache, which a call returns and does not change"
        remedy = "leave it out: with return_dict_in_generate=True, generate returns its cache"
        raise InputError(must, f"transformers' {type(cache).__name__}", remedy)
    if not isinstance(cache, KVCache) and isinstance(cache, Iterable):
        cache = KVCache.from_legacy(list(cache), model.backend)
    rows = 1 if isinstance(cache, KVCache) and cache.batch_size == 1 else B
    past = inputs.as_cache(cache, model.config, rows, model.backend, model.dtype)
    assert past is not None
    if past.seq_length >= P:
        must = "the prompt must hold all ids, those of past_key_values too, and at least one more"
        found = f"{P} positions, and a cache of {past.seq_length}"
        raise InputError(must, found, "append the new ids to those that the cache was computed from")
    return past


def _check_cache_position(cache_position: Any, past: int, P: int) -> None:
    """Raise unless these are the positions that follow the cache, which are the only ones that generate computes."""
    if cache_position is None:
        return
    want = list(range(past, P))
    found = getattr(cache_position, "tolist", lambda: cache_position)()
    if found != want:
        raise InputError(f"cache_position must be {past} to {P - 1}", short_repr(found), "leave it out")


def check_token_ids(config: GenerationConfig, V: int) -> None:
    """Check that every token id in the options is below the vocabulary size V."""
    sequences = [*(config.bad_words_ids or ()), *(ids for ids, _ in _bias_pairs(config.sequence_bias))]
    ids_of_option = {
        name: list(ids_as_tuple(getattr(config, name)))
        for name in ("eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id")
    }
    ids_of_option |= {name: list(getattr(config, name) or ()) for name in ("suppress_tokens", "begin_suppress_tokens")}
    ids_of_option["bad_words_ids or sequence_bias"] = [i for ids in sequences for i in ids]
    for name, ids in ids_of_option.items():
        if too_large := [i for i in ids if i >= V]:
            raise InputError(
                f"{name} must be an id in [0, {V})", short_repr(too_large[0]), "use an id of the tokenizer"
            )


def _bias_pairs(bias: Any) -> list[Any]:
    return list(bias.items()) if isinstance(bias, dict) else list(bias or ())


def check_options(
    config: GenerationConfig, call_options: Collection[str], prompt: Prompt, new: int, V: int, streamer: Any
) -> None:
    """Check that the options are consistent with each other, the prompt and the model.

    A minimum length beyond the longest output is an error only if the call itself sets it, not if a config does.
    """
    B, max_length, num_return = prompt.ids.shape[0], prompt.ids.shape[1] + new, config.num_return_sequences
    if (config.min_length or 0) > max_length and "min_length" in call_options:
        must = f"min_length must be an integer in [0, {max_length}], the longest output"
        raise InputError(must, short_repr(config.min_length), "allow a longer output too")
    if (config.min_new_tokens or 0) > new and "min_new_tokens" in call_options:
        must = f"min_new_tokens must be at most the {new} new tokens that are possible"
        raise InputError(must, short_repr(config.min_new_tokens), "allow more new tokens")
    if config.num_beams > V:
        must = f"num_beams must be at most the size of the vocabulary, {V}"
        raise InputError(must, short_repr(config.num_beams), "5 is usual")
    if config.num_beams == 1 and num_return > 1 and not config.do_sample:
        remedy = "set do_sample=True, or num_beams to at least this number"
        raise InputError("num_return_sequences must be 1 in greedy decoding", short_repr(num_return), remedy)
    if 1 < config.num_beams < num_return:
        must = f"num_return_sequences must be at most num_beams, {config.num_beams}"
        raise InputError(must, short_repr(num_return), "use more beams")
    if config.scoring == "fairseq" and config.num_beams == 1:
        raise InputError("scoring 'fairseq' needs beam search", "num_beams 1", "set num_beams; Microsoft used 5")
    if config.scoring == "fairseq" and (prompt.embeds is not None or prompt.past is not None):
        must = "scoring 'fairseq' needs the logits of the whole prompt"
        raise InputError(must, "inputs_embeds or past_key_values", "pass only input_ids")
    if streamer is not None and (B > 1 or config.num_beams > 1 or num_return > 1):
        found = f"{B} rows, num_beams {config.num_beams}, num_return_sequences {num_return}"
        raise InputError("a streamer needs a batch of 1 without beams", found, "stream one text at a time")


def prompt_mask(attention_mask: Any, ids: Array, P: int, pad: int | None, eos: Sequence[int]) -> Array | None:
    """Return (B, P) booleans, or None when nothing is padding. Without a mask, pad ids mark the padding."""
    backend = backend_of(ids)
    B, T = ids.shape
    if attention_mask is None and T and T != P:
        must = "input_ids and inputs_embeds of different lengths need attention_mask, as long as inputs_embeds"
        raise InputError(must, f"{T} ids, {P} embeddings, and no mask", "pass attention_mask, or only inputs_embeds")
    if attention_mask is None and T and pad is not None and pad not in eos:
        attention_mask = ids != pad
        if not bool(attention_mask.any(axis=1).all()):
            raise InputError("each row must hold a real token", "a row of pads", "give every row a prompt")
    mask = inputs.as_mask(attention_mask, B, 0, P, backend)
    if mask is not None and not bool(mask[:, -1].all()):
        raise InputError(
            "a prompt must be padded on the left, because generation continues from the last position",
            "padding at the end of a row",
            "tokenize with padding_side='left'",
        )
    return mask


def without_embeddings_in_lengths(config: GenerationConfig, prompt: Prompt) -> GenerationConfig:
    """Return ``config`` with lengths that count ids only: ``max_length`` and ``min_length`` count embeddings too.

    That is so, as in transformers, where there are not as many ids as embeddings; max_length is then 20 by default.
    """
    P = prompt.positions
    if prompt.embeds is not None:  # the model reads them in the first step only, so later ones need the cache
        config = dataclasses.replace(config, use_cache=True)
    if prompt.ids.shape[1] == P:
        return config
    max_length = (config.max_length or DEFAULT_NEW_TOKENS) - P
    if config.max_new_tokens is None and max_length <= prompt.ids.shape[1]:
        must = "max_length counts inputs_embeds, and must exceed them"
        raise InputError(must, f"{config.max_length or DEFAULT_NEW_TOKENS} for {P} positions", "give max_new_tokens")
    return dataclasses.replace(config, max_length=max(max_length, 1), min_length=max((config.min_length or 0) - P, 0))


def resolve_max_new_tokens(N: int, prompt: Prompt, config: GenerationConfig) -> int:
    """Return the largest number of new tokens.

    The last new token is never an input of the model, so the prompt and the new tokens together may be N + 1 tokens.
    """
    max_new_tokens, max_length, T = config.max_new_tokens, config.max_length, prompt.ids.shape[1]
    real = prompt.positions if prompt.mask is None else int(prompt.mask.sum(axis=1).max())
    fits = N - real + 1
    if fits < 1:
        raise InputError(f"a prompt must have at most N = {N} tokens", str(real), "shorten it (truncation=True)")
    if max_new_tokens is None and max_length is None:
        return min(DEFAULT_NEW_TOKENS, fits)
    new = max_new_tokens if max_new_tokens is not None else (max_length or 0) - T
    if new < 1:
        raise InputError(
            "max_length includes the prompt and must exceed it",
            f"{short_repr(max_length)} for {T} tokens",
            "give max_new_tokens",
        )
    if new > fits:
        must = f"prompt and new tokens must fit into N = {N} positions (the last new token needs none)"
        raise InputError(
            must, f"{real} and {short_repr(new)}", f"request at most {fits} new tokens, or shorten the prompt"
        )
    return int(new)
