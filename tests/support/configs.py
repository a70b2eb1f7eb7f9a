"""Configs of small models for the parity tests. Sizes are distinct primes where possible."""

from __future__ import annotations

from typing import Any

# D = H Dh cannot be prime unless H is 1, but H and Dh are.
PRIMES = {
    "vocab_size": 67, "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37,
    "max_position_embeddings": 31,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "gelu": PRIMES,
    "gelu_new": PRIMES | {"hidden_act": "gelu_new", "hidden_size": 35, "num_attention_heads": 7},
    "relu": PRIMES | {"hidden_act": "relu", "num_hidden_layers": 3, "vocab_size": 71},
    "selu": PRIMES | {"hidden_act": "selu", "intermediate_size": 41},
    "unscaled": PRIMES | {"scale_embedding": False, "hidden_size": 33, "num_attention_heads": 3},
    "untied": PRIMES | {"tie_word_embeddings": False, "vocab_size": 73},
    "one head, one layer": PRIMES | {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 23},
}

# The classification heads have five classes, a size that no other axis has.
HEADS: dict[str, dict[str, Any]] = {
    "SequenceClassification": PRIMES | {"id2label": {i: f"class {i}" for i in range(5)}},
    "TokenClassification": PRIMES | {"id2label": {i: f"class {i}" for i in range(5)}, "hidden_act": "relu"},
}
