"""Evidence in the numbers of a candidate: their precision, and the mask that probabilities show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import InputError
from minibiogpt.golden.check.compare import bits_of
from minibiogpt.golden.check.evidence.conclusions import mask_in
from minibiogpt.golden.check.evidence.numbers import held_in, on_grid
from minibiogpt.golden.check.result import AGREES, DIFFERS, Options
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.rounding import rounded
from minibiogpt.golden.report.advice import next_command, options_in_words
from minibiogpt.golden.report.json_report import as_json
from minibiogpt.golden.report.text import findings
from tests.support.golden_cases import arrays_of, case_of, checked, normal, row, small

PROBS = "layers.0.self_attn.probs"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def tf32(x: np.ndarray) -> np.ndarray:
    """Return x with the 10 stored bits of TF32, cut off."""
    return (x.astype("f4").view("u4") & ~np.uint32(0x1FFF)).view("f4")


def int8(x: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return x as torch quantizes it: for the whole array, or for each row."""
    flat = torch.from_numpy(np.array(x, "f4")).reshape(-1, x.shape[-1])
    if axis is None:
        scale = float(flat.abs().max()) / 127
        return torch.fake_quantize_per_tensor_affine(flat, scale, 0, -128, 127).numpy().reshape(x.shape)
    scales, zeros = flat.abs().amax(1) / 127, torch.zeros(len(flat), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(flat, scales, zeros, 0, -128, 127).numpy().reshape(x.shape)


@settings(max_examples=100)
@given(x=st.floats(width=32, allow_nan=False, allow_infinity=False), keep=st.integers(1, 24))
def test_the_bits_of_a_number_are_those_that_a_cut_leaves(x: float, keep: int) -> None:
    cut = (np.array([x], "f4").view("u4") & ~np.uint32(2 ** (24 - keep) - 1)).view("f4")
    used = bits_of(cut)
    assert used <= keep
    assert bits_of(np.concatenate([cut, [0.0], -cut])) == used


def test_arrays_on_the_grid_of_int8(case: Case) -> None:
    x = normal(2, 5, 67)
    assert [on_grid(y, np.asarray) for y in (int8(x), int8(x, -1), x, rounded(x, "bfloat16"))] == [
        True,
        True,
        False,
        False,
    ]
    assert not any(on_grid(y, np.asarray) for y in (np.zeros((9, 9)), np.ones((3, 20)), normal(3, 2), normal(200, 3)))
    assert not on_grid(1e-310 * normal(9, 9), np.asarray)  # without overflow
    changed = {name: int8(case.array(name), -1) for name in ("layers.0", "logits")}
    result = checked(case, changed)
    assert [row.name for row in result.rows if row.on_grid] == ["layers.0", "logits"]
    (held,) = held_in(result.rows)
    assert held.sentence == "2 of 7 arrays hold int8-grid numbers, stored as float32: the first is layers.0"
    assert held.sentence in findings(result)
    assert as_json(result)["numbers"] == [
        {"precision": "int8-grid", "arrays": ["layers.0", "logits"], "stored": ["float32"]}
    ]
    by_name = {one["name"]: one["numbers"] for one in as_json(result)["arrays"]}
    assert (by_name["layers.0"], by_name["embeddings"]) == ("int8-grid", None)


def test_weights_that_are_on_a_grid_by_themselves_tell_nothing(tmp_path: Path) -> None:
    x = np.round(40 * normal(4, 30)) / 64
    case = case_of(tmp_path / "case.safetensors", {"embed_positions": ("T D", x)})
    assert not checked(case, {"embed_positions": x}).rows[0].on_grid


def test_where_coarse_numbers_begin(case: Case) -> None:
    for change, name in (
        (lambda x: rounded(x.astype("f4"), "bfloat16"), "bfloat16"),
        (lambda x: x.astype("f2").astype("f4"), "float16"),
        (tf32, "TF32"),
    ):
        x = {"layers.0": change(case.array("layers.0")), "logits": change(1e-6 * case.array("logits"))}
        names = [(one.precision, one.arrays) for one in held_in(checked(case, x).rows)]
        # 1e-6 is below the normal numbers of float16: what has 11 bits there is TF32, and so are all others.
        assert (name, ["layers.0", "logits"] if name != "float16" else ["layers.0"]) in names
    table = case_of(case.path.parent / "table.safetensors", {"embed_tokens": ("T D", normal(5, 21))})
    assert held_in(checked(table, {"embed_tokens": tf32(table.array("embed_tokens"))}).rows) == [], "as it is stored"
    single = {
        name: x.astype("f4") for name, x in arrays_of(case).items() if x.dtype.kind == "f" and "masked" not in name
    }
    assert held_in(checked(case, single).rows) == [], "float32 is no coarse precision"
    assert held_in(checked(case).rows) == []


def test_arrays_that_are_stored_in_their_own_precision_need_no_line(case: Case) -> None:
    half = {name: x.astype("f2") for name, x in arrays_of(case).items() if x.dtype.kind == "f" and "masked" not in name}
    result = checked(case, half | {"layers.0.self_attn.scores_masked": None}, precision="bfloat16")
    assert held_in(result.rows) == []


def test_precisions_of_patterns(case: Case) -> None:
    changed = {"layers.0": case.array("layers.0") + 1e-6, "logits": case.array("logits") + 1e-2}
    assert checked(case, changed).code == 1
    precisions = (("l*", "float32"), ("logits", "bfloat16"))
    result = checked(case, changed, precisions=precisions)
    assert result.code == 0
    found = {name: row(result, name).precision for name in ("embeddings", "layers.0", "logits")}
    assert found == {"embeddings": "float64", "layers.0": "float32", "logits": "bfloat16"}
    assert checked(case, changed, precisions=precisions[::-1]).code == 1, "the last one that matches counts"
    assert checked(case, changed, precision="bfloat16", precisions=(("layers.0", "float32"),)).code == 0
    assert options_in_words(Options(precision="float32", precisions=precisions)) == (
        " --precision float32 --precision 'l*=float32' --precision logits=bfloat16"
    )
    with pytest.raises(InputError, match="--precision must name an array of the case"):
        checked(case, precisions=(("layer.0", "float32"),))
    assert "--precision logits=bfloat16" in next_command(checked(case, {"embeddings": None}, precisions=precisions))


MASK = np.array([[0, 1, 1], [1, 1, 1]])
VISIBLE = np.tri(3, dtype=bool) & (MASK[:, None, None, :] != 0)


@pytest.mark.parametrize(("seen", "words"), [
    (VISIBLE, "right: the future and padding have probability 0"),
    (np.tri(3, dtype=bool), "wrong: 2 probabilities of padding are not 0, the first at b=0 h=0 t=1 s=0"),
    (np.ones((3, 3), bool), "wrong: 4 probabilities of the future are not 0, the first at b=0 h=0 t=1 s=2; "
     "2 probabilities of padding are not 0, the first at b=0 h=0 t=1 s=0"),
    (np.eye(3, dtype=bool), "wrong: 4 probabilities of visible positions are 0, the first at b=0 h=0 t=2 s=1"),
])  # fmt: skip
def test_probabilities_show_the_mask(tmp_path: Path, seen: np.ndarray, words: str) -> None:
    e = np.exp(normal(2, 1, 3, 3))
    seen = np.broadcast_to(seen, VISIBLE.shape)
    e, seen = np.where(VISIBLE, e, 0), np.where(VISIBLE.any(-1, keepdims=True), seen, True)
    reference = np.where(VISIBLE.any(-1, keepdims=True), e / np.maximum(e.sum(-1, keepdims=True), 1e-9), 1 / 3)
    theirs = np.where(seen, 0.3, 0.0)
    inputs = {"inputs/attention_mask": MASK}
    case = case_of(tmp_path / "case.safetensors", {PROBS: ("B H T S", reference)}, inputs)
    found = row(checked(case, {PROBS: theirs}), PROBS)
    assert found.state == DIFFERS
    assert found.notes == [f"its zeros show that the mask is {words}"]
    assert row(checked(case), PROBS).notes == []
    weights = PROBS.replace("probs", "weights")
    case = case_of(tmp_path / "other.safetensors", {weights: ("B H T S", reference)}, inputs)
    assert row(checked(case, {weights: theirs}), weights).notes == found.notes


def test_the_mask_of_a_step_with_a_cache() -> None:
    probs = np.array([[[[0.5, 0.5, 0.0], [0.3, 0.3, 0.4]]]])
    assert mask_in(probs, None).endswith("right: the future has probability 0")
    weights = np.concatenate([probs, 0 * probs], 1)
    assert mask_in(weights, None).endswith("right: the future has probability 0"), "the second head is masked"
    probs[0, 0, 0, 2] = np.nan
    assert mask_in(probs, None).endswith("right: the future has probability 0"), "NaN tells nothing"


def test_masked_scores_that_were_compared_say_it_themselves(tmp_path: Path) -> None:
    masked = f"{PROBS.removesuffix('probs')}scores_masked"
    arrays = {masked: ("B H T S", normal(1, 1, 2, 2)), PROBS: ("B H T S", np.full((1, 1, 2, 2), 0.5))}
    case = case_of(tmp_path / "case.safetensors", arrays)
    wrong = {PROBS: np.full((1, 1, 2, 2), 0.4)}
    assert row(checked(case, wrong), PROBS).notes == []
    assert row(checked(case, wrong | {masked: None}), PROBS).notes != []
    assert row(checked(case, wrong), masked).state == AGREES
