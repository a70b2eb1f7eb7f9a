"""Load and save weights, with one report of everything that is wrong."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from minibiogpt.backend import Array, Backend, get_backend
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.catalog.parameters import EMBEDDING, HEAD, Shapes
from minibiogpt.checkpoint.initialization import random_weights
from minibiogpt.checkpoint.lora import Merged, Tensor
from minibiogpt.checkpoint.names import by_model_name
from minibiogpt.checkpoint.quantized import kind_of, merged_quantization, reject_quantized
from minibiogpt.checkpoint.source import Source, find_source
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, InputError, listed, shared_start, short_repr
from minibiogpt.files.safetensors import FLOATS, stored_tensors
from minibiogpt.files.shards import save_tensors
from minibiogpt.files.writing import target_folder
from minibiogpt.quantization import Quantization, StoredWeight, gather, quantization_of, stored_arrays

# Fields of the config that change the names or shapes of tensors.
SHAPING = (
    "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings",
    "num_labels", "id2label", "label2id", "tie_word_embeddings",
)  # fmt: skip
BLOCK = 1 << 22  # elements checked at a time, so that no check doubles the memory


def drop_unused_head(tensors: dict[str, Tensor], shapes: Shapes, tied: bool) -> None:
    """Drop a head that the model does not use. A tied head replaces a missing embedding; warn if they differ."""
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


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether both hold the same bytes, of any dtype."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    x, y = a.raw(), b.raw()
    return all(np.array_equal(x[i : i + BLOCK], y[i : i + BLOCK]) for i in range(0, x.size, BLOCK))


def report_misfits(source: Source, tensors: Mapping[str, Tensor], shapes: Shapes, chosen: Collection[str] = ()) -> None:
    """Raise one error for all that is missing or misshapen; warn if there are only unexpected tensors.

    ``chosen`` are the fields of the config that the caller changed.
    """
    missing = [name for name in shapes if name not in tensors]
    unexpected = sorted(name for name in tensors if name not in shapes)
    common = [(name, tensors[name]) for name in shapes if name in tensors]
    misshapen = [f"{name} {t.shape}, not {shapes[name]}" for name, t in common if t.shape != shapes[name]]
    misshapen += [f"{name} of dtype {kind_of(t.dtype)}" for name, t in common if t.dtype not in FLOATS]
    lists = {"missing": missing, "misshapen": misshapen, "unexpected": unexpected}
    start = _start(unexpected)
    lists = {"missing": missing, "misshapen": misshapen, f"unexpected{start}": unexpected}
    details = "; ".join(f"{len(names)} {what}: {listed(names)}" for what, names in lists.items() if names)
    if missing or misshapen:
        whose = f"the config requires with {listed(chosen)}" if chosen else "its config.json requires"
        must = f"{source} must hold every tensor that {whose}, {len(shapes)} in all"
        raise CheckpointError(must, details, _remedy(chosen))
    if unexpected:
        warnings.warn(f"{source}: ignored {details}", stacklevel=5)


def _remedy(chosen: Collection[str]) -> str:
    """Say what to do about tensors that do not fit: the caller's own options come first."""
    if not chosen:
        return "check that config.json and the weights belong together"
    names = {field.partition("=")[0] for field in chosen}
    remedy = f"leave out {listed(sorted(names))}"
    if "vocab_size" in names:
        remedy += ", and call model.resize_token_embeddings afterwards"
    elif names & {"num_labels", "id2label", "label2id"}:
        remedy += ", or pass ignore_mismatched_sizes=True to draw a new head"
    return remedy


def _new_tensors(tensors: dict[str, Tensor], shapes: Shapes) -> Shapes:
    """Move tensors of another shape out of ``tensors``, and return the shapes that they should have."""
    wrong = [name for name, shape in shapes.items() if name in tensors and tensors[name].shape != shape]
    for name in wrong:
        del tensors[name]
    return {name: shapes[name] for name in wrong}


