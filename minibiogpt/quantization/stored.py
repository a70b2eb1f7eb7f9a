"""Quantized weights in safetensors files: the tensors that bitsandbytes writes, and GGUF's blocks.

=============== ======================================================================================================
4 bits          NAME.weight U8 (bytes, 1), NAME.weight.absmax, .quant_map, .quant_state.bitsandbytes__nf4 (JSON); with
                double quantization also .nested_absmax, .nested_quant_map, and absmax U8
8 bits by row   NAME.weight I8 (N, K), NAME.SCB F32 (N,), NAME.weight_format U8 ()
q8_0, q4_0      NAME.weight U8 (N, K / 32 * 34 or 18), the bytes of GGUF (no other program reads them in safetensors)
=============== ======================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.checks import is_finite_number
from minibiogpt.errors import CheckpointError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.safetensors import DTYPES, StoredTensor, widened
from minibiogpt.quantization import blocks, double
from minibiogpt.quantization.code_books import CODE_BOOKS
from minibiogpt.quantization.double import DoubleQuantized
from minibiogpt.quantization.dynamic import DynamicEightBits
from minibiogpt.quantization.settings import OWN_METHOD, Quantization
from minibiogpt.quantization.weights import (
    EightBits,
    FourBits,
    in_order,
    out_of_order,
    whole_blocks,
)

STATE = ".quant_state.bitsandbytes__"
PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # sizes that bitsandbytes takes
BYTES = {"q8_0": 34, "q4_0": 18}  # of a block of 32
SOURCES = ("float32", "float16", "bfloat16")
LARGEST = 2e36  # absmax of a row: its product with -128 is a float32
REMEDY = "save the model again, or use the one that it was quantized from"


@dataclass(frozen=True)
class StoredWeight:
    """A quantized weight in a file: several tensors, read together.

    Attributes
    ----------
    name : of the weight, without prefixes.
    parts : the tensors, by the end of their names: "" is the packed one.
    format : "nf4", "fp4", "int8", "q8_0" or "q4_0".
    state : what the JSON of bitsandbytes says.
    """

    name: str
    parts: Mapping[str, StoredTensor]
    format: str
    shape: tuple[int, int]
    state: Mapping[str, Any]
    dtype = "F32"  # of the values, as a file would hold them

    @property
    def path(self) -> Path:
        return self.parts[""].path

    def read(self, quantization: Quantization | None = None) -> PackedWeight:
        """Return the weight; of 8 bits by row the one that is multiplied as ``quantization`` says.

        Raises
        ------
        CheckpointError
            If the tensors don't have the values that the format allows.
        """
        codes = _values(self.parts[""]) if self.format == "int8" else _bytes(self.parts[""])
        if self.format == "int8":
            absmax = _values(self.parts[".SCB"]).reshape(-1).astype(np.float32)
            self._require(bool(((absmax >= 0) & (absmax <= LARGEST)).all()), "SCB", f"numbers from 0 to {LARGEST}")
            if quantization and quantization.format == "int8-dynamic":
                return DynamicEightBits(self.shape, codes, absmax, threshold=quantization.threshold)
            return EightBits(self.shape, codes, absmax)
        if self.format == "q8_0":
            integers, scales = blocks.unpack_q8_0(codes.reshape(self.parts[""].shape))
            self._require(bool(np.isfinite(scales).all()), "scales", "finite numbers")
            return EightBits(self.shape, integers, scales)
        if self.format == "q4_0":
            halves, scales = blocks.unpack_q4_0(codes.reshape(self.parts[""].shape))
            self._require(bool(np.isfinite(scales).all()), "scales", "finite numbers")
            return FourBits("q4_0", self.shape, in_order(halves), scales.reshape(-1))
        packed = whole_blocks(codes, self.state["blocksize"])
        return FourBits(self.format, self.shape, packed, self._scales(), source=_dtype(self.state["dtype"]))

    def _scales(self) -> np.ndarray | DoubleQuantized:
        flat = {end: _values(tensor).reshape(-1) for end, tensor in self.parts.items() if end}
        book, want = flat[".quant_map"].astype(np.float32), CODE_BOOKS[self.format]
        same = book.shape == want.shape and np.allclose(book, want, rtol=0, atol=1e-4)
        self._require(same, "quant_map", f"the 16 numbers of {self.format}")
        absmax = flat[".absmax"]
        if ".nested_absmax" not in flat:
            self._require(bool(np.isfinite(absmax).all()), "absmax", "finite numbers")
            return absmax.astype(np.float32, copy=False)
        nested, code_book = flat[".nested_absmax"], flat[".nested_quant_map"]
        for what, values in (("nested_absmax", nested), ("nested_quant_map", code_book)):
            self._require(bool(np.isfinite(values).all()), what, "finite numbers")
        offset, size = self.state["nested_offset"], self.state["nested_blocksize"]
        scales = DoubleQuantized(absmax, nested.astype(np.float32), offset, code_book.astype(np.float32), size)
        with np.errstate(over="ignore"):
            finite = bool(np.isfinite(double.dequantize(scales)).all())
        self._require(finite, "absmax", "finite numbers")
        return scales

    def _require(self, holds: bool, what: str, must: str) -> None:
        if not holds:
            raise CheckpointError(f"{what} of {self.name} in {self.path} must be {must}", "others", REMEDY)

    def read_into(self, out: np.ndarray) -> None:
        """Write the values to out (N, K), of floats."""
        with np.errstate(all="ignore"):
            out[...] = np.asarray(self.read())

    def raw(self) -> np.ndarray:
        """Return the bytes of the values."""
        return np.asarray(self.read()).reshape(-1).view(np.uint8)


def gather(tensors: Mapping[str, StoredTensor], settings: Any) -> dict[str, StoredTensor | StoredWeight]:
    """Return the tensors by name, with those of each quantized weight as one ``StoredWeight``.

    Parameters
    ----------
    settings : ``quantization_config`` of config.json, which says of GGUF's blocks what they are.

    Raises
    ------
    CheckpointError
        If tensors of a weight are missing, or don't fit each other.
    """
    found: dict[str, StoredTensor | StoredWeight] = dict(tensors)
    own = settings.get("format") if isinstance(settings, dict) and settings.get("quant_method") == OWN_METHOD else None
    own = own if isinstance(own, str) else None
    every: dict[str, list[str]] = {}  # the quant_states of each weight
    for name in (one for one in tensors if STATE in one):
        every.setdefault(name.partition(STATE)[0], []).append(name)
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            module = name.removesuffix(".weight")
            if states := every.get(name, []):
                found |= {name: _four_bits(name, tensors, states)}
                parts = [*states, *(name + end for end in PARTS)]
            elif f"{module}.SCB" in tensors:
                found |= {name: _rows(name, tensors)}
                parts = [f"{module}.SCB", f"{module}.weight_format"]
            elif own in BYTES and tensor.dtype == "U8":
                found |= {name: _blocks(name, tensor, own)}
                parts = []
            else:
                continue
            for part in parts:
                found.pop(part, None)
    return found


def _four_bits(name: str, tensors: Mapping[str, StoredTensor], states: list[str]) -> StoredWeight:
    tensor = tensors[name]
    must = f"{name} in {tensor.path} must be 4-bit weights of bitsandbytes"
    kind = states[0].removeprefix(name + STATE)
    if len(states) > 1 or kind not in ("nf4", "fp4"):
        found = short_repr(", ".join(one.removeprefix(name) for one in states))
        raise CheckpointError(f"{must}, with one quant_state of nf4 or fp4", found, REMEDY)
    state = _state(must, _bytes(tensors[states[0]]), kind)
    parts = {"": tensor} | {end: tensors[name + end] for end in PARTS if name + end in tensors}
    nested = "nested_offset" in state
    wanted = (".absmax", ".quant_map", *((".nested_absmax", ".nested_quant_map") if nested else ()))
    missing = [name + end for end in wanted if end not in parts]
    if missing:
        raise CheckpointError(must, f"no {', '.join(missing)}", REMEDY)
    parts = {end: parts[end] for end in ("", *wanted)}
    N, K = shape = tuple(state["shape"])
    count = -(-N * K // state["blocksize"])
    sizes = {"": -(-N * K // 2), ".absmax": count, ".quant_map": 16}
    if nested:
        sizes |= {".nested_absmax": -(-count // state["nested_blocksize"]), ".nested_quant_map": 256}
    for end, size in sizes.items():
        found_size = math.prod(parts[end].shape)
        if end == "":
            found_size = parts[end].end - parts[end].begin  # bytes: the packed codes may be stored in any dtype
        if found_size != size:
            what = f"{size} {'bytes' if end == '' else 'numbers'} in {name}{end} of shape {shape}"
            raise CheckpointError(f"{must}, with {what}", str(found_size), REMEDY)
    floats = [*(() if nested else (".absmax",)), *(end for end in wanted if end != ".absmax")]
    _require_dtypes(must, name, parts, floats, ("F32", "F16", "BF16"))
    _require_dtypes(must, name, parts, [".absmax"] if nested else [], ("U8",))
    return StoredWeight(name, parts, kind, shape, state)


def _state(must: str, raw: np.ndarray, kind: str) -> dict[str, Any]:
    """Return the JSON of a quant_state, with the keys that are needed checked."""
    try:
        state = json.loads(raw.tobytes().decode())
    except (ValueError, RecursionError):
        raise CheckpointError(f"{must}, with JSON in quant_state", "no JSON", REMEDY) from None
    wrong = _wrong_in(state, kind) if isinstance(state, dict) else "no object"
    if wrong:
        raise CheckpointError(f"{must}, with a quant_state that describes them", wrong, REMEDY)
    return dict(state)


def _wrong_in(state: Mapping[str, Any], kind: str) -> str:
    """Return what is wrong in a quant_state; an empty string if nothing is."""
    shape, size = state.get("shape"), state.get("blocksize")
    if state.get("quant_type") != kind:
        return f"quant_type {short_repr(state.get('quant_type'))}"
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 < n < 2**31 for n in shape):
        return f"shape {short_repr(shape)}"
    if type(size) is not int or size not in BLOCKS:
        return f"blocksize {short_repr(size)}"
    if state.get("dtype") not in SOURCES:
        return f"dtype {short_repr(state.get('dtype'))}"
    nested = {key for key in state if key.startswith("nested_")}
    if nested:
        offset: Any = state.get("nested_offset")
        size = state.get("nested_blocksize")
        if not is_finite_number(offset) or abs(offset) > 3e38:
            return f"nested_offset {short_repr(offset)}"
        if type(size) is not int or size not in BLOCKS:
            return f"nested_blocksize {short_repr(size)}"
    return ""


def _rows(name: str, tensors: Mapping[str, StoredTensor]) -> StoredWeight:
    tensor, scales = tensors[name], tensors[f"{name.removesuffix('.weight')}.SCB"]
    must = f"{name} in {tensor.path} must be 8-bit weights of bitsandbytes"
    if tensor.dtype != "I8" or len(tensor.shape) != 2:
        raise CheckpointError(f"{must}, I8 (out, in)", f"{tensor.dtype} {tensor.shape}", REMEDY)
    if scales.dtype not in ("F32", "F16", "BF16") or math.prod(scales.shape) != tensor.shape[0]:
        found = f"SCB {scales.dtype} {scales.shape}"
        raise CheckpointError(f"{must}, with one float of SCB for each of {tensor.shape[0]} rows", found, REMEDY)
    order = tensors.get(f"{name.removesuffix('.weight')}.weight_format")
    if order is not None and (order.dtype not in DTYPES or _values(order).reshape(-1)[:1].tolist() != [0]):
        raise CheckpointError(f"{must} in the order of rows", "weight_format other than 0", REMEDY)
    N, K = tensor.shape
    return StoredWeight(name, {"": tensor, ".SCB": scales}, "int8", (N, K), {})


def _blocks(name: str, tensor: StoredTensor, kind: str) -> StoredWeight:
    if len(tensor.shape) != 2 or tensor.shape[1] % BYTES[kind]:
        must = f"{name} in {tensor.path} must be blocks of {BYTES[kind]} bytes, as {kind} of GGUF has them"
        raise CheckpointError(must, f"shape {tensor.shape}", REMEDY)
    N, width = tensor.shape
    return StoredWeight(name, {"": tensor}, kind, (N, width // BYTES[kind] * 32), {})


def _require_dtypes(
    must: str, name: str, parts: Mapping[str, StoredTensor], ends: list[str], dtypes: tuple[str, ...]
) -> None:
    for end in ends:
        if parts[end].dtype not in dtypes:
            raise CheckpointError(f"{must}, with {name}{end} of {' or '.join(dtypes)}", parts[end].dtype, REMEDY)


def _values(tensor: StoredTensor) -> np.ndarray:
    """Read a tensor as a whole; bfloat16 as float32."""
    if tensor.dtype == "BF16":
        return widened(tensor.mapped(), "BF16")
    out = np.empty(tensor.shape, DTYPES[tensor.dtype])
    tensor.read_into(out)
    return out


def _bytes(tensor: StoredTensor) -> np.ndarray:
    """Read the bytes of a tensor of any dtype."""
    return _values(replace(tensor, dtype="U8", shape=(tensor.end - tensor.begin,)))


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            must = "weights quantized from bfloat16 need the package ml_dtypes"
            raise CheckpointError(must, "not installed", "pip install ml_dtypes") from None
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def stored_arrays(name: str, weight: PackedWeight) -> dict[str, np.ndarray]:
    """Return the tensors of a weight in a file, by name: NumPy arrays. The name ends in ``.weight``."""
    module = name.removesuffix(".weight")
    if isinstance(weight, FourBits) and weight.code_book == "q4_0":
        codes, scales = out_of_order(weight.packed), weight.scales
        assert isinstance(scales, np.ndarray)
        N, K = weight.shape
        return {name: blocks.pack_q4_0(codes.reshape(N, K // 2), scales.reshape(N, K // 32))}
    if isinstance(weight, FourBits):
        return _stored_four_bits(name, weight)
    assert isinstance(weight, EightBits)
    if weight.scales.ndim == 2:
        return {name: blocks.pack_q8_0(weight.codes, weight.scales)}
    return {
        name: weight.codes,
        f"{module}.SCB": weight.scales.astype(np.float32, copy=False),
        f"{module}.weight_format": np.zeros((), np.uint8),
    }


def _stored_four_bits(name: str, weight: FourBits) -> dict[str, np.ndarray]:
    N, K = weight.shape
    packed = weight.packed.reshape(-1)[: -(-N * K // 2)].reshape(-1, 1)
    state: dict[str, Any] = {
        "quant_type": weight.code_book,
        "blocksize": weight.block,
        "dtype": weight.source.name,
        "shape": [N, K],
    }
    found = {name: packed, f"{name}.quant_map": CODE_BOOKS[weight.code_book]}
    if isinstance(weight.scales, DoubleQuantized):
        nested = weight.scales
        found |= {f"{name}.absmax": nested.codes, f"{name}.nested_absmax": nested.absmax}
        found |= {f"{name}.nested_quant_map": nested.code_book}
        state |= {"nested_blocksize": nested.block, "nested_dtype": "float32", "nested_offset": float(nested.offset)}
    else:
        found |= {f"{name}.absmax": weight.scales}
    text = json_text(state).encode()
    return found | {f"{name}{STATE}{weight.code_book}": np.frombuffer(text, np.uint8).copy()}
