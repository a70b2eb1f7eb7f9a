"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network, and no LaTeX to build them.

The translation is that of docutils, which Sphinx brings; a formula that it does not know is a warning, and stands as it
was written.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

# Sizes of brackets and fractions, which MathML chooses by itself; (command, what stands for it)
PLAIN = [(re.compile(r"\\[bB]igg?[lrm]?(?![A-Za-z])"), ""), (re.compile(r"\\[td]frac(?![A-Za-z])"), r"\\frac")]


def translated(tex: str, as_block: bool = False) -> str:
    """MathML of one formula; a MathError if docutils does not know a command of it."""
    for command, plain in PLAIN:
        tex = command.sub(plain, tex)
    tex = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", tex)
    return tex2mathml(tex, as_block=as_block)


def _shown(node: nodes.Element, as_block: bool) -> str:
    try:
        return translated(node.astext(), as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext()[:80], error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"


def inline(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<span class="math">{_shown(node, False)}</span>')
    raise nodes.SkipNode


def block(self: Any, node: nodes.Element) -> None:
    label = f' id="{node["ids"][0]}"' if node["ids"] else ""
    self.body.append(f'<div class="math"{label}>{_shown(node, True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
