"""What a case says of quantized weights: their format, and a few dequantized rows of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.golden.format.case import WEIGHTS, sample_indices
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.quantization import FourBits, Quantization, from_config, quantization_of

AXES = "rows in"  # of a few rows of a weight
SOURCES = {"nf4": "bitsandbytes", "fp4": "bitsandbytes", "int8": "bitsandbytes", "q8_0": "gguf", "q4_0": "gguf"}


def has_quantized(model: Pretrained) -> bool:
    """Whether the model has a quantized weight."""
    return any(isinstance(x, PackedWeight) for x in model.parameters())


def as_floats(model: Pretrained) -> Pretrained:
    """Return a model with the values of quantized weights as arrays, on the same backend; a model of floats itself."""
    if not has_quantized(model):
        return model
    weights = {name.removeprefix("biogpt."): x for name, x in model.named_values()}
    return type(model)(model.config, weights, model.backend, model.base_model.attn_implementation)


def described(model: Pretrained) -> dict[str, Any] | None:
    """Return how a model is quantized, as a case says it; None if it isn't.

    Returns
    -------
    format : "nf4", "fp4", "int8", "q8_0" or "q4_0": that of the weights.
    block : how many values have one scale; "row" for one scale a row.
    double_quant : whether the scales are quantized themselves.
    skip : modules of layers that keep their floats.
    from : "the file", or what was quantized on the way, and by which rules.

    Raises
    ------
    InputError
        If the weights have several formats.
    """
    settings = quantization_of(dict(model.named_parameters()))
    if settings is None:
        return None
    first = next(x for x in model.parameters() if isinstance(x, PackedWeight))
    kind = settings.format.removesuffix("-dynamic")
    block = first.block if isinstance(first, FourBits) else "row" if kind == "int8" else 32
    made = f"the floats of the file, quantized as {SOURCES[kind]} does"
    return {
        "format": kind,
        "block": block,
        "double_quant": settings.double_quant and kind in ("nf4", "fp4"),
        "skip": list(settings.skip),
        "from": made if from_config(model.config.extra.get("quantization_config")) is None else "the file",
    }


def settings_of(quantization: dict[str, Any] | None) -> Quantization | None:
    """Return the settings that quantize a model of floats as a case says."""
    if quantization is None:
        return None
    return Quantization(quantization["format"], quantization["double_quant"], tuple(quantization["skip"]))


def chosen_rows(count: int) -> list[int]:
    """Return which of ``count`` rows a case stores: the first, two in the middle, and the last.

    Examples
    --------
    >>> chosen_rows(2), chosen_rows(128)
    ([0, 1], [0, 51, 77, 127])
    """
    return sorted({0, count - 1, *sample_indices(count, min(count, 4))[1:3].tolist()})


def weight_rows(model: Pretrained) -> Iterator[tuple[str, list[int], np.ndarray]]:
    """Yield, for each quantized weight, its name in a case, which rows it stores, and their values: (rows, K) float64.

    Only these rows are unpacked.
    """
    for name, x in model.named_parameters():
        if isinstance(x, PackedWeight):
            rows = chosen_rows(len(x))
            parts = [x.part(i, i + 1).with_arrays(model.backend.to_numpy) for i in rows]
            values = [np.asarray(part, np.float64) for part in parts]
            yield WEIGHTS + name.removeprefix("biogpt."), rows, np.concatenate(values)


def in_words(quantization: dict[str, Any]) -> str:
    """Return how the weights of a case are quantized, in one line.

    Examples
    --------
    >>> nf4 = {"format": "nf4", "block": 64, "double_quant": True, "skip": [], "from": "the file"}
    >>> in_words(nf4)
    'nf4, blocks of 64, double quantization, from the file'
    """
    block = quantization.get("block")
    words = [quantization["format"], "a scale for each row" if block == "row" else f"blocks of {block}"]
    words += ["double quantization"] if quantization["double_quant"] else []
    words += [f"floats in {', '.join(quantization['skip'])}"] if quantization["skip"] else []
    return ", ".join([*words, f"from {quantization.get('from')}"])
