"""Every notebook runs offline in a fresh kernel, with its solutions, prints what is committed, and keeps its form."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install '.[test]'")
pytest.importorskip("nbclient", reason="nbclient is not installed: pip install '.[test]'")

from nbclient.exceptions import CellExecutionError  # noqa: E402

from tools import notebooks  # noqa: E402

NAMES = [path.name for path in notebooks.paths()]
MAX_BYTES = 3_000_000  # per notebook; mostly the page of a Stepper
LOCAL = re.compile(r"/(?:tmp|home|root|work|Users)/\w|[A-Z]:\\\\")


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest) -> Any:
    return notebooks.read(notebooks.FOLDER / request.param)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_one_for_each_topic() -> None:
    assert [name[:2] for name in NAMES] == [f"{i:02}" for i in range(15)]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_with_its_solutions_and_prints_what_is_committed(name: str) -> None:
    assert notebooks.check(notebooks.FOLDER / name) == []


def test_no_number_of_the_prose_is_without_an_assert(notebook: Any) -> None:
    assert notebooks.unasserted(notebook) == []


def test_it_begins_with_a_title_and_the_line_that_installs(notebook: Any) -> None:
    first, second = notebook.cells[:2]
    assert re.match(r"# \d\d ", first.source)
    assert second.source == notebooks.INSTALL


def test_it_asks_before_it_shows(notebook: Any) -> None:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    shown, exercises = text.split("\n## Exercises", 1)
    assert shown.count("**Predict") >= 1
    assert shown.count("<details>") >= shown.count("**Predict")
    assert text.count("<details>") == text.count("</details>")
    assert exercises.count("### Exercise ") == 2
    solved = notebooks.solutions(notebook)
    assert len(solved) == 2
    assert all("assert" in code for code in solved)


def test_it_has_a_picture_and_holds_its_numbers_to_the_model(notebook: Any) -> None:
    cells = code_cells(notebook)
    assert [x for cell in cells for x in cell.outputs if {"image/png", "text/html"} & set(x.get("data", {}))]
    assert [cell for cell in cells if "assert" in cell.source]


def test_it_is_committed_as_it_was_run(notebook: Any) -> None:
    assert notebooks.cleaned(copy.deepcopy(notebook)) == notebook
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            assert not LOCAL.search(str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", "")))


def test_it_is_small(notebook: Any) -> None:
    assert len(nbformat.writes(notebook)) < MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    cells = notebooks.read(notebooks.FOLDER / name).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", source):
        assert (notebooks.FOLDER / link).exists(), link


def make_notebook(*sources: str) -> Any:
    """Return a notebook of code cells, and of text cells for the sources that start with "md:"."""
    cells = [
        nbformat.v4.new_markdown_cell(source.removeprefix("md:"))
        if source.startswith("md:")
        else nbformat.v4.new_code_cell(source)
        for source in sources
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize(
    ("prose", "missing"),
    [
        ("md:four heads of 32, `99`, $x^2$, float32, Vaswani et al. 2017, [04](04-x.ipynb)", []),
        ("md:it is 33", ["33"]),
        ("md:1,874 pieces, 4 % and 5 %", ["5 %"]),
        ("md:<details>\n<summary>Answer</summary>\n\n0.25\n\n</details>", ["0.25"]),
        ("md:5\n<details>\n<summary>Solution</summary>\n\n```python\nassert x == 5\n```\n\n</details>", []),
    ],
)
def test_numbers_without_an_assert_are_found(prose: str, missing: list[str]) -> None:
    assert (
        notebooks.unasserted(make_notebook(prose, "assert x == 32 and v == 1874", "assert y < 0.04", "z = 0.25"))
        == missing
    )


def test_a_stale_notebook_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    text = "md:### Exercise 1\n<details>\n<summary>Solution</summary>\n\n```python\nassert x == {}\n```\n\n</details>"
    notebooks.write(path, notebooks.cleaned(notebooks.execute(make_notebook("x = 1\nprint(x / 4)", text.format(1)))))
    assert notebooks.check(path) == []
    path.write_text(path.read_text(encoding="utf-8").replace("0.25", "0.26"), encoding="utf-8")
    assert len(notebooks.check(path)) == 1
    for broken, message in (
        (make_notebook("x = 1", text.format(2)), "AssertionError"),
        (make_notebook("import warnings; warnings.warn('x')"), "UserWarning"),
        (make_notebook(REACH_OUT), "must not use the network"),
    ):
        notebooks.write(path, broken)
        with pytest.raises(CellExecutionError, match=message):
            notebooks.check(path)


REACH_OUT = "import urllib.request; urllib.request.urlopen('http://example.org')"


def test_the_first_cell_installs_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    kernel = type("Kernel", (), {"run_line_magic": lambda self, *line: ran.append(line)})
    scope = {"get_ipython": kernel}
    exec(notebooks.INSTALL, scope)
    assert ran == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    exec(notebooks.INSTALL, scope)
    monkeypatch.chdir(notebooks.FOLDER)
    exec(notebooks.INSTALL, scope)
    assert ran == [("pip", "install -q minibiogpt[notebooks]"), ("pip", "install -q ..[notebooks]")]
