"""golden map from the command line: what it prints, what the check accepts, and unusable input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minibiogpt.cli import main
from minibiogpt.golden.format.case import Case
from tests.support.golden_cases import arrays_of, normal, small, written


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def renamed(case: Case, path: Path) -> Path:
    """Write the arrays as h0, h1, ...; one with its axes turned."""
    arrays = {f"h{i}": x for i, x in enumerate(arrays_of(case).values())}
    arrays["h1"] = arrays["h1"].swapaxes(0, 1)
    return written(path, arrays)


def run_map(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["golden", "map", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_what_is_printed_is_a_map_that_the_check_reads(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = renamed(case, tmp_path / "theirs.safetensors")
    code, out, err = run_map(capsys, case.path, theirs)
    assert code == 0
    assert json.loads(out)["embeddings"] == {"name": "h1", "axes": "T B D"}
    assert err == "8 entries: 8 by their values\n"
    (tmp_path / "map.json").write_text(out)
    assert main(["golden", "check", str(case.path), str(theirs)]) == 2
    assert main(["golden", "check", str(case.path), str(theirs), "--map", str(tmp_path / "map.json")]) == 0


def test_the_map_can_be_written_to_a_file(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = renamed(case, tmp_path / "theirs.safetensors")
    printed = run_map(capsys, case.path, theirs)[1]
    assert run_map(capsys, case.path, theirs, "-o", tmp_path / "map.json")[:2] == (0, "")
    assert (tmp_path / "map.json").read_text() == printed


def test_the_tool_can_be_given(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    arrays["blk.0"] = normal(*arrays.pop("layers.0").shape, seed=9)  # its values are those of nothing
    theirs = written(tmp_path / "theirs.safetensors", arrays)
    assert "layers.{l}" not in json.loads(run_map(capsys, case.path, theirs)[1])
    code, out, err = run_map(capsys, case.path, theirs, "--names-of", "ggml")
    assert (code, json.loads(out)["layers.{l}"], err) == (0, "blk.{l}", "8 entries: 8 by their names\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["case.safetensors", "other.npz"], "must be recognized by its name or values; found none; check that they "),
        (["none", "other.npz"], "CASE must be a case file or the folder of a kit; found no none"),
        (["case.safetensors", "none"], "the candidate must be a file or a folder; found no none"),
        (["other.npz", "case.safetensors"], "swap them: minibiogpt golden map case.safetensors other.npz"),
        (["case.safetensors", "other.npz", "--names-of", "keras"], "--names-of must be one of llama.cpp, ggml, "),
        (["case.safetensors"], "write minibiogpt golden map case.safetensors THEIRS"),
    ],
)
def test_unusable_input_is_one_line(
    words: list[str], message: str, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(case.path.parent)
    np.savez("other.npz", x=np.ones((3, 3)))
    code, out, err = run_map(capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
