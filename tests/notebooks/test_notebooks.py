"""Every notebook runs offline in a fresh kernel, with its solutions, prints what is committed, and keeps its form."""

from __future__ import annotations

import ast
import copy
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM
from tests.model.test_shape_comments import Watcher, commented, watched

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install '.[test]'")
pytest.importorskip("nbclient", reason="nbclient is not installed: pip install '.[test]'")

from nbclient.exceptions import CellExecutionError  # noqa: E402

from tools import notebooks  # noqa: E402

NAMES = [path.name for path in notebooks.paths()]
MAX_BYTES = 3_000_000  # per notebook; mostly the page of a Stepper
MINUTES = re.compile(r"\*About (\d+) minutes")
LOCAL = re.compile(r"/(?:tmp|home|root|work|Users)/\w|[A-Z]:\\\\")


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest) -> Any:
    return notebooks.read(notebooks.FOLDER / request.param)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_one_for_each_topic() -> None:
    assert [name[:2] for name in NAMES] == [f"{i:02}" for i in range(18)]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_with_its_solutions_and_prints_what_is_committed(name: str) -> None:
    assert notebooks.check(notebooks.FOLDER / name) == []


def test_no_number_of_the_prose_is_without_an_assert(notebook: Any) -> None:
    assert notebooks.unasserted(notebook) == []


def test_it_begins_with_a_title_and_the_line_that_installs(notebook: Any) -> None:
    first, second = notebook.cells[:2]
    assert re.match(r"# \d\d ", first.source)
    assert second.source == notebooks.INSTALL


def test_it_says_how_long_it_takes_and_what_to_know(notebook: Any) -> None:
    opening = notebook.cells[0].source.split("\n\n")[1]  # after the title
    assert re.fullmatch(r"\*About \d+ (minutes|hours)\b.*\bYou (need|should know)\b.*\.\*", opening, re.S)


def test_the_one_on_heads_says_that_it_takes_longer() -> None:
    openings = {name: notebooks.read(notebooks.FOLDER / name).cells[0].source for name in NAMES}
    minutes = {name: int(found[1]) for name, text in openings.items() if (found := MINUTES.search(text))}
    longest = max(minutes, key=minutes.__getitem__)
    assert longest == "06-many-heads.ipynb"
    assert "takes longer" in openings[longest]


def test_the_last_cell_links_to_the_notebooks_before_and_after(notebook: Any, request: pytest.FixtureRequest) -> None:
    here = NAMES.index(request.node.callspec.params["notebook"])
    last = notebook.cells[-1].source
    assert last == notebooks.links(notebooks.FOLDER / NAMES[here])
    assert re.findall(r"\]\(([^)]+)\)", last) == [*NAMES[max(here - 1, 0) : here], *NAMES[here + 1 : here + 2]]


def test_no_line_of_code_needs_to_be_scrolled(notebook: Any) -> None:
    sources = [cell.source for cell in code_cells(notebook)] + notebooks.solutions(notebook)
    assert [line for source in sources for line in source.splitlines() if len(line) > notebooks.WIDTH] == []


def test_bookkeeping_is_folded(notebook: Any) -> None:
    for cell in code_cells(notebook):
        tags = set(cell.metadata.get("tags", []))
        body = ast.parse(cell.source).body
        asserts = [node for node in body if isinstance(node, ast.Assert)]
        if "check" in tags:
            assert "assert" in cell.source
            assert not cell.outputs, "what is shown must not be folded"
        else:
            assert len(asserts) <= 2, cell.source
        if notebooks.FOLDED.keys() & tags:
            assert cell.metadata["jupyter"]["source_hidden"] is True
            assert "hide-input" in tags


def test_a_picture_comes_soon(notebook: Any) -> None:
    assert any("image/png" in x.get("data", {}) for cell in notebook.cells[:10] for x in cell.get("outputs", []))


def test_every_picture_is_described(notebook: Any) -> None:
    described = {}
    for cell in code_cells(notebook):
        for image in (output for output in cell.outputs if "image/png" in output.get("data", {})):
            text = notebooks.alternative(cell)
            assert len(text) > 40, cell.source
            assert text not in described, "two pictures must not have the same description"
            assert image.metadata["image/png"]["alt"] == text  # where Jupyter's converter looks for it
            described[text] = image
    assert described


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


