"""Names and shapes of all parameters, named as in a checkpoint without the leading ``biogpt.``."""

from __future__ import annotations

from collections.abc import Collection

from minibiogpt.config import POSITION_OFFSET, BioGptConfig

Shapes = dict[str, tuple[int, ...]]

HEAD, EMBEDDING = "output_projection.weight", "embed_tokens.weight"


def base_shapes(config: BioGptConfig) -> Shapes:
    """Return {name: shape} of every parameter of the base model, without the leading ``biogpt.``."""
    D, F = config.hidden_size, config.intermediate_size
    norm: Shapes = {"weight": (D,), "bias": (D,)}
    square: Shapes = {"weight": (D, D), "bias": (D,)}
    parts = {f"self_attn.{name}_proj": square for name in ("k", "v", "q", "out")}
    parts |= {"self_attn_layer_norm": norm, "final_layer_norm": norm}
    parts |= {"fc1": {"weight": (F, D), "bias": (F,)}, "fc2": {"weight": (D, F), "bias": (D,)}}
    shapes: Shapes = {
        EMBEDDING: (config.vocab_size, D),
        "embed_positions.weight": (config.max_position_embeddings + POSITION_OFFSET, D),
    }
    for layer in range(config.num_hidden_layers):
        shapes |= {f"layers.{layer}.{part}.{name}": s for part, pair in parts.items() for name, s in pair.items()}
    return shapes | {f"layer_norm.{name}": s for name, s in norm.items()}


def causal_lm_shapes(config: BioGptConfig) -> Shapes:
    """Return the shapes of the base model and of the language modeling head, unless it is tied to the embedding."""
    head = {} if config.tie_word_embeddings else {HEAD: (config.vocab_size, config.hidden_size)}
    return base_shapes(config) | head


def sequence_classification_shapes(config: BioGptConfig) -> Shapes:
    """Return the shapes of the base model and of ``score``, one row per class."""
    return base_shapes(config) | {"score.weight": (config.num_labels, config.hidden_size)}


def token_classification_shapes(config: BioGptConfig) -> Shapes:
    """Return the shapes of the base model and of ``classifier``, one row and one bias per class."""
    head: Shapes = {"weight": (config.num_labels, config.hidden_size), "bias": (config.num_labels,)}
    return base_shapes(config) | {f"classifier.{name}": shape for name, shape in head.items()}


def stored_shapes(config: BioGptConfig, names: Collection[str]) -> Shapes:
    """Return the shapes of the model whose head is among ``names``: a classifier, otherwise the language model."""
    short = {name.removeprefix("biogpt.") for name in names}
    heads = {"score.weight": sequence_classification_shapes, "classifier.weight": token_classification_shapes}
    found = [shapes_of for name, shapes_of in heads.items() if name in short]
    return found[0](config) if found else causal_lm_shapes(config)
