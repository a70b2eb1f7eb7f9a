"""Layer: page data about the steps of one layer, taken from ``steps`` and ``explain``, and the labels of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.catalog.explain import (
    CallFacts,
    describe_source,
    format_axes,
    sizes_of,
    source_line,
    symbols_used,
    transformer_lens_hook,
)
from minibiogpt.catalog.names import kind_of_source
from minibiogpt.catalog.steps import Step, steps
from minibiogpt.config import LAYER_NORM_EPS, BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.tokenizer.bpe import END_OF_WORD
from minibiogpt.view.source import code_of

KINDS = {
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
}
"""How each step is computed: the function in static/origins.js that breaks down its values."""
CONTINUES = "·"  # appended to a token that does not end its word


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
    """Return the page data of one step: text, and its axes as a list of letters."""
    sizes = sizes_of(facts, step.name)
    letters, words = symbols_used(step, sizes)
    hook = transformer_lens_hook(step)
    names = {"transformers": step.transformers or "no module or output", "TransformerLens": hook}
    symbols = [{"symbol": symbol, "text": text, "step": ""} for symbol, text in step.terms.items()]
    for symbol, source in step.where.items():
        array = source if kind_of_source(source) == "array" else ""
        symbols.append({"symbol": symbol, "text": describe_source(source, facts, sizes), "step": array})
    symbols += [{"symbol": word, "text": EQUATION_FUNCTIONS[word], "step": ""} for word in words]
    return {
        "name": step.name,
        "kind": kind_of(step),
        "axes": step.axes.split(),
        "shape": format_axes(step.axes, sizes),
        "what": step.what,
        "equation": step.equation,
        "where": dict(step.where),
        "symbols": symbols,
        "letters": letters,
        "note": step.note,
        "names": names,
        "code": code_of(source_line(step, facts), kind_of(step), facts.config.hidden_act),
    }


def facts_of(config: BioGptConfig, layer: int, dtype: str, lowest: float) -> dict[str, Any]:
    """Return the constants that the page computes with."""
    return {
        "layer": int(layer),
        "heads": config.num_attention_heads,
        "headSize": config.head_size,
        "activation": config.hidden_act,
        "eps": LAYER_NORM_EPS,
        "dtype": dtype,
        "lowest": lowest,
    }


def labels_of(ids: Iterable[int], tokenizer: Any) -> list[str]:
    """Return the labels of token ids: the token as text, or "id N" where the tokenizer has no token (or is None).

    Examples
    --------
    >>> from minibiogpt import BioGptTokenizer
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> labels_of(tok.encode("pain"), tok), labels_of([7], None)
    (['</s>', 'pain'], ['id 7'])
    """
    ids = [int(i) for i in ids]
    if tokenizer is None:
        return [f"id {i}" for i in ids]
    known = set(tokenizer.get_vocab().values()) | set(tokenizer.soft_prompt_ids)
    added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    tokens = {i: tokenizer.convert_ids_to_tokens(i) for i in ids if i in known}
    return [f"id {i}" if i not in known else tokens[i] if i in added else _readable(tokens[i]) for i in ids]


def _readable(token: str) -> str:
    """Return a token without its end-of-word suffix, or with CONTINUES if it does not end its word."""
    return token.removesuffix(END_OF_WORD) if token.endswith(END_OF_WORD) else token + CONTINUES
