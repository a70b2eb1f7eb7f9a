"""The check of a whole candidate: dtypes and precisions, inputs, padding, subsets, steps, slim cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from minibiogpt import InputError
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.check.mapping import Mapped
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Options
from minibiogpt.golden.format.case import Case, Entry, write_case
from minibiogpt.golden.format.rounding import rounded
from tests.support.golden_cases import (
    BUDGETS,
    CONFIG,
    arrays_of,
    case_of,
    checked,
    normal,
    row,
    slim_case,
    small,
    written,
)

MASKED = "layers.0.self_attn.scores_masked"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def test_a_candidate_that_agrees(case: Case) -> None:
    result = checked(case)
    assert [one.state for one in result.rows] == [AGREES] * 8
    assert [one.name for one in result.rows] == [one.name for one in case.entries]
    assert (result.code, result.compared, result.incomplete, result.first_difference) == (0, 8, 0, None)
    assert result.last_good is result.rows[-1]
    assert (row(result, "layers.0").precision, row(result, "layers.0").where) == ("float64", None)
    assert row(result, "position_ids").precision == "exact"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["embeddings", "layers.0.self_attn.q", "layers.0", "logits", "loss"]))
def test_any_element_off_by_more_than_its_budget_is_the_first_difference(
    case: Case, data: st.DataObject, name: str
) -> None:
    x = np.array(case.array(name))
    at = tuple(data.draw(st.integers(0, n - 1)) for n in x.shape)
    x[at] += data.draw(st.sampled_from([1.5e-12, -1.5e-12, 1.0, np.nan, -np.inf]))
    result = checked(case, {name: x})
    assert result.first_difference is row(result, name)
    assert (result.code, row(result, name).where, len(result.rows_in(DIFFERS))) == (1, at, 1)


@pytest.mark.parametrize(("dtype", "off", "state"), [
    ("float64", 0.9e-12, AGREES), ("float64", 3e-12, DIFFERS), ("float32", 0.8e-5, AGREES), ("float32", 3e-5, DIFFERS),
    ("float16", 0.0, NOT_COMPARABLE),
])  # fmt: skip
def test_the_budget_is_that_of_the_tensors_own_dtype(case: Case, dtype: str, off: float, state: str) -> None:
    found = row(checked(case, {"layers.0": (np.array(case.array("layers.0")) + off).astype(dtype)}), "layers.0")
    assert (found.state, found.dtype, found.precision) == (state, dtype, dtype)
    if state == NOT_COMPARABLE:
        assert found.notes == ["float16 cannot represent this array, so there is no budget for it"]
    else:
        assert found.measured is not None
        assert found.measured.budget == BUDGETS[dtype]


def test_a_precision_that_is_given_counts_for_all_floats(case: Case) -> None:
    off = {"layers.0": case.array("layers.0") + 1e-6, "logits": case.array("logits").astype("f4")}
    assert checked(case, off).code == 1
    assert checked(case, off, precision="float32").code == 0
    assert checked(case, {"logits": off["logits"]}, precision="float64").first_difference is not None
    ids = {"position_ids": case.array("position_ids") + 1}
    assert row(checked(case, ids, precision="bfloat16"), "position_ids").state == DIFFERS
    assert checked(case, precision="float16").code == 1


def test_a_coarser_precision_is_suggested_if_the_numbers_are_its_own(case: Case) -> None:
    def suggested(precision: str, off: float = 0.0, **more: np.ndarray) -> str | None:
        x = rounded((case.array("layers.0") + off).astype("f4"), precision).astype("f8")
        return checked(case, {"layers.0": x, **more}).coarser_precision

    assert suggested("float32") == "float32"
    assert suggested("bfloat16") == "bfloat16"
    assert suggested("float32", 1e-3) is None, "float32 values with errors too large for float32 are not bfloat16"
    assert suggested("bfloat16", 0.5) is None
    narrow = rounded(case.array("logits").astype("f4"), "bfloat16").astype("f8")
    assert suggested("float32", logits=narrow) is None, "two precisions, neither of which explains both arrays"
    assert suggested("bfloat16", logits=narrow) == "bfloat16"
    both = checked(case, {"layers.0": narrow_of(case, "layers.0").astype("f8")})
    row(both, "layers.0").budgets = BUDGETS | {"float16": BUDGETS["bfloat16"]}
    assert both.coarser_precision == "bfloat16", "if two explain it, the one whose values these are"
    finer = rounded(case.array("logits").astype("f4"), "float32").astype("f8")
    assert suggested("bfloat16", logits=finer) == "bfloat16", "a bfloat16 array in a computation that is finer after it"
    assert suggested("float32", logits=case.array("logits") + 1) is None
    assert suggested("float32", position_ids=case.array("position_ids") + 1) is None
    with_nan = np.array(case.array("logits"))
    with_nan[0, 0, 0] = np.nan
    assert suggested("float32", logits=with_nan) is None
    visible = np.where(case.array(MASKED) == LOWEST, 0.0, case.array(MASKED))
    assert suggested("float32", **{MASKED: visible}) is None
    assert checked(case, {"layers.0": case.array("layers.0") + 1e-7}).coarser_precision is None, "wrong float64 values"
    assert checked(case, {"layers.0": narrow_of(case, "layers.0").astype("f4")}).coarser_precision == "bfloat16"


def narrow_of(case: Case, name: str) -> np.ndarray:
    return rounded(case.array(name).astype("f4"), "bfloat16")


def test_floats_are_no_integers_and_integers_no_floats(case: Case) -> None:
    ids = np.array(case.array("position_ids"))
    for dtype in ("int32", "int16", "int8"):
        assert checked(case, {"position_ids": ids.astype(dtype)}).code == 0
    found = row(checked(case, {"position_ids": ids.astype("f8")}), "position_ids")
    assert (found.state, found.notes) == (NOT_COMPARABLE, ["expected integers, found float64"])
    found = row(checked(case, {"layers.0": np.zeros((2, 5, 21), "i8")}), "layers.0")
    assert (found.state, found.notes) == (NOT_COMPARABLE, ["expected floats, found int64"])
    unsigned = row(checked(case, {"position_ids": ids.astype("uint8")}), "position_ids")
    assert unsigned.state == DIFFERS


def test_integers_are_exact_whatever_the_budgets_say(tmp_path: Path) -> None:
    path, ids = tmp_path / "c.safetensors", np.arange(6).reshape(2, 3)
    one = Entry("position_ids", (2, 3), "B T", 5.0, dict.fromkeys(BUDGETS, 9.0))
    fields = {"case": "x", "about": "", "kind": "full", "architecture": "x"}
    fields |= {"config": CONFIG, "model": {}, "budget": {}}
    write_case(path, fields, {}, [one], {"position_ids": ids})
    assert checked(Case.read(path)).code == 0
    assert checked(Case.read(path), {"position_ids": ids + 1}, precision="float32").code == 1


def test_what_is_missing_and_what_is_too_much(case: Case) -> None:
    result = checked(case, {"layers.0": None, "extra": np.zeros(2)})
    found = row(result, "layers.0")
    assert (found.state, found.candidate, found.notes) == (NOT_COMPARABLE, None, ["missing from the candidate"])
    assert [one.candidate for one in result.unpaired] == ["extra"]
    assert (result.code, result.incomplete, result.compared, result.missing) == (1, 2, 7, [found])
    assert checked(case, {"layers.0": None}).code == 1
    assert checked(case, {"extra": np.zeros(2)}).code == 1
    subset = checked(case, {"layers.0": None, "extra": np.zeros(2)}, subset=True)
    assert (subset.code, subset.incomplete, subset.missing[0].name) == (0, 0, "layers.0")
    assert checked(case, {"layers.0": None, "logits": np.zeros((2, 5, 66))}, subset=True).code == 1
    assert checked(case, {"layers.0": None, "logits": np.zeros((2, 5, 67))}, subset=True).code == 1


def test_only_some_names(case: Case) -> None:
    wrong = {"logits": case.array("logits") + 1, "extra": np.zeros(2)}
    result = checked(case, wrong, names=["layers.*", "embeddings"])
    assert (result.code, len(result.rows)) == (0, 5)
    assert [one.candidate for one in result.unpaired] == ["extra"], "unpaired tensors are listed anyway"
    assert checked(case, wrong, names=["log*"]).code == 1
    assert checked(case, {"layers.0": None}, names=["layers.0"]).code == 2
    assert checked(case, {"layers.0": None}, names=["layers.*"]).code == 1
    with pytest.raises(InputError, match=r"--names must name an array of the case; found none called 'layer.0'"):
        checked(case, names=["layer.0"])


def test_nothing_compared_is_no_agreement(case: Case) -> None:
    nothing = dict.fromkeys(arrays_of(case))
    for changed in (nothing, nothing | {"x": np.zeros(2)}, nothing | {"logits": np.zeros(3)}, nothing | case.inputs()):
        for subset in (False, True):
            assert checked(case, changed, subset=subset).code == 2


def test_inputs_are_compared_exactly(case: Case) -> None:
    ids = case.array("inputs/input_ids")
    assert checked(case, case.inputs()).code == 0
    assert [one.state for one in checked(case, {"input_ids": ids.astype("i4")}).inputs] == [AGREES]
    other = np.array(ids)
    other[1, 4] += 1
    result = checked(case, {"inputs/input_ids": other})
    assert (result.code, result.rows_in(DIFFERS), [one.name for one in result.wrong_inputs]) == (
        1,
        [],
        ["inputs/input_ids"],
    )
    assert result.wrong_inputs[0].where == (1, 4)
    assert checked(case, {"inputs/input_ids": ids[None]}).code == 0
    wrongs = [(ids[:, :4], "expected shape (2, 5)"), (ids.reshape(5, 2), "expected shape (2, 5)")]
    for wrong, word in (*wrongs, (ids.astype("f8"), "expected integers")):
        result = checked(case, {"inputs/input_ids": wrong})
        assert (result.code, result.wrong_inputs[0].state) == (1, NOT_COMPARABLE)
        assert word in result.wrong_inputs[0].notes[0]
    mask = case.array("inputs/attention_mask")
    assert [checked(case, {"attention_mask": mask.astype(dtype)}).code for dtype in ("?", "f4", "f8")] == [0, 0, 0]
    assert [checked(case, {"attention_mask": x}).code for x in (np.ones_like(mask), 0.5 * mask)] == [1, 1]


def test_float_inputs_may_be_rounded_to_the_candidates_dtype(tmp_path: Path) -> None:
    embeds = normal(1, 2, 3)
    case = case_of(tmp_path / "c.safetensors", {"logits": ("B", normal(4))}, {"inputs/inputs_embeds": embeds})
    assert checked(case, {"inputs_embeds": embeds}).code == 0
    assert checked(case, {"inputs_embeds": embeds.astype("f4")}).code == 0
    assert checked(case, {"inputs_embeds": embeds.astype("f4").astype("f8")}).code == 1
    assert checked(case, {"inputs_embeds": embeds.astype("f4").astype("f8")}, precision="float32").code == 0
    assert checked(case, {"inputs_embeds": np.nextafter(embeds, 9.0)}).code == 1
    near = rounded(embeds.astype("f4"), "bfloat16")
    assert checked(case, {"inputs_embeds": near}, precision="bfloat16").code == 0
    for factor, code in ((1, 0), (1.01, 1)):
        theirs = {"inputs_embeds": torch.tensor(factor * near).bfloat16(), "logits": torch.tensor(normal(4))}
        save_file(theirs, tmp_path / "torch.safetensors")
        assert check(case, tmp_path / "torch.safetensors").code == code


def test_a_mask_of_ones_means_what_none_means(tmp_path: Path) -> None:
    case = case_of(
        tmp_path / "c.safetensors", {"logits": ("B", normal(4))}, {"inputs/input_ids": np.zeros((1, 2), int)}
    )
    assert checked(case, {"inputs/attention_mask": np.ones((1, 2), "i8")}).code == 0
    assert checked(case, {"attention_mask": np.ones((1, 2), "f4"), "head_mask": np.ones(3)}).code == 0
    assert checked(case, {"inputs/attention_mask": np.array([[0, 1]])}).code == 1
    assert checked(case, {"other": np.ones((1, 2))}).code == 1


def test_padding_can_be_left_out(case: Case) -> None:
    """Positions 0 and 1 of the first row are padding, as queries and as keys."""
    pads, scores, q = np.array(case.array("layers.0")), np.array(case.array(MASKED)), np.array(case.array("logits"))
    pads[0, :2] = np.nan
    q[0, 1] = 99.0
    scores[0, :, :2] = 7.0
    scores[0, :, :, 1] = 5.0
    wrong = {"layers.0": pads, MASKED: scores, "logits": q}
    assert len(checked(case, wrong).rows_in(DIFFERS)) == 3
    result = checked(case, wrong, real_only=True)
    assert result.code == 0
    found = row(result, "layers.0").measured
    assert found is not None
    assert found.compared == 8 * 21
    for at in ((0, 2, 3), (1, 0, 0), (1, 4, 20)):
        real = np.array(case.array("layers.0"))
        real[at] += 1
        assert row(checked(case, {"layers.0": real}, real_only=True), "layers.0").where == at
    visible = np.array(case.array(MASKED))
    visible[0, 1, 2, 3] = 0.0  # a later key, real
    assert row(checked(case, {MASKED: visible}, real_only=True), MASKED).state == DIFFERS
    assert row(checked(case, {"loss": np.array(3.0)}, real_only=True), "loss").state == DIFFERS
    moved = {"layers.0": pads.swapaxes(0, 1)}
    assert row(checked(case, moved, real_only=True, accept_layouts=True), "layers.0").state == AGREES


def test_padding_of_a_later_step_and_of_keys(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    arrays = {
        "step.1/layers.0": ("B T D", normal(2, 2, 6)),
        "step.1/layers.0.self_attn.k": ("B H S Dh", normal(2, 3, 5, 2)),
    }
    case = case_of(tmp_path / "c.safetensors", arrays, {"step.1/inputs/attention_mask": mask})
    x, k = np.array(case.array("step.1/layers.0")), np.array(case.array("step.1/layers.0.self_attn.k"))
    x[1, 1], k[0, :, 0], k[1, :, 4] = 9, 9, 9
    wrong = {"step.1/layers.0": x, "step.1/layers.0.self_attn.k": k}
    assert len(checked(case, wrong).rows_in(DIFFERS)) == 2
    assert checked(case, wrong, real_only=True).code == 0
    x[0, 0] += 1  # position 3 of the first row: real
    assert row(checked(case, {"step.1/layers.0": x}, real_only=True), "step.1/layers.0").where == (0, 0, 0)


def test_without_a_mask_nothing_is_left_out(tmp_path: Path) -> None:
    case = case_of(
        tmp_path / "c.safetensors", {"x": ("B T", normal(2, 3))}, {"inputs/input_ids": np.zeros((2, 3), int)}
    )
    assert checked(case, {"x": case.array("x") + 1}, real_only=True).code == 1


def test_nothing_but_padding_is_not_comparable(tmp_path: Path) -> None:
    zeros = {"inputs/attention_mask": np.zeros((2, 3), int)}
    case = case_of(tmp_path / "c.safetensors", {"x": ("B T", normal(2, 3))}, zeros)
    found = checked(case, real_only=True)
    assert (found.code, found.rows[0].notes) == (2, ["nothing left to compare"])


def test_other_names_and_layouts_by_alias(case: Case) -> None:
    q, z = np.array(case.array("layers.0.self_attn.q")), np.array(case.array("layers.0.self_attn.context"))
    names = {"layers.0.self_attn.q": None, "layers.0.self_attn.context": None}
    hooks = {"blocks.0.attn.hook_q": q.swapaxes(1, 2), "blocks.0.attn.hook_z": z.reshape(2, 5, 3, 7)}
    result = checked(case, {**names, **hooks})
    assert result.code == 0
    assert row(result, "layers.0.self_attn.q").notes == ["its axes are B T H Dh"]
    plain = row(checked(case, {**names, **hooks, "blocks.0.attn.hook_q": q}), "layers.0.self_attn.q")
    assert plain.state == NOT_COMPARABLE
    assert plain.notes == [
        "its axes are declared as B T H Dh, but its shape is (2, 3, 5, 7)",
        "agrees when read in memory order: candidate axes are B H T Dh",
    ]
    both = checked(case, {"biogpt.layers.0": case.array("layers.0") + 1})
    twice = [(one.candidate, one.state) for one in both.rows if one.name == "layers.0"]
    assert sorted(map(str, twice)) == sorted(map(str, [("layers.0", AGREES), ("biogpt.layers.0", DIFFERS)]))
    assert both.code == 1


def test_the_note_of_an_alias_is_reported_where_it_differs(case: Case) -> None:
    hidden = np.array(case.array("layers.0"))
    assert row(checked(case, {"layers.0": None, "hidden_states.1": hidden}), "layers.0").notes == []
    notes = row(checked(case, {"layers.0": None, "hidden_states.1": hidden + 1}), "layers.0").notes
    assert "in 5.x it is layer_norm" in notes[-1]


def test_a_map_declares_names_and_axes(case: Case) -> None:
    q = np.array(case.array("layers.0.self_attn.q"))
    moved = {"layers.0.self_attn.q": None, "h": q.transpose(2, 0, 1, 3).reshape(5, 6, 7)}
    mapped = {"layers.0.self_attn.q": Mapped("h", "T B*H Dh")}
    assert checked(case, moved, mapped=mapped).code == 0
    wrong = {"layers.0.self_attn.q": Mapped("h", "T H*B Dh")}
    found = row(checked(case, moved, mapped=wrong), "layers.0.self_attn.q")
    assert found.state != AGREES
    assert found.notes == ["agrees when transposed: candidate axes are T B*H Dh"]
    with pytest.raises(InputError, match="must be B H T Dh in some order"):
        checked(case, moved, mapped={"layers.0.self_attn.q": Mapped("h", "T B")})
    ids = {"inputs/input_ids": Mapped("ids", "B T")}
    assert checked(case, {"ids": case.array("inputs/input_ids")}, mapped=ids).code == 0


def test_a_slim_case(tmp_path: Path) -> None:
    x = normal(4, 50)
    case = slim_case(tmp_path / "slim.safetensors", "layers.0", "T D", x, 20)
    assert checked(case, {"layers.0": x}).code == 0
    at_sample, between = x.copy(), x.copy()
    at_sample[1, 13] += 1  # the flat index 63 is a sample, 60 is not
    between[1, 10] += 1
    assert row(checked(case, {"layers.0": at_sample}), "layers.0").where == (1, 13)
    result = checked(case, {"layers.0": between})
    assert (result.code, result.coarser_precision) == (1, None)
    assert checked(case, {"layers.0": x[:, :20]}).code == 2
    narrow = x.astype("f4").astype("f8")
    assert [checked(case, {"layers.0": narrow}, precision=p).code for p in (None, "float32")] == [1, 0]


def test_the_marks_of_a_slim_case(tmp_path: Path) -> None:
    x = np.where(np.tri(6, dtype=bool), normal(2, 6, 6), LOWEST)
    case = slim_case(tmp_path / "slim.safetensors", MASKED, "H T S", x, 24)
    assert checked(case, {MASKED: np.where(x == LOWEST, -np.inf, x)}).code == 0
    assert checked(case, {MASKED: np.where(x == LOWEST, -100.0, x)}).code == 1


def test_the_reference_itself_is_no_candidate(case: Case) -> None:
    link = case.path.parent / "link"
    link.symlink_to(case.path)
    for path in (case.path, link):
        with pytest.raises(InputError, match="must be a different file from the reference"):
            check(case, path)
    copied = case.path.parent / "copy.safetensors"
    copied.write_bytes(case.path.read_bytes())
    assert check(case, copied).code == 0


@pytest.mark.parametrize("one", [
    Entry("x", (2, 3), "B", 1.0, BUDGETS), Entry("x", (2, 3), "T T", 1.0, BUDGETS),
    Entry("x", (2, 3), "B T", 1.0, BUDGETS, 7), Entry("x", (-2, -3), "B T", 1.0, BUDGETS, 6),
    Entry("x", (2, 3), "B T", 1.0, BUDGETS, 2, {p: [] for p in BUDGETS}),
    Entry("x", (2, 3), "B T", 1.0, BUDGETS, 2, {p: [1.0] * 3 for p in BUDGETS}),
])  # fmt: skip
def test_a_case_that_gives_no_axes(tmp_path: Path, one: Entry) -> None:
    path, fields = tmp_path / "c.safetensors", {"case": "x", "about": "", "kind": "full", "architecture": "x"}
    x = normal(2, 3) if one.samples is None else normal(one.samples)
    stored = {"x": x} if one.sums is None else {"x": x, "x/sums": normal(4)}
    write_case(path, fields | {"config": CONFIG, "model": {}, "budget": {}}, {}, [one], stored)
    with pytest.raises(InputError, match="must have one letter and one size per axis, .*; found 'x'"):
        check(Case.read(path), written(tmp_path / "t.safetensors", {"x": normal(2, 3)}), Options())


@pytest.mark.parametrize("heads", [True, 0, -3, 2, 1e400, "3", None])
def test_a_config_without_heads_leaves_d_whole(tmp_path: Path, heads: object) -> None:
    x = normal(2, 5, 21)
    case = case_of(tmp_path / "c.safetensors", {"x": ("B T D", x)}, config={"num_attention_heads": heads})
    assert checked(case).code == 0
    assert checked(case, {"x": x.swapaxes(0, 1)}).rows[0].notes == ["agrees when transposed: candidate axes are T B D"]


def test_with_subset_a_map_may_name_arrays_that_are_not_there_yet(case: Case) -> None:
    mapped = {"logits": Mapped("out"), "layers.0": Mapped("h.0")}
    result = checked(case, {"out": case.array("logits"), "logits": None, "layers.0": None}, mapped=mapped, subset=True)
    assert (result.code, row(result, "logits").state) == (0, AGREES)
    assert row(result, "layers.0").notes == ["missing from the candidate, where the map calls it h.0"]
    for lacking in ({"logits": Mapped("oot")}, mapped):
        with pytest.raises(InputError, match="a map must use names that exist in the candidate"):
            checked(case, {"layers.0": None}, mapped=lacking, subset=lacking is not mapped)


def test_the_candidates_arrays_can_be_read_in_the_cases_layout_after_the_check(case: Case, tmp_path: Path) -> None:
    q, masked, ids = (np.array(case.array(n)) for n in ("layers.0.self_attn.q", MASKED, "position_ids"))
    context = np.array(case.array("layers.0.self_attn.context"))
    heads_last = context.reshape(2, 5, 3, 7).transpose(0, 1, 3, 2)  # the dimensions of each head first: B T Dh*H
    changed = {
        "layers.0.self_attn.q": q.transpose(0, 2, 1, 3) + 1,  # differs, in the only layout that its shape has
        "layers.0.self_attn.context": heads_last.reshape(2, 5, 21),
        "position_ids": ids.astype("i4").reshape(10),
        "layers.0": np.zeros((2, 5)),
    }
    path = tmp_path / "theirs.npz"
    np.savez(path, **{**arrays_of(case), **changed, "inputs/input_ids": np.arange(10, dtype="i4").reshape(2, 5)})
    result = check(case, path)
    read = {one.name: one.aligned() for one in [*result.rows, *result.inputs] if one.aligned is not None}
    assert set(read) == {"inputs/input_ids", *(entry.name for entry in case.entries)} - {"layers.0"}
    for name, expected in (("layers.0.self_attn.q", q + 1), (MASKED, masked), ("position_ids", ids)):
        np.testing.assert_array_equal(read[name], expected, strict=True)
    np.testing.assert_array_equal(read["layers.0.self_attn.context"], heads_last.reshape(2, 5, 21))
    accepted = {one.name: one.aligned for one in check(case, path, Options(accept_layouts=True)).rows}
    again = accepted["layers.0.self_attn.context"]
    assert again is not None
    np.testing.assert_array_equal(again(), context)
    np.testing.assert_array_equal(read["inputs/input_ids"], case.array("inputs/input_ids"), strict=True)


def test_a_note_is_given_only_where_the_numbers_fit_it(tmp_path: Path) -> None:
    config = {"num_attention_heads": 1, "num_hidden_layers": 2}
    x, probs = normal(2, 3, 4), np.full((2, 1, 3, 3), 1 / 3)
    arrays = {"layers.0": ("B T D", x), "layers.1": ("B T D", x), "layers.0.self_attn.probs": ("B H T S", probs)}
    case = case_of(
        tmp_path / "case.safetensors",
        arrays | {"layers.0.self_attn.k": ("B H S Dh", normal(2, 1, 3, 4))},
        config=config,
    )

    def notes(ours: str, theirs: str, wrong: np.ndarray) -> list[str]:
        found = row(checked(case, {ours: None, theirs: wrong}), ours).notes
        return [note for note in found if not note.startswith(("it does not matter here", "its zeros show"))]

    assert notes("layers.0", "hidden_states.1", x + 1) == [], "only the last one is after the norm in 5.x"
    assert any("in 5.x it is layer_norm" in note for note in notes("layers.1", "hidden_states.2", x + 1))
    pattern = "blocks.0.attn.hook_pattern"
    assert notes("layers.0.self_attn.probs", pattern, probs + 0.1) == []
    assert any(
        "writes 0 into a fully masked row" in note for note in notes("layers.0.self_attn.probs", pattern, probs * 0)
    )
    k = np.array(case.array("layers.0.self_attn.k"))
    assert notes("layers.0.self_attn.k", "past_key_values.0.0", k + 1) == []
    few = notes("layers.0.self_attn.k", "past_key_values.0.0", k[:, :, 1:])
    assert any("holds the keys and values of all S positions" in note for note in few)


def test_a_note_about_json_is_given_only_where_float32_explains_the_error(case: Case) -> None:
    def notes(off: float) -> list[str]:
        arrays = {"layers.0": (np.array(case.array("layers.0")) + off).tolist()}
        (path := case.path.parent / "theirs.json").write_text(json.dumps(arrays))
        return row(check(case, path, Options(subset=True)), "layers.0").notes

    assert notes(0.0) == []
    assert notes(1e-3) == []
    assert ["add --precision float32" in note for note in notes(1e-6)] == [True]
