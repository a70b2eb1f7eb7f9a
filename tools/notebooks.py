"""Run the notebooks, or check that they run and that their committed outputs are current.

    python tools/notebooks.py run notebooks/04-*.ipynb      execute each in a fresh kernel and write the outputs back
    python tools/notebooks.py check                         execute all with their solutions; write nothing
    python tools/notebooks.py from FILE.py NAME.ipynb       convert jupytext's percent format; execute nothing

Needs the extra `notebooks`; `from` also needs jupytext. The outputs that are written contain no times, no counts of the
kernel and no widget state, so that a diff shows only real changes. The output of a cell with the tag `varies` may
change from run to run (times, for example). All other outputs must stay the same, up to the rounding of another CPU.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
SECONDS = 300  # timeout of a cell
INSTALL = """\
import importlib.util
import pathlib

if importlib.util.find_spec("minibiogpt") is None:  # on a fresh Colab, say
    if pathlib.Path("../minibiogpt/__init__.py").exists():  # in a clone
        get_ipython().run_line_magic("pip", "install -q ..[notebooks]")
    else:
        print("Open this notebook in a clone of minibiogpt, which is not installed.")"""
"""The second cell of every notebook. It never asks an index for a package of our name, which may be somebody else's."""
WIDTH = 86
"""The longest line of code, so that nothing scrolls on the site or in a narrow window."""
FOLDED = {"check": "the checks", "drawing": "the code of the picture", "solution": "the solution"}
"""Tags of code cells that are folded, and what is shown for their source. They run like the others."""
STRICT = """\
import socket, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel")
def _offline(*args, **options):
    raise OSError("a notebook must not use the network")
socket.getaddrinfo = socket.create_connection = _offline"""
"""Runs before a notebook is checked: warnings are errors, and there is no network."""
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")
SOLUTION = re.compile(r"^<details>\s*<summary>[^\n]*[Ss]olution.*?</details>", re.S | re.M)
FENCE = re.compile(r"^```python\n(.*?)^```", re.S | re.M)


def paths() -> list[Path]:
    """Return every notebook, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def solutions(notebook: NotebookNode) -> list[str]:
    """Return the code of the hidden solutions, in order."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += ["\n".join(FENCE.findall(hidden)) for hidden in SOLUTION.findall(cell.source)]
    return [code for code in found if code]


def execute(notebook: NotebookNode, strict: bool = False) -> NotebookNode:
    """Run every cell in a fresh kernel, in the folder of the notebooks; a cell that fails raises CellExecutionError."""
    before = [nbformat.v4.new_code_cell(STRICT)] if strict else []
    notebook.cells[:0] = before
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    quiet = ["--log-level=ERROR"]  # otherwise the kernel prints warnings about its local connection
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", record_timing=False, extra_arguments=quiet
    )
    client.execute(cwd=str(FOLDER), env=environment)
    del notebook.cells[: len(before)]
    return notebook


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Remove everything that another run or editor would change without need."""
    count = 0
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02}"
        cell.metadata = _metadata(cell)
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = list(_merged(cell.outputs))
            for output in cell.outputs:
                output.pop("metadata", None)
                if output.output_type in ("display_data", "execute_result"):
                    image = alternative(cell) and "image/png" in output.data
                    output.metadata = {"image/png": {"alt": alternative(cell)}} if image else {}
                if output.output_type == "execute_result":
                    output.execution_count = count
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _metadata(cell: NotebookNode) -> dict[str, Any]:
    """Return the tags, what folds a cell on the site and in Jupyter, and the text that describes its picture."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag != "hide-input"]
    kept: dict[str, Any] = {}
    site: dict[str, Any] = {"image": {"alt": alternative(cell)}} if alternative(cell) else {}
    for what in [FOLDED[tag] for tag in tags if tag in FOLDED]:
        tags.append("hide-input")
        kept["jupyter"] = {"source_hidden": True}
        site |= {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
    return kept | ({"tags": tags} if tags else {}) | ({"mystnb": site} if site else {})


def alternative(cell: NotebookNode) -> str:
    """Return the text that describes the picture of a cell to people who don't see it: ``mystnb.image.alt``."""
    return str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))


def name_of(path: Path) -> str:
    """Return the number and the title of a notebook, without what follows a colon."""
    return str(read(path).cells[0].source.splitlines()[0].removeprefix("# ").partition(":")[0])


def links(path: Path) -> str:
    """Return the last cell of a notebook: links to the notebooks before and after it."""
    every = paths()
    here = [x.name for x in every].index(path.name)
    near = {"Previous": every[here - 1 : here], "Next": every[here + 1 : here + 2]}
    return " · ".join(f"**{word}:** [{name_of(x[0])}]({x[0].name})" for word, x in near.items() if x)


def linked(notebook: NotebookNode, path: Path) -> NotebookNode:
    """Put the links into the last cell, which has the tag ``links``."""
    if "links" not in notebook.cells[-1].metadata.get("tags", []):
        notebook.cells.append(nbformat.v4.new_markdown_cell(metadata={"tags": ["links"]}))
    notebook.cells[-1].source = links(path)
    return notebook


