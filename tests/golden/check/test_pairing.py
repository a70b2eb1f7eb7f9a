"""Pairing names: the case's own, prefixed with biogpt., other tools', those of a map; and unknown names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minibiogpt import InputError
from minibiogpt.golden.check.mapping import Mapped, read_map
from minibiogpt.golden.check.pairing import MAX_SUGGESTIONS, pair

KNOWN = [
    "embeddings", "layers.0.self_attn.q", "layers.0.self_attn.scores_masked", "layers.0.self_attn.out_proj", "layers.0",
    "layer_norm", "logits", "position_ids", "inputs/input_ids", "step.1/layers.0", "step.1/layers.0.self_attn.q",
    "step.1/inputs/input_ids",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ours", "axes"),
    [
        ("layers.0", "layers.0", None),
        ("biogpt.layers.0", "layers.0", None),
        ("step.1/biogpt.layers.0", "step.1/layers.0", None),
        ("step.1/layers.0", "step.1/layers.0", None),
        ("inputs/input_ids", "inputs/input_ids", None),
        ("input_ids", "inputs/input_ids", None),
        ("step.1/input_ids", "step.1/inputs/input_ids", None),
        ("step.1/inputs/input_ids", "step.1/inputs/input_ids", None),
        ("position_ids", "position_ids", None),
        ("blocks.0.attn.hook_q", "layers.0.self_attn.q", "B T H Dh"),
        ("step.1/blocks.0.attn.hook_q", "step.1/layers.0.self_attn.q", "B T H Dh"),
        ("blocks.0.hook_resid_post", "layers.0", "B T D"),
        ("output_projection", "logits", "B T V"),
        ("biogpt.layers.0.self_attn", "layers.0.self_attn.out_proj", "B T D"),
        ("hidden_states.1", "layers.0", "B T D"),
    ],
)
def test_names_that_stand_for_an_array(name: str, ours: str, axes: str | None) -> None:
    (found,) = pair([name], KNOWN)
    assert (found.candidate, found.reference_name, found.axes, found.reason) == (name, ours, axes, "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("layers.0.self_attn.qq", "the closest names are layers.0.self_attn.q, "),
        ("biogpt.biogpt.layers.0", "the closest names are layers.0"),
        ("?", "no name is similar"),
        ("blocks.0.ln1.hook_normalized", "before its gain and bias"),
        ("blocks.7.hook_resid_post", "it is layers.7, which the case doesn't have"),
        ("step.2/layers.0", "its calls have no such array either"),
        ("layers.0.fc1", "its calls have no such array either"),
        ("step.1/logits", "its calls have no such array either"),
        ("LAYERS.0", "the closest names are"),
        ("layers.0 ", "the closest names are"),
    ],
)
def test_names_that_stand_for_nothing(name: str, reason: str) -> None:
    (found,) = pair([name], KNOWN)
    assert found.reference_name is None
    assert reason in found.reason


def test_two_names_of_one_array_are_both_kept() -> None:
    found = pair(["layers.0", "biogpt.layers.0", "blocks.0.hook_resid_post"], KNOWN)
    assert [(one.candidate, one.reference_name) for one in found] == [
        ("layers.0", "layers.0"), ("biogpt.layers.0", "layers.0"), ("blocks.0.hook_resid_post", "layers.0"),
    ]  # fmt: skip


def test_a_note_of_an_alias_is_kept() -> None:
    assert "in 5.x it is layer_norm" in pair(["hidden_states.1"], KNOWN)[0].note


def test_only_the_first_few_get_suggestions() -> None:
    found = pair([f"layers.0.self_attn.q{i}" for i in range(MAX_SUGGESTIONS + 3)], KNOWN)
    assert [bool(one.reason) for one in found] == [True] * MAX_SUGGESTIONS + [False] * 3


def test_a_map_comes_before_every_other_name() -> None:
    mapped = {"layers.0": Mapped("embeddings"), "layer_norm": Mapped("h", "T D"), "embeddings": Mapped("embeddings")}
    found = pair(["embeddings", "h", "logits"], KNOWN, mapped)
    assert [(one.candidate, one.reference_name, one.axes) for one in found] == [
        ("embeddings", "layers.0", None), ("embeddings", "embeddings", None), ("h", "layer_norm", "T D"),
        ("logits", "logits", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mapped", "message"),
    [
        ({"layers.1": Mapped("h")}, "a map must use names that exist in the case; found 'layers.1' (nearest: layers.0"),
        ({"layers.0": Mapped("g")}, "a map must use names that exist in the candidate; found 'g'"),
    ],
)
def test_a_map_of_what_is_not_there(mapped: dict[str, Mapped], message: str) -> None:
    with pytest.raises(InputError) as error:
        pair(["h"], KNOWN, mapped)
    assert message in str(error.value)


def test_a_map_file(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(
        json.dumps({"layers.0": "h", "logits": {"name": "y", "axes": "T B V"}, "layer_norm": {"name": "z"}})
    )
    assert read_map(path) == {"layers.0": Mapped("h"), "logits": Mapped("y", "T B V"), "layer_norm": Mapped("z")}


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "1", "null", '{"a": 1}', '{"a": {}}', '{"a": {"name": 1}}', '{"a": {"name": "b", "axes": 3}}',
     '{"a": {"name": "b", "axis": "B"}}', "{", "", "\x00", '{"a": null}', "[" * 100000],
)  # fmt: skip
def test_a_map_file_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(InputError, match="map.json must "):
        read_map(path)
    with pytest.raises(InputError, match="--map must name a file; found no"):
        read_map(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("biogpt.last_hidden_state", "layer_norm"),
        ("biogpt.hidden_states[1]", "layers.0"),
        ("biogpt.past_key_values.layers[0].keys", "layers.0.self_attn.k"),
        ("biogpt.past_key_values[0][1]", "layers.0.self_attn.v"),
    ],
)
def test_outputs_of_the_model_below_the_head(name: str, ours: str) -> None:
    """A hook on every module of transformers gets them under the name of the module, biogpt."""
    (found,) = pair([name], ["layer_norm", "layers.0", "layers.0.self_attn.k", "layers.0.self_attn.v"])
    assert found.reference_name == ours


def test_an_array_without_a_name_is_told_so() -> None:
    (found,) = pair(["[0]"], KNOWN)
    assert found.reason == 'it has a position but no name: save a dict, {"logits": ...}'


def test_a_map_of_a_kit_may_have_arrays_that_this_case_lacks() -> None:
    mapped = {"logits": Mapped("out"), "layers.0.fc1": Mapped("fc")}
    assert [one.reference_name for one in pair(["out"], ["logits"], mapped)] == ["logits"]
    with pytest.raises(InputError, match="must use names that exist in the case; found 'layers.0.fc1'"):
        pair(["fc"], ["logits"], {"layers.0.fc1": Mapped("fc")})
    with pytest.raises(InputError, match="must use names that exist in the case; found 'layer.0.fc1'"):
        pair(["out"], ["logits"], {"logits": Mapped("out"), "layer.0.fc1": Mapped("fc")})
