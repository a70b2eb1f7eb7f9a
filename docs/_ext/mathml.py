"""Formulas as MathML, which browsers render natively: no script, font, network or LaTeX installation is needed.

docutils, which Sphinx installs, translates them. A formula that it cannot translate causes a warning and is shown as
LaTeX source.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

# Sizes of brackets and fractions, which MathML chooses itself: (command, replacement)
PLAIN = [(re.compile(r"\\[bB]igg?[lrm]?(?![A-Za-z])"), ""), (re.compile(r"\\[td]frac(?![A-Za-z])"), r"\\frac")]

ESCAPED = re.compile(r"\\([_%#&$])(?=[^<>]*</mtext>)")  # docutils keeps the backslash of \text{out\_proj}


def translated(tex: str, as_block: bool = False) -> str:
    """Return one formula as MathML. Raises MathError if docutils doesn't know one of its commands."""
    for command, plain in PLAIN:
        tex = command.sub(plain, tex)
    tex = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", tex)
    return ESCAPED.sub(r"\1", tex2mathml(tex, as_block=as_block))


def _html(node: nodes.Element, as_block: bool) -> str:
    """Return the HTML of a formula: MathML, or its source if it cannot be translated."""
    try:
        return translated(node.astext(), as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext()[:80], error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"


def inline(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<span class="math">{_html(node, False)}</span>')
    raise nodes.SkipNode


def block(self: Any, node: nodes.Element) -> None:
    label = f' id="{node["ids"][0]}"' if node["ids"] else ""
    self.body.append(f'<div class="math"{label}>{_html(node, True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
