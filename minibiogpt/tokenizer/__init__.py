"""Text to ids and back: Moses, then byte-pair encoding. Knows nothing of models."""

from minibiogpt.tokenizer.encoding import Piece
from minibiogpt.tokenizer.tokenizer import BioGptTokenizer

__all__ = ["BioGptTokenizer", "Piece"]
