"""Layer: page data about the steps of one layer, taken from ``steps`` and ``explain``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.catalog.explain import INPUT_AXES, SHAPES, CallFacts, free_symbols, source_line, transformer_lens_hook
from minibiogpt.catalog.names import kind_of_source
from minibiogpt.catalog.steps import Step, after_layers, axes_of, before_layers, steps, steps_in_layer
from minibiogpt.config import LAYER_NORM_EPS, POSITION_OFFSET, BioGptConfig
from minibiogpt.errors import InputError, listed, nearest, short_repr
from minibiogpt.view.source import code_of

KINDS = {
    "embed_tokens": "lookup",
    "embed_positions": "position",
    "embeddings": "sum",
    "self_attn_layer_norm": "norm",
    **dict.fromkeys(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"], "linear"),
    **dict.fromkeys(["self_attn.q", "self_attn.k", "self_attn.v"], "split"),
    "self_attn.scores": "scores",
    "self_attn.scores_masked": "mask",
    "self_attn.probs": "softmax",
    "self_attn.weights": "headmask",
    "self_attn.context": "merge",
    "attn_residual": "sum",
    "final_layer_norm": "norm",
    "fc1": "linear",
    "activation_fn": "activation",
    "fc2": "linear",
    "": "sum",
    "layer_norm": "norm",
    "logits": "logits",
}
"""How each step is computed: the function in static/stepper/origins.js that breaks down its values."""


def steps_of_layer(config: BioGptConfig, layer: int, inputs: Mapping[str, str]) -> list[Step]:
    """Return the step that computes the input of a layer, then every step of the layer.

    Examples
    --------
    >>> found = steps_of_layer(BioGptConfig(), 3, {"input_ids": "int64"})
    >>> len(found), found[0].name, found[1].name, found[-1].name
    (20, 'layers.2', 'layers.3.self_attn_layer_norm', 'layers.3')

    Raises
    ------
    InputError
        If there is no such layer.
    """
    integer = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
    if not integer or not 0 <= layer < config.num_hidden_layers:
        must = f"layer must be an integer from 0 to {config.num_hidden_layers - 1}"
        raise InputError(must, short_repr(layer), "count the layers from 0")
    found = steps(config, "base", inputs)
    names = [step.name for step in found]
    return found[names.index(f"layers.{layer}.self_attn_layer_norm") - 1 : names.index(f"layers.{layer}") + 1]


def kind_of(step: Step) -> str:
    """Return the kind of a step, one of the values of KINDS."""
    return KINDS[step.template.removeprefix("layers.{l}").removeprefix(".")]


def step_data(step: Step, facts: CallFacts) -> dict[str, Any]:
    """Return the page data of one step: text, its axes as letters, and its symbols; the page fills in the sizes."""
    free = free_symbols(step)
    symbols = [_symbol(symbol, text) for symbol, text in step.terms.items()]
    symbols += [_source(symbol, source, facts) for symbol, source in step.where.items()]
    symbols += [_symbol(word, EQUATION_FUNCTIONS[word]) for word in free if word in EQUATION_FUNCTIONS]
    names = {
        "transformers": step.transformers or "no module or output",
        "TransformerLens": transformer_lens_hook(step),
    }
    return {
        "name": step.name,
        "kind": kind_of(step),
        "axes": step.axes.split(),
        "what": step.what,
        "equation": step.equation,
        "where": dict(step.where),
        "symbols": symbols,
        "letters": [name for name in free if name[0].isupper()],
        "note": step.note,
        "names": names,
        "code": code_of(source_line(step, facts), kind_of(step), facts.config.hidden_act),
    }


def _symbol(symbol: str, text: str, name: str = "", axes: str = "") -> dict[str, Any]:
    """Return the data of a symbol: the page shows the name, its axes with their sizes, and the text."""
    return {"symbol": symbol, "text": text, "name": name, "axes": axes.split()}


def _source(symbol: str, source: str, facts: CallFacts) -> dict[str, Any]:
    """Return the data of a symbol that stands for an array, a parameter or an input."""
    kind, name = kind_of_source(source), source.removeprefix("inputs/")
    if kind == "array":
        return _symbol(symbol, "", source, "B T D" if source == "{x}" else axes_of(source, facts.head))
    if kind == "parameter":
        return _symbol(symbol, f", parameter {SHAPES[facts.head](facts.config)[source.replace('{l}', '0')]}", source)
    return _symbol(symbol, f"{name}, input of the call", "", INPUT_AXES.get(name, ""))


def explanations(config: BioGptConfig) -> dict[str, Any]:
    """Return the page data of every step of a language model's call, once for all layers.

    Returns
    -------
    "before", "layer", "after" : the steps before the layers, of a layer, and after the layers, as ``step_data`` returns
        them. In the names of a layer ``{l}`` is its index, and ``{x}`` is its input.
    "head_mask" : the step that replaces ``self_attn.weights`` in a call with a head mask.

    Examples
    --------
    >>> found = explanations(BioGptConfig())
    >>> [len(part) for part in (found["before"], found["layer"], found["after"])]
    [3, 19, 2]
    >>> found["layer"][0]["where"]["x"], found["layer"][-1]["name"], found["after"][-1]["equation"]
    ('{x}', 'layers.{l}', 'h @ E.T')
    """
    inputs = {"input_ids": "int64"}
    facts = CallFacts(config, "causal", inputs, {}, {}, {})
    before = [step for step in before_layers(config, inputs) if step.template in KINDS]
    masked = [step for step in steps_in_layer(config, inputs | {"head_mask": ""}) if kind_of(step) == "headmask"]
    return {
        "before": [step_data(step, facts) for step in before],
        "layer": [step_data(step, facts) for step in steps_in_layer(config, inputs)],
        "after": [step_data(step, facts) for step in after_layers(config, "causal", inputs)],
        "head_mask": step_data(masked[0], facts),
    }


def start_of(found: list[Step], start: Any) -> str:
    """Return the short name of the step that a page opens on, one of ``short_names``.

    Parameters
    ----------
    found : the steps of the page. start : the name of one, in full or short.

    Raises
    ------
    InputError
        If there is no such step; the message suggests the closest names.
    """
    if not isinstance(start, str):
        raise InputError("start must be the name of a step", short_repr(start), 'pass "self_attn.probs"')
    names = short_names(found)
    full = {step.name: name for step, name in zip(found, names, strict=True)}
    if start not in full and start not in names:
        closest = nearest(start, names)
        remedy = f"nearest: {', '.join(closest)}" if closest else f"choose one of {listed(names, 20)}"
        raise InputError("start must be a step of this layer", short_repr(start), remedy)
    return full.get(start, start)


def short_names(found: list[Step]) -> list[str]:
    """Return the names of a layer's steps without ``layers.{l}.``; "input" and "output" for the first and the last."""
    inner = [step.template.removeprefix("layers.{l}.") for step in found[1:-1]]
    return ["input", *inner, "output"]


def facts_of(config: BioGptConfig, dtype: str, lowest: float) -> dict[str, Any]:
    """Return the constants that the page computes with."""
    return {
        "activation": config.hidden_act,
        "eps": LAYER_NORM_EPS,
        "dtype": dtype,
        "lowest": lowest,
        "scaleEmbedding": config.scale_embedding,
        "positionOffset": POSITION_OFFSET,
    }
