"""Sampler: from one row of logits to a token, with temperature, top-k and top-p to be moved, as one page."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from minibiogpt.backend import backend_of
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError
from minibiogpt.view.colors import PALETTES
from minibiogpt.view.layer import labels_of
from minibiogpt.view.page import OnePage, Page, check_theme, packed, safe

SCRIPTS = ("base.js", "arrays.js", "sampling.js", "sampler.js")


class Sampler(OnePage):
    """How logits become a token: probabilities under the three rules, what they cut, and draws.

    The page computes in float64, in the order and by the rules of ``minibiogpt.generation``: temperature, top-k, top-p.
    Its draws come from a generator of its own: the same seed gives the same draws there, and others in ``generate``.

    Parameters
    ----------
    logits : (V,) or (1, V), of any backend: unnormalised natural-log scores of the next token; -inf is never drawn.
    tokenizer : tells the pieces; None shows ids.
    top : how many tokens have a bar of their own. theme : "auto", "light" or "dark". seed : of the draws.

    Attributes
    ----------
    page : the Page. html : the whole document.

    Raises
    ------
    InputError
        If it is not one row of numbers, or the tokenizer is of another vocabulary.

    Examples
    --------
    >>> import numpy as np
    >>> Sampler(np.log([0.5, 0.3, 0.2]), None)
    <Sampler of 3 tokens, the most probable 'id 0'>
    """

    height = 820

    def __init__(
        self, logits: Any, tokenizer: Any = None, *, top: int = 20, theme: str = "auto", seed: int = 0, text: str = ""
    ) -> None:
        self.logits = _row(logits)
        check_theme(theme)
        if not is_integer(top) or top < 1:
            raise InputError("top must be a whole number, 1 or more", repr(top), "choose another")
        if not is_integer(seed) or not 0 <= seed < 2**32:
            raise InputError("seed must be a whole number, 0 to 2**32 - 1", repr(seed), "choose another")
        self.top, self.theme, self.seed, self.text = min(int(top), self.logits.size), theme, int(seed), text
        if tokenizer is not None and len(tokenizer) != self.logits.size:
            must = f"the tokenizer must be of the logits' vocabulary, V = {self.logits.size}"
            raise InputError(must, f"one of {len(tokenizer)} tokens", "take the one of the model's own folder")
        self.pieces = labels_of(range(self.logits.size), tokenizer)

    @cached_property
    def page(self) -> Page:
        """The page, made when it is first asked for."""
        text = f'<p class="text" dir="auto">{safe(self.text)}</p>' if self.text else ""
        body = (
            f'<header><h1>From logits to a token</h1>{text}<p class="soft">{self.logits.size} tokens to choose from; '
            'all is computed here, in float64</p></header><main id="sampler"><noscript>This page shows its pictures '
            "with the script that is inside it: let scripts run.</noscript></main>"
        )
        data = {"pieces": self.pieces, "logits": packed(self.logits), "top": self.top, "seed": self.seed}
        data |= {"colors": PALETTES}
        return Page("From logits to a token", body, data, SCRIPTS, ("page.css", "sampler.css"), self.theme)

    def __repr__(self) -> str:
        return f"<Sampler of {self.logits.size} tokens, the most probable {self.pieces[int(self.logits.argmax())]!r}>"


def _row(logits: Any) -> np.ndarray:
    """One row of numbers, in their own precision."""
    must, remedy = "logits must be one row of numbers, (V,)", "give out.logits[0, -1]"
    try:
        host = backend_of(logits).to_numpy(logits)
    except TypeError:
        raise InputError(must, type(logits).__name__, remedy) from None
    if host.shape[:-1] not in ((), (1,)) or not host.size:
        raise InputError(must, f"shape {host.shape}", remedy)
    row = host.reshape(-1)
    row = row if row.dtype == np.float64 else row.astype(np.float32)
    if np.isnan(row).any() or not np.isfinite(row.max()):
        raise InputError("logits must have a largest number, and no NaN", "NaN, infinity, or only -inf", remedy)
    return row
