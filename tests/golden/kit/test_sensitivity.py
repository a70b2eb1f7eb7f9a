"""Each classic mistake, planted in PyTorch, is noticed where it is made, by at least ten times the budget."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import minibiogpt
from minibiogpt import Trace
from tests.budgets import LANE_A
from tests.compare import assert_close, first_difference
from tests.reference import build, in_order, save
from tests.reference.causes import CAUSES
from tests.reference.mistakes import MISTAKES
from tests.reference.more_mistakes import EVERY, MORE
from tests.reference.more_wrong import alibi_slopes
from tests.reference.perturbations import PAIRS, PERTURBATIONS, TWELVE
from tests.reference.planting import corrected
from tests.support.configs import CONFIGS, HEADS
from tools import dump_torch

B, T = 2, 11
RNG = np.random.default_rng(5)
IDS = RNG.integers(3, 67, (B, T))
LEFT = np.ones((B, T), dtype=np.int64)
LEFT[0, :4] = 0
PADDED = np.where(LEFT == 1, IDS, 1)
HEAD_MASK = 1.5 * RNG.random((2, 3))
LABELS = np.where(RNG.random((B, T)) < 0.4, -100, IDS)
LEFT_PADDING = {"input_ids": IDS, "attention_mask": LEFT}
GIVEN = np.tile(np.arange(2 * T)[::-2], (B, 1)) + 9  # up to the last position of the table, 30
CUTS = ((0, 5), (5, 6), (6, 11))
STEPS = [{"input_ids": IDS[:, a:b], "attention_mask": LEFT[:, :b]} for a, b in CUTS]

# setting: (the head, the config, the inputs of each call)
SETTINGS: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "left padding": ("CausalLM", CONFIGS["gelu"], [LEFT_PADDING]),
    "no padding": ("CausalLM", CONFIGS["gelu"], [LEFT_PADDING | {"attention_mask": np.ones_like(LEFT)}]),
    "labels": ("CausalLM", CONFIGS["gelu"], [LEFT_PADDING | {"labels": LABELS}]),
    "head mask": ("CausalLM", CONFIGS["gelu"], [LEFT_PADDING | {"head_mask": HEAD_MASK}]),
    "inputs_embeds": ("CausalLM", CONFIGS["gelu"], [{"inputs_embeds": RNG.normal(size=(B, T, 21))}]),
    "steps": ("CausalLM", CONFIGS["gelu"], STEPS),
    "untied": ("CausalLM", CONFIGS["untied"], [LEFT_PADDING]),
    "given positions": ("CausalLM", CONFIGS["gelu"], [{"input_ids": IDS, "position_ids": GIVEN}]),
    "pads in the text": ("CausalLM", CONFIGS["gelu"], [{"input_ids": PADDED}]),
    "tokens": ("TokenClassification", HEADS["TokenClassification"], [LEFT_PADDING | {"labels": IDS % 5}]),
    "classes": (
        "SequenceClassification", HEADS["SequenceClassification"],
        [LEFT_PADDING | {"input_ids": PADDED, "labels": np.array([4, 2])}],
    ),
    "classes, right padding": (
        "SequenceClassification", HEADS["SequenceClassification"],
        [{"input_ids": PADDED[:, ::-1].copy(), "attention_mask": LEFT[:, ::-1].copy()}],
    ),
    "several labels": (
        "SequenceClassification", HEADS["SequenceClassification"],
        [LEFT_PADDING | {"input_ids": PADDED, "labels": RNG.integers(0, 2, (B, 5)).astype(np.float64)}],
    ),
}  # fmt: skip
# {mistake: the setting in which it shows}; others show with left padding.
SHOWN = {
    "position offset 0": "no padding",  # with padding PyTorch raises an error
    "inputs_embeds scaled again": "inputs_embeds",
    "tied head where it is untied": "untied",
    "no bias in the classifier": "tokens",
    "loss of classes by squares": "classes",
    "sigmoid missing from several labels": "several labels",
    "several labels by a softmax": "several labels",
    "class read at the first token": "classes",
    "class read at the last token": "classes, right padding",
    "class read at the number of tokens - 1": "classes",
    "embedding of the pad is 0": "pads in the text",
    "positions and mask made from the ids": "pads in the text",
    "position table cut at N rows": "given positions",
    "positions of the mask though some are given": "given positions",
    "exp from a float16 table": "no padding",
}
for name in EVERY:
    for word, setting in {
        "head mask": "head mask", "cache": "steps", "past": "steps", "loss": "labels", "loss of tokens": "tokens",
    }.items():  # fmt: skip
        if word in name and (name not in SHOWN or word == "loss of tokens"):
            SHOWN[name] = setting


@cache
def reference(setting: str) -> Any:
    head, config, _ = SETTINGS[setting]
    return build(head=head, **config)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function from a setting to our model's traces."""

    @cache
    def traces(setting: str) -> dict[str, np.ndarray]:
        head, _, calls = SETTINGS[setting]
        folder = save(reference(setting), tmp_path_factory.mktemp("model"))
        model = getattr(minibiogpt, f"BioGptFor{head}").from_pretrained(folder, dtype="float64")
        past, arrays = None, {}
        for n, inputs in enumerate(calls):
            trace = Trace()
            output = model(**inputs, past_key_values=past, trace=trace)
            past = getattr(output, "past_key_values", None)
            arrays |= {f"step.{n}/{name}" if len(calls) > 1 else name: x for name, x in trace.items()}
        return arrays

    return traces


