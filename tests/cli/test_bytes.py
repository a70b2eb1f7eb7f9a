"""Arguments that are not UTF-8, and unusual settings of Python and the system: one line, or it works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minibiogpt import BioGptConfig, BioGptForSequenceClassification, BioGptForTokenClassification, BioGptTokenizer
from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
ROOT = Path(__file__).parents[2]
ODD = "a\udcffb"  # how Python reads the bytes a, 0xff, b
MODELS = {"classify": "sequence", "tag": "token"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the demo under an odd name, and a model for classify and for tag."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DEMO, ODD)
    for name, kind in (("sequence", BioGptForSequenceClassification), ("token", BioGptForTokenClassification)):
        kind.from_config(BioGptConfig.from_pretrained("demo")).save_pretrained(name)
        BioGptTokenizer.from_pretrained("demo").save_pretrained(name)
    Path("t\udcff.txt").write_text("pain is\n")
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("minibiogpt: error: ")
    assert error.count("\n") == 1
    return error


COMMANDS = ["generate", "tokenize", "score", "embed", "classify", "tag", "trace", "view", "explore"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_text_of_other_bytes_is_refused_alike(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", MODELS[command]] if command in MODELS else []
    words += ["--output", "x.npy"] if command == "embed" else []
    assert "a text must be UTF-8; found 'a\\udcffb'; convert it first" in error_of(capsys, [command, *words, ODD])


@pytest.mark.parametrize("option", ["--stop", "--bad-word", "--text", "--name", "--about"])
def test_so_is_an_option_that_is_a_text(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "pain"] if option in ("--stop", "--bad-word") else ["golden", "record", "-o", "x.safetensors"]
    words += [] if words[0] == "generate" or option == "--text" else ["--text", "pain"]
    must = "a text" if option == "--text" else option
    assert f"{must} must be UTF-8; found 'a\\udcffb'" in error_of(capsys, [*words, option, ODD])
    assert not Path("x.safetensors").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "pain", "--max-new-tokens", "1", "--model", ODD],
        ["info", "--model", ODD, "--json"],
        ["score", "--file", "t\udcff.txt", "--output", "o\udcff.jsonl"],
        ["embed", "--file", "t\udcff.txt", "--output", "o\udcff.npy"],
        ["classify", "--model", "sequence", "--file", "t\udcff.txt", "--output", "o\udcff.jsonl"],
        ["trace", "pain", "--save", "o\udcff.safetensors"],
        ["view", "pain", "--output", "o\udcff.html"],
        ["golden", "record", "--text", "pain", "-o", "o\udcff.safetensors"],
    ],
)
def test_a_path_of_any_bytes_works(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    output = next((word for word in words if word.startswith("o\udcff")), None)
    assert output is None or Path(output).stat().st_size > 0


def test_reports_of_a_check_have_paths_of_any_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "record", "--ids", "2,5", "--seeds", "2", "-o", "c\udcff.safetensors"]) == 0
    assert main(["trace", "--ids", "2,5", "--dtype", "float64", "--save", "t\udcff.safetensors"]) == 0
    words = ["golden", "check", "c\udcff.safetensors", "t\udcff.safetensors", "--html", "o\udcff.html"]
    assert main([*words, "--junit", "o\udcff.xml"]) == 0
    assert all(Path(f"o\udcff.{end}").read_text(encoding="utf-8") for end in ("html", "xml"))


def test_so_has_the_page_of_a_diagnosis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "record", "--ids", "2,5", "--seeds", "2", "-o", "c\udcff.safetensors"]) == 0
    assert main(["trace", "--ids", "2,5", "--dtype", "float64", "--save", "t\udcff.safetensors"]) == 0
    words = ["golden", "diagnose", "c\udcff.safetensors", "t\udcff.safetensors", "--html", "o\udcff.html"]
    assert main([*words, "--model", ODD]) == 0
    assert Path("o\udcff.html").read_text(encoding="utf-8")
    assert "found a\\udcffb/none" in error_of(capsys, [*words, "--model", f"{ODD}/none"])


def test_so_does_the_path_of_a_map() -> None:
    assert main(["golden", "record", "--text", "pain", "--seeds", "2", "-o", "c\udcff.safetensors"]) == 0
    shutil.copy("c\udcff.safetensors", "t\udcff.safetensors")
    words = ["golden", "map", "c\udcff.safetensors", "t\udcff.safetensors"]
    assert main([*words, "-o", "m\udcff.json"]) == 0
    assert main(["golden", "check", *words[2:], "--map", "m\udcff.json"]) == 0


@pytest.mark.parametrize("words", [["score", "--file", ODD], ["convert", ODD, "z"], ["download", ODD, "z"]])
def test_an_error_shows_such_a_path_escaped(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "a\\udcffb" in error_of(capsys, words)


SETTINGS: dict[str, tuple[list[str], dict[str, str]]] = {
    "-O": (["-O"], {}),
    "-OO": (["-OO"], {}),
    "-W error": (["-W", "error"], {}),
    "ascii": ([], {"PYTHONIOENCODING": "ascii"}),
    "C": ([], {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "no HOME": ([], {"HOME": ""}),
    "read-only HOME": ([], {"HOME": "/proc"}),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "words",
    [["generate", "β-blocker", "--max-new-tokens", "2"], ["info", "--json"], ["score", "--file", "absent"], ["--help"]],
)
def test_settings_of_python_and_the_system(setting: str, words: list[str]) -> None:
    flags, more = SETTINGS[setting]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"} | more
    command = [sys.executable, *flags, "-m", "minibiogpt", *words]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == (2 if "absent" in words else 0), done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == (1 if "absent" in words else 0), done.stderr


def test_a_warning_is_a_line_even_if_python_makes_warnings_errors() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "minibiogpt", "info", "--revision", "x"]
    done = subprocess.run(command, capture_output=True, env=environment, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "minibiogpt: warning: revision 'x' has no effect: demo is not on the hub\n"


def test_a_folder_that_was_deleted(tmp_path: Path) -> None:
    code = "import os, tempfile; os.chdir(tempfile.mkdtemp()); os.rmdir(os.getcwd()); import sys; sys.argv[1:] = {}\n"
    code += "from minibiogpt.__main__ import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in (["tokenize", "pain"], ["info"], ["view", "pain"], ["convert", "a", "b"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(words)], capture_output=True, env=environment, text=True
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == (0 if words[0] in ("tokenize", "info") else 2)
        assert done.stderr.count("\n") == (done.returncode == 2)


def test_json_lines_lose_no_character_on_a_terminal_without_it() -> None:
    line = [sys.executable, "-m", "minibiogpt", "score", "β-blockers", "--json"]
    done = subprocess.run(line, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout)["text"] == "β-blockers"
    assert b"?" not in done.stdout
