"""When a row ends: each criterion is one question, (ids, scores) -> a truth for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError

if TYPE_CHECKING:
    from minibiogpt.tokenizer import BioGptTokenizer

StoppingCriterion = Callable[[Array, Any], Array]
"""Takes the ids so far, (rows, S) int64, and the steps' scores (or None); returns (rows,) booleans."""


@dataclass(frozen=True)
class EndToken:
    """The newest token is one of these.

    Examples
    --------
    >>> import numpy as np
    >>> EndToken([2, 9])(np.array([[5, 2], [2, 5]]), None).tolist()
    [True, False]
    """

    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, scores: Any = None) -> Array:
        return is_any_of(ids[:, -1], self.eos_token_ids)


class StopStrings:
    """The text of the row, special tokens left out, holds one of these strings, beyond what the prompt held.

    A text is looked at as it would be decoded: what stands in a single piece counts before its word is finished, and
    a string may begin in the prompt and end in what is new. (transformers 4.57 matches piece by piece, and takes
    BioGPT's pieces for words; where a string is a whole word in the middle of a text, both stop at the same token.)
    """

    def __init__(self, strings: str | Sequence[str], tokenizer: BioGptTokenizer | None, prompt: Array) -> None:
        if tokenizer is None:
            must = "generate needs the tokenizer to find stop_strings"
            raise InputError(must, "none", "hand over tokenizer=BioGptTokenizer.from_pretrained(...)")
        self.strings = [strings] if isinstance(strings, str) else list(strings)
        self.tokenizer = tokenizer
        self.prompts = [self._text(row) for row in backend_of(prompt).to_numpy(prompt)]

    def __call__(self, ids: Array, scores: Any = None) -> Array:
        backend = backend_of(ids)
        times = ids.shape[0] // len(self.prompts)  # rows of one prompt follow each other
        rows = enumerate(backend.to_numpy(ids))
        return backend.asarray([self._found(self.prompts[i // times], self._text(row)) for i, row in rows])

    def _text(self, row: Any) -> str:
        return self.tokenizer.decode(row, skip_special_tokens=True)

    def _found(self, prompt: str, text: str) -> bool:
        same = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(prompt))
        return any(text.find(s, max(same - len(s) + 1, 0)) >= 0 for s in self.strings)


def is_any_of(tokens: Array, ids: Sequence[int]) -> Array:
    """Elementwise: whether a token is one of ``ids``."""
    found = tokens != tokens
    for one in ids:
        found = found | (tokens == one)
    return found


def any_of(criteria: Sequence[StoppingCriterion], ids: Array, scores: Any) -> Array:
    """(rows,) whether a row meets one of the criteria; a user's own may answer with one truth for all rows."""
    backend = backend_of(ids)
    rows = ids.shape[0]
    met = backend.xp.zeros((rows,), dtype=bool)
    for criterion in criteria:
        answer = backend.asarray(criterion(ids, scores))
        if answer.shape not in ((), (rows,)):
            must = f"a stopping criterion must return ({rows},) booleans, one for each row"
            raise InputError(must, f"shape {answer.shape}", "return ids[:, -1] == token, or the like")
        met = met | answer.astype(bool)
    return met
