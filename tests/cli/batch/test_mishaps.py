"""What goes wrong around a file of texts: its own name for the output, files that move, files that are no lines."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from minibiogpt.cli import main
from minibiogpt.cli.batch import loop
from minibiogpt.cli.batch.resume import ResumableFile
from tests.support.paths import ROOT

TEXTS = "Insulin\nIbuprofen is\nBRCA1 gene\na drug\naspirin\n"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder one with a file of texts."""
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text(TEXTS)
    return tmp_path


def command(kind: str, *more: str) -> list[str]:
    name = "out.npy" if kind == "embed" else "out"
    return [kind, "--file", "in.txt", "--chunk", "2", "--output", name, *more]


@pytest.mark.parametrize("appended", [True, False])
@pytest.mark.parametrize(
    "words",
    [["generate", "--file", "in.txt", "--max-new-tokens", "1"], ["score", "--file", "in.txt"], ["score"], ["tokenize"]],
)
def test_standard_output_into_the_input_is_refused(folder: Path, words: list[str], appended: bool) -> None:
    """Appended to the file that is read, the results would be read as texts, and so on until the disk is full."""
    with open("in.txt", "ab" if appended else "wb") as out, open("in.txt", "rb") as given:
        done = subprocess.run(
            [sys.executable, "-m", "minibiogpt", *words], stdin=given, stdout=out, stderr=subprocess.PIPE, timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    name = "in.txt" if "--file" in words else "standard input"
    empty = "" if appended else ", which is empty: > empties a file before the command starts"
    must = f"standard output must not go to the file that is read; found {name}{empty}; redirect it to another: > NEW"
    assert (done.returncode, done.stderr.decode()) == (2, f"minibiogpt: error: {must}\n")
    assert Path("in.txt").read_text() == (TEXTS if appended else "")


@pytest.mark.parametrize("when", ["at the first chunk", "at the last chunk", "at the end"])
@pytest.mark.parametrize(("kind", "written"), [("score", "out"), ("embed", "out.npy.part")])
@pytest.mark.parametrize("replaced", [False, True])
def test_an_output_that_is_moved_away_is_no_success(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, kind: str, written: str, when: str, replaced: bool
) -> None:
    calls = {"append": 0}

    def move() -> None:
        Path(written).rename("moved")
        if replaced:
            Path(written).write_text("other")

    def append(self: ResumableFile, *words: Any, **more: Any) -> None:
        calls["append"] += 1
        if (when, calls["append"]) in (("at the first chunk", 1), ("at the last chunk", 3)):
            move()
        original(self, *words, **more)
        if (when, calls["append"]) == ("at the end", 3):
            move()

    assert main(command(kind)) == 0
    name = command(kind)[-1]
    whole = Path(name).read_bytes()
    Path(name).unlink()
    original = ResumableFile.append
    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "append", append)
        capsys.readouterr()
        assert main(command(kind)) == 2
    err = capsys.readouterr().err
    found = "a different file" if replaced else "no such file"
    assert f"{written} must stay in place while it is written; found {found}; put it back and repeat the" in err
    if when != "at the first chunk":
        Path("moved").replace(written)  # the first remedy works
        assert main(command(kind)) == 0
        assert Path(name).read_bytes() == whole


@pytest.mark.parametrize("kind", ["score", "embed"])
def test_an_output_that_is_removed_is_written_again_on_request(folder: Path, capsys: Capture, kind: str) -> None:
    original = ResumableFile.append

    def append(self: ResumableFile, *words: Any, **more: Any) -> None:
        original(self, *words, **more)
        self.data_path.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableFile, "append", append)
        assert main(command(kind)) == 2
    assert main(command(kind, "--overwrite")) == 0
    again = Path(command(kind)[-1]).read_bytes()
    Path(command(kind)[-1]).unlink()
    assert main(command(kind)) == 0
    assert Path(command(kind)[-1]).read_bytes() == again


def changed(kind: str, content: str, *more: str) -> None:
    """Run a command whose input changes between the check and the reading."""
    scan = loop.Source.scan

    def late(self: Any) -> Any:
        found = scan(self)
        Path("in.txt").write_text(content)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Source, "scan", late)
        assert main(command(kind, *more)) == 2


@pytest.mark.parametrize("kind", ["score", "embed"])
@pytest.mark.parametrize("content", [TEXTS + "more\n", TEXTS.replace("a drug", "drugs"), "Insulin\n"])
def test_the_input_that_changed_during_a_run_may_come_back(
    folder: Path, capsys: Capture, kind: str, content: str
) -> None:
    """The error advises --overwrite, which must then not resume the results of the other input."""
    assert main(command(kind)) == 0
    name = command(kind)[-1]
    whole = Path(name).read_bytes()
    Path(name).unlink()
    capsys.readouterr()
    changed(kind, content)
    assert "in.txt must not change while it is read" in capsys.readouterr().err
    Path("in.txt").write_text(TEXTS)
    if "drugs" in content:  # of the others, no chunk has a line that differs
        assert main(command(kind)) == 2
        assert capsys.readouterr().err.endswith("use the same input, or start again with --overwrite\n")
    assert main(command(kind, "--overwrite")) == 0
    assert Path(name).read_bytes() == whole


