"""The completion script, run by bash as the Tab key runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minibiogpt.cli import main
from minibiogpt.cli.parsing.completion import SHELLS
from minibiogpt.files.hub import DEMO

ROOT = DEMO.parent.parent
BASH = shutil.which("bash")
TAB = """
source ./script
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
$(complete -p minibiogpt | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script, a file and two folders."""
    pytest.importorskip("shtab", reason="shtab, the extra 'completion', is not installed")
    path = tmp_path_factory.mktemp("completion")
    line = [sys.executable, "-m", "minibiogpt", "--print-completion", "bash"]
    run = subprocess.run(
        line, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    )
    assert (run.returncode, run.stderr) == (0, "")
    (path / "script").write_text(run.stdout)
    (path / "abstracts.txt").write_text("a drug\n")
    for name in ("aspirin-model", "demography"):
        (path / name).mkdir()
    return path


def completed(folder: Path, *words: str) -> set[str]:
    """Return what bash offers for the last word."""
    assert BASH is not None
    run = subprocess.run(
        [BASH, "--norc", "-c", TAB, "bash", *words], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert run.stderr == ""
    return set(run.stdout.split("\n")) - {""}


@pytest.mark.skipif(BASH is None, reason="there is no bash to run the script")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("minibiogpt ge", {"generate"}),
        ("minibiogpt golden ch", {"check"}),
        ("minibiogpt generate --max-n", {"--max-new-tokens"}),
        ("minibiogpt generate x --top", {"--top-k", "--top-p"}),
        ("minibiogpt golden check --acc", {"--accept", "--accept-layouts"}),
        ("minibiogpt golden check --precision b", {"bfloat16"}),
        ("minibiogpt embed --pooling m", {"mean"}),
        ("minibiogpt generate --dtype float6", {"float64"}),
        ("minibiogpt generate --backend c", {"cupy"}),
        ("minibiogpt view --theme d", {"dark"}),
        ("minibiogpt generate --file abs", {"abstracts.txt"}),
        ("minibiogpt score --model demo --file abs", {"abstracts.txt"}),
        ("minibiogpt generate --model dem", {"demo", "demography"}),
        ("minibiogpt generate --model a", {"aspirin-model"}),
        ("minibiogpt convert a", {"abstracts.txt", "aspirin-model"}),
        ("minibiogpt --print-completion z", {"zsh"}),
    ],
)
def test_bash_completes(folder: Path, line: str, offered: set[str]) -> None:
    assert completed(folder, *line.split()) == offered


def test_there_is_a_script_for_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="shtab, the extra 'completion', is not installed")
    scripts = set()
    for shell in SHELLS:
        with pytest.raises(SystemExit, match="0"):
            main(["--print-completion", shell])
        printed = capsys.readouterr()
        assert printed.err == ""
        assert "no-repeat-ngram-size" in printed.out
        scripts.add(printed.out)
    assert len(scripts) == len(SHELLS)


def test_without_shtab_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    message = "--print-completion needs the package shtab; found no such package"
    assert capsys.readouterr().err == f"minibiogpt: error: {message}; run: pip install shtab\n"


def test_a_shell_without_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "fish"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--print-completion must be one of bash, zsh, tcsh; found 'fish'; choose one of these" in line


@pytest.mark.skipif(BASH is None or not Path("/dev/full").exists(), reason="needs bash and /dev/full")
@pytest.mark.parametrize(
    ("line", "code", "errors"),
    [("{} --print-completion bash | true; exit ${{PIPESTATUS[0]}}", 0, 0), ("{} --help > /dev/full", 2, 1)],
)
def test_a_closed_or_full_output_is_no_traceback(line: str, code: int, errors: int) -> None:
    pytest.importorskip("shtab", reason="shtab, the extra 'completion', is not installed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = line.format(f"{sys.executable} -m minibiogpt")
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert (run.returncode, len(run.stderr.splitlines())) == (code, errors), run.stderr
