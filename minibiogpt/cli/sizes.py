"""What the weights of a model take in memory when they are quantized, from their shapes alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from minibiogpt.catalog.parameters import Shapes
from minibiogpt.errors import listed
from minibiogpt.quantization import FORMATS, Quantization, StoredWeight
from minibiogpt.quantization.sizes import fits, packed_bytes


def packed_sizes(kind: Quantization | None, tensors: Mapping[str, Any], shapes: Shapes) -> dict[str, int]:
    """Return {name: bytes} of the weights that are quantized in their file, otherwise of what ``kind`` chooses."""
    stored = {name: x for name in shapes if isinstance(x := tensors.get(name), StoredWeight)}
    if stored:
        return {name: _stored_bytes(kind, x) for name, x in stored.items()}
    if kind is None:
        return {}
    return {name: packed_bytes(kind.format, shapes[name]) for name in kind.chosen(shapes)}


def _stored_bytes(kind: Quantization | None, weight: StoredWeight) -> int:
    if weight.format not in ("nf4", "fp4"):
        dynamic = weight.format == "int8" and kind is not None and kind.format == "int8-dynamic"
        return packed_bytes("int8-dynamic" if dynamic else weight.format, weight.shape)
    nested = weight.state.get("nested_blocksize")
    block = weight.state["blocksize"]
    return packed_bytes(weight.format, weight.shape, double_quant=bool(nested), block=block, group=nested or 1)


def by_format(shapes: Shapes, width: int) -> dict[str, int]:
    """Return {format: bytes of all weights} of the formats that fit the shapes; "none" is without quantization.

    Parameters
    ----------
    width : bytes of a number that is not quantized.
    """
    chosen = Quantization("nf4").chosen(shapes)
    whole = sum(math.prod(shape) for shape in shapes.values()) * width
    others = whole - sum(math.prod(shapes[name]) for name in chosen) * width
    kinds = [kind for kind in FORMATS if all(fits(kind, shapes[name]) for name in chosen)]
    return {"none": whole} | {kind: others + sum(packed_bytes(kind, shapes[name]) for name in chosen) for kind in kinds}


def described(
    kind: Quantization, tensors: Mapping[str, Any], shapes: Shapes, packed: Mapping[str, int]
) -> dict[str, Any]:
    """Return what is to be said of quantized weights: format, modules that keep their floats, bits and bytes."""
    stored = [x for name in packed if isinstance(x := tensors.get(name), StoredWeight)]
    double_quant = any("nested_blocksize" in x.state for x in stored) if stored else kind.double_quant
    if stored and (kind.format, stored[0].format) != ("int8-dynamic", "int8"):
        kind = Quantization(stored[0].format)  # whatever is asked for, which may be refused
    matrices = Quantization(kind.format).chosen(shapes)
    skipped = [name.removesuffix(".weight") for name in matrices if name not in packed]
    size = sum(packed.values())
    return {
        "format": kind.format,
        **({"double_quant": double_quant} if kind.format in ("nf4", "fp4") else {}),
        "skip": _in_short(skipped, matrices),
        "bits_per_weight": 8 * size / sum(math.prod(shapes[name]) for name in packed),
        "bytes": size,
        "stored": bool(stored),
    }


def _in_short(modules: Collection[str], matrices: Collection[str]) -> list[str]:
    """Return modules by their last part, if all of that name are among them.

    Examples
    --------
    >>> matrices = [f"layers.{i}.fc{n}.weight" for i in (0, 1) for n in (1, 2)]
    >>> _in_short(["layers.0.fc1", "layers.1.fc1", "layers.0.fc2"], matrices)
    ['fc1', 'layers.0.fc2']
    """
    every = Counter(name.split(".")[-2] for name in matrices)
    found = Counter(module.rpartition(".")[2] for module in modules)
    whole = [part for part, count in found.items() if count == every[part]]
    return whole + [module for module in modules if module.rpartition(".")[2] not in whole]


def in_words(facts: Mapping[str, Any]) -> str:
    """Return what ``described`` returned in one line."""
    kind = facts["format"] + (" with double quantization" if facts.get("double_quant") else "")
    size, where = facts["bytes"], "in the file" if facts["stored"] else "while loading"
    text = f"{kind}, {where}: {facts['bits_per_weight']:.2f} bits a weight, {size:,} bytes ({size / 1e6:,.2f} MB)"
    return text + (f"; not {listed(facts['skip'])}" if facts["skip"] else "")
