"""Explorer: the whole model as one page that runs it: type a text, and see every array that follows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from minibiogpt import BioGptForCausalLM, BioGptTokenizer
from minibiogpt.backend import Array
from minibiogpt.errors import InputError, short_repr
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.trace import Trace
from minibiogpt.view.arguments import check_types, is_demo, one_row, origin_of, tokenizer_of
from minibiogpt.view.colors import PALETTES
from minibiogpt.view.explorer.bundle import bundled
from minibiogpt.view.explorer.recorded import recorded_lens
from minibiogpt.view.layer import explanations
from minibiogpt.view.page import OnePage, Page, check_size, check_theme, megabytes_of, safe, still_picture
from minibiogpt.view.picture import data_uri, png, tiled

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
    "styles/experiments.css",
)
DERIVED = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.scores_masked", "self_attn.weights")
"""Arrays of a layer that a recorded page computes from its neighbors."""
SPARE = (
    ("fc1", "activation_fn"),
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.context"),
    ("self_attn_layer_norm", "final_layer_norm"),
    ("self_attn.out_proj", "fc2"),
)
"""Arrays of the layers that are left out of a recorded page that would be too large, in this order."""


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
    live : whether the page contains the model; None: if its weights in float16 are below LIVE_MEGABYTES.
    max_megabytes : the largest page size allowed.

    Raises
    ------
    InputError
        If the model is not a language model, a text has no tokenizer, there is more than one sequence, ``live`` is True
        for a large model, an argument has the wrong type, or the page would be too large.

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
        max_megabytes: float = 30,
    ) -> None:
        check_types(model, tokenizer, max_megabytes)
        check_theme(theme)
        if not isinstance(model, BioGptForCausalLM):
            must, remedy = "the explorer needs a BioGptForCausalLM", "pass one, or use Stepper, which takes every class"
            raise InputError(must, type(model).__name__, remedy)
        self.model, self.theme, self.max_megabytes = model, theme, max_megabytes
        self.tokenizer = tokenizer or tokenizer_of(model, isinstance(text, str))
        self.live = self._decide(live)
        ids = self.tokenizer(text)["input_ids"] if isinstance(text, str) and self.tokenizer else one_row(text)
        self.trace = Trace()
        model(ids, use_cache=False, trace=self.trace)
        self.ids = [int(i) for i in model.backend.to_numpy(model.backend.asarray(ids))[0]]  # validated by the model
        self.text = text if isinstance(text, str) else self._decoded()
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
        body = (
            f'<header><h1>{title}</h1><p class="lead">{does} {here}</p><p class="soft">{safe(kind)} · {layers} layers, '
            f"{heads} heads each, D = {config.hidden_size}, V = {config.vocab_size} · {self.model.dtype}</p></header>"
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

    def _decide(self, live: Any) -> bool:
        """Return whether the page contains the model."""
        if live is not None and not isinstance(live, bool):
            raise InputError("live must be True, False or None", short_repr(live), "leave it out")
        size = sum(x.size for _, x in self.model.named_parameters()) * 2 / 1e6
        small = size < LIVE_MEGABYTES
        if live and not small:
            must = f"a live page needs a model of less than {LIVE_MEGABYTES} MB in float16"
            raise InputError(must, f"{size:.0f} MB", "leave out live=True: the page then holds the run of one text")
        if live and self.tokenizer is None:
            must, remedy = "a live page needs a tokenizer", "pass tokenizer=BioGptTokenizer.from_pretrained(...)"
            raise InputError(must, "none", remedy)
        plain = self.tokenizer is not None and _is_plain(self.tokenizer)
        if live and not plain:
            must = "a live page needs a tokenizer without added tokens"
            raise InputError(
                must, "added or renamed ones", "leave out live=True: the page then holds the run of one text"
            )
        return (small and plain) if live is None else live

    def _decoded(self) -> str:
        return self.tokenizer.decode(self.ids) if self.tokenizer else " ".join(map(str, self.ids))

    def _data(self) -> dict[str, Any]:
        """Return the data for the scripts of the page."""
        config, labels = self.model.config, labels_of(range(self.model.config.vocab_size), self.tokenizer)
        data: dict[str, Any] = {
            "live": self.live,
            "demo": is_demo(self.model),
            "text": self.text,
            "config": config.to_dict(),
            "dtype": self.model.dtype,
            "model": "demo" if is_demo(self.model) else Path(self.model.name_or_path).name or "FOLDER",
            "labels": labels,
            "tokens": [{"label": labels[i], "id": i} for i in self.ids],
            "colors": PALETTES,
            "explanations": explanations(config),
            "leftOut": [] if self.live else self.left_out,
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
        weights = dict(self.model.named_parameters())
        words = {"vocab": self.tokenizer.vocab, "merges": merges}
        return {**data, **words, "parameters": bundled(weights), "arrays": bundled({})}

    def _vectors(self) -> dict[str, Array]:
        """Return gains and biases: with them a recorded page can compute its norms again."""
        return {name: x for name, x in self.model.named_parameters() if x.ndim == 1}

    def _kept(self) -> tuple[Mapping[str, Array], list[str]]:
        """Return the arrays of a recorded page, and the templates of those that would make it too large."""
        left: list[str] = []
        arrays, always = _without(self.trace, DERIVED), megabytes_of([*self.lens.values(), *self._vectors().values()])
        for names in SPARE:
            if megabytes_of(arrays.values()) + always <= self.max_megabytes:
                break
            left += names
            arrays = _without(arrays, names)
        check_size(megabytes_of(arrays.values()) + always, self.max_megabytes, f"{len(self.ids)} tokens")
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
