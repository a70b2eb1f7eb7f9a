"""The kit's cases: inputs that expose mistakes which ordinary inputs hide.

A probe is data. tests/golden/kit/test_probes.py plants every mistake that ``exposes`` lists and verifies that the
first array it changes differs by at least ten times the budgets of float64 and float32.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minibiogpt.golden.kit.models import FLAT_TOKENS, ID2LABEL, QUIET_POSITIONS, SIZES, draw_nonzero, round_to_bfloat16

Call = dict[str, np.ndarray]  # keyword arguments of a model call
D, H, L, N, V = (
    SIZES[key]
    for key in (
        "hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings", "vocab_size",
    )
)  # fmt: skip
PAD, FIRST_ORDINARY = 1, 4  # the id of <pad>, and the first id that is no special token
ROWS, T = 4, 6  # batch size and length of most cases: no other axis has these sizes


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


def probes(seed: int = 0) -> dict[str, Probe]:
    """Return {name: probe} of every probe, with inputs drawn from the seed.

    Examples
    --------
    >>> found = probes()
    >>> len(found) >= 20, found["right_pad"].calls[0]["attention_mask"].tolist()[0]
    (True, [1, 1, 1, 1, 0, 0])
    """
    found = {}
    for name, (model, about, exposes, make_calls) in _PROBES.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        calls = make_calls(rng)
        call_list = calls if isinstance(calls, list) else [calls]
        found[name] = Probe(name, model, call_list, about, exposes, ARRAYS.get(name))
    return found


# What is kept of cases with many positions, and of cases about the head only: other cases keep the rest.
_FEW = ("embed_tokens", "embeddings", "layers.0", "layers.1", "layer_norm", "logits")
ARRAYS = {"all_ids": ("position_ids", "embed_tokens", "layer_norm", "logits"), "lm_loss": (*_FEW, "loss")}
ARRAYS |= {name: (*_FEW, "score", "loss") for name in ("sequence_left_pad", "several_labels", "regression")}
ARRAYS |= {"sequence_pad_in_text": (*_FEW, "score"), "untied": _FEW, "unscaled": _FEW}
ARRAYS |= {"longest": ("position_ids", "embed_positions", *_FEW)}


def _ids(rng: np.random.Generator, rows: int = ROWS, length: int = T) -> np.ndarray:
    """Draw (rows, length) ordinary tokens, neither special nor flat."""
    return rng.choice(np.setdiff1d(np.arange(FIRST_ORDINARY, V), FLAT_TOKENS), (rows, length))


def _padded(rng: np.random.Generator, mask: list[list[int]]) -> Call:
    """Draw ordinary ids, with <pad> where the mask is 0."""
    real = np.array(mask)
    return {"input_ids": np.where(real == 1, _ids(rng, *real.shape), PAD), "attention_mask": real}


LEFT = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
RIGHT = [row[::-1] for row in LEFT]
HOLE = [[1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1], [0, 1, 1, 0, 0, 1]]
MIXED = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1]]
BLIND = [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]


def _ordinary(rng: np.random.Generator) -> Call:
    return {"input_ids": _ids(rng, 1, 13)}


def _nearly_constant(rng: np.random.Generator) -> Call:
    """Put the flat tokens at the quiet positions."""
    ids = _ids(rng, 1, QUIET_POSITIONS[-1] + 1)
    ids[0, list(QUIET_POSITIONS)] = FLAT_TOKENS
    return {"input_ids": ids}


def _equal_scores(rng: np.random.Generator) -> Call:
    """Repeat one token at one position: all keys are equal."""
    return {"input_ids": np.tile(_ids(rng, 1, 1), (1, T)), "position_ids": np.full((1, T), 3)}


def _repeated_token(rng: np.random.Generator) -> Call:
    return {"input_ids": np.tile(_ids(rng, 1, 1), (1, T))}


def _pad_id_in_text(rng: np.random.Generator) -> Call:
    ids = _ids(rng)
    ids[[0, 0, 1, 3], [2, 3, 0, 5]] = PAD
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _explicit_positions(rng: np.random.Generator) -> Call:
    positions = np.array([[0, N - 1, 5, 0, -1, 12, N - 2, 4, 3, 2, -1]])
    return {"input_ids": _ids(rng, *positions.shape), "position_ids": positions}


def _cache_steps(rng: np.random.Generator) -> list[Call]:
    ids = _ids(rng, ROWS, 12)
    return [{"input_ids": ids[:, a:b]} for a, b in ((0, 5), (5, 6), (6, 12))]


def _cache_left_pad(rng: np.random.Generator) -> list[Call]:
    call = _padded(rng, [[int(t >= pads) for t in range(12)] for pads in (2, 0, 4, 1)])
    ids, mask = call["input_ids"], call["attention_mask"]
    return [{"input_ids": ids[:, a:b], "attention_mask": mask[:, :b]} for a, b in ((0, 5), (5, 6), (6, 12))]


def _head_mask(rng: np.random.Generator) -> Call:
    return {"input_ids": _ids(rng, 1, T), "head_mask": np.array([0.5, 0.0, 1.75])}


def _head_mask_layers(rng: np.random.Generator) -> Call:
    return _padded(rng, MIXED) | {"head_mask": np.array([[0.25, 1.5, 0.0], [-0.5, 0.75, 1.25]])}


def _inputs_embeds(rng: np.random.Generator) -> Call:
    return {"inputs_embeds": round_to_bfloat16(draw_nonzero(rng, (1, T, D), 0.1, 1.9)).astype(np.float64)}


def _lm_loss(rng: np.random.Generator) -> Call:
    call = _padded(rng, RIGHT)
    labels = np.where(call["attention_mask"] == 1, _ids(rng), -100)
    labels[1, [0, 3]] = -100
    return call | {"labels": labels}


def _all_ids(rng: np.random.Generator) -> Call:
    """Arrange the 149 ids as 5 x 30, with one of them twice."""
    ids = np.append(np.arange(V), V - 1)
    return {"input_ids": rng.permutation(ids).reshape(5, 30)}


def _sequence(mask: list[list[int]]) -> Callable[[np.random.Generator], Call]:
    return lambda rng: _padded(rng, mask) | {"labels": rng.permutation(len(ID2LABEL))[:ROWS]}


def _sequence_pad_in_text(rng: np.random.Generator) -> Call:
    call = _padded(rng, RIGHT)
    call["input_ids"][[0, 1, 1], [1, 2, 3]] = PAD
    return call


def _regression(rng: np.random.Generator) -> Call:
    call = _padded(rng, RIGHT)
    return call | {"labels": round_to_bfloat16(draw_nonzero(rng, (ROWS,), 0.5, 3)).astype(np.float64)}


def _several_labels(rng: np.random.Generator) -> Call:
    labels = np.array([[1, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=np.float64)
    return _padded(rng, RIGHT) | {"labels": labels}


def _token_labels(rng: np.random.Generator) -> Call:
    """Label some real tokens -100, and padding with classes, which the mask excludes."""
    labels = rng.integers(0, len(ID2LABEL), (ROWS, T))
    labels[[0, 1, 2], [2, 4, 3]] = -100
    return _padded(rng, MIXED) | {"labels": labels}


MakeCalls = Callable[[np.random.Generator], Call | list[Call]]
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
        _ordinary,
    ),
    "nearly_constant": (
        "faint", "Three rows whose variance is about 1e-5, where the eps decides, at every norm: layers add little.",
        ("norm eps 1e-12, as the config says", "norm eps 1e-12 in final_layer_norm alone",
         "norm eps 1e-12 in the last norm alone", "eps added to the root, not under it"), _nearly_constant,
    ),
    "loud_future": (
        "loud", "The largest scores, about 20,000, stand at later positions, which are hidden.",
        ("hidden scores get -1e4 added", "softmax without taking the largest away"),
        lambda rng: {"input_ids": _ids(rng, 1, T)},
    ),
    "loud_left_pad": (
        "loud",
        "The largest scores stand at padding, whose rows see nothing (float16 shows what transformers adds there).",
        ("hidden scores get -1e4 added", "hidden scores get -1e9 added"), lambda rng: _padded(rng, LEFT),
    ),
    "equal_scores": (
        "base", "One token at one position again and again: all scores are equal, attention is uniform.",
        ("no causal mask", "future zeroed after the softmax", "position_ids not honoured"), _equal_scores,
    ),
    "repeated_token": (
        "base", "The same token throughout: only positions tell the rows apart.",
        ("positions left out", "positions multiplied by sqrt(D) too"), _repeated_token,
    ),
    "left_pad": (
        "base", "Padding on the left: positions start behind it, and its rows see nothing.",
        ("padding has positions", "padding not hidden", "embedding of the pad taken as 0"),
        lambda rng: _padded(rng, LEFT),
    ),
    "right_pad": (
        "base", "Padding on the right: its position is -1, row 1 of the table.",
        ("padding has positions", "padding not hidden"), lambda rng: _padded(rng, RIGHT),
    ),
    "hole_in_mask": (
        "base", "The mask has holes: neither a length nor a first position describes it.",
        ("mask taken as a number of real tokens", "padding has positions"), lambda rng: _padded(rng, HOLE),
    ),
    "nothing_visible": (
        "base", "One row is padding throughout; rows that see nothing are uniform over all S positions.",
        ("rows that see nothing are 0", "rows that see nothing are NaN", "rows that see nothing are uniform up to t"),
        lambda rng: _padded(rng, BLIND),
    ),
    "pad_id_in_text": (
        "base", "The id of <pad> occurs where the mask says 1: it is a token like any other.",
        ("mask made from the ids", "positions made from the ids"), _pad_id_in_text,
    ),
    "batch_rows": (
        "base", "Rows with masks of every kind in one batch.",
        ("mask of the first row used for all", "batch and time exchanged"), lambda rng: _padded(rng, MIXED),
    ),
    "one_token": (
        "base", "A single token in each row.",
        ("softmax over the heads, an axis of size 1 being dropped", "positions start at 1"),
        lambda rng: {"input_ids": _ids(rng, ROWS, 1)},
    ),
    "longest": (
        "base", "As many tokens as there are positions: the table is used to its last row.",
        ("position table cut at N rows",), lambda rng: {"input_ids": _ids(rng, 1, N)},
    ),
    "explicit_positions": (
        "base", "position_ids are given: 0, the last, -1, repeated, and falling.",
        ("position_ids not honoured", "position -1 taken as 0", "position -1 taken as the last"),
        _explicit_positions,
    ),
    "cache_steps": (
        "base", "Five tokens, then one, then six at once, on one cache.",
        ("positions start at 0 again in each call", "new tokens see those after them",
         "causal mask counts from the first key"), _cache_steps,
    ),
    "cache_left_pad": (
        "base", "The same with padding on the left: the mask covers past and new positions.",
        ("padding has positions", "mask of the past forgotten"), _cache_left_pad,
    ),
    "head_mask": (
        "base", "One number for each head: 0.5, 0 and 1.75.",
        ("head mask not honoured", "head mask (H) taken as one number a layer", "head mask before the softmax"),
        _head_mask,
    ),
    "head_mask_layers": (
        "base", "One number for each head of each layer, one of them negative, with padding.",
        ("head mask of the first layer used for all", "head mask taken as 0 or 1"), _head_mask_layers,
    ),
    "inputs_embeds": (
        "base", "Embeddings are handed over, scaled already.", ("inputs_embeds scaled again",), _inputs_embeds,
    ),
    "all_ids": (
        "base", "Every id, the first and the last too.",
        ("first id taken for <unk>", "last row of the embedding lacking", "ids off by one"), _all_ids,
    ),
    "lm_loss": (
        "base", "The loss: labels differ from the ids, -100 is passed over, the shift is inside.",
        ("labels not shifted", "loss divided by all positions", "-100 counted as class 0", "ids used as labels"),
        _lm_loss,
    ),
    "untied": (
        "untied", "The head is a matrix of its own.", ("head tied to the embedding",), _ordinary,
    ),
    "unscaled": (
        "unscaled", "scale_embedding is false.", ("embeddings scaled by sqrt(D) anyway",), _ordinary,
    ),
    "sequence_right_pad": (
        "sequence", "Texts classified at their last real token; one label each.",
        ("pooled at the last position", "pooled at the first position"), _sequence(RIGHT),
    ),
    "sequence_left_pad": (
        "sequence", "The same with padding on the left, where transformers 4.57 pools elsewhere.",
        ("pooled at the number of tokens - 1",), _sequence(LEFT),
    ),
    "sequence_pad_in_text": (
        "sequence", "The id of <pad> within the texts, where transformers 4.57 pools elsewhere.",
        ("pooled at the number of tokens - 1", "pooled before the first pad"), _sequence_pad_in_text,
    ),
    "several_labels": (
        "sequence", "Labels of 0 and 1 for each class (floats): binary cross entropy.",
        ("loss summed over the classes", "softmax instead of a sigmoid for each class"), _several_labels,
    ),
    "regression": (
        "regression", "One number for each text: the mean squared error.",
        ("absolute error instead of its square", "half of the square"), _regression,
    ),
    "token_labels": (
        "token", "Tokens classified; the loss passes over -100 and over padding.",
        ("padding counted in the loss", "bias of the classifier left out"), _token_labels,
    ),
}  # fmt: skip
