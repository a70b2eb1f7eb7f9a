"""How array names are built: ``step.{n}/`` of a ``generate`` call, ``layers.{l}``, and the kinds of sources."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from minibiogpt.errors import InputError, short_repr

STEP = re.compile(r"step\.([0-9]{1,9})/")
LAYER = re.compile(r"layers\.([0-9]{1,9})(?=\.|$)")


def checked_name(name: Any) -> str:
    """Return a name as a plain string, or raise an InputError."""
    if not isinstance(name, str):
        must = "a name or pattern must be a string"
        raise InputError(must, short_repr(name), 'pass names such as "layers.0.self_attn.probs"')
    return str(name)


def wildcards(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a regular expression for texts in which ``*`` matches any run of characters; the rest is literal.

    After the first match of what follows a ``*``, no other is tried, so that many ``*`` take no more time than one.

    Examples
    --------
    >>> [bool(wildcards(["a*b*c", "d"]).fullmatch(name)) for name in ("a.b.b.c", "d", "a.c", "a.b.cd")]
    [True, True, False, False]
    """

    def one(text: str) -> str:
        first, *middle = map(re.escape, re.sub(r"\*+", "*", text).split("*"))
        last = f".*{middle.pop()}" if middle else ""
        return first + "".join(f"(?>.*?{piece})" for piece in middle) + last

    return re.compile("|".join(map(one, texts)), re.DOTALL)


def template_of(name: str) -> str:
    """Return the name without its ``step.{n}/`` prefix, with ``{l}`` in place of the layer index.

    Examples
    --------
    >>> template_of("step.3/layers.11.self_attn.q")
    'layers.{l}.self_attn.q'
    """
    name = re.sub(r"^processors\.\d+\..*\.(before|after)$", r"processors.{i}.{rule}.\1", STEP.sub("", name, count=1))
    return LAYER.sub("layers.{l}", name)


def kind_of_source(source: str) -> str:
    """Return the kind of an entry of ``where``: "input", "parameter" or "array".

    Examples
    --------
    >>> kind_of_source("inputs/input_ids"), kind_of_source("step.1/inputs/labels"), kind_of_source("layers.0.fc1.bias")
    ('input', 'input', 'parameter')
    """
    if "inputs/" in source:
        return "input"
    return "parameter" if source.endswith((".weight", ".bias")) else "array"
