"""Patterns of names: their expansion, their matches, and the error when nothing matches."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import InputError
from minibiogpt.errors import nearest
from minibiogpt.trace.missing import check_all_matched
from minibiogpt.trace.patterns import MOST, Pattern, expand, patterns_of
from tests.support.small import NAMES

NAMED = NAMES["CausalLM"]


def matched(text: str, names: list[str] = NAMED) -> list[str]:
    pattern = Pattern(text)
    return [name for name in names if pattern.matches(name)]


def test_braces_stand_for_ranges_and_lists() -> None:
    assert expand("plain") == ["plain"]
    assert expand("{0..2}") == ["0", "1", "2"]
    assert expand("{2..2}") == ["2"]
    assert expand("{9..11}x") == ["9x", "10x", "11x"]
    assert expand("{a,b}.{0..1}") == ["a.0", "a.1", "b.0", "b.1"]
    assert expand("{a,}b") == ["ab", "b"]
    assert expand("{a,{b,c}}") == ["a", "b", "a", "c"]
    assert expand("{a") == ["{a"], "an unclosed brace is literal"
    assert expand("{1..}") == ["1.."], "not a range but a list of one"


@given(st.integers(0, 10**8), st.integers(0, 50))
def test_a_range_has_both_its_ends(first: int, more: int) -> None:
    assert expand(f"{{{first}..{first + more}}}") == [str(i) for i in range(first, first + more + 1)]


@pytest.mark.parametrize("text", ["{3..2}", "layers.{3..2}.fc1", "blocks.{3..2}.hook_mlp_out"])
def test_a_range_the_wrong_way_round_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"a range must go up; found \{3\.\.2\} in .*; write \{2\.\.3\}"):
        Pattern(text)


@pytest.mark.parametrize("text", ["{0..10000}", "{0..999999999}", "{0..99}{0..99}{0..99}", "{a,b}" * 40])
def test_too_many_names_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="a pattern must expand to at most 10,000 names; found more: .*; use a *"):
        expand(text)
    assert len(expand(f"{{1..{MOST}}}")) == MOST


def test_a_star_is_any_run_of_characters_and_all_else_is_itself() -> None:
    assert matched("*") == NAMED
    assert matched("layers.*.self_attn.probs") == ["layers.0.self_attn.probs", "layers.1.self_attn.probs"]
    assert matched("*1.fc*") == ["layers.1.fc1", "layers.1.fc2"]
    assert matched("layers.{0..1}") == ["layers.0", "layers.1"], "not the arrays within them"
    assert matched("layers.1.self_attn.{q,k}") == ["layers.1.self_attn.q", "layers.1.self_attn.k"]
    for text in (
        "layers.?",
        "layers.[01]",
        "layers?0",
        "layers.0.",
        "ayers.0",
        "Logits",
        "logit",
        "",
        "layers.0|logits",
    ):
        assert matched(text) == [], text
    assert matched("a[0]*", ["a[0].x", "a0.x"]) == ["a[0].x"]
    assert matched("a*b", ["ab", "a\nb", "abc", "xab"]) == ["ab", "a\nb"]


@given(st.sampled_from(NAMED))
def test_a_name_is_a_pattern_that_matches_itself_alone(name: str) -> None:
    assert matched(name) == [name]


def test_a_pattern_without_a_step_holds_in_every_step() -> None:
    names = ["step.0/logits", "step.1/logits", "step.10/logits", "step.1/layers.0"]
    assert matched("logits", names) == names[:3]
    assert matched("*", names) == names
    assert matched("step.1/*", names) == [names[1], names[3]]
    assert matched("step.{0..1}/logits", names) == names[:2]
    assert matched("step.1", names) == matched("step.1/logit", names) == []
    assert matched("step.0/logits", ["logits"]) == [], "a model call has no steps"


def test_that_a_pattern_matched_is_remembered() -> None:
    pattern = Pattern("logits")
    assert not pattern.matched
    pattern.matches("layers.0")
    assert not pattern.matched
    pattern.matches("logits")
    pattern.matches("layers.0")
    assert pattern.matched


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="a name or pattern must be a string; found 5; pass names such as"):
        patterns_of([5])  # type: ignore[list-item]
    with pytest.raises(InputError, match="names must be a name, a pattern or an iterable of them; found int"):
        patterns_of(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="names must not be empty; found an empty list"):
        patterns_of([])
    assert [pattern.text for pattern in patterns_of("logits")] == ["logits"]
    assert [pattern.text for pattern in patterns_of(name for name in "ab")] == ["a", "b"]


def missed(texts: list[str], names: list[str], match: str = "") -> str:
    patterns = patterns_of(texts)
    for pattern in patterns:
        pattern.matches(match)
    with pytest.raises(InputError) as error:
        check_all_matched(patterns, names, "it must occur", "; see there")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_name_that_nothing_is_called_by_is_reported_with_the_three_nearest() -> None:
    assert missed(["layers.0.self_attn.probz"], NAMED) == (
        "it must occur; found none called 'layers.0.self_attn.probz' (nearest: layers.0.self_attn.probs, "
        "layers.1.self_attn.probs, layers.0.self_attn.q_proj); correct the name; see there"
    )
    assert missed(["qqqqqq"], NAMED) == "it must occur; found none called 'qqqqqq'; correct the name; see there"
    both = missed(["logitz", "fc1", "layers.0.fcc1"], NAMED, match="fc1")
    assert "'logitz' (nearest: logits" in both
    assert "'layers.0.fcc1' (nearest: layers.0.fc1" in both
    assert "'fc1'" not in both, "this one matched"


def test_there_is_no_error_when_all_match() -> None:
    patterns = patterns_of(["logits", "l*"])
    for pattern in patterns:
        pattern.matches("logits")
    check_all_matched(patterns, NAMED, "it must occur")
    check_all_matched([], [], "it must occur")


def test_the_nearest_are_the_likest_first_at_most_three() -> None:
    assert nearest("logits", NAMED)[0] == "logits"
    assert nearest("probs", NAMED)[:2] == ["layers.0.self_attn.probs", "layers.1.self_attn.probs"]
    assert len(nearest("layers.0.fc", NAMED)) == 3
    assert nearest("zzzzzzzzz", NAMED) == nearest("logits", []) == []


def test_the_nearest_of_a_generation_are_those_of_one_step() -> None:
    names = [f"step.{step}/{name}" for step in range(3) for name in NAMED]
    assert "(nearest: layers.0.fc1, " in missed(["layers.0.fcc1"], names)
    found = re.findall(r"step\.\d+(?=/)", missed(["step.1/layers.0.fcc1"], names).partition("nearest")[2])
    assert found == ["step.1"] * 3
    found = re.findall(r"step\.\d+(?=/)", missed(["step.7/logits"], names).partition("nearest")[2])
    assert set(found) == {"step.2"}, "the last step"
    assert "none called 'step.7/logits'; correct" in missed(["step.7/logits"], [])
