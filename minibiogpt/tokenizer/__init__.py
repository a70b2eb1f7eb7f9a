"""Text to ids and back: Moses, then byte-pair encoding.

Read ``tokenizer`` first; ``moses``, ``bpe`` and ``vocabulary`` are its parts, ``encoding`` makes the arrays,
``offsets`` finds each piece in the text. This wing knows no model.
"""

from minibiogpt.tokenizer.encoding import Piece
from minibiogpt.tokenizer.tokenizer import BioGptTokenizer

__all__ = ["BioGptTokenizer", "Piece"]
