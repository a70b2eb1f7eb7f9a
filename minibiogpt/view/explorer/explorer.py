"""Explorer: the whole model as one page that runs it: type a text, and see every array."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from minibiogpt import BioGptForCausalLM, BioGptTokenizer
from minibiogpt.backend import Array
from minibiogpt.errors import InputError, short_repr
from minibiogpt.quantization import DynamicEightBits
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.trace import Trace
from minibiogpt.view.arguments import check_types, is_demo, one_row, origin_of, tokenizer_of
from minibiogpt.view.colors import PALETTES
from minibiogpt.view.explorer.bundle import bundled
from minibiogpt.view.explorer.recorded import recorded_lens
from minibiogpt.view.layer import explanations
from minibiogpt.view.page import MEGABYTE, OnePage, Page, check_size, check_theme, megabytes_of, safe, still_picture
from minibiogpt.view.picture import data_uri, png, tiled

RECORDED_MEGABYTES = 30  # the largest recorded page, unless max_megabytes is given
LIVE_MEGABYTES = 16  # the largest model that a page holds, by the size of its weights in float16
SPECIAL = {"<s>", "<pad>", "</s>", "<unk>"}
STYLES = (
    "styles/page.css",
    "styles/stepper.css",
    "styles/sampler.css",
    "styles/explorer.css",
    "styles/overview.css",
    "styles/generation.css",
    "styles/attention.css",
    "styles/lens.css",
    "styles/experiments.css",
    "styles/compare.css",
    "styles/exports.css",
)
DERIVED = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.scores_masked", "self_attn.weights")
"""Arrays of a layer that a recorded page derives from others: see static/explorer/runs/recorded.js."""
SPARE = (
    ("fc1", "activation_fn"),
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.context"),
    ("self_attn_layer_norm", "final_layer_norm"),
    ("self_attn.out_proj", "fc2"),
)
"""Arrays of a layer, in the order in which they are left out while a recorded page is too large."""


class Explorer(OnePage):
    """The whole model on one page: tokens, residual stream, attention, every step, and the next token.

    A small model is stored in the page with its weights, and the page is live: it has a text box, runs the model in
    JavaScript as you type, and generates and experiments. A larger model is run here, once, and the page shows the
    recorded arrays of that text. Both kinds work offline, and no text leaves the page.

    Parameters
    ----------
    model : a BioGptForCausalLM, any backend and dtype.
    text : a string, or the ids of one sequence, (T,) or (1, T). For a live page, the text that it starts with.
    tokenizer : by default the tokenizer in the folder that the model was loaded from.
    theme : "auto" (follow the system), "light" or "dark"; the page also has a button for it.
    live : whether the page contains the model; None: if its weights in float16 are below LIVE_MEGABYTES, and the page
        can split text into the same tokens.
    max_megabytes : the largest page size allowed. By default RECORDED_MEGABYTES for a recorded page; a live one may
        have the size of its weights.
    truncate : keep only as many first tokens of a string as the model has positions; without it, a longer one is an
        error.

    Attributes
    ----------
    page : the Page. html : the whole document.
    live : whether the page contains the model; why : the reason if it doesn't, or "".
    text : the text shown; ids : its token ids, a list of int; trace : every array of the run.
    left_out : of a recorded page, the arrays of a layer that would make it too large, such as "fc1". lens : what its
        logit lens shows, as ``recorded_lens`` returns it.

    Raises
    ------
    InputError
        If the model is not a language model, a text has no tokenizer, there is more than one sequence, ``live`` is True
        for a page that can't be, an argument has the wrong type, or the page would be too large.

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> explorer = Explorer(BioGptForCausalLM.from_pretrained("demo"), "Ibuprofen is best used for")
    >>> explorer
    <Explorer of 4 layers, live, 'Ibuprofen is best used for'>
    """

    height = 1000

    def __init__(
        self,
        model: Any,
        text: Any = "Ibuprofen is best used for",
        *,
        tokenizer: BioGptTokenizer | None = None,
        theme: str = "auto",
        live: bool | None = None,
        max_megabytes: float | None = None,
        truncate: bool = False,
    ) -> None:
        check_types(model, tokenizer, RECORDED_MEGABYTES if max_megabytes is None else max_megabytes)
        check_theme(theme)
        if not isinstance(model, BioGptForCausalLM):
            must, remedy = "the explorer needs a BioGptForCausalLM", "pass one, or use Stepper, which takes every class"
            raise InputError(must, type(model).__name__, remedy)
        self.model, self.theme, self.max_megabytes = model, theme, max_megabytes
        self.tokenizer = tokenizer or tokenizer_of(model, isinstance(text, str))
        if isinstance(text, str) and self.tokenizer:
            pieces, N = self.tokenizer.analyse(text), model.config.max_position_embeddings
            if truncate and len(pieces) >= N:
                text = self._start(text, pieces[N - 2].span[1] if N > 1 else 0)
            ids = self.tokenizer(text)["input_ids"]
            ids = ids[:, :N] if truncate else ids
        else:
            ids = one_row(text)
        self.trace = Trace()
        model(ids, use_cache=False, trace=self.trace)
        self.ids = [int(i) for i in model.backend.to_numpy(model.backend.asarray(ids))[0]]  # validated by the model
        typed = text if isinstance(text, str) else self._typed(self.ids)
        self.why = self._why_recorded(live, typed)
        self.live = not self.why
        self.text = self._decoded() if typed is None else typed
        if not self.live:
            self.lens = recorded_lens(model, self.trace)
            self.kept, self.left_out = self._kept()

    @cached_property
    def page(self) -> Page:
        """The page, built on first access."""
        config = self.model.config
        title = "BioGPT, explored"
        kind = origin_of(self.model) or "a model"
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        does = "A language model reads a text and says which token (a piece of a word) comes next."
        here = (
            "This page runs one: type, and see every number behind its answer."
            if self.live
            else "This page holds one run: every number behind the answer to one text."
        )
        dtype = "float32" if self.live else self.model.dtype  # a live page computes in float32
        body = (
            f'<header><h1>{title}</h1><p class="lead">{does} {here}</p><p class="soft">{safe(kind)} · {layers} layers, '
            f"{heads} heads each, D = {config.hidden_size}, V = {config.vocab_size} · {dtype}</p></header>"
            '<main id="explorer"><p class="soft">Loading the model …</p><noscript>This page needs JavaScript. It loads '
            "nothing from the network.</noscript></main>"
        )
        return Page(title, body, self._data(), (), STYLES, self.theme, module="explorer/main.js")

    @property
    def still(self) -> str:
        """The attention probabilities of every head, as a picture."""
        names = [f"layers.{layer}.self_attn.probs" for layer in range(self.model.config.num_hidden_layers)]
        maps = [list(self.model.backend.to_numpy(self.trace[name])[0]) for name in names]
        words = f"Where each head of each layer looks in “{self.text}”: a row for each layer, a picture for each head."
        return still_picture(data_uri(png(tiled(maps))), words)

    def __repr__(self) -> str:
        kind = "live" if self.live else "recorded"
        return f"<Explorer of {self.model.config.num_hidden_layers} layers, {kind}, {self.text!r}>"

    def _why_recorded(self, live: Any, typed: str | None) -> str:
        """Return why the page can't be live, or "" if it can. ``typed`` is the text of its text box, or None."""
        if live is not None and not isinstance(live, bool):
            raise InputError("live must be True, False or None", short_repr(live), "leave it out")
        if live is False:
            return "it was made without the model"
        count = sum(x.size for _, x in self.model.named_parameters())
        most = inf if self.max_megabytes is None else self.max_megabytes
        size = count * 4 * 4 / 3 / MEGABYTE  # float32 in base64
        recorded = "leave out live=True: the page then holds the run of one text"
        reason, error = "", ("", "", "")
        if count * 2 / 1e6 >= LIVE_MEGABYTES:
            reason = "the model is too large for the page"
            must = f"a live page needs a model of less than {LIVE_MEGABYTES} MB in float16"
            error = must, f"{count * 2 / 1e6:.0f} MB", recorded
        elif size > most:
            reason = f"with the model it would have more than {most:g} MB"
            error = (
                f"a page must have at most {most:g} megabytes",
                f"{size:.1f} for the model",
                "pass a larger max_megabytes",
            )
        elif any(isinstance(x, DynamicEightBits) for x in self.model.parameters()):
            reason = "the model rounds activations to 8 bits, which a page does not"
            remedy = 'load it with quantization="int8", or leave out live=True'
            error = "a live page needs a model with activations of floats", "int8-dynamic", remedy
        elif self.tokenizer is None:
            reason, error = "it has no tokenizer", (
                "a live page needs a tokenizer", "none", "pass tokenizer=BioGptTokenizer.from_pretrained(...)",
            )  # fmt: skip
        elif not _is_plain(self.tokenizer):
            reason = "its tokenizer has added or renamed tokens, which a page can't read"
            error = "a live page needs a tokenizer without added tokens", "added or renamed ones", recorded
        elif typed is None:
            reason = "it starts from token ids that no text has"
            error = "a live page needs a text, or the token ids of one", short_repr(self.ids), recorded
        if reason and live:
            raise InputError(*error)
        return reason

    def _typed(self, ids: list[int]) -> str | None:
        """Return a text that has these ids; None if there is none."""
        if self.tokenizer is None:
            return None
        text = self.tokenizer.decode(ids[1:])
        return text if self.tokenizer.encode(text) == ids else None

    def _start(self, text: str, end: int) -> str:
        """Return the text up to the end of the word at ``end``, if its first tokens are those of the whole text."""
        assert self.tokenizer is not None
        found = re.compile(r"\S*").match(text, end)
        start = text[: found.end() if found else None]
        N = self.model.config.max_position_embeddings
        return start if self.tokenizer.encode(start)[:N] == self.tokenizer.encode(text)[:N] else text

    def _decoded(self) -> str:
        """Return the ids as text, without the </s> that begins every text."""
        if self.tokenizer is None:
            return " ".join(map(str, self.ids))
        return self.tokenizer.decode(self.ids[1:] if self.ids[0] == self.tokenizer.sep_token_id else self.ids)

    def _data(self) -> dict[str, Any]:
        """Return the data for the scripts of the page.

        Returns
        -------
        "live", "demo" : whether the page runs the model, and whether it is the demo model. "model" : the name to load.
        "why" : why the page cannot run the model, or "".
        "text", "tokens" : the first text, and its tokens as {"label", "id"}. "labels" : the label of each id.
        "config", "dtype", "colors" : config.json's object, the dtype of the model in Python, and the palettes.
        "explanations" : every step, as ``explanations`` returns them.
        "vocab", "merges" : of a live page, the tokenizer's files.
        "parameters", "arrays", "lens" : bundles. A live page has all parameters and no arrays; a recorded one has gains
        and biases, the arrays of its run, and the results that need weights.
        """
        config, labels = self.model.config, labels_of(range(self.model.config.vocab_size), self.tokenizer)
        data: dict[str, Any] = {
            "live": self.live,
            "why": self.why,
            "demo": is_demo(self.model),
            "text": self.text,
            "config": config.to_dict(),
            "dtype": self.model.dtype,
            "model": "demo" if is_demo(self.model) else Path(self.model.name_or_path).name or "FOLDER",
            "labels": labels,
            "tokens": [{"label": labels[i], "id": i} for i in self.ids],
            "colors": PALETTES,
            "explanations": explanations(config),
        }
        if not self.live:
            return {
                **data,
                "parameters": bundled(self._vectors()),
                "arrays": bundled(self.kept),
                "lens": bundled(self.lens),
            }
        assert self.tokenizer is not None
        merges = "".join(f"{a} {b}\n" for a, b in sorted(self.tokenizer.ranks, key=self.tokenizer.ranks.__getitem__))
        weights = {name: x.astype("float32") for name, x in self.model.named_values()}  # the page computes in it
        words = {"vocab": self.tokenizer.vocab, "merges": merges}
        return {**data, **words, "parameters": bundled(weights), "arrays": bundled({})}

    def _vectors(self) -> dict[str, Array]:
        """Return gains and biases: with them a recorded page can compute its norms again."""
        return {name: x for name, x in self.model.named_parameters() if x.ndim == 1}

    def _kept(self) -> tuple[Mapping[str, Array], list[str]]:
        """Return the arrays of a recorded page, and the templates of those that would make it too large."""
        left: list[str] = []
        arrays, always = _without(self.trace, DERIVED), megabytes_of([*self.lens.values(), *self._vectors().values()])
        most = RECORDED_MEGABYTES if self.max_megabytes is None else self.max_megabytes
        for names in SPARE:
            if megabytes_of(arrays.values()) + always <= most:
                break
            left += names
            arrays = _without(arrays, names)
        check_size(megabytes_of(arrays.values()) + always, most, f"{len(self.ids)} tokens")
        return arrays, left


def _is_plain(tokenizer: BioGptTokenizer) -> bool:
    """Return whether the page's tokenizer, which knows a vocabulary and merges only, gives the same tokens."""
    usual = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab()) == SPECIAL
    return usual and tokenizer.sep_token == "</s>" and not (tokenizer.soft_prompt_ids or tokenizer.split_special_tokens)


def _without(arrays: Mapping[str, Array], names: tuple[str, ...]) -> dict[str, Array]:
    """Return the arrays without those of the layers that have one of the names."""
    return {
        name: x for name, x in arrays.items() if name.split(".", 2)[-1] not in names or not name.startswith("layers.")
    }
