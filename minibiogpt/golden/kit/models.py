"""The kit's checkpoints: tiny, with sizes that all differ and random weights that are never 0 or 1.

Each weight has at most 8 significant bits, so float32, bfloat16 and float16 represent it exactly: every precision
starts from the same model. The weights also contain what special inputs need: tokens and positions that together make
a row nearly constant; fc1 biases where the two forms of GELU differ most; in ``loud``, masked scores that are large; in
``faint``, layers that add so little that a nearly constant row stays nearly constant up to the last norm; in
``spread``, fc1 biases from -8 to 8. The sizes follow from the limits of a port.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from minibiogpt.backend import get_backend
from minibiogpt.config import POSITION_OFFSET, BioGptConfig
from minibiogpt.files.safetensors import convert_dtype, widened
from minibiogpt.golden.kit.limits import DEFAULT_SIZES, Sizes
from minibiogpt.heads import BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification
from minibiogpt.model.pretrained import Pretrained

ID2LABEL = {i: f"class {i}" for i in range(5)}
FLAT_TOKENS = (40, 83, 121)  # their embedding vectors are constant
QUIET_POSITIONS = (8, 9, 10)  # their rows are about 0.001: with a flat token, the variance is a tenth of eps
FLAT_SIZE, QUIET_SIZE = 0.0003, 0.001
LOUD_COLUMN = 0  # residual column, and row of the first head, that make the scores of ``loud`` grow with the position
LOUDEST_POSITION = 5  # where they stop growing steeply
LOUD_GAIN = 640.0  # of the keys, for the default head width
SPREAD = (-8.1, 8.3)  # the ends of the fc1 biases of ``spread``, which contain neither 0 nor 1
FAINT_SCALE = 2.0**-9  # factor on what the layers of ``faint`` add


@dataclass(frozen=True)
class Checkpoint:
    """One model of the kit: its class, its changes to the config, and one sentence about it."""

    model_class: type[Pretrained]
    changes: dict[str, Any]
    about: str


CHECKPOINTS = {
    "base": Checkpoint(BioGptForCausalLM, {}, "a language model; its head is the token embedding"),
    "untied": Checkpoint(BioGptForCausalLM, {"tie_word_embeddings": False}, "its head is a matrix of its own"),
    "unscaled": Checkpoint(BioGptForCausalLM, {"scale_embedding": False}, "token embeddings are not scaled"),
    "loud": Checkpoint(
        BioGptForCausalLM, {}, "scores of about 20,000 in one head of layer 0, the largest of them masked"
    ),
    "faint": Checkpoint(
        BioGptForCausalLM, {}, "its layers add little, so nearly constant rows stay nearly constant at every norm"
    ),
    "spread": Checkpoint(
        BioGptForCausalLM, {}, "its fc1 units work near values from -8 to 8, beyond which erf is 1 in every precision"
    ),
    "sequence": Checkpoint(BioGptForSequenceClassification, {"id2label": ID2LABEL}, "classifies texts, five classes"),
    "regression": Checkpoint(BioGptForSequenceClassification, {"num_labels": 1}, "predicts one number per text"),
    "token": Checkpoint(BioGptForTokenClassification, {"id2label": ID2LABEL}, "classifies tokens, five classes"),
}


def make_model(name: str, seed: int = 0, sizes: Sizes = DEFAULT_SIZES) -> Pretrained:
    """Return the checkpoint of that name in float32, with weights drawn from the seed.

    Examples
    --------
    >>> model = make_model("base")
    >>> model
    <BioGptForCausalLM L=2, D=21, H=3, F=37, V=149, N=31; 10,952 parameters, float32, numpy>
    >>> row = model.biogpt.embed_tokens.weight[FLAT_TOKENS[0]]
    >>> bool((row == row[0]).all())
    True
    """
    checkpoint = CHECKPOINTS[name]
    config = BioGptConfig(**sizes.config, **checkpoint.changes)
    weights = {}
    for tensor, shape in checkpoint.model_class.shapes_of(config).items():
        rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{tensor}".encode())])
        weights[tensor] = _drawn(tensor, shape, rng)
    _make_quiet(weights)
    if name == "loud":
        _make_loud(weights, sizes.letters["Dh"])
    if name == "spread":
        _spread(weights, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    if name == "faint":
        weights |= {key: x * FAINT_SCALE for key, x in weights.items() if ".out_proj." in key or ".fc2." in key}
    exact = {tensor: _exact(x) for tensor, x in weights.items()}
    return checkpoint.model_class(config, exact, get_backend("numpy"))


def _exact(x: np.ndarray) -> np.ndarray:
    """Return x rounded to a value that bfloat16 and float16 both represent: the smallest lose bits in float16."""
    return round_to_bfloat16(x).astype(np.float16).astype(np.float32)


def round_to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Return x rounded to bfloat16, as a float32 array."""
    return widened(convert_dtype(np.asarray(x, np.float32), "F32", "BF16"), "BF16")


