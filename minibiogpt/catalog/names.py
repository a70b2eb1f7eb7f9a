"""How array names are built: ``step.{n}/`` of a ``generate`` call, ``layers.{l}``, and the kinds of sources."""

from __future__ import annotations

import re

STEP = re.compile(r"step\.(\d+)/")
LAYER = re.compile(r"layers\.(\d+)(?=\.|$)")


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
