"""golden check from the command line: files, kits, maps, pages, JSON, exit codes and invalid input."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from minibiogpt.cli import main
from minibiogpt.files.reading import sha256
from minibiogpt.golden.format.case import Case
from tests.support.golden_cases import arrays_of, case_of, normal, small, written


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def run_check(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["golden", "check", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_agrees_differs_and_incomplete(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    code, out, err = run_check(capsys, case.path, written(tmp_path / "a", arrays))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("agrees: 8 of 8 arrays")
    code, out, err = run_check(capsys, case.path, written(tmp_path / "b", arrays | {"logits": arrays["logits"] + 1}))
    assert (code, err) == (1, "")
    assert out.splitlines()[-1].startswith("differs: 1 of 8 arrays, first at logits; next: minibiogpt golden diagnose ")
    del arrays["logits"]
    theirs = written(tmp_path / "c", arrays)
    assert run_check(capsys, case.path, theirs)[0] == 1
    assert run_check(capsys, case.path, theirs, "--subset")[0] == 0


def test_the_next_command_can_be_typed(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    wrong = {"layers.0": np.ascontiguousarray(arrays["layers.0"].swapaxes(0, 1))}
    wide = {n: x.astype("f4").astype("f8") for n, x in arrays.items() if x.dtype.kind == "f" and "masked" not in n}
    for changed in (wrong, wide, {"layers.0": None}):
        theirs = {name: x for name, x in {**arrays, **changed}.items() if x is not None}
        code, out, _ = run_check(capsys, case.path, written(tmp_path / "theirs", theirs))
        assert code == 1
        command = out.rstrip().rpartition("next: minibiogpt ")[2].split()
        assert main(command) == 0
        capsys.readouterr()


def test_the_next_command_keeps_the_options(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    arrays["out"] = arrays.pop("logits")
    arrays["layers.0"] = arrays["layers.0"] + 1
    theirs, names = written(tmp_path / "theirs", arrays), tmp_path / "a map.json"
    names.write_text('{"logits": "out"}')
    given = ["--map", str(names), "--precision", "float32", "--real-only", "--accept-layouts", "--subset"]
    out = run_check(capsys, case.path, theirs, *given, "--names", "l*")[1]
    command = shlex.split(out.rstrip().rpartition("next: minibiogpt ")[2])
    assert command[:2] == ["golden", "diagnose"]
    assert set(given) < set(command)
    assert command[-4:] == ["--names", "l*", "--model", "FOLDER"]
    assert main(command) == 2
    assert "--model must name a folder; found FOLDER; " in capsys.readouterr().err


def test_nothing_compared_says_which_option_compares_it(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = case.array("logits")
    for changed, option in ((x[:, -1], "--last 1"), (np.ascontiguousarray(x.T), "--accept-layouts")):
        code, _, err = run_check(capsys, case.path, written(tmp_path / "theirs", {"logits": changed}))
        assert code == 2
        assert option in err
        command = err.strip().rpartition("; run minibiogpt ")[2].split()
        assert main(command) == 0
        capsys.readouterr()


def test_floats_that_json_writes_as_integers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JavaScript writes 1.0 as 1, so the probabilities of a single token look like integers."""
    arrays = {"probs": ("B H T S", np.ones((1, 3, 1, 1))), "position_ids": ("B T", np.zeros((1, 1), int))}
    one, theirs = case_of(tmp_path / "case.safetensors", arrays), tmp_path / "theirs.json"
    for value, expected in ((1, 0), (2, 1)):
        theirs.write_text(json.dumps({"probs": [[[[value]]] * 3], "position_ids": [[0]]}))
        assert run_check(capsys, one.path, theirs)[0] == expected
    save_file({"probs": np.ones((1, 3, 1, 1), int), "position_ids": np.zeros((1, 1), int)}, tmp_path / "integers")
    code, out, _ = run_check(capsys, one.path, tmp_path / "integers")
    assert (code, "expected floats, found int64" in out) == (1, True)


