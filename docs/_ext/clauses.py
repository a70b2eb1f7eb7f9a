"""Stable ids for the clauses of the specification: ``specification.html#c5.4``, whatever the heading says.

A clause number in the text of the specification becomes a link.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

CITED = re.compile(r"(?<![\w.])(\d+\.\d+)(?![\w]|\.\d)")
NUMBERED = re.compile(r"(\d+(?:\.\d+)?)\.? ")


def add_ids_and_links(app: Any, doctree: nodes.document) -> None:
    """Give each clause its id, each list the CSS class "facts", and link the clause numbers in paragraphs."""
    if app.env.docname != "specification":
        return
    clauses = set()
    for section in doctree.findall(nodes.section):
        found = NUMBERED.match(section.next_node(nodes.title).astext())
        if found:
            section["ids"].insert(0, f"c{found[1]}")
            clauses.add(found[1])
    for facts in doctree.findall(nodes.bullet_list):
        facts["classes"].append("facts")
    for paragraph in doctree.findall(nodes.paragraph):
        for text in [x for x in paragraph.children if isinstance(x, nodes.Text)]:
            text.parent.replace(text, linked(text.astext(), clauses))


def linked(text: str, clauses: set[str]) -> list[nodes.Node]:
    """Return the text as nodes, with a link for each number of a clause: "5.4", but not "4.57.6"."""
    parts = CITED.split(text)
    return [
        nodes.reference("", part, refid=f"c{part}", internal=True) if i % 2 and part in clauses else nodes.Text(part)
        for i, part in enumerate(parts)
    ]


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", add_ids_and_links, priority=100)  # before the table of contents is built from the ids
    return {"parallel_read_safe": True, "parallel_write_safe": True}
