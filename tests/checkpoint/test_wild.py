"""Folders in forms found in published models: each one loads here, with the logits of transformers.

Tested elsewhere: exact widening of each dtype, names, heads and hand-made shards (test_weights); a vocab.json sorted by
key and merges with two columns (test_tokenizer; those of the demo and the base model have three); pickles
(test_convert).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, CheckpointError, InputError
from minibiogpt.files.hub import DEMO
from tests import reference
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.support.configs import PRIMES
from tests.support.folders import IDS, assert_loads, theirs

Model = transformers.BioGptForCausalLM
Tensors = dict[str, torch.Tensor]
HEAD, EMBEDDING = "output_projection.weight", "biogpt.embed_tokens.weight"


def set_keys(folder: Path, **changes: Any) -> None:
    """Change values in config.json; None removes a key."""
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def saved(model: Model, folder: Path) -> Path:
    model.float().save_pretrained(folder)
    return folder


def changed(folder: Path, change: Callable[[Tensors], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def half(model: Model, folder: Path) -> None:
    model.half().save_pretrained(folder)


def bfloat(model: Model, folder: Path) -> None:
    model.bfloat16().save_pretrained(folder)


def half_torch_dtype(model: Model, folder: Path) -> None:
    """transformers up to 4.55 called the key torch_dtype."""
    half(model, folder)
    set_keys(folder, dtype=None, torch_dtype="float16")


def norms_in_float32(model: Model, folder: Path) -> None:
    model.half()
    for name, module in model.named_modules():
        if name.endswith("layer_norm"):
            module.float()
    model.save_pretrained(folder)


def sharded_at_1_mb(model: Model, folder: Path) -> None:
    model.float().save_pretrained(folder, max_shard_size="1MB")
    assert len(list(folder.glob("model-*.safetensors"))) >= 3


def sharded_halves(model: Model, folder: Path) -> None:
    model.half().save_pretrained(folder, max_shard_size="1MB")
    assert len(list(folder.glob("model-*.safetensors"))) >= 2


def both_stored(model: Model, folder: Path) -> None:
    """Like the official safetensors of the base model."""
    changed(saved(model, folder), lambda t: t.update({HEAD: t[EMBEDDING].clone()}))


def no_prefix(model: Model, folder: Path) -> None:
    def strip(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("biogpt.")] = tensors.pop(name)

    changed(saved(model, folder), strip)


def as_a_base_model(model: Model, folder: Path) -> None:
    model.float().biogpt.save_pretrained(folder)


def unknown_buffers(model: Model, folder: Path) -> None:
    more = {"biogpt.embed_positions.position_ids": torch.arange(9), "biogpt.version": torch.tensor([3.0])}
    changed(saved(model, folder), lambda t: t.update(more))


def unknown_keys(model: Model, folder: Path) -> None:
    keys = {"is_decoder": True, "type_vocab_size": 2, "add_cross_attention": False, "gradient_checkpointing": None}
    set_keys(saved(model, folder), **keys, position_embedding_type="absolute", _name_or_path="/home/me", dtype=None)


def an_old_architecture(model: Model, folder: Path) -> None:
    set_keys(saved(model, folder), architectures=["BioGptLMHeadModel"], transformers_version="4.25.1")


def no_architecture(model: Model, folder: Path) -> None:
    set_keys(saved(model, folder), architectures=None, transformers_version=None, dtype=None)


def custom_labels(model: Model, folder: Path) -> None:
    set_keys(saved(model, folder), id2label={"0": "NEG", "1": "POS"}, label2id={"NEG": 0, "POS": 1}, problem_type=None)


BIG = PRIMES | {"vocab_size": 5003, "hidden_size": 62, "num_attention_heads": 2, "intermediate_size": 2503}
ODDITIES = (half, bfloat, half_torch_dtype, norms_in_float32, both_stored, no_prefix, as_a_base_model, unknown_keys)
ODDITIES += (an_old_architecture, no_architecture, custom_labels, sharded_at_1_mb, sharded_halves)


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.__name__)
def test_an_oddity_loads_as_in_transformers(tmp_path: Path, oddity: Callable[[Model, Path], None]) -> None:
    model = reference.build(seed=11, **BIG if "shard" in oddity.__name__ else PRIMES)
    oddity(model, tmp_path / "model")
    assert_loads(tmp_path / "model", model)


def test_unknown_buffers_load_with_a_warning(tmp_path: Path) -> None:
    model = reference.build(seed=11, **PRIMES)
    unknown_buffers(model, tmp_path / "model")
    with pytest.warns(UserWarning, match="ignored 2 unexpected: embed_positions.position_ids, version"):
        assert_loads(tmp_path / "model", model)


def test_a_single_tied_tensor_under_the_heads_name(tmp_path: Path) -> None:
    """transformers 4.57 leaves the embedding on the meta device, and fails when it is used; we use the head."""
    model = reference.build(seed=11, **PRIMES)
    changed(saved(model, tmp_path / "model"), lambda t: t.update({HEAD: t.pop(EMBEDDING)}))
    ours = BioGptForCausalLM.from_pretrained(tmp_path / "model", dtype="float64")(IDS).logits
    with torch.no_grad():
        assert_close("logits", ours, model.double()(torch.tensor(IDS)).logits.numpy(), LANE_A)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        theirs(tmp_path / "model")


def test_unknown_keys_are_written_back(tmp_path: Path) -> None:
    unknown_keys(reference.build(**PRIMES), tmp_path / "model")
    BioGptForCausalLM.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "again")
    before, again = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("model", "again"))
    assert {"is_decoder", "type_vocab_size", "position_embedding_type", "_name_or_path"} < set(before)
    assert {key: again[key] for key in before} == before


@pytest.mark.parametrize("rows", [1, 9])
def test_rows_of_a_soft_prompt_load_and_can_be_given_as_ids(tmp_path: Path, rows: int) -> None:
    """Fine-tuned models have learned rows after those of the pieces: 42393 and 57726 rows are 9 more."""
    pieces = len(BioGptTokenizer.from_pretrained("demo"))
    model = reference.build(seed=13, **PRIMES | {"vocab_size": pieces + rows})
    folder = saved(model, tmp_path / "model")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(DEMO / name, folder / name)
    tok, ours = BioGptTokenizer.from_pretrained(folder), BioGptForCausalLM.from_pretrained(folder, dtype="float64")
    assert (len(tok), ours.config.vocab_size) == (pieces, pieces + rows)
    ids = [tok.encode("Ibuprofen") + list(range(pieces, pieces + rows))]
    with torch.no_grad():
        want = model.double()(torch.tensor(ids)).logits.numpy()
    assert np.abs(ours(ids).logits - want).max() <= 1e-10 * np.abs(want).max()
    mine = ours.generate(ids, max_new_tokens=5)
    with torch.no_grad():
        other = model.generate(torch.tensor(ids), max_new_tokens=5, do_sample=False, pad_token_id=1)
    assert mine.tolist() == other.tolist()
    with pytest.raises(InputError, match="ids"):
        ours([[pieces + rows]])
    set_keys(folder, vocab_size=pieces - 1)
    with pytest.raises(CheckpointError, match="not have more pieces than embeddings"):
        BioGptTokenizer.from_pretrained(folder)


def test_the_sizes_of_the_soft_prompt_models_are_valid() -> None:
    for rows in (42384 + 9, 57717 + 9):
        assert BioGptConfig(vocab_size=rows).vocab_size == rows
