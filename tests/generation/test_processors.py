"""Each logits processor and their order against transformers 4.57, and the random draws."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.generation import logits_process as theirs

from minibiogpt.generation import (
    EpsilonCutoff,
    EtaCutoff,
    ExponentialDecay,
    ForcedEnd,
    ForcedFirst,
    GenerationConfig,
    MinLength,
    MinP,
    NoRepeatNGram,
    PrefixConstraint,
    RepetitionPenalty,
    SequenceBias,
    Suppress,
    Temperature,
    TopK,
    TopP,
    TypicalP,
    bad_words,
    logits_processors,
    renormalize,
)
from minibiogpt.generation.processors import apply
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.model.ops import softmax
from minibiogpt.trace import Tap
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.support.demo import PROMPTS, ours, reference, tokenizer

LOGITS = np.random.default_rng(0).normal(0, 3, (4, 61))
TIED = np.round(LOGITS)
IDS = np.zeros((4, 7), dtype=np.int64)


REPEATING = np.array([[5, 7, 5, 7, 5, 9, 7], [0, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 1, 2, 3], [9, 8, 7, 6, 5, 4, 3]])
BIAS = {(5,): 2.5, (9, 7): -3.0, (4, 1, 2, 3, 6): 1.0, (7, 7): float("-inf"), (5, 9, 7): 1.5}
BIAS |= {(7, 5, 7, 5, 9, 7, 3): 0.5, (5, 7, 5, 7, 5, 9, 7, 3): 4.0}  # as long as all ids, and one longer
ALLOWED = {0: [3], 1: [0, 60], 2: list(range(61)), 3: [8, 8]}


def allowed(row: int, ids: Any) -> list[int]:
    assert len(ids) == 7
    return ALLOWED[row]


PAIRS: list[tuple[Any, Any]] = [
    (Temperature(0.7), theirs.TemperatureLogitsWarper(0.7)),
    (TopK(5), theirs.TopKLogitsWarper(5)),
    (TopK(500), theirs.TopKLogitsWarper(500)),
    (TopK(2, keep=4), theirs.TopKLogitsWarper(2, min_tokens_to_keep=4)),
    (MinLength(8, [2, 5]), theirs.MinLengthLogitsProcessor(8, [2, 5], device="cpu")),
    (MinLength(7, [2, 5]), theirs.MinLengthLogitsProcessor(7, [2, 5], device="cpu")),
    (MinLength(8, [2]), theirs.MinNewTokensLengthLogitsProcessor(5, 3, 2, device="cpu")),
    (MinP(0.2), theirs.MinPLogitsWarper(0.2)),
    (MinP(1.0), theirs.MinPLogitsWarper(1.0)),
    (EpsilonCutoff(0.02), theirs.EpsilonLogitsWarper(0.02)),
    (EpsilonCutoff(0.9), theirs.EpsilonLogitsWarper(0.9)),
    (EpsilonCutoff(0.9, keep=4), theirs.EpsilonLogitsWarper(0.9, min_tokens_to_keep=4)),
    (EtaCutoff(0.01), theirs.EtaLogitsWarper(0.01)),
    (EtaCutoff(0.9), theirs.EtaLogitsWarper(0.9)),
    (EtaCutoff(0.9, keep=4), theirs.EtaLogitsWarper(0.9, min_tokens_to_keep=4)),
    (RepetitionPenalty(1.3), theirs.RepetitionPenaltyLogitsProcessor(1.3)),
    (RepetitionPenalty(0.5), theirs.RepetitionPenaltyLogitsProcessor(0.5)),
    *[(NoRepeatNGram(n), theirs.NoRepeatNGramLogitsProcessor(n)) for n in (1, 2, 3, 7, 8, 9)],
    (SequenceBias(BIAS), theirs.SequenceBiasLogitsProcessor(BIAS)),
    (
        bad_words([[2], [5], [9, 7], [7, 5, 9]], [2]),
        theirs.NoBadWordsLogitsProcessor([[2], [5], [9, 7], [7, 5, 9]], eos_token_id=2),
    ),
    (PrefixConstraint(allowed), theirs.PrefixConstrainedLogitsProcessor(allowed, 1)),
    (PrefixConstraint(allowed, 2), theirs.PrefixConstrainedLogitsProcessor(allowed, 2)),
    (ForcedFirst(9), theirs.ForcedBOSTokenLogitsProcessor(9)),
    (ForcedEnd(8, [2, 9]), theirs.ForcedEOSTokenLogitsProcessor(8, [2, 9])),
    (ForcedEnd(9, [2, 9]), theirs.ForcedEOSTokenLogitsProcessor(9, [2, 9])),
    (ExponentialDecay(3, 1.2, [2, 5]), theirs.ExponentialDecayLengthPenalty((1, 1.2), [2, 5], 2)),
    (ExponentialDecay(7, 1.2, [2, 5]), theirs.ExponentialDecayLengthPenalty((1, 1.2), [2, 5], 6)),
    (Suppress([4, 5]), theirs.SuppressTokensLogitsProcessor([4, 5])),
    (Suppress([4, 5], 7), theirs.SuppressTokensAtBeginLogitsProcessor([4, 5], 7)),
    (Suppress([4, 5], 6), theirs.SuppressTokensAtBeginLogitsProcessor([4, 5], 6)),
]


def name_of(processor: Any) -> str:
    """Its repr without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(processor))[:50]


