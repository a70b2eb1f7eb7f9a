"""Files that are not regular files, are too large or too deep (pipes, devices, sparse files), and atomic writes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, CheckpointError, InputError
from minibiogpt.checkpoint.convert import convert
from minibiogpt.files.hub import DEMO
from minibiogpt.files.reading import MAX_JSON_DEPTH, MAX_TEXT_BYTES, read_json, read_text
from minibiogpt.files.safetensors import read_header, stored_tensors
from minibiogpt.files.writing import atomic_folder, write_atomically
from tests.checkpoint.test_weights import shard

PIPE = "a pipe or a device"
KINDS = {"pipe": PIPE, "device": PIPE, "folder": "a folder", "sparse": "found 8589934592"}


def copy_demo(folder: Path) -> None:
    for path in DEMO.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def replace(path: Path, kind: str) -> None:
    """Replace a file by something else; a sparse file has 8 GB."""
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 8 << 30)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["config.json", "vocab.json", "merges.txt", "model.safetensors.index.json"])
def test_what_is_no_file_is_neither_waited_for_nor_swallowed(tmp_path: Path, name: str, kind: str) -> None:
    copy_demo(tmp_path)
    if name.endswith("index.json"):
        shard(tmp_path)
    replace(tmp_path / name, kind)
    load = BioGptTokenizer if name in ("vocab.json", "merges.txt") else BioGptForCausalLM
    with pytest.raises(CheckpointError, match=f"({KINDS[kind]}|must hold model.safetensors or its index)"):
        load.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "sparse"])
def test_a_shard_that_is_no_file_is_neither_waited_for_nor_swallowed(tmp_path: Path, kind: str) -> None:
    copy_demo(tmp_path)
    shard(tmp_path)
    replace(tmp_path / "model-2.safetensors", kind)
    with pytest.raises(CheckpointError, match=r"model-2.safetensors must be a (file|complete safetensors file); found"):
        BioGptForCausalLM.from_pretrained(tmp_path)


def test_a_header_larger_than_any_is_refused_before_it_is_read(tmp_path: Path) -> None:
    copy_demo(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes((MAX_TEXT_BYTES + 1).to_bytes(8, "little") + b"{}")
    os.truncate(file, MAX_TEXT_BYTES + 9)
    message = f"found a header of {MAX_TEXT_BYTES + 1} bytes, more than {MAX_TEXT_BYTES}; fetch"
    with pytest.raises(CheckpointError, match=message):
        BioGptForCausalLM.from_pretrained(tmp_path)


def test_metadata_that_is_null_is_none(tmp_path: Path) -> None:
    """So MLX writes files without metadata."""
    header = b'{"__metadata__":null,"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    metadata, tensors = read_header(tmp_path / "x.safetensors")
    assert (metadata, list(tensors)) == ({}, ["x"])


def test_text_may_be_as_long_and_as_deep_as_it_says_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(" " * MAX_TEXT_BYTES)
    assert len(read_text(file, "")) == MAX_TEXT_BYTES
    with file.open("a") as more:
        more.write(" ")
    message = f"x.json must have at most {MAX_TEXT_BYTES} bytes; found {MAX_TEXT_BYTES + 1}"
    with pytest.raises(CheckpointError, match=message):
        read_text(file, "")
    for start, end in (("[", "]"), ('{"a":', "}")):
        file.write_text(start * MAX_JSON_DEPTH + end * MAX_JSON_DEPTH if start == "[" else start * 99 + "{}" + end * 99)
        assert read_json(file, "")
        file.write_text(start * (MAX_JSON_DEPTH + 1) + "1" + end * (MAX_JSON_DEPTH + 1))
        with pytest.raises(CheckpointError, match="x.json must be nested at most 100 levels deep; found more"):
            read_json(file, "")


@pytest.mark.parametrize("vocab", ['{"a": 2147483648}', '{"a": 1e400}', '{"a": %s}' % ("1" + "0" * 400), '{"a": -1}'])
def test_an_id_that_no_embedding_has_is_refused(tmp_path: Path, vocab: str) -> None:
    (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(CheckpointError, match="must map pieces to distinct integers.*found 'a': "):
        BioGptTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("token", ['["</s>"]', "7", '{"content": {}}', "true"])
def test_a_special_token_that_is_no_string_is_refused(tmp_path: Path, token: str) -> None:
    copy_demo(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(f'{{"eos_token": {token}}}')
    with pytest.raises(CheckpointError, match=r"(eos_token|content of an AddedToken) must be a string"):
        BioGptTokenizer.from_pretrained(tmp_path)


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="pipe must be a file, or new; found something else; choose another name"):
        write_atomically(pipe, lambda new: new.write_text("x"))
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_text_that_no_file_can_hold_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("old")
    message = "the text written to .*x must be valid Unicode; found .*surrogates not allowed"
    with pytest.raises(InputError, match=message):
        write_atomically(file, lambda new: new.write_text("new \ud800", encoding="utf-8"))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model-1.bin", "dict.txt", "bpecodes", "tokenizer_config.json"])
def test_convert_reads_files_only(tmp_path: Path, name: str, kind: str) -> None:
    """A pipe, a device or a huge file in place of any of these files must neither block nor be read or copied."""
    source = tmp_path / "source"
    source.mkdir()
    copy_demo(source)
    tensors = {name: torch.from_numpy(x) for name, x in BioGptForCausalLM.from_pretrained("demo").named_parameters()}
    torch.save(tensors, source / "pytorch_model.bin")
    if name == "model-1.bin":
        (source / "pytorch_model.bin").rename(source / name)
        (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}))
    files = {option: source / file for option, file in (("dictionary", "dict.txt"), ("bpecodes", "bpecodes"))}
    if name in ("dict.txt", "bpecodes"):
        (source / "dict.txt").write_text("a 1\n")
        (source / "bpecodes").write_text("a a\n")
    replace(source / name, kind)
    options = files if name in ("dict.txt", "bpecodes") else {}
    with pytest.raises(CheckpointError, match=f"{name} must (be a file|have at most|hold tensors)"):
        convert(source, tmp_path / "new", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_config_that_is_none_is_named_by_both_who_read_it(tmp_path: Path) -> None:
    copy_demo(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"config.json must hold a JSON object; found list"):
        BioGptTokenizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a config must be a JSON object; found list"):
        BioGptForCausalLM.from_pretrained(tmp_path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1558\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_of_git_lfs_is_not_the_file(tmp_path: Path, name: str) -> None:
    copy_demo(tmp_path)
    (tmp_path / name).write_bytes(POINTER)
    message = f"{name} must be the file itself; found a pointer of Git LFS to the file; run git lfs pull in {tmp_path}$"
    with pytest.raises(CheckpointError, match=message):
        BioGptForCausalLM.from_pretrained(tmp_path)


def test_weights_that_are_a_folder_or_a_link_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.mkdir()
    with pytest.raises(CheckpointError, match="found a folder named model.safetensors; put the file in its place"):
        stored_tensors(tmp_path)
    path.rmdir()
    path.symlink_to("blobs/4d7a")
    with pytest.raises(CheckpointError, match="found model.safetensors, a link to blobs/4d7a, which is missing; fetch"):
        stored_tensors(tmp_path)


def test_a_path_with_a_null_character_is_one_error() -> None:
    """A command line cannot hold one, but a string from a file can."""
    with pytest.raises(InputError, match="a path must hold no null character"):
        write_atomically(Path("a\0b"), lambda path: path.write_text("x"))
    with pytest.raises(InputError, match="a path must hold no null character"), atomic_folder(Path("a\0b")):
        pass
    with pytest.raises(InputError, match="a path must hold no null character"):
        BioGptForCausalLM.from_pretrained("demo").save_pretrained("a\0b")


def test_a_path_that_cannot_be_the_name_of_a_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "\ud800"
    message = r"a path must be text that file names can hold; found '.*\\ud800'; name another path"
    with pytest.raises(InputError, match=message):
        write_atomically(path, lambda temporary: temporary.write_text("x"))
    with pytest.raises(InputError, match=message), atomic_folder(path):
        pass
    with pytest.raises(InputError, match=message):
        BioGptForCausalLM.from_pretrained("demo").save_pretrained(path)
    assert list(tmp_path.iterdir()) == []


def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    copy_demo(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "config.json").read_bytes())
    assert BioGptForCausalLM.from_pretrained(tmp_path).config == BioGptForCausalLM.from_pretrained("demo").config


@pytest.mark.parametrize("name", ["a\0b.safetensors", "\ud800.safetensors", "A" * 999 + ".safetensors"])
def test_an_index_may_name_what_no_file_is_called(tmp_path: Path, name: str) -> None:
    copy_demo(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"biogpt.layer_norm.bias": name}}))
    with pytest.raises(CheckpointError, match="must be a complete safetensors file|must name files"):
        BioGptForCausalLM.from_pretrained(tmp_path)
