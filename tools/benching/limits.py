"""Lower bounds on time (roofline): bytes that must be read, operations that must be done, and the slower of the two.

A multiplication and an addition are two operations. Letters as in BioGptConfig: T new positions after ``past`` cached
ones; ``logits`` is the number of positions whose logits are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from minibiogpt import BioGptConfig

WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes per element


@dataclass(frozen=True)
class Work:
    """Bytes that must be read from memory, and operations.

    Examples
    --------
    >>> Work(100, 8) + Work(20, 1)
    Work(bytes=120, operations=9)
    """

    bytes: float
    operations: float

    def __add__(self, other: Work) -> Work:
        return Work(self.bytes + other.bytes, self.operations + other.operations)

    def limit(self, rates: Rates) -> float:
        """Seconds: max(bytes / bandwidth, operations / rate).

        Examples
        --------
        >>> Work(100, 8).limit(Rates(bandwidth=50, operations=2))
        4.0
        """
        return max(self.bytes / rates.bandwidth, self.operations / rates.operations)


@dataclass(frozen=True)
class Rates:
    """Measured rates: bytes read per second, operations per second."""

    bandwidth: float
    operations: float


def matrix_weights(config: BioGptConfig) -> int:
    """Number of elements in the weight matrices of all layers: L (4 D D + 2 D F)."""
    D, F = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (4 * D * D + 2 * D * F)


def layer_weights(config: BioGptConfig) -> int:
    """Number of parameters of all layers: the matrices, and L (9 D + F) in biases and norms."""
    D, F = config.hidden_size, config.intermediate_size
    return matrix_weights(config) + config.num_hidden_layers * (9 * D + F)


def head_weights(config: BioGptConfig) -> int:
    """Number of elements in the head: V D."""
    return config.vocab_size * config.hidden_size


def seen_positions(T: int, past: int = 0) -> int:
    """Total number of positions that T new ones attend to, each to itself and all before it: T past + T (T + 1) / 2.

    Examples
    --------
    >>> seen_positions(3), seen_positions(1, 9)
    (6, 10)
    """
    return T * past + T * (T + 1) // 2


def operations(config: BioGptConfig, T: int, past: int = 0, logits: int = 1, rows: int = 1) -> int:
    """Operations of ``rows`` rows: 2 weights T, 4 D L per attended position (scores and context), and 2 V D logits."""
    attention = 4 * config.hidden_size * config.num_hidden_layers * seen_positions(T, past)
    return rows * (2 * matrix_weights(config) * T + attention + 2 * head_weights(config) * logits)


def bytes_read(config: BioGptConfig, past: int = 0, logits: int = 1, rows: int = 1, width: int = 4) -> int:
    """Bytes read: ``width`` times (all layer parameters, the head if there are logits, and the cache, 2 L D past rows).

    The embedding rows are small and left out. Activations are also left out, because they could stay in the CPU caches.
    Beams count as rows, though they share the prompt.
    """
    weights = layer_weights(config) + (head_weights(config) if logits else 0)
    return width * weights + cache_bytes(config, past, rows, width)


def cache_bytes(config: BioGptConfig, positions: int, rows: int = 1, width: int = 4) -> int:
    """Bytes of keys and values of all layers: 2 L D elements per position."""
    return width * 2 * config.num_hidden_layers * config.hidden_size * positions * rows


def forward(config: BioGptConfig, T: int, past: int = 0, logits: int = 1, rows: int = 1, width: int = 4) -> Work:
    """Work of one forward pass."""
    return Work(bytes_read(config, past, logits, rows, width), operations(config, T, past, logits, rows))


def mean_step(config: BioGptConfig, T: int, new: int, rows: int = 1, width: int = 4) -> Work:
    """Mean work of the steps from the second new token to the last: one position after T to T + new - 2 cached ones.

    Examples
    --------
    >>> config = BioGptConfig()
    >>> mean_step(config, 10, 2) == forward(config, 1, past=10)
    True
    """
    steps = [forward(config, 1, past, rows=rows, width=width) for past in range(T, T + new - 1)]
    whole = sum(steps, Work(0, 0))
    return Work(whole.bytes / len(steps), whole.operations / len(steps))


def scoring(config: BioGptConfig, lengths: list[int], batches: list[list[int]], width: int = 4) -> Work:
    """Work to score rows of these lengths: weights are read once per batch; logits of all tokens except the last."""
    total = sum(operations(config, n, logits=n - 1) for n in lengths)
    return Work(bytes_read(config, width=width) * len(batches), total)


def all_weights(config: BioGptConfig) -> int:
    """Number of parameters: layers, embeddings, the last norm, and the head if the config unties it."""
    embeddings = head_weights(config) + (config.max_position_embeddings + 2) * config.hidden_size
    head = 0 if config.tie_word_embeddings else head_weights(config)
    return layer_weights(config) + embeddings + 2 * config.hidden_size + head


def least_memory(config: BioGptConfig, T: int, width: int = 4, positions: int | None = None) -> int:
    """Bytes of the weights, a full cache, the arrays of one layer that exist at once, and the logits of one position.

    Cache: 2 L D N, where N is ``positions`` or all. One layer over T positions: input, normalized input, query, key,
    value, context, output (7 T D), fc1 before and after the activation (2 T F). Logits: V.
    """
    D, F, N = config.hidden_size, config.intermediate_size, positions or config.max_position_embeddings
    layer = 7 * T * D + 2 * T * F
    return cache_bytes(config, N, width=width) + width * (all_weights(config) + layer + config.vocab_size)
