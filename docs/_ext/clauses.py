"""Clauses of the specification have ids that stay: ``specification.html#c5.4``, whatever the clause is called."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

NUMBERED = re.compile(r"(\d+(?:\.\d+)?)\.? ")


def number(app: Any, doctree: nodes.document) -> None:
    if app.env.docname != "specification":
        return
    for section in doctree.findall(nodes.section):
        found = NUMBERED.match(section.next_node(nodes.title).astext())
        if found:
            section["ids"].insert(0, f"c{found[1]}")


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", number, priority=100)  # before the table of contents is made of the ids
    return {"parallel_read_safe": True, "parallel_write_safe": True}