@pytest.mark.parametrize("kind", ["score", "embed"])
def test_the_output_is_replaced_although_the_input_changed_and_came_back(
    folder: Path, capsys: Capture, kind: str
) -> None:
    assert main(command(kind)) == 0
    name = command(kind)[-1]
    want = Path(name).read_bytes()
    Path("other").write_text("An older text\n")
    assert main([kind, "--file", "other", "--output", name, "--overwrite"]) == 0
    old = Path(name).read_bytes()
    changed(kind, TEXTS.replace("a drug", "drugs"), "--overwrite")
    assert Path(name).read_bytes() == old
    Path("in.txt").write_text(TEXTS)
    assert main(command(kind, "--overwrite")) == 0
    assert Path(name).read_bytes() == want
    assert sorted(path.name for path in folder.iterdir()) == ["in.txt", "other", name]


def test_a_line_that_was_not_checked_becomes_no_result(folder: Path, capsys: Capture) -> None:
    changed("score", TEXTS + "more\n")
    assert len(Path("out").read_text().splitlines()) == 4  # the chunk that holds it is left out
    Path("in.txt").write_text(TEXTS)
    assert main(command("score")) == 0  # so that the run goes on
    assert len(Path("out").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("kind", "files"), [("score", "out and out.state"), ("embed", "out.npy.part and out.npy.state")]
)
def test_a_different_pipe_is_advised_to_remove_the_right_files(
    folder: Path, capsys: Capture, kind: str, files: str
) -> None:
    def piped(text: str) -> subprocess.CompletedProcess[bytes]:
        words = [kind, *command(kind)[3:]]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "minibiogpt", *words]
        return subprocess.run(words, input=text.encode(), capture_output=True, env=environment)

    assert piped(TEXTS + "\n\nbad").returncode == 2  # after four texts
    other = piped("other\n" + TEXTS).stderr.decode()
    assert other.endswith(f"found different records; use the same input, or remove {files} to start again\n")
    for name in files.split(" and "):
        Path(name).unlink()
    assert piped("other\n" + TEXTS).returncode == 0


HABITS = [
    ("a.csv", "id;text\n1;drug\n", "its header, separators and quotation marks included\n"),
    ("A.TSV", "id\ttext\n", "its header, separators and quotation marks included\n"),
    ("a.jsonl", '{"text": "a drug"}\n', "braces and quotation marks included: score, embed, classify and tag read"),
    ("a.json", '[{"text": "a drug"}]\n', "braces and quotation marks included"),
    ("b.json", '[\n {"text": "a drug"}\n]\n', "braces and quotation marks included"),
]


@pytest.mark.filterwarnings("default:each line of")
@pytest.mark.parametrize("kind", ["generate", "score"])
@pytest.mark.parametrize(("name", "content", "message"), HABITS)
def test_a_file_of_rows_or_of_json_is_read_with_a_warning(
    folder: Path, capsys: Capture, kind: str, name: str, content: str, message: str
) -> None:
    Path(name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert main([kind, "--file", name]) == 0
    assert f"minibiogpt: warning: each line of {name} is read as a text, {message}" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[Treatment of pain].\n", "{a} drug\n", 'a, "b"\n'])
def test_texts_with_brackets_are_texts(folder: Path, capsys: Capture, content: str) -> None:
    Path("in.txt").write_text(content)
    assert main(["score", "--file", "in.txt"]) == 0


@pytest.mark.filterwarnings("default:.*is also the name of a file")
@pytest.mark.parametrize("kind", ["generate", "score"])
def test_the_name_of_a_file_as_a_text_is_a_warning(folder: Path, capsys: Capture, kind: str) -> None:
    Path("my texts.txt").write_text(TEXTS)
    assert main([kind, "my texts.txt"]) == 0
    advice = "is also the name of a file: to read the lines of the file, write --file 'my texts.txt'\n"
    assert capsys.readouterr().err.endswith(advice)


def test_a_workbook_is_named_and_not_unpacked(folder: Path, capsys: Capture) -> None:
    for first in ("[Content_Types].xml", "docProps/app.xml", "xl/workbook.xml"):
        with zipfile.ZipFile("book.xlsx", "w") as book:
            book.writestr(first, "<x/>")
        assert main(["score", "--file", "book.xlsx", "--skip-bad"]) == 2
        assert "found an Office file, such as .xlsx, .docx or .ods; write its texts" in capsys.readouterr().err
    Path("BOOK.XLSX").write_bytes(b"PK\x03\x04\n")  # the time of a file may be a line feed, which hides the name
    assert main(["score", "--file", "BOOK.XLSX"]) == 2
    assert "found an Office file" in capsys.readouterr().err
