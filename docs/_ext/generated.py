"""Directives that insert tables generated from the code.

- ``{letters}``: the letters of the shapes, from BioGptConfig's docstring.
- ``{words}``: the functions in equations, ``equations.EQUATION_FUNCTIONS``.
- ``{arrays}``: what each array of a trace is, ``descriptions.SUMMARIES``.
- ``{fields}``: the fields of the config with their defaults.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from minibiogpt.catalog.descriptions import SUMMARIES
from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.config import BioGptConfig

FIELD_NOTES = {"layer_norm_eps": "kept, **not used**", "extra": "unknown keys of config.json, kept"}
TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob", "activation_dropout", "layerdrop")


def simple_table(docstring: str) -> list[list[str]]:
    """Return the rows of the docstring's first reStructuredText simple table, header first.

    Raises ValueError if there is none, so that no empty table is published.
    """
    lines = docstring.splitlines()
    rules = [i for i, line in enumerate(lines) if line and set(line) == {"=", " "}]
    if len(rules) < 3:
        raise ValueError("the docstring must have a simple table with three rules of ====")
    columns, start = [], 0
    for rule in lines[rules[0]].split():
        columns.append(start)
        start += len(rule) + 1
    ends = [*columns[1:], None]
    rows = [lines[i] for i in range(rules[0] + 1, rules[2]) if i != rules[1]]
    return [[row[a:b].strip() for a, b in zip(columns, ends, strict=True)] for row in rows]


def letters() -> str:
    _, *rows = simple_table(inspect.getdoc(BioGptConfig) or "")
    return _table(
        ["letter", "meaning", "field"], [[f"**{a}**", b, c if c[:1] == "(" else f"`{c}`"] for a, b, c in rows]
    )


def words() -> str:
    return _table(["word", "meaning"], [[f"`{word}`", meaning] for word, meaning in EQUATION_FUNCTIONS.items()])


def arrays() -> str:
    return _table(["name", "what it is"], [[f"`{name}`", what] for name, what in SUMMARIES.items()])


def fields() -> str:
    rows = []
    for field in dataclasses.fields(BioGptConfig):
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        note = FIELD_NOTES.get(field.name, "kept, not used: training only" if field.name in TRAINING else "")
        rows.append([f"`{field.name}`", f"`{default!r}`", note])
    return _table(["field", "default", ""], rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


TABLES = {"letters": letters, "words": words, "arrays": arrays, "fields": fields}


class Generated(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(TABLES[self.name]())


def setup(app: Any) -> dict[str, Any]:
    for name in TABLES:
        app.add_directive(name, Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
