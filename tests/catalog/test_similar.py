"""Suggestions for an unknown name: what they are, that they exist, and that they take no time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import BioGptConfig
from minibiogpt.catalog.names import wildcards
from minibiogpt.catalog.similar import suggestion
from minibiogpt.catalog.steps import steps
from minibiogpt.errors import nearest
from minibiogpt.trace.patterns import Pattern

NAMES = [step.name for step in steps(BioGptConfig(num_hidden_layers=3))]


def first(missed: str) -> str:
    return suggestion(missed, NAMES, patterns=True).removeprefix("nearest: ").partition(",")[0].partition(";")[0]


@pytest.mark.parametrize(
    ("missed", "meant"),
    [
        ("layers.0.self_attn.probz", "layers.0.self_attn.probs"),
        ("layers.2.self_attn.probz", "layers.2.self_attn.probs"),
        ("layers.0.atention", "layers.0.self_attn.*"),
        ("layer.0.fc1", "layers.0.fc1"),
        ("layers.0.attn.q", "layers.0.self_attn.q"),
        ("transformer.h.1.attn.c_proj", "layers.1.self_attn.out_proj"),
        ("transformer.h.1.mlp.c_proj", "layers.1.fc2"),
        ("transformer.h.1.ln_2", "layers.1.final_layer_norm"),
        ("Layers.1.FC1", "layers.1.fc1"),
        (" layers.1.fc1\n", "layers.1.fc1"),
        ("layers[1].fc1", "layers.1.fc1"),
        ("layers/1/fc1", "layers.1.fc1"),
        ("layers.1.q_proj", "layers.1.self_attn.q_proj"),
        ("layers.*.self_atn.*", "layers.*.self_attn.*"),
        ("layers.{0..2}.mlp.c_fc", "layers.{0..2}.fc1"),
        ("probs", "layers.*.self_attn.probs"),
        ("fc1", "layers.*.fc1"),
        ("lm_head", "logits"),
        ("wte", "embed_tokens"),
        ("layers.99.fc1", "layers.2.fc1"),
        ("blocks.1.hook_mlp_ot", "blocks.1.hook_mlp_out"),
        ("layers.1.fc1.weight", "layers.1.fc1"),
        ("transformer.h.1.mlp", "layers.1.fc2"),
        ("layers.1.self_attn.output", "layers.1.self_attn.out_proj"),
        ("layers.1.resid_post", "layers.1"),
        ("layers.1.attn_out", "layers.1.self_attn.out_proj"),
        ("blocks.1.mlp.post", "layers.1.activation_fn"),
        ("blocks.1.hook_mlp_in", "blocks.1.hook_resid_mid"),
        ("blocks.1.hook_q_input", "blocks.1.hook_resid_pre"),
        ("blocks.1.hook_out", "blocks.1.hook_resid_post"),
        ("blocks.1.attn.q.hook_out", "blocks.1.attn.hook_q"),
        ("blocks.1.attn.hook_patern", "blocks.1.attn.hook_pattern"),
        ("ln_final.hook_out", "layer_norm"),
        ("hidden_states", "layers.2"),
        ("hidden_states[-1]", "layers.2"),
        ("attentions", "layers.*.self_attn.weights"),
        ("attentions[-1]", "layers.2.self_attn.weights"),
        ("kq-1", "layers.1.self_attn.scores"),
        ("kqv-1", "layers.1.self_attn.context"),
        ("ffn_up-1", "layers.1.fc1"),
        ("mlp_out", "layers.*.fc2"),
        ("attention", "layers.*.self_attn.*"),
        ("layers.[0-1].fc1", "layers.{0..1}.fc1"),
        ("layers.0:1.fc1", "layers.{0..1}.fc1"),
        ("layers.?.fc1", "layers.*.fc1"),
        ("layers.{0..}.fc1", "layers.*.fc1"),
        (r"^layers\.\d+\.fc1$", "layers.*.fc1"),
        (r"layers\.1\..*", "layers.1.*"),
    ],
)
def test_the_first_suggestion_is_what_was_meant(missed: str, meant: str) -> None:
    assert first(missed) == meant
    pattern = Pattern(meant)
    assert any([pattern.matches(name) for name in NAMES])


@pytest.mark.parametrize("missed", ["layers.3.fc1", "layers.{0..9}.fc1x", "layers." + "9" * 5000 + ".fc1", "layers.99"])
def test_a_layer_that_is_not_there_is_told_which_are(missed: str) -> None:
    assert suggestion(missed, NAMES).endswith("the layers are 0 to 2")
    assert "the layers" not in suggestion("layers.1.fc9", NAMES)


@settings(max_examples=100)
@given(st.text(alphabet="layers.012*{}self_attn/probs[] AZ٣", max_size=40) | st.text(max_size=20))
def test_every_suggestion_can_be_used(missed: str) -> None:
    found = suggestion(missed, NAMES, patterns=True)
    assert "\n" not in found
    near = [name for part in found.split("; ") if part.startswith("nearest: ") for name in part[9:].split(", ")]
    assert len(near) <= 3
    if missed not in NAMES and "{" not in missed:
        for name in near:
            pattern = Pattern(name)
            assert any([pattern.matches(known) for known in NAMES]) or name.startswith("blocks."), (missed, name)


def test_where_one_name_is_needed_a_pattern_is_spelled_out() -> None:
    assert suggestion("layers.0.atention", NAMES).startswith("nearest: layers.0.self_attn.q_proj, layers.0.self_attn.")


def test_a_hook_of_a_layer_that_is_not_there_is_not_suggested() -> None:
    found = suggestion("blocks.9.hook_mlp_in", ["layers.0.attn_residual", "layers.0"])
    assert "blocks.9" not in found
    assert found.endswith("; the layers are 0 to 0")


@pytest.mark.parametrize(
    ("missed", "meant"),
    [
        ("layers.1.self_attn.[qk]", "layers.1.self_attn.{q,k}"),
        ("layers.1.self_attn.(q|k)", "layers.1.self_attn.{q,k}"),
        ("logits,embeddings", "{logits,embeddings}"),
        ("logits|embeddings", "{logits,embeddings}"),
    ],
)
def test_a_list_in_the_spelling_of_other_languages_is_written_in_ours(missed: str, meant: str) -> None:
    assert suggestion(missed, NAMES, patterns=True).startswith(f"nearest: {meant}, ")


def test_only_known_names_are_suggested() -> None:
    assert suggestion("layers.0.self_attn.probz", ["layers.0.fc1", "logits"]) == ""
    assert suggestion("x", []) == ""


@settings(max_examples=200)
@given(st.lists(st.text(alphabet="ab*", max_size=8), min_size=1, max_size=3), st.text(alphabet="ab", max_size=10))
def test_wildcards_are_those_of_a_plain_search(texts: list[str], name: str) -> None:
    def fits(text: str, name: str) -> bool:
        if not text:
            return not name
        if text[0] == "*":
            return any(fits(text[1:], name[i:]) for i in range(len(name) + 1))
        return bool(name) and text[0] == name[0] and fits(text[1:], name[1:])

    assert (wildcards(texts).fullmatch(name) is not None) == any(fits(text, name) for text in texts)


def test_many_names_and_long_ones_are_compared_in_bounded_time() -> None:
    """Not timed: without the bounds, each of these takes minutes to hours."""
    many = [f"layers.{i}.self_attn.q_proj" for i in range(100_000)]
    assert nearest("layers.77.self_attn.q_prj", [*many[:77], *many[78:], many[77]])[0].startswith("layers.")
    assert nearest("ab" * 500_000, many[:100]) == []
    assert nearest("ab" * 500, ["ba" * 100_000 + str(i) for i in range(300)])
    assert wildcards(["*a" * 3000]).fullmatch("a" * 2999 + "b") is None
