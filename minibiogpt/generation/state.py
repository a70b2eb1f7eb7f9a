"""What both ways of decoding share: the request, and the model that is fed with ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.captured import WORTH, CapturedDecodingStep
from minibiogpt.generation.config import GenerationConfig
from minibiogpt.generation.processors import LogitsProcessor
from minibiogpt.generation.protocols import LanguageModel, Streamer
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.generation.stopping import StoppingCriterion
from minibiogpt.model import inputs
from minibiogpt.model.cache import KVCache
from minibiogpt.model.ops import widened
from minibiogpt.trace import Tap


@dataclass
class GenerationRequest:
    """One call of generate: what is asked for, settled and checked, and what it has to report.

    Attributes
    ----------
    prompt : (B, T) ids. mask : (B, T) booleans, or None when nothing is padding. new : how many new tokens at most.
    pad : the id that stands where a row has ended.
    scores, logits : of each step so far, if they were asked for.
    """

    prompt: Array
    mask: Array | None
    config: GenerationConfig
    processors: Sequence[LogitsProcessor]
    stops: Sequence[StoppingCriterion]
    new: int
    pad: int
    draw: RandomDraws
    streamer: Streamer | None
    bar: Any
    scores: tuple[Array, ...] | None = field(default=None, init=False)
    logits: tuple[Array, ...] | None = field(default=None, init=False)

    def record_logits(self, logits: Array) -> None:
        """One step more: its logits, a copy that no rule can change."""
        if self.config.output_logits:
            self.logits = (*(self.logits or ()), logits.copy())
        self.bar.update()

    def record_scores(self, scores: Array) -> Array:
        """What the rules made of them, which is handed back."""
        if self.config.output_scores:
            self.scores = (*(self.scores or ()), scores)
        return scores

    def stream(self, ids: Array) -> None:
        """Let the streamer know the first row's newest ids."""
        if self.streamer:
            self.streamer.put(backend_of(ids).to_numpy(ids[0]).tolist())


class DecodingState:
    """A model that is fed with growing rows of ids; it remembers how far it has read."""

    def __init__(self, model: LanguageModel, request: GenerationRequest, tap: Tap) -> None:
        xp, longest = model.backend.xp, request.prompt.shape[1] + request.new
        B, T = request.prompt.shape
        self.model, self.use_cache, self.mask = model, request.config.use_cache, None
        self.tap, self.steps, self.prompt_length = tap, 0, T
        if request.mask is not None:
            self.mask = xp.ones((B, longest), dtype="int64")
            self.mask[:, :T] = request.mask
        self.longest = longest
        self.cache = KVCache.empty(model.config, B, longest, model.backend, model.dtype) if self.use_cache else None
        self.recorded: CapturedDecodingStep | None = None

    def logits(self, ids: Array) -> Array:
        """(rows, S) to the logits after the last position, (rows, V): only there is the head asked.

        With a cache only the positions not yet seen are computed. Halves are widened to float32.
        """
        self.step, self.steps = self.tap.step(self.steps), self.steps + 1
        logits = self._again(ids) if self._can_record(ids) else self._read(ids)
        if not bool(self.model.backend.xp.isfinite(logits).all()):
            found = f"NaN or infinity after {ids.shape[1]} tokens, computed in {self.model.dtype}"
            remedy = "load the model with dtype='float64'"
            raise InputError("logits must be finite to choose a token by", found, remedy)
        return logits

    def _read(self, ids: Array) -> Array:
        """The model on what it has not seen."""
        seen = 0 if self.cache is None else self.cache.seq_length
        output = self.model.biogpt(
            ids[:, seen:],
            None if self.mask is None else self.mask[:, : ids.shape[1]],
            past_key_values=self.cache,
            use_cache=self.use_cache,
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,
            tap=self.step,
        )
        self.cache, self.hidden = output.past_key_values, output.last_hidden_state
        self.step.describe_call("generate")
        return self.step("logits", self.head(self.hidden[:, -1]))  # (B, V)

    def _can_record(self, ids: Array) -> bool:
        """Whether this step is one of many alike: one id a row, no recorder."""
        cache = self.cache
        if cache is None or not cache.seq_length:  # the prompt, be it one id: its rows may become several each
            return False
        if self.tap.recorder is not None or ids.shape[1] != cache.seq_length + 1:
            return False
        if self.recorded is not None:
            return True
        model = self.model.biogpt
        here = model.backend.can_capture(ids.shape[0], cache.capacity, model.config.head_size, model.dtype)
        return here and model.attn_implementation != "eager" and self.longest - cache.seq_length > WORTH

    def _again(self, ids: Array) -> Array:
        """The same step as before on one more id a row."""
        assert self.cache is not None
        if self.recorded is None:
            self.recorded = CapturedDecodingStep(self.model, self.cache, self.mask)
        logits = self.recorded(ids[:, -1:])
        self.cache = self.cache.extended(1)
        return logits

    def head(self, hidden: Array) -> Array:
        """(rows, D) to logits (rows, V)."""
        logits = self.model.output_projection(hidden)
        return widened(logits)

    def chosen(self, tokens: Array) -> Array:
        """The newest tokens, (rows,), as the trace gets them; an edit may put other ids in their place."""
        told = self.step("tokens", tokens)
        if told is not tokens:
            inputs.as_integers("edited tokens", told[:, None], self.model.backend, 0, self.model.config.vocab_size)
        return told

    def exchange(self, rows: Array) -> None:
        """From now on row i continues what was row ``rows[i]``, of the same prompt."""
        if self.cache is not None and not bool((rows == self.model.backend.xp.arange(rows.shape[0])).all()):
            self.cache.exchange(rows, self.prompt_length)

    def repeated(self, logits: Array, times: int) -> Array:
        """Each row of the prompt ``times`` times, one after the other, in the cache and in ``logits``."""
        if times == 1:
            return logits
        rows = self.model.backend.xp.repeat(self.model.backend.xp.arange(logits.shape[0]), times)
        self.cache = None if self.cache is None else self.cache.reorder(rows)
        self.mask = None if self.mask is None else self.mask[rows]
        return logits[rows]
