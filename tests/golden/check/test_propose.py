"""Maps that are proposed: from names, from values in any order of the axes, and from what is closest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.mapping import read_map
from minibiogpt.golden.check.propose import Proposal, proposed_map
from minibiogpt.golden.check.result import Options
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from minibiogpt.golden.kit.writer import write_kit
from tests.support.golden_cases import arrays_of, normal, slim_case, small, written

# No two arrays of the candidate may be told apart by their names, so these say nothing but the layer.
HIDDEN = {name: f"t{i}" for i, name in enumerate((
    "position_ids", "embed_tokens", "embed_positions", "embeddings", "self_attn_layer_norm", "self_attn.q_proj",
    "self_attn.k_proj", "self_attn.v_proj", "self_attn.q", "self_attn.k", "self_attn.v", "self_attn.scores",
    "self_attn.scores_masked", "self_attn.probs", "self_attn.weights", "self_attn.context", "self_attn.out_proj",
    "attn_residual", "final_layer_norm", "fc1", "activation_fn", "fc2", "", "layer_norm", "logits", "loss",
))}  # fmt: skip


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits") / "kit"
    write_kit(folder, seed=0, cases=["ordinary", "left_pad", "batch_rows", "cache_steps", "head_mask", "lm_loss"])
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Record a case of two rows and three layers."""
    config = BioGptConfig(
        vocab_size=23, hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=17,
        max_position_embeddings=16,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("case") / "case.safetensors"
    model = BioGptForCausalLM.from_config(config, seed=3, dtype="float64")
    record(model, [{"input_ids": [[2, 5, 9, 4, 7], [2, 8, 3, 3, 1]]}], path, name="case", seeds=2)
    return Case.read(path)


def hidden(name: str, layer: str = "L{}") -> str:
    """Return a name that says the layer, counted from 1, and nothing else."""
    step, slash, plain = name.rpartition("/")
    index, _, rest = plain.removeprefix("layers.").partition(".")
    new = f"{layer.format(int(index) + 1)}_{HIDDEN[rest]}" if plain.startswith("layers.") else HIDDEN[plain]
    return step + slash + new


def renamed(
    case: Case,
    folder: Path,
    rename: Callable[[str], str] = hidden,
    change: Callable[[str, np.ndarray], np.ndarray] | None = None,
) -> Path:
    """Write a candidate in float32 under other names, and changed."""
    arrays = {}
    for name, x in arrays_of(case).items():
        if x.dtype.kind == "f":
            with np.errstate(over="ignore"):
                x = x.astype("f4")  # a masked score becomes -inf
        arrays[rename(name)] = x if change is None else change(name, x)
    return written(folder / f"{case.path.stem}.safetensors", arrays)


def agrees_with(found: Proposal, path: Path, theirs: Path, case: Case) -> bool:
    """Whether the check agrees with the map as its file is read."""
    path.write_text(json.dumps(found.entries))
    return check(case, theirs, Options(mapped=read_map(path))).code == 0


def test_names_that_say_nothing_are_found_by_values_in_a_kit(kit: Path, tmp_path: Path) -> None:
    for path in (kit / "cases").iterdir():
        renamed(Case.read(path), tmp_path)
    found = proposed_map(kit, tmp_path)
    want = {
        name: f"L{{l+1}}_{HIDDEN[name.partition('}')[2].removeprefix('.')]}" if "{l}" in name else HIDDEN[name]
        for name in found.entries
    }
    assert found.entries == want
    assert len(found.entries) == len(HIDDEN)
    assert found.counts == {"name": 0, "values": len(HIDDEN), "closest": 0}
    assert (found.missing, found.doubtful, found.remarks) == ([], [], [])


def test_turned_axes_are_found_and_declared(case: Case, tmp_path: Path) -> None:
    def turned(name: str, x: np.ndarray) -> np.ndarray:
        return x.swapaxes(0, 1) if x.ndim == 3 else x.transpose(2, 0, 1, 3) if name.endswith(".q") else x

    theirs = renamed(case, tmp_path, change=turned)
    found = proposed_map(case.path, theirs)
    assert found.entries["layers.{l}.fc1"] == {"name": f"L{{l+1}}_{HIDDEN['fc1']}", "axes": "T B F"}
    assert found.entries["layers.{l}"] == {"name": f"L{{l+1}}_{HIDDEN['']}", "axes": "T B D"}
    assert found.entries["layers.{l}.self_attn.q"] == {"name": f"L{{l+1}}_{HIDDEN['self_attn.q']}", "axes": "T B H Dh"}
    assert found.entries["layers.{l}.self_attn.k"] == f"L{{l+1}}_{HIDDEN['self_attn.k']}"
    assert agrees_with(found, tmp_path / "map.json", theirs, case)


def test_arrays_with_the_same_values_are_both_said(case: Case, tmp_path: Path) -> None:
    theirs = renamed(case, tmp_path)
    found = proposed_map(case.path, theirs)
    probs, weights = (f"L{{l+1}}_{HIDDEN[f'self_attn.{name}']}" for name in ("probs", "weights"))
    assert found.entries["layers.{l}.self_attn.probs"] in (probs, weights)
    (remark,) = [line for line in found.lines() if line.startswith("layers.{l}.self_attn.probs: ")]
    assert probs in remark
    assert weights in remark
    assert agrees_with(found, tmp_path / "map.json", theirs, case)


def test_an_array_that_differs_is_found_as_the_closest_and_said(case: Case, tmp_path: Path) -> None:
    def wrong(name: str, x: np.ndarray) -> np.ndarray:
        return x + np.float32(0.1 * np.abs(x).max()) * normal(*x.shape).astype("f4") if name.endswith("fc2") else x

    found = proposed_map(case.path, renamed(case, tmp_path, change=wrong))
    assert found.entries["layers.{l}.fc2"] == f"L{{l+1}}_{HIDDEN['fc2']}"
    assert found.doubtful == ["layers.{l}.fc2"]
    assert "check these, whose values don't agree: layers.{l}.fc2" in found.lines()


def test_an_array_of_something_else_is_no_entry(case: Case, tmp_path: Path) -> None:
    found = proposed_map(
        case.path, renamed(case, tmp_path, change=lambda name, x: normal(*x.shape) if "fc" in name else x)
    )
    assert found.missing == ["layers.{l}.fc1", "layers.{l}.fc2"]
    assert {"layers.{l}.fc1", "layers.{l}.fc2"}.isdisjoint(found.entries)
    assert "not found: layers.{l}.fc1, layers.{l}.fc2" in found.lines()


def test_names_count_more_than_values(case: Case, tmp_path: Path) -> None:
    def rename(name: str) -> str:
        return {"logits": "output_projection", "layer_norm": "transformer.ln_f"}.get(name, hidden(name))

    theirs = renamed(case, tmp_path, rename, lambda name, x: x + 1 if name == "logits" else x)
    found = proposed_map(case.path, theirs)
    assert (found.entries["logits"], found.entries["layer_norm"]) == ("output_projection", "transformer.ln_f")
    assert (found.counts["name"], found.counts["closest"]) == (2, 0)


def test_names_without_the_layer_make_an_entry_for_each(case: Case, tmp_path: Path) -> None:
    letters = "abc"

    def rename(name: str) -> str:
        start = name.partition(".fc1")[0]
        return f"first_{letters[int(start[-1])]}" if name.endswith(".fc1") else name

    theirs = renamed(case, tmp_path, rename)
    found = proposed_map(case.path, theirs)
    assert {name: found.entries[name] for name in found.entries if "fc1" in name} == {
        f"layers.{i}.fc1": f"first_{letter}" for i, letter in enumerate(letters)
    }
    assert found.entries["layers.{l}.fc2"] == "layers.{l}.fc2"
    assert agrees_with(found, tmp_path / "map.json", theirs, case)


def test_steps_in_the_names_become_a_part_of_them(kit: Path, tmp_path: Path) -> None:
    case = Case.read(kit / "cases/cache_steps.safetensors")

    def rename(name: str) -> str:
        step, slash, plain = name.partition("/")
        return f"call{step.removeprefix('step.')}:{hidden(plain)}" if slash else hidden(name)

    theirs = renamed(case, tmp_path, rename)
    found = proposed_map(case.path, theirs)
    assert found.entries["step.{n}/logits"] == f"call{{n}}:{HIDDEN['logits']}"
    assert found.entries["step.{n}/layers.{l}.fc1"] == f"call{{n}}:L{{l+1}}_{HIDDEN['fc1']}"
    assert agrees_with(found, tmp_path / "map.json", theirs, case)


def test_raw_files_of_other_names_are_recognized(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("layers.0.fc1", "layers.1.fc1", "layers.2.fc1", "logits"):
        case.array(name).astype("<f4").tofile(folder / f"{hidden(name)}.f32")
    found = proposed_map(case.path, folder)
    assert found.entries == {"layers.{l}.fc1": f"L{{l+1}}_{HIDDEN['fc1']}", "logits": HIDDEN["logits"]}
    assert check(case, folder, Options(mapped=read_map(_written(found, tmp_path)), subset=True)).code == 0


def _written(found: Proposal, folder: Path) -> Path:
    (folder / "map.json").write_text(json.dumps(found.entries))
    return folder / "map.json"


def test_a_slim_case_is_recognized_by_its_samples(tmp_path: Path) -> None:
    x = normal(40, 50)
    case = slim_case(tmp_path / "slim.safetensors", "layers.0", "T D", x, 200)
    theirs = written(tmp_path / "theirs", {"h_0": x.T, "g_0": normal(40, 50, seed=1)})
    assert proposed_map(case.path, theirs).entries == {"layers.{l}": {"name": "h_{l}", "axes": "D T"}}


def test_a_number_alone_agrees_only_within_float32(case: Case, tmp_path: Path) -> None:
    loss = small(tmp_path / "small").array("loss")
    for x, entries in ((loss, {"loss": "a"}), (loss * 1.01, {})):
        theirs = written(tmp_path / "theirs", {"a": np.array(x)})
        assert proposed_map(tmp_path / "small", theirs).entries == entries


def test_a_case_of_a_kit_that_cannot_be_read_is_left_out_and_said(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "ordinary.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="must be a complete npz file"):
        proposed_map(kit, tmp_path)
    renamed(Case.read(kit / "cases/left_pad.safetensors"), tmp_path)
    found = proposed_map(kit, tmp_path)
    assert len(found.entries) == len(HIDDEN) - 1  # no loss
    (remark,) = [line for line in found.lines() if line.startswith("left out: ")]
    assert "ordinary.npz must be a complete npz file" in remark


def test_nothing_is_recognized_in_arrays_of_other_sizes(case: Case, tmp_path: Path) -> None:
    found = proposed_map(case.path, written(tmp_path / "theirs", {"x": normal(7, 7)}))
    assert (found.entries, found.lines()[0][:10]) == ({}, "not found:")
