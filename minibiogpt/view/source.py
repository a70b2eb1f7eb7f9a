"""Source: the function of this package that names or computes an array, with the line marked."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from minibiogpt.model import attention, ops

PACKAGE = Path(__file__).parents[1]
LINE = re.compile(r"minibiogpt/(.+)\.py:(\d+): ")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "norm": ops.layer_norm,
    "linear": ops.linear,
    "split": attention.split_heads,
    "softmax": ops.softmax,
    "merge": attention.merge_heads,
}
"""The function that computes each kind of step, where there is one."""


def code_of(line: str, kind: str, hidden_act: str) -> list[dict[str, Any]]:
    """Return the listings of a step: the method that names the array, and the function that computes it, if different.

    Parameters
    ----------
    line : the result of ``explain.source_line``. kind : kind of step, see ``layer.KINDS``.

    Returns
    -------
    A list of {"location": file and function, "first": number of the first line, "mark": number of the marked line or 0,
    "text": source}.
    """
    function = ops.ACTIVATION_FUNCTIONS[hidden_act] if kind == "activation" else FUNCTIONS.get(kind)
    found = LINE.match(line)
    named = [_enclosing(found[1], int(found[2]))] if found else []
    return named + ([_listing(function)] if function else [])


def _listing(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the source of the undecorated function."""
    plain = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(plain)
    file = plain.__module__.replace(".", "/")
    location = f"{file}.py: {plain.__name__}"
    return {"location": location, "first": first, "mark": 0, "text": inspect.cleandoc("\n" + "".join(lines))}


def _enclosing(file: str, number: int) -> dict[str, Any]:
    """Return the source of the innermost function that contains a line."""
    source = (PACKAGE / f"{file}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    scope, node = min(
        ((scope, node) for scope, node in _functions(source) if node.lineno <= number <= (node.end_lineno or 0)),
        key=lambda pair: (pair[1].end_lineno or 0) - pair[1].lineno,
    )
    text = inspect.cleandoc("\n" + "\n".join(lines[node.lineno - 1 : node.end_lineno]))
    return {"location": f"minibiogpt/{file}.py: {scope}", "first": node.lineno, "mark": number, "text": text}


@cache
def _functions(source: str) -> list[tuple[str, ast.FunctionDef]]:
    """Return every function and method of a module as (qualified name, node)."""
    found = []
    for part in ast.parse(source).body:
        if isinstance(part, ast.FunctionDef):
            found.append((part.name, part))
        elif isinstance(part, ast.ClassDef):
            found += [(f"{part.name}.{x.name}", x) for x in part.body if isinstance(x, ast.FunctionDef)]
    return found
