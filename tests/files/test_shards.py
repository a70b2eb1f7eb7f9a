"""Saving in shards, as transformers splits a model, and what happens to the files of an older save."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError
from minibiogpt.files.safetensors import INDEX, SINGLE
from minibiogpt.files.shards import size_in_bytes
from tests.support.configs import PRIMES

IDS = [[2, 3, 5, 7]]


def build(seed: int = 0) -> BioGptForCausalLM:
    return BioGptForCausalLM(BioGptConfig(**PRIMES), seed=seed)


def weights(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("model*"))


@pytest.mark.parametrize("size", ["6KB", "10KB", "0.02MB", 7000, 1, "5GB"])
def test_shards_are_those_of_transformers(tmp_path: Path, size: Any) -> None:
    model = build()
    model.save_pretrained(tmp_path / "one")
    theirs = transformers.BioGptForCausalLM.from_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    model.save_pretrained(tmp_path / "ours", max_shard_size=size)
    assert weights(tmp_path / "ours") == weights(tmp_path / "theirs")
    if size != "5GB":
        ours, want = (json.loads((tmp_path / name / INDEX).read_text()) for name in ("ours", "theirs"))
        assert ours == want
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        again = BioGptForCausalLM.from_pretrained(folder)
        assert np.array_equal(again(IDS).logits, model(IDS).logits)
    back = transformers.BioGptForCausalLM.from_pretrained(tmp_path / "ours")
    assert all(np.array_equal(x.numpy(), model.state_dict()[key]) for key, x in back.state_dict().items())


def test_an_older_save_leaves_nothing_behind(tmp_path: Path) -> None:
    others = ["model-notes.txt", "model-1-of-2.safetensors", "my-model-00001-of-00002.safetensors"]
    for i, size in enumerate(["6KB", None, "10KB", "6KB", None, "6KB"]):
        model = build(seed=i)
        model.save_pretrained(tmp_path, max_shard_size=size)
        for name in others:
            (tmp_path / name).touch()
        found = [name for name in weights(tmp_path) if name not in others]
        if size is None:
            assert found == [SINGLE]
        else:
            table = json.loads((tmp_path / INDEX).read_text())["weight_map"]
            assert found == sorted({INDEX, *table.values()})
        assert np.array_equal(BioGptForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)
    assert all((tmp_path / name).is_file() for name in others)


def test_a_failed_save_keeps_the_older_one(tmp_path: Path) -> None:
    model = build()
    model.save_pretrained(tmp_path, max_shard_size="6KB")
    before = weights(tmp_path)
    for size in ("1 zorg", "MB", "", 0, -1, 1.5, True, "-1MB", "0KB", [5]):
        with pytest.raises(
            InputError, match="max_shard_size must be a number of bytes, or a size with KB, MB, GB or TB"
        ):
            build(1).save_pretrained(tmp_path, max_shard_size=size)
    assert weights(tmp_path) == before
    assert np.array_equal(BioGptForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)


def test_sizes_are_read_as_huggingface_hub_reads_them() -> None:
    from huggingface_hub.serialization._base import parse_size_to_int

    for text in ("5GB", "5gb", " 1.5 MB ", "20KB", "1TB", ".5KB", "10.KB"):
        assert size_in_bytes(text) == parse_size_to_int(text)


@pytest.mark.parametrize("folder", [None, 5, "", ["x"]])
def test_what_is_no_folder_is_one_error(folder: Any) -> None:
    model = build()
    for one in (model, model.config):
        with pytest.raises(InputError, match="a folder to save to must be a path") as caught:
            one.save_pretrained(folder)
        assert "\n" not in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for one in (build(), BioGptConfig(**PRIMES)):
        with pytest.raises(InputError, match="must be a folder, or new; found the file"):
            one.save_pretrained(tmp_path / "file")


KILLED = """
import os, signal, sys
from pathlib import Path
from minibiogpt.files.writing import write_atomically

write_atomically(Path(sys.argv[1]), lambda new: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.parametrize("size", [None, "6KB"])
@pytest.mark.parametrize("name", ["model-00007-of-00009.safetensors", SINGLE, INDEX])
def test_what_a_killed_save_left_is_cleared_by_a_save_with_other_shards(
    tmp_path: Path, name: str, size: str | None
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / name])
    (tmp_path / ".notes.minibiogpt-0123abcd.part").mkdir(mode=0o700)
    assert len([*tmp_path.iterdir()]) == 2
    build().save_pretrained(tmp_path, max_shard_size=size)
    assert [path.name for path in tmp_path.glob(".*")] == [".notes.minibiogpt-0123abcd.part"]
