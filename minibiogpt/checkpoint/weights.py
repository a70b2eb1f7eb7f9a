"""Weights in and out: the table of names, one report of all that is wrong, loading and saving."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.backend import Array, Backend, get_backend
from minibiogpt.config import POSITION_OFFSET, BioGptConfig
from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.files.hub import find_model
from minibiogpt.files.reading import write_beside
from minibiogpt.files.safetensors import FLOATS, StoredTensor, stored_tensors

Shapes = dict[str, tuple[int, ...]]

HEAD, EMBEDDING = "output_projection.weight", "embed_tokens.weight"
BLOCK = 1 << 22  # numbers looked at in one go, so that no check doubles the memory


def base_shapes(config: BioGptConfig) -> Shapes:
    """{name: shape} of every tensor of the base model, names less the leading ``biogpt.``."""
    D, F = config.hidden_size, config.intermediate_size
    norm: Shapes = {"weight": (D,), "bias": (D,)}
    square: Shapes = {"weight": (D, D), "bias": (D,)}
    parts = {f"self_attn.{name}_proj": square for name in ("k", "v", "q", "out")}
    parts |= {"self_attn_layer_norm": norm, "final_layer_norm": norm}
    parts |= {"fc1": {"weight": (F, D), "bias": (F,)}, "fc2": {"weight": (D, F), "bias": (D,)}}
    shapes: Shapes = {
        EMBEDDING: (config.vocab_size, D),
        "embed_positions.weight": (config.max_position_embeddings + POSITION_OFFSET, D),
    }
    for layer in range(config.num_hidden_layers):
        shapes |= {f"layers.{layer}.{part}.{name}": s for part, pair in parts.items() for name, s in pair.items()}
    return shapes | {f"layer_norm.{name}": s for name, s in norm.items()}


def causal_lm_shapes(config: BioGptConfig) -> Shapes:
    """The same with the language-modelling head, when it is not the embedding itself."""
    head = {} if config.tie_word_embeddings else {HEAD: (config.vocab_size, config.hidden_size)}
    return base_shapes(config) | head


def sequence_classification_shapes(config: BioGptConfig) -> Shapes:
    """The base model's, and one row of ``score`` for each class."""
    return base_shapes(config) | {"score.weight": (config.num_labels, config.hidden_size)}


def token_classification_shapes(config: BioGptConfig) -> Shapes:
    """The base model's, and one row and one bias of ``classifier`` for each class."""
    head: Shapes = {"weight": (config.num_labels, config.hidden_size), "bias": (config.num_labels,)}
    return base_shapes(config) | {f"classifier.{name}": shape for name, shape in head.items()}


def stored_shapes(config: BioGptConfig, names: Collection[str]) -> Shapes:
    """{name: shape} of the model whose head is among ``names``: a classifier's, or else the language model's."""
    short = {name.removeprefix("biogpt.") for name in names}
    heads = {"score.weight": sequence_classification_shapes, "classifier.weight": token_classification_shapes}
    found = [shapes_of for name, shapes_of in heads.items() if name in short]
    return found[0](config) if found else causal_lm_shapes(config)


