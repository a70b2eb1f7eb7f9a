"""The decoding loop: one token a step, greedy or sampled."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from minibiogpt import inputs
from minibiogpt.backend import Array, backend_of
from minibiogpt.cache import KVCache
from minibiogpt.errors import InputError
from minibiogpt.generation.processors import LogitsProcessor, MinLength, Temperature, TopK, TopP, apply
from minibiogpt.ops import softmax

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForCausalLM

DEFAULT_NEW_TOKENS = 20
LONG_RUN = 50  # new tokens from which a progress bar is worth its line
TEMPERATURES = (1e-6, 1e6)  # beyond these, logits in float32 may overflow, or all become equal


class Streamer(Protocol):
    """Somebody who is told the ids of one row as they come: first the prompt's, then one by one."""

    def put(self, ids: list[int]) -> None: ...

    def end(self) -> None: ...


def generate(
    model: BioGptForCausalLM,
    input_ids: Any = None,
    *,
    attention_mask: Any = None,
    max_new_tokens: int | None = None,
    max_length: int | None = None,
    min_length: int = 0,
    do_sample: bool = False,
    num_beams: int = 1,
    temperature: float = 1.0,
    top_k: int | None = 50,
    top_p: float | None = 1.0,
    seed: int | None = 0,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    use_cache: bool = True,
    streamer: Streamer | None = None,
    progress: bool | None = None,
) -> Array:
    """Continue each row of ``input_ids``.

    Parameters
    ----------
    input_ids : (B, T) integers; rows of unequal length are padded on the **left**.
    attention_mask : (B, T); by default what is not padding, as in transformers.
    max_new_tokens : how many at most; 20 by default (or what fits into N). max_length counts the prompt too.
    min_length : no end token before so many tokens, the prompt with its ``</s>`` included.
    do_sample : draw from the distribution, after temperature, top_k (50 by default, None or 0 for all) and top_p,
        in this order; else take the most probable token, of equal ones the first.
    seed : of the draws, which are made on the host: a seed gives the same draws on every backend. None: a fresh one.
    eos_token_id, pad_token_id : default from the config; a row that has ended is filled with pads.
    use_cache : whether each position is computed once (True) or anew at each step; the ids are the same.
    streamer : is told the ids of a single row as they come. progress : a bar on stderr; None: on long runs.

    Returns
    -------
    (B, T + new) int64, the prompt included, on the model's backend.

    Raises
    ------
    InputError
        If an option cannot be, the prompt is empty or padded on the right, or more is asked for than N positions.

    Source: GenerationMixin.generate in transformers 4.57 (greedy and sampling).
    """
    config = model.config
    if num_beams != 1:
        raise InputError("num_beams must be 1: this version has no beam search", repr(num_beams), "leave it out")
    prompt = inputs.as_integers("input_ids", input_ids, model.backend, 0, config.vocab_size)
    B, T = prompt.shape
    pad = _token("pad_token_id", pad_token_id, config.pad_token_id, config.vocab_size)
    ends = _end_tokens(config.eos_token_id if eos_token_id is None else eos_token_id, config.vocab_size)
    mask = _prompt_mask(attention_mask, prompt, pad, ends)
    new = _room(config.max_position_embeddings, mask, T, max_new_tokens, max_length)
    processors = _processors(T + new, ends, min_length, do_sample, temperature, top_k, top_p)
    draw = _Draw(seed)
    if streamer is not None and B != 1:
        raise InputError("a streamer takes a batch of 1", f"{B} rows", "stream one text at a time")
    filler = next(iter(ends), 0) if pad is None else pad  # as in transformers: without a pad, the end token
    loop = _Loop(model, prompt, mask, new, ends, filler, use_cache)
    return loop.run(processors, draw if do_sample else _greedy, streamer, _progress_bar(progress, new, streamer))


class _Loop:
    """The state of one generation: the ids so far, the mask, the cache, and which rows have ended."""

    def __init__(
        self,
        model: BioGptForCausalLM,
        prompt: Array,
        mask: Array | None,
        new: int,
        ends: Sequence[int],
        pad: int,
        use_cache: bool,
    ) -> None:
        xp = model.backend.xp
        B, T = prompt.shape
        self.model, self.ends, self.pad, self.use_cache = model, ends, pad, use_cache
        self.length, self.longest = T, T + new
        self.ids = xp.full((B, T + new), pad, dtype="int64")
        self.ids[:, :T] = prompt
        self.mask = None
        if mask is not None:
            self.mask = xp.ones((B, T + new), dtype="int64")
            self.mask[:, :T] = mask
        self.ended = xp.zeros((B,), dtype=bool)
        self.cache: KVCache | None = None
        if use_cache:
            self.cache = KVCache.empty(model.config, B, T + new, model.backend, model.dtype)

    def run(self, processors: Sequence[LogitsProcessor], choose: Any, streamer: Streamer | None, bar: Any) -> Array:
        """Step until every row has ended or is as long as it may be."""
        if streamer:
            streamer.put(self._host(0, self.length))
        try:
            while self.length < self.longest:
                ended = self.step(processors, choose)
                if bar is not None:
                    bar.update()
                if streamer:
                    streamer.put(self._host(self.length - 1, self.length))
                if ended:
                    break
        finally:
            if bar is not None:
                bar.close()
            if streamer:
                streamer.end()
        return self.ids[:, : self.length]

    def step(self, processors: Sequence[LogitsProcessor], choose: Any) -> bool:
        """One more token in every row; whether all rows have ended."""
        xp = self.model.backend.xp
        ids = self.ids[:, : self.length]
        logits = apply(processors, ids, self.next_logits())  # (B, V)
        tokens = xp.where(self.ended, self.pad, choose(logits))  # (B)
        self.ids[:, self.length] = tokens
        self.length += 1
        for end in self.ends:
            self.ended = self.ended | (tokens == end)
        return bool(self.ended.all())

    def next_logits(self) -> Array:
        """The logits after the last position, (B, V): only there is the head asked. float16 is widened to float32."""
        seen = 0 if self.cache is None else self.cache.seq_length
        output = self.model.biogpt(
            self.ids[:, seen : self.length],
            None if self.mask is None else self.mask[:, : self.length],
            past_key_values=self.cache,
            use_cache=self.use_cache,
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,
        )
        self.cache = output.past_key_values
        logits = self.model.output_projection(output.last_hidden_state[:, -1])  # (B, V)
        return logits.astype("float32") if logits.dtype == "float16" else logits

    def _host(self, start: int, stop: int) -> list[int]:
        return self.model.backend.to_numpy(self.ids[0, start:stop]).tolist()


