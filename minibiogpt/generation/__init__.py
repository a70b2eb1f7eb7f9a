"""Logits to text: the decoding loop, what may be done to the logits on the way, and streaming."""

from minibiogpt.generation.decode import generate
from minibiogpt.generation.processors import LogitsProcessor, MinLength, Temperature, TopK, TopP
from minibiogpt.generation.streaming import TextStreamer

__all__ = ["LogitsProcessor", "MinLength", "Temperature", "TextStreamer", "TopK", "TopP", "generate"]
