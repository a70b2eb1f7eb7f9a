"""Every option that names a file or a folder to write: checked alike, before anything is loaded."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from minibiogpt import BioGptForCausalLM
from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO

# {option: the words of a command before the name of the file to write}
FILES = {
    "score": ["score", "--file", "in", "--overwrite", "--output"],
    "embed": ["embed", "--file", "in", "--overwrite", "--output"],
    "classify": ["classify", "--file", "in", "--overwrite", "--output"],
    "tag": ["tag", "--file", "in", "--overwrite", "--output"],
    "view": ["view", "Aspirin", "--output"],
    "explore": ["explore", "Aspirin", "--output"],
    "trace": ["trace", "Aspirin", "--save"],
    "record": ["golden", "record", "--ids", "2,5", "--seeds", "2", "-o"],
    "check": ["golden", "check", "case.safetensors", "case.safetensors", "--html"],
    "check --junit": ["golden", "check", "case.safetensors", "case.safetensors", "--junit"],
    "diagnose": ["golden", "diagnose", "case.safetensors", "case.safetensors", "--html"],
    "map": ["golden", "map", "case.safetensors", "case.safetensors", "-o"],
}
COMPARISONS = ("check", "diagnose", "map")  # which read no model
SAFETENSORS = ("trace", "record")  # commands that write such files; the others write any, or .npy
FOLDERS = {
    "kit": ["golden", "kit", "--cases", "KIT"],
    "convert": ["convert", "source"],
    "download": ["download", "a/b"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("Aspirin\n")
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command, which must fail with one line and change nothing; return the line."""
    before = contents()
    capsys.readouterr()
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("minibiogpt: error: ")
    assert contents() == before
    return err


