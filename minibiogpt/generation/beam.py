"""Beam search: several hypotheses for each row, one forward pass a step for all of them.

A step adds to each hypothesis' score the log-probability of every token, and takes the best 2 num_beams of all
num_beams V candidates (more with several end tokens): so many that num_beams of them go on even if all others end.
Equal scores: the earlier hypothesis first, then the smaller id; PyTorch's ``topk`` promises no order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.generation.config import listed_ids
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processors import apply
from minibiogpt.generation.state import DecodingState, GenerationRequest
from minibiogpt.generation.stopping import any_of
from minibiogpt.model.ops import log_softmax, top_k

DEAD = -1e9  # added to a score that must not be taken while there is another; as in transformers


@dataclass
class Hypotheses:
    """Some hypotheses for each row of the prompt, letters: B rows, K hypotheses each.

    Attributes
    ----------
    ids : (B, K, longest), the prompt included, pads where nothing is yet.
    scores : (B, K) log-probability in nats: the sum while a hypothesis runs, divided by its length when it has ended.
    origins : (B, K, new) which row of the batch each new token was chosen in; -1 where there is none.
    ended : (B, K) booleans.
    """

    ids: Array
    scores: Array
    origins: Array
    ended: Array

    def taken(self, places: Array) -> Hypotheses:
        """Of each row the hypotheses at ``places``, (B, K')."""
        take = backend_of(self.ids).xp.take_along_axis
        wide = places[:, :, None]
        return Hypotheses(
            take(self.ids, wide, axis=1),
            take(self.scores, places, axis=1),
            take(self.origins, wide, axis=1),
            take(self.ended, places, axis=1),
        )

    def joined(self, other: Hypotheses) -> Hypotheses:
        """Those of both, these first."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Hypotheses(*(backend_of(a).xp.concatenate((a, b), axis=1) for a, b in pairs))


class Beams:
    """The state of one search: the hypotheses that run, and the best that have ended.

    Parameters
    ----------
    first : (B, 2) what each row's prompt adds to the score, and to the length that divides it.
    """

    def __init__(self, request: GenerationRequest, first: Array) -> None:
        self.xp = backend_of(request.prompt).xp
        B, T = request.prompt.shape
        self.config, self.first, self.length = request.config, first, T
        self.K, self.T, self.longest = request.config.num_beams, T, T + request.new
        ids = self.xp.full((B, self.K, self.longest), request.pad, dtype="int64")
        ids[:, :, :T] = request.prompt[:, None]
        origins = self.xp.full((B, self.K, request.new), -1, dtype="int64")
        ended = self.xp.zeros((B, self.K), dtype=bool)
        none = self.xp.full((B, self.K), DEAD, dtype=first.dtype)
        scores = none.copy()
        scores[:, 0] = first[:, 0]  # all others are its doubles
        self.running = Hypotheses(ids, scores, origins, ended)
        self.done = Hypotheses(ids.copy(), none, origins.copy(), ended.copy())
        self.improvable = self.xp.ones((B, 1), dtype=bool)

    def rows(self, hypotheses: Hypotheses) -> Array:
        """The ids so far, one hypothesis a row."""
        return hypotheses.ids.reshape(-1, self.longest)[:, : self.length]

    def candidates(self, log_p: Array, places: Array) -> Hypotheses:
        """The continuations at ``places`` (B, C) of the K V that each row has; log_p (B, K V) are their scores."""
        xp, step = self.xp, self.length - self.T
        V = log_p.shape[1] // self.K
        parents = places // V
        found = self.running.taken(parents)
        found.ids[:, :, self.length] = places % V
        found.origins[:, :, step] = parents + xp.arange(parents.shape[0])[:, None] * self.K
        found.scores = xp.take_along_axis(log_p, places, axis=1)
        return found

    def step(self, candidates: Hypotheses, hits: Array) -> Array:
        """Part the candidates into those that go on and those that end; hits (B, C) says which do.

        Returns which rows the running hypotheses come from: what the rows of the cache are to be exchanged for.
        """
        step = self.length - self.T
        self.length += 1
        going = dataclasses.replace(candidates, scores=self._lowered(candidates.scores, hits))
        self.running = going.taken(top_k(going.scores, self.K)[1])
        candidates.ended = self._may_end(hits)
        candidates.scores = self._lowered(candidates.scores / self._divisor(self.length), ~candidates.ended)
        if self.config.scoring == "transformers":
            if self.config.early_stopping is True:
                candidates.scores = self._lowered(candidates.scores, self.done.ended.all(axis=1, keepdims=True))
            candidates.scores = self._lowered(candidates.scores, ~self.improvable)
        both = self.done.joined(candidates)
        self.done = both.taken(top_k(both.scores, self.K)[1])
        return self.running.origins[:, :, step].reshape(-1)

    def _lowered(self, scores: Array, where: Array) -> Array:
        return self.xp.where(where, scores + DEAD, scores)

    def _may_end(self, hits: Array) -> Array:
        """Only a candidate among the best K may end; fairseq takes them in order until K hypotheses have ended."""
        hits = hits & (self.xp.arange(hits.shape[1]) < self.K)
        if self.config.scoring == "transformers":
            return hits
        free = self.K - self.done.ended.sum(axis=1, keepdims=True)
        return hits & (self.xp.cumsum(hits.astype("int64"), axis=1) <= free)

    def _divisor(self, length: Any) -> Array:
        """length ** length_penalty of what the score counts, (B, 1): new tokens, and in fairseq the prompt's too."""
        counted = self.first[:, 1:] + (length - self.T)
        return counted**self.config.length_penalty

    def finished(self, hits: Array) -> bool:
        """Whether no row can come by a better hypothesis."""
        config = self.config
        if config.scoring == "fairseq":
            return bool(self.done.ended.all()) or self.length == self.longest
        best_length = self.length
        if config.early_stopping == "never" and config.length_penalty > 0:
            best_length = self.longest
        best = self.running.scores[:, :1] / self._divisor(best_length)
        worst = self.done.scores.min(axis=1, keepdims=True)  # near DEAD while fewer than K have ended
        self.improvable = self.improvable & (best > worst)
        full = config.early_stopping is True and bool(self.done.ended.all())
        return not bool(self.improvable.any()) or full or bool(hits.all())

    def returned(self) -> tuple[Array, Array, Array]:
        """The best of each row: ids, scores and origins, cut to the longest of them."""
        n = self.config.num_return_sequences
        origins = self.done.origins[:, :n].reshape(-1, self.longest - self.T)
        new = int((origins >= 0).sum(axis=1).max())
        ids = self.done.ids[:, :n].reshape(-1, self.longest)[:, : self.T + new]
        return ids, self.done.scores[:, :n].reshape(-1), origins[:, :new]


def beam_search(state: DecodingState, request: GenerationRequest) -> GenerateOutput:
    """The best hypotheses of each row; (B, T) gives (B num_return_sequences, T + new) at most."""
    config = request.config
    B, K = request.prompt.shape[0], config.num_beams
    wanted = max(2, 1 + len(listed_ids(config.eos_token_id))) * K
    logits = state.logits(request.prompt)
    beams = Beams(request, _of_the_prompt(state, request, logits.dtype))
    logits = state.repeated(logits, K)
    while True:
        request.record_logits(logits)
        rows = beams.rows(beams.running)
        log_p = request.record_scores(apply(request.processors, rows, log_softmax(logits), state.step))
        total = (log_p.reshape(B, K, -1) + beams.running.scores[:, :, None]).reshape(B, -1)
        C = min(wanted, total.shape[1])
        places = request.draw.several(total, C) if config.do_sample else top_k(total, C)[1]
        candidates = beams.candidates(total, places)
        hits = any_of(request.stops, candidates.ids.reshape(B * C, -1)[:, : beams.length + 1], request.scores)
        hits = (hits | (beams.length + 1 == beams.longest)).reshape(B, C)
        origins = beams.step(candidates, hits)
        state.step.note("origins", origins)
        state.step.note("tokens", beams.rows(beams.running)[:, -1])
        if beams.finished(hits):
            break
        state.exchange(origins)
        logits = state.logits(beams.rows(beams.running))
    ids, scores, origins = beams.returned()
    return GenerateOutput(
        ids, scores if config.output_scores else None, request.scores, request.logits, origins, state.cache
    )


def _of_the_prompt(state: DecodingState, request: GenerationRequest, dtype: Any) -> Array:
    """(B, 2) what each row's prompt adds to score and length: nothing; in fairseq, all but its first real token."""
    xp = backend_of(request.prompt).xp
    B, T = request.prompt.shape
    first = xp.zeros((B, 2), dtype=dtype)
    if request.config.scoring == "transformers":
        return first
    for t in range(T - 1):
        log_p = log_softmax(state.head(state.hidden[:, t]))  # (B, V)
        told = xp.take_along_axis(log_p, request.prompt[:, t + 1 : t + 2], axis=-1)[:, 0]  # (B)
        real = xp.ones((B,), dtype=bool) if request.mask is None else request.mask[:, t]
        first[:, 0] += xp.where(real, told, 0.0).astype(dtype)
        first[:, 1] += real.astype(dtype)
    return first
