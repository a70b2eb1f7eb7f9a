"""Beam search against transformers 4.57 (ids, origins and scores for many combinations of options) and fairseq."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError
from minibiogpt.generation import GenerateOutput
from minibiogpt.model.ops import log_softmax
from tests.budgets import BEAM_STEP, BEAM_SUM
from tests.compare import assert_close
from tests.reference import build, save
from tests.support import demo
from tests.support.configs import CONFIGS

Batch = dict[str, np.ndarray]


@cache
def random_pair(folder: Path) -> tuple[BioGptForCausalLM, Any]:
    """A model with flat distributions and probable ends, so that hypotheses of many lengths compete."""
    theirs = build(**CONFIGS["gelu"])
    with torch.no_grad():
        norm, end = theirs.biogpt.layer_norm, theirs.output_projection.weight[2]
        norm.weight.mul_(0.4)
        norm.bias.mul_(0.4).add_(1.5 * end / (end @ end))
    return BioGptForCausalLM.from_pretrained(save(theirs, folder), dtype="float64"), theirs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], tuple[Any, Any]]]:
    folder = tmp_path_factory.mktemp("random")
    return {
        "demo": lambda: (demo.ours("float64"), demo.reference("float64")),
        "random": lambda: random_pair(folder),
    }


def prompts(model: str) -> Batch:
    """Ten prompts of different lengths, padded on the left."""
    if model == "demo":
        return demo.tokenizer()(demo.PROMPTS[:10], padding=True, padding_side="left")
    rng = np.random.default_rng(3)
    ids = rng.integers(3, 67, (10, 8))
    mask = np.arange(8) >= rng.integers(0, 6, (10, 1))
    return {"input_ids": np.where(mask, ids, 1), "attention_mask": mask.astype(np.int64)}


def allowed_tokens(row: int, ids: Any) -> list[int]:
    """A constraint that depends on the row and on the last token."""
    return [token for token in range(2, 67) if (token + int(ids[-1]) + row) % 3]


GRID = itertools.product((2, 3, 5), (1.0, 0.0, 2.0, -1.0), (False, True, "never"))
COMBINATIONS: list[dict[str, Any]] = [
    {"num_beams": beams, "length_penalty": penalty, "early_stopping": early, "num_return_sequences": min(beams, 2)}
    for beams, penalty, early in GRID
]
COMBINATIONS += [
    {"num_beams": 4, "repetition_penalty": 1.3},
    {"num_beams": 4, "no_repeat_ngram_size": 2, "max_new_tokens": 20, "min_new_tokens": 15},
    {"num_beams": 3, "bad_words_ids": [[26], [5, 9], [11]], "num_return_sequences": 3},
    {"num_beams": 3, "min_length": 15, "num_return_sequences": 2},
    {"num_beams": 3, "eos_token_id": [2, 26, 9], "num_return_sequences": 3},
    {"num_beams": 3, "eos_token_id": [2, 26, 9], "early_stopping": True, "length_penalty": 2.0},
    {"num_beams": 3, "forced_eos_token_id": 2, "max_new_tokens": 6},
    {"num_beams": 2, "prefix_allowed_tokens_fn": allowed_tokens},
    {"num_beams": 2, "sequence_bias": {(26,): 3.0, (7, 9): -4.0}, "length_penalty": 0.7},
    {"num_beams": 6, "num_return_sequences": 6, "suppress_tokens": [7, 12], "renormalize_logits": True},
    {"num_beams": 4, "exponential_decay_length_penalty": (4, 1.3), "early_stopping": "never"},
    {"num_beams": 2, "use_cache": False, "num_return_sequences": 2},
    {"num_beams": 3, "max_new_tokens": 1, "num_return_sequences": 3},
    {"num_beams": 3, "length_penalty": 5.0, "early_stopping": "never", "max_new_tokens": 20},
    {"num_beams": 6, "length_penalty": -1.0, "early_stopping": "never", "num_return_sequences": 6},
    {
        "num_beams": 3, "eos_token_id": [2, 26, 9], "sequence_bias": {(2,): 4.0, (26,): 4.0, (9,): 4.0},
        "early_stopping": "never", "num_return_sequences": 3,
    },
]  # fmt: skip


def options_id(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {getattr(value, '__name__', value)}" for name, value in options.items())


def both(pair: tuple[Any, Any], batch: Batch, options: dict[str, Any]) -> tuple[GenerateOutput, Any]:
    model, theirs = pair
    options = {"max_new_tokens": 10, "return_dict_in_generate": True, "output_scores": True} | options
    got = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], **options)
    tensors = {name: torch.tensor(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        want = theirs.generate(**tensors, do_sample=False, **options)
    return got, want


def sum_drift(got: GenerateOutput, want: Any, penalty: float) -> float:
    """The difference of the summed log-probabilities, relative to the largest log-probability of a step.

    It is not relative to the sum, which is near 0 for a confident model but has the float32 rounding of its terms.
    """
    lengths = (got.beam_indices >= 0).sum(axis=1)
    difference = np.abs(got.sequences_scores - want.sequences_scores.double().numpy()) * lengths**penalty
    return float(difference.max() / max(np.abs(x.numpy()[np.isfinite(x.numpy())]).max() for x in want.scores))


def assert_same(got: GenerateOutput, want: Any, options: dict[str, Any]) -> None:
    assert np.array_equal(got.sequences, want.sequences.numpy())
    assert np.array_equal(got.beam_indices, want.beam_indices.numpy())
    assert sum_drift(got, want, options.get("length_penalty", 1.0)) <= BEAM_SUM
    assert len(got.scores) == len(want.scores)
    for step, (mine, other) in enumerate(zip(got.scores, want.scores, strict=True)):
        finite = np.isfinite(other.numpy())
        assert np.array_equal(np.isfinite(mine), finite), f"step {step}: other tokens are suppressed"
        assert_close(f"scores[{step}]", np.float32(mine[finite]), other.numpy()[finite], BEAM_STEP)


@pytest.mark.parametrize("model", ["demo", "random"])
@pytest.mark.parametrize("options", COMBINATIONS, ids=options_id)
def test_ids_origins_and_scores_are_transformers(pairs: Any, options: dict[str, Any], model: str) -> None:
    assert len(COMBINATIONS) >= 40
    got, want = both(pairs[model](), prompts(model), options)
    assert_same(got, want, options)


def test_the_combinations_differ_in_what_they_find(pairs: Any) -> None:
    """Otherwise they would compare the same search over and over."""
    model, _ = pairs["random"]()
    batch = prompts("random")
    found = set()
    for options in COMBINATIONS:
        options = {"max_new_tokens": 10} | options | {"num_return_sequences": 1}
        found.add(model.generate(batch["input_ids"], **options).tobytes())
    assert len(found) > len(COMBINATIONS) / 2


@pytest.mark.parametrize("options", COMBINATIONS[::5], ids=options_id)
def test_float32_finds_the_same(options: dict[str, Any]) -> None:
    got, want = both((demo.ours("float32"), demo.reference("float32")), prompts("demo"), options)
    assert_same(got, want, options)


def test_a_row_in_a_batch_is_the_row_alone(pairs: Any) -> None:
    model, _ = pairs["demo"]()
    batch, options = prompts("demo"), {"num_beams": 3, "max_new_tokens": 10}
    together = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], **options)
    for row in range(10):
        ids = batch["input_ids"][row : row + 1, batch["attention_mask"][row] == 1]
        alone = model.generate(ids, **options)[0, ids.shape[1] :]
        new = together[row, batch["input_ids"].shape[1] :]
        assert new[: alone.size].tolist() == alone.tolist()
        assert (new[alone.size :] == 1).all()


def test_one_forward_pass_a_step_for_all_beams(pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = pairs["demo"]()
    shapes, original = [], type(model.biogpt).__call__

    def recording_call(self: Any, ids: Any, *rest: Any, **options: Any) -> Any:
        shapes.append(ids.shape)
        return original(self, ids, *rest, **options)

    monkeypatch.setattr(type(model.biogpt), "__call__", recording_call)
    model.generate([[2, 92, 26]] * 2, num_beams=4, max_new_tokens=5, min_new_tokens=5)
    assert shapes == [(2, 3)] + [(8, 1)] * 4, "the prompt once, then one position of each beam"


def test_scores_add_up(pairs: Any) -> None:
    """From the output alone: sum each token's score, in the row it was chosen in, and divide by the length penalty."""
    model, _ = pairs["random"]()
    options = {"num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.5, "max_new_tokens": 9}
    out = model.generate([[5, 6, 7]], return_dict_in_generate=True, output_scores=True, **options)
    for row in range(4):
        origins = out.beam_indices[row]
        steps = [(step, int(origin)) for step, origin in enumerate(origins) if origin >= 0]
        sum_ = sum(out.scores[step][origin, out.sequences[row, 3 + step]] for step, origin in steps)
        assert abs(sum_ / len(steps) ** 0.5 - out.sequences_scores[row]) < 1e-12
    cache = out.past_key_values
    assert (cache.batch_size, cache.seq_length) == (4, 3 + len(out.scores) - 1), (
        "the model ran on all but the last token"
    )
    without_scores = model.generate([[5, 6, 7]], return_dict_in_generate=True, **options)
    assert without_scores.sequences_scores is None, "as in transformers"


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.0}], ids=options_id
)
def test_transition_scores_are_transformers(pairs: Any, options: dict[str, Any], normalize: bool) -> None:
    model, theirs = pairs["random"]()
    got, want = both((model, theirs), prompts("random"), options)
    mine = model.compute_transition_scores(got.sequences, got.scores, got.beam_indices, normalize_logits=normalize)
    others = theirs.compute_transition_scores(
        want.sequences, want.scores, getattr(want, "beam_indices", None), normalize_logits=normalize
    )
    assert mine.shape == others.shape
    assert_close("transition scores", np.float32(mine), others.numpy(), BEAM_STEP)
    assert not options or (mine == 0).any(), "no hypothesis ended early"
    with pytest.raises(InputError, match="call generate with output_scores=True"):
        model.compute_transition_scores(got.sequences, None)


