"""The models to measure: the demo, a folder, or random weights, which are generated once and kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt import BioGptConfig
from minibiogpt.catalog.parameters import base_shapes
from minibiogpt.errors import InputError
from minibiogpt.files.hub import find_model
from minibiogpt.files.safetensors import TensorToWrite, stored_tensors, write_tensors
from minibiogpt.files.writing import atomic_folder

DEMO = "demo"
LARGE: dict[str, Any] = {
    "vocab_size": 57717, "hidden_size": 1600, "num_hidden_layers": 48, "num_attention_heads": 25,
    "intermediate_size": 6400, "max_position_embeddings": 2048,
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {"base": {}, "large": LARGE}
LONG_POSITIONS = 2200  # positions of the small model that generates 2,000 tokens in one call
BLOCK = 1 << 22  # random numbers generated at a time


def default_cache() -> Path:
    """Return the folder of random models: minibiogpt/bench in $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minibiogpt" / "bench"


def chosen_model(model: str | None, size: str, cache: Path) -> Path:
    """Return the folder of the model that --model or --size selects.

    Raises
    ------
    InputError
        If --model is not a model, or the cache contains a different model.
    """
    if model is None:
        return find_model(DEMO) if size == DEMO else kept_model(size, BioGptConfig(**SIZES[size]), cache)
    folder = find_model(model)
    if not (folder / "config.json").is_file():
        raise InputError("--model must be demo, a folder with config.json, or a hub id", str(folder), "check the path")
    return folder


def long_model(cache: Path) -> Path:
    """Return the folder of random weights with the sizes of the demo and positions for 2,000 new tokens."""
    sizes = vars(BioGptConfig.from_pretrained(find_model(DEMO)))
    kept = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    config = BioGptConfig(**{name: sizes[name] for name in kept}, max_position_embeddings=LONG_POSITIONS)
    return kept_model("long", config, cache)


def kept_model(name: str, config: BioGptConfig, cache: Path) -> Path:
    """Return the folder cache/name with random weights, generating them (in a temporary folder) if it does not exist.

    Raises
    ------
    InputError
        If the folder contains a different model. It may belong to the user, so nothing is removed.
    """
    folder = cache / name
    if folder.is_dir() and any(folder.iterdir()):
        if not _matches(folder, config):
            must = f"{folder} must contain the random model that bench generates"
            raise InputError(must, "another config, or other tensors", "remove the folder, or choose another --cache")
        return folder
    print(f"bench: generating random weights of size {name}, kept in {folder}", file=sys.stderr)
    with atomic_folder(folder) as temporary:
        make_model(temporary, config)
    return folder


def _matches(folder: Path, config: BioGptConfig) -> bool:
    """Return whether the config, tensor names, dtypes and shapes in a folder are those that would be written."""
    try:
        found = {name: (t.dtype, t.shape) for name, t in stored_tensors(folder).items()}
        same = _sizes(BioGptConfig.from_pretrained(folder)) == _sizes(config)
    except InputError:
        return False
    return same and found == {name: (t.dtype, t.shape) for name, t in random_tensors(config).items()}


def _sizes(config: BioGptConfig) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if name not in ("extra", "name_or_path")}


def make_model(folder: Path, config: BioGptConfig) -> None:
    """Write config.json and random float32 weights, with at most one block in memory."""
    write_tensors(folder / "model.safetensors", random_tensors(config))
    config.save_pretrained(folder)


def random_tensors(config: BioGptConfig) -> dict[str, TensorToWrite]:
    """Return the tensors to write: normal numbers with the config's initializer_range, plus 1 for norm weights."""
    rng = np.random.default_rng(0)

    def blocks(shape: tuple[int, ...], norm: bool) -> Callable[[], Iterator[np.ndarray]]:
        def draw() -> Iterator[np.ndarray]:
            left = int(np.prod(shape))
            while left:
                count = min(left, BLOCK)
                noise = rng.standard_normal(count, dtype=np.float32) * np.float32(config.initializer_range)
                yield noise + np.float32(1) if norm else noise
                left -= count

        return draw

    return {
        f"biogpt.{name}": TensorToWrite("F32", shape, blocks(shape, name.endswith("norm.weight")))
        for name, shape in base_shapes(config).items()
    }