def _merged(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    """Merge consecutive outputs of one stream, which the kernel may split anywhere."""
    last = None
    for output in outputs:
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
            continue
        last = output
        yield output


def output_text(cell: NotebookNode) -> str:
    """Return all text output of a code cell: what it prints, and the repr of its values."""
    parts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            parts.append(output.text)
        elif "image/png" not in output.get("data", {}) and "text/html" not in output.get("data", {}):
            parts.append(output.get("data", {}).get("text/plain", ""))
    return "\n".join(parts)


def same_text(committed: str, found: str) -> bool:
    """Return whether two texts are equal, except that numbers may differ by 2 % or by 1e-3.

    Examples
    --------
    >>> same_text("drift 1.2e-16 of 0.412", "drift 3.4e-16 of 0.413"), same_text("0.412", "0.512")
    (True, False)
    >>> same_text("3 heads", "3 layers")
    False
    """
    numbers = [[float(x.replace(",", "")) for x in NUMBER.findall(text)] for text in (committed, found)]
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (committed, found)]
    if words[0] != words[1] or len(numbers[0]) != len(numbers[1]):
        return False
    return all(abs(a - b) <= max(0.02 * max(abs(a), abs(b)), 1e-3) for a, b in zip(*numbers, strict=True))


def stale(committed: NotebookNode, executed: NotebookNode) -> list[str]:
    """Return the differences between the committed and the new outputs."""
    found = []
    for old, new in zip(committed.cells, executed.cells, strict=False):
        if old.cell_type == "code" and "varies" not in old.metadata.get("tags", []):
            before, now = output_text(old), output_text(new)
            if not same_text(before, now):
                found.append(f"{old.id}: committed {before[-300:]!r}, now {now[-300:]!r}")
            kinds = [[kind for output in x.outputs for kind in sorted(output.get("data", {}))] for x in (old, new)]
            if kinds[0] != kinds[1]:
                found.append(f"{old.id}: committed {kinds[0]}, now {kinds[1]}")
    return found


def check(path: Path) -> list[str]:
    """Execute a notebook and its solutions in one fresh kernel; return what differs from the committed outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell or a solution fails.
    """
    committed, again = read(path), read(path)
    again.cells += [nbformat.v4.new_code_cell(code) for code in solutions(again)]
    return stale(committed, execute(again, strict=True))


def unasserted(notebook: NotebookNode) -> list[str]:
    """Return the numbers in the prose, including hidden answers, that no assert of the notebook contains.

    Texts that describe pictures count as prose. Not counted: code, formulas, links to other notebooks, numbers within a
    word (float32, GPT-2), years of papers ("et al. 2017"), the number in front of the title, and the minutes.
    """
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"] + solutions(notebook)
    asserted = {abs(x) for source in sources for x in _asserted(source)}
    missing = []
    for cell in notebook.cells:
        words = prose(cell.source if cell.cell_type == "markdown" else alternative(cell))
        for text in PROSE_NUMBER.findall(words):
            percent, x = text.endswith("%"), float(text.strip(" %").replace(",", ""))
            if not any(abs(x - y) < 1e-12 for y in asserted) and not (percent and x / 100 in asserted):
                missing.append(text.strip())
    return missing


PROSE_NUMBER = re.compile(r"(?<![\w.^_-])\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w-]*[A-Za-z])(?: ?%)?")
NOT_PROSE = (
    r"\[\d\d [^\]]*\]\(", r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$", r"<!--.*?-->", r"\]\([^)]*\)",
    r"\[\d\d\b", r"<[^>]*>", r"et al\. \d{4}", r"^# \d\d ", r"^#+ Exercise \d", r"^\d\. ", r"^\*About \d+ \w+",
)  # fmt: skip


def prose(source: str) -> str:
    """Return the text of a markdown cell without code, formulas, links and numbering."""
    for pattern in NOT_PROSE:
        source = re.sub(pattern, " ", source, flags=re.S | re.M)
    return source


def _asserted(source: str) -> Iterator[float]:
    """Yield every number in an assert statement, or in a call of a function whose name begins with assert."""
    lines = [line if not line.lstrip().startswith(("%", "!")) else "" for line in source.splitlines()]
    for node in ast.walk(ast.parse("\n".join(lines))):
        called = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].startswith("assert")
        if isinstance(node, ast.Assert) or called:
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, int | float):
                    yield float(part.value)


def write(path: Path, notebook: NotebookNode) -> None:
    """Write to a temporary file and rename it."""
    temporary = path.with_name(f".{path.name}.part")
    nbformat.validate(notebook)
    temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    temporary.replace(path)


def from_percent(source: Path, path: Path) -> None:
    """Convert a .py file with `# %%` cells to a notebook."""
    import jupytext

    write(path, cleaned(jupytext.read(source, fmt="py:percent")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "check", "from"])
    parser.add_argument("files", nargs="*", type=Path)
    options = parser.parse_args()
    if options.command == "from":
        from_percent(*options.files)
        return 0
    failed = 0
    for path in options.files or paths():
        if options.command == "run":
            write(path, cleaned(linked(execute(read(path)), path)))
        found = check(path) + [f"not in any assert: {text}" for text in unasserted(read(path))]
        print(f"{path.name}: {'; '.join(found) or 'as committed'}", flush=True)
        failed += bool(found)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
