"""hidden_states, attentions and past_key_values, stacked or listed, against the outputs of transformers itself."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptForCausalLM
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.result import AGREES, Options
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from minibiogpt.golden.report.text import findings
from tests.support.golden_cases import normal

IDS = [[2, 5, 9, 4], [2, 7, 7, 8]]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Any]:
    """Return a case and the outputs of transformers for the same model and inputs."""
    folder = tmp_path_factory.mktemp("outputs")
    config = transformers.BioGptConfig(
        vocab_size=30, hidden_size=6, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    torch.manual_seed(0)
    model = transformers.BioGptForCausalLM._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(folder / "model")
    ours = BioGptForCausalLM.from_pretrained(folder / "model", dtype="float64")
    record(ours, [{"input_ids": IDS}], folder / "case.safetensors", name="case")
    with torch.no_grad():
        found = model(torch.tensor(IDS), output_hidden_states=True, output_attentions=True, use_cache=True)
    return Case.read(folder / "case.safetensors"), found


EXPECTED = {
    "hidden_states": ["embeddings", "layers.0", "layers.1"],
    "attentions": ["layers.0.self_attn.weights", "layers.1.self_attn.weights"],
    "past_key_values": [f"layers.{i}.self_attn.{x}" for i in range(2) for x in "kv"],
}


def cache_of(output: Any) -> list[list[torch.Tensor]]:
    return [[layer.keys, layer.values] for layer in output.past_key_values.layers]


@pytest.mark.parametrize("form", ["stacked", "npz", "listed", "output", "numpy"])
def test_outputs_of_transformers_are_read_by_layer(outputs: tuple[Case, Any], tmp_path: Path, form: str) -> None:
    case, output = outputs
    listed = {"hidden_states": output.hidden_states, "attentions": output.attentions}
    stacked = {name: torch.stack(list(x)).numpy() for name, x in listed.items()}
    stacked["past_key_values"] = torch.stack([torch.stack(pair) for pair in cache_of(output)]).numpy()
    path = tmp_path / "theirs.pt"
    if form == "stacked":
        torch.save({name: torch.from_numpy(x) for name, x in stacked.items()}, path)
    elif form == "npz":
        np.savez(path := tmp_path / "theirs.npz", **stacked)
    elif form == "listed":
        torch.save(listed | {"past_key_values": cache_of(output)}, path)
    elif form == "output":
        torch.save(output, path)
    else:
        (path := tmp_path / "theirs.pkl").write_bytes(pickle.dumps({name: list(x) for name, x in stacked.items()}))
    result = check(case, path, Options(subset=True))
    assert result.unpaired == []
    agreeing = [row.name for row in result.rows_in(AGREES)]
    expected = [name for names in EXPECTED.values() for name in names] + (["logits"] if form == "output" else [])
    assert sorted(agreeing) == sorted(expected)
    assert result.code == 0
    line = next(line for line in findings(result) if line.startswith("read by position: "))
    assert "hidden_states[0] = embeddings" in line


def test_a_wrong_layer_of_a_stack_is_named(outputs: tuple[Case, Any], tmp_path: Path) -> None:
    case, output = outputs
    stacked = torch.stack(list(output.hidden_states)).numpy().copy()
    stacked[2, 1, 3, 0] += 1
    np.savez(tmp_path / "theirs.npz", hidden_states=stacked)
    result = check(case, tmp_path / "theirs.npz", Options(subset=True))
    assert result.first_difference is not None
    assert (result.first_difference.name, result.first_difference.candidate) == ("layers.1", "hidden_states[2]")
    assert result.first_difference.where == (1, 3, 0)
    np.savez(tmp_path / "theirs.npz", hidden_states=stacked[:2])
    result = check(case, tmp_path / "theirs.npz", Options(subset=True))
    assert [pair.candidate for pair in result.unpaired] == ["hidden_states"]
    assert "must be 3 arrays: the embeddings and 2 layers" in result.unpaired[0].reason


def test_spellings_of_other_files(outputs: tuple[Case, Any], tmp_path: Path) -> None:
    case, _ = outputs
    arrays = {entry.name: np.array(case.array(entry.name)) for entry in case.entries}
    arrays["layers[1]"] = arrays.pop("layers.1")
    arrays["biogpt.layers.0[0]"] = arrays.pop("layers.0")
    arrays["logits.npy"] = arrays.pop("logits")
    np.savez(tmp_path / "theirs.npz", **arrays)
    assert check(case, tmp_path / "theirs.npz").code == 0
    many = {f"hidden_states[{'9' * 5000}]": normal(2)}
    (tmp_path / "theirs.pkl").write_bytes(pickle.dumps(many | arrays))
    assert check(case, tmp_path / "theirs.pkl").code == 1
