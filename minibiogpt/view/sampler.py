"""Sampler: from one row of logits to a token, as one page with sliders for temperature, top-k and top-p."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from minibiogpt.backend import backend_of
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view.arguments import origin_of
from minibiogpt.view.colors import PALETTES
from minibiogpt.view.page import OnePage, Page, check_theme, packed, safe

MOST_PADDING = 127  # rows of an embedding beyond the tokens: a soft prompt, or padding to a multiple of 128


class Sampler(OnePage):
    """How logits become a token: the probabilities after temperature, top-k and top-p, what they remove, and draws.

    The page applies the logits processors of ``minibiogpt.generation`` in their order and in the dtype of the logits:
    temperature, top-k, top-p. Its draws are those of ``generate``: the first one is the token that ``generate`` chooses
    first with ``do_sample=True``, the same options and the same seed, and the first n are those of
    ``num_return_sequences=n``.

    Parameters
    ----------
    logits : (V,) or (1, V), any backend: unnormalized log-probabilities of the next token, in nats; a token with -inf
        is never drawn.
    tokenizer : gives the text of each token; None shows ids.
    top : number of tokens with a bar of their own. theme : "auto", "light" or "dark". seed : of the draws.
    text : the text before the token, which the page shows; "" shows none.

    Attributes
    ----------
    page : the Page. html : the whole document.

    Raises
    ------
    InputError
        If logits is not one row of numbers, or the tokenizer's vocabulary has a different size. (A model may have up to
        127 rows more: a soft prompt, or padding to a multiple.)

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
            raise InputError("top must be an integer, 1 or more", short_repr(top), "choose a different value")
        if not is_integer(seed) or seed < 0:
            raise InputError("seed must be an integer, 0 or more", short_repr(seed), "choose a different value")
        if not isinstance(text, str):
            raise InputError("text must be a string", short_repr(text), "pass the text before the token")
        self.top, self.theme, self.seed, self.text = min(int(top), self.logits.size), theme, int(seed), text
        if tokenizer is not None and not 0 <= self.logits.size - len(tokenizer) <= MOST_PADDING:
            must = f"the tokenizer must have as many tokens as the logits, V = {self.logits.size}"
            raise InputError(must, f"{len(tokenizer)} tokens", "load the tokenizer from the folder of the model")
        self.pieces = labels_of(range(self.logits.size), tokenizer)
        self._origin = origin_of(tokenizer)

    @cached_property
    def page(self) -> Page:
        """The page, built on first access."""
        text = f'<p class="text" dir="auto">{safe(self.text)}</p>' if self.text else ""
        where = f"computed in this page, in {self.logits.dtype}"
        about = [self._origin, f"vocabulary of {self.logits.size} tokens", where]
        body = (
            f'<header><h1>From logits to a token</h1>{text}<p class="soft">{safe(" · ".join(filter(None, about)))}'
            '</p></header><main id="sampler"><noscript>This page needs JavaScript. '
            "It loads nothing from the network.</noscript></main>"
        )
        data = {"tokens": self.pieces, "logits": packed(self.logits), "top": self.top, "seed": str(self.seed)}
        data |= {"colors": PALETTES}
        return Page(
            "From logits to a token",
            body,
            data,
            styles=("styles/page.css", "styles/sampler.css"),
            theme=self.theme,
            module="sampler/sampler.js",
        )

    @property
    def still(self) -> str:
        """The most probable tokens in words."""
        probs = softmax(self.logits.astype(np.float64)[None])[0]
        best = np.argsort(-probs, kind="stable")[:8]
        found = ", ".join(f"{self.pieces[i]} {100 * probs[i]:.1f} %" for i in best)
        return f"<p>The most probable next tokens: {safe(found)}.</p>"

    def __repr__(self) -> str:
        return f"<Sampler of {self.logits.size} tokens, the most probable {self.pieces[int(self.logits.argmax())]!r}>"


def _row(logits: Any) -> np.ndarray:
    """Return the logits as one row, in float64 if they have that dtype, otherwise in float32."""
    must, remedy = "logits must be one row of numbers, (V,)", "pass out.logits[0, -1]"
    try:
        host = backend_of(logits).to_numpy(logits)
    except TypeError:
        raise InputError(must, type(logits).__name__, remedy) from None
    if host.shape[:-1] not in ((), (1,)) or not host.size:
        raise InputError(must, f"shape {host.shape}", remedy)
    row = host.reshape(-1)
    row = row if row.dtype == np.float64 else row.astype(np.float32)
    if np.isnan(row).any() or not np.isfinite(row.max()):
        raise InputError("logits must have a finite maximum and no NaN", "NaN, infinity, or only -inf", remedy)
    return row