def _greedy(logits: Array) -> Array:
    """The index of the largest logit, of equal ones the first: (B, V) to (B,)."""
    return backend_of(logits).xp.argmax(logits, axis=-1)


class _Draw:
    """Draws from softmax(logits) by inverting the distribution function at one uniform number a row.

    The token is the first whose cumulated probability exceeds u times the whole, among those that can be drawn at all:
    a device that sums in parallel may round differently where nothing is added, and must not draw a token there.
    """

    def __init__(self, seed: int | None) -> None:
        if seed is not None and not (_is_whole(seed) and seed >= 0):
            raise InputError("seed must be None or a whole number, 0 or more", repr(seed), "choose another seed")
        self.rng = np.random.default_rng(seed)

    def __call__(self, logits: Array) -> Array:
        """(B, V) to (B,). u < 1, so that u times the largest sum is below it, in floating point too."""
        backend = backend_of(logits)
        xp = backend.xp
        p = softmax(logits.astype("float64"))  # (B, V)
        reached = xp.where(p > 0, xp.cumsum(p, axis=-1), 0.0)  # (B, V)
        uniform = backend.asarray(self.rng.random((logits.shape[0], 1)))  # (B, 1)
        return xp.argmax(reached > uniform * reached.max(axis=-1, keepdims=True), axis=-1)


def _token(name: str, given: Any, default: int | None, V: int) -> int | None:
    token = default if given is None else given
    if token is not None and not (_is_whole(token) and 0 <= token < V):
        raise InputError(f"{name} must be an id in [0, {V})", repr(token), "take the tokenizer's own")
    return None if token is None else int(token)


def _end_tokens(given: Any, V: int) -> tuple[int, ...]:
    tokens = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    return tuple(_token("eos_token_id", token, None, V) or 0 for token in tokens)


def _prompt_mask(attention_mask: Any, prompt: Array, pad: int | None, ends: Sequence[int]) -> Array | None:
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


def _room(N: int, mask: Array | None, T: int, max_new_tokens: int | None, max_length: int | None) -> int:
    """How many new tokens; the last is never fed, so N real positions give room for one more token."""
    for name, value in (("max_new_tokens", max_new_tokens), ("max_length", max_length)):
        if value is not None and not (_is_whole(value) and value >= 1):
            raise InputError(f"{name} must be a whole number, 1 or more", repr(value), f"correct {name}")
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


def _processors(
    longest: int,
    ends: Sequence[int],
    min_length: int,
    do_sample: bool,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> list[LogitsProcessor]:
    """The rules in transformers' order; those that change nothing are left out."""
    fits = _is_whole(min_length) and 0 <= min_length <= longest
    _check("min_length", min_length, fits, f"a whole number in [0, {longest}], the longest output")
    _check("temperature", temperature, _is_real(temperature) and 0 < temperature < math.inf, "a finite number above 0")
    lowest, highest = TEMPERATURES
    _check("temperature", temperature, lowest <= temperature <= highest, f"a number in [{lowest:g}, {highest:g}]")
    _check("top_k", top_k, top_k is None or (_is_whole(top_k) and top_k >= 0), "a whole number, 1 or more")
    _check("top_p", top_p, top_p is None or (_is_real(top_p) and 0 < top_p <= 1), "a number in (0, 1]")
    rules: list[LogitsProcessor] = [MinLength(min_length, ends)] if min_length else []
    if do_sample:
        rules += [Temperature(temperature)] if temperature != 1 else []
        rules += [TopK(int(top_k))] if top_k else []
        rules += [TopP(top_p)] if top_p is not None and top_p < 1 else []
    return rules


def _check(name: str, value: Any, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError(f"{name} must be {rule}", repr(value), f"correct {name}")


def _is_whole(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _progress_bar(progress: bool | None, new: int, streamer: Streamer | None) -> Any:
    terminal = sys.stderr is not None and sys.stderr.isatty()
    wanted = terminal and new > LONG_RUN and streamer is None if progress is None else progress
    if not wanted:
        return None
    from tqdm import tqdm

    return tqdm(total=new, unit="token", file=sys.stderr)
