"""What greedy decoding, sampling and beam search share: the checked request, and the model with its cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.captured import MIN_STEPS_LEFT, CapturedDecodingStep
from minibiogpt.generation.config import GenerationConfig
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processors import LogitsProcessor
from minibiogpt.generation.prompt import Prompt
from minibiogpt.generation.protocols import LanguageModel, Streamer
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.generation.stopping import StoppingCriterion
from minibiogpt.model import inputs
from minibiogpt.model.cache import KVCache
from minibiogpt.model.ops import widened
from minibiogpt.trace import Tap


@dataclass
class GenerationRequest:
    """One call of generate: its options, resolved and checked, and the scores and logits it collects.

    Attributes
    ----------
    prompt : the ids, (B, T). source : the whole Prompt.
    pad_token_id : the id that fills a row after its end.
    scores, logits : of each step so far, if requested; else None.
    """

    source: Prompt
    config: GenerationConfig
    processors: Sequence[LogitsProcessor]
    stopping_criteria: Sequence[StoppingCriterion]
    max_new_tokens: int
    pad_token_id: int
    draws: RandomDraws
    streamer: Streamer | None
    progress_bar: Any
    scores: tuple[Array, ...] | None = field(default=None, init=False)
    logits: tuple[Array, ...] | None = field(default=None, init=False)

    @property
    def prompt(self) -> Array:
        return self.source.ids

    def record_logits(self, logits: Array) -> None:
        """Record the logits of one more step, if requested: a copy that no processor can modify."""
        if self.config.output_logits:
            self.logits = (*(self.logits or ()), logits.copy())
        self.progress_bar.update()

    def record_scores(self, scores: Array) -> Array:
        """Record the processed logits, if requested, and return them."""
        if self.config.output_scores:
            self.scores = (*(self.scores or ()), scores)
        return scores

    def stream(self, ids: Array) -> None:
        """Pass the newest ids to the streamer, if there is one."""
        if self.streamer is not None:
            self.streamer.put(backend_of(ids).to_numpy(ids))


class DecodingState:
    """The model, its KV cache and its attention mask while rows of ids grow.

    Attributes
    ----------
    step : the tap of the current step.
    hidden : the last hidden states of the newest forward pass.
    attentions, hidden_states : of each step so far, if requested; else None.
    """

    def __init__(self, model: LanguageModel, request: GenerationRequest, tap: Tap) -> None:
        xp, source, config = model.backend.xp, request.source, request.config
        B, T = source.ids.shape
        self.model, self.use_cache, self.mask = model, config.use_cache, None
        self.embeds, self.head_mask = source.embeds, source.head_mask
        self.tap, self.num_steps, self.prompt_length = tap, 0, source.positions
        self.positions_without_ids = source.positions - T  # of embeddings that have no ids
        self.max_length = source.positions + request.max_new_tokens
        if source.mask is not None:
            self.mask = xp.ones((B, self.max_length), dtype="int64")
            self.mask[:, : source.positions] = source.mask
        self.cache = _initial_cache(model, source, self.max_length) if self.use_cache else None
        self.needs_finite = not config.remove_invalid_values
        self.attentions: tuple | None = None
        self.hidden_states: tuple | None = None
        self.output_attentions = config.return_dict_in_generate and config.output_attentions
        self.output_hidden_states = config.return_dict_in_generate and config.output_hidden_states
        self.captured: CapturedDecodingStep | None = None

    def next_logits(self, ids: Array) -> Array:
        """Return the logits of the next token, (rows, V), after all ids so far.

        The head runs on the last position only. With a cache only the new positions are computed. float16 and bfloat16
        logits are widened to float32.
        """
        self.step, self.num_steps = self.tap.step(self.num_steps), self.num_steps + 1
        logits = self._run_captured(ids) if self._can_capture(ids) else self._forward(ids)
        if self.needs_finite and not bool(self.model.backend.xp.isfinite(logits).all()):
            found = f"NaN or infinity after {ids.shape[1]} tokens, computed in {self.model.dtype}"
            remedy = "load the model with dtype='float64'"
            raise InputError("logits must be finite to choose a token", found, remedy)
        return logits

    def _forward(self, ids: Array) -> Array:
        """Call the model on the ids that are not in the cache yet."""
        cached = 0 if self.cache is None else self.cache.seq_length
        S = ids.shape[1] + self.positions_without_ids
        embeds, self.embeds = self.embeds, None  # for the first step only
        output = self.model.biogpt(
            ids[:, cached - self.positions_without_ids :] if embeds is None else None,
            None if self.mask is None else self.mask[:, :S],
            inputs_embeds=None if embeds is None else embeds[:, cached:],
            head_mask=self.head_mask,
            past_key_values=self.cache,
            use_cache=self.use_cache,
            return_dict=True,
            output_attentions=self.output_attentions,
            output_hidden_states=self.output_hidden_states,
            tap=self.step,
        )
        if self.output_attentions:
            self.attentions = (*(self.attentions or ()), output.attentions)
        if self.output_hidden_states:
            self.hidden_states = (*(self.hidden_states or ()), output.hidden_states)
        self.cache, self.hidden = output.past_key_values, output.last_hidden_state
        self.step.describe_call("generate")
        return self.step("logits", self.head(self.hidden[:, -1]))  # (B, V)

    def _can_capture(self, ids: Array) -> bool:
        """Return whether this step can be captured and replayed: one new id per row, and nothing traced or edited."""
        cache = self.cache
        if cache is None or self.num_steps == 1:  # the prompt, even of one id: its rows may be repeated afterwards
            return False
        if self.tap.recorder is not None or self.output_attentions or self.output_hidden_states:
            return False
        if ids.shape[1] + self.positions_without_ids != cache.seq_length + 1:
            return False
        if self.captured is not None:
            return True
        model = self.model.biogpt
        supported = model.backend.can_capture(ids.shape[0], cache.capacity, model.config.head_size, model.dtype)
        steps_left = self.max_length - cache.seq_length
        return supported and model.attn_implementation != "eager" and steps_left > MIN_STEPS_LEFT

    def _run_captured(self, ids: Array) -> Array:
        """Run the captured step on the newest id of each row."""
        assert self.cache is not None
        if self.captured is None:
            self.captured = CapturedDecodingStep(self.model, self.cache, self.mask, self.head_mask)
        logits = self.captured(ids[:, -1:])
        self.cache = self.cache.extended(1)
        return logits

    def head(self, hidden: Array) -> Array:
        """Return the logits (rows, V) of hidden states (rows, D), at least float32."""
        logits = self.model.output_projection(hidden)
        return widened(logits)

    def record_tokens(self, tokens: Array) -> Array:
        """Pass the newest tokens, (rows,), to the trace; return them, or what an edit replaced them with."""
        recorded = self.step("tokens", tokens)
        if recorded is not tokens:
            inputs.as_integers("edited tokens", recorded[:, None], self.model.backend, 0, self.model.config.vocab_size)
        return recorded

    def reorder(self, rows: Array) -> None:
        """Reorder the cache: row i becomes row ``rows[i]``, which must belong to the same prompt."""
        if self.cache is not None and not bool((rows == self.model.backend.xp.arange(rows.shape[0])).all()):
            self.cache.exchange(rows, self.prompt_length)

    def repeat_rows(self, logits: Array, times: int) -> Array:
        """Repeat each row of the prompt ``times`` times, consecutively, in the cache, the mask and ``logits``."""
        if times == 1:
            return logits
        rows = self.model.backend.xp.repeat(self.model.backend.xp.arange(logits.shape[0]), times)
        self.cache = None if self.cache is None else self.cache.reorder(rows)
        self.mask = None if self.mask is None else self.mask[rows]
        self.attentions = _repeated(self.attentions, rows)
        self.hidden_states = _repeated(self.hidden_states, rows)
        return logits[rows]

    def output(
        self, request: GenerationRequest, sequences: Array, scores: Array | None = None, origins: Array | None = None
    ) -> GenerateOutput:
        """Return what generate returns, with the arrays of the steps that were requested."""
        cache = self.cache
        past = (
            cache
            if cache is None or not request.config.return_legacy_cache
            else tuple(cache[i] for i in range(len(cache)))
        )
        return GenerateOutput(
            sequences, scores, request.scores, request.logits, origins, self.attentions, self.hidden_states, past
        )


def _initial_cache(model: LanguageModel, source: Prompt, capacity: int) -> KVCache:
    """Return an empty cache, or a copy of the prompt's with its one row for all rows, that has this capacity."""
    B = source.ids.shape[0]
    if source.past is None:
        return KVCache.empty(model.config, B, capacity, model.backend, model.dtype)
    rows = slice(None) if source.past.batch_size == B else model.backend.xp.zeros((B,), dtype="int64")
    return source.past.with_room(capacity, rows)


def _repeated(steps: tuple | None, rows: Array) -> tuple | None:
    """Return the arrays of each step with their rows repeated."""
    return None if steps is None else tuple(tuple(x[rows] for x in step) for step in steps)
