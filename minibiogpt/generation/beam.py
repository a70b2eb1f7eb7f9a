"""Beam search: several hypotheses for each row, with one forward pass per step for all of them.

Each step adds the log-probability of every token to each hypothesis' score and keeps the best
``2 * num_beams`` of the ``num_beams * V`` candidates (more with several end tokens), so that num_beams of them continue
even if all others end.
Ties go to the earlier hypothesis, then to the smaller id. PyTorch's ``topk`` does not guarantee an order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.generation.config import ids_as_tuple
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processors import apply
from minibiogpt.generation.state import DecodingState, GenerationRequest
from minibiogpt.generation.stopping import any_criterion_met
from minibiogpt.model.ops import log_softmax, top_k

EXCLUDED = -1e9  # added to a score that must lose against every other one, as in transformers


@dataclass
class Hypotheses:
    """K hypotheses for each of the B rows of the prompt.

    Attributes
    ----------
    ids : (B, K, max_length), prompt included, pads after the newest token.
    scores : (B, K) log-probability in nats: the sum while a hypothesis runs, divided by the length penalty at its end.
    origins : (B, K, new) the row of the batch in which each new token was chosen; -1 after the newest token.
    ended : (B, K) booleans.
    """

    ids: Array
    scores: Array
    origins: Array
    ended: Array

    def select(self, indices: Array) -> Hypotheses:
        """Return the hypotheses at ``indices``, (B, K'), of each row."""
        take = backend_of(self.ids).xp.take_along_axis
        wide = indices[:, :, None]
        return Hypotheses(
            take(self.ids, wide, axis=1),
            take(self.scores, indices, axis=1),
            take(self.origins, wide, axis=1),
            take(self.ended, indices, axis=1),
        )

    def concatenate(self, other: Hypotheses) -> Hypotheses:
        """Return these hypotheses of each row, followed by those of ``other``."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Hypotheses(*(backend_of(a).xp.concatenate((a, b), axis=1) for a, b in pairs))


class Beams:
    """The state of one beam search: the running hypotheses, and the best finished ones.

    Parameters
    ----------
    prompt_terms : (B, 2) what each row's prompt adds to the score, and to the length in the length penalty.
    """

    def __init__(self, request: GenerationRequest, prompt_terms: Array) -> None:
        self.xp = backend_of(request.prompt).xp
        B, T = request.prompt.shape
        self.config, self.prompt_terms, self.length = request.config, prompt_terms, T
        self.K, self.T, self.max_length = request.config.num_beams, T, T + request.max_new_tokens
        ids = self.xp.full((B, self.K, self.max_length), request.pad_token_id, dtype="int64")
        ids[:, :, :T] = request.prompt[:, None]
        origins = self.xp.full((B, self.K, request.max_new_tokens), -1, dtype="int64")
        ended = self.xp.zeros((B, self.K), dtype=bool)
        excluded = self.xp.full((B, self.K), EXCLUDED, dtype=prompt_terms.dtype)
        scores = excluded.copy()
        scores[:, 0] = prompt_terms[:, 0]  # the other beams start as copies of the first, so they are excluded
        self.running = Hypotheses(ids, scores, origins, ended)
        self.finished = Hypotheses(ids.copy(), excluded, origins.copy(), ended.copy())
        self.can_improve = self.xp.ones((B, 1), dtype=bool)

    def running_ids(self) -> Array:
        """Return the ids of the running hypotheses so far, (B * K, length)."""
        return self.running.ids.reshape(-1, self.max_length)[:, : self.length]

    def candidates(self, scores: Array, indices: Array) -> Hypotheses:
        """Return the continuations at ``indices``, (B, C), of the K * V that each row has; scores are (B, K * V)."""
        xp, step = self.xp, self.length - self.T
        V = scores.shape[1] // self.K
        parents = indices // V
        found = self.running.select(parents)
        found.ids[:, :, self.length] = indices % V
        found.origins[:, :, step] = parents + xp.arange(parents.shape[0])[:, None] * self.K
        found.scores = xp.take_along_axis(scores, indices, axis=1)
        return found

    def step(self, candidates: Hypotheses, hits: Array) -> Array:
        """Split the candidates into hypotheses that keep running and those that end.

        Parameters
        ----------
        hits : (B, C) whether a candidate meets a stopping criterion.

        Returns
        -------
        (B * K,) the row that each running hypothesis continues; the rows of the cache must be reordered the same way.
        """
        step = self.length - self.T
        self.length += 1
        continuing = dataclasses.replace(candidates, scores=self._exclude(candidates.scores, hits))
        self.running = continuing.select(top_k(continuing.scores, self.K)[1])
        candidates.ended = self._may_end(hits)
        candidates.scores = self._exclude(candidates.scores / self._length_penalty(self.length), ~candidates.ended)
        if self.config.scoring == "transformers":
            if self.config.early_stopping is True:
                candidates.scores = self._exclude(candidates.scores, self.finished.ended.all(axis=1, keepdims=True))
            candidates.scores = self._exclude(candidates.scores, ~self.can_improve)
        both = self.finished.concatenate(candidates)
        self.finished = both.select(top_k(both.scores, self.K)[1])
        return self.running.origins[:, :, step].reshape(-1)

    def _exclude(self, scores: Array, where: Array) -> Array:
        return self.xp.where(where, scores + EXCLUDED, scores)

    def _may_end(self, hits: Array) -> Array:
        """Return which candidates end: hits among the best K; with fairseq scoring, only until K hypotheses ended."""
        hits = hits & (self.xp.arange(hits.shape[1]) < self.K)
        if self.config.scoring == "transformers":
            return hits
        free = self.K - self.finished.ended.sum(axis=1, keepdims=True)
        return hits & (self.xp.cumsum(hits.astype("int64"), axis=1) <= free)

    def _length_penalty(self, length: Any) -> Array:
        """Return what a score is divided by, (B, 1): (number of scored tokens) ** length_penalty.

        The scored tokens are the new ones; with fairseq scoring, those of the prompt too.
        """
        scored = self.prompt_terms[:, 1:] + (length - self.T)
        return scored**self.config.length_penalty

    def is_over(self, hits: Array) -> bool:
        """Return whether no row can get a better hypothesis."""
        config = self.config
        if config.scoring == "fairseq":
            return bool(self.finished.ended.all()) or self.length == self.max_length
        best_length = self.length
        if config.early_stopping == "never" and config.length_penalty > 0:
            best_length = self.max_length
        best = self.running.scores[:, :1] / self._length_penalty(best_length)
        worst = self.finished.scores.min(axis=1, keepdims=True)  # near EXCLUDED while fewer than K have ended
        self.can_improve = self.can_improve & (best > worst)
        full = config.early_stopping is True and bool(self.finished.ended.all())
        return not bool(self.can_improve.any()) or full or bool(hits.all())

    def best(self) -> tuple[Array, Array, Array]:
        """Return ids, scores and origins of the best hypotheses of each row, cut to the longest of them."""
        n = self.config.num_return_sequences
        origins = self.finished.origins[:, :n].reshape(-1, self.max_length - self.T)
        new = int((origins >= 0).sum(axis=1).max())
        ids = self.finished.ids[:, :n].reshape(-1, self.max_length)[:, : self.T + new]
        return ids, self.finished.scores[:, :n].reshape(-1), origins[:, :new]


def beam_search(state: DecodingState, request: GenerationRequest) -> GenerateOutput:
    """Return the best hypotheses of each row: (B, T) gives at most (B * num_return_sequences, T + new)."""
    config = request.config
    B, K = request.prompt.shape[0], config.num_beams
    num_candidates = max(2, 1 + len(ids_as_tuple(config.eos_token_id))) * K
    logits = state.next_logits(request.prompt)
    beams = Beams(request, _prompt_terms(state, request, logits.dtype))
    logits = state.repeat_rows(logits, K)
    while True:
        request.record_logits(logits)
        log_p = apply(request.processors, beams.running_ids(), log_softmax(logits), state.step)
        log_p = request.record_scores(log_p)
        total = (log_p.reshape(B, K, -1) + beams.running.scores[:, :, None]).reshape(B, -1)
        C = min(num_candidates, total.shape[1])
        indices = request.draws.sample_without_replacement(total, C) if config.do_sample else top_k(total, C)[1]
        candidates = beams.candidates(total, indices)
        candidate_ids = candidates.ids.reshape(B * C, -1)[:, : beams.length + 1]
        hits = any_criterion_met(request.stopping_criteria, candidate_ids, request.scores)
        hits = (hits | (beams.length + 1 == beams.max_length)).reshape(B, C)
        origins = beams.step(candidates, hits)
        state.step.record("origins", origins)
        state.step.record("tokens", beams.running_ids()[:, -1])
        state.reorder(origins)  # after the last step too: the cache that is returned belongs to the running hypotheses
        if beams.is_over(hits):
            break
        logits = state.next_logits(beams.running_ids())
    ids, scores, origins = beams.best()
    return state.output(request, ids, scores if config.output_scores else None, origins)


def _prompt_terms(state: DecodingState, request: GenerationRequest, dtype: Any) -> Array:
    """Return (B, 2) what each row's prompt adds to score and length.

    That is nothing, except with fairseq scoring: there every real token of the prompt but the first one counts.
    """
    xp = backend_of(request.prompt).xp
    B, T = request.prompt.shape
    terms = xp.zeros((B, 2), dtype=dtype)
    if request.config.scoring == "transformers":
        return terms
    for t in range(T - 1):
        log_p = log_softmax(state.head(state.hidden[:, t]))  # (B, V)
        target_log_p = xp.take_along_axis(log_p, request.prompt[:, t + 1 : t + 2], axis=-1)[:, 0]  # (B)
        real = xp.ones((B,), dtype=bool) if request.source.mask is None else request.source.mask[:, t]
        terms[:, 0] += xp.where(real, target_log_p, 0.0).astype(dtype)
        terms[:, 1] += real.astype(dtype)
    return terms
