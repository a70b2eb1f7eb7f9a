"""The pages of the documentation: their code runs, no link is broken, each module is on one reference page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_verify_a_port import SHELL, missing_lines
from tests.support.pages import DOCS, PAGES, ROOT, Block, anchors, blocks, broken, links, load, text_of
from tools.docs_pictures import pictures

TEXTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "minibiogpt" / "demo" / "README.md", *PAGES]


def id_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run(block: Block, scope: dict[str, Any], page: str) -> None:
    exec(compile(block.text, page, "exec"), scope)


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_the_python_of_a_page_runs_in_its_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block that cannot run is preceded by a reason; tests of their own run the files of two pages.

    A text block that follows a block directly is what it prints.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    scope: dict[str, Any] = {"__name__": "page"}
    missing: list[str] = []
    outputs = dict(re.findall(r"^```python\n(.*?)^```\n```text\n(.*?)^```$", text_of(page), re.S | re.M))
    for block in blocks(text_of(page)):
        if block.language != "python":
            continue
        reason = block.comment.partition("not run here: ")[2]
        if reason:
            assert len(reason) > 20, "a block that is not run needs a reason"
        elif block.comment.startswith("file: "):
            assert page.name in ("verify-a-port.md", "cookbook.md"), "only the files of these pages are run"
        elif block.missing_modules:
            missing += block.missing_modules
        else:
            assert block.comment == "" or block.comment.startswith("needs: "), block.comment
            capsys.readouterr()
            run(block, scope, page.name)
            printed = capsys.readouterr().out
            assert missing_lines(outputs.get(block.text, ""), printed) == [], printed
    if missing:
        pytest.skip(f"blocks of {page.name} need modules that are not installed: {', '.join(sorted(set(missing)))}")


def test_a_block_that_fails_is_noticed_and_needs_are_looked_up() -> None:
    good, bad = blocks("```python\nx = 1\n```\n\n<!-- needs: numpy -->\n```python\nassert x == 2\n```\n")
    scope: dict[str, Any] = {}
    run(good, scope, "here")
    with pytest.raises(AssertionError):
        run(bad, scope, "here")
    assert bad.missing_modules == []
    (other,) = blocks("<!-- run, needs: numpy, no_such.module -->\n```sh\nls\n```\n")
    assert (other.language, other.missing_modules) == ("sh", ["no_such.module"])
    after = blocks("```{letters}\n```\n\n<!-- run -->\n```sh\nls\n```\n")
    assert [(block.language, block.comment) for block in after] == [("{letters}", ""), ("sh", "run")]


@pytest.mark.parametrize("page", ["start.md", "explore.md", "golden-format.md", "port-javascript.md"])
def test_the_commands_that_are_to_be_run_print_what_the_page_shows(page: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    if page == "port-javascript.md":
        if shutil.which("node") is None:
            pytest.skip("node is not installed; the JavaScript port cannot be run")
        for name in ("tools", "minibiogpt"):  # the page runs in a clone
            (tmp_path / name).symlink_to(ROOT / name)
    all_blocks, ran, missing = blocks(text_of(DOCS / page)), 0, []
    for block, after in zip(all_blocks, [*all_blocks[1:], Block("", "", "")], strict=True):
        if not block.comment.startswith("run"):
            continue
        if block.missing_modules:
            missing += block.missing_modules
            continue
        done = subprocess.run(
            ["bash", "-euc", SHELL + block.text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), block.text
        if after.language == "text":
            assert missing_lines(after.text, done.stdout) == [], done.stdout
        ran += 1
    assert ran >= 1
    if missing:
        pytest.skip(f"{ran} commands ran; others need modules that are not installed: {', '.join(missing)}")


@pytest.mark.parametrize("page", TEXTS, ids=id_of)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    assert broken(page, text_of(page)) == []


def test_a_broken_link_is_noticed() -> None:
    page = DOCS / "trace.md"
    assert broken(page, "# One\n[a](glossary.md) [b](#one) [c](glossary.md#letters) [d](api/index.md)") == []
    assert broken(page, "# One\n[a](none.md) [b](#two) [c](glossary.md#no)") == ["none.md", "#two", "glossary.md#no"]
    assert links("`[x](y)` and\n```text\n[x](y)\n```\n[a](https://b) [c](d.md)") == ["d.md"]
    assert anchors("## 6.4 The `q`, k\n```sh\n# no heading\n```\n") == {"64-the-q-k"}


def test_every_page_is_in_the_contents() -> None:
    lists = text_of(DOCS / "index.md").split("```{toctree}")[1:]
    contents = {line for block in lists for line in block.splitlines()}
    assert {page.stem for page in PAGES} - {"index"} <= contents
    assert {"api/index", "notebooks/index"} <= contents


def test_every_module_has_one_page_and_a_docstring() -> None:
    pages = load("pages")
    listed = [name for names in pages.sections().values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(pages.modules())
    assert {"model.attention", "golden.format.case", "cli"} <= set(listed)
    assert [name for name in listed if not pages.about(name)] == []


def test_the_links_of_a_copied_notebook_are_rewritten() -> None:
    text = load("pages").relinked(
        "[a](../docs/trace.md#x) [b](../minibiogpt/model/ops.py) [c](05-masks.ipynb) [d](../x.md)"
    )
    assert text == "[a](../trace.md#x) [b](../../minibiogpt/model/ops.py) [c](05-masks.ipynb) [d](../x.md)"


COLOR = re.compile(r"#[0-9a-f]{6}\b")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def picture_parts(svg: str) -> tuple[list[str], list[float]]:
    """Return what surrounds the numbers of a picture, and the numbers; a color is three of them."""
    svg = COLOR.sub(lambda found: " ".join(str(int(found[0][i : i + 2], 16)) for i in (1, 3, 5)), svg)
    return NUMBER.split(svg), [float(x) for x in NUMBER.findall(svg)]


def test_the_pictures_are_those_of_the_demo_model() -> None:
    drawn = pictures()
    elsewhere = {"explorer-light", "explorer-dark"}  # README's, drawn by the explorer: test_picture.py
    assert {path.stem for path in (DOCS / "pictures").iterdir()} - elsewhere == set(drawn)
    for name, svg in drawn.items():
        (parts, numbers), (want_parts, want) = (
            picture_parts(text_of(DOCS / "pictures" / f"{name}.svg")),
            picture_parts(svg),
        )
        assert parts == want_parts, f"{name}: run python tools/docs_pictures.py"
        assert numbers == pytest.approx(want, rel=1e-3, abs=1.5), f"{name}: run python tools/docs_pictures.py"


def test_every_picture_is_on_a_page_with_a_description() -> None:
    shown = [found for page in PAGES for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text_of(page))]
    assert {path for _, path in shown} >= {f"pictures/{name}.svg" for name in pictures()}
    assert [path for text, path in shown if len(text) < 60] == []


def test_the_numbers_of_the_descriptions_are_drawn() -> None:
    for page in PAGES:
        for text, path in re.findall(r"!\[([^\]]*)\]\((pictures/[^)]+)\)", text_of(page)):
            svg = text_of(DOCS / path)
            assert [x for x in re.findall(r"-?\d+\.\d\d\b|\d+\.\d %", text) if f">{x}<" not in svg] == [], text
