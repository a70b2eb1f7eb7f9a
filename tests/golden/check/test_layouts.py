"""Layouts: every order of the axes is recognized by its values, and a shape that doesn't fit is described."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import InputError
from minibiogpt.golden.check.layouts import (
    MEMORY_ORDER,
    axes_of,
    check_letters,
    declared_layout,
    mismatch,
    overlaps,
    possible_layouts,
)
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE
from minibiogpt.golden.format.case import Case, Entry
from tests.support.golden_cases import CONFIG, case_of, checked, entry, normal, row, slim_case, small

SIZES = {"B": 2, "T": 5, "S": 11, "H": 3, "Dh": 7, "D": 21, "F": 13, "V": 17}


def of(axes: str) -> tuple[Entry, np.ndarray]:
    x = normal(*(SIZES[letter] for letter in axes.split()))
    return entry("layers.0", x, axes), x


@given(axes=st.sampled_from(["B T", "B T D", "B T F", "B H T S", "B H T Dh"]), data=st.data())
def test_every_order_of_the_axes_is_recognised(axes: str, data: st.DataObject) -> None:
    """Any permutation of axes of distinct sizes, with D split or not, and with any neighbors merged."""
    one, x = of(axes)
    letters = axes_of(one, CONFIG)
    order = data.draw(st.permutations(range(len(letters))))
    sizes = [letters[i][1] for i in order]
    held = x.reshape([n for _, n in letters]).transpose(order)
    merged, shape = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))), [sizes[0]]
    for n, together in zip(sizes[1:], merged[1:], strict=True):
        shape[-1:] = [shape[-1] * n] if together else [shape[-1], n]
    held = held.reshape(shape)
    found = [layout for layout in possible_layouts(held.shape, one, CONFIG) if np.array_equal(layout(held), x)]
    assert len(found) == 1
    assert found[0].keeps_order is (list(order) == list(range(len(letters))))
    again = declared_layout(found[0].axes, held.shape, one, CONFIG)
    assert again is not None
    assert np.array_equal(again(held), x)


def test_the_letters_of_a_layout() -> None:
    one, _ = of("B H T Dh")
    assert {layout.axes for layout in possible_layouts((5, 3, 2, 7), one, CONFIG)} == {"T H B Dh", MEMORY_ORDER}
    assert {r.axes for r in possible_layouts((6, 5, 7), one, CONFIG)} == {"B*H T Dh", "H*B T Dh"}
    one, _ = of("B T D")
    assert {r.axes for r in possible_layouts((21, 10), one, CONFIG)} == {
        "D B*T",
        "D T*B",
        "Dh*H B*T",
        "Dh*H T*B",
        MEMORY_ORDER,
    }
    assert next(possible_layouts((2, 5, 3, 7), one, CONFIG)).axes == "B T H Dh"
    assert next(possible_layouts((1, 2, 5, 1, 21), one, CONFIG)).axes == "B T D"
    assert next(possible_layouts((210,), one, CONFIG)).axes == "B*T*D"


def test_axes_of_one_make_no_readings_of_their_own() -> None:
    one = entry("x", normal(1, 5, 1, 4), "B T S F")
    assert [r.axes for r in possible_layouts((5, 4), one, CONFIG)] == ["T F"]
    assert next(possible_layouts((20,), one, CONFIG)).axes == "T*F"
    assert {r.axes for r in possible_layouts((4, 5), one, CONFIG)} == {"F T", MEMORY_ORDER}


def test_taken_apart_otherwise_than_into_heads_keeps_the_order() -> None:
    one = entry("logits", x := normal(2, 5, 12), "B T V")
    first = next(possible_layouts((2, 5, 4, 3), one, CONFIG))
    assert first.keeps_order
    assert first.axes != MEMORY_ORDER
    assert np.array_equal(first(x.reshape(2, 5, 4, 3)), x)


def test_another_size_has_no_reading_and_a_strange_shape_one_in_memory() -> None:
    one, x = of("B T F")
    assert list(possible_layouts((2, 5, 14), one, CONFIG)) == []
    (last,) = [r for r in possible_layouts((5, 2, 13), one, CONFIG) if r.axes == MEMORY_ORDER]
    assert np.array_equal(last(x.reshape(5, 2, 13)), x)


def test_declared_axes_must_be_those_of_the_array() -> None:
    one, _ = of("B H T Dh")
    assert declared_layout("B T H Dh", (2, 5, 3, 7), one, CONFIG) is not None
    assert declared_layout("B T H Dh", (2, 3, 5, 7), one, CONFIG) is None
    assert declared_layout("B T D", (2, 5, 21), one, CONFIG) is not None
    assert declared_layout("B T F", (2, 5, 21), one, CONFIG) is None
    assert declared_layout("B T H Dh", (2, 5, 3, 8), one, CONFIG) is None
    for wrong in ("B T", "B T T H Dh"):
        assert declared_layout(wrong, (2, 5, 21), one, CONFIG) is None
    check_letters("T 1 D B", one, CONFIG)
    for wrong in ("B T F", "B T", "B T T H Dh", ""):
        with pytest.raises(InputError, match="must be B H T Dh in some order"):
            check_letters(wrong, one, CONFIG)
    assert declared_layout("B T H Dh", (2, 5), one, CONFIG) is None
    other = entry("x", normal(2, 5, 13), "B T F")
    assert declared_layout("B T V", (2, 5, 13), other, CONFIG) is None
    assert declared_layout("B T T", (2, 5, 13), other, CONFIG) is None
    for heads in (0, -3, None, "3"):
        assert axes_of(of("B T D")[0], {"num_attention_heads": heads})[-1][0] == "D"
    single = entry("x", normal(1, 5, 4), "B T F")
    check_letters("T F", single, CONFIG)
    assert declared_layout("F T", (4, 5), single, CONFIG) is not None


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        ("B T D", (2, 5, 20), "D is 20, not 21: 1 missing"),
        ("B T D", (2, 6, 21), "T is 6, not 5: 1 extra (a leading </s>?)"),
        ("B T D", (2, 11, 21), "T is 11, not 5: the size of S, all positions instead of the 5 new ones"),
        ("B H S Dh", (2, 3, 5, 7), "S is 5, not 11: the size of T, without the 6 positions of the cache"),
        ("B T D", (2, 3, 21), "T is 3, not 5: 2 missing"),
        ("B T V", (2, 5, 24), "V is 24, not 17: padded to a multiple of 8, 7 extra columns; remove them"),
        ("B T V", (2, 5, 128), "V is 128, not 17: padded to a multiple of 128, 111 extra columns"),
        ("B T V", (2, 5, 19), "V is 19, not 17, 2 extra columns"),
        ("B T F", (2, 5, 15), "F is 15, not 13: 2 extra"),
        ("B T D", (5, 21), "the batch axis is missing: the case has B = 2 rows"),
        ("B T D", (2, 21), "the axis T is missing"),
        ("B T D", (3, 7, 9, 4), "4 axes instead of 3"),
        ("B T D", (), "a single value, which is not broadcast"),
        ("B T D", (1, 1), "a single value, which is not broadcast"),
        ("B T D", (0, 5, 21), "no elements"),
        ("B T D", (2, 4, 20), "T is 4, not 5: 1 missing; D is 20, not 21: 1 missing"),
        ("B T D", (21, 5, 2), "the right number of elements, but different axes"),
    ],
)
def test_what_is_wrong_with_a_shape(axes: str, shape: tuple[int, ...], words: str) -> None:
    reason = mismatch(shape, of(axes)[0], SIZES)
    assert reason.startswith(f"expected {axes} = ")
    assert f"found {shape}: " in reason
    assert words in reason


def test_a_single_number_is_expected() -> None:
    assert mismatch((3,), Entry("loss", (), "", 1.0, {}), {}).startswith("expected a scalar = (), found (3,): ")


def test_the_part_that_is_there() -> None:
    x = np.arange(12).reshape(3, 4)
    for held, words in ((x[:, :3], "the first 3 agree"), (x[:, 1:], "the last 3 agree"), (x[1:], "the last 2 agree")):
        agreeing = [w for w, theirs, ours in overlaps(held.shape, x.shape) if np.array_equal(held[theirs], x[ours])]
        assert agreeing == [words]
    wide = np.pad(x, ((0, 0), (0, 2)))
    assert [w for w, theirs, ours in overlaps(wide.shape, x.shape) if np.array_equal(wide[theirs], x[ours])] == [
        "the first 4 agree"
    ]
    assert list(overlaps((2, 3), x.shape)) == []
    assert list(overlaps((0, 4), x.shape)) == []
    assert list(overlaps((3,), x.shape)) == []


# ---- How the check treats different layouts.


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


Q, CONTEXT = "layers.0.self_attn.q", "layers.0.self_attn.context"


def test_the_memory_order_kept_is_accepted_and_reported(case: Case) -> None:
    x = np.array(case.array("layers.0"))
    for held, axes in ((x.reshape(10, 21), "B*T D"), (x[None], "B T D"), (x.reshape(2, 5, 3, 7), "B T H Dh")):
        found = row(checked(case, {"layers.0": held}), "layers.0")
        assert (found.state, found.notes) == (AGREES, [f"its axes are {axes}"])
    assert row(checked(case), "layers.0").notes == []
    assert row(checked(case, {"loss": np.array([2.5])}), "loss").state == AGREES


def test_an_order_that_is_not_declared_is_reported_and_not_accepted(case: Case) -> None:
    x = np.array(case.array(Q))
    for order in itertools.permutations(range(4)):
        held = {Q: x.transpose(order)}
        found = row(checked(case, held), Q)
        if order == (0, 1, 2, 3):
            assert found.state == AGREES
            continue
        axes = " ".join(["B", "H", "T", "Dh"][i] for i in order)
        assert (found.state, found.notes) == (NOT_COMPARABLE, [f"agrees when transposed: candidate axes are {axes}"])
        assert found.measured is None
        accepted = row(checked(case, held, accept_layouts=True), Q)
        assert accepted.state == AGREES
        assert accepted.measured is not None
        assert accepted.measured.agrees
    wrong = x.transpose(0, 2, 1, 3).copy()
    wrong[1, 2, 0, 3] += 1
    assert row(checked(case, {Q: wrong}, accept_layouts=True), Q).state == NOT_COMPARABLE


def test_an_equal_shape_that_agrees_in_another_order_differs(case: Case) -> None:
    x = np.array(case.array(CONTEXT))
    held = {CONTEXT: x.reshape(2, 5, 3, 7).swapaxes(2, 3).reshape(2, 5, 21)}
    found = row(checked(case, held), CONTEXT)
    assert (found.state, found.notes) == (DIFFERS, ["agrees when transposed: candidate axes are B T Dh*H"])
    assert found.measured is not None
    assert found.measured.exceeding > 100
    assert row(checked(case, held, accept_layouts=True), CONTEXT).state == AGREES


def test_a_flattened_array_in_another_order_is_not_comparable(case: Case) -> None:
    x = np.array(case.array("layers.0"))
    found = row(checked(case, {"layers.0": x.swapaxes(0, 1).reshape(-1)}), "layers.0")
    assert (found.state, found.measured) == (NOT_COMPARABLE, None)
    assert found.notes == ["agrees when transposed: candidate axes are T*B*D"]
    lost = row(checked(case, {"layers.0": x.reshape(-1)[::-1]}), "layers.0")
    assert lost.state == DIFFERS
    odd = row(checked(case, {"layers.0": x.reshape(5, 2, 21)}), "layers.0")
    assert (odd.state, odd.notes) == (
        NOT_COMPARABLE,
        [f"agrees when read in memory order: candidate axes are {MEMORY_ORDER}"],
    )
    none = row(checked(case, {"layers.0": -x.swapaxes(0, 1)}), "layers.0")
    assert none.state == NOT_COMPARABLE
    assert "the right number of elements, but different axes, and no permutation of the axes agrees" in none.notes[0]


def test_a_shape_of_no_order_of_the_axes_is_not_accepted_in_memory_order(tmp_path: Path) -> None:
    x = normal(4, 9, 6)
    case = case_of(tmp_path / "case.safetensors", {"layers.0.fc1": ("B T F", x)})
    found = row(checked(case, {"layers.0.fc1": x.reshape(2, 108)}), "layers.0.fc1")
    assert (found.state, found.notes) == (
        NOT_COMPARABLE,
        [f"agrees when read in memory order: candidate axes are {MEMORY_ORDER}"],
    )
    assert checked(case, {"layers.0.fc1": x.reshape(2, 108)}, accept_layouts=True).code == 0


def test_masked_scores_in_another_order(case: Case) -> None:
    name = "layers.0.self_attn.scores_masked"
    held = np.where(case.array(name) < -1e300, -np.inf, case.array(name)).transpose(2, 0, 1, 3)
    assert row(checked(case, {name: held}), name).notes == ["agrees when transposed: candidate axes are T B H S"]
    square = case_of(case.path.parent / "square.safetensors", {"scores": ("B H T S", normal(2, 3, 5, 5))})
    found = row(checked(square, {"scores": square.array("scores").swapaxes(2, 3)}), "scores")
    assert (found.state, found.notes) == (DIFFERS, ["agrees when transposed: candidate axes are B H S T"])


def test_another_size_says_which_part_agrees(case: Case) -> None:
    x = np.array(case.array("logits"))
    found = row(checked(case, {"logits": np.pad(x, ((0, 0), (0, 0), (0, 5)))}), "logits")
    assert found.state == NOT_COMPARABLE
    assert found.notes[0].endswith("V is 72, not 67: padded to a multiple of 8, 5 extra columns; remove them")
    assert found.notes[1:] == [
        "agrees if cut to its first 67 columns",
        "this is a convention and no mistake: to accept it, add --accept padded-vocabulary",
    ]
    assert row(checked(case, {"logits": x[:, 1:]}), "logits").notes[1:] == [
        "the last 4 of 5 positions agree: to compare only these, add --last 4"
    ]
    assert row(checked(case, {"logits": x[:, :3]}), "logits").notes[1:] == ["the first 3 agree"]
    assert row(checked(case, {"logits": x[:, 1:] + 1}), "logits").notes[1:] == []


@pytest.mark.parametrize("axes", ["B T D", "B H T Dh"])
def test_a_slim_case_in_another_order(tmp_path: Path, axes: str) -> None:
    _, x = of(axes)
    case = slim_case(tmp_path / "slim.safetensors", "layers.0", axes, x, 40)
    assert checked(case, {"layers.0": x}).code == 0
    order = (1, 0, *range(2, x.ndim))
    moved = x.transpose(order)
    assert row(checked(case, {"layers.0": moved}), "layers.0").state == NOT_COMPARABLE
    assert checked(case, {"layers.0": moved}, accept_layouts=True).code == 0
    assert math.prod(moved.shape) == x.size
