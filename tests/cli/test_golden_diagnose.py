"""golden diagnose from the command line: cases, kits, weights, pages, JSON, exit codes and invalid input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt.cli import main
from minibiogpt.golden import diagnose
from minibiogpt.golden.diagnosis.library import CAUSES
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.writer import write_kit
from tests.support.golden_cases import arrays_of, written

CASES = ("ordinary", "left_pad", "loud_future")
KEYS = {"id", "where", "parameters", "estimated", "explains", "differing", "before", "after", "certainty", "sentence",
        "right", "trap", "alternatives", "tell_apart", "cases"}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "kit"
    write_kit(folder, cases=CASES)
    return folder


@pytest.fixture(autouse=True)
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder with a kit, arrays that agree in ``good``, and logits that are twice as large in ``bad``."""
    shutil.copytree(made, tmp_path / "kit")
    monkeypatch.chdir(tmp_path)
    for name in ("good", "bad"):
        Path(name).mkdir()
        for case in CASES:
            arrays = arrays_of(Case.read(case_path(case)))
            written(Path(name, f"{case}.safetensors"), arrays | {"logits": arrays["logits"] * (1 + (name == "bad"))})


def case_path(name: str) -> Path:
    return Path("kit", "cases", f"{name}.safetensors")


def run_diagnose(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["golden", "diagnose", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def error_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run the command, which must fail with one line, and return it."""
    code, out, err = run_diagnose(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("minibiogpt: error: ")
    assert err.count("; ") >= 2
    return err


def strict(text: str) -> dict[str, Any]:
    """Return JSON, which must hold neither NaN nor Infinity."""
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict)
    return found


def test_the_exit_codes_of_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    case, good, bad = case_path("ordinary"), "good/ordinary.safetensors", "bad/ordinary.safetensors"
    code, out, err = run_diagnose(capsys, case, good)
    assert (code, out.splitlines()[-1], err) == (0, "agrees; next: minibiogpt golden selftest", "")
    code, out, err = run_diagnose(capsys, case, bad)
    assert (code, out.splitlines()[0], err) == (1, "1 mistake, known", "")
    assert "1. logits-scale: the logits are multiplied by 2\n   where       logits\n" in out
    np.savez("nothing.npz", x=np.zeros(1))
    code, out, err = run_diagnose(capsys, case, "nothing.npz", "--html", "page.html")
    assert (code, err.count("\n"), Path("page.html").exists()) == (2, 1, False)
    assert err.startswith("minibiogpt: error: at least one array must be compared; found none of 44 (x: ")
    assert out == ""
    assert strict(run_diagnose(capsys, case, "nothing.npz", "--json")[1])["verdict"] == "not known"
    lacking = arrays_of(Case.read(case))
    del lacking["layers.0.fc1"]
    np.savez("lacking.npz", **lacking)
    code, out, _ = run_diagnose(capsys, case, "lacking.npz")
    assert (code, out.splitlines()[-1].partition(";")[0]) == (1, "incomplete: what was compared agrees")
    assert run_diagnose(capsys, case, "lacking.npz", "--subset")[0] == 0


def test_the_exit_codes_of_a_kit(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_diagnose(capsys, "kit", "good")
    assert (code, out.splitlines()[-1], err) == (0, "agrees; next: minibiogpt golden selftest", "")
    code, out, err = run_diagnose(capsys, "kit", "bad")
    assert (code, err) == (1, "")
    assert "explains    3 of 3 arrays" in out
    assert "in 3 cases" in out


def test_the_command_that_a_check_proposes_runs(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(case_path("ordinary"), "alone.safetensors")
    for words in (["kit", "bad"], [str(case_path("ordinary")), "bad/ordinary.safetensors"]):
        assert main(["golden", "check", *words, "--precision", "float32"]) == 1
        command = capsys.readouterr().out.rstrip().rpartition("next: minibiogpt ")[2].split()
        assert command == ["golden", "diagnose", *words, "--precision", "float32"]
        assert main(command) == 1
        assert "1. logits-scale: " in capsys.readouterr().out
    assert main(["golden", "check", "alone.safetensors", "bad/ordinary.safetensors"]) == 1
    command = capsys.readouterr().out.rstrip().rpartition("next: minibiogpt ")[2].split()
    assert main([word.replace("FOLDER", "kit/models/base") for word in command]) == 1
    assert "1. logits-scale: " in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(Case.read(case_path("ordinary")))
    np.savez("nan.npz", **arrays | {"logits": np.full_like(arrays["logits"], np.nan)})
    code, out, err = run_diagnose(capsys, case_path("ordinary"), "nan.npz", "--json")
    report = strict(out)
    assert (code, report["exit_code"], err) == (1, 1, "")
    (error,) = report["own_errors"]
    assert (error["case"], error["name"], error["times"]) == ("ordinary", "logits", None)
    code, out, _ = run_diagnose(capsys, "kit", "bad", "--json")
    report = strict(out)
    assert (code, report["verdict"], report["unexplained"]) == (1, "known", [])
    (cause,) = report["causes"]
    assert cause.keys() >= KEYS
    assert (cause["id"], cause["where"], cause["cases"]) == ("logits-scale", ["logits"], list(CASES))
    assert cause["parameters"] == {"factor": pytest.approx(2)}
    assert [(error["case"], error["cause"]) for error in report["own_errors"]] == [(n, "logits-scale") for n in CASES]


def test_infinite_numbers_cause_no_warning() -> None:
    arrays = arrays_of(Case.read(case_path("ordinary")))
    for name in ("layers.0.self_attn.q", "layers.0.fc1"):
        found = diagnose(case_path("ordinary"), arrays | {name: np.full_like(arrays[name], np.inf)})
        assert (found.code, found.own_errors[0].name, found.own_errors[0].times) == (1, name, np.inf)


def test_all_arrays_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    words = [case_path("ordinary"), "bad/ordinary.safetensors"]
    short, long = run_diagnose(capsys, *words)[1], run_diagnose(capsys, *words, "--all")[1]
    assert long.endswith(short)
    rows = [line.split() for line in long.removesuffix(short).splitlines() if line]
    assert rows[0] == ["name", "against", "the", "case", "own", "error", "cause"]
    assert len(rows) == 45
    assert (rows[-1][0], rows[-1][-1]) == ("logits", "logits-scale")


def test_every_cause_is_listed_without_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--list"], ["kit", "bad", "--list"]):
        with pytest.raises(SystemExit, match="0"):
            main(["golden", "diagnose", *words])
        out, err = capsys.readouterr()
        first = [line.partition(" ") for line in out.splitlines() if line[0] != " "]
        assert ([name for name, _, _ in first], err) == (list(CAUSES), "")
        assert all(sentence.strip() for _, _, sentence in first)


def test_a_page_is_written_and_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    case, theirs = case_path("ordinary"), Path("bad/ordinary.safetensors")
    assert run_diagnose(capsys, case, theirs, "--html", "page.html")[0] == 1
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "logits-scale" in page
    before = case.read_bytes(), theirs.read_bytes()
    for target in (case, theirs):
        assert "the page must not overwrite a file" in error_of(capsys, case, theirs, "--html", target)
    assert "the page must not overwrite a file" in error_of(capsys, "kit", "bad", "--html", "kit/page.html")
    assert (case.read_bytes(), theirs.read_bytes()) == before


def test_the_weights_of_a_case_in_no_kit(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(case_path("ordinary"), "alone.safetensors")
    words = ["alone.safetensors", "bad/ordinary.safetensors"]
    err = error_of(capsys, *words)
    assert "diagnose needs the weights of the case's model; found alone.safetensors, which is in no kit; " in err
    assert "--model FOLDER" in err
    assert run_diagnose(capsys, *words, "--model", "kit/models/base")[0] == 1
    err = error_of(capsys, *words, "--model", "kit/models/loud")
    assert "must be those that alone.safetensors was recorded with; found another kit/models/loud/model" in err
    assert "--model must name a folder; found none" in error_of(capsys, *words, "--model", "none")
    assert "found no bad/model.safetensors" in error_of(capsys, *words, "--model", "bad")


def test_cases_without_a_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "bad"):
        Path(name, "left_pad.safetensors").unlink()
    code, out, _ = run_diagnose(capsys, "kit", "bad")
    assert (code, "1. logits-scale: " in out, "\n1 case without a candidate: left_pad\n" in out) == (1, True, True)
    assert run_diagnose(capsys, "kit", "good")[0] == 1
    code, out, _ = run_diagnose(capsys, "kit", "good", "--subset")
    assert (code, out.splitlines()[-1]) == (0, "agrees; next: minibiogpt golden selftest")
    code, out, _ = run_diagnose(capsys, "kit", "good", "--json")
    report = strict(out)
    assert (code, report["exit_code"], report["left_out"]) == (1, 1, {"left_pad": None})
    Path("nothing").mkdir()
    assert "at least one case must have a candidate; found none in nothing" in error_of(capsys, "kit", "nothing")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("left_pad.safetensors", "must be safetensors, npz, "),
        ("left_pad.npz", "the case left_pad must have one candid"),
    ],
)
def test_a_candidate_that_cannot_be_read_does_not_end_the_diagnosis(
    file: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad", file).write_text("x")
    code, out, err = run_diagnose(capsys, "kit", "bad")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert "explains    2 of 2 arrays" in out
    (line,) = [line for line in out.splitlines() if line.startswith("?   left_pad  not checked: ")]
    assert message in line
    code, out, _ = run_diagnose(capsys, "kit", "bad", "--json")
    report = strict(out)
    assert (code, report["exit_code"], report["verdict"]) == (2, 2, "known")
    assert message in report["left_out"]["left_pad"]
    for name in CASES:
        Path("bad", f"{name}.safetensors").write_text("x")
    error_of(capsys, "kit", "bad")


def test_what_is_passed_in_the_wrong_place(capsys: pytest.CaptureFixture[str]) -> None:
    case, theirs = case_path("ordinary"), "bad/ordinary.safetensors"
    assert f"; swap them: minibiogpt golden diagnose {case} {theirs}\n" in error_of(capsys, theirs, case)
    assert "; swap them: minibiogpt golden diagnose kit bad\n" in error_of(capsys, "bad", "kit")
    err = error_of(capsys, "kit/tokenizer.json", "theirs.json")
    assert "; for token ids run: minibiogpt golden check kit/tokenizer.json theirs.json\n" in err
    assert "CASE must be a case file or the folder of a kit; found no none" in error_of(capsys, "none", theirs)
    assert "the candidates of a kit must be a folder; found no none" in error_of(capsys, "kit", "none")
    assert "must be a different file from the reference" in error_of(capsys, case, case)
    assert "--names must name an array of the case" in error_of(capsys, case, theirs, "--names", "absent")


def test_the_installed_command() -> None:
    line = [
        sys.executable,
        "-m",
        "minibiogpt",
        "golden",
        "diagnose",
        str(case_path("ordinary")),
        "bad/ordinary.safetensors",
    ]
    run = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (1, "")
    assert "1. logits-scale: " in run.stdout