def theirs(setting: str, plant: Any) -> dict[str, np.ndarray]:
    """Return the arrays of the corrected reference with a mistake planted in it."""
    model, calls = reference(setting), SETTINGS[setting][2]
    with corrected(model), plant(model):
        arrays = dump_torch.record_steps(model, calls) if len(calls) > 1 else dump_torch.record(model, **calls[0])
    return {name: x.numpy() for name, x in arrays.items()}


@pytest.mark.parametrize("setting", SETTINGS)
def test_without_a_mistake_all_agree(ours: Any, setting: str) -> None:
    trace, want = ours(setting), theirs(setting, corrected)
    assert set(want) == set(trace)
    assert first_difference(trace, in_order(want, list(trace)), lambda tensor: LANE_A) is None


@pytest.mark.parametrize("mistake", EVERY)
def test_a_mistake_is_seen_first_where_it_is_made(ours: Any, mistake: str) -> None:
    setting = SHOWN.get(mistake, "left padding")
    calls, where = SETTINGS[setting][2], EVERY[mistake].first
    trace, want = ours(setting), theirs(setting, EVERY[mistake].plant)
    first = where(calls, reference(setting).config)
    if want[first].shape != trace[first].shape:
        before = list(trace)[: list(trace).index(first)]
        assert first_difference(trace, {name: want[name] for name in before}, lambda tensor: LANE_A) is None
        return
    found = first_difference(trace, in_order(want, list(trace)), lambda tensor: LANE_A)
    assert found is not None, "not noticed"
    name, times = found
    assert (name, not times <= 10) == (first, True), f"first seen at {name}, {times:.0f} times the budget"


@pytest.mark.parametrize("setting", ["left padding", "classes", "tokens"])
def test_a_mistake_is_taken_out_again(setting: str) -> None:
    want = theirs(setting, corrected)
    for name, mistake in EVERY.items():
        if name != "position offset 0":
            theirs(setting, mistake.plant)
        again = theirs(setting, corrected)
        assert all(np.array_equal(again[tensor], x) for tensor, x in want.items()), name
        # A forward that stays on a layer would hide a later mistake in the class of the layers.
        assert not [path for path, x in reference(setting).named_modules() if "forward" in vars(x)], name


def test_a_bias_of_the_keys_cancels_in_the_softmax(ours: Any) -> None:
    """It adds the same to every score of a row, so only the keys and the scores show that it is missing."""
    trace, want = ours("left padding"), theirs("left padding", MISTAKES["no bias in self_attn.k_proj"].plant)
    for part in ("k_proj", "k", "scores"):
        name = f"layers.0.self_attn.{part}"
        found = first_difference(trace, {name: want[name]}, lambda tensor: LANE_A)
        assert found is not None, name
        assert found[1] > 10, name
    name = "layers.0.self_attn.probs"
    assert_close(name, trace[name], want[name], LANE_A)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_is_seen_first_where_it_is_made(ours: Any, name: str) -> None:
    setting, one = "left padding", PERTURBATIONS[name]
    trace, want = ours(setting), theirs(setting, one.plant)
    found = first_difference(trace, in_order(want, list(trace)), lambda tensor: LANE_A)
    assert found is not None, "not noticed"
    first = one.first(SETTINGS[setting][2], reference(setting).config)
    assert (found[0], not found[1] <= 10) == (first, True), f"first seen at {found[0]}"


def test_two_mistakes_at_once_show_at_the_earlier_one(ours: Any) -> None:
    assert (len(TWELVE), len(PAIRS)) == (12, 66)
    trace, setting = ours("left padding"), "left padding"
    config, order = reference(setting).config, list(ours(setting))
    for pair, plant in PAIRS.items():
        found = first_difference(trace, in_order(theirs(setting, plant), order), lambda tensor: LANE_A)
        firsts = [MISTAKES[name].first(SETTINGS[setting][2], config) for name in pair]
        assert found is not None
        assert found[0] == min(firsts, key=order.index), pair


def test_the_slopes_of_alibi_are_those_of_the_paper() -> None:
    assert alibi_slopes(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert alibi_slopes(3) == [2**-4, 2**-8, 2**-2]


def test_every_mistake_has_a_cause_and_every_cause_a_mistake() -> None:
    assert set(EVERY) == set(CAUSES)
    config = transformers.BioGptConfig(**CONFIGS["gelu"])
    values = {name: mistake.expected.values(config) for name, mistake in EVERY.items()}
    assert values["head scaled"] == {"factor": pytest.approx(4.58257569)}
    assert values["norm eps 1e-12"] == {"eps": 1e-12}
    assert len({mistake.cause for mistake in MORE.values()} - {mistake.cause for mistake in MISTAKES.values()}) > 20


@pytest.mark.parametrize("mistake", ["norm eps 1e-12", "tanh GELU"])
def test_what_a_comparison_of_tokens_does_not_see(ours: Any, mistake: str) -> None:
    """Why every array is compared: these two don't change the most probable token of any position."""
    with torch.no_grad(), MISTAKES[mistake].plant(reference("no padding")):
        theirs = reference("no padding")(torch.tensor(IDS)).logits.numpy()
    mine = ours("no padding")["logits"]
    assert np.array_equal(theirs.argmax(-1), mine.argmax(-1))
    assert np.abs(theirs - mine).max() > 1e-8
