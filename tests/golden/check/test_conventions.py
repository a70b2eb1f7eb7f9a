"""Conventions of other implementations: recognized, said, accepted, and never the first difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptConfig, BioGptForCausalLM
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.check.evidence.conventions import CONVENTIONS, found_in
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Options, Result
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from minibiogpt.golden.report.advice import next_command, options_in_words
from minibiogpt.golden.report.json_report import as_json
from minibiogpt.golden.report.text import findings, notes_of, sentence, table
from tests.support.golden_cases import arrays_of, case_of, checked, normal, row, slim_case, written

CONFIG = BioGptConfig(
    vocab_size=37, hidden_size=15, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
    max_position_embeddings=17,
)  # fmt: skip
IDS = np.array([[2, 5, 9, 11], [2, 7, 3, 8]])
PADDED = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
STEPS = ({"input_ids": IDS}, {"input_ids": IDS[:, :1], "attention_mask": np.ones((2, 5), "i8")})
ATTENTION = "layers.0.self_attn."
SQRT, EVERY = 5**0.5, (slice(None),) * 3
Change = Callable[[str, np.ndarray], "np.ndarray | None"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Return cases without padding, with padding on the left, and of two steps."""
    folder, found = tmp_path_factory.mktemp("conventions"), {}
    model = BioGptForCausalLM.from_config(CONFIG, dtype="float64", seed=0)
    for name, calls in {
        "plain": ({"input_ids": IDS},), "padded": ({"input_ids": IDS, "attention_mask": PADDED},), "steps": STEPS,
    }.items():  # fmt: skip
        record(model, calls, folder / f"{name}.safetensors", name=name, seeds=1)
        found[name] = Case.read(folder / f"{name}.safetensors")
    return found


def checked_with(case: Case, change: Change, **options: Any) -> Result:
    """Check a candidate whose arrays are ``change(last part of the name, array)``; None removes an array."""
    changed = {name: change(name.rpartition(".")[2].rpartition("/")[2], x) for name, x in arrays_of(case).items()}
    return checked(case, changed, **options)


def found(result: Result) -> dict[str, str]:
    """Return {convention: why it counts as agreement}."""
    return {one.convention: one.because for one in found_in([*result.inputs, *result.rows])}


def scaled(name: str, x: np.ndarray) -> np.ndarray:
    return x / SQRT if name in ("q", "q_proj") else x


def test_a_scaled_q_is_harmless_if_the_scores_agree(cases: dict[str, Case]) -> None:
    result = checked_with(cases["plain"], scaled)
    assert (result.code, result.compared, result.first_difference) == (0, len(result.rows), None)
    assert found(result) == {"q-scaled": "scores agree"}
    assert row(result, f"{ATTENTION}q").aligned is not None
    np.testing.assert_allclose(row(result, f"{ATTENTION}q").aligned(), cases["plain"].array(f"{ATTENTION}q"))
    assert any(line.startswith("convention q-scaled: q (or q and k) is scaled") for line in findings(result))
    assert {one["id"] for one in as_json(result)["conventions"]} == {"q-scaled"}
    both = checked_with(cases["plain"], lambda name, x: x / SQRT**0.5 if name in ("q", "k", "q_proj") else x)
    assert (both.code, found(both)) == (0, {"q-scaled": "scores agree"})
    other = checked_with(cases["plain"], lambda name, x: x.swapaxes(1, 2) / SQRT if name == "q" else x)
    assert row(other, f"{ATTENTION}q").notes == ["agrees when transposed: candidate axes are B T H Dh"]
    options = {"accept_layouts": True, "accept": ("q-scaled",)}
    assert (
        checked_with(cases["plain"], lambda name, x: x.swapaxes(1, 2) / SQRT if name == "q" else x, **options).code == 0
    )
    assert checked_with(cases["plain"], lambda name, x: x * 0.7 if name == "q" else x).code == 1


def test_a_scaled_q_alone_needs_the_option(cases: dict[str, Case]) -> None:
    def last(name: str, x: np.ndarray) -> np.ndarray | None:
        return scaled(name, x) if name in ("q", "q_proj", "k") else None

    result = checked_with(cases["plain"], last, subset=True)
    assert (result.code, result.first_difference, found(result)) == (1, None, {"q-scaled": ""})
    assert row(result, "layers.1.self_attn.q").notes == [
        "agrees if multiplied by sqrt(Dh)",
        "this is a convention and no mistake: to accept it, add --accept q-scaled",
    ]
    assert row(result, f"{ATTENTION}q").state == AGREES, "the next layer's keys are computed from it, and agree"
    assert next_command(result).endswith(" --accept q-scaled --subset")
    accepted = checked_with(cases["plain"], last, subset=True, accept=("q-scaled",))
    assert (accepted.code, found(accepted)) == (0, {"q-scaled": "--accept q-scaled"})
    assert sentence(accepted).endswith("; accepted conventions: q-scaled")
    assert options_in_words(accepted.options) == " --accept q-scaled --subset"