def _start(names: list[str]) -> str:
    """Say with what most names of a long list begin: another model's prefix, or layers that the config lacks."""
    start, count = shared_start(names) if len(names) > 8 else ("", 0)
    return f" ({count} of {len(names)} begin with {start!r})" if start else ""


def load_weights(
    name: str | os.PathLike[str],
    shapes_of: Callable[[BioGptConfig], Shapes],
    backend: str | Backend,
    dtype: str,
    *,
    head: Collection[str] = (),
    seed: int | None = None,
    revision: str | None = None,
    adapter: str | os.PathLike[str] | None = None,
    ignore_mismatched_sizes: bool = False,
    quantization: Quantization | None = None,
    **changes: Any,
) -> tuple[BioGptConfig, dict[str, Array | PackedWeight]]:
    """Return the config and the weights of "demo", a folder or a hub id, with a LoRA adapter merged if there is one.

    Tensors are read one by one, so that no more than one is held twice. All values must be finite.

    Parameters
    ----------
    name : a model, or the folder of an adapter, which names its base model.
    head : names of the tensors that a checkpoint of the base model lacks; they are then drawn from ``seed``, with a
        warning.
    seed : None makes a missing head an error.
    revision : a branch, tag or commit of a hub id.
    adapter : the folder or hub id of a LoRA adapter for this model.
    ignore_mismatched_sizes : draw tensors of another shape from ``seed``, too, with a warning.
    quantization : how to quantize the matrices of the layers; None: as they are in the file.
    changes : fields of the config that override those in the file.
    """
    backend = get_backend(backend)
    dtype = str(backend.dtype(dtype))
    source = find_source(name, revision, adapter)
    folder = source.folder
    config = source.config(**changes)
    shapes = shapes_of(config)
    settings = config.extra.get("quantization_config")
    tensors: dict[str, Tensor] = dict(gather(by_model_name(stored_tensors(folder), folder), settings))
    reject_quantized(folder, settings, tensors, shapes)
    quantization = merged_quantization(folder, settings, tensors, quantization)
    if source.adapter:
        tensors = source.adapter.applied(tensors, shapes, source.base_config.tie_word_embeddings)
    drop_unused_head(tensors, shapes, config.tie_word_embeddings)
    absent = bool(head) and not any(key in tensors for key in head)
    if absent and seed is None:
        must = f"{source} must hold the requested head, {listed(head)}"
        raise CheckpointError(must, "a different head, or none", "choose a model that was trained for it")
    new = {key: shapes[key] for key in head} if absent else {}
    others = _new_tensors(tensors, shapes) if ignore_mismatched_sizes and seed is not None else {}
    shapes = {key: shape for key, shape in shapes.items() if key not in new and key not in others}
    report_misfits(source, tensors, shapes, _chosen(source, tensors, shapes_of, [*new, *others], changes))
    weights = _read(source, tensors, shapes, backend, dtype, quantization)
    if new and seed is not None:
        drawn = f"initialized from N(0, {config.initializer_range}) with seed {seed}"
        warnings.warn(f"{source} has no {listed(new)}: {drawn}; train the head before use", stacklevel=4)
        weights |= random_weights(config, new, seed, backend, dtype)
    if others:
        drawn = f"initialized from N(0, {config.initializer_range})"
        warnings.warn(f"{source} has other shapes of {listed(others)}: {drawn}; train them before use", stacklevel=4)
        weights |= random_weights(config, others, seed, backend, dtype)
    return config, weights


def _chosen(
    source: Source,
    tensors: Mapping[str, Tensor],
    shapes_of: Callable[[BioGptConfig], Shapes],
    new: Collection[str],
    changes: Mapping[str, Any],
) -> list[str]:
    """Return "field=value" of the caller's changes to the config, if without them all tensors would fit."""
    shapes = shapes_of(source.config())
    if any(name not in tensors or tensors[name].shape != shape for name, shape in shapes.items() if name not in new):
        return []
    changed = {key: x for key, x in changes.items() if key in SHAPING and getattr(source.base_config, key, None) != x}
    return [f"{key}={short_repr(x)}" for key, x in changed.items()]


