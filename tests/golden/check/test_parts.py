"""Candidates that hold the last positions only: recognized, compared with --last, and never called the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minibiogpt.golden.check.parts import count_of, last_parts
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.report.text import findings, next_command, sentence
from tests.support.golden_cases import arrays_of, case_of, checked, entry, normal, row, slim_case, small


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def test_parts_by_hand() -> None:
    x = np.arange(12).reshape(2, 3, 2)
    one = entry("layers.0", x, "B T D")
    ends, real = last_parts(one, 1, np.array([[1, 1, 0], [1, 1, 1]]))
    assert ends.of(x).tolist() == [[[4, 5]], [[10, 11]]]
    assert real.of(x).tolist() == [[[2, 3]], [[10, 11]]]
    assert [part.ends for part in last_parts(one, 1, np.array([[0, 1, 1], [1, 1, 1]]))] == [True], "padding on the left"
    assert [part.ends for part in last_parts(one, 3, np.array([[1, 1, 0], [1, 1, 1]]))] == [True], "too few positions"
    _, real = last_parts(one, 1, np.array([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]]))
    assert real.of(x).tolist() == [[[2, 3]], [[10, 11]]], "a mask that begins before, with the cache"
    (two,) = last_parts(one, 2, None)
    assert two.of(x).tolist() == [[[2, 3], [4, 5]], [[8, 9], [10, 11]]]


def test_an_array_of_the_same_size_with_other_axes_is_no_part() -> None:
    one = entry("logits", np.zeros((2, 7, 5)), "B T V")
    assert [count_of(shape, one) for shape in ((2, 5), (5, 2), (10,), (1, 2, 5), (2, 3, 5), (3, 2, 5))] == [
        1, None, None, 1, 3, None,
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["B V", "B 1 V", "B 2 V"])
def test_logits_of_the_last_positions(case: Case, form: str) -> None:
    n = 2 if "2" in form else 1
    x = np.array(case.array("logits"))[:, -n:]
    held = {"logits": x[:, 0] if form == "B V" else x}
    found = checked(case, held)
    assert row(found, "logits").state == NOT_COMPARABLE
    said = f"the last {n} of 5 positions agree: to compare only these, add --last {n}"
    assert said in row(found, "logits").notes
    assert found.code == 1
    assert next_command(found).endswith(f" --last {n}")
    last = checked(case, held, last=n)
    assert (row(last, "logits").state, last.code) == (AGREES, 0)
    assert last.rows[-2].measured is not None
    assert last.rows[-2].measured.compared == 2 * n * 67
    assert f"at the last {n} positions" in sentence(last)
    assert f"only the last {n} positions are compared (--last)" in "\n".join(findings(last))
    wrong = {"logits": held["logits"] + 1}
    assert row(checked(case, wrong, last=n), "logits").state == DIFFERS
    assert not any("--last" in note for note in row(checked(case, wrong), "logits").notes)
    assert row(checked(case, held, last=3), "logits").state == NOT_COMPARABLE


def test_other_positions_do_not_count_with_last(case: Case) -> None:
    x = np.array(case.array("logits"))
    x[:, 0] += 1
    assert checked(case, {"logits": x}).code == 1
    assert checked(case, {"logits": x}, last=2).code == 0
    x[1, 4, 3] += 1
    found = row(checked(case, {"logits": x}, last=2), "logits")
    assert (found.state, found.where) == (DIFFERS, (1, 4, 3))
    assert "compared at the last 2 of 5 positions" in found.notes
    whole = checked(case, {"layers.0.self_attn.q": np.zeros((2, 3, 1, 7))}, last=1)
    assert row(whole, "layers.0.self_attn.q").state == DIFFERS


@pytest.mark.parametrize("step", ["", "step.0/"])
def test_the_last_position_that_is_not_padding(tmp_path: Path, step: str) -> None:
    x, logits = normal(2, 4, 6), f"{step}logits"
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    case = case_of(tmp_path / "case.safetensors", {logits: ("B T V", x)}, {f"{step}inputs/attention_mask": mask})
    real, ends = x[[0, 1], [1, 3]], x[:, -1]
    for held, words in ((ends, "the last 1 of 4 positions"), (real, "the last 1 of each row's positions that aren't")):
        noted = row(checked(case, {logits: held}), logits).notes
        assert any(note.startswith(words) and note.endswith("add --last 1") for note in noted)
        assert row(checked(case, {logits: held}, last=1), logits).state == AGREES
    assert row(checked(case, {logits: x[:, 0]}, last=1), logits).state == DIFFERS
    noted = row(checked(case, {logits: real}, last=1), logits).notes
    assert noted[-1] == "compared at the last 1 of each row's positions that aren't padding"


def test_last_positions_and_real_ones_together(tmp_path: Path) -> None:
    x = normal(2, 4, 6)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    case = case_of(tmp_path / "case.safetensors", {"logits": ("B T V", x)}, {"inputs/attention_mask": mask})

    def state(held: np.ndarray, *wrong: tuple[int, ...]) -> str:
        held = np.array(held)
        for at in wrong:
            held[at] += 1
        return row(checked(case, {"logits": held}, last=1, real_only=True), "logits").state

    assert state(x, (0, 3), (0, 2), (1, 2)) == AGREES, "one is padding, and the others are not last"
    assert state(x, (1, 3)) == DIFFERS
    assert state(x[:, -1]) == NOT_COMPARABLE, "row 0 is padding, so nothing of it would be compared"
    assert state(x[:, -1], (1,)) == DIFFERS
    assert state(x[[0, 1], [1, 3]]) == AGREES
    assert state(x[[0, 1], [1, 3]], (0,)) == NOT_COMPARABLE, "it may be wrong there, or hold padding there"
    found = row(checked(case, {"logits": x[:, -1]}, last=1, real_only=True), "logits")
    assert "rows that end in padding are left out by --real-only, so they may be wrong" in found.notes


def test_real_positions_before_padding_in_every_row(tmp_path: Path) -> None:
    x, mask = normal(2, 4, 6), np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    case = case_of(tmp_path / "case.safetensors", {"logits": ("B T V", x)}, {"inputs/attention_mask": mask})
    found = row(checked(case, {"logits": x[[0, 1], [1, 2]]}, last=1, real_only=True), "logits")
    assert found.measured is not None
    assert (found.state, found.measured.compared) == (AGREES, 12)
    assert row(checked(case, {"logits": x[:, -1]}, last=1, real_only=True), "logits").state == NOT_COMPARABLE


def test_a_slim_case_cannot_be_compared_in_part(tmp_path: Path) -> None:
    x = normal(2, 5, 6)
    case = slim_case(tmp_path / "slim.safetensors", "layers.0", "B T D", x, 40)
    for options in ({}, {"last": 1}):
        found = row(checked(case, {"layers.0": x[:, -1:]}, **options), "layers.0")
        assert found.state == NOT_COMPARABLE
        assert any("a slim case holds samples of whole arrays" in note for note in found.notes)
    wrong = np.array(x)
    wrong[:, 0] += 1
    assert checked(case, {"layers.0": wrong}, last=1).code == 0, "its samples at the last position agree"
    assert checked(case, {"layers.0": wrong}).code == 1


def test_arrays_without_positions_are_compared_whole(case: Case) -> None:
    assert checked(case, {"loss": np.array(3.5)}, last=1).code == 1
    assert checked(case, last=1).code == 0
    assert checked(case, last=99).code == 0
    assert len(arrays_of(case)) == checked(case, last=1).compared
