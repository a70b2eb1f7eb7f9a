"""Pages generated before Sphinx runs: copies of the notebooks, and the reference of every module.

They are written to docs/notebooks and docs/api, which git ignores.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import minibiogpt

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "minibiogpt"
# In the order of computation: page, title, and its modules and subpackages (with all their modules).
SECTIONS: list[tuple[str, str, str]] = [
    ("model", "The forward pass", "config model"),
    ("text", "Text and ids", "tokenizer"),
    ("heads", "Heads, scores, labels, pipelines", "heads pipelines"),
    ("generation", "Generation", "generation"),
    ("trace", "Looking inside", "trace catalog lens view"),
    ("golden", "Verifying", "golden"),
    ("checkpoint", "Checkpoints and files", "checkpoint files"),
    ("quantization", "Quantization", "quantization"),
    ("backends", "Backends and errors", "backend checks errors idioms"),
    ("commands", "The command line", "cli"),
    ("rest", "The rest", ""),  # modules that are not in a section yet
]  # fmt: skip


def modules() -> list[str]:
    """Return the names of all modules and subpackages but __main__, such as "model.attention" and "golden"."""
    paths = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(path.with_suffix("").parts).removesuffix("__init__").removesuffix(".") for path in paths]
    return [name for name in names if name and name != "__main__"]


def sections() -> dict[str, list[str]]:
    """Return {page: modules}; each module is on one page."""
    left, found = modules(), dict[str, list[str]]()
    for page, _, names in SECTIONS:
        mine = [x for name in names.split() for x in left if x == name or x.startswith(f"{name}.")]
        found[page] = left if page == "rest" else mine
        left = [name for name in left if name not in found[page]]
    return {page: mine for page, mine in found.items() if mine}


def public() -> dict[str, str]:
    """Return {public name: the module that defines it}; the Auto names are other names of these."""
    found = {name: getattr(minibiogpt, name) for name in minibiogpt.__all__}
    return {name: x.__module__ for name, x in found.items() if x.__name__ == name}


def about(module: str) -> str:
    """Return the first line of a module's docstring."""
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0].replace("``", "`")


def page_of(title: str, names: list[str]) -> str:
    """Return one page: a table of its modules, then each module."""
    lines = [f"# {title}", "", "| module | |", "|---|---|"]
    lines += [f"| [{name}](#minibiogpt.{name}) | {about(name).replace('|', chr(92) + '|')} |" for name in names]
    for name in names:
        lines += ["", f"## minibiogpt.{name}", ""]
        elsewhere = [x for x, module in public().items() if module == f"minibiogpt.{name}"]
        if elsewhere:
            links = ", ".join(f"[{x}](#minibiogpt.{name}.{x})" for x in elsewhere)
            lines += [f"Under the public names: {links}.", ""]
        lines += ["```{eval-rst}", f".. automodule:: minibiogpt.{name}"]
        lines += [f"   :exclude-members: {', '.join(elsewhere)}"] if elsewhere else []
        lines += ["```"]
    return "\n".join(lines) + "\n"


def front_page(found: dict[str, list[str]]) -> str:
    """Return the first page: links to the others, then the public names."""
    titles = {page: title for page, title, _ in SECTIONS}
    lines = [
        "# Reference",
        "",
        "The modules, in the order of computation, then the public names of `minibiogpt`.",
        "",
    ]
    lines += ["```{toctree}", ":maxdepth: 1", "", *found, "```", "", "| | modules |", "|---|---|"]
    lines += [
        f"| [{titles[page]}]({page}.md) | {', '.join(f'`{x}`' for x in names)} |" for page, names in found.items()
    ]
    lines += ["", "## The public names", ""]
    for name, module in public().items():
        kind = "autofunction" if not isinstance(getattr(minibiogpt, name), type) else "autoclass"
        kind = "autoexception" if kind == "autoclass" and issubclass(getattr(minibiogpt, name), Exception) else kind
        lines += ["", f"### {name}", "", "```{eval-rst}", f".. {kind}:: {module}.{name}"]
        lines += ["   :special-members: __call__"] if kind == "autoclass" and _is_called(name) else []
        lines += ["```"]
    return "\n".join(lines) + "\n"


def _is_called(name: str) -> bool:
    """Return whether calling an instance is documented."""
    call = vars(getattr(minibiogpt, name)).get("__call__")
    return bool(call and call.__doc__)


def write_if_changed(path: Path, text: str) -> None:
    """Write a file only if its text changes, so that Sphinx reads only what is new."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def prepared(folder: Path, names: set[str]) -> Path:
    """Create the folder, or delete everything in it but ``names``: what an earlier build left."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def relinked(text: str) -> str:
    """Rewrite the links of a notebook for its copy in docs/notebooks."""
    start = r"(\]\(|\]:\s*)\.\./"
    text = re.sub(rf"{start}docs/", r"\1../", text)
    text = re.sub(rf"{start}README\.md", r"\1../index.md", text)
    text = re.sub(rf"{start}CHANGELOG\.md", r"\1../changelog.md", text)
    return re.sub(rf"{start}(?=(minibiogpt|tests|tools)\b)", r"\1../../", text)


def copied(notebook: str, name: str) -> str:
    """Return a notebook for the site: links rewritten, and one to the notebook itself, as a file of the site, below its
    title."""
    data = json.loads(notebook)
    texts = [cell for cell in data["cells"] if cell["cell_type"] == "markdown"]
    for cell in texts:
        cell["source"] = relinked("".join(cell["source"]))
    title, _, rest = texts[0]["source"].partition("\n")
    texts[0]["source"] = f"{title}\n\n{{download}}`Download this notebook <../../notebooks/{name}>`\n{rest}"
    return json.dumps(data)


def make(app: Any, config: Any = None) -> None:
    """Write docs/notebooks and docs/api."""
    docs, notebooks = Path(app.srcdir), sorted((ROOT / "notebooks").glob("*.ipynb"))
    folder = prepared(docs / "notebooks", {*(path.name for path in notebooks), "index.md"})
    for path in notebooks:
        write_if_changed(folder / path.name, copied(path.read_text(encoding="utf-8"), path.name))
    listed = [path.stem for path in notebooks]
    text = (docs / "_ext" / "notebooks.md").read_text(encoding="utf-8")
    write_if_changed(folder / "index.md", text + "\n```{toctree}\n:maxdepth: 1\n\n" + "\n".join(listed) + "\n```\n")
    found = sections()
    folder = prepared(docs / "api", {"index.md", *(f"{page}.md" for page in found)})
    write_if_changed(folder / "index.md", front_page(found))
    titles = {page: title for page, title, _ in SECTIONS}
    for page, names in found.items():
        write_if_changed(folder / f"{page}.md", page_of(titles[page], names))


def setup(app: Any) -> dict[str, Any]:
    app.connect("config-inited", make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
