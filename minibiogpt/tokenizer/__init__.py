"""Text to ids and back: Moses, then byte-pair encoding.

Read ``tokenizer`` first. It uses ``moses``, ``bpe`` and ``vocabulary``. ``encoding`` builds the arrays, and ``offsets``
finds each piece in the text. This subpackage does not know the model.
"""

from minibiogpt.tokenizer.encoding import Piece
from minibiogpt.tokenizer.tokenizer import BioGptTokenizer

__all__ = ["BioGptTokenizer", "Piece"]