def contents() -> dict[str, Any]:
    facts = {str(path): path.lstat() for path in Path().rglob("*")}
    return {name: (one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in facts.items()}


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command may load weights before it has checked its output."""
    monkeypatch.setattr(BioGptForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded"))


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("command", FILES)
def test_what_cannot_be_written_is_refused_alike(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = FILES[command]
    option, end = words[-1], ".safetensors" if command in SAFETENSORS else ".npy"
    folder, link, pipe = f"folder{end}", f"link{end}", f"pipe{end}"
    Path(folder).mkdir()
    Path(link).symlink_to("in")
    os.mkfifo(pipe)
    must = f"minibiogpt: error: the folder of {option} must "
    missing = error_of(capsys, *words, f"a b/deep/x{end}")
    assert missing == f"{must}exist; found no folder a b/deep; create it: mkdir -p 'a b/deep'\n"
    assert error_of(capsys, *words, f"in/x{end}") == f"{must}be a folder; found in; choose another name\n"
    long = error_of(capsys, *words, "A" * 300 + end)
    assert f"{end} must be writable; found File name too long; choose a shorter name" in long
    for name in (".", "..", f"{folder}/"):
        if command not in ("embed", *SAFETENSORS):  # which first ask for one of their endings
            assert f"{option} must name a file; found " in error_of(capsys, *words, name)
    assert f"{option} must name a file; found the folder {folder}; choose" in error_of(capsys, *words, folder)
    assert f"{option} must name a file; found {pipe}, a pipe or device; " in error_of(capsys, *words, pipe)
    linked = error_of(capsys, *words, link)
    assert f"{option} must name the file itself; found {link}, a link; name the file that it links to" in linked


@pytest.mark.parametrize("command", FOLDERS)
def test_the_parent_of_a_new_folder_must_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    err = error_of(capsys, *FOLDERS[command], "no/deep/new")
    must = "minibiogpt: error: the parent folder of FOLDER must exist; found no folder no/deep"
    assert err == f"{must}; create it: mkdir -p no/deep\n"


READERS = [(name, file) for name in FILES if not name.startswith(COMPARISONS) for file in ("model/config.json", "hard")]
READERS += [(name, "in.npy") for name in ("score", "embed", "classify", "tag")]
READERS = [(name, file) for name, file in READERS if file != "model/config.json" or name not in ("embed", *SAFETENSORS)]


@pytest.mark.parametrize(("command", "target"), READERS)
def test_a_file_that_is_read_is_never_written(command: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(DEMO, "model")
    end = ".safetensors" if command in SAFETENSORS else ".npy"
    target = target.replace("hard", f"hard{end}")
    os.link("model/model.safetensors", f"hard{end}")
    Path("in").rename("in.npy")
    *words, option = ["in.npy" if word == "in" else word for word in FILES[command]]
    err = error_of(capsys, *words, "--model", "model", option, target)
    assert f"{option} must not overwrite a file that is read; found " in err


@pytest.mark.parametrize(
    ("given", "output", "command"),
    [("a.state", "a", "score"), ("x.npy.state", "x.npy", "embed"), ("x.npy.part", "x.npy", "embed")],
)
def test_a_helper_of_the_output_is_no_input(
    given: str, output: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(given).write_text("Aspirin\n")
    for words in (["--file", given], ["--file", "./../" + Path.cwd().name + "/" + given]):
        err = error_of(capsys, command, *words, "--output", output, "--overwrite")
        assert f"the name of a file that exists while {output} is unfinished; choose another name" in err
    os.link(given, "other")
    assert "must not overwrite a file" in error_of(capsys, command, "--file", "other", "--output", output)


def test_the_files_of_a_comparison_are_not_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "record", "--ids", "2,5", "--seeds", "2", "-o", "case.safetensors"]) == 0
    Path("map.json").write_text("{}")
    os.link("case.safetensors", "hard")
    words = ["golden", "check", "case.safetensors", "case.safetensors", "--map", "map.json"]
    for option in ("--html", "--junit"):
        for page in ("case.safetensors", "map.json", "hard"):
            assert "must not overwrite a file" in error_of(capsys, *words, option, page)
    for page in ("case.safetensors", "map.json", "hard"):
        more = ["case.safetensors", "--map", "map.json", "--html", page]
        assert "must not overwrite a file" in error_of(capsys, *FILES["diagnose"][:3], *more)
    twice = error_of(capsys, *words, "--html", "x", "--junit", "./x")
    assert twice == "minibiogpt: error: --html and --junit must name two files; found ./x; choose another name\n"
    for file in ("case.safetensors", "hard"):
        assert "-o must not overwrite a file" in error_of(capsys, *FILES["map"], file)


def source() -> None:
    """Write a pickled checkpoint to convert."""
    shutil.copytree(DEMO, "source", ignore=shutil.ignore_patterns("*.safetensors"))
    named = BioGptForCausalLM.from_pretrained("demo").named_parameters()
    torch.save({name: torch.from_numpy(x) for name, x in named}, "source/pytorch_model.bin")


@pytest.mark.parametrize(
    "command", ["view", "trace", "record", "check", "check --junit", "diagnose", "map", "kit", "convert"]
)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No file may have more than 1,000 bytes; Python ignores SIGXFSZ, so that writing fails instead."""
    words = (FILES | FOLDERS)[command]
    if command.startswith(COMPARISONS):
        assert main(["golden", "record", "--ids", "2,5", "--seeds", "2", "-o", "case.safetensors"]) == 0
        shutil.copy("case.safetensors", "theirs.safetensors")
        words = [
            *words[:3],
            "theirs.safetensors",
            *(["--model", str(DEMO)] if command == "diagnose" else []),
            words[-1],
        ]
    if command == "convert":
        source()
    if command == "kit":
        words = ["golden", "kit", "--cases", "ordinary"]
    target = Path("new" if command in FOLDERS else "new.safetensors" if command in SAFETENSORS else "new.npy")
    if command in FILES:
        target.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        capsys.readouterr()
        before = contents()
        code = main([*words, str(target)])
        _, err = capsys.readouterr()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2, err
    assert err.count("\n") == 1, err
    assert "must be writable; found File too large" in err
    assert "; raise the limit on the size of files (ulimit -f), or choose" in err
    assert contents() == before


def test_a_folder_that_may_not_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the answer of the system is replaced."""
    Path("locked").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    assert "the folder of --output must be writable; found locked" in error_of(capsys, *FILES["score"], "locked/x")
