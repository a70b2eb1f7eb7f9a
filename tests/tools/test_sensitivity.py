"""tools/sensitivity.py on a few cases of the kit; also that transformers passes the whole kit in its own precision."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.result import AGREES
from minibiogpt.golden.kit.writer import write_kit
from tests.reference import kits, ways
from tests.reference.kits import KitCase, Verdict, cases_of, pair_of, run, true_first
from tests.reference.mistakes import MISTAKES
from tests.reference.variations import as_it_is
from tools import dump_torch, sensitivity

# {mistake: the case of the kit that is designed to show it}
SHOWN = {
    "norm eps 1e-12": "nearly_constant",
    "eps outside the root": "nearly_constant",
    "tanh GELU": "ordinary",
    "no causal mask": "ordinary",
    "mask adds -1e4": "loud_left_pad",
    "positions count pads": "left_pad",
    "no padding mask": "right_pad",
    "rows of pads become 0": "nothing_visible",
    "mask of -inf": "nothing_visible",
    "head mask before the softmax": "head_mask",
    "inputs_embeds scaled again": "inputs_embeds",
    "causal mask without the past": "cache_steps",
    "a stale row among the cached keys": "cache_left_pad",
    "loss counts -100": "lm_loss",
    "tied head where it is untied": "untied",
    "class read at the number of tokens - 1": "sequence_left_pad",
    "several labels by a softmax": "several_labels",
    "loss of tokens counts pads": "token_labels",
}
# Cases whose class transformers 4.57 reads at a token other than the last real one; only logits and loss may differ.
POOLED = ("sequence_left_pad", "sequence_pad_in_text")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "kit"
    write_kit(folder)
    return folder


def one(kit: Path, name: str) -> KitCase:
    (case,) = cases_of(kit, [name])
    return case


@pytest.mark.parametrize("mistake", SHOWN)
def test_the_kit_names_a_mistake_where_it_is_made(kit: Path, mistake: str) -> None:
    case = one(kit, SHOWN[mistake])
    pair = pair_of(mistake, case, ("float64", "float32"))
    first = MISTAKES[mistake].first(list(case.inputs.calls.values()), case.model("float64").config)
    assert pair.first == first
    for precision in ("float64", "float32"):
        verdict = pair.verdicts[precision]
        assert (verdict.code, verdict.first) == (1, first), precision
        assert verdict.times > 10, precision
    assert pair.sign == "X"


WAYS = ways.ways(3)
SOME = [
    "inner sums permuted, seed 0", "products in 3 parts", "element by element", "bias apart", "fused qkv",
    "keys permuted, seed 0", "streamed in blocks of 2", "q scaled", "softmax by logarithms", "masked with -inf",
    "GELU by erfc", "norm in two passes", "embedding scaled beforehand", "two threads", "without oneDNN",
    "NumPy, eager", "NumPy, blocked", "row by row", "token by token, cached",
]  # fmt: skip


CASES_OF = {
    "float64": ["ordinary", "left_pad", "cache_steps"],
    "float32": ["nothing_visible", "cache_steps", "head_mask_layers"],
}


@pytest.mark.parametrize("way", SOME + [name for name in WAYS if name.startswith("mixture")])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_another_correct_way_is_no_difference(kit: Path, way: str, precision: str) -> None:
    done = 0
    for case in cases_of(kit, CASES_OF[precision]):
        if (made := WAYS[way](case, precision)) is not None:
            assert Verdict.of(case, made.arrays, made.part, made.real_only) == Verdict(0), case.name
            done += 1
    assert done >= 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_transformers_passes_the_kit_in_its_own_precision(kit: Path, tmp_path: Path, precision: str) -> None:
    """Unmodified, through the files of the command; except for the class that it reads at another token."""
    assert dump_torch.main(["--kit", str(kit), "-o", str(tmp_path), "--dtype", precision]) == 0
    cases = cases_of(kit)
    assert len(cases) >= 20
    for case in cases:
        result = check(case.case, tmp_path / f"{case.name}.safetensors")
        assert not result.missing, case.name
        assert not result.unpaired, case.name
        bad = {row.name for row in result.rows if row.state != AGREES and row.budgets[precision] is not None}
        assert bad == ({"logits", "loss"} & {row.name for row in result.rows} if case.name in POOLED else set())
        assert result.compared > len(result.rows) / 2, f"{case.name}: too little can be compared in {precision}"


def test_what_must_be_named_first_follows_from_the_two_runs() -> None:
    hidden, lowest = -math.inf, torch.finfo(torch.float64).min
    scores = torch.tensor([[2.0, lowest], [lowest, lowest]], dtype=torch.float64)
    right = {"fc1": torch.tensor([1.0]), "a.scores_masked": scores}
    for wrong, first in (
        ({}, None),
        ({"fc1": torch.tensor([1.0 + 2**-23])}, "fc1"),
        ({"fc1": torch.tensor([math.nan])}, "fc1"),
        ({"fc1": torch.tensor([[1.0]])}, "fc1"),
        ({"a.scores_masked": torch.tensor([[2.0, hidden], [-1e9, -1e9]]).double()}, None),
        ({"a.scores_masked": torch.tensor([[2.0, -797.0], [-1e9, -1e9]]).double()}, "a.scores_masked"),
        ({"a.scores_masked": torch.tensor([[2.0, hidden], [-1e9, -2e9]]).double()}, "a.scores_masked"),
        ({"a.scores_masked": torch.tensor([[2.5, hidden], [-1e9, -1e9]]).double()}, "a.scores_masked"),
    ):
        assert true_first(right, right | wrong) == first, wrong
    assert true_first(right, {"fc1": right["fc1"]}) == "a.scores_masked"


def test_what_pytorch_refuses_or_no_bit_shows_is_no_pair(kit: Path) -> None:
    refused = pair_of("position offset 0", one(kit, "left_pad"))
    nothing = pair_of("no padding mask", one(kit, "ordinary"))
    assert (refused.refused, refused.first, refused.sign) == (True, None, "-")
    assert (nothing.refused, nothing.first, nothing.sign) == (False, None, ".")
    assert sensitivity.share_right([refused, nothing], "float64") == (0, 0, 0)


def test_a_verdict_reports_what_is_missing_or_unusable(kit: Path) -> None:
    case = one(kit, "ordinary")
    arrays = run(case, "float64", as_it_is)
    assert arrays is not None
    assert Verdict.of(case, arrays) == Verdict(0)
    fewer = {name: x for name, x in arrays.items() if name != "layers.0.fc1"}
    assert Verdict.of(case, fewer) == Verdict(1, "layers.0.fc1", math.inf)
    assert Verdict.of(case, fewer, subset=True) == Verdict(0)
    assert Verdict.of(case, {"other": torch.ones(2)}).code != 0
    corrupted = arrays | {"layers.0.fc1": torch.full_like(arrays["layers.0.fc1"], math.nan)}
    assert Verdict.of(case, corrupted) == Verdict(1, "layers.0.fc1", math.inf)


def test_the_command_writes_the_page_and_reports_what_is_broken(
    kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: MISTAKES[name] for name in ("tanh GELU", "no padding mask")}
    for module in (sensitivity, kits):
        monkeypatch.setattr(module, "MISTAKES", few)
    monkeypatch.setattr(sensitivity, "ways", lambda mixtures: {"as it is": WAYS["as it is"]})
    page = tmp_path / "page.md"
    arguments = [str(kit), "--cases", "ordinary", "right_pad", "--variations", "--markdown", str(page)]
    assert sensitivity.main(arguments) == 0
    text, printed = page.read_text(), capsys.readouterr().out
    assert "promises hold" in printed
    assert "| float64 | 3 | 3 (100.0 %) | 3 (100.0 %) |" in text
    assert "2 correct variations (a way to compute, in float64 or in float32), 4 runs" in text
    assert "Called a difference: 0." in text
    assert sensitivity.main([str(kit), "--cases", "ordinary"]) == 1, (
        "this case has no padding, so a missing mask does not show"
    )
    assert "BROKEN: no padding mask: at best 0.0 budgets in float64 (none)" in capsys.readouterr().out


def test_a_false_alarm_is_reported(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = ways.partial(ways._planted, plant=MISTAKES["tanh GELU"].plant)
    monkeypatch.setattr(sensitivity, "ways", lambda mixtures: {"not so right": planted})
    count, runs, found = sensitivity.false_alarms([one(kit, "ordinary")], 0)
    assert (count, runs, len(found)) == (2, 2, 2)
    assert found[0].startswith("not so right, float64, ordinary: layers.0.activation_fn, ")


def test_every_case_of_the_kit_is_taken(kit: Path) -> None:
    listed = json.loads((kit / "manifest.json").read_text())["cases"]
    assert [case.name for case in cases_of(kit)] == [case["name"] for case in listed]
    assert all(case.path.is_file() and (case.folder / "config.json").is_file() for case in cases_of(kit))
