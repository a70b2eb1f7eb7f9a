"""Names of other tools in a request: each stands for one array of ours, and none of ours has a second meaning."""

from __future__ import annotations

import pytest

from minibiogpt import BioGptConfig, InputError
from minibiogpt.catalog.aliases import alias_of
from minibiogpt.catalog.foreign import LLAMA_CPP, difference, is_ours, request_of, resolve_request, spellings, theirs_in
from minibiogpt.catalog.steps import axes_of, derived_steps, steps

CONFIG = BioGptConfig(num_hidden_layers=3)
NAMES = [step.name for step in [*steps(CONFIG), *derived_steps(CONFIG)]]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.biogpt.layers.3.fc1", "layers.3.fc1"),
        ("model.layers.3.fc1", "layers.3.fc1"),
        ("base_model.model.biogpt.layers.3.fc1", "layers.3.fc1"),
        ("step.2/model.biogpt.layers.3", "step.2/layers.3"),
        ("module.output_projection", "logits"),
        ("kqv_out-3", "layers.3.self_attn.context"),
        ("l_out-0", "layers.0"),
        ("KQ_soft_max-0", "layers.0.self_attn.probs"),
        ("step.2/ffn_inp-1", "step.2/layers.1.attn_residual"),
        ("result_norm", "layer_norm"),
        ("layers.0.fc1", "layers.0.fc1"),
    ],
)
def test_names_by_hand(theirs: str, ours: str) -> None:
    alias = request_of(theirs)
    assert alias is not None
    assert alias.name == resolve_request(theirs) == ours
    assert axes_of(ours)


@pytest.mark.parametrize(
    "name",
    ["l_out", "l_out-", "l_out-x", "result_norm-0", "model.", "model.model.layers.0", "x-0", "l_out-٣",
     "blocks.٣.hook_mlp_out", "hidden_states[٣]", "l_out-" + "9" * 5000, "blocks." + "9" * 5000 + ".hook_mlp_out",
     "step." + "9" * 5000 + "/logits"],
)  # fmt: skip
def test_nothing_is_guessed(name: str) -> None:
    assert request_of(name) is None
    assert resolve_request(name) == name


def test_what_names_the_array_of_another_program_stays_narrower() -> None:
    for name in ("l_out-0", "kqv_out-3", "model.layers.0"):
        assert alias_of(name) is None


def test_each_spelling_leads_back_to_the_name() -> None:
    for name in NAMES:
        for step in ("", "step.4/"):
            assert all(resolve_request(their) == step + name for their in spellings(step + name)), name
    assert {their for name in NAMES for their in spellings(name)} >= {
        "hidden_states.3",
        "hidden_states[0]",
        "hook_embed",
    }
    assert set(LLAMA_CPP.values()) <= {name.replace("layers.0", "layers.{l}") for name in NAMES}


def test_no_name_of_ours_is_read_as_one_of_another_tool() -> None:
    for name in NAMES:
        assert is_ours(name)
        assert resolve_request(name) == name
    for pattern in (
        "*",
        "layers.*",
        "*.fc1",
        "*out*",
        "layers.77.*",
        "step.*/logits",
        "step.3/*",
        "*7.fc1",
        "processors.*",
    ):
        assert is_ours(pattern), pattern
    for pattern in ("blocks.*", "*hook*", "l_out-*", "layers.*.self_atn.*", "layers.0.self_attn", "x*"):
        assert not is_ours(pattern), pattern


def test_what_differs_is_one_sentence() -> None:
    def text(name: str) -> str:
        alias = request_of(name)
        assert alias is not None
        return difference(name, alias)

    assert text("blocks.0.attn.hook_q") == (
        "blocks.0.attn.hook_q is layers.0.self_attn.q here, with the axes (B, H, T, Dh) instead of (B, T, H, Dh)"
    )
    assert text("blocks.0.attn.hook_k").endswith("(B, S, H, Dh); with a cache, the hook has the T new positions only")
    assert "before the output projection" in text("kqv_out-2")
    for same in ("blocks.0.hook_mlp_out", "l_out-0", "classifier", "layers.0.fc1", "blocks.1.attn.hook_pattern"):
        assert text(same) == ""


def test_a_pattern_of_refused_names_gives_their_reason() -> None:
    with pytest.raises(InputError, match="hook_normalized holds the norm before its gain and bias"):
        theirs_in("blocks.*.ln1.hook_normalized")
    with pytest.raises(InputError, match=r"must name the layers; found .*; write .* blocks.\{0..3\}.hook_resid_pre"):
        theirs_in("blocks.*.hook_resid_pre")
    for name in ("*.hook_scale", "blocks.*.ln2.hook_scale"):
        with pytest.raises(InputError, match="hook_scale is the divisor of a norm"):
            theirs_in(name)
    assert theirs_in("blocks.*.ln9.hook_normalized") == []