def test_a_q_that_is_scaled_after_a_mistake_is_compared_in_its_convention(cases: dict[str, Case]) -> None:
    rng = np.random.default_rng(0)

    def wrong(name: str, x: np.ndarray) -> np.ndarray:
        return scaled(name, x + 1e-3 * rng.standard_normal(x.shape)) if x.dtype.kind == "f" else x

    result = checked_with(cases["plain"], wrong)
    q = row(result, f"{ATTENTION}q")
    assert (q.state, q.convention) == (DIFFERS, "q-scaled")
    assert q.relative is not None
    assert q.relative < 0.1
    assert "it was multiplied by sqrt(Dh) to compare it" in q.notes


def test_if_the_scores_are_scaled_again_they_are_the_first_difference(cases: dict[str, Case]) -> None:
    again = checked_with(cases["plain"], lambda name, x: x / SQRT if name == "scores" else scaled(name, x))
    assert again.first_difference is row(again, f"{ATTENTION}scores")


def test_one_row_of_positions(cases: dict[str, Case]) -> None:
    def first(name: str, x: np.ndarray) -> np.ndarray:
        return x[:1] if name == "position_ids" else x[0] if name == "embed_positions" else x

    result = checked_with(cases["plain"], first)
    assert (result.code, found(result)) == (0, {"positions-broadcast": "every row of the batch has them"})
    wrong = checked_with(cases["padded"], first)
    assert wrong.first_difference is row(wrong, "position_ids"), "they don't count from the first real token"
    assert any("compared in it, they differ" in line for line in findings(wrong))
    given = case_of(
        cases["plain"].path.parent / "given.safetensors", {"logits": ("B T V", normal(2, 3, 5))},
        {"inputs/position_ids": np.array([[1, 2, 4]] * 2)},
    )  # fmt: skip
    for ids, code in (([1, 2, 4], 0), ([[1, 2, 4]], 0), ([1, 2, 3], 1)):
        assert checked(given, {"inputs/position_ids": np.array(ids)}).code == code


def test_positions_that_are_rows_of_the_table(cases: dict[str, Case]) -> None:
    result = checked_with(cases["padded"], lambda name, x: x + 2 if name == "position_ids" else x)
    assert (result.code, found(result)) == (0, {"positions-offset": "embed_positions agrees"})
    alone = checked_with(cases["padded"], lambda name, x: x + 2 if name == "position_ids" else None, subset=True)
    assert (alone.code, alone.first_difference, found(alone)) == (2, None, {"positions-offset": ""})
    for off in (1, 3):
        assert checked_with(cases["padded"], lambda name, x: x + off if name == "position_ids" else x).code == 1  # noqa: B023


def longer(name: str, x: np.ndarray) -> np.ndarray:
    more = 16 - x.shape[2 if name in ("k", "v") else -1] if x.ndim == 4 else 0
    if name in ("k", "v"):
        return np.pad(x, ((0, 0), (0, 0), (0, more), (0, 0)), constant_values=7.0)
    if name in ("scores", "scores_masked", "probs", "weights"):
        value = {"scores": 3.0, "scores_masked": -np.inf}.get(name, 0.0)
        return np.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)), constant_values=value)
    return x


def test_a_cache_with_room_for_more(cases: dict[str, Case]) -> None:
    result = checked_with(cases["steps"], longer)
    assert (result.code, result.compared, set(found(result)) - {"mask-fill"}) == (
        0,
        len(result.rows),
        {"cache-capacity"},
    )
    k = row(result, f"step.1/{ATTENTION}k")
    assert k.aligned is not None
    np.testing.assert_array_equal(k.aligned(), cases["steps"].array(k.name))
    heads_later = checked_with(
        cases["steps"], lambda name, x: longer(name, x).swapaxes(1, 2) if name in ("k", "v") else x
    )
    assert row(heads_later, k.name).notes[-1] == "agrees when transposed: candidate axes are B S H Dh"
    assert heads_later.code == 1

    def last(name: str, x: np.ndarray) -> np.ndarray | None:
        return longer(name, x) if name == "k" else None

    only = checked_with(cases["plain"], last, subset=True)
    assert (only.code, found(only)) == (2, {"cache-capacity": ""})
    assert checked_with(cases["plain"], last, subset=True, accept=("cache-capacity",)).code == 0