def _by_model_name(stored: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Names less the leading ``biogpt.``, which some files have and some lack; the two must not meet."""
    short = {name.removeprefix("biogpt."): tensor for name, tensor in stored.items()}
    if len(short) < len(stored):
        twice = sorted(name for name in stored if f"biogpt.{name}" in stored)
        must = "a tensor must be stored under one name, with or without 'biogpt.'"
        raise CheckpointError(must, f"both for {', '.join(twice)}", "remove one of the two")
    return short


def _settle_head(tensors: dict[str, StoredTensor], shapes: Shapes, tied: bool) -> None:
    """A tied head is the embedding: a copy of it is passed over, a different one too, with a warning."""
    if HEAD in shapes or HEAD not in tensors:
        return
    head = tensors.pop(HEAD)
    if EMBEDDING not in tensors:
        if tied:
            tensors[EMBEDDING] = head
        return
    if tied and not _equal(head, tensors[EMBEDDING]):
        warnings.warn(
            "the config ties the head to the token embedding, but the file holds a different output_projection: "
            "it is not used; set tie_word_embeddings to false in config.json to use it",
            stacklevel=5,
        )


def _equal(a: StoredTensor, b: StoredTensor) -> bool:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    x, y = a.mapped().reshape(-1), b.mapped().reshape(-1)
    return all(np.array_equal(x[i : i + BLOCK], y[i : i + BLOCK]) for i in range(0, x.size, BLOCK))


def _report(folder: Path, tensors: dict[str, StoredTensor], shapes: Shapes) -> None:
    """One error for all that is missing or misshapen; a warning when there is merely more than is needed."""
    missing = [name for name in shapes if name not in tensors]
    unexpected = sorted(name for name in tensors if name not in shapes)
    common = [(name, tensors[name]) for name in shapes if name in tensors]
    misshapen = [f"{name} {t.shape}, not {shapes[name]}" for name, t in common if t.shape != shapes[name]]
    misshapen += [f"{name} of dtype {t.dtype}" for name, t in common if t.dtype not in FLOATS]
    lists = {"missing": missing, "misshapen": misshapen, "unexpected": unexpected}
    told = "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in lists.items() if names)
    if missing or misshapen:
        must = f"{folder} must hold every tensor that its config.json asks for, {len(shapes)} in all"
        raise CheckpointError(must, told, "check that config.json and the weights belong together")
    if unexpected:
        warnings.warn(f"{folder}: passed over {told}", stacklevel=5)


def load_weights(
    name: str | os.PathLike[str],
    shapes_of: Callable[[BioGptConfig], Shapes],
    backend: str | Backend,
    dtype: str,
    *,
    head: Collection[str] = (),
    seed: int | None = None,
    **changes: Any,
) -> tuple[BioGptConfig, dict[str, Array]]:
    """The config and the weights of a model that is called "demo", or is a folder, or a hub id.

    Tensors come one by one, so that no more than one is held twice. They must all be finite.

    Parameters
    ----------
    head : the tensors that a checkpoint of the base model lacks; they are then drawn from ``seed``, with a warning.
        None: that is an error.
    changes : fields of the config that shall be other than in the file.
    """
    backend = get_backend(backend)
    dtype = str(backend.dtype(dtype))
    folder = find_model(name)
    config = BioGptConfig.from_pretrained(folder).changed(**changes)
    shapes = shapes_of(config)
    tensors = _by_model_name(stored_tensors(folder))
    _settle_head(tensors, shapes, config.tie_word_embeddings)
    absent = bool(head) and not any(key in tensors for key in head)
    if absent and seed is None:
        must = f"{folder} must hold the head that is asked for, {', '.join(head)}"
        raise CheckpointError(must, "another head, or none", "choose a model that was trained for it")
    new = {key: shapes.pop(key) for key in head} if absent else {}
    _report(folder, tensors, shapes)
    weights = _read(folder, tensors, shapes, backend, dtype)
    if new and seed is not None:
        drawn = f"drawn from N(0, {config.initializer_range}) with seed {seed}"
        warnings.warn(f"{folder} has no {', '.join(new)}: new, {drawn}; train the head before use", stacklevel=4)
        weights |= random_weights(config, new, seed, backend, dtype)
    return config, weights


def _read(
    folder: Path, tensors: dict[str, StoredTensor], shapes: Shapes, backend: Backend, dtype: str
) -> dict[str, Array]:
    weights, spoilt = {}, []
    for name, host in backend.rooms(shapes, dtype):
        tensors[name].read_into(host)
        if not _finite(host):
            spoilt.append(name)
        with backend.memory():
            weights[name] = backend.asarray(host)
    if spoilt:
        must = f"every weight in {folder} must be a finite number in {dtype}"
        raise CheckpointError(must, f"NaN or infinity in {', '.join(spoilt)}", "fetch the file again")
    return weights


def _finite(x: np.ndarray) -> bool:
    flat = x.reshape(-1)
    return all(bool(np.isfinite(flat[i : i + BLOCK]).all()) for i in range(0, flat.size, BLOCK))


def random_weights(
    config: BioGptConfig, shapes: Shapes, seed: int, backend: str | Backend, dtype: str
) -> dict[str, Array]:
    """Untrained weights: N(0, initializer_range) for matrices, 0 for biases, 1 for the norms' gains."""
    backend = get_backend(backend)
    dtype = str(backend.dtype(dtype))
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 2:
            drawn = rng.standard_normal(shape, dtype=np.float32)
            drawn *= config.initializer_range
            return drawn.astype(dtype, copy=False)
        return np.full(shape, 0 if name.endswith("bias") else 1, dtype=dtype)

    with backend.memory():
        return {name: backend.asarray(draw(name, shape)) for name, shape in shapes.items()}


def save_weights(
    folder: str | os.PathLike[str],
    config: BioGptConfig,
    weights: dict[str, Array],
    backend: Backend,
    architecture: str,
) -> None:
    """Write config.json and model.safetensors as transformers reads them, each beside and renamed."""
    host = {name: np.ascontiguousarray(backend.to_numpy(x)) for name, x in weights.items()}
    dtypes = sorted({str(x.dtype) for x in host.values()})
    if len(dtypes) > 1:
        raise InputError("all weights must be of one dtype", ", ".join(dtypes), "convert them: x.astype(model.dtype)")
    extra = {"architectures": [architecture], "dtype": dtypes[0]}
    kept = {key: value for key, value in config.extra.items() if key != "torch_dtype"}
    target = Path(folder) / "model.safetensors"
    write_beside(target, lambda beside: save_file(host, beside, metadata={"format": "pt"}))
    dataclasses.replace(config, extra=kept | extra).save_pretrained(folder)
