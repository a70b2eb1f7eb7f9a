"""A small model with each head, with random weights that keep every array away from zero, and inputs for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import minibiogpt
from minibiogpt import BioGptConfig, Trace
from tests.support.configs import PRIMES

HEADS = ("CausalLM", "SequenceClassification", "TokenClassification")
L, H, D, DH, F, V, N, CLASSES = 2, 3, 21, 7, 37, 67, 31, 5
INSIDE = [*"qkv", "scores", "scores_masked", "probs", "weights", "context", "out_proj"]
LAYER = [
    "self_attn_layer_norm", *(f"self_attn.{x}" for x in ("q_proj", "k_proj", "v_proj", *INSIDE)), "attn_residual",
    "final_layer_norm", "fc1", "activation_fn", "fc2",
]  # fmt: skip
EMBEDDINGS = ["position_ids", "embed_tokens", "embed_positions", "embeddings"]
LAYERS = [name for layer in range(L) for name in (*(f"layers.{layer}.{part}" for part in LAYER), f"layers.{layer}")]
NAMES = {
    "CausalLM": [*EMBEDDINGS, *LAYERS, "layer_norm", "logits", "loss"],
    "SequenceClassification": [*EMBEDDINGS, *LAYERS, "layer_norm", "score", "logits", "loss"],
    "TokenClassification": [*EMBEDDINGS, *LAYERS, "layer_norm", "logits", "loss"],
}


@cache
def model(head: str = "CausalLM", attention: str = "eager", dtype: str = "float64") -> Any:
    config = BioGptConfig(**PRIMES, num_labels=CLASSES, initializer_range=0.3)
    instance = getattr(minibiogpt, f"BioGptFor{head}").from_config(
        config, seed=2, dtype=dtype, attn_implementation=attention
    )
    rng = np.random.default_rng(3)
    for name, x in instance.named_parameters():
        if name.endswith("layer_norm.weight"):
            x[...] = 1 + 0.2 * rng.normal(size=x.shape)
        if name.endswith("bias"):
            x[...] = 0.3 * rng.normal(size=x.shape)
    return instance


def ids(seed: int = 0, rows: int = 2, length: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, V, (rows, length))


def labels(head: str, tokens: np.ndarray) -> np.ndarray:
    return {"CausalLM": tokens, "SequenceClassification": tokens[:, 0] % CLASSES}.get(head, tokens % CLASSES)


def left_mask(rows: int = 2, length: int = 5) -> np.ndarray:
    """Return an attention mask with two padding positions on the left of the first row."""
    mask = np.ones((rows, length), dtype=np.int64)
    mask[0, :2] = 0
    return mask


def traced(model: Any, *args: Any, names: Any = None, **options: Any) -> Trace:
    trace = Trace(names)
    model(*args, trace=trace, **options)
    return trace


def situations(head: str) -> dict[str, dict[str, Any]]:
    """Return keyword arguments for different calls: with labels, left padding, a cache, a padded cache, and so on."""
    tokens, mask = ids(), left_mask()
    past = model()(tokens[:, :3]).past_key_values
    padded = model()(tokens[:, :3], mask[:, :3]).past_key_values
    return {
        "plain": {"input_ids": tokens},
        "labels": {"input_ids": tokens, "labels": labels(head, tokens)},
        "left padding": {"input_ids": tokens, "attention_mask": mask},
        "cache": {"input_ids": tokens[:, 3:], "past_key_values": past},
        "padded cache": {"input_ids": tokens[:, 3:], "past_key_values": padded, "attention_mask": mask},
        "embeddings": {"inputs_embeds": np.random.default_rng(5).normal(size=(2, 5, D))},
        "one token": {"input_ids": tokens[:1, :1]},
    }


def same(got: Any, want: Any) -> None:
    """Assert the same names in the same order, with every array exactly equal, including its dtype."""
    assert list(got) == list(want)
    assert len(want) > 0, "nothing was compared"
    for name in want:
        assert got[name].dtype == want[name].dtype, name
        assert np.array_equal(got[name], want[name]), name
