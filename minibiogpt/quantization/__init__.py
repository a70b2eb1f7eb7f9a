"""Weights of 4 and of 8 bits: how they are quantized, stored, and multiplied with.

``code_books`` lists the numbers that 4 bits can stand for. Each format is a pair of equations, quantize and dequantize:
``four_bits`` (nf4 and fp4, in blocks with a scale each), ``double`` (these scales in 8 bits), ``rows`` (8 bits, a scale
a row) and ``blocks`` (q8_0 and q4_0 of GGUF). ``weights`` and ``dynamic`` have what a layer holds instead of an array,
``stored`` the tensors of a file, ``settings`` which weights of a model are quantized, and how. Knows nothing about
layers.
"""

from minibiogpt.quantization.dynamic import DynamicEightBits
from minibiogpt.quantization.settings import (
    FORMATS,
    Quantization,
    as_quantization,
    format_of,
    from_config,
    quantization_of,
)
from minibiogpt.quantization.stored import StoredWeight, gather, stored_arrays
from minibiogpt.quantization.weights import EightBits, FourBits

__all__ = [
    "FORMATS",
    "DynamicEightBits",
    "EightBits",
    "FourBits",
    "Quantization",
    "StoredWeight",
    "as_quantization",
    "format_of",
    "from_config",
    "gather",
    "quantization_of",
    "stored_arrays",
]
