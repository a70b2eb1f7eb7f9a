"""The pages of the documentation as text: headings, links, and blocks of code with what stands in front of them."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MADE = ("api/index.md", "notebooks/index.md")  # pages that the build makes: docs/_ext/pages.py
FENCE = re.compile(r"(?:^<!-- (?P<told>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A block of code, and what the comment in front of it told: "needs: MODULES", "run", "not run here: REASON"."""

    language: str
    text: str
    told: str

    @property
    def lacking(self) -> list[str]:
        """The modules that it says it needs, and that are not there."""
        return [name for name in self.told.partition("needs: ")[2].replace(",", " ").split() if not _there(name)]


def _there(module: str) -> bool:
    parent, _, _ = module.rpartition(".")
    return (not parent or _there(parent)) and find_spec(module) is not None


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [Block(found["language"], found["text"], found["told"] or "") for found in FENCE.finditer(text)]


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^(`{3,})[^\n]*\n.*?^\1$", "", text, flags=re.S | re.M)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it.

    >>> slug("6.4 `scores`: q, k")
    '64-scores-q-k'
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#{1,6} (.+)$", prose(text), re.M)}


def links(text: str) -> list[str]:
    """What the page links to, but for the network."""
    plain = re.sub(r"`[^`\n]*`", "", prose(text))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", plain) if not link.startswith(("http:", "https:"))]


def broken(path: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere: no such file, or no such heading in it."""
    found = []
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        made = target.is_relative_to(DOCS) and str(target.relative_to(DOCS)) in MADE
        if (not made and not target.exists()) or (
            anchor and anchor not in anchors(text if target == path else text_of(target))
        ):
            found.append(link)
    return found


def load(name: str) -> Any:
    """One of docs/_ext, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
