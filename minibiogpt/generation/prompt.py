"""What a call of generate is asked for, checked against the model and the prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.config import GenerationConfig, listed_ids
from minibiogpt.model import inputs

DEFAULT_NEW_TOKENS = 20


def check_against_model(config: GenerationConfig, V: int) -> None:
    """Every id that an option names must be one of the model's."""
    words = [list(ids) for ids in config.bad_words_ids or ()] + [list(ids) for ids, _ in _pairs(config.sequence_bias)]
    named = {
        name: list(listed_ids(getattr(config, name)))
        for name in ("eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id")
    }
    named |= {name: list(getattr(config, name) or ()) for name in ("suppress_tokens", "begin_suppress_tokens")}
    named["bad_words_ids or sequence_bias"] = [i for ids in words for i in ids]
    for name, ids in named.items():
        if beyond := [i for i in ids if i >= V]:
            raise InputError(f"{name} must be an id in [0, {V})", str(beyond[0]), "take the tokenizer's own")


def _pairs(bias: Any) -> list[Any]:
    return list(bias.items()) if isinstance(bias, dict) else list(bias or ())


def check_numbers(
    config: GenerationConfig, said: Collection[str], prompt: Array, new: int, V: int, streamer: Any
) -> None:
    """What the options must be together; a least length that only a file asks for gives way to the call's longest."""
    longest, several = prompt.shape[1] + new, config.num_return_sequences
    if config.min_length > longest and "min_length" in said:
        must = f"min_length must be a whole number in [0, {longest}], the longest output"
        raise InputError(must, str(config.min_length), "ask for a longer output too")
    if (config.min_new_tokens or 0) > new and "min_new_tokens" in said:
        must = f"min_new_tokens must be at most the {new} new tokens that there can be"
        raise InputError(must, str(config.min_new_tokens), "ask for more new tokens")
    if config.num_beams > V:
        must = f"num_beams must be at most the vocabulary's size, {V}"
        raise InputError(must, str(config.num_beams), "5 is usual")
    if config.num_beams == 1 and several > 1 and not config.do_sample:
        remedy = "set do_sample=True, or num_beams to as many"
        raise InputError("num_return_sequences must be 1 in greedy decoding, which gives one", str(several), remedy)
    if 1 < config.num_beams < several:
        must = f"num_return_sequences must be at most num_beams, {config.num_beams}"
        raise InputError(must, str(several), "keep more beams")
    if config.scoring == "fairseq" and config.num_beams == 1:
        raise InputError(
            "scoring 'fairseq' is a way of beam search", "num_beams 1", "set num_beams, 5 as Microsoft did"
        )
    if streamer is not None and (prompt.shape[0] > 1 or config.num_beams > 1 or several > 1):
        found = f"{prompt.shape[0]} rows, num_beams {config.num_beams}, num_return_sequences {several}"
        raise InputError("a streamer takes a batch of 1 without beams", found, "stream one text at a time")


def prompt_mask(attention_mask: Any, prompt: Array, pad: int | None, ends: Sequence[int]) -> Array | None:
    """(B, T) booleans, or None when nothing is padding; taken from the pads when no mask is given."""
    backend = backend_of(prompt)
    B, T = prompt.shape
    if attention_mask is None and pad is not None and pad not in ends:
        attention_mask = prompt != pad
        if not bool(attention_mask.any(axis=1).all()):
            raise InputError("each row must hold a real token", "a row of pads", "give each row a prompt")
    mask = inputs.as_mask(attention_mask, B, 0, T, backend)
    if mask is not None and not bool(mask[:, -1].all()):
        raise InputError(
            "a prompt must be padded on the left, for new tokens follow its last one",
            "padding at the end of a row",
            "tokenize with padding_side='left'",
        )
    return mask


def new_tokens_that_fit(N: int, mask: Array | None, T: int, config: GenerationConfig) -> int:
    """How many new tokens; the last is never fed, so N real positions give new_tokens_that_fit for one more token."""
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
            "max_length counts the prompt and must exceed it", f"{max_length} for {T} tokens", "give max_new_tokens"
        )
    if new > fits:
        must = f"prompt and new tokens must fit into N = {N} positions (the last new token takes none)"
        raise InputError(must, f"{real} and {new}", f"ask for at most {fits} new tokens, or shorten the prompt")
    return int(new)
