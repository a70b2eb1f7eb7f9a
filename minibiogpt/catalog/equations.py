"""The equations that depend on the config or on the inputs of a call: positions, masks, activations, heads, losses.

Each is (text, where, terms), as in ``steps.Step``. The text is a Python expression of NumPy's functions, those of
``EQUATION_FUNCTIONS`` and the letters of ``minibiogpt.config``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from minibiogpt.config import BioGptConfig

EQUATION_FUNCTIONS = {
    "mean": "mean over the last axis (keepdims=True)",
    "var": "variance over the last axis (keepdims=True; divides by D, not D - 1)",
    "max": "maximum over the last axis (keepdims=True)",
    "sum": "sum over the last axis (keepdims=True)",
    "erf": "error function: 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x",
}
"""Functions of the equations that NumPy lacks or defines differently; a method (``x.sum()``) is NumPy's own."""


class Equation(NamedTuple):
    """An expression, the sources of its symbols, and named terms that are evaluated first."""

    text: str
    where: dict[str, str]
    terms: dict[str, str]


def equation(text: str, where: Mapping[str, str], **terms: str) -> Equation:
    """Make one equation; a term may use the symbols and the terms before it."""
    return Equation(text, dict(where), terms)


NORM = "(x - mean(x)) / sqrt(var(x) + 1e-5) * g + b"
SPLIT = "x.reshape(B, T, H, Dh).swapaxes(1, 2)"
SOFTMAX = equation("e / sum(e)", {"scores": "layers.{l}.self_attn.scores_masked"}, e="exp(scores - max(scores))")
ACTIVATION = {
    "gelu": "x * (1 + erf(x / sqrt(2))) / 2",
    "gelu_new": "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2",
    "relu": "maximum(x, 0)",
    "selu": "1.0507009873554805 * where(x > 0, x, 1.6732632423543772 * expm1(minimum(x, 0)))",
}
MASK = {"mask": "inputs/attention_mask"}
HIDDEN = {"h": "layer_norm"}


def linear(x: str, path: str) -> Equation:
    """Return x W^T + b for the module at ``path``."""
    return equation("x @ W.T + b", {"x": x, "W": f"{path}.weight", "b": f"{path}.bias"})


def norm(x: str, path: str) -> Equation:
    """Return the layer norm for the module at ``path``; eps is 1e-5, whatever the config says."""
    return equation(NORM, {"x": x, "g": f"{path}.weight", "b": f"{path}.bias"})


def position_ids(inputs: Collection[str]) -> Equation:
    """The given positions, or counted ones with -1 at padding."""
    if "position_ids" in inputs:
        return equation("broadcast_to(given, (B, T))", {"given": "inputs/position_ids"})
    if "attention_mask" in inputs:
        return equation("(cumsum(mask, axis=1) * mask - 1)[:, S - T:]", MASK)
    return equation("broadcast_to(arange(S - T, S), (B, T))", {})


def embed_tokens(config: BioGptConfig, inputs: Collection[str]) -> Equation:
    """Rows of the embedding table, scaled if scale_embedding is set; given inputs_embeds are not scaled."""
    if "inputs_embeds" in inputs:
        return equation("given", {"given": "inputs/inputs_embeds"})
    text = "E[ids] * sqrt(D)" if config.scale_embedding else "E[ids]"
    return equation(text, {"E": "embed_tokens.weight", "ids": "inputs/input_ids"})


def heads_of(name: str, inputs: Collection[str]) -> Equation:
    """k or v, split into heads and appended to the cached ones."""
    where = {"x": f"layers.{{l}}.self_attn.{name}_proj"}
    if "past_key_values" not in inputs:
        return equation(SPLIT, where)
    where["past"] = f"inputs/past_key_values.{{l}}.{name}"
    return equation(f"concatenate([past, {SPLIT}], axis=2)", where)


