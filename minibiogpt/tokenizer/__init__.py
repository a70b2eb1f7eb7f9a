"""Text to ids and back: Moses, then byte-pair encoding.

Read ``tokenizer`` first. It uses ``moses``, ``bpe`` and ``vocabulary``. ``batch`` is the body of a call: it reads the
``texts``, and builds the rows with ``truncation`` and ``padding``. ``encoding`` has the options of a call,
``batch_encoding`` what it returns, and ``offsets`` finds each piece in the text. ``decoding`` is the way back, and
``tokens`` has the special and added tokens, the options and their files. This subpackage does not know the model.
"""

from minibiogpt.tokenizer.batch_encoding import BatchEncoding, CharSpan, TokenSpan
from minibiogpt.tokenizer.encoding import Piece
from minibiogpt.tokenizer.tokenizer import BioGptTokenizer
from minibiogpt.tokenizer.tokens.added_tokens import AddedToken

__all__ = ["AddedToken", "BatchEncoding", "BioGptTokenizer", "CharSpan", "Piece", "TokenSpan"]
