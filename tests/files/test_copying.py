"""What convert and download copy: regular files of the model's own folder, parsed first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch

from minibiogpt import BioGptForCausalLM, CheckpointError
from minibiogpt.checkpoint.convert import TOKENIZER_FILES, convert
from minibiogpt.files.copying import check_folder, check_own_file, copy_text_file
from minibiogpt.files.hub import DEMO, download

SECRET = "root:x:0:0\n"
COMMIT = "0123456789abcdef"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "pytorch_model.bin"
    state = BioGptForCausalLM.from_pretrained("demo").state_dict()
    torch.save({name: torch.from_numpy(x.copy()) for name, x in state.items()}, path)
    return path


@pytest.fixture
def source(tmp_path: Path, weights: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copyfile(weights, folder / weights.name)
    for name in ("config.json", *TOKENIZER_FILES):
        if (DEMO / name).is_file():
            shutil.copyfile(DEMO / name, folder / name)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret.json").write_text('{"token": "secret"}')
    return folder


def hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def written(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


ODD: dict[str, Callable[[Path], object]] = {
    "a link out": lambda path: path.symlink_to(path.parent.parent / "secret"),
    "a link to JSON": lambda path: path.symlink_to("../secret.json"),
    "a broken link": lambda path: path.symlink_to("../absent"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a loop": loop,
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a hole": hole,
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
}
ODD_JSON = {"a list": "[]", "NaN": '{"a": NaN}', "infinity": '{"a": -Infinity}', "half": '{"a": ', "deep": "[" * 9999}


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "merges.txt", "generation_config.json"])
@pytest.mark.parametrize("kind", ODD)
def test_convert_copies_regular_files_only(tmp_path: Path, source: Path, name: str, kind: str) -> None:
    (source / name).unlink(missing_ok=True)
    ODD[kind](source / name)
    with pytest.raises(CheckpointError) as caught:
        convert(source, tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert SECRET.strip() not in str(caught.value)
    assert str(source / name) in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "secret.json", "source"]


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"])
@pytest.mark.parametrize("kind", ODD_JSON)
def test_convert_parses_what_it_copies(tmp_path: Path, source: Path, name: str, kind: str) -> None:
    (source / name).write_text(ODD_JSON[kind])
    with pytest.raises(CheckpointError, match=name):
        convert(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_convert_copies_no_other_file_and_sets_usual_modes(tmp_path: Path, source: Path) -> None:
    (source / "notes.txt").write_text("mine")
    (source / "link.json").symlink_to("../secret")
    (source / "vocab.json").chmod(0o700)
    convert(source, tmp_path / "new")
    (tmp_path / "plain").touch()
    usual = (tmp_path / "plain").stat().st_mode
    found = {path.name: path.lstat().st_mode for path in (tmp_path / "new").iterdir()}
    assert set(found) <= {"config.json", "model.safetensors", *TOKENIZER_FILES}
    assert set(found.values()) == {usual}
    assert (tmp_path / "new" / "merges.txt").read_bytes() == (source / "merges.txt").read_bytes()


def test_convert_reads_the_links_of_the_hubs_cache(tmp_path: Path, source: Path) -> None:
    repository = tmp_path / "models--a--b"
    snapshot, blobs = repository / "snapshots" / COMMIT, repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in source.iterdir():
        path.rename(blobs / f"blob-of-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob-of-{path.name}")
    convert(snapshot, tmp_path / "new")
    assert not any(path.is_symlink() for path in (tmp_path / "new").iterdir())
    (snapshot / "merges.txt").unlink()
    (snapshot / "merges.txt").symlink_to("../../../secret")
    with pytest.raises(CheckpointError, match="a link to a file elsewhere"):
        convert(snapshot, tmp_path / "other")


@pytest.mark.parametrize(
    ("folder", "target", "own"),
    [
        ("a/b/c", "a/b/c/x", True),
        ("a/b/c", "a/b/c/d/x", True),
        ("a/b/c", "a/b/cd/x", False),
        ("a/b/c", "a/b/x", False),
        ("a/b/c", "a/blobs/x", False),
        ("a/snapshots/c", "a/blobs/x", True),
        ("a/snapshots/c", "a/snapshots/x", False),
        ("a/snapshots/c", "blobs/x", False),
    ],
)
def test_own_files_by_hand(tmp_path: Path, folder: str, target: str, own: bool) -> None:
    for path in (tmp_path / folder, (tmp_path / target).parent):
        path.mkdir(parents=True, exist_ok=True)
    (tmp_path / target).touch()
    link = tmp_path / folder / "link"
    link.symlink_to(tmp_path / target)
    if own:
        check_own_file(link)
    else:
        with pytest.raises(CheckpointError, match="link must be a file of its folder, or of the hub's cache"):
            check_own_file(link)


def test_a_link_to_the_weights_is_followed(tmp_path: Path, source: Path, weights: Path) -> None:
    (source / weights.name).unlink()
    (source / weights.name).symlink_to(weights)
    convert(source, tmp_path / "new")
    (source / weights.name).unlink()
    (source / weights.name).symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError) as caught:
        convert(source, tmp_path / "other")
    assert SECRET.strip() not in str(caught.value)


def test_what_a_folder_may_hold_by_hand(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        check_folder(folder, ["a", "b"], "it must be ours", "move it")

    def refused(folder: Path, found: str) -> None:
        with pytest.raises(CheckpointError, match=f"it must be ours; found {found}.*; move it"):
            check(folder)

    folder, x = tmp_path / "folder", tmp_path / "folder" / "b"
    (folder / ".cache").mkdir(parents=True)
    (folder / "a").touch()
    check(folder)
    (tmp_path / "link").symlink_to(folder)
    refused(tmp_path / "link", f"{tmp_path / 'link'}, a link or a file")
    refused(folder / "a", f"{folder / 'a'}, a link or a file")
    x.symlink_to("a")
    refused(folder, "b, a link in")
    x.unlink()
    x.mkdir()
    refused(folder, "b in")
    x.rmdir()
    (folder / ".cache").rmdir()
    (folder / ".cache").touch()
    refused(folder, ".cache in")


def fake_hub(monkeypatch: pytest.MonkeyPatch, deliver: Callable[[Path], Any]) -> None:
    """Let the hub's client list the demo's files and deliver them as ``deliver`` does."""
    names = ["config.json", "vocab.json", "merges.txt", "model.safetensors"]
    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in names])
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: info))

    def snapshot(repo_id: str, *, local_dir: Path, **_: object) -> None:
        local_dir.mkdir(exist_ok=True)
        for name in names:
            shutil.copyfile(DEMO / name, local_dir / name)
        deliver(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)


def replaced_by_a_link(part: Path) -> None:
    (part / "config.json").rename(part.parent / "cached")
    (part / "config.json").symlink_to("../cached")


DELIVERED: dict[str, Callable[[Path], Any]] = {
    "a link": replaced_by_a_link,
    "another file": lambda part: (part / "run.py").touch(),
    "a folder": lambda part: (part / "sub").mkdir(),
    "a pipe": lambda part: os.mkfifo(part / "tokenizer.json"),
    "a broken vocabulary": lambda part: (part / "vocab.json").write_text("[]"),
    "NaN": lambda part: (part / "config.json").write_text('{"x": NaN}'),
}


@pytest.mark.parametrize("kind", DELIVERED)
def test_download_checks_what_the_client_delivers(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, DELIVERED[kind])
    with pytest.raises(CheckpointError) as caught:
        download("some/model", tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["cached"]), "the target of a link is not removed"


@pytest.mark.parametrize("kind", ["link", "foreign", "file"])
def test_download_leaves_a_foreign_part_folder_alone(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub(monkeypatch, lambda part: None)
    part, mine = tmp_path / f"new.{COMMIT[:12]}.part", tmp_path / "mine"
    mine.mkdir()
    (mine / ("config.json" if kind == "link" else "thesis.txt")).write_text("mine")
    if kind == "link":
        part.symlink_to(mine)
    elif kind == "foreign":
        shutil.copytree(mine, part)
    else:
        part.write_text("mine")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="move .* away"):
        download("some/model", tmp_path / "new")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_download_resumes_its_own_part_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, lambda part: (part / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True))
    part = tmp_path / f"new.{COMMIT[:12]}.part"
    (part / ".cache" / "huggingface").mkdir(parents=True)
    (part / "config.json").write_text("half of")
    download("some/model", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert json.loads((tmp_path / "new" / "config.json").read_text())["model_type"] == "biogpt"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "config.json", "merges.txt", "model.safetensors", "vocab.json",
    ]  # fmt: skip


def test_a_byte_order_mark_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_bytes(b'\xef\xbb\xbf{"Infinity": 1}')
    copy_text_file(tmp_path / "vocab.json", tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == b'{"Infinity": 1}'
    (tmp_path / "vocab.json").write_bytes(b'\xef\xbb\xbf{"a": Infinity}')
    with pytest.raises(CheckpointError, match="found Infinity, which JSON lacks"):
        copy_text_file(tmp_path / "vocab.json", tmp_path / "other.json")