@pytest.mark.parametrize(("name", "value"), [("scores_masked", 0.0), ("probs", 0.01), ("probs", np.nan)])
def test_what_is_visible_beyond_the_cache_differs(cases: dict[str, Case], name: str, value: float) -> None:
    def visible(one: str, x: np.ndarray) -> np.ndarray:
        x = longer(one, x)
        if one == name:
            x[..., -1] = value
        return x

    result = checked_with(cases["plain"], visible)
    first = row(result, f"{ATTENTION}{name}")
    assert result.first_difference is first
    assert "24 elements beyond the case's positions are not hidden" in first.notes
    assert not any("exceed the budget" in note for note in notes_of(first))


@pytest.mark.parametrize("shape", ["B T V", "B V"])
def test_a_padded_vocabulary(cases: dict[str, Case], shape: str) -> None:
    def padded(value: float) -> Change:
        def change(name: str, x: np.ndarray) -> np.ndarray:
            if name != "logits":
                return x
            x = np.pad(x, ((0, 0), (0, 0), (0, 3)), constant_values=value)
            return x if shape == "B T V" else x[:, -1]

        return change

    given = {"accept": ("last-positions",)} if shape == "B V" else {}
    result = checked_with(cases["plain"], padded(0.0), **given)
    assert (result.code, result.first_difference, row(result, "logits").state) == (1, None, NOT_COMPARABLE)
    assert next_command(result).endswith(f"--accept {','.join([*given.get('accept', ()), 'padded-vocabulary'])}")
    assert checked_with(cases["plain"], padded(0.0), accept=("padded-vocabulary", "last-positions")).code == 0
    hidden = checked_with(cases["plain"], padded(-np.inf), **given)
    assert (hidden.code, found(hidden)) == (0, {"padded-vocabulary": "the other columns have probability 0"})


def test_a_padded_vocabulary_of_the_last_position_names_both_options(cases: dict[str, Case]) -> None:
    result = checked_with(
        cases["plain"], lambda name, x: np.pad(x, ((0, 0), (0, 0), (0, 3)))[:, -1:] if name == "logits" else x
    )
    assert "the last 1 of 4 positions agree: to compare only these, add --last 1" in row(result, "logits").notes
    assert found(result) == {"padded-vocabulary": ""}
    assert next_command(result).endswith(" --last 1")


def test_the_last_positions_can_be_accepted(cases: dict[str, Case]) -> None:
    def last(name: str, x: np.ndarray) -> np.ndarray:
        return x[:, -2:] if name in ("logits", "layer_norm") else x

    assert found(checked_with(cases["plain"], last)) == {"last-positions": ""}
    result = checked_with(cases["plain"], last, accept=("last-positions",))
    assert (result.code, found(result)) == (0, {"last-positions": "--accept last-positions"})
    wrong = checked_with(
        cases["plain"], lambda name, x: last(name, x) + (name == "logits"), accept=("last-positions",), subset=True
    )
    assert wrong.first_difference is row(wrong, "logits")


def filled(case: Case, value: float, add: bool = False) -> Result:
    changed = {}
    for name, x in arrays_of(case).items():
        if name.endswith("scores_masked"):
            scores = case.array(name.removesuffix("_masked"))
            changed[name] = np.where(x == LOWEST, scores + value if add else value, x)
    return checked(case, changed)


def test_other_numbers_hide_scores(cases: dict[str, Case]) -> None:
    for case, value, words in (
        ("plain", -1e4, "-10000 hides them"),
        ("padded", -1e4, "the softmax of -10000 is that of the case"),
        ("padded", -1e9, "-1e+09 hides them"),
        ("plain", -np.inf, "-inf hides them"),
    ):
        result = filled(cases[case], value)
        assert (result.code, found(result)) == (0, {"mask-fill": words}), (case, value)
    assert found(filled(cases["plain"], -1e4, add=True)) == {"mask-fill": "numbers near -1e+04 hide them"}
    assert found(filled(cases["plain"], float(np.finfo("f4").min))) == {}, "what transformers writes"