TOLERANCE = {"rtol": 1e-12, "atol": 0.0}  # a few roundings, for values that are computed rather than selected


@pytest.mark.parametrize("logits", [LOGITS, TIED], ids=["random", "ties"])
@pytest.mark.parametrize(("mine", "other"), PAIRS, ids=[name_of(mine) for mine, _ in PAIRS])
def test_each_processor_is_transformers(logits: np.ndarray, mine: Any, other: Any) -> None:
    before = logits.copy()
    want = other(torch.tensor(REPEATING), torch.tensor(logits)).numpy()
    got = mine(REPEATING, logits)
    assert np.array_equal(np.isfinite(got), np.isfinite(want)), "other tokens are kept"
    assert got.dtype == logits.dtype
    assert mine(REPEATING, logits.astype(np.float32)).dtype == np.float32, "dtype in is dtype out"
    np.testing.assert_allclose(got, want, **TOLERANCE)
    assert np.array_equal(logits, before), "a processor modified its input"


def test_a_prompt_of_one_token_is_given_its_first() -> None:
    one = np.array([[2]] * 4)
    want = theirs.ForcedBOSTokenLogitsProcessor(9)(torch.tensor(one), torch.tensor(LOGITS)).numpy()
    assert np.array_equal(ForcedFirst(9)(one, LOGITS), want)
    assert np.isfinite(want).sum() == 4


def test_min_p_keeps_as_many_as_keep() -> None:
    """Without ties: among equal logits transformers' unstable sort drops some."""
    want = theirs.MinPLogitsWarper(1.0, min_tokens_to_keep=4)(torch.tensor(IDS), torch.tensor(LOGITS)).numpy()
    assert np.array_equal(MinP(1.0, keep=4)(IDS, LOGITS), want)
    assert (np.isfinite(want).sum(axis=-1) == 4).all()


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.9, 0.999])
def test_typical_p_is_transformers(p: float, keep: int) -> None:
    hidden = LOGITS.copy()
    hidden[:, ::7] = -np.inf
    for logits in (LOGITS, hidden):
        want = theirs.TypicalLogitsWarper(p, min_tokens_to_keep=keep)(torch.tensor(IDS), torch.tensor(logits)).numpy()
        assert np.array_equal(TypicalP(p, keep)(IDS, logits), want)
        assert (np.isfinite(want).sum(axis=-1) >= keep).all()


def test_renormalised_logits_are_log_probabilities() -> None:
    want = theirs.LogitNormalization()(torch.tensor(IDS), torch.tensor(LOGITS)).numpy()
    np.testing.assert_allclose(renormalize(IDS, LOGITS), want, **TOLERANCE)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9, 0.999])
def test_top_p_is_transformers(p: float) -> None:
    want = theirs.TopPLogitsWarper(p)(torch.tensor(IDS), torch.tensor(LOGITS)).numpy()
    got = TopP(p)(IDS, LOGITS)
    kept = theirs.TopPLogitsWarper(p, min_tokens_to_keep=9)(torch.tensor(IDS), torch.tensor(LOGITS)).numpy()
    assert np.array_equal(TopP(p, keep=9)(IDS, LOGITS), kept)
    assert np.array_equal(got, want)
    assert np.isfinite(got).any(axis=-1).all()
    tied = TopP(p)(IDS, TIED)  # transformers' unstable sort determines how many of the equal tokens stay, not which
    others = theirs.TopPLogitsWarper(p)(torch.tensor(IDS), torch.tensor(TIED)).numpy()
    assert np.array_equal(np.sort(tied, axis=-1), np.sort(others, axis=-1))


