"""How a model is to be quantized: the format, and which weights keep their floats."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.checks import is_finite_number
from minibiogpt.errors import InputError, short_repr
from minibiogpt.quantization import blocks, rows
from minibiogpt.quantization.double import DoubleQuantized
from minibiogpt.quantization.dynamic import DynamicEightBits
from minibiogpt.quantization.weights import EightBits, FourBits, four_bit_weight, pack_q4_0

FORMATS = ("nf4", "fp4", "int8", "int8-dynamic", "q8_0", "q4_0")
HEADS = ("output_projection", "score", "classifier")  # not in a layer, so never quantized
OUTLIERS = 6.0  # LLM.int8's threshold, which transformers takes by default
METHOD, OWN_METHOD = "bitsandbytes", "minibiogpt"  # quant_method in config.json


@dataclass(frozen=True)
class Quantization:
    """How to quantize the matrices of a model's layers.

    The embeddings, norms, biases and the head keep their floats, as bitsandbytes leaves them in transformers: they are
    read by rows or are small, and the head decides between 42,384 tokens.

    Attributes
    ----------
    format : one of ``FORMATS``.
    double_quant : of nf4 and fp4: whether the scales of the blocks are quantized to 8 bits themselves.
    skip : modules of layers that keep their floats, too: "fc2" in every layer, "layers.0" or "layers.0.fc2".
    threshold : of int8-dynamic: columns of rows with a number of at least this size are multiplied as floats; 0: none.

    Raises
    ------
    InputError
        If there is no such format.
    """

    format: str
    double_quant: bool = True
    skip: tuple[str, ...] = ()
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            must = f"quantization must be one of {', '.join(FORMATS)}"
            raise InputError(must, short_repr(self.format), "choose one of these, or leave it out")

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Return the names of the tensors to quantize: the matrices of the layers, less what is skipped.

        Raises
        ------
        InputError
            If ``skip`` names a module that isn't there, or leaves nothing.

        Examples
        --------
        >>> names = ["layers.0.fc1.weight", "layers.0.fc1.bias", "layers.0.fc2.weight", "layer_norm.weight"]
        >>> Quantization("nf4", skip=("fc2",)).chosen(names)
        ['layers.0.fc1.weight']
        """
        every = list(names)
        modules = {name: name.removesuffix(".weight") for name in every if _is_matrix_of_a_layer(name)}
        others = {name.rpartition(".")[0] for name in every} | {*HEADS, "lm_head", "embed_tokens", "embed_positions"}
        for key in self.skip:
            if not any(_is_within(module, key) for module in [*modules.values(), *others]):
                remedy = 'write "fc2", "layers.0" or "layers.0.self_attn.q_proj"'
                raise InputError("skip must name modules of the model", short_repr(key), remedy)
        found = [name for name, module in modules.items() if not any(_is_within(module, key) for key in self.skip)]
        if self.skip and not found:
            raise InputError("skip must leave a matrix to quantize", short_repr(list(self.skip)), "skip fewer modules")
        return found

    def pack(self, x: np.ndarray, dtype: Any) -> PackedWeight:
        """Return x (N, K), float32, float16 or bfloat16, in this format, for a model that computes in ``dtype``."""
        shape = (len(x), x.shape[1])
        weight: PackedWeight
        if self.format in ("nf4", "fp4"):
            weight = four_bit_weight(x, self.format, self.double_quant)
        elif self.format == "q4_0":
            weight = FourBits("q4_0", shape, *pack_q4_0(x))
        elif self.format == "q8_0":
            weight = EightBits(shape, *blocks.quantize_q8_0(x))
        elif self.format == "int8":
            weight = EightBits(shape, *rows.quantize(x))
        else:
            codes, absmax = rows.quantize(x)
            weight = DynamicEightBits(shape, codes, absmax, threshold=self.threshold)
        weight.dtype = np.dtype(dtype)
        return weight

    def config(self) -> dict[str, Any]:
        """Return ``quantization_config`` of config.json: transformers' own of bitsandbytes, where it has the format."""
        if self.format in ("q8_0", "q4_0"):
            return {"quant_method": OWN_METHOD, "format": self.format, "skip_modules": list(self.skip) or None}
        four, dynamic = self.format in ("nf4", "fp4"), self.format == "int8-dynamic"
        # A list of skipped modules replaces transformers' own, which keeps the head. There, a path must be complete.
        paths = [f"biogpt.{key}" for key in self.skip if key.startswith("layers.")]
        skipped = [*self.skip, *paths, *HEADS] if self.skip else None
        return {
            "quant_method": METHOD,
            "_load_in_4bit": four,
            "_load_in_8bit": not four,
            "load_in_4bit": four,
            "load_in_8bit": not four,
            "bnb_4bit_compute_dtype": "float32",
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": self.format if four else "fp4",
            "bnb_4bit_use_double_quant": four and self.double_quant,
            "llm_int8_enable_fp32_cpu_offload": False,
            "llm_int8_has_fp16_weight": False,
            "llm_int8_skip_modules": skipped,
            "llm_int8_threshold": self.threshold if dynamic else OUTLIERS,
            **({"activations": "int8"} if dynamic else {}),  # our own key, which transformers ignores
        }


