"""Checks of the options of generate against the model and the prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.config import GenerationConfig, ids_as_tuple
from minibiogpt.model import inputs

DEFAULT_NEW_TOKENS = 20


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
            raise InputError(f"{name} must be an id in [0, {V})", str(too_large[0]), "use an id of the tokenizer")


def _bias_pairs(bias: Any) -> list[Any]:
    return list(bias.items()) if isinstance(bias, dict) else list(bias or ())


def check_options(
    config: GenerationConfig, call_options: Collection[str], prompt: Array, new: int, V: int, streamer: Any
) -> None:
    """Check that the options are consistent with each other, the prompt and the model.

    A minimum length beyond the longest output is an error only if the call itself sets it, not if a config does.
    """
    max_length, num_return = prompt.shape[1] + new, config.num_return_sequences
    if config.min_length > max_length and "min_length" in call_options:
        must = f"min_length must be an integer in [0, {max_length}], the longest output"
        raise InputError(must, str(config.min_length), "allow a longer output too")
    if (config.min_new_tokens or 0) > new and "min_new_tokens" in call_options:
        must = f"min_new_tokens must be at most the {new} new tokens that are possible"
        raise InputError(must, str(config.min_new_tokens), "allow more new tokens")
    if config.num_beams > V:
        must = f"num_beams must be at most the size of the vocabulary, {V}"
        raise InputError(must, str(config.num_beams), "5 is usual")
    if config.num_beams == 1 and num_return > 1 and not config.do_sample:
        remedy = "set do_sample=True, or num_beams to at least this number"
        raise InputError("num_return_sequences must be 1 in greedy decoding", str(num_return), remedy)
    if 1 < config.num_beams < num_return:
        must = f"num_return_sequences must be at most num_beams, {config.num_beams}"
        raise InputError(must, str(num_return), "use more beams")
    if config.scoring == "fairseq" and config.num_beams == 1:
        raise InputError("scoring 'fairseq' needs beam search", "num_beams 1", "set num_beams; Microsoft used 5")
    if streamer is not None and (prompt.shape[0] > 1 or config.num_beams > 1 or num_return > 1):
        found = f"{prompt.shape[0]} rows, num_beams {config.num_beams}, num_return_sequences {num_return}"
        raise InputError("a streamer needs a batch of 1 without beams", found, "stream one text at a time")


def prompt_mask(attention_mask: Any, prompt: Array, pad: int | None, eos: Sequence[int]) -> Array | None:
    """Return (B, T) booleans, or None when nothing is padding. Without a mask, pad ids mark the padding."""
    backend = backend_of(prompt)
    B, T = prompt.shape
    if attention_mask is None and pad is not None and pad not in eos:
        attention_mask = prompt != pad
        if not bool(attention_mask.any(axis=1).all()):
            raise InputError("each row must hold a real token", "a row of pads", "give every row a prompt")
    mask = inputs.as_mask(attention_mask, B, 0, T, backend)
    if mask is not None and not bool(mask[:, -1].all()):
        raise InputError(
            "a prompt must be padded on the left, because generation continues from the last position",
            "padding at the end of a row",
            "tokenize with padding_side='left'",
        )
    return mask


def resolve_max_new_tokens(N: int, mask: Array | None, T: int, config: GenerationConfig) -> int:
    """Return the largest number of new tokens.

    The last new token is never an input of the model, so the prompt and the new tokens together may be N + 1 tokens.
    """
    max_new_tokens, max_length = config.max_new_tokens, config.max_length
    real = T if mask is None else int(mask.sum(axis=1).max())
    fits = N - real + 1
    if fits < 1:
        raise InputError(f"a prompt must have at most N = {N} tokens", str(real), "shorten it (truncation=True)")
    if max_new_tokens is None and max_length is None:
        return min(DEFAULT_NEW_TOKENS, fits)
    new = max_new_tokens if max_new_tokens is not None else (max_length or 0) - T
    if new < 1:
        raise InputError(
            "max_length includes the prompt and must exceed it", f"{max_length} for {T} tokens", "give max_new_tokens"
        )
    if new > fits:
        must = f"prompt and new tokens must fit into N = {N} positions (the last new token needs none)"
        raise InputError(must, f"{real} and {new}", f"request at most {fits} new tokens, or shorten the prompt")
    return int(new)