def test_numbers_that_hide_nothing_differ(cases: dict[str, Case]) -> None:
    for value, add in ((-500.0, False), (0.0, False), (-1e4, True)):
        result = filled(cases["padded"], value, add)
        assert result.first_difference is row(result, f"{ATTENTION}scores_masked"), (value, add)
    slim = slim_case(
        cases["plain"].path.parent / "slim.safetensors", f"{ATTENTION}scores_masked", "B H T S",
        np.array(cases["padded"].array(f"{ATTENTION}scores_masked")), 40,
    )  # fmt: skip
    x = np.array(cases["padded"].array(f"{ATTENTION}scores_masked"))
    for value, code in ((-1e4, 0), (-500.0, 1)):
        theirs = {f"{ATTENTION}scores_masked": np.where(x == LOWEST, value, x)}
        assert checked(slim, theirs).code != 0, "the samples alone prove nothing"
        assert checked(slim, theirs, accept=("mask-fill",)).code == code
    loud = case_of(
        cases["plain"].path.parent / "loud.safetensors",
        {f"{ATTENTION}scores_masked": ("B H T S", np.array([[[[-20000.0, LOWEST], [-20000.0, -20001.0]]]]))},
    )
    assert (
        checked(loud, {f"{ATTENTION}scores_masked": np.array([[[[-20000.0, -1e4], [-20000.0, -20001.0]]]])}).code == 1
    )


def test_hidden_states_of_transformers_5(tmp_path: Path) -> None:
    config = transformers.BioGptConfig(
        vocab_size=30, hidden_size=6, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    torch.manual_seed(0)
    model = transformers.BioGptForCausalLM._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path / "model")
    ours = BioGptForCausalLM.from_pretrained(tmp_path / "model", dtype="float64")
    record(ours, [{"input_ids": IDS}], tmp_path / "case.safetensors", name="case")
    case = Case.read(tmp_path / "case.safetensors")
    with torch.no_grad():
        output = model.biogpt(torch.tensor(IDS), output_hidden_states=True)
    states = [x.numpy() for x in (*output.hidden_states[:-1], output.last_hidden_state)]  # as 5.x returns them

    def result_of(states: list[np.ndarray], **options: Any) -> Result:
        arrays: Mapping[str, np.ndarray] = {f"hidden_states.{i}": x for i, x in enumerate(states)}
        return check(case, written(tmp_path / "theirs", arrays), Options(subset=True, **options))

    result = result_of(states)
    assert (result.code, result.compared, found(result)) == (0, 3, {"hidden-states-5": "layer_norm agrees"})
    assert row(result, "layer_norm").candidate == "hidden_states.2"
    assert (row(result, "layers.1").state, row(result, "layers.1").candidate) == (NOT_COMPARABLE, None)
    wrong = [*states[:2], states[2] + 1e-3]
    assert result_of(wrong).first_difference is not None
    assert result_of(wrong).first_difference.name == "layer_norm"
    whole = {name: x for name, x in arrays_of(case).items() if name not in ("layers.1", "layer_norm")}
    whole |= {"hidden_states.2": states[2]}
    assert check(case, written(tmp_path / "theirs", whole)).code == 0, "no array is missing that matters"


def test_an_array_that_does_not_matter_is_marked(cases: dict[str, Case]) -> None:
    wrong = checked_with(cases["plain"], lambda name, x: x + 1 if name == "fc1" else x)
    note = "it does not matter here: layers.0.activation_fn, computed from it, agrees"
    assert row(wrong, "layers.0.fc1").notes == [f"{note}; was it changed after it was used, or saved wrong?"]
    assert wrong.first_difference is row(wrong, "layers.0.fc1")
    both = checked_with(cases["plain"], lambda name, x: x + 1 if name in ("fc1", "activation_fn") else x)
    assert row(both, "layers.0.fc1").notes == []
    assert row(both, "layers.0.activation_fn").notes != []


def test_differences_at_padding_alone_are_said(cases: dict[str, Case]) -> None:
    case = cases["padded"]

    def change(name: str, x: np.ndarray) -> np.ndarray:
        hidden = (PADDED == 0)[:, :, None]
        return np.where(hidden, x + 1, x) if x.shape[-1] in (15, 37) and x.shape[:2] == (2, 4) else x

    result = checked_with(case, change)
    assert (result.code, result.padding_only) == (1, True)
    assert any(line.startswith("all differences are at padding") for line in findings(result))
    assert next_command(result).endswith(" --real-only")
    assert as_json(result)["differs_only_at_padding"]
    more = checked_with(case, lambda name, x: change(name, x) + (1 if name == "loss" or name == "logits" else 0))
    assert not more.padding_only


def test_every_convention_has_a_line(cases: dict[str, Case]) -> None:
    result = checked_with(cases["plain"], lambda name, x: x, accept=tuple(CONVENTIONS))
    assert (result.code, found(result)) == (0, {})
    assert all(one.state == AGREES for one in result.rows)
    assert not any("convention" in line for line in [*findings(result), *table(result)])
