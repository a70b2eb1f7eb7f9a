"""Recognize weights that are quantized in a way that cannot be read: say what they are and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from minibiogpt.catalog.parameters import Shapes
from minibiogpt.errors import CheckpointError, listed, short_repr
from minibiogpt.files.safetensors import FLOATS
from minibiogpt.quantization import Quantization, StoredWeight, from_config

READABLE = "float32, float16, bfloat16 or float64"
# The last part of tensor names that only one kind of quantization has, the most specific first.
MARKS = {
    "bitsandbytes, 4 bits": ("absmax", "quant_map", "nested_absmax", "nested_quant_map"),
    "bitsandbytes, 8 bits": ("SCB", "CB", "weight_format"),
    "GPTQ": ("g_idx",),
    "AWQ": ("qzeros",),
    "compressed-tensors": ("weight_packed", "weight_shape", "weight_zero_point"),
    "HQQ": ("W_q",),
    "AQLM": ("codebooks",),
    "a method with scales": ("weight_scale", "weight_scale_inv", "input_scale", "scales", "_scale"),
}
KINDS = {
    "I4": "4-bit integers", "U4": "4-bit integers", "I8": "8-bit integers", "U8": "bytes", "BOOL": "true and false",
    "I16": "integers", "U16": "integers", "I32": "integers", "U32": "integers", "I64": "integers", "U64": "integers",
    "C64": "complex numbers",
}  # fmt: skip
DEQUANTIZABLE = ("bitsandbytes", "higgs")  # in transformers 4.57: model.dequantize()
PACKED = ("I8", "U8", "I4", "U4")  # integers that stand for other numbers


class Tensor(Protocol):
    """What is needed of a tensor in a file."""

    @property
    def dtype(self) -> str: ...


def kind_of(dtype: str) -> str:
    """Say what a safetensors dtype is.

    Examples
    --------
    >>> kind_of("F8_E4M3"), kind_of("I8"), kind_of("F6_E2M3")
    ('F8_E4M3 (8-bit floats)', 'I8 (8-bit integers)', 'F6_E2M3 (6-bit floats)')
    """
    bits = dtype[1:2]
    if dtype not in FLOATS and dtype[:1] == "F" and bits.isdigit():
        return f"{dtype} ({bits}-bit floats)"
    return f"{dtype} ({KINDS[dtype]})" if dtype in KINDS else dtype


def reject_quantized(folder: Path, settings: Any, tensors: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Raise if the weights are quantized; warn if only config.json says so.

    Parameters
    ----------
    settings : ``quantization_config`` of config.json, or None.
    """
    packed = [name for name in shapes if name in tensors and _is_packed(tensors[name].dtype)]
    marked = next((method for method, ends in MARKS.items() if any(_ends(name, ends) for name in tensors)), None)
    parts = [] if marked is None else [name for name in tensors if _ends(name, MARKS[marked])]
    absent = [name for name in shapes if name not in tensors]
    if not packed and not (parts and absent):
        if settings and not any(isinstance(tensor, StoredWeight) for tensor in tensors.values()):
            message = (
                f"{folder}: quantization_config in config.json has no effect: the stored weights are not quantized"
            )
            warnings.warn(message, stacklevel=5)
        return
    named = settings.get("quant_method") if isinstance(settings, dict) else None
    method = short_repr(named).strip("'") if named else marked
    shown = [f"{name} of dtype {kind_of(tensors[name].dtype)}" for name in packed or parts]
    kind = f"weights quantized by {method}" if method else "quantized weights"
    if method and method.startswith("bitsandbytes") and packed:  # the kind that is read, but for what is missing
        lacking = "SCB" if tensors[packed[0]].dtype == "I8" else "weight.quant_state.bitsandbytes__nf4"
        shown.append(f"without {packed[0].removesuffix('weight')}{lacking}")
    raise CheckpointError(
        f"the weights in {folder} must be {READABLE}",
        f"{kind}: {listed(shown)}",
        _remedy(method, [tensors[name].dtype for name in packed]),
    )


def merged_quantization(
    folder: Path, settings: Any, tensors: Mapping[str, Any], wanted: Quantization | None
) -> Quantization | None:
    """Return how the layers are to be quantized, by what is wanted and what the file holds.

    Raises
    ------
    CheckpointError
        If the file is quantized in another format than the one that is wanted.
    """
    kinds = sorted({x.format for x in tensors.values() if isinstance(x, StoredWeight)})
    if not kinds:
        return wanted
    if wanted is None:
        return from_config(settings)
    if kinds == ["int8"] and wanted.format == "int8-dynamic":
        return wanted
    if kinds != [wanted.format]:
        remedy = "leave quantization out, or load the model that it was quantized from"
        raise CheckpointError(
            f"{folder} must not be quantized already, in another format", f"weights in {listed(kinds)}", remedy
        )
    return None


def _remedy(method: str | None, packed: list[str]) -> str:
    """Say what to do: transformers 4.57 dequantizes two methods only, and a plain cast to 8-bit floats needs none."""
    original = "use the model that it was made from, whose weights are floats"
    if method and method.startswith(DEQUANTIZABLE):
        return f"save model.dequantize() with save_pretrained in transformers, or {original}"
    if method is None and packed and all(dtype[:1] == "F" for dtype in packed):
        return f"if they were cast without scales, cast each to float32 in torch and save them, else {original}"
    return original


def _is_packed(dtype: str) -> bool:
    return dtype in PACKED or (dtype not in FLOATS and dtype[:1] == "F")


def _ends(name: str, ends: tuple[str, ...]) -> bool:
    return name.rpartition(".")[2] in ends
