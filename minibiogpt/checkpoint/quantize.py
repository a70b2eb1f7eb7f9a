"""Quantize a checkpoint into a new folder that loads like any other; only one tensor is in memory at a time."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend import get_backend
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.catalog.parameters import HEAD, Shapes, stored_shapes
from minibiogpt.checkpoint.convert import HEADS, NAMES, TOKENIZER_FILES
from minibiogpt.checkpoint.lora import Tensor
from minibiogpt.checkpoint.names import by_model_name
from minibiogpt.checkpoint.quantized import reject_quantized
from minibiogpt.checkpoint.source import Source
from minibiogpt.checkpoint.weights import drop_unused_head, report_misfits
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, InputError, listed, short_repr
from minibiogpt.files.copying import copy_text_file
from minibiogpt.files.safetensors import (
    FLOATS,
    SINGLE,
    StoredTensor,
    TensorFile,
    convert_dtype,
    stored_tensors,
    widened,
)
from minibiogpt.files.writing import atomic_folder
from minibiogpt.quantization import Quantization, StoredWeight, from_config, gather, stored_arrays
from minibiogpt.quantization.sizes import fits
from minibiogpt.quantization.stored import STATE
from minibiogpt.tokenizer import BioGptTokenizer

CLASSIFIERS = {"score.weight": "BioGptForSequenceClassification", "classifier.weight": "BioGptForTokenClassification"}
BASE, CAUSAL = "BioGptModel", "BioGptForCausalLM"
COMMANDS = {BASE: "embed", CAUSAL: "generate"} | dict(zip(CLASSIFIERS.values(), ("classify", "tag"), strict=True))
STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # dtypes to choose from
CODES = {"uint8": "U8", "int8": "I8", "float32": "F32", "float16": "F16"}  # of the tensors of a quantized weight
ELEMENTS = 1 << 20  # converted or compared at a time
ROOM = 32  # bytes: more than any offset of absmax takes as JSON


def quantize_folder(
    source: Source, target: str | os.PathLike[str], quantization: Quantization, *, dtype: str | None = None
) -> dict[str, Any]:
    """Write the model of ``source``, quantized, into TARGET, a new or empty folder that appears complete or not at all.

    An adapter is merged. The tokenizer's files and generation_config.json are copied.

    Parameters
    ----------
    dtype : "float32", "float16" or "bfloat16", of the tensors that are not quantized; by default each keeps its own.
        Numbers are rounded to it before they are quantized.

    Returns
    -------
    A report, as ``minibiogpt quantize --json`` prints it.

    Raises
    ------
    InputError
        If TARGET is not empty or cannot be written, or the format does not fit the shapes.
    CheckpointError
        If the checkpoint is broken, or quantized already. The integers of int8 can become those of int8-dynamic.
    """
    if dtype is not None and dtype not in STORED:
        raise InputError(f"dtype must be one of {', '.join(STORED)}", short_repr(dtype), "choose one of these")
    with atomic_folder(Path(target)) as folder:
        model = _Opened.of(source, quantization, dtype)
        written = _write_weights(folder / SINGLE, model)
        _write_config(folder, model)
        _copy_text_files(folder, source)
        bytes_after = (folder / SINGLE).stat().st_size
    return _origin(source, target, model) | written | {"bytes_after": bytes_after}


@dataclass
class _Opened:
    """A checkpoint to quantize: its config and class, and its tensors, which are still in their files.

    Attributes
    ----------
    chosen : the names of the tensors to quantize.
    codes : {name: dtype to store it in, or to quantize it from}, as safetensors names dtypes.
    """

    source: Source
    config: BioGptConfig
    architecture: str
    tensors: dict[str, Tensor]
    shapes: Shapes
    quantization: Quantization
    chosen: list[str]
    codes: dict[str, str]

    @classmethod
    def of(cls, source: Source, quantization: Quantization, dtype: str | None) -> _Opened:
        config, folder = source.config(), source.folder
        settings = source.base_config.extra.get("quantization_config")
        tensors: dict[str, Tensor] = dict(gather(by_model_name(stored_tensors(folder), folder), settings))
        packed = [name for name, x in tensors.items() if isinstance(x, StoredWeight)]
        if packed:
            _reject_other_formats(source, tensors, quantization)
            before = from_config(settings)
            quantization = replace(quantization, skip=before.skip if before else ())
        names = {*tensors, *(source.adapter.replaced if source.adapter else ())}
        shapes, architecture = stored_shapes(config, names), _architecture(config, names)
        if architecture == BASE:
            shapes.pop(HEAD, None)
        reject_quantized(folder, settings, tensors, shapes)
        if source.adapter:
            tensors = source.adapter.applied(tensors, shapes, source.base_config.tie_word_embeddings)
        drop_unused_head(tensors, shapes, config.tie_word_embeddings)
        report_misfits(source, tensors, shapes)
        chosen = packed or quantization.chosen(shapes)
        wrong = [f"{name} {shapes[name]}" for name in chosen if not fits(quantization.format, shapes[name])]
        if wrong:
            must = f"for {quantization.format} the rows of each matrix must be a multiple of 32 long"
            raise InputError(must, listed(wrong), "choose nf4 or int8")
        codes = {name: STORED[dtype] if dtype else tensors[name].dtype for name in shapes}
        return cls(source, config, architecture, tensors, shapes, quantization, chosen, codes)

    def full_name(self, name: str) -> str:
        """Return a tensor's name in the file, as ``save_pretrained`` of the model's class writes it."""
        return name if name in HEADS or self.architecture == BASE else f"biogpt.{name}"


def _architecture(config: BioGptConfig, names: Collection[str]) -> str:
    """Return the class of the model whose tensors these are, as config.json names it."""
    named = config.extra.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return next((kind for name, kind in CLASSIFIERS.items() if name in names), BASE if first == BASE else CAUSAL)


def _reject_other_formats(source: Source, tensors: Mapping[str, Tensor], quantization: Quantization) -> None:
    """Refuse a model that is quantized already: its floats are lost. What int8 stores is what int8-dynamic does."""
    kinds = sorted({x.format for x in tensors.values() if isinstance(x, StoredWeight)})
    plain = source.adapter is None and not quantization.skip
    if plain and kinds == ["int8"] and quantization.format == "int8-dynamic":
        return
    must = f"the model to quantize, {source}, must hold floats"
    raise CheckpointError(must, f"weights in {listed(kinds)}", "quantize the model that it was made from")


def _write_weights(path: Path, model: _Opened) -> dict[str, Any]:
    """Write the tensors one by one. Return what they are, and what quantizing changes, for the report."""
    parts = {name: _parts(model, name) for name in model.chosen}
    layout = {model.full_name(name): (model.codes[name], shape) for name, shape in model.shapes.items()}
    for name in model.chosen:
        del layout[model.full_name(name)]
        layout |= parts[name]
    bits, weights, errors = 0, 0, []
    with TensorFile(path, layout) as file:
        for name in model.shapes:
            if name not in parts:
                _copy(file, model, name)
                continue
            packed, error = _packed(model, name)
            arrays = stored_arrays(model.full_name(name), packed)
            for full, (_, shape) in parts[name].items():
                file.write(full, _padded(arrays[full], math.prod(shape)))
            bits, weights = bits + 8 * packed.nbytes, weights + packed.size
            errors += [] if error is None else [(error, name.removesuffix(".weight"))]
    codes = sorted({model.codes[name] for name in model.shapes if name not in parts})
    worst = max(errors, default=None)
    return {
        "dtypes": [NAMES[code] for code in codes],
        "quantized": len(parts),
        "other_tensors": len(model.shapes) - len(parts),
        "bits_per_weight": bits / max(1, weights),
        "largest_relative_error": None if worst is None else {"module": worst[1], "error": worst[0]},
    }


Layout = dict[str, tuple[str, tuple[int, ...]]]  # {name: (dtype, shape)}


def _parts(model: _Opened, name: str) -> Layout:
    """Return the tensors that a quantized weight is stored in. The JSON of bitsandbytes gets room for any offset."""
    dtype, kind = _packing_dtype(model.codes[name]), model.quantization
    example = stored_arrays(model.full_name(name), kind.pack(np.zeros(model.shapes[name], dtype), "float32"))
    layout: Layout = {}
    for full, x in example.items():
        room = ROOM if STATE in full else 0
        layout[full] = CODES[x.dtype.name], (x.size + room,) if room else x.shape
    return layout


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    """Return x; if it is JSON, which may be shorter than its room, with spaces after it."""
    return x if x.size == size else np.pad(x.reshape(-1), (0, size - x.size), constant_values=ord(" "))


def _packed(model: _Opened, name: str) -> tuple[PackedWeight, float | None]:
    """Return a weight, quantized, and the RMS of the errors relative to that of its numbers."""
    tensor = model.tensors[name]
    if isinstance(tensor, StoredWeight):
        return tensor.read(model.quantization), None
    x = np.empty(tensor.shape, _packing_dtype(model.codes[name]))
    tensor.read_into(x)
    _check_finite(model, name, x)
    packed = model.quantization.pack(x, "float32")
    squares, differences, rows = 0.0, 0.0, max(1, ELEMENTS // x.shape[1])
    for start in range(0, len(x), rows):
        part = x[start : start + rows].astype(np.float64)
        squares += float(np.square(part).sum())
        part -= np.asarray(packed.part(start, min(start + rows, len(x))))
        differences += float(np.square(part).sum())
    return packed, math.sqrt(differences / squares) if squares else 0.0


def _packing_dtype(code: str) -> Any:
    """Return the dtype of numbers that are quantized, of which float64 is not one."""
    return get_backend("numpy").dtype({"F16": "float16", "BF16": "bfloat16"}.get(code, "float32"))


def _copy(file: TensorFile, model: _Opened, name: str) -> None:
    """Write a tensor that is not quantized."""
    tensor, code = model.tensors[name], model.codes[name]
    if isinstance(tensor, StoredTensor):
        raw, stored = tensor.mapped().reshape(-1), tensor.dtype
    else:  # one that an adapter changes
        stored = "F64" if tensor.dtype == "F64" else "F32"
        values = np.empty(tensor.shape, FLOATS[stored])
        tensor.read_into(values)
        raw = values.reshape(-1)
    for start in range(0, raw.size, ELEMENTS):
        block = convert_dtype(raw[start : start + ELEMENTS], stored, code)
        _check_finite(model, name, widened(block, code))
        file.write(model.full_name(name), block, start)


def _check_finite(model: _Opened, name: str, x: np.ndarray) -> None:
    if not np.isfinite(x).all():
        dtype = NAMES[model.codes[name]]
        must = f"every weight in {model.source} must be a finite number in {dtype}"
        raise CheckpointError(must, f"NaN or infinity in {name}", "choose another dtype, or fetch the file again")


def _write_config(folder: Path, model: _Opened) -> None:
    """Write config.json, with what ``save_pretrained`` would add."""
    dropped = ("dtype", "torch_dtype", "quantization_config")
    extra = {key: value for key, value in model.config.extra.items() if key not in dropped}
    codes = {model.codes[name] for name in model.shapes if name not in model.chosen}
    extra |= {"architectures": [model.architecture], "quantization_config": model.quantization.config()}
    extra |= {"dtype": NAMES[codes.pop()]} if len(codes) == 1 else {}
    dataclasses.replace(model.config, extra=extra).save_pretrained(folder)


def _copy_text_files(folder: Path, source: Source) -> None:
    """Copy the tokenizer's files, from where its vocabulary is, and generation_config.json; then load the tokenizer."""
    for name in TOKENIZER_FILES:
        place = source.folder if name == "generation_config.json" else source.tokenizer_folder
        if place is not None and os.path.lexists(place / name):
            copy_text_file(place / name, folder / name)
    if source.tokenizer_folder is None:
        warnings.warn(f"no vocab.json in {source.folder}: the model has no tokenizer", stacklevel=3)
    else:
        BioGptTokenizer.from_pretrained(folder)


def _origin(source: Source, target: str | os.PathLike[str], model: _Opened) -> dict[str, Any]:
    """Report what was read, and how it is quantized."""
    kind = model.quantization
    files = {x.path for x in stored_tensors(source.folder).values()} | (
        {source.adapter.file} if source.adapter else set()
    )
    return {
        "source": str(source),
        "folder": os.fspath(target),
        "command": COMMANDS[model.architecture],
        "parameters": sum(math.prod(shape) for shape in model.shapes.values()),
        "format": kind.format,
        **({"double_quant": kind.double_quant} if kind.format in ("nf4", "fp4") else {}),
        "skip": list(kind.skip),
        "bytes_before": sum(path.stat().st_size for path in files),
    }