def test_a_token_exactly_at_a_border_is_kept_or_dropped_as_in_transformers() -> None:
    half = np.log([[0.5, 0.25, 0.25]])
    assert softmax(half).tolist() == [[0.5, 0.25, 0.25]]
    assert np.array_equal(theirs.MinPLogitsWarper(0.5)(None, torch.tensor(half)).numpy(), half)
    assert np.array_equal(MinP(0.5)(IDS, half), half), "exactly as probable as the threshold"
    even = np.zeros((1, 4))
    for p, kept in ((0.5, 2), (0.75, 3)):
        assert int(theirs.TopPLogitsWarper(p)(None, torch.tensor(even)).isfinite().sum()) == kept
        assert np.isfinite(TopP(p)(IDS, even)).sum() == kept, "just enough to reach p"
    eighths = np.log([[0.5, 0.25, 0.125, 0.125]])
    assert softmax(eighths)[0, :2].tolist() == [0.5, 0.25]
    for p, kept in ((0.25, [1]), (0.75, [0, 1])):
        want = theirs.TypicalLogitsWarper(p)(None, torch.tensor(eighths)).numpy()
        assert np.array_equal(TypicalP(p)(IDS, eighths), want)
        assert np.flatnonzero(np.isfinite(want)).tolist() == kept


def test_an_end_that_is_hidden_stays_hidden_however_late() -> None:
    """transformers 4.57 makes it NaN."""
    hidden = LOGITS.copy()
    hidden[:, 2] = -np.inf
    got = ExponentialDecay(3, 1.2, [2, 5])(REPEATING, hidden)
    assert (got[:, 2] == -np.inf).all()
    assert np.array_equal(got[:, 5], ExponentialDecay(3, 1.2, [2, 5])(REPEATING, LOGITS)[:, 5])


def test_the_whole_processed_distribution_on_the_demo_model() -> None:
    ids = tokenizer()("Patients with")["input_ids"]
    logits = ours("float64")(ids).logits[:, -1]
    chain = [theirs.TemperatureLogitsWarper(1.3), theirs.TopKLogitsWarper(30), theirs.TopPLogitsWarper(0.8)]
    want = torch.tensor(logits)
    for process in chain:
        want = process(torch.tensor(ids), want)
    got = logits
    for mine in (Temperature(1.3), TopK(30), TopP(0.8)):
        got = mine(ids, got)
    kept = np.isfinite(got)
    assert np.array_equal(kept, np.isfinite(want.numpy()))
    assert 1 < kept.sum() < 30
    assert np.abs(got[kept] - want.numpy()[kept]).max() <= LANE_A * np.abs(got[kept]).max()


def chi_square(draws: np.ndarray, p: np.ndarray) -> float:
    """Pearson's statistic of the counts against n p, over the tokens that can be drawn."""
    possible = p > 0
    counts = np.bincount(draws, minlength=p.size)
    assert counts[~possible].sum() == 0, "a token of probability 0 was drawn"
    expected = draws.size * p[possible]
    return float(((counts[possible] - expected) ** 2 / expected).sum())


