"""Build the list of logits processors from the options of a call, in transformers' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minibiogpt.generation import processors, sampling
from minibiogpt.generation.config import GenerationConfig, ids_as_tuple
from minibiogpt.generation.processors import LogitsProcessor


def logits_processors(
    config: GenerationConfig,
    prompt_length: int,
    new: int,
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None = None,
    user_processors: Sequence[LogitsProcessor] = (),
) -> list[LogitsProcessor]:
    """Return the logits processors that these options require, in transformers' order, without any that do nothing.

    Parameters
    ----------
    new : the largest number of new tokens. user_processors : the caller's, which come before those of sampling.
    """
    c, eos, max_length = config, ids_as_tuple(config.eos_token_id), prompt_length + new
    min_length = _min_length(c, prompt_length, max_length)
    chain: list[LogitsProcessor] = []
    if c.sequence_bias:
        pairs = c.sequence_bias.items() if isinstance(c.sequence_bias, dict) else c.sequence_bias
        chain.append(processors.SequenceBias({tuple(ids): float(bias) for ids, bias in pairs}))
    if c.repetition_penalty not in (None, 1.0):
        chain.append(processors.RepetitionPenalty(float(c.repetition_penalty or 1)))
    if c.no_repeat_ngram_size:
        chain.append(processors.NoRepeatNGram(int(c.no_repeat_ngram_size)))
    if c.bad_words_ids:
        chain.append(processors.bad_words(c.bad_words_ids, eos))
    if eos and min_length > prompt_length:
        chain.append(processors.MinLength(min_length, eos))
    if prefix_allowed_tokens_fn is not None:
        chain.append(processors.PrefixConstraint(prefix_allowed_tokens_fn, c.num_beams))
    if c.forced_bos_token_id is not None:
        chain.append(processors.ForcedFirst(c.forced_bos_token_id))
    if c.forced_eos_token_id is not None:
        chain.append(processors.ForcedEnd(max_length, ids_as_tuple(c.forced_eos_token_id)))
    if c.remove_invalid_values:
        chain.append(processors.remove_invalid_values)
    if c.exponential_decay_length_penalty:
        after, factor = c.exponential_decay_length_penalty
        chain.append(processors.ExponentialDecay(prompt_length + after, factor, eos))
    if c.suppress_tokens:
        chain.append(processors.Suppress(c.suppress_tokens))
    if c.begin_suppress_tokens:
        bos_is_forced = prompt_length <= 1 and c.forced_bos_token_id is not None
        chain.append(processors.Suppress(c.begin_suppress_tokens, prompt_length + bos_is_forced))
    if c.scoring == "fairseq":
        chain += [processors.Suppress(ids_as_tuple(c.pad_token_id)), processors.OnlyEnd(max_length, eos)]
    chain += list(user_processors)
    chain += _sampling_processors(c, len(eos) + 1 if eos and c.num_beams > 1 else 2 if c.num_beams > 1 else 1)
    return chain + ([processors.renormalize] if c.renormalize_logits else [])


def _min_length(c: GenerationConfig, prompt_length: int, max_length: int) -> int:
    """Return the number of tokens before an end token is allowed: from min_new_tokens if given, else min_length.

    With fairseq scoring it is one more, but an end token is always allowed as the last of ``max_length`` tokens.
    """
    length = c.min_length or 0 if c.min_new_tokens is None else prompt_length + c.min_new_tokens
    return min(length + 1, max_length - 1) if c.scoring == "fairseq" else length


def _sampling_processors(c: GenerationConfig, keep: int) -> list[LogitsProcessor]:
    """Return the processors that shape the distribution for sampling."""
    if not c.do_sample:
        return []
    chain: list[LogitsProcessor] = []
    if c.temperature not in (None, 1.0):
        chain.append(sampling.Temperature(float(c.temperature or 1)))
    if c.top_k:
        chain.append(sampling.TopK(int(c.top_k), keep))
    if c.top_p is not None and c.top_p < 1:
        chain.append(sampling.TopP(c.top_p, keep))
    if c.min_p is not None:
        chain.append(sampling.MinP(c.min_p, keep))
    if c.typical_p is not None and c.typical_p < 1:
        chain.append(sampling.TypicalP(c.typical_p, keep))
    if c.epsilon_cutoff:
        chain.append(sampling.EpsilonCutoff(c.epsilon_cutoff, keep))
    if c.eta_cutoff:
        chain.append(sampling.EtaCutoff(c.eta_cutoff, keep))
    return chain
