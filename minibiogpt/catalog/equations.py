"""The equations that depend on the config or on what a call was given: positions, masks, activations, heads, losses.

Each is (equation, where, terms), as in ``steps.Step``: text that is Python with NumPy's names, the words of ``WORDS``
and the letters of ``minibiogpt.config``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from minibiogpt.config import BioGptConfig

WORDS = {
    "mean": "the mean over the last axis, which stays, with size 1",
    "var": "the variance over the last axis, which stays, with size 1; it divides by D, not by D - 1",
    "max": "the largest along the last axis, which stays, with size 1",
    "sum": "the sum over the last axis, which stays, with size 1",
    "erf": "the error function: 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x",
}
"""What the equations write that NumPy has no function for, or another one; a method (``x.sum()``) is NumPy's own."""


class Equation(NamedTuple):
    """How an array is made: the text, its symbols, and the named parts that are worked out first."""

    text: str
    where: dict[str, str]
    terms: dict[str, str]


def equation(text: str, where: Mapping[str, str], **terms: str) -> Equation:
    """One equation; terms may use the symbols and the terms before them."""
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
    """x W^T + b of the module at ``path``."""
    return equation("x @ W.T + b", {"x": x, "W": f"{path}.weight", "b": f"{path}.bias"})


def norm(x: str, path: str) -> Equation:
    """The norm of the module at ``path``; eps is 1e-5, whatever the config says."""
    return equation(NORM, {"x": x, "g": f"{path}.weight", "b": f"{path}.bias"})


def position_ids(given: Collection[str]) -> Equation:
    """As given, or counted: pads are -1."""
    if "position_ids" in given:
        return equation("broadcast_to(given, (B, T))", {"given": "inputs/position_ids"})
    if "attention_mask" in given:
        return equation("(cumsum(mask, axis=1) * mask - 1)[:, S - T:]", MASK)
    return equation("broadcast_to(arange(S - T, S), (B, T))", {})


def embed_tokens(config: BioGptConfig, given: Collection[str]) -> Equation:
    """Rows of the table, scaled if the config says so; inputs_embeds are scaled already."""
    if "inputs_embeds" in given:
        return equation("given", {"given": "inputs/inputs_embeds"})
    text = "E[ids] * sqrt(D)" if config.scale_embedding else "E[ids]"
    return equation(text, {"E": "embed_tokens.weight", "ids": "inputs/input_ids"})


def heads_of(name: str, given: Collection[str]) -> Equation:
    """k or v: split into heads, behind those of the positions before."""
    where = {"x": f"layers.{{l}}.self_attn.{name}_proj"}
    if "past_key_values" not in given:
        return equation(SPLIT, where)
    where["past"] = f"inputs/past_key_values.{{l}}.{name}"
    return equation(f"concatenate([past, {SPLIT}], axis=2)", where)


def scores_masked(given: Collection[str]) -> Equation:
    """Not later, and no padding."""
    visible, where = "arange(S) <= arange(S - T, S)[:, newaxis]", {"scores": "layers.{l}.self_attn.scores"}
    if "attention_mask" in given:
        visible, where = f"({visible}) & (mask[:, newaxis, newaxis, :] == 1)", where | MASK
    text = "where(visible, scores, lowest)"
    return equation(text, where, visible=visible, lowest="finfo(scores.dtype).min")


def weights(given: Collection[str]) -> Equation:
    """The head mask is (H,) or (L, H)."""
    where = {"probs": "layers.{l}.self_attn.probs"}
    if "head_mask" not in given:
        return equation("probs", where)
    text = "probs * broadcast_to(head_mask, (L, H))[{l}, :, newaxis, newaxis]"
    return equation(text, where | {"head_mask": "inputs/head_mask"})


def causal_logits(config: BioGptConfig, position: str = "") -> Equation:
    """The embedding again, unscaled, when it is tied; ``position``: "[:, -1]" for the last alone."""
    if config.tie_word_embeddings:
        return equation(f"h{position} @ E.T", HIDDEN | {"E": "embed_tokens.weight"})
    return equation(f"h{position} @ W.T", HIDDEN | {"W": "output_projection.weight"})


def pooled_logits(config: BioGptConfig, given: Collection[str]) -> Equation:
    """The scores of each row's rightmost token that is no padding."""
    where = {"scores": "score"}
    if "input_ids" not in given or config.pad_token_id is None:
        return equation("scores[:, -1]", where)
    real, where = f"ids != {config.pad_token_id}", where | {"ids": "inputs/input_ids"}
    if "attention_mask" in given:
        real, where = f"({real}) & (mask[:, S - T:] == 1)", where | MASK
    return equation("scores[arange(B), last]", where, real=real, last="where(real, arange(T), -1).max(axis=1)")


def causal_loss() -> Equation:
    """Position t is compared with label t + 1."""
    return _cross_entropy("labels[:, 1:]", "logits[:, :-1]", "y != -100", {})


def token_loss(given: Collection[str]) -> Equation:
    """Labels of padding do not count."""
    if "attention_mask" not in given:
        return _cross_entropy("labels", "logits", "y != -100", {})
    return _cross_entropy("labels", "logits", "(y != -100) & (mask[:, S - T:] == 1)", MASK)


def sequence_loss(config: BioGptConfig, labels: str) -> Equation:
    """Of the problem that the config names, or that the number of classes and the labels' dtype make it."""
    integers = "single_label_classification" if labels in ("int64", "int32") else "multi_label_classification"
    problem = config.problem_type or ("regression" if config.num_labels == 1 else integers)
    if problem == "single_label_classification":
        return _cross_entropy("labels.reshape(B)", "logits", "y != -100", {})
    where, y = {"labels": "inputs/labels", "x": "logits"}, "labels.reshape(x.shape)"
    if problem == "regression":
        return equation("((x - y) ** 2).mean()", where, y=y)
    return equation("(maximum(x, 0) - x * y + log1p(exp(-abs(x)))).mean()", where, y=y)


def _cross_entropy(y: str, x: str, counted: str, where: Mapping[str, str]) -> Equation:
    """The mean of -log p(label) over the labels that count."""
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
