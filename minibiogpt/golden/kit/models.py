"""The kit's checkpoints: tiny, every size another one, every weight random, none of them 0 or 1.

Each number has at most 8 significant bits, so float32, bfloat16 and float16 hold it exactly: every precision starts
from the same model. What special inputs need is built in: positions and tokens that make a row nearly constant,
fc1 biases where the two forms of GELU differ most, in ``loud`` hidden scores that are large, and in ``faint`` layers
that add so little that a row nearly constant stays so up to the last norm.
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
from minibiogpt.golden.kit.tokens import VOCAB
from minibiogpt.heads import BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification
from minibiogpt.model.pretrained import Pretrained

SIZES: dict[str, Any] = {
    "vocab_size": len(VOCAB), "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 37, "max_position_embeddings": 31,
}  # fmt: skip
NAMES = {i: f"class {i}" for i in range(5)}
FLAT = (40, 83, 121)  # tokens whose embedding is the same number in each place
QUIET = (8, 9, 10)  # positions whose rows are of size 0.001: with a FLAT token, the variance is a tenth of eps
FLAT_SIZE, QUIET_SIZE = 0.0003, 0.001
LOUD = 0  # the column of loud's residual, and the row of its first head, that make the scores grow with the position
FAINT = 2.0**-9  # times this is what faint's layers add
LOUDEST = 5  # the position up to which they grow


@dataclass(frozen=True)
class Checkpoint:
    """One model of the kit: its class, what is special about its config, and a sentence."""

    kind: type[Pretrained]
    changes: dict[str, Any]
    about: str


CHECKPOINTS = {
    "base": Checkpoint(BioGptForCausalLM, {}, "a language model; its head is the token embedding"),
    "untied": Checkpoint(BioGptForCausalLM, {"tie_word_embeddings": False}, "its head is a matrix of its own"),
    "unscaled": Checkpoint(BioGptForCausalLM, {"scale_embedding": False}, "token embeddings are not scaled"),
    "loud": Checkpoint(
        BioGptForCausalLM, {}, "scores of about 20,000 in a head of layer 0, the largest of them hidden"
    ),
    "faint": Checkpoint(BioGptForCausalLM, {}, "its layers add little: rows nearly constant are so at every norm"),
    "sequence": Checkpoint(BioGptForSequenceClassification, {"id2label": NAMES}, "classifies texts, five classes"),
    "regression": Checkpoint(BioGptForSequenceClassification, {"num_labels": 1}, "one number for each text"),
    "token": Checkpoint(BioGptForTokenClassification, {"id2label": NAMES}, "classifies tokens, five classes"),
}


def make(name: str, seed: int = 0) -> Pretrained:
    """The checkpoint of that name, in float32, drawn from the seed.

    Examples
    --------
    >>> model = make("base")
    >>> model
    <BioGptForCausalLM L=2, D=21, H=3, F=37, V=149, N=31; 10,952 parameters, float32, numpy>
    >>> bool((model.biogpt.embed_tokens.weight[FLAT[0]] == model.biogpt.embed_tokens.weight[FLAT[0], 0]).all())
    True
    """
    checkpoint = CHECKPOINTS[name]
    config = BioGptConfig(**SIZES, **checkpoint.changes)
    weights = {}
    for tensor, shape in checkpoint.kind.shapes_of(config).items():
        rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{tensor}".encode())])
        weights[tensor] = _drawn(tensor, shape, rng)
    _make_quiet(weights)
    if name == "loud":
        _make_loud(weights)
    if name == "faint":
        weights |= {key: x * FAINT for key, x in weights.items() if ".out_proj." in key or ".fc2." in key}
    exact = {tensor: exactly(x) for tensor, x in weights.items()}
    return checkpoint.kind(config, exact, get_backend("numpy"))


def exactly(x: np.ndarray) -> np.ndarray:
    """x in float32, each number rounded to the nearest of bfloat16."""
    return widened(convert_dtype(np.asarray(x, np.float32), "F32", "BF16"), "BF16")


def signed(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Numbers of either sign, their size drawn evenly from [low, high): never 0."""
    return rng.choice((-1.0, 1.0), shape) * rng.uniform(low, high, shape)


def _drawn(tensor: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if tensor.endswith("layer_norm.weight"):
        return 1 + signed(rng, shape, 0.1, 0.5)
    if tensor.endswith("fc1.bias"):  # up to where erf and tanh GELU differ most: by 5e-4, at 2.7 and -2.7
        return signed(rng, shape, 1.7, 2.7)
    if tensor.endswith("fc1.weight"):  # small, so that the biases decide where the activation is looked at
        return signed(rng, shape, 0.02, 0.18)
    if tensor.endswith("bias") or tensor.startswith("embed_positions"):
        return signed(rng, shape, 0.1, 0.9)
    return signed(rng, shape, 0.2, 1.8) / math.sqrt(shape[-1])


def _make_quiet(weights: dict[str, np.ndarray]) -> None:
    """FLAT tokens and QUIET positions. The norm takes the mean away, so the tokens' own number cancels.

    It is small all the same: beside a large one, bfloat16 would round the position away.
    """
    tokens, positions = weights["embed_tokens.weight"], weights["embed_positions.weight"]
    for i, token in enumerate(FLAT):
        tokens[token] = FLAT_SIZE * (1 + i / 4)
    for position in QUIET:
        row = positions[position + POSITION_OFFSET]
        positions[position + POSITION_OFFSET] = row * (QUIET_SIZE / np.abs(row).mean())


def _make_loud(weights: dict[str, np.ndarray]) -> None:
    """Let the scores of the first head of the first layer grow with the key's position, and be largest for pads.

    Every query holds about the same number in one place, and the keys hold there what the residual's column LOUD says
    of the position, many times enlarged: so each query prefers itself among what it may see, and each hidden key to
    itself. Products stay below 65,504 even before they are divided by sqrt(Dh): float16 holds them. Were it the bias
    of the queries that is large, it alone would decide how their sums round, and orders of sums would not show it.
    """
    tokens, positions = weights["embed_tokens.weight"], weights["embed_positions.weight"]
    tokens *= 0.3
    positions *= 0.5
    tokens[:, LOUD] *= 0.1
    places = np.arange(len(positions)) - POSITION_OFFSET
    ramp = np.where(places > LOUDEST, 3 + 0.03 * (places - LOUDEST), -3 + 6 * places / LOUDEST)
    positions[:, LOUD] = np.where(places < 0, 4.0, ramp)
    path = "layers.0.self_attn"
    weights[f"{path}_layer_norm.weight"][LOUD], weights[f"{path}_layer_norm.bias"][LOUD] = 1.25, 0.125
    weights[f"{path}.q_proj.bias"][LOUD] = 15.0
    weights[f"{path}.k_proj.weight"][LOUD, LOUD] = 640.0
