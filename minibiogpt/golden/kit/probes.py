"""The kit's cases: inputs that expose mistakes which ordinary inputs hide.

A probe is data. tests/golden/kit/test_probes.py plants every mistake that ``exposes`` lists and verifies that the
first array it changes differs by at least ten times the budgets of float64 and float32.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from minibiogpt.golden.kit import inputs
from minibiogpt.golden.kit.inputs import BLIND, HOLE, LEFT, MIXED, RIGHT, Call, Draw, with_mask
from minibiogpt.golden.kit.limits import LARGE_VOCABULARY, NO_LIMITS, Limits

MOST_POSITIONS = 16  # of a case, all rows and calls together, that has logits of a large vocabulary


@dataclass(frozen=True)
class Probe:
    """One case of the kit.

    Attributes
    ----------
    model : the checkpoint's name in ``models.CHECKPOINTS``.
    calls : keyword arguments of each model call; several calls share one cache.
    about : one sentence.
    exposes : the mistakes it shows.
    arrays : patterns of the arrays that are kept; None keeps all.
    """

    name: str
    model: str
    calls: list[Call]
    about: str
    exposes: tuple[str, ...]
    arrays: tuple[str, ...] | None = None


def probes(seed: int = 0, limits: Limits = NO_LIMITS) -> dict[str, Probe]:
    """Return {name: probe} of every probe within the limits, with inputs drawn from the seed.

    Examples
    --------
    >>> found = probes()
    >>> len(found) >= 20, found["right_pad"].calls[0]["attention_mask"].tolist()[0]
    (True, [1, 1, 1, 1, 0, 0])
    >>> "right_pad" in probes(limits=Limits(mask=False))
    False
    """
    out = left_out(limits)
    return {name: _probe(name, seed, limits) for name in _PROBES if name not in out}


def left_out(limits: Limits) -> dict[str, str]:
    """Return {name: why} of the probes that the limits leave out."""
    found = {}
    for name, (model, *_) in _PROBES.items():
        if limits.float16 and model == "loud":
            found[name] = "their scores are too large for float16 before they are scaled"
        elif not limits.mask and name in NEED_MASK:
            found[name] = "they need an attention_mask"
        elif limits.rows == 1 and name == "batch_rows":
            found[name] = "it needs several rows"
    return found


def mistakes_not_shown(chosen: Iterable[Probe]) -> list[str]:
    """Return the mistakes that a kit without limits is made to expose, but none of the chosen probes."""
    shown = {words for probe in chosen for words in probe.exposes}
    every = dict.fromkeys(words for probe in probes().values() for words in probe.exposes)
    return [words for words in every if words not in shown]


def _probe(name: str, seed: int, limits: Limits) -> Probe:
    model, about, exposes, make_calls = _PROBES[name]
    draw = Draw.of(np.random.default_rng([seed, zlib.crc32(name.encode())]), limits)
    made = make_calls(draw)
    calls = made if isinstance(made, list) else [made]
    if not limits.mask:
        calls = [{key: x for key, x in call.items() if key != "attention_mask"} for call in calls]
        about = WITHOUT_MASK.get(name, about)
    if name == "all_ids" and not draw.every_id:
        about, exposes = SOME_IDS, exposes + (IDS_IN_FLOAT16,) * (2050 < limits.sizes.V < 65504)
    exposes = tuple(words for words in exposes if not _is_hidden(words, limits))
    arrays = ARRAYS.get(name)
    positions = sum(call["input_ids"].size for call in calls if "input_ids" in call)
    if limits.sizes.V > LARGE_VOCABULARY and positions > MOST_POSITIONS and model not in CLASSIFIERS:
        arrays = tuple(pattern for pattern in arrays or BEFORE_LOGITS if pattern != "logits")
    return Probe(name, model, calls, about, exposes, arrays)


def _is_hidden(words: str, limits: Limits) -> bool:
    """Whether no case can show the mistake within the limits, though there is one that is designed to."""
    return not limits.mask and words in ("padding counted in the loss", "mask of the first row used for all")


# What is kept of cases with many positions, and of cases about the head only: other cases keep the rest.
_FEW = ("embed_tokens", "embeddings", "layers.0", "layers.1", "layer_norm", "logits")
ARRAYS = {"all_ids": ("position_ids", "embed_tokens", "layer_norm", "logits"), "lm_loss": (*_FEW, "loss")}
ARRAYS |= {name: (*_FEW, "score", "loss") for name in ("sequence_left_pad", "several_labels", "regression")}
ARRAYS |= {"sequence_pad_in_text": (*_FEW, "score"), "untied": _FEW, "unscaled": _FEW}
_FEED_FORWARD = ("attn_residual", "final_layer_norm", "fc1", "activation_fn", "fc2")
BEFORE_LOGITS = ("position_ids", "embed_tokens", "embed_positions", "embeddings", "layers.*", "layer_norm")
ARRAYS |= {"gelu_range": (*_FEW, *(f"layers.{layer}.{name}" for layer in range(2) for name in _FEED_FORWARD))}
ARRAYS |= {"longest": ("position_ids", "embed_positions", *_FEW)}


CLASSIFIERS = ("sequence", "regression", "token")  # models whose logits are few
# Cases about the mask; others have one too, and are as useful without it.
NEED_MASK = {
    "loud_left_pad", "left_pad", "right_pad", "hole_in_mask", "nothing_visible", "cache_left_pad"
}  # fmt: skip
# {name: what the case is without its mask}, where that is something else.
WITHOUT_MASK = {
    "pad_id_in_text": "The id of <pad> occurs in the texts, and no mask is given: it is a token like any other.",
    "batch_rows": "Several texts in one batch, some of them with <pad>, and no mask is given.",
    "head_mask_layers": "One number for each head of each layer, one of them negative.",
    "sequence_right_pad": "Texts classified at the last token that is not <pad>; one label each, and no mask.",
    "sequence_left_pad": "The same with <pad> on the left, where transformers 4.57 pools elsewhere.",
    "token_labels": "Tokens classified; the loss passes over -100.",
}
SOME_IDS = "Ids from the whole range, the first and the last too."
IDS_IN_FLOAT16 = "ids kept as float16 numbers"
MakeCalls = Callable[[Draw], Call | list[Call]]
# {name: (model, about, exposes, function that draws the inputs)}. The kit's manifest contains these texts.
_PROBES: dict[str, tuple[str, str, tuple[str, ...], MakeCalls]] = {
    "ordinary": (
        "base",
        "Ordinary tokens; every fc1 unit works near 2 or -2; up to 2.7 the two forms of GELU come to differ most.",
        (
            "tanh GELU instead of erf", "token embeddings not scaled by sqrt(D)", "position offset 1 instead of 2",
            "scores not divided by sqrt(Dh)", "no causal mask", "a token cannot see itself",
            "variance divided by D - 1", "gain of a norm left out", "bias of k_proj left out",
            "q_proj and k_proj exchanged", "column d belongs to head d mod H", "the norms of a layer exchanged",
            "norm not before attention", "final norm left out", "logits multiplied by sqrt(D) too",
        ),
        inputs.one_text,
    ),
    "nearly_constant": (
        "faint", "Three rows whose variance is about 1e-5, where the eps decides, at every norm: layers add little.",
        ("norm eps 1e-12, as the config says", "norm eps 1e-12 in final_layer_norm alone",
         "norm eps 1e-12 in the last norm alone", "eps added to the root, not under it"), inputs.nearly_constant,
    ),
    "gelu_range": (
        "spread", "Every fc1 unit works near another value, from -8 to 8: the whole range of erf.",
        ("erf taken as 1 too early", "erf by a series that ends too early"), inputs.one_text,
    ),
    "loud_future": (
        "loud", "The largest scores, about 20,000, stand at later positions, which are hidden.",
        ("hidden scores get -1e4 added", "softmax without taking the largest away"),
        inputs.one_short_text,
    ),
    "loud_left_pad": (
        "loud",
        "The largest scores stand at padding, whose rows see nothing (float16 shows what transformers adds there).",
        ("hidden scores get -1e4 added", "hidden scores get -1e9 added"), with_mask(LEFT),
    ),
    "equal_scores": (
        "base", "One token at one position again and again: all scores are equal, attention is uniform.",
        ("no causal mask", "future zeroed after the softmax", "position_ids not honoured"), inputs.equal_scores,
    ),
    "repeated_token": (
        "base", "The same token throughout: only positions tell the rows apart.",
        ("positions left out", "positions multiplied by sqrt(D) too"), inputs.repeated_token,
    ),
    "left_pad": (
        "base", "Padding on the left: positions start behind it, and its rows see nothing.",
        ("padding has positions", "padding not hidden", "embedding of the pad taken as 0"),
        with_mask(LEFT),
    ),
    "right_pad": (
        "base", "Padding on the right: its position is -1, row 1 of the table.",
        ("padding has positions", "padding not hidden"), with_mask(RIGHT),
    ),
    "hole_in_mask": (
        "base", "The mask has holes: neither a length nor a first position describes it.",
        ("mask taken as a number of real tokens", "padding has positions"), with_mask(HOLE),
    ),
    "nothing_visible": (
        "base", "One row is padding throughout; rows that see nothing are uniform over all S positions.",
        ("rows that see nothing are 0", "rows that see nothing are NaN", "rows that see nothing are uniform up to t"),
        with_mask(BLIND, 1),
    ),
    "pad_id_in_text": (
        "base", "The id of <pad> occurs where the mask says 1: it is a token like any other.",
        ("mask made from the ids", "positions made from the ids"), inputs.pad_id_in_text,
    ),
    "batch_rows": (
        "base", "Rows with masks of every kind in one batch.",
        ("mask of the first row used for all", "batch and time exchanged"), with_mask(MIXED),
    ),
    "one_token": (
        "base", "A single token in each row.",
        ("softmax over the heads, an axis of size 1 being dropped", "positions start at 1"),
        inputs.one_token,
    ),
    "longest": (
        "base", "As many tokens as there are positions: the table is used to its last row.",
        ("position table cut at N rows",), inputs.longest,
    ),
    "explicit_positions": (
        "base", "position_ids are given: 0, the last, -1, repeated, and falling.",
        ("position_ids not honoured", "position -1 taken as 0", "position -1 taken as the last"),
        inputs.explicit_positions,
    ),
    "cache_steps": (
        "base", "Five tokens, then one, then six at once, on one cache.",
        ("positions start at 0 again in each call", "new tokens see those after them",
         "causal mask counts from the first key"), inputs.cache_steps,
    ),
    "cache_left_pad": (
        "base", "The same with padding on the left: the mask covers past and new positions.",
        ("padding has positions", "mask of the past forgotten"), inputs.cache_left_pad,
    ),
    "head_mask": (
        "base", "One number for each head: 0.5, 0 and 1.75.",
        ("head mask not honoured", "head mask (H) taken as one number a layer", "head mask before the softmax"),
        inputs.head_mask,
    ),
    "head_mask_layers": (
        "base", "One number for each head of each layer, one of them negative, with padding.",
        ("head mask of the first layer used for all", "head mask taken as 0 or 1"), inputs.head_mask_layers,
    ),
    "inputs_embeds": (
        "base", "Embeddings are handed over, scaled already.", ("inputs_embeds scaled again",), inputs.inputs_embeds,
    ),
    "all_ids": (
        "base", "Every id, the first and the last too.",
        ("first id taken for <unk>", "last row of the embedding lacking", "ids off by one"), inputs.all_ids,
    ),
    "lm_loss": (
        "base", "The loss: labels differ from the ids, -100 is passed over, the shift is inside.",
        ("labels not shifted", "loss divided by all positions", "-100 counted as class 0", "ids used as labels"),
        inputs.lm_loss,
    ),
    "untied": (
        "untied", "The head is a matrix of its own.", ("head tied to the embedding",), inputs.one_text,
    ),
    "unscaled": (
        "unscaled", "scale_embedding is false.", ("embeddings scaled by sqrt(D) anyway",), inputs.one_text,
    ),
    "sequence_right_pad": (
        "sequence", "Texts classified at their last real token; one label each.",
        ("pooled at the last position", "pooled at the first position"), inputs.classes(RIGHT),
    ),
    "sequence_left_pad": (
        "sequence", "The same with padding on the left, where transformers 4.57 pools elsewhere.",
        ("pooled at the number of tokens - 1",), inputs.classes(LEFT),
    ),
    "sequence_pad_in_text": (
        "sequence", "The id of <pad> within the texts, where transformers 4.57 pools elsewhere.",
        ("pooled at the number of tokens - 1", "pooled before the first pad"), inputs.sequence_pad_in_text,
    ),
    "several_labels": (
        "sequence", "Labels of 0 and 1 for each class (floats): binary cross entropy.",
        ("loss summed over the classes", "softmax instead of a sigmoid for each class"), inputs.several_labels,
    ),
    "regression": (
        "regression", "One number for each text: the mean squared error.",
        ("absolute error instead of its square", "half of the square"), inputs.regression,
    ),
    "token_labels": (
        "token", "Tokens classified; the loss passes over -100 and over padding.",
        ("padding counted in the loss", "bias of the classifier left out"), inputs.token_labels,
    ),
}  # fmt: skip