def _read(
    source: Source,
    tensors: Mapping[str, Tensor],
    shapes: Shapes,
    backend: Backend,
    dtype: str,
    quantization: Quantization | None,
) -> dict[str, Array | PackedWeight]:
    """Read the tensors one by one, and quantize those that ``quantization`` chooses."""
    packed = [name for name in shapes if isinstance(_base(tensors[name]), StoredWeight)]  # in the file already
    if quantization and not packed:
        packed = quantization.chosen(shapes)
    weights: dict[str, Array | PackedWeight] = {}
    not_finite = []
    for name, host in backend.allocate({name: s for name, s in shapes.items() if name not in packed}, dtype):
        tensors[name].read_into(host)
        if not _finite(host):
            not_finite.append(name)
        with backend.memory_errors():
            weights[name] = backend.asarray(host)
    for name in packed:
        weight = _read_packed(name, tensors[name], dtype, quantization)
        if weight is None:
            not_finite.append(name)
            continue
        with backend.memory_errors():
            weights[name] = backend.asarray(weight)
    if not_finite:
        must = f"every weight in {source} must be a finite number in {dtype}"
        raise CheckpointError(must, f"NaN or infinity in {listed(not_finite)}", "fetch the file again")
    return weights


def _read_packed(name: str, tensor: Tensor, dtype: str, quantization: Quantization | None) -> PackedWeight | None:
    """Return a weight in its packed form; None if it has a value that is not finite.

    A weight that is quantized in the file is taken as it is, unless an adapter changes it.
    """
    if isinstance(tensor, StoredWeight):
        return tensor.read(quantization).astype(dtype, copy=False)
    host = np.empty(tensor.shape, dtype if np.dtype(dtype).itemsize == 2 else np.float32)
    tensor.read_into(host)
    if not _finite(host):
        return None
    base = _base(tensor)
    if isinstance(base, StoredWeight):
        return base.read(quantization).quantized(host).astype(dtype, copy=False)
    assert quantization is not None
    try:
        return quantization.pack(host, dtype)
    except InputError as error:
        raise InputError(f"{name} in {quantization.format}: {error.must}", error.found, error.remedy) from None


def _base(tensor: Tensor) -> Tensor:
    """Return the base model's tensor, of one that an adapter changes."""
    return tensor.base if isinstance(tensor, Merged) else tensor


def _finite(x: np.ndarray) -> bool:
    flat = x.reshape(-1)
    return all(bool(np.isfinite(flat[i : i + BLOCK]).all()) for i in range(0, flat.size, BLOCK))


def save_weights(
    folder: str | os.PathLike[str],
    config: BioGptConfig,
    weights: dict[str, Array | PackedWeight],
    backend: Backend,
    architecture: str,
    max_shard_size: Any = None,
) -> None:
    """Write config.json and model.safetensors, or shards of it, as transformers reads them, each atomically."""
    target = target_folder(folder)
    host: dict[str, np.ndarray] = {}
    dtypes = set()
    for name, x in weights.items():
        if isinstance(x, PackedWeight):
            host |= stored_arrays(name, x.with_arrays(backend.to_numpy))
        else:
            host[name] = np.ascontiguousarray(backend.to_numpy(x))
            dtypes.add(str(x.dtype))
    if len(dtypes) > 1:
        remedy = "convert them: x.astype(model.dtype)"
        raise InputError("all weights must have the same dtype", ", ".join(sorted(dtypes)), remedy)
    extra: dict[str, Any] = {"architectures": [architecture], "dtype": dtypes.pop()}
    kept = {key: value for key, value in config.extra.items() if key not in ("torch_dtype", "quantization_config")}
    if quantization := quantization_of(weights):
        extra["quantization_config"] = quantization.config()
    save_tensors(target, host, max_shard_size)
    dataclasses.replace(config, extra=kept | extra).save_pretrained(target)
