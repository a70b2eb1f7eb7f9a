"""docs/verify-a-port.md runs unchanged: its port fails, is fixed and passes; NumPy reads what its writers write."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minibiogpt.golden.check.mapping import read_map

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "verify-a-port.md").read_text(encoding="utf-8")
# The marked parts of the page: a file to write, a line to fix, commands and what they print.
PART = re.compile(
    r"<!-- (?P<what>file: (?P<name>\S+)|fix|run) -->\n"
    r"```\w+\n(?P<text>.*?)```(?:\n```text\n(?P<expected>.*?)```)?",
    re.DOTALL,
)
SHELL = 'minibiogpt() { "$PYTHON" -m minibiogpt "$@"; }; python() { "$PYTHON" "$@"; }\n'


def missing_lines(expected: str, output: str) -> list[str]:
    """Return the expected lines that the output lacks. "..." matches any text, and on its own line any lines.

    How many arrays have an error of their own depends on the processor's rounding: some are hardly beyond a budget.
    """
    lines = [line for line in expected.splitlines() if line != "..."]
    patterns = [".*".join(re.escape(part.strip()) for part in line.split("...")) for line in lines]
    patterns = [re.sub(r"\d+\\ of\\ \d+\\ arrays", r"\\d+ of \\d+ arrays", pattern) for pattern in patterns]
    return [line for line, x in zip(lines, patterns, strict=True) if not re.search(f"^ *{x}", output, re.MULTILINE)]


def test_a_line_that_is_not_there_is_missed() -> None:
    assert missing_lines("a ... c\n...\nsecond", "a b c\nsecond line") == []
    assert missing_lines("a ... c\nthird", "a b\nsecond") == ["a ... c", "third"]
    assert missing_lines("28 of 68 arrays, in 3 cases", "26 of 66 arrays, in 3 cases") == []
    assert missing_lines("28 of 68 arrays, in 3 cases", "28 of 68 arrays, in 4 cases") != []


def test_the_page_from_the_failing_port_to_the_last_fix(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = {"file": 0, "fix": 0, "run": 0}
    output = ""
    for part in PART.finditer(PAGE):
        what, text = part["what"].partition(":")[0], part["text"]
        done[what] += 1
        if what == "file":
            (tmp_path / part["name"]).write_text(text)
        elif what == "fix":
            old, new = text.splitlines()
            port = (tmp_path / "port.py").read_text()
            assert (old[0], new[0], port.count(old[1:])) == ("-", "+", 1)
            (tmp_path / "port.py").write_text(port.replace(old[1:], new[1:]))
        else:
            run = subprocess.run(
                ["bash", "-c", SHELL + text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert run.returncode in (0, 1), run.stderr
            assert "Traceback" not in run.stderr, run.stderr
            output = run.stdout
            assert part["expected"], "the page must show what the commands print"
            assert missing_lines(part["expected"], output) == [], output
    assert done == {"file": 4, "fix": 3, "run": 14}
    assert run.returncode == 0, "the fixed port passes"


def file_on_page(name: str) -> str:
    (found,) = [part["text"] for part in PART.finditer(PAGE) if part["name"] == name]
    return found


def test_what_javascript_writes_is_read(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; the JavaScript writer cannot be run")
    (tmp_path / "write.js").write_text(file_on_page("write.js"))
    subprocess.run([node, tmp_path / "write.js", tmp_path / "x.safetensors"], check=True)
    arrays = load_file(tmp_path / "x.safetensors")
    assert {name: x.tolist() for name, x in arrays.items()} == {"logits": [[[1, 2, 3], [4, 5, 6]]]}


def test_what_c_writes_is_read(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is installed; the C writer cannot be run")
    (tmp_path / "write.c").write_text(file_on_page("write.c"))
    subprocess.run([compiler, "-Wall", "-Werror", "-o", tmp_path / "write", tmp_path / "write.c"], check=True)
    subprocess.run([tmp_path / "write", tmp_path / "logits.npy"], check=True)
    x = np.load(tmp_path / "logits.npy")
    assert (x.dtype, x.tolist()) == (np.float32, [[[1, 2, 3], [4, 5, 6]]])


def test_the_map_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "map.json").write_text(text)
    found = read_map(tmp_path / "map.json")
    assert found["layers.{l}.self_attn.q"].names == ("blk.{l}.q", "blk.{l}.query")
    assert found["layers.{l}"].name == "hidden_{l+1}"
