"""Layer: what a page is told of one layer's steps, taken from ``steps`` and ``explain``; and of the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minibiogpt.catalog.equations import WORDS
from minibiogpt.catalog.explain import CallFacts, lens_of, lettered, line_of, sizes_of, source_of, vocabulary
from minibiogpt.catalog.names import kind_of_source
from minibiogpt.catalog.steps import Step, steps
from minibiogpt.config import LAYER_NORM_EPS, BioGptConfig
from minibiogpt.errors import InputError
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
"""How the numbers of each step come about: which of static/origins.js takes them apart."""
GOES_ON = "·"  # behind a piece that does not end its word


def steps_of_layer(config: BioGptConfig, layer: int, given: Mapping[str, str]) -> list[Step]:
    """What goes into a layer, and then each of its steps.

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
    whole = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
    if not whole or not 0 <= layer < config.num_hidden_layers:
        must = f"layer must be a whole number, 0 to {config.num_hidden_layers - 1}"
        raise InputError(must, repr(layer), "count the layers from 0")
    found = steps(config, "base", given)
    names = [step.name for step in found]
    return found[names.index(f"layers.{layer}.self_attn_layer_norm") - 1 : names.index(f"layers.{layer}") + 1]


def kind_of(step: Step) -> str:
    """One of KINDS' values."""
    return KINDS[step.template.removeprefix("layers.{l}").removeprefix(".")]


def step_data(step: Step, facts: CallFacts) -> dict[str, Any]:
    """One step for the page: all of it text, but for the letters of its axes."""
    sizes = sizes_of(facts, step.name)
    letters, words = vocabulary(step, sizes)
    hook = lens_of(step)
    names = {"transformers": step.transformers or "no module or output has it", "TransformerLens": hook}
    symbols = [{"symbol": symbol, "text": text, "step": ""} for symbol, text in step.terms.items()]
    for symbol, source in step.where.items():
        array = source if kind_of_source(source) == "array" else ""
        symbols.append({"symbol": symbol, "text": source_of(source, facts, sizes), "step": array})
    symbols += [{"symbol": word, "text": WORDS[word], "step": ""} for word in words]
    return {
        "name": step.name,
        "kind": kind_of(step),
        "axes": step.axes.split(),
        "shape": lettered(step.axes, sizes),
        "what": step.what,
        "equation": step.equation,
        "where": dict(step.where),
        "symbols": symbols,
        "letters": letters,
        "note": step.note,
        "names": names,
        "code": code_of(line_of(step, facts), kind_of(step), facts.config.hidden_act),
    }


def facts_of(config: BioGptConfig, layer: int, dtype: str, lowest: float) -> dict[str, Any]:
    """What the page computes with."""
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
    """What stands beside a row: the piece, or its id when nothing can tell its piece.

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
    specials = set(tokenizer.all_special_ids)
    pieces = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    return [piece if i in specials else _readable(piece) for i, piece in pieces]


def _readable(piece: str) -> str:
    """A piece that ends its word as it stands there; one that does not, marked."""
    return piece.removesuffix(END_OF_WORD) if piece.endswith(END_OF_WORD) else piece + GOES_ON
