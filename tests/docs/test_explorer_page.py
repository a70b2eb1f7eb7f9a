"""The page about the explorer, and the tables that the site generates from its scripts: most need Sphinx."""

from __future__ import annotations

import re

import pytest

from minibiogpt.view import Explorer
from minibiogpt.view.modules import STATIC
from tests.support.demo import ours
from tests.support.pages import DOCS, PAGES, load, text_of


def test_the_tables_of_the_explorer_come_from_its_scripts() -> None:
    generated = load("generated")
    assert [view["id"] for view in generated.explorer_views()][:2] == ["model", "attention"]
    assert len(generated.explorer_views()) >= 7
    assert "| everywhere | `?` |" in generated.keys_table()
    assert generated.tour().count("\n") >= 15
    with pytest.raises(ValueError, match="must have"):
        generated._one("nothing like this", "the text")


def test_what_the_site_generates_has_words_for_readers_of_the_file() -> None:
    """On GitHub, a directive without text is an empty box."""
    names = {*load("generated").TABLES, "live-page"}
    found = [
        (page.name, name, text)
        for page in PAGES
        for name, text in re.findall(r"^```\{([\w-]+)\}[^\n]*\n(.*?)^```$", text_of(page), re.S | re.M)
        if name in names
    ]
    assert {name for _, name, _ in found} == names
    assert [(page, name) for page, name, text in found if "The built site shows" not in text] == []


def test_the_page_of_the_explorer_names_what_the_page_has() -> None:
    text = text_of(DOCS / "explore.md")
    scripts = "\n".join(text_of(path) for path in STATIC.rglob("*.js"))
    names = [*re.findall(r'(?:button|menu)s? "([^"]+)"', text), *re.findall(r'"([^"]+)" copies it', text)]
    assert names == ["save", "guided tour", "copy link"]
    assert [name for name in names if f'"{name}"' not in scripts] == []
    size = float(re.findall(r"demo model's page is about ([\d.]+) MB", text)[0])
    html = Explorer(ours(), "A lack of insulin causes diabetes.").html
    assert abs(len(html.encode()) / 1e6 - size) < 0.3


def test_the_page_of_the_explorer_names_its_views_and_what_its_address_may_hold() -> None:
    page, app = text_of(DOCS / "explore.md"), text_of(STATIC / "explorer" / "app.js")
    views = load("generated").explorer_views()
    assert [view["title"] for view in views if f"**{view['title']}.**" not in page] == []
    assert [view["id"] for view in views if f"`{view['id']}`" not in page] == []
    table = page.partition("| key | meaning |")[2].partition("\n\n")[0]
    keys = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.count("|") == 3))
    start = re.findall(r"(\w+):", app.partition("const START = {")[2].partition("};")[0])
    assert set(keys) - {*start, "text"} == set()
    assert {"view", "layer", "head", "step", "row", "col", "token"} <= set(keys)