def from_config(settings: Any) -> Quantization | None:
    """Return what ``quantization_config`` says, of bitsandbytes or our own; None if it is of another method.

    Examples
    --------
    >>> from_config({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
    Quantization(format='nf4', double_quant=False, skip=(), threshold=0.0)
    """
    if not isinstance(settings, dict):
        return None
    method = settings.get("quant_method", METHOD if {"load_in_4bit", "load_in_8bit"} & settings.keys() else None)
    if method == OWN_METHOD and settings.get("format") in FORMATS:
        return Quantization(settings["format"], skip=_names(settings.get("skip_modules")))
    if method != METHOD:
        return None
    names = (name.removeprefix("biogpt.") for name in _names(settings.get("llm_int8_skip_modules")))
    skip = tuple(dict.fromkeys(name for name in names if name not in HEADS))
    if settings.get("load_in_4bit") or settings.get("_load_in_4bit"):
        kind = settings.get("bnb_4bit_quant_type", "fp4")
        if kind not in ("nf4", "fp4"):
            raise InputError("bnb_4bit_quant_type must be nf4 or fp4", short_repr(kind), "choose one of these")
        return Quantization(kind, bool(settings.get("bnb_4bit_use_double_quant", False)), skip)
    if settings.get("load_in_8bit") or settings.get("_load_in_8bit"):
        if settings.get("activations") != "int8":
            return Quantization("int8", skip=skip)
        threshold = settings.get("llm_int8_threshold", OUTLIERS)
        return Quantization("int8-dynamic", skip=skip, threshold=float(threshold) if is_finite_number(threshold) else 0)
    return None


def as_quantization(
    quantization: Any, double_quant: bool = True, skip: Collection[str] | None = (), threshold: float | None = None
) -> Quantization | None:
    """Return the settings that the arguments of ``from_pretrained`` make; None for none.

    Raises
    ------
    InputError
        If there is no such format, or an option goes with another format.
    """
    skip = () if skip is None else skip
    if isinstance(skip, str) or not all(isinstance(name, str) for name in skip):
        raise InputError("skip must be a list of names of modules", short_repr(skip), 'write skip=["fc2"]')
    if isinstance(quantization, Quantization):
        return replace(quantization, skip=tuple(skip)) if skip else quantization
    if quantization is None or quantization == "none":
        for name, value in (("skip", skip), ("outlier_threshold", threshold)):
            if value:
                raise InputError(f"{name} goes with quantization", f"{name}={short_repr(value)}", "leave it out")
        return None
    if not isinstance(quantization, str):
        must = f"quantization must be one of {', '.join(FORMATS)}"
        raise InputError(must, short_repr(quantization), "choose one of these, or leave it out")
    if threshold is not None and not (is_finite_number(threshold) and threshold >= 0):
        raise InputError("outlier_threshold must be a number, 0 or more", short_repr(threshold), "write 6.0, or 0")
    if threshold is not None and quantization != "int8-dynamic":
        must = "outlier_threshold goes with quantization='int8-dynamic'"
        raise InputError(must, short_repr(quantization), "leave it out")
    if not isinstance(double_quant, bool):
        raise InputError("double_quant must be True or False", short_repr(double_quant), "write one of them")
    return Quantization(quantization.lower(), double_quant, tuple(skip), float(threshold or 0))


def format_of(weight: PackedWeight) -> str:
    """Return the format of a weight, as ``FORMATS`` names it."""
    if isinstance(weight, FourBits):
        return weight.code_book
    if isinstance(weight, DynamicEightBits):
        return "int8-dynamic"
    return "int8" if isinstance(weight, EightBits) and weight.scales.ndim == 1 else "q8_0"


def quantization_of(weights: Mapping[str, Any]) -> Quantization | None:
    """Return how a model's weights are quantized, by the checkpoint's names; None if none is.

    Raises
    ------
    InputError
        If they have several formats, which no config.json can describe.
    """
    packed = {name.removeprefix("biogpt."): x for name, x in weights.items() if isinstance(x, PackedWeight)}
    kinds = sorted({format_of(x) for x in packed.values()})
    if not kinds:
        return None
    if len(kinds) > 1:
        remedy = "quantize all of them in one format, or model.dequantize()"
        raise InputError("all quantized weights must have one format", " and ".join(kinds), remedy)
    names = [name.removeprefix("biogpt.") for name in weights]
    skip = [name.removesuffix(".weight") for name in names if _is_matrix_of_a_layer(name) and name not in packed]
    first = next(iter(packed.values()))
    threshold = first.threshold if isinstance(first, DynamicEightBits) else 0.0
    double_quant = isinstance(first, FourBits) and isinstance(first.scales, DoubleQuantized)
    return Quantization(kinds[0], double_quant, _shortest(skip, names), threshold)


def _shortest(modules: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """Return modules by their last part, if every module of that name is among them.

    Examples
    --------
    >>> _shortest(["layers.0.fc2"], ["layers.0.fc2.weight", "layers.0.fc1.weight"])
    ('fc2',)
    """
    every = [name.removesuffix(".weight") for name in names if _is_matrix_of_a_layer(name)]
    last = dict.fromkeys(module.rpartition(".")[2] for module in modules)
    whole = [key for key in last if all(one in modules for one in every if one.endswith(f".{key}"))]
    return (*whole, *(module for module in modules if module.rpartition(".")[2] not in whole))


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list | tuple) else ()


def _is_matrix_of_a_layer(name: str) -> bool:
    return name.startswith("layers.") and name.endswith(".weight") and "layer_norm" not in name


def _is_within(module: str, key: str) -> bool:
    """Whether a module is the one called ``key``, or inside it: "layers.0", "self_attn" or "fc2"."""
    return f".{key.removeprefix('biogpt.')}." in f".{module}."
