"""Source: the function or method of this package in which an array is named, or computed, with the line marked."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from minibiogpt.model import attention, ops

PLACE = re.compile(r"minibiogpt/(.+)\.py:(\d+): ")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "norm": ops.layer_norm,
    "linear": ops.linear,
    "split": attention.split_heads,
    "softmax": ops.softmax,
    "merge": attention.merge_heads,
}
"""The equation of each kind of step as code, where it is a function of its own."""


def code_of(line: str, kind: str, hidden_act: str) -> list[dict[str, Any]]:
    """What a page shows as our code: the method that names the array, and the function that computes it, if another.

    Parameters
    ----------
    line : what ``explain.line_of`` says. kind : of step, see ``layer.KINDS``.

    Returns
    -------
    For each {"place": file and function, "first": number of its first line, "mark": number of the marked line or 0,
    "text": source}.
    """
    function = ops.ACTIVATION_FUNCTIONS[hidden_act] if kind == "activation" else FUNCTIONS.get(kind)
    found = PLACE.match(line)
    named = [_around(found[1], int(found[2]))] if found else []
    return named + ([_whole(function)] if function else [])


def _whole(function: Callable[..., Any]) -> dict[str, Any]:
    """A function, without its decorators' doings."""
    plain = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(plain)
    file = plain.__module__.replace(".", "/")
    place = f"{file}.py: {plain.__name__}"
    return {"place": place, "first": first, "mark": 0, "text": inspect.cleandoc("\n" + "".join(lines))}


def _around(file: str, number: int) -> dict[str, Any]:
    """The innermost function around a line."""
    module = importlib.import_module(f"minibiogpt.{file.replace('/', '.')}")
    lines = inspect.getsource(module).splitlines()
    scope, node = min(
        ((scope, node) for scope, node in _functions(module) if node.lineno <= number <= (node.end_lineno or 0)),
        key=lambda pair: (pair[1].end_lineno or 0) - pair[1].lineno,
    )
    text = inspect.cleandoc("\n" + "\n".join(lines[node.lineno - 1 : node.end_lineno]))
    return {"place": f"minibiogpt/{file}.py: {scope}", "first": node.lineno, "mark": number, "text": text}


@cache
def _functions(module: ModuleType) -> list[tuple[str, ast.FunctionDef]]:
    """Every function of a module, and every method, with its name as one would call it."""
    found = []
    for part in ast.parse(inspect.getsource(module)).body:
        if isinstance(part, ast.FunctionDef):
            found.append((part.name, part))
        elif isinstance(part, ast.ClassDef):
            found += [(f"{part.name}.{x.name}", x) for x in part.body if isinstance(x, ast.FunctionDef)]
    return found
