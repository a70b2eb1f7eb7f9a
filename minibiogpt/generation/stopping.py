"""Stopping criteria: (ids, scores) -> one boolean per row, True when the row has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.checks import plain
from minibiogpt.errors import InputError, short_repr

if TYPE_CHECKING:
    from minibiogpt.tokenizer import BioGptTokenizer

StoppingCriterion = Callable[[Array, Any], Array]
"""Takes the ids so far, (rows, S) int64, and the scores of all steps (or None); returns (rows,) booleans."""


@dataclass(frozen=True)
class EndToken:
    """Ends a row when its newest token is one of ``eos_token_ids``.

    Examples
    --------
    >>> import numpy as np
    >>> EndToken([2, 9])(np.array([[5, 2], [2, 5]]), None).tolist()
    [True, False]
    """

    eos_token_ids: Sequence[int]

    def __call__(self, ids: Array, scores: Any = None) -> Array:
        return isin(ids[:, -1], self.eos_token_ids)


class MaxTime:
    """Ends every row once more than ``seconds`` have passed since this object was made (max_time).

    Examples
    --------
    >>> import numpy as np
    >>> clock = iter([0.0, 1.5, 2.5])  # at the beginning, and after each of two tokens
    >>> criterion = MaxTime(2.0, clock.__next__)
    >>> criterion(np.array([[5]])), criterion(np.array([[5, 6]]))
    (False, True)
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.end = clock, clock() + seconds

    def __call__(self, ids: Array, scores: Any = None) -> bool:
        return self.clock() > self.end


class StopStrings:
    """Ends a row when its text, without special tokens, contains one of the strings, ending after the prompt.

    The text is searched as it would be decoded, so a match inside a token counts before the word is complete. A string
    may start in the prompt and end in the new text. (transformers 4.57 matches token by token, and treats BioGPT's
    tokens as words. If a string is a whole word in the middle of a text, both stop at the same token.)
    """

    def __init__(self, strings: str | Sequence[str], tokenizer: BioGptTokenizer | None, prompt: Array) -> None:
        if tokenizer is None:
            must = "generate needs the tokenizer to find stop_strings"
            raise InputError(must, "none", "pass tokenizer=BioGptTokenizer.from_pretrained(...)")
        self.strings = [strings] if isinstance(strings, str) else list(strings)
        self.tokenizer = tokenizer
        self.prompts = [self._text(row) for row in backend_of(prompt).to_numpy(prompt)]

    def __call__(self, ids: Array, scores: Any = None) -> Array:
        backend = backend_of(ids)
        per_prompt = ids.shape[0] // len(self.prompts)  # the rows of one prompt are consecutive
        rows = enumerate(backend.to_numpy(ids))
        return backend.asarray([self._matches(self.prompts[i // per_prompt], self._text(row)) for i, row in rows])

    def _text(self, row: Any) -> str:
        return self.tokenizer.decode(row, skip_special_tokens=True)

    def _matches(self, prompt: str, text: str) -> bool:
        common = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(prompt))
        return any(text.find(s, max(common - len(s) + 1, 0)) >= 0 for s in self.strings)


def isin(tokens: Array, ids: Sequence[int]) -> Array:
    """Return elementwise whether a token is one of ``ids``, like numpy.isin."""
    found = tokens != tokens
    for token in ids:
        found = found | (tokens == token)
    return found


def as_array(value: Any, like: Array) -> Any:
    """Return what a caller's function returned, a list or a tensor too, as an array of the backend of ``like``.

    What holds anything but numbers stays as it is. An array of the backend keeps its dtype, all else has that of
    ``like``.

    Examples
    --------
    >>> import numpy as np
    >>> as_array([[1, 0]], np.zeros((1, 2), dtype=np.float32)), as_array(None, np.zeros(1))
    (array([[1., 0.]], dtype=float32), None)
    """
    backend = backend_of(like)
    if isinstance(value, backend.array_type):
        return value
    try:
        found = np.asarray(plain(value))
    except ValueError:  # rows of unequal length
        return value
    return backend.asarray(found.astype(like.dtype)) if found.dtype.kind in "biuf" else value


def any_criterion_met(criteria: Sequence[StoppingCriterion], ids: Array, scores: Any) -> Array:
    """Return (rows,) whether each row meets any criterion. A criterion may return one boolean for all rows."""
    backend = backend_of(ids)
    rows = ids.shape[0]
    met = backend.xp.zeros((rows,), dtype=bool)
    for criterion in criteria:
        returned = criterion(ids, scores)
        result = as_array(returned, met)
        if getattr(result, "shape", None) not in ((), (rows,)):
            must = f"a stopping criterion must return ({rows},) booleans, one for each row"
            shape = getattr(result, "shape", None)
            found = short_repr(returned) if shape is None else f"shape {shape}"
            raise InputError(must, found, "return ids[:, -1] == token, or similar")
        met = met | result.astype(bool)
    return met
