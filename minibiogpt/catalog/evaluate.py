"""Evaluate an equation of the table of steps, from its text and the values of its symbols.

The texts are expressions in a small part of Python, read as a syntax tree: names, numbers, arithmetic, comparisons,
indices, calls of the functions listed here, and attributes and methods of arrays. Nothing else can run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from minibiogpt.backend.erf import erf
from minibiogpt.catalog.steps import Step

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.USub: operator.neg,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
NUMPY = (
    "abs", "arange", "broadcast_to", "concatenate", "cumsum", "einsum", "exp", "expm1", "finfo", "log", "log1p", 
    "maximum", "minimum", "newaxis", "pi", "sqrt", "take_along_axis", "tanh", "where",
)  # fmt: skip
ATTRIBUTES = ("T", "argmax", "dtype", "max", "mean", "min", "reshape", "shape", "size", "sum", "swapaxes")


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=-1, keepdims=True)


def _var(x: np.ndarray) -> np.ndarray:
    return np.square(x - _mean(x)).mean(axis=-1, keepdims=True)


def _max(x: np.ndarray) -> np.ndarray:
    return x.max(axis=-1, keepdims=True)


def _sum(x: np.ndarray) -> np.ndarray:
    return x.sum(axis=-1, keepdims=True)


FUNCTIONS: dict[str, Any] = {name: getattr(np, name) for name in NUMPY}
FUNCTIONS |= {"mean": _mean, "var": _var, "max": _max, "sum": _sum, "erf": erf}


def evaluate(step: Step, symbols: Mapping[str, Any], letters: Mapping[str, int]) -> np.ndarray:
    """Return the array of one step.

    Parameters
    ----------
    symbols : {symbol: array} of each symbol in ``step.where``.
    letters : {letter: size}, such as {"B": 1, "T": 3, "S": 3, "D": 192, "H": 6, "Dh": 32}.

    Raises
    ------
    ValueError
        If shapes do not fit, as in NumPy.

    Examples
    --------
    >>> from minibiogpt.catalog.steps import step_of
    >>> from minibiogpt.config import BioGptConfig
    >>> step = step_of("layers.0.attn_residual", BioGptConfig())
    >>> step.equation, evaluate(step, {"x": np.array([1.0, 2.0]), "a": np.array([0.5, 0.5])}, {}).tolist()
    ('x + a', [1.5, 2.5])
    """
    scope: dict[str, Any] = {**FUNCTIONS, **letters, **symbols}
    for term, text in step.terms.items():
        scope[term] = _value(_parsed(text), scope)
    return np.asarray(_value(_parsed(step.equation), scope))


@cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _value(node: ast.expr | None, scope: Mapping[str, Any]) -> Any:
    """Return the value of one node of an expression."""
    match node:
        case None:
            return None
        case ast.Constant():
            return node.value
        case ast.Name():
            return scope[node.id]
        case ast.Tuple() | ast.List():
            return tuple(_value(item, scope) for item in node.elts)
        case ast.Slice():
            return slice(*(_value(part, scope) for part in (node.lower, node.upper, node.step)))
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](_value(node.operand, scope))
        case ast.BinOp():
            return OPERATORS[type(node.op)](_value(node.left, scope), _value(node.right, scope))
        case ast.Compare():
            return OPERATORS[type(node.ops[0])](_value(node.left, scope), _value(node.comparators[0], scope))
        case ast.Subscript():
            return _value(node.value, scope)[_value(node.slice, scope)]
        case ast.Attribute() if node.attr in ATTRIBUTES:
            return getattr(_value(node.value, scope), node.attr)
        case ast.Call():
            options = {str(item.arg): _value(item.value, scope) for item in node.keywords}
            return _value(node.func, scope)(*(_value(item, scope) for item in node.args), **options)
    raise ValueError(f"an equation cannot have {ast.unparse(node)}")
