"""Directives that insert tables generated from the code.

- ``{letters}``: the letters of the shapes, from BioGptConfig's docstring.
- ``{words}``: the functions in equations, ``equations.EQUATION_FUNCTIONS``.
- ``{arrays}``: what each array of a trace is, ``descriptions.SUMMARIES``.
- ``{fields}``: the fields of the config with their defaults.
- ``{views}``, ``{keys}``, ``{tour}``: the views of the explorer, its keys, and the stops of its tour, from its scripts.

Text inside a directive is for readers of the Markdown file; the site shows the table instead.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from minibiogpt.catalog.descriptions import SUMMARIES
from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.config import BioGptConfig
from minibiogpt.view.modules import STATIC

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


STRING = r"""(?:"(?:[^"\\]|\\.)*"|`[^`]*`)"""  # of JavaScript


@cache
def explorer_views() -> list[dict[str, Any]]:
    """Return the views of the explorer in order: {"id", "title", "about", "keys"}, read from its scripts."""
    found = {}
    for path in sorted((STATIC / "explorer").rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        for name, body in re.findall(r"^export const (\w+View) = \{$(.*?)^\};$", text, re.S | re.M):
            view = {key: _plain(_one(rf"^  {key}: ({STRING}),$", body)) for key in ("id", "title", "about")}
            found[name] = view | {"keys": _keys(_one(r"^  keys: (.*?)(?=\n  \w+[(:,]|\n\n)", body))}
    order = _one(r"^const VIEWS = \[(.*?)\];$", _main()).split(",")
    return [found[name.strip()] for name in order if name.strip()]


def _main() -> str:
    return (STATIC / "explorer" / "main.js").read_text(encoding="utf-8")


def _one(pattern: str, text: str) -> str:
    """Return the first group of a pattern. Raises ValueError if it isn't there, so that no empty table is published."""
    found = re.search(pattern, text, re.S | re.M)
    if not found:
        raise ValueError(f"the scripts of the explorer must have {pattern}")
    return found[1]


def _plain(string: str) -> str:
    """Return the text of a string of JavaScript; a constant in a template is looked up."""
    text: str = json.loads(string) if string[0] == '"' else string[1:-1]
    return re.sub(r"\$\{(\w+)\}", lambda name: _constant(name[1]), text)


def _constant(name: str) -> str:
    """Return the value of a constant of any script of the pages, as it is written."""
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.rglob("*.js")))
    return _one(rf"^(?:export )?const {name} = (.*?);(?: //[^\n]*)?$", scripts)


def _keys(text: str) -> list[list[str]]:
    """Return the pairs of a list, such as ["[ ]", "head"], or of a constant without the keys that follow its name."""
    name = re.match(r"[A-Z_]+", text)
    pairs = re.findall(rf"\[\s*({STRING}),\s*({STRING})\s*\]", _constant(name[0]) if name else text)
    gone = [_plain(string) for string in re.findall(STRING, text)] if name else []
    return [[_plain(key), _plain(what)] for key, what in pairs if _plain(key) not in gone]


def views() -> str:
    rows = [[str(i), f"**{view['title']}**", view["about"]] for i, view in enumerate(explorer_views(), 1)]
    return _table(["key", "view", "what it shows"], rows)


def keys_table() -> str:
    shared = _keys("SHARED")
    rows = [["everywhere", f"`{key}`", what] for key, what in shared]
    rows += [[view["title"], f"`{key}`", what] for view in explorer_views() for key, what in view["keys"]]
    return _table(["where", "key", "effect"], rows)


def tour() -> str:
    text = (STATIC / "explorer" / "tour" / "tour_stops.js").read_text(encoding="utf-8")
    titles = [_plain(found) for found in re.findall(rf"^  \{{ title: ({STRING}),", text, re.M)]
    if len(titles) < 10:
        raise ValueError("the scripts of the explorer must have the stops of the tour")
    return "\n".join(f"{i}. {title}" for i, title in enumerate(titles, 1))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


TABLES = {
    "letters": letters,
    "words": words,
    "arrays": arrays,
    "fields": fields,
    "views": views,
    "keys": keys_table,
    "tour": tour,
}


class Generated(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(TABLES[self.name]())


def setup(app: Any) -> dict[str, Any]:
    for name in TABLES:
        app.add_directive(name, Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