def test_what_is_no_array_is_said(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text under the name of an array is not passed over, not even with --subset."""
    theirs = tmp_path / "theirs.json"
    content = {"loss": 2.5, "about": {"made by": "a port"}, "version": "1"}
    theirs.write_text(json.dumps(content))
    code, out, _ = run_check(capsys, case.path, theirs, "--subset")
    assert code == 0
    assert "ignored, because they are no arrays: about.made by (text), version (text)" in out
    theirs.write_text(json.dumps(content | {"logits": [["1.5", "2.5"]]}))
    code, out, _ = run_check(capsys, case.path, theirs, "--subset")
    assert (code, out.splitlines()[-1].partition(";")[0]) == (
        1,
        "incomplete: 1 of 8 arrays agree, 1 could not be compared",
    )
    assert "expected an array, found text" in out
    assert {"name": "logits", "is": "text"} in json.loads(run_check(capsys, case.path, theirs, "--json")[1])["ignored"]


def test_the_installed_command(case: Case, tmp_path: Path) -> None:
    theirs = written(tmp_path / "theirs", arrays_of(case))
    line = [sys.executable, "-m", "minibiogpt", "golden", "check", str(case.path), str(theirs)]
    run = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


def test_json(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = written(tmp_path / "theirs", arrays_of(case) | {"layers.0": np.full((2, 5, 21), np.nan)})
    code, out, err = run_check(capsys, case.path, theirs, "--json", "--all")
    report = json.loads(out)
    assert (code, err) == (1, "")
    assert (report["exit_code"], report["first_difference"]) == (1, "layers.0")
    code, out, err = run_check(capsys, case.path, written(tmp_path / "none", {"x": np.zeros(1)}), "--json")
    assert (code, json.loads(out)["exit_code"]) == (2, 2)
    assert err.startswith("minibiogpt: error: at least one array must be compared; found none of 8 (x: ")


def test_names_a_map_and_accepted_layouts(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    arrays["q"] = np.ascontiguousarray(arrays.pop("layers.0.self_attn.q").swapaxes(1, 2))
    theirs = written(tmp_path / "theirs", arrays)
    assert run_check(capsys, case.path, theirs)[0] == 1
    names = tmp_path / "map.json"
    names.write_text('{"layers.0.self_attn.q": "q"}')
    assert run_check(capsys, case.path, theirs, "--map", names)[0] == 1
    assert run_check(capsys, case.path, theirs, "--map", names, "--accept-layouts")[0] == 0
    names.write_text('{"layers.0.self_attn.q": {"name": "q", "axes": "B T H Dh"}}')
    assert run_check(capsys, case.path, theirs, "--map", names)[0] == 0
    code, out, _ = run_check(capsys, case.path, theirs, "--names", "layers.0", "--names", "log*", "--all")
    assert (code, out.count("\nok  ")) == (0, 2)


def test_precision_and_padding(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    arrays["layers.0"] = arrays["layers.0"] + 1e-6
    arrays["layers.0"][0, 0, 0] = np.nan
    theirs = written(tmp_path / "theirs", arrays)
    assert run_check(capsys, case.path, theirs, "--precision", "float32")[0] == 1
    code, out, _ = run_check(capsys, case.path, theirs, "--precision", "float32", "--real-only")
    assert code == 0
    assert "left out (--real-only)" in out
    assert run_check(capsys, case.path, theirs, "--precision", "int8")[0] == 2
    patterns = ["--precision", "layers.*=float32", "--precision", "logits=float32"]
    assert run_check(capsys, case.path, theirs, *patterns, "--real-only")[0] == 0
    for words in ("layers.*=float33", "=float32x", "layers.*="):
        code, _, err = run_check(capsys, case.path, theirs, "--precision", words)
        assert (code, "--precision must be one of float64, float32, bfloat16, float16" in err) == (2, True)
    assert "--precision must name an array" in run_check(capsys, case.path, theirs, "--precision", "x=float32")[2]


def test_conventions_are_accepted_by_name(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    arrays["logits"] = np.pad(arrays["logits"], ((0, 0), (0, 0), (0, 5)))
    theirs = written(tmp_path / "theirs", arrays)
    code, out, _ = run_check(capsys, case.path, theirs)
    assert (code, "--accept padded-vocabulary" in out) == (1, True)
    assert main(shlex.split(out.rstrip().rpartition("next: minibiogpt ")[2])) == 0
    capsys.readouterr()
    for words in (["q-scaled, padded-vocabulary"], ["q-scaled", "--accept", "padded-vocabulary"], ["all"]):
        code, out, _ = run_check(capsys, case.path, theirs, "--accept", *words)
        assert (code, "accepted conventions: padded-vocabulary" in out) == (0, True)
    code, _, err = run_check(capsys, case.path, theirs, "--accept", "padded-vocab")
    assert (code, "did you mean --accept padded-vocabulary?" in err) == (2, True)


def test_a_kit_has_precisions_of_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    assert run_check(capsys, kit, theirs, "--precision", "layers.0=float32")[0] == 0
    code, _, err = run_check(capsys, kit, theirs, "--precision", "layers.9=float32")
    assert (code, "--precision must name an array of a case" in err) == (2, True)


def test_a_page(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, page = written(tmp_path / "theirs", arrays_of(case)), tmp_path / "page.html"
    assert run_check(capsys, case.path, theirs, "--html", page)[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    nothing = written(tmp_path / "nothing", {"x": np.zeros(3)})
    code, _, err = run_check(capsys, case.path, nothing, "--html", tmp_path / "none.html")
    assert (code, (tmp_path / "none.html").exists()) == (2, False)
    code, _, err = run_check(capsys, case.path, theirs, "--html", tmp_path)
    assert code == 2
    assert err.startswith("minibiogpt: error: ")


@pytest.mark.parametrize(
    ("case_name", "theirs", "options", "message"),
    [
        ("none", "theirs", [], "CASE must be a case file or the folder of a kit; found no "),
        ("text", "theirs", [], "must be a complete safetensors file"),
        (
            "theirs",
            "case.safetensors",
            [],
            "CASE THEIRS; found case.safetensors, a case file, in",
        ),
        ("theirs", "theirs", [], "must be a golden case"),
        ("case.safetensors", "none", [], "the candidate must be a file or a folder; found no "),
        ("case.safetensors", "text", [], "or a folder of npy or raw files; found a text"),
        ("case.safetensors", "case.safetensors", [], "must be a different file from the reference"),
        ("case.safetensors", "empty", [], "must contain npy files, or raw values as .f32; found none"),
        ("case.safetensors", "theirs", ["--names", "nothing"], "--names must name an array of the case"),
        ("case.safetensors", "theirs", ["--names", ""], "--names must name an array of the case"),
        ("case.safetensors", "theirs", ["--map", "none"], "--map must name a file"),
        ("case.safetensors", "theirs", ["--map", "text"], "must hold JSON"),
        ("empty", "empty", [], "must be a complete kit; found no manifest.json"),
    ],
)
def test_nonsense_is_one_line_and_exit_code_2(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], case_name: str, theirs: str, options: list[str],
    message: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "theirs", arrays_of(case))
    Path("text").write_text("golden")
    Path("empty").mkdir()
    code, out, err = run_check(capsys, case_name, theirs, *options)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


# ---- Kits.


FILES = {"tokenizer": "tokenizer.json", "readme": "README.md"}


def kit_of(folder: Path, names: tuple[str, ...] = ("first", "second", "third")) -> Path:
    (folder / "cases").mkdir(parents=True)
    cases = []
    for i, name in enumerate(names):
        path = folder / "cases" / f"{name}.safetensors"
        case_of(path, {"layers.0": ("B T", normal(2, 3, seed=i)), "logits": ("B", normal(4, seed=i))}, case=name)
        cases.append({"name": name, "file": f"cases/{name}.safetensors", "sha256": sha256(path)})
    (folder / "README.md").write_text("A kit.")
    (folder / "tokenizer.json").write_text("[]")
    listed = {name: {"file": file, "sha256": sha256(folder / file)} for name, file in FILES.items()}
    about = {"format": "minibiogpt-golden-kit", "version": "1", "models": {}, "cases": cases} | listed
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


def theirs_of(kit: Path, folder: Path) -> Path:
    """Write one candidate in each of the three forms."""
    folder.mkdir()
    cases = [arrays_of(Case.read(path)) for path in sorted((kit / "cases").iterdir())]
    save_file(cases[0], folder / "first.safetensors")
    np.savez(folder / "second.npz", **cases[1])
    (folder / "third").mkdir()
    for name, x in cases[2].items():
        np.save(folder / "third" / f"{name}.npy", x)
    return folder


def test_a_kit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    code, out, err = run_check(capsys, kit, theirs)
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [["ok", "first"], ["ok", "second"], ["ok", "third"]]
    assert out.splitlines()[-1] == "agrees: 3 of 3 cases; next: minibiogpt golden selftest"


def test_the_first_failing_case_of_a_kit_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    for name in ("second", "third"):
        arrays = arrays_of(Case.read(kit / "cases" / f"{name}.safetensors"))
        arrays["logits"] += 1
        (theirs / f"{name}.npz").unlink(missing_ok=True)
        for file in (theirs / name).glob("*") if (theirs / name).is_dir() else ():
            file.unlink()
        if (theirs / name).is_dir():
            (theirs / name).rmdir()
        save_file(arrays, theirs / f"{name}.safetensors")
    page = tmp_path / "page.html"
    code, out, _ = run_check(capsys, kit, theirs, "--html", page)
    assert code == 1
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [["ok", "first"], ["X", "second"], ["X", "third"]]
    assert "last good: layers.0" in out
    assert "3 cases compared, 1 agree, 0 without a candidate, 3 in all" in out
    assert out.splitlines()[-1].startswith("second differs: 1 of 2 arrays, first at logits; next: ")
    assert "case second" in page.read_text()
    report = json.loads(run_check(capsys, kit, theirs, "--json")[1])
    assert (report["exit_code"], [one["result"]["exit_code"] for one in report["cases"]]) == (1, [0, 1, 1])


def test_a_case_without_a_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    (theirs / "second.npz").unlink()
    code, out, _ = run_check(capsys, kit, theirs)
    assert code == 1
    assert "?   second  not comparable: no candidate" in out
    assert out.splitlines()[-1].startswith("incomplete: 1 of 3 cases have no candidate; next: ")
    code, out, _ = run_check(capsys, kit, theirs, "--subset")
    assert (code, out.splitlines()[-1]) == (0, "agrees: 2 of 3 cases; next: minibiogpt golden selftest")
    (tmp_path / "nothing").mkdir()
    for options in ([], ["--subset"], ["--json"]):
        code, out, err = run_check(capsys, kit, tmp_path / "nothing", *options)
        assert code == 2
        assert "at least one case must have a candidate; found none in " in err


def test_a_candidate_that_can_be_compared_in_nothing_fails_the_kit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    save_file({"layers.0": np.zeros((9, 9))}, theirs / "first.safetensors")
    for options in ([], ["--subset"]):
        code, out, _ = run_check(capsys, kit, theirs, *options)
        assert code == 1
        assert out.startswith("?   first   nothing was compared, so nothing agrees")


def test_files_that_no_case_has_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    (theirs / "fist.safetensors").write_bytes(b"")
    (theirs / "tokenizer.json").write_text("[]")
    out = run_check(capsys, kit, theirs)[1]
    assert "ignored: fist.safetensors, tokenizer.json" in out


def corrupt(kit: Path, theirs: Path, what: str) -> None:
    manifest = kit / "manifest.json"
    content = json.loads(manifest.read_text())
    if what == "a changed case":
        path = kit / "cases" / "second.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    elif what == "a missing case":
        (kit / "cases" / "second.safetensors").unlink()
    elif what == "a case elsewhere":
        content["cases"][0]["file"] = "../theirs/first.safetensors"
    elif what == "no cases":
        content["cases"] = []
    elif what == "a list":
        content = []
    elif what == "a case of words":
        content["cases"] = ["x"]
    elif what == "a later version":
        content["version"] = "2"
    elif what == "two of one name":
        content["cases"][1] = content["cases"][0]
    elif what == "a changed tokenizer":
        (kit / "tokenizer.json").write_text("[1]")
    elif what == "a name that is a path":
        content["cases"][0]["name"] = "../first"
    elif what == "no digest":
        del content["cases"][0]["sha256"]
    manifest.write_text(json.dumps(content) if what != "no JSON" else "{")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("a changed case", "second.safetensors, changed since the kit was made"),
        ("a missing case", "second.safetensors; make it again"),
        ("a case elsewhere", "must be a complete kit; found no "),
        ("no cases", "must be a complete kit; found no cases"),
        ("a list", "must be a complete kit; found an invalid manifest.json"),
        ("a case of words", "must be a complete kit; found an invalid manifest.json"),
        ("a later version", "version '1'; found version '2'"),
        ("two of one name", "must be a complete kit; found no cases, two cases of the same name, or a name"),
        ("a changed tokenizer", "tokenizer.json, changed since the kit was made"),
        ("a name that is a path", "must be a complete kit; found no cases, two cases of the same name, or a name"),
        ("no digest", "must be a complete kit; found an invalid manifest.json"),
        ("no JSON", "manifest.json must hold JSON"),
    ],
)
def test_a_corrupted_kit(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, message: str) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    corrupt(kit, theirs, what)
    code, out, err = run_check(capsys, kit, theirs)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("first.npz", "the case first must have one candidate in "),
        ("first.safetensors", "first.safetensors must be safetensors, npz, "),
        ("first.json", "first.json must hold JSON; found "),
    ],
)
def test_what_is_wrong_with_one_candidate_of_a_kit_does_not_end_the_check_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, message: str
) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    if file == "first.json":
        (theirs / "first.safetensors").unlink()
    (theirs / file).write_bytes(b"{" if file == "first.json" else b"x")
    code, out, err = run_check(capsys, kit, theirs)
    assert code == 2
    assert err.startswith("minibiogpt: error: ")
    assert message in err
    lines = out.splitlines()
    assert lines[0].startswith("?   first   not checked: ")
    assert message in lines[0]
    assert [line[:10] for line in lines[1:3]] == ["ok  second", "ok  third "]
    assert lines[3] == "2 cases compared, 2 agree, 1 that could not be checked, 0 without a candidate, 3 in all"
    assert lines[4].startswith("incomplete: 1 of 3 cases could not be checked; next: minibiogpt golden check ")
    code, out, _ = run_check(capsys, kit, theirs, "--json")
    cases = {one["case"]: one for one in json.loads(out)["cases"]}
    assert (code, json.loads(out)["exit_code"]) == (2, 2)
    assert message in cases["first"]["error"]
    assert (cases["first"]["result"], cases["second"]["error"]) == (None, None)
    assert cases["second"]["result"]["verdict"] == "agrees"


def test_one_map_serves_all_cases_of_a_kit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs, names = tmp_path / "theirs", tmp_path / "map.json"
    theirs.mkdir()
    manifest = json.loads((kit / "manifest.json").read_text())
    for i, one in enumerate(manifest["cases"]):
        arrays = arrays_of(Case.read(kit / one["file"]))
        arrays |= {"out": arrays.pop("logits")} if "logits" in arrays else {}
        if i or "out" not in arrays:
            written(theirs / f"{one['name']}.safetensors", arrays)
        else:
            written(theirs / f"{one['name']}.safetensors", arrays | {"out": arrays["out"] + 1})
    names.write_text('{"logits": "out", "layers.7.fc1": "absent"}')
    assert "exist in a case of the kit; found 'layers.7.fc1'" in run_check(capsys, kit, theirs, "--map", names)[2]
    names.write_text('{"logits": "out"}')
    code, out, err = run_check(capsys, kit, theirs, "--map", names)
    assert (code, err) == (1, "")
    assert "3 cases compared, 2 agree" in out
    command = out.rstrip().rpartition("next: minibiogpt ")[2].split()
    assert command == ["golden", "diagnose", str(kit), str(theirs), "--map", str(names)]


def test_the_candidates_of_a_kit_are_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    for theirs in (kit / "manifest.json", tmp_path / "none"):
        code, _, err = run_check(capsys, kit, theirs)
        assert code == 2
        assert "the candidates of a kit must be a folder; found " in err


def test_the_tokenizer_of_a_kit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, theirs = tmp_path / "tokenizer.json", tmp_path / "theirs.json"
    case = {"text": "a b", "pieces": ["</s>", "a</w>", "b</w>"], "ids": [2, 5, 6], "offsets": [[0, 0], [0, 1], [2, 3]]}
    reference.write_text(json.dumps([case | {"decoded": "a b"}]))
    for ids, code in (([2, 5, 6], 0), ([2, 5, 7], 1)):
        theirs.write_text(json.dumps([ids]))
        found, out, _ = run_check(capsys, reference, theirs)
        assert (found, len(out.splitlines()) >= 2) == (code, True)
        found, out, _ = run_check(capsys, reference, theirs, "--json")
        assert (found, json.loads(out)["exit_code"]) == (code, code)
    assert run_check(capsys, reference, tmp_path / "none.json")[0] == 2


def test_the_page_never_overwrites_what_is_compared(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = written(tmp_path / "theirs.safetensors", arrays_of(case))
    before = case.path.read_bytes(), Path(theirs).read_bytes()
    for page in (case.path, theirs):
        code, out, err = run_check(capsys, case.path, theirs, "--html", str(page))
        assert (code, out) == (2, "")
        assert "the page must not overwrite a file that is compared" in err
    assert (case.path.read_bytes(), Path(theirs).read_bytes()) == before


def test_names_choose_the_cases_of_a_kit_that_have_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    assert "agrees: 3 of 3 cases" in run_check(capsys, kit, theirs, "--names", "layers.*", "--subset")[1]
    code, _, err = run_check(capsys, kit, theirs, "--names", "layer")
    assert code == 2
    assert "--names must name an array of a case" in err


def test_a_kit_of_which_nothing_was_compared_has_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit, theirs, page = kit_of(tmp_path / "kit"), tmp_path / "theirs", tmp_path / "page.html"
    theirs.mkdir()
    save_file({"layers.0": np.zeros((9, 9))}, theirs / "first.safetensors")
    code, _, err = run_check(capsys, kit, theirs, "--html", page)
    assert (code, page.exists()) == (2, False)
    assert "at least one array must be compared; found none of 2 (layers.0: expected " in err
    np.savez(theirs / "second.npz", **arrays_of(Case.read(kit / "cases" / "second.safetensors")))
    assert run_check(capsys, kit, theirs, "--html", page)[0] == 1
    assert "case second" in page.read_text(), "the page shows a case of which something was compared"


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/a", "a\\b", "", "con", "NUL.txt", "a\nb", "x" * 101, "a ", 5])
def test_names_of_cases_that_are_no_file_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: object
) -> None:
    kit = kit_of(tmp_path / "kit")
    content = json.loads((kit / "manifest.json").read_text())
    content["cases"][0]["name"] = name
    (kit / "manifest.json").write_text(json.dumps(content))
    code, out, err = run_check(capsys, kit, theirs_of(kit, tmp_path / "theirs"))
    assert (code, out) == (2, "")
    assert "or a name that is no file name" in err


def test_what_is_passed_in_the_wrong_place(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit")
    theirs = theirs_of(kit, tmp_path / "theirs")
    for first, second, what in (
        (theirs, kit, "the folder of a kit"),
        (theirs / "second.npz", case.path, "a case file"),
    ):
        code, out, err = run_check(capsys, first, second)
        assert (code, out) == (2, "")
        assert f"{second}, {what}, in the second place; swap them: minibiogpt golden check {second} {first}" in err
    assert "found a kit; pass the folder that your" in run_check(capsys, case.path, kit)[2]
    assert "or check one case: " in run_check(capsys, kit, theirs / "second.npz")[2]
    weights = written(tmp_path / "model", {"biogpt.embed_tokens.weight": np.zeros(2), "output.bias": np.zeros(2)})
    err = run_check(capsys, case.path, weights)[2]
    assert "must hold arrays of a run; found weights: biogpt.embed_tokens.weight, output.bias; run your" in err


def test_only_the_last_positions(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = arrays_of(case)
    theirs = written(tmp_path / "theirs", {"logits": arrays["logits"][:, -1]})
    code, out, _ = run_check(capsys, case.path, theirs, "--subset")
    assert code == 2, "nothing compared"
    code, out, err = run_check(capsys, case.path, theirs, "--subset", "--last", 1)
    assert (code, err) == (0, "")
    assert "only the last 1 positions are compared (--last)" in out
    assert "agrees: 1 of 8 arrays, at the last 1 positions, up to rounding in float64" in out
    for last in ("0", "-1"):
        assert run_check(capsys, case.path, theirs, "--last", last)[0] == 2