@pytest.mark.parametrize("options", [{}, {"top_k": 5, "temperature": 1.5}, {"top_p": 0.5, "num_return_sequences": 3}])
def test_beam_sampling_is_transformers_with_the_same_draws(
    pairs: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch draws without replacement in the same way, E / p with exponential E; here it gets the same uniforms."""
    rng = np.random.default_rng(7)

    def multinomial(p: Any, num_samples: int) -> Any:
        exponential = torch.tensor(-np.log1p(-rng.random(tuple(p.shape))))
        return torch.topk(p.double() / exponential, num_samples)[1]

    monkeypatch.setattr(torch, "multinomial", multinomial)
    options = {"do_sample": True, "num_beams": 3, "max_new_tokens": 8, "return_dict_in_generate": True} | options
    batch = prompts("random")
    model, theirs = pairs["random"]()
    got = model.generate(batch["input_ids"], seed=7, **options)
    tensors = {name: torch.tensor(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        want = theirs.generate(**tensors, **options)
    assert np.array_equal(got.sequences, want.sequences.numpy())
    assert np.array_equal(got.beam_indices, want.beam_indices.numpy())
    assert not np.array_equal(model.generate(batch["input_ids"], seed=8, **options).sequences, got.sequences)


def test_equal_scores_go_to_the_first_hypothesis_and_the_smallest_id() -> None:
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    out = model.generate(
        [[5, 6]], num_beams=3, num_return_sequences=3, max_new_tokens=2, return_dict_in_generate=True,
        logits_processor=[lambda ids, logits: 0 * logits], eos_token_id=None,
    )  # fmt: skip
    assert out.sequences[:, 2:].tolist() == [[0, 0], [0, 1], [0, 2]]


def test_of_equal_scores_the_hypothesis_that_ended_first_comes_first() -> None:
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    got = model.generate(
        [[5, 6]], num_beams=3, num_return_sequences=3, logits_processor=[lambda ids, logits: 0 * logits],
        eos_token_id=0, pad_token_id=66,
    )  # fmt: skip
    assert got[:, 2:].tolist() == [[0, 66, 66], [1, 0, 66], [1, 1, 0]]


def test_more_end_tokens_than_candidates_end_every_row_at_once() -> None:
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    got = model.generate([[5, 6]], num_beams=2, eos_token_id=list(range(67)))
    assert got[0, 2:].tolist() == [int(model([[5, 6]]).logits[0, -1].argmax())]


# Results of fairseq 0.12.2's own SequenceGenerator for the random model, measured 2026-11-21: 60 searches with 2 to 5
# beams, 440 hypotheses; all ids were equal, and all scores to 1e-6. These are three of the 60. fairseq's max_len_b
# counts neither </s>, so max_length is 2 more. Ids and score to 5 decimals, the best hypothesis of a row first.
FAIRSEQ_RESULTS: list[tuple[dict[str, Any], list[list[int]], list[tuple[list[int], float]]]] = [
    (
        {"num_beams": 4, "length_penalty": 2.0, "min_length": 4, "max_length": 21},
        [[2, 4, 28, 58, 38], [2, 52, 49, 57, 15]],
        [
            ([2, 4, 28, 58, 38, 48, 34, 34, 34, 34, 34, 2], -0.314),
            ([2, 4, 28, 58, 38, 48, 48, 48, 2], -0.45565),
            ([2, 4, 28, 58, 38, 48, 48, 2], -0.53479),
            ([2, 4, 28, 58, 38, 2], -0.79472),
            ([2, 52, 49, 57, 15, 40, 40, 40, 40, 40, 40, 2], -0.32375),
            ([2, 52, 49, 57, 15, 40, 40, 40, 40, 40, 2], -0.36446),
            ([2, 52, 49, 57, 15, 40, 40, 40, 40, 2], -0.41522),
            ([2, 52, 49, 57, 15, 2], -0.8757),
        ],
    ),
    (
        {"num_beams": 4, "length_penalty": 2.0, "min_length": 2, "max_length": 18},
        [[2, 57, 37, 27, 23, 30], [2, 49, 60, 8, 62, 37]],
        [
            ([2, 57, 37, 27, 23, 30, 40, 40, 40, 40, 40, 2], -0.32499),
            ([2, 57, 37, 27, 23, 30, 40, 40, 40, 40, 2], -0.3671),
            ([2, 57, 37, 27, 23, 30, 40, 40, 40, 2], -0.41965),
            ([2, 57, 37, 27, 23, 30, 40, 40, 2], -0.48948),
            ([2, 49, 60, 8, 62, 37, 37, 37, 2], -0.4866),
            ([2, 49, 60, 8, 62, 37, 37, 2], -0.57494),
            ([2, 49, 60, 8, 62, 37, 34, 2], -0.58101),
            ([2, 49, 60, 8, 62, 37, 2], -0.70228),
        ],
    ),
    (
        {"num_beams": 4, "length_penalty": 2.0, "min_length": 5, "max_length": 15},
        [[2, 64, 16, 35, 7], [2, 63, 43, 26, 66], [2, 63, 5, 32, 56]],
        [
            ([2, 64, 16, 35, 7, 22, 26, 26, 26, 2], -0.38097),
            ([2, 64, 16, 35, 7, 22, 26, 26, 2], -0.44176),
            ([2, 64, 16, 35, 7, 22, 26, 2], -0.52174),
            ([2, 64, 16, 35, 7, 34, 2], -0.63679),
            ([2, 63, 43, 26, 66, 40, 40, 40, 40, 2], -0.38083),
            ([2, 63, 43, 26, 66, 40, 40, 40, 2], -0.44173),
            ([2, 63, 43, 26, 66, 40, 40, 2], -0.52437),
            ([2, 63, 43, 26, 66, 22, 26, 2], -0.52555),
            ([2, 63, 5, 32, 56, 26, 26, 26, 2], -0.45117),
            ([2, 63, 5, 32, 56, 26, 26, 2], -0.53158),
            ([2, 63, 5, 32, 56, 17, 2], -0.64336),
            ([2, 63, 5, 32, 56, 26, 2], -0.65038),
        ],
    ),
]


@pytest.mark.parametrize(("options", "ids", "want"), FAIRSEQ_RESULTS)
def test_fairseq_scoring_is_fairseqs(pairs: Any, options: dict[str, Any], ids: Any, want: Any) -> None:
    model, _ = pairs["random"]()
    options = {"scoring": "fairseq", "num_return_sequences": options["num_beams"]} | options
    out = model.generate(ids, return_dict_in_generate=True, output_scores=True, **options)
    for row, (fairseq_ids, score) in enumerate(want):
        assert out.sequences[row, : len(fairseq_ids)].tolist() == fairseq_ids
        assert (out.sequences[row, len(fairseq_ids) :] == 1).all()
        assert abs(out.sequences_scores[row] - score) <= 5.1e-6
    other = model.generate(ids, **options | {"scoring": "transformers"})
    assert not np.array_equal(other, out.sequences), "the scoring makes no difference here"


def test_fairseq_scoring_without_an_end_token_runs_to_the_longest(pairs: Any) -> None:
    model, _ = pairs["random"]()
    options: dict[str, Any] = {"scoring": "fairseq", "num_beams": 2, "eos_token_id": None, "max_new_tokens": 4}
    seen: list[np.ndarray] = []
    options["logits_processor"] = [lambda ids, logits: seen.append(logits) or logits]
    out = model.generate([[5, 6, 7]], return_dict_in_generate=True, output_scores=True, **options)
    assert all((logits[:, 1] == -np.inf).all() for logits in seen), "user processors come after fairseq's: no pads"
    log_p = log_softmax(model(out.sequences[:, :-1]).logits)[0, np.arange(6), out.sequences[0, 1:]]
    assert out.sequences.shape == (1, 7)
    assert abs(log_p.sum() / 6 - out.sequences_scores[0]) < 1e-12


def test_fairseq_scores_count_the_prompt_and_its_padding_not(pairs: Any) -> None:
    model, _ = pairs["random"]()
    batch = prompts("random")
    options: dict[str, Any] = {
        "scoring": "fairseq", "num_beams": 3, "length_penalty": 0.5, "min_length": 12, "max_new_tokens": 12,
        "return_dict_in_generate": True, "output_scores": True,
    }  # fmt: skip
    out = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], **options)
    for row in range(10):
        real = batch["attention_mask"][row] == 1
        ids = np.concatenate([batch["input_ids"][row, real], out.sequences[row, 8:]])
        ids = ids[: int(np.argmax(ids[1:] == 2)) + 2]  # with its end
        log_p = log_softmax(model(ids[None, :-1]).logits)[0, np.arange(ids.size - 1), ids[1:]]
        assert abs(log_p.sum() / (ids.size - 1) ** 0.5 - out.sequences_scores[row]) < 1e-9


def test_the_longest_text_of_fairseq_ends_whatever_its_least_length(pairs: Any) -> None:
    model, _ = pairs["random"]()
    for least in (9, 10, 11):
        got = model.generate([[2, 5, 6]], scoring="fairseq", num_beams=3, min_length=least, max_length=11)
        assert got.shape == (1, 11)
        assert got[0, -1] == 2
