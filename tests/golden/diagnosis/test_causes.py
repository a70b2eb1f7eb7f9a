"""Every mistake planted in PyTorch is named in a case that shows it, and every cause is described."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from minibiogpt.catalog.evaluate import evaluate
from minibiogpt.golden import diagnose
from minibiogpt.golden.check.result import Options
from minibiogpt.golden.diagnosis.candidate import as_file, case_run, weights_of
from minibiogpt.golden.diagnosis.library import CAUSES, OPTIONAL, PARAMETER, described, sentence
from minibiogpt.golden.diagnosis.run import At, Pass
from minibiogpt.golden.diagnosis.ways import together
from minibiogpt.golden.diagnosis.ways.table import WAYS, attempts
from minibiogpt.golden.kit.writer import write_kit
from tests.budgets import EQUATION
from tests.compare import assert_close
from tests.reference.kits import KitCase, cases_of, run, true_first
from tests.reference.more_mistakes import EVERY
from tests.reference.variations import as_it_is

CASES = (
    "ordinary", "loud_left_pad", "left_pad", "nothing_visible", "pad_id_in_text", "explicit_positions", "longest",
    "cache_left_pad", "head_mask_layers", "inputs_embeds", "lm_loss", "untied", "sequence_left_pad", "several_labels",
    "regression", "token_labels",
)  # fmt: skip

NOT_PLANTED = {  # in a model: they are of the dump, or say only what the numbers look like
    "array-misnamed", "columns-moved", "convention", "factor", "norm-missing", "rows-moved", "weights-float16",
    "weights-of-another", "weights-dequantized",
}  # fmt: skip


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit") / "kit"
    write_kit(folder, cases=CASES, runs=2)
    return folder


@cache
def _cases(kit: Path) -> list[KitCase]:
    return cases_of(kit)


@cache
def _right(case: KitCase) -> dict:  # type: ignore[type-arg]
    found = run(case, "float64", as_it_is)
    assert found is not None
    return found


@pytest.mark.parametrize("mistake", EVERY)
def test_a_mistake_is_named_in_a_case_that_shows_it(kit: Path, mistake: str) -> None:
    for case in _cases(kit):
        arrays = run(case, "float64", EVERY[mistake].plant)
        if arrays is None or true_first(_right(case), arrays) is None:
            continue
        found = diagnose(case.path, {name: x.numpy() for name, x in arrays.items()})
        if found.verdict == "agrees":  # it differs in bits, but not beyond rounding
            continue
        expected = EVERY[mistake].expected
        assert found.causes, f"{case.name}: {found.lines()}"
        assert found.causes[0].id in (expected.cause, *expected.also), f"{case.name}: {found.lines()}"
        return
    pytest.fail("no case shows it")


@pytest.mark.parametrize("name", CASES)
def test_a_way_without_changes_is_the_equation_of_the_catalog(kit: Path, name: str) -> None:
    case = next(case for case in _cases(kit) if case.name == name)
    arrays = {key: x.numpy() for key, x in _right(case).items()}
    computed = 0
    for at, within in _steps(case, arrays):
        if at.family == "pooled":  # it always takes a position
            continue
        want = evaluate(at.step, at.symbols(), at.letters)
        got = WAYS[at.family](at)
        assert got.shape == want.shape
        if want.dtype.kind == "f":
            visible = want > np.finfo(np.float64).min
            assert_close(at.step.name, np.where(visible, got, 0), np.where(visible, want, 0), EQUATION)
        else:
            np.testing.assert_array_equal(got, want)
        assert within.predicted(at.step.name).shape == want.shape
        computed += 1
    assert computed >= 5


def _steps(case: KitCase, arrays: dict[str, np.ndarray]) -> Iterator[tuple[At, Pass]]:
    with as_file(arrays) as path, np.errstate(all="ignore"):
        found, _ = case_run(case.name, case.case, path, weights_of(case.case, case.folder), Options())
        within = Pass(found, {}, WAYS)
        for name, (call, step) in found.steps.items():
            if name in found.known:
                yield At(within, call, step), within


@pytest.mark.parametrize("name", CASES)
def test_every_attempt_has_a_cause_with_a_sentence(kit: Path, name: str) -> None:
    case = next(case for case in _cases(kit) if case.name == name)
    with np.errstate(over="ignore"):  # of the scores that are hidden
        arrays = {key: x.numpy() * 1.001 if x.is_floating_point() else x.numpy() for key, x in _right(case).items()}
    tried = list(together.attempts(2))
    for at, _ in _steps(case, arrays):
        tried += attempts(at, arrays[at.step.name], {})
        tried += attempts(at, None, {})
    assert tried
    for attempt in tried:
        text = OPTIONAL.sub("", CAUSES[attempt.cause].sentence)
        missing = set(PARAMETER.findall(text)) - set(attempt.parameters)
        assert not missing, (attempt.cause, missing)
        assert "{" not in sentence(attempt.cause, attempt.parameters)
        assert set(attempt.estimated) <= set(attempt.parameters), attempt


def test_every_cause_is_planted_or_said_to_be_no_mistake() -> None:
    planted = {id for mistake in EVERY.values() for id in (mistake.expected.cause, *mistake.expected.also)}
    others = set(CAUSES) - planted
    assert others <= NOT_PLANTED
    assert len(described()) == 2 * len(CAUSES)
