"""Kits for ports with limits: what they ask for, that their claims hold, and that transformers agrees with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import InputError
from minibiogpt.cli import main
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.limits import BOUNDS, DEFAULT_SIZES, HEADS, NO_LIMITS, REAL_VOCABULARY, Limits, Sizes
from minibiogpt.golden.kit.models import CHECKPOINTS, make_model
from minibiogpt.golden.kit.needs import equal_axes, needs_of
from minibiogpt.golden.kit.probes import IDS_IN_FLOAT16, left_out, mistakes_not_shown, probes
from minibiogpt.golden.kit.writer import write_kit
from tests.budgets import LANE_A
from tests.compare import compare_traces
from tests.golden.kit.test_kit import their_arrays
from tests.golden.kit.test_probes import MISTAKES, Kit, first_shown, inputs

# Together they have every limit; a real vocabulary has a test of its own.
LIMITS = {
    "all at once": {
        "hidden": 64, "heads": 4, "positions": 64, "multiple_of": 32, "rows": 1, "mask": False, "float16": True
    },
    "blocks": {"multiple_of": 32},
    "one row": {"rows": 1},
    "no mask, short": {"mask": False, "heads": 4, "positions": 16},
    "large": {"hidden": 128, "heads": 16, "vocabulary": 5000, "rows": 2},
}  # fmt: skip
PLANTED = MISTAKES | {
    IDS_IN_FLOAT16: inputs(
        lambda call: {
            "input_ids": np.minimum(call["input_ids"].astype(np.float16), call["input_ids"].max()).astype(int)
        }
    )
}
every_kit = pytest.mark.parametrize("which", LIMITS)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kit]:
    """Return a function from a name in LIMITS to its kit, which is written once."""
    written: dict[str, Kit] = {}

    def kit_of(which: str) -> Kit:
        if which not in written:
            folder, limits = tmp_path_factory.mktemp("made") / "kit", Limits(**LIMITS[which])
            write_kit(folder, limits=limits, runs=2)
            written[which] = Kit(0, folder, limits)
        return written[which]

    return kit_of


@every_kit
def test_transformers_agrees_with_every_array_of_every_case(kit: Callable[[str], Kit], which: str) -> None:
    made = kit(which)
    cases = json.loads((made.folder / "manifest.json").read_text())["cases"]
    assert len(cases) >= 20
    for listed in cases:
        case = made.case(listed["name"])
        theirs = their_arrays(made.folder, case, made.folder / listed["model"])
        ours = {entry.name: case.array(entry.name) for entry in case.entries}
        compare_traces(ours, {key: theirs[key] for key in ours}, lambda key: LANE_A)


@every_kit
def test_every_claim_holds_by_ten_budgets(kit: Callable[[str], Kit], which: str) -> None:
    """At the first array that changes at all, in float64 and float32."""
    made = kit(which)
    claims = [(probe.name, words) for probe in probes(0, made.limits).values() for words in probe.exposes]
    assert len(claims) >= 55
    found = {(name, words): first_shown(made, name, PLANTED[words]) for name, words in claims}
    assert {claim: x for claim, x in found.items() if not x[1] >= 10} == {}


@every_kit
def test_a_kit_asks_for_no_more_than_its_limits(kit: Callable[[str], Kit], which: str) -> None:
    made = kit(which)
    limits, sizes = made.limits, made.limits.sizes
    for entry in json.loads((made.folder / "manifest.json").read_text())["cases"]:
        case = made.case(entry["name"])
        assert case.config["hidden_size"] == limits.hidden or limits.hidden is None
        assert case.config["num_attention_heads"] == limits.heads or limits.heads is None
        assert case.config["max_position_embeddings"] == (limits.positions or 31)
        for size in (sizes.D, sizes.F, sizes.V):
            assert size % limits.multiple_of == 0
        for name, x in case.inputs().items():
            if name.endswith(("input_ids", "inputs_embeds", "attention_mask")):
                assert len(x) <= (limits.rows or 10), case.name
            assert limits.mask or "attention_mask" not in name
        for one in case.entries:
            assert one.budgets["float16"] is not None, (case.name, one.name)
            if limits.float16 and one.name.endswith(".scores"):
                assert one.largest * (sizes.D // sizes.H) ** 0.5 < 1000, (case.name, one.name)


@every_kit
@pytest.mark.parametrize("model", CHECKPOINTS)
def test_every_weight_is_exact_in_float16_and_in_bfloat16(which: str, model: str) -> None:
    for key, x in make_model(model, 3, Limits(**LIMITS[which]).sizes).named_parameters():
        assert x.all(), key
        assert np.array_equal(x.astype(np.float16).astype(np.float32), x), key
        assert not (x.view(np.uint32) & 0xFFFF).any(), key


def test_wide_models_stay_exact_though_their_smallest_weights_are_subnormal_in_float16() -> None:
    x = dict(make_model("faint", 0, Limits(hidden=1024, heads=16).sizes).named_parameters())
    weight = x["biogpt.layers.0.self_attn.out_proj.weight"]
    assert 0 < np.abs(weight).min() < np.finfo(np.float16).tiny
    assert np.array_equal(weight.astype(np.float16).astype(np.float32), weight)


def test_without_limits_nothing_changes() -> None:
    assert NO_LIMITS.sizes == DEFAULT_SIZES == Sizes(V=149, D=21, L=2, H=3, F=37, N=31)
    assert (NO_LIMITS.given, NO_LIMITS.options, left_out(NO_LIMITS)) == ({}, "", {})
    assert mistakes_not_shown(probes().values()) == []


@pytest.mark.parametrize("given", [
    {}, {"hidden": 64}, {"hidden": 96}, {"hidden": 35}, {"hidden": 1024}, {"heads": 8}, {"heads": 31}, {"heads": 2},
    {"positions": 21}, {"positions": 37}, {"positions": 149}, {"multiple_of": 32}, {"multiple_of": 64},
    {"hidden": 96, "multiple_of": 32}, {"heads": 4, "multiple_of": 32}, {"vocabulary": 1024, "hidden": 128},
], ids=str)  # fmt: skip
def test_sizes_that_are_free_differ_from_all_others(given: dict[str, int]) -> None:
    letters = Limits(**given).sizes.letters
    axes = {letter: size for letter, size in letters.items() if letter not in "LN"}
    assert len(set(axes.values())) == len(axes), letters
    assert letters["D"] == letters["H"] * letters["Dh"]


def test_the_smallest_and_the_largest_of_each_limit_are_possible() -> None:
    for name, ends in BOUNDS.items():
        for value in ends:
            assert min(Limits(**{name: value}).sizes.letters.values()) >= 2
    for heads in HEADS:
        assert 0 < Limits(hidden=28 * heads).sizes.H <= max(HEADS)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for given, message in (
        ({"hidden": 15}, "hidden must be an integer, 16 to 8192; found 15"),
        ({"rows": 0}, "rows must be an integer, 1 to 64; found 0"),
        ({"positions": 13}, "positions must be an integer, 16 to"),
        ({"vocabulary": 148}, "vocabulary must be an integer, 149 to"),
        ({"hidden": 40, "multiple_of": 32}, "must be a multiple of 32; found 40; choose 64"),
        ({"hidden": 64, "heads": 3}, "must be a multiple of heads, at least 4 times as large; found 64 and 3 heads"),
        ({"hidden": 64, "heads": 32}, "at least 4 times as large; found 64 and 32 heads"),
        ({"hidden": 37}, "must be a multiple of one of 2, 3, 4, 5, 6, 7, 8; found 37; give a number of heads"),
    ):
        with pytest.raises(InputError) as caught:
            assert Limits(**given).sizes  # type: ignore[arg-type]
        assert message in str(caught.value)
    with pytest.raises(
        InputError, match="a case must be within the limits.*found left_pad: they need an attention_mask"
    ):
        write_kit(tmp_path / "kit", limits=Limits(mask=False), cases=["left_pad"])
    assert not list(tmp_path.iterdir())


def test_what_the_limits_leave_out_is_said(kit: Callable[[str], Kit]) -> None:
    made = kit("all at once")
    manifest, page = json.loads((made.folder / "manifest.json").read_text()), (made.folder / "README.md").read_text()
    out = {
        "loud_future", "loud_left_pad", "left_pad", "right_pad", "hole_in_mask", "nothing_visible", "cache_left_pad",
        "batch_rows",
    }  # fmt: skip
    assert set(manifest["left_out"]) == out == set(probes()) - {entry["name"] for entry in manifest["cases"]}
    assert manifest["limits"] == LIMITS["all at once"]
    assert "models/loud" not in manifest["models"]
    assert f"`{made.limits.options}`" in page
    assert made.limits.options == ("--hidden 64 --heads 4 --positions 64 --multiple-of 32 --rows 1 --no-mask --float16")
    words = " ".join(page.split())
    for name in out:
        assert f"`{name}`" in words.partition("Left out: ")[2].partition("No case")[0], name
    hidden = words.partition("No case is made to show these mistakes: ")[2].partition(". ")[0].split("; ")
    shown = {claim for entry in manifest["cases"] for claim in entry["exposes"]}
    assert set(hidden) == set(MISTAKES) - shown
    assert "padding not hidden" in hidden
    assert "the width of a head, 16, is not." in words
    assert "T and D are both 64 in `longest`." in words
    assert "D and N are both 64" in words
    assert "ids from 149 to 159 have a row of E, but no piece." in words


def test_a_kit_without_limits_has_no_section_about_them(tmp_path: Path) -> None:
    manifest = write_kit(tmp_path / "kit", cases=["one_token"], runs=1)
    assert "limits" not in manifest
    assert "The limits of this kit" not in (tmp_path / "kit" / "README.md").read_text()


def test_the_page_says_what_each_case_needs(kit: Callable[[str], Kit]) -> None:
    """For the needs that a reader can count in the case itself."""
    page = (kit("blocks").folder / "README.md").read_text()
    table = page.partition("## What the cases need")[2].splitlines()
    rows = dict(line.split(" | ", 1) for line in table if line.startswith("| `"))
    for path in (kit("blocks").folder / "cases").iterdir():
        case = Case.read(path)
        shapes, needs = rows[f"| `{case.name}`"].removesuffix(" |").split(" | ")
        words = needs.split(", ")
        for name in ("attention_mask", "position_ids", "head_mask", "inputs_embeds", "labels"):
            assert (name in words) == any(key.endswith(f"inputs/{name}") for key in case.inputs()), case.name
        assert ("a cache" in words) == any(key.startswith("step.1/") for key in case.inputs())
        ids = [x for key, x in case.inputs().items() if key.endswith(("input_ids", "inputs_embeds"))]
        assert shapes == ", ".join(f"{x.shape[0]} x {x.shape[1]}" for x in ids)
        assert ("several rows" in words) == (len(ids[0]) > 1)
        assert (case.architecture in words) == (case.architecture != "BioGptForCausalLM")
    assert needs_of(probes()["untied"]) == ["tie_word_embeddings false"]
    assert needs_of(probes()["unscaled"]) == ["scale_embedding false"]


def test_axes_of_one_size_are_found() -> None:
    assert not any(equal_axes(probe, NO_LIMITS) for probe in probes().values())
    limits = Limits(heads=5, hidden=60, positions=60)
    found = {name: equal_axes(probe, limits) for name, probe in probes(0, limits).items()}
    assert found["longest"] == ["T and D are both 60"]
    assert found["cache_steps"] == ["T and H are both 5", "S and Dh are both 12"]
    assert found["ordinary"] == []


def test_a_large_vocabulary_has_ids_from_its_whole_range_and_few_logits(tmp_path: Path) -> None:
    limits = Limits(vocabulary=REAL_VOCABULARY)
    chosen = probes(0, limits)
    ids = chosen["all_ids"].calls[0]["input_ids"]
    assert {0, 1, 2, 3, 32767, 32768, REAL_VOCABULARY - 2, REAL_VOCABULARY - 1} <= set(ids.ravel().tolist())
    assert len(set(ids.ravel().tolist())) == ids.size == 15
    assert IDS_IN_FLOAT16 in chosen["all_ids"].exposes
    assert chosen["ordinary"].calls[0]["input_ids"].max() > 20_000
    write_kit(tmp_path / "kit", limits=limits, cases=["right_pad", "one_token", "token_labels"], runs=1)
    with_logits = {
        path.stem for path in (tmp_path / "kit" / "cases").iterdir()
        if "logits" in {entry.name for entry in Case.read(path).entries}
    }  # fmt: skip
    assert with_logits == {"one_token", "token_labels"}
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 15_000_000


def test_the_command_takes_the_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "kit"
    line = ["golden", "kit", str(folder), "--hidden", "64", "--heads", "4", "--positions", "64", "--multiple-of", "32"]
    line += ["--rows", "1", "--no-mask", "--vocabulary", "320", "--float16"]
    assert main(line) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3].startswith("left out: loud_future, loud_left_pad, left_pad, ")
    assert printed[-2].startswith(f"{folder}: 8 models, 23 cases, ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["limits"] == LIMITS["all at once"] | {"vocabulary": 320}
    for wrong, message in (
        (["--rows", "0"], "--rows must be an integer, 1 to 64; found 0"),
        (["--hidden", "40", "--multiple-of", "32"], "found 40; choose 64, or another --multiple-of"),
        (["--vocabulary", "nowhere"], "a tokenizer needs vocab.json; found no folder nowhere"),
        (["--vocabulary", "100"], "--vocabulary must be an integer, 149 to"),
    ):
        assert main(["golden", "kit", str(tmp_path / "none"), *wrong]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_kit_for_limits_can_be_checked(
    kit: Callable[[str], Kit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tools import dump_torch

    folder = kit("all at once").folder
    arguments: list[Any] = ["--kit", folder, "-o", tmp_path, "--dtype", "float32"]
    assert dump_torch.main([str(word) for word in arguments]) == 0
    capsys.readouterr()
    assert main(["golden", "check", str(folder), str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "23 cases compared, 21 agree" in printed, "all but those that transformers 4.57 pools elsewhere"