def scores_masked(inputs: Collection[str]) -> Equation:
    """The scores, masked at later positions and at padding."""
    visible, where = "arange(S) <= arange(S - T, S)[:, newaxis]", {"scores": "layers.{l}.self_attn.scores"}
    if "attention_mask" in inputs:
        visible, where = f"({visible}) & (mask[:, newaxis, newaxis, :] == 1)", where | MASK
    text = "where(visible, scores, lowest)"
    return equation(text, where, visible=visible, lowest="finfo(scores.dtype).min")


def weights(inputs: Collection[str]) -> Equation:
    """The probabilities times the head mask, (H,) or (L, H)."""
    where = {"probs": "layers.{l}.self_attn.probs"}
    if "head_mask" not in inputs:
        return equation("probs", where)
    text = "probs * broadcast_to(head_mask, (L, H))[{l}, :, newaxis, newaxis]"
    return equation(text, where | {"head_mask": "inputs/head_mask"})


def causal_logits(config: BioGptConfig, position: str = "") -> Equation:
    """The language modeling head: the unscaled embedding table if tied; "[:, -1]" selects the last position."""
    if config.tie_word_embeddings:
        return equation(f"h{position} @ E.T", HIDDEN | {"E": "embed_tokens.weight"})
    return equation(f"h{position} @ W.T", HIDDEN | {"W": "output_projection.weight"})


def pooled_logits(config: BioGptConfig, inputs: Collection[str]) -> Equation:
    """The scores at the rightmost real token of each row."""
    where = {"scores": "score"}
    if "input_ids" not in inputs or config.pad_token_id is None:
        return equation("scores[:, -1]", where)
    real, where = f"ids != {config.pad_token_id}", where | {"ids": "inputs/input_ids"}
    if "attention_mask" in inputs:
        real, where = f"({real}) & (mask[:, S - T:] == 1)", where | MASK
    return equation("scores[arange(B), last]", where, real=real, last="where(real, arange(T), -1).max(axis=1)")


def causal_loss() -> Equation:
    """Cross-entropy of the logits at position t and the label at t + 1."""
    return _cross_entropy("labels[:, 1:]", "logits[:, :-1]", "y != -100", {})


def token_loss(inputs: Collection[str]) -> Equation:
    """Cross-entropy of each position; labels at padding are ignored."""
    if "attention_mask" not in inputs:
        return _cross_entropy("labels", "logits", "y != -100", {})
    return _cross_entropy("labels", "logits", "(y != -100) & (mask[:, S - T:] == 1)", MASK)


def sequence_loss(config: BioGptConfig, labels: str) -> Equation:
    """The loss of the config's problem_type, or of the one implied by num_labels and the dtype of the labels."""
    integers = "single_label_classification" if labels in ("int64", "int32") else "multi_label_classification"
    problem = config.problem_type or ("regression" if config.num_labels == 1 else integers)
    if problem == "single_label_classification":
        return _cross_entropy("labels.reshape(B)", "logits", "y != -100", {})
    where, y = {"labels": "inputs/labels", "x": "logits"}, "labels.reshape(x.shape)"
    if problem == "regression":
        return equation("((x - y) ** 2).mean()", where, y=y)
    return equation("(maximum(x, 0) - x * y + log1p(exp(-abs(x)))).mean()", where, y=y)


def _cross_entropy(y: str, x: str, counted: str, where: Mapping[str, str]) -> Equation:
    """The mean of -log p(label) over the labels that are not ignored."""
    chosen = "take_along_axis(log_p, where(counted, y, 0)[..., newaxis], axis=-1)[..., 0]"
    return equation(
        "-where(counted, chosen, 0).sum() / counted.sum()",
        {"labels": "inputs/labels", "logits": "logits"} | dict(where),
        y=y,
        x=x,
        counted=counted,
        log_p="x - max(x) - log(sum(exp(x - max(x))))",
        chosen=chosen,
    )