def draw_nonzero(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Draw values with absolute values uniform in [low, high) and random signs."""
    return rng.choice((-1.0, 1.0), shape) * rng.uniform(low, high, shape)


def _drawn(tensor: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if tensor.endswith("layer_norm.weight"):
        return 1 + draw_nonzero(rng, shape, 0.1, 0.5)
    if tensor.endswith("fc1.bias"):  # up to 2.7 and -2.7, where erf and tanh GELU differ most, by 5e-4
        return draw_nonzero(rng, shape, 1.7, 2.7)
    if tensor.endswith("fc1.weight"):  # small, so that the biases decide where the activation is evaluated
        return draw_nonzero(rng, shape, 0.02, 0.18) * math.sqrt(DEFAULT_SIZES.D / shape[-1])
    if tensor.endswith("bias") or tensor.startswith("embed_positions"):
        return draw_nonzero(rng, shape, 0.1, 0.9)
    return draw_nonzero(rng, shape, 0.2, 1.8) / math.sqrt(shape[-1])


def _make_quiet(weights: dict[str, np.ndarray]) -> None:
    """Set the embeddings of the flat tokens and the quiet positions.

    The norm subtracts the mean, so a flat token's constant cancels. It must be small anyway: added to a large constant,
    the position would be rounded away in bfloat16.
    """
    tokens, positions = weights["embed_tokens.weight"], weights["embed_positions.weight"]
    for i, token in enumerate(FLAT_TOKENS):
        tokens[token] = FLAT_SIZE * (1 + i / 4)
    for position in QUIET_POSITIONS:
        row = positions[position + POSITION_OFFSET]
        positions[position + POSITION_OFFSET] = row * (QUIET_SIZE / np.abs(row).mean())


def _spread(weights: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Set the fc1 biases to values from the whole range of erf, one for each unit, in random order."""
    for name, x in weights.items():
        if name.endswith("fc1.bias"):
            weights[name] = rng.permutation(np.linspace(*SPREAD, len(x)))


def _make_loud(weights: dict[str, np.ndarray], head_width: int) -> None:
    """Make the scores of the first head of the first layer grow with the key's position, and be largest for padding.

    In one column, every query has about the same value, and every key has the position encoded in the residual's
    LOUD_COLUMN, greatly amplified. So each query scores itself highest among its visible keys, and every masked key
    higher still. The products stay below 65,504 even before the division by sqrt(Dh), so float16 can represent them.
    The large factor is in the keys' weight, not in the queries' bias: a large bias alone would decide how the query
    sums round, and reordering the sums would not show the rounding noise. With wider heads the factor is larger, so
    that the scores are as large; then float16 can represent the scores, but not the products.
    """
    tokens, positions = weights["embed_tokens.weight"], weights["embed_positions.weight"]
    tokens *= 0.3
    positions *= 0.5
    tokens[:, LOUD_COLUMN] *= 0.1
    p = np.arange(len(positions)) - POSITION_OFFSET
    ramp = np.where(p > LOUDEST_POSITION, 3 + 0.03 * (p - LOUDEST_POSITION), -3 + 6 * p / LOUDEST_POSITION)
    positions[:, LOUD_COLUMN] = np.where(p < 0, 4.0, ramp)
    path = "layers.0.self_attn"
    weights[f"{path}_layer_norm.weight"][LOUD_COLUMN], weights[f"{path}_layer_norm.bias"][LOUD_COLUMN] = 1.25, 0.125
    weights[f"{path}.q_proj.bias"][LOUD_COLUMN] = 15.0
    widening = max(1.0, head_width / DEFAULT_SIZES.letters["Dh"])
    weights[f"{path}.k_proj.weight"][LOUD_COLUMN, LOUD_COLUMN] = LOUD_GAIN * math.sqrt(widening)
