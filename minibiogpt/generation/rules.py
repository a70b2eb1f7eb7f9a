"""The rules that the options of a call ask for, in transformers' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minibiogpt.generation import processors, sampling
from minibiogpt.generation.config import GenerationConfig, listed_ids
from minibiogpt.generation.processors import LogitsProcessor


def logits_processors(
    config: GenerationConfig,
    prompt_length: int,
    new: int,
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None = None,
    own: Sequence[LogitsProcessor] = (),
) -> list[LogitsProcessor]:
    """The rules that these options ask for, in transformers' order; those that change nothing are left out."""
    c, ends, longest = config, listed_ids(config.eos_token_id), prompt_length + new
    least = _least(c, prompt_length, longest)
    found: list[LogitsProcessor] = []
    if c.sequence_bias:
        pairs = c.sequence_bias.items() if isinstance(c.sequence_bias, dict) else c.sequence_bias
        found.append(processors.SequenceBias({tuple(ids): float(bias) for ids, bias in pairs}))
    if c.repetition_penalty not in (None, 1.0):
        found.append(processors.RepetitionPenalty(float(c.repetition_penalty or 1)))
    if c.no_repeat_ngram_size:
        found.append(processors.NoRepeatNGram(int(c.no_repeat_ngram_size)))
    if c.bad_words_ids:
        found.append(processors.bad_words(c.bad_words_ids, ends))
    if ends and least > prompt_length:
        found.append(processors.MinLength(least, ends))
    if prefix_allowed_tokens_fn is not None:
        found.append(processors.PrefixConstraint(prefix_allowed_tokens_fn, c.num_beams))
    if c.forced_bos_token_id is not None:
        found.append(processors.ForcedFirst(c.forced_bos_token_id))
    if c.forced_eos_token_id is not None:
        found.append(processors.ForcedEnd(longest, listed_ids(c.forced_eos_token_id)))
    if c.exponential_decay_length_penalty:
        after, factor = c.exponential_decay_length_penalty
        found.append(processors.ExponentialDecay(prompt_length + after, factor, ends))
    if c.suppress_tokens:
        found.append(processors.Suppress(c.suppress_tokens))
    if c.begin_suppress_tokens:
        late = prompt_length == 1 and c.forced_bos_token_id is not None
        found.append(processors.Suppress(c.begin_suppress_tokens, prompt_length + late))
    if c.scoring == "fairseq":
        found += [processors.Suppress(listed_ids(c.pad_token_id)), processors.OnlyEnd(longest, ends)]
    found += list(own)
    found += _of_sampling(c, len(ends) + 1 if ends and c.num_beams > 1 else 2 if c.num_beams > 1 else 1)
    return found + ([processors.renormalize] if c.renormalize_logits else [])


def _least(c: GenerationConfig, prompt_length: int, longest: int) -> int:
    """How many tokens come before an end: min_new_tokens says so where it is given, or else min_length.

    In fairseq one more than that, and the end that closes the longest text is always open.
    """
    least = c.min_length if c.min_new_tokens is None else prompt_length + c.min_new_tokens
    return min(least + 1, longest - 1) if c.scoring == "fairseq" else least


def _of_sampling(c: GenerationConfig, keep: int) -> list[LogitsProcessor]:
    """The rules that shape what is drawn from."""
    if not c.do_sample:
        return []
    found: list[LogitsProcessor] = []
    if c.temperature not in (None, 1.0):
        found.append(sampling.Temperature(float(c.temperature or 1)))
    if c.top_k:
        found.append(sampling.TopK(int(c.top_k), keep))
    if c.top_p is not None and c.top_p < 1:
        found.append(sampling.TopP(c.top_p, keep))
    if c.min_p is not None:
        found.append(sampling.MinP(c.min_p, keep))
    if c.typical_p is not None and c.typical_p < 1:
        found.append(sampling.TypicalP(c.typical_p, keep))
    if c.epsilon_cutoff:
        found.append(sampling.EpsilonCutoff(c.epsilon_cutoff, keep))
    if c.eta_cutoff:
        found.append(sampling.EtaCutoff(c.eta_cutoff, keep))
    return found
