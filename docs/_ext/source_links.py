"""Point links to modules at their highlighted source, and links to notebooks at their pages, not at downloads.

The 300 source pages share their navigation: Sphinx would compute it for each, which took half the time of a build.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

PACKAGE = (Path(__file__).parents[2] / "minibiogpt").resolve()
COPIES = {
    "../notebooks)": "notebooks/index.md)",
    "../notebooks/)": "notebooks/index.md)",
    "../notebooks/": "notebooks/",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
}


def page_of(path: Path) -> str | None:
    """Return the page of the site with a module's source; None for another file, or a module of constants only."""
    if path.suffix == ".py" and path.is_relative_to(PACKAGE) and _has_page(path):
        return f"_modules/{path.relative_to(PACKAGE.parent).with_suffix('')}".removesuffix("/__init__") + ".html"
    return None


def _has_page(path: Path) -> bool:
    """Return whether Sphinx makes a source page: it does for modules with public functions or classes."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" for node in body)


def link_to_copies(app: Any, docname: str, source: list[str]) -> None:
    """Rewrite links to files that the site has a copy of: notebooks, the changelog, the README."""
    if "/" not in docname:
        for there, here in COPIES.items():
            source[0] = source[0].replace(f"]({there}", f"]({here}")


class SourceLinks(SphinxTransform):
    default_priority = 400

    def apply(self, **options: Any) -> None:
        for node in list(self.document.findall(addnodes.download_reference)):
            page = page_of(Path(self.env.relfn2path(node["reftarget"])[1]))
            if page is not None:
                uri = "../" * self.env.docname.count("/") + page
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def shared_navigation() -> Callable[..., None]:
    """Return a handler that gives source pages in folders of the same depth one navigation; it links relatively."""
    made: dict[Any, str] = {}

    def share(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
        compute = context.get("toctree")
        if not pagename.startswith("_modules/") or compute is None:
            return

        def toctree(**options: Any) -> str:
            key = pagename.count("/"), *sorted(options.items())
            if key not in made:
                made[key] = compute(**options)
            return made[key]

        context["toctree"] = toctree

    return share


def setup(app: Any) -> dict[str, Any]:
    app.connect("source-read", link_to_copies)
    app.connect("html-page-context", shared_navigation(), priority=100)  # before the theme, at 500, asks for it
    app.add_transform(SourceLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