def test_the_draw_follows_the_distribution() -> None:
    """Chi-square with 7 degrees of freedom: 24.3 is exceeded with probability 0.001."""
    p = np.array([0.3, 0.0, 0.05, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.tile(np.log(p), (20_000, 1))
    draws = RandomDraws(seed=1).sample(logits)
    assert chi_square(draws, p) < 24.3
    wrong = np.array([0.28, 0.0, 0.07, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.0])
    assert chi_square(draws, wrong) > 24.3, "the test would not detect another distribution"


def test_extreme_uniforms_never_draw_an_impossible_token(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.array([[-np.inf, 0.0, -np.inf, 0.3, -np.inf]] * 2)
    draws = RandomDraws(seed=0)

    class Edges:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.array([[0.0], [math.nextafter(1.0, 0.0)]])

    draws.rng = Edges()  # type: ignore[assignment]
    assert draws.sample(logits).tolist() == [1, 3]
    short = np.random.default_rng(0).normal(0, 3, (400, 2, 61))
    short[..., [0, 60]] = -np.inf
    assert (np.cumsum(softmax(short), axis=-1)[..., -1] < math.nextafter(1.0, 0.0)).any(), "no sum is below 1"
    for logits in short:
        assert draws.sample(logits).tolist() == [1, 59]


def test_a_uniform_of_zero_draws_what_can_be_drawn_first() -> None:
    draws = RandomDraws(seed=0)

    class Zero:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.zeros(shape)

    draws.rng = Zero()  # type: ignore[assignment]
    assert draws.sample_without_replacement(np.array([[-np.inf, 0.0, -np.inf, 0.3, -np.inf]]), 3).tolist() == [
        [3, 1, 0]
    ]


def test_a_draw_is_computed_in_float64_whatever_the_logits_are() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (50, 42384)).astype(np.float32)
    assert np.array_equal(RandomDraws(seed=2).sample(logits), RandomDraws(seed=2).sample(logits.astype(np.float64)))


OPTIONS: list[dict[str, Any]] = [
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.6},
    {"do_sample": True, "top_k": 0, "top_p": 0.7},
    {"do_sample": True, "top_k": 7, "top_p": 0.4, "temperature": 1.7},
    {"do_sample": True, "min_length": 40, "temperature": 3.0},
    {"do_sample": True, "top_k": 0, "top_p": 0.9, "temperature": 4.0},
    {"do_sample": True, "top_k": 30, "top_p": 0.9, "min_p": 0.2, "temperature": 4.0},
    {"do_sample": True, "top_k": 0, "top_p": 0.95, "min_p": 0.1, "typical_p": 0.6, "temperature": 3.0},
    {"do_sample": True, "temperature": None, "top_k": None, "min_p": 0.1, "typical_p": 0.8},
    {"do_sample": True, "top_k": 0, "epsilon_cutoff": 3e-3, "eta_cutoff": 2e-3, "num_beams": 3},
    {"do_sample": True, "top_k": 1, "top_p": 0.1, "num_beams": 2},
    {"do_sample": True, "top_k": 1, "num_beams": 2, "eos_token_id": None},
    {"temperature": 0.6, "top_k": 3},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "bad_words_ids": [[7], [5, 9], [2]]},
    {"sequence_bias": [[[2], 9.0], [[26], -9.0]], "repetition_penalty": 1.5},
    {"sequence_bias": [[[5, 9], -2.5], [[11], 3.0]], "min_new_tokens": 5, "renormalize_logits": True},
    {"suppress_tokens": [4, 5], "begin_suppress_tokens": [9], "forced_bos_token_id": 12, "min_length": 2},
    {"forced_eos_token_id": 2, "exponential_decay_length_penalty": (1, 1.4), "renormalize_logits": True},
    {"forced_eos_token_id": [2, 9], "eos_token_id": [2, 9], "min_new_tokens": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ", ".join(options))
def test_the_processors_are_those_that_transformers_generate_builds(options: dict[str, Any]) -> None:
    """Compare their number, suppressed tokens and probabilities; prompts of 1 to 12 tokens, 1 or 20 new tokens."""
    model, options = reference("float64"), {"eos_token_id": 2, "pad_token_id": 1} | options
    for prompt in ["", *PROMPTS[:6]]:
        ids = tokenizer()(prompt)["input_ids"]
        T = ids.shape[1]
        for new in (1, 20):
            config = transformers.GenerationConfig(max_length=T + new, **options)
            if config.min_new_tokens:  # as transformers' generate sets it
                config.min_length = config.min_new_tokens + T
            model._prepare_special_tokens(config, True, "cpu")
            chain = model._get_logits_processor(config, input_ids_seq_length=T, device="cpu")
            processors = logits_processors(GenerationConfig(**options), T, new)
            merged = bool(config.min_new_tokens)  # transformers' MinLength and MinNewTokensLength are one class here
            omitted = 0 if options.get("min_length", T) > T else bool(options.get("min_length"))  # has no effect
            assert len(processors) == len(chain) - merged - omitted, (processors, chain)
            logits = ours("float64")(ids).logits[:, -1]
            for so_far in (ids, np.append(ids, [[12]], axis=1)):  # before the first new token, and before the second
                got, want = apply(processors, so_far, logits, Tap()), chain(torch.tensor(so_far), torch.tensor(logits))
                assert np.array_equal(np.isfinite(got), np.isfinite(want.numpy())), "other tokens are kept"
                assert_close("processed", softmax(got), torch.softmax(want, dim=-1).numpy(), LANE_A)


def test_a_sum_that_grows_where_nothing_is_added_draws_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with parallel sums on a device; here the growth is large enough to be drawn."""
    exact = np.cumsum
    monkeypatch.setattr(np, "cumsum", lambda x, axis: exact(x, axis=axis) + np.array([0.0, 0.1, 0.0, 0.1]))
    draws = RandomDraws(seed=0).sample(np.tile([0.0, -np.inf, 0.0, -np.inf], (500, 1)))
    assert set(draws.tolist()) == {0, 2}
