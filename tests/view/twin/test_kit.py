"""The JavaScript implementation passes the whole conformance kit, in Node.js and in Chromium, in its own precision."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from minibiogpt.cli import main
from minibiogpt.golden.check.checker import check_kit
from minibiogpt.golden.check.result import Options, Result
from minibiogpt.view.modules import linked
from tests.support.browser import opened
from tests.view.twin.running import KIT_TOOL, node

every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
IN_PAGE = """([files, dtype]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const text = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const written = {};
  runKit((path) => bytes(files[path]), (path, bytes) => { written[path] = text(bytes); }, dtype);
  return written;
}"""


def assert_agrees(kit: Path, folder: Path, dtype: str) -> None:
    """Assert that every array of every case is there, and agrees by the budget of this precision."""
    found = check_kit(kit, folder, Options())
    assert len(found) == 31
    for name, result in found:
        assert isinstance(result, Result), f"{name}: {result}"
        assert result.code == 0, f"{name}: {result.first_difference or result.unpaired}"
        assert result.compared == len(result.case.entries), name
        integers = {row.precision for row in result.rows if row.name.endswith("position_ids")}
        assert {row.precision for row in result.rows} == {dtype, *integers}, name


@every_dtype
def test_every_case_agrees_in_node(kit: Path, tmp_path: Path, dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = node(KIT_TOOL, kit, tmp_path / "theirs", dtype)
    assert done.returncode == 0, done.stderr
    assert f"31 cases in {dtype}" in done.stdout
    assert_agrees(kit, tmp_path / "theirs", dtype)
    assert main(["golden", "check", str(kit), str(tmp_path / "theirs")]) == 0
    assert "agrees: 31 of 31 cases" in capsys.readouterr().out


@every_dtype
def test_every_case_agrees_in_chromium(browser: Any, kit: Path, tmp_path: Path, dtype: str) -> None:
    page_file = tmp_path / "page.html"
    page_file.write_text(f'<!doctype html><meta charset="utf-8"><script>"use strict";{linked("biogpt.js")}</script>')
    files = {
        path.relative_to(kit).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in kit.rglob("*")
        if path.suffix in (".json", ".safetensors")
    }
    with opened(browser, page_file) as page:
        written = page.evaluate(IN_PAGE, [files, dtype])
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name, text in written.items():
        (theirs / name).write_bytes(base64.b64decode(text))
    assert_agrees(kit, theirs, dtype)


def test_the_tool_says_how_it_is_used(tmp_path: Path) -> None:
    done = node(KIT_TOOL)
    assert done.returncode == 2
    assert done.stderr == "usage: node tools/twin_kit.mjs KIT OUT [float32|float64]\n"
    (tmp_path / "manifest.json").write_text("{}")
    done = node(KIT_TOOL, tmp_path, tmp_path / "out")
    assert done.returncode == 2
    assert "manifest.json must be of the format minibiogpt-golden-kit, version 1" in done.stderr
    assert node(KIT_TOOL, tmp_path, tmp_path / "out", "float16").returncode == 2
