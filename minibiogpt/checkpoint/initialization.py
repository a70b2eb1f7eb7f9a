"""Untrained weights, drawn as transformers draws them."""

from __future__ import annotations

import numpy as np

from minibiogpt.backend import Array, Backend, get_backend
from minibiogpt.catalog.parameters import EMBEDDING, Shapes
from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig


def random_weights(
    config: BioGptConfig, shapes: Shapes, seed: int | None, backend: str | Backend, dtype: str
) -> dict[str, Array]:
    """Return untrained weights: N(0, initializer_range) for matrices, 0 for biases, 1 for the norms' weights.

    The row of the padding token in ``embed_tokens`` is 0.

    Parameters
    ----------
    seed : an integer, 0 or more; None: different weights each time. The numbers are not those that PyTorch draws.

    Source: _init_weights of PreTrainedModel in transformers 4.57.

    Examples
    --------
    >>> config = BioGptConfig(pad_token_id=1)
    >>> weights = random_weights(config, {"embed_tokens.weight": (3, 2), "fc1.bias": (2,)}, 0, "numpy", "float32")
    >>> weights["embed_tokens.weight"][1].tolist(), weights["fc1.bias"].tolist()
    ([0.0, 0.0], [0.0, 0.0])
    """
    backend = get_backend(backend)
    dtype = str(backend.dtype(dtype))
    rng = np.random.default_rng(None if seed is None else checked_integer("seed", seed, 0))

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) != 2:
            return np.full(shape, 0 if name.endswith("bias") else 1, dtype=dtype)
        drawn = rng.standard_normal(shape, dtype=np.float32)
        drawn *= config.initializer_range
        if name == EMBEDDING and config.pad_token_id is not None:
            drawn[config.pad_token_id] = 0
        return drawn.astype(dtype, copy=False)

    with backend.memory_errors():
        return {name: backend.asarray(draw(name, shape)) for name, shape in shapes.items()}