def test_the_first_cell_installs_a_clone_and_never_a_package_of_our_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Any] = []
    kernel = type("Kernel", (), {"run_line_magic": lambda self, *line: ran.append(line)})
    scope = {"get_ipython": kernel}
    exec(notebooks.INSTALL, scope)
    assert (ran, capsys.readouterr().out) == ([], "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "pyproject.toml").touch()  # of some other project
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    exec(notebooks.INSTALL, scope)
    assert ran == []
    assert capsys.readouterr().out == "Open this notebook in a clone of minibiogpt, which is not installed.\n"
    monkeypatch.chdir(notebooks.FOLDER)
    exec(notebooks.INSTALL, scope)
    assert ran == [("pip", "install -q ..[notebooks]")]
    assert capsys.readouterr().out == ""
    assert "minibiogpt" not in re.findall(r"install.*", notebooks.INSTALL)[0]


def test_what_is_folded_and_described_survives_cleaning_and_is_written_once() -> None:
    notebook = make_notebook("assert True", "plot()", "x = 1")
    check, picture, plain = notebook.cells
    check.metadata = {"tags": ["check"], "collapsed": True}
    picture.metadata = {"mystnb": {"image": {"alt": "a line"}, "other": 1}}
    picture.outputs = [nbformat.v4.new_output("display_data", {"image/png": "x", "text/plain": "<Figure>"})]
    notebooks.cleaned(notebooks.cleaned(notebook))
    assert check.metadata == {
        "tags": ["check", "hide-input"],
        "jupyter": {"source_hidden": True},
        "mystnb": {"code_prompt_show": "Show the checks", "code_prompt_hide": "Hide the checks"},
    }
    assert picture.metadata == {"mystnb": {"image": {"alt": "a line"}}}
    assert picture.outputs[0].metadata == {"image/png": {"alt": "a line"}}
    assert plain.metadata == {}
    check.metadata = {}
    notebooks.cleaned(notebook)
    assert check.metadata == {}, "without the tag, nothing stays folded"


def test_a_number_in_the_description_of_a_picture_needs_an_assert() -> None:
    notebook = make_notebook("plot()", "assert x == 7")
    for alt, missing in (("7 bars", []), ("8 bars", ["8"])):
        notebook.cells[0].metadata = {"mystnb": {"image": {"alt": alt}}}
        assert notebooks.unasserted(notebook) == missing


def test_the_shape_comments_of_biogpt_in_30_lines_are_true(tmp_path: Path) -> None:
    cells = code_cells(notebooks.read(notebooks.FOLDER / "15-biogpt-in-30-lines.ipynb"))
    source = next(cell.source for cell in cells if cell.source.startswith("def biogpt("))
    path = tmp_path / "biogpt.py"
    path.write_text(re.sub(r"# (?:\([^)]*\) )?-> ", "# ", source), encoding="utf-8")  # the shape on the right
    comments = commented(path)
    assert len({name for name, _ in comments.values()}) >= 5
    assert len(comments) > 12
    config = BioGptConfig(
        vocab_size=67, hidden_size=21, num_hidden_layers=2, num_attention_heads=3, intermediate_size=37,
        max_position_embeddings=31,
    )  # fmt: skip
    model = BioGptForCausalLM.from_config(config, dtype="float64")
    w = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
    scope: dict[str, Any] = {"np": np, "math": math}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)
    ids = np.arange(5) + 3
    watcher = Watcher({str(path): comments}, {"T": 5, "D": 21, "H": 3, "Dh": 7, "F": 37, "V": 67})
    logits: list[Any] = []
    watched(watcher, lambda: logits.append(scope["biogpt"](w, ids, H=3)))
    assert watcher.errors == []
    assert len(watcher.seen) == len(comments)
    assert np.abs(logits[0] - model(ids[None]).logits[0]).max() < 1e-12 * np.abs(logits[0]).max()
