"""A page that links to ../minibiogpt/config.py leads to the module with its lines in colour, not to a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

PACKAGE = (Path(__file__).parents[2] / "minibiogpt").resolve()


class SourceLinks(SphinxTransform):
    default_priority = 400

    def apply(self, **options: Any) -> None:
        for node in list(self.document.findall(addnodes.download_reference)):
            path = Path(self.env.relfn2path(node["reftarget"])[1]).resolve()
            if path.suffix == ".py" and path.is_relative_to(PACKAGE):
                page = str(path.relative_to(PACKAGE.parent).with_suffix("")).removesuffix("/__init__")
                up = "../" * self.env.docname.count("/")
                uri = f"{up}_modules/{page}.html"
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def setup(app: Any) -> dict[str, Any]:
    app.add_transform(SourceLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
