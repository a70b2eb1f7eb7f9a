"""Alternative texts of the notebooks' pictures, from the code that draws them: kind, titles and axes, and the section.

A picture of a notebook has no description of its own, and Sphinx would give the name of its file. A cell can set a
better text in its metadata: {"mystnb": {"image": {"alt": "..."}}}.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from docutils import nodes

PLOTS = {
    "attention": "attention probabilities of one head, a row per query, a column per key, future keys hatched",
    "attention_heads": "attention probabilities of every head of every layer, as small pictures",
    "head_table": "one value per head, a row per layer",
    "top_tokens": "bars of the most probable next tokens",
    "logit_lens": "the most probable token after each layer at each position, colored by its probability",
    "attribution": "bars of what each part of the model adds to a token's logit",
    "stream": "the norm of the residual stream, a row per layer, a column per token",
    "drifts": "the error of each array in the order of execution, on a logarithmic scale",
    "heat_map": "a heat map",
    "imshow": "a heat map",
    **dict.fromkeys(("bar", "barh"), "a bar chart"),
    **dict.fromkeys(("plot", "semilogx", "semilogy", "loglog", "step", "errorbar"), "a line chart"),
    **dict.fromkeys(("hist", "scatter"), "a chart of a distribution"),
    "add_patch": "a diagram of boxes",
}  # functions of view.plots and of matplotlib; the first found is the kind of the picture
TITLES = {"title", "set_title", "suptitle"}
LABELS = {"xlabel", "ylabel", "set_xlabel", "set_ylabel"}


def text_of(node: ast.expr) -> str:
    """Return a string of the code; what an f-string computes becomes "..."."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "..."
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def description(code: str, section: str) -> str:
    """Return the alternative text of the picture that a cell draws, in the section of this title."""
    try:
        tree = ast.parse(code.replace("\n%", "\n#").replace("\n!", "\n#"))
    except SyntaxError:
        tree = ast.Module([], [])
    called, titles, labels = list[str](), list[str](), list[str]()
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        called.append(name)
        given = [(name, value) for value in call.args[:1]]
        given += [(one.arg or "", one.value) for one in call.keywords]
        titles += [text_of(value) for key, value in given if key in TITLES]
        labels += [text_of(value) for key, value in given if key in LABELS]
        for key, value in given:
            if key == "axes" and isinstance(value, ast.Tuple):
                labels += [text_of(one) for one in value.elts]
    kind = next((PLOTS[name] for name in PLOTS if name in called), "a picture")
    parts = [f"{kind[0].upper()}{kind[1:]}"]
    titles, labels = (
        [*dict.fromkeys(re.sub(r"\.{4,}", "...", x) for x in found if re.search(r"\w\w", x))]
        for found in (titles, labels)
    )
    parts += [f"titled {' and '.join(f'“{title}”' for title in titles)}"] if titles else []
    parts += [f"axes: {', '.join(labels)}"] if labels else []
    return f"{', '.join(parts)}. Section: {section}."


def describe_pictures(app: Any, doctree: nodes.document) -> None:
    """Give each picture of a notebook's cell its alternative text."""
    if not app.env.docname.startswith("notebooks/"):
        return
    for image in doctree.findall(nodes.image):
        cell, section = image.parent, image.parent
        while cell is not None and "cell" not in cell.get("classes", ()):
            cell = cell.parent
        while not isinstance(section, nodes.section):
            section = section.parent
        source = next(iter(cell.findall(nodes.literal_block)), None) if cell is not None else None
        if "alt" not in image and source is not None:
            image["alt"] = description(source.astext(), section.next_node(nodes.title).astext())


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", describe_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
