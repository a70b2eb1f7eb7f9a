"""Stepper: one layer as one self-contained page, to step forward and back through its named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from minibiogpt import BioGptTokenizer
from minibiogpt.backend import Array
from minibiogpt.catalog.explain import sizes_of
from minibiogpt.catalog.names import kind_of_source
from minibiogpt.errors import listed
from minibiogpt.model.layers import unpacked
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.trace import Trace
from minibiogpt.view.arguments import check_types, one_row, origin_of, tokenizer_of
from minibiogpt.view.colors import PALETTES
from minibiogpt.view.controls import controls
from minibiogpt.view.layer import facts_of, kind_of, short_names, start_of, step_data, steps_of_layer
from minibiogpt.view.page import (
    MEGABYTE,
    OnePage,
    Page,
    check_size,
    check_theme,
    megabytes_of,
    packed,
    safe,
    still_picture,
)
from minibiogpt.view.picture import data_uri, heat_map_png

WEIGHTS_MEGABYTES = 6  # larger weight matrices are left out of the page


class Stepper(OnePage):
    """Walk through one layer of a model, step by step: every value, and how it is computed.

    The model runs once. A notebook shows, and ``save`` writes, one page that works offline. Each step has its equation,
    its code, and its array as a heat map. The page recomputes any value you point at in float64 from its inputs.

    Parameters
    ----------
    model : any of the four classes, any backend and dtype.
    text : a string, or the ids of one sequence, (T,) or (1, T).
    tokenizer : by default the tokenizer in the folder that the model was loaded from.
    layer : index from 0.
    start : the step shown first: its name without ``layers.{l}.``, such as "self_attn.q", or "input" or "output".
    theme : "auto" (follow the system), "light" or "dark"; the page also has a button for it.
    attention_mask : (1, T), 1 = real, 0 = padding. head_mask : (H,) or (L, H). Both as in a call of the model.
    max_megabytes : the largest page size allowed.

    Attributes
    ----------
    trace : the arrays that the page shows. page : the Page. html : the whole document.

    Raises
    ------
    InputError
        If a text has no tokenizer, there is more than one sequence, there is no such layer, an argument has the wrong
        type, there is no such step, or the page would be too large.

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> stepper = Stepper(BioGptForCausalLM.from_pretrained("demo"), "Ibuprofen is best used for", layer=1)
    >>> stepper
    <Stepper of layer 1: 20 steps, 'Ibuprofen is best used for'>
    >>> stepper._repr_html_().startswith("<iframe title=")
    True
    """

    def __init__(
        self,
        model: Any,
        text: Any,
        *,
        tokenizer: BioGptTokenizer | None = None,
        layer: int = 0,
        start: str = "self_attn.probs",
        theme: str = "auto",
        attention_mask: Any = None,
        head_mask: Any = None,
        max_megabytes: float = 30,
    ) -> None:
        check_types(model, tokenizer, max_megabytes)
        check_theme(theme)
        self.model, self.text, self.layer, self.theme = model, text, layer, theme
        self.tokenizer = tokenizer or tokenizer_of(model, isinstance(text, str))
        self.max_megabytes = max_megabytes
        masks = {"attention_mask": attention_mask, "head_mask": head_mask}
        self._masks = {name: x for name, x in masks.items() if x is not None}
        ids = self.tokenizer(text)["input_ids"] if isinstance(text, str) and self.tokenizer else one_row(text)
        self.steps = steps_of_layer(model.config, layer, dict.fromkeys(["input_ids", *self._masks], "int64"))
        self.start = start_of(self.steps, start)
        self.trace = Trace(list(dict.fromkeys(name for step in self.steps for name in [*step.sources, step.name])))
        model(ids, use_cache=False, trace=self.trace, **self._masks)
        self.ids = [int(i) for i in model.backend.to_numpy(model.backend.asarray(ids))[0]]  # validated by the model
        self._check_size()

    @cached_property
    def page(self) -> Page:
        """The page, built on first access."""
        shown, kind = self.shown_text(), f"{type(self.model).__name__}, {self.model.dtype}, {len(self.ids)} tokens"
        title = f"Layer {self.layer} of BioGPT, step by step"
        body = (
            f'<header><h1>{safe(title)}</h1><p class="text" dir="auto">{safe(shown)}</p>'
            f'<p class="soft">{safe(" · ".join(filter(None, [origin_of(self.model), kind])))}</p></header>'
            '<main id="stepper"><noscript>This page needs JavaScript. It loads nothing from the network.'
            "</noscript></main>"
        )
        return Page(
            title,
            body,
            self._data(),
            styles=("styles/page.css", "styles/stepper.css"),
            theme=self.theme,
            module="stepper/stepper_page.js",
        )

    @property
    def still(self) -> str:
        """The array of the step that the page opens on, of the first head, as a picture."""
        step = self.steps[short_names(self.steps).index(self.start)]
        x, masked = self._first_head(step.name), None
        probabilities = kind_of(step) in ("softmax", "headmask")
        if probabilities or kind_of(step) == "mask":
            masked = self._first_head(f"layers.{self.layer}.self_attn.scores_masked")
            masked = masked <= max(-1e30, float(self.model.backend.lowest(self.trace[step.name].dtype)))
        head = f", head {self.layer}.0" if "H" in step.axes else ""
        square = "Rows and columns" if step.axes.split()[-1] in "TS" else "Rows"
        tokens = listed(labels_of(self.ids, self.tokenizer), 30)
        words = f"{step.what[:1].upper()}{step.what[1:]} ({step.name}{head}). {square}: {tokens}."
        return still_picture(data_uri(heat_map_png(x, masked, probabilities=probabilities)), words)

    def _first_head(self, name: str) -> np.ndarray:
        """Return an array of the trace as a matrix on the host, in float64."""
        x = self.model.backend.to_numpy(self.trace[name])[0]
        return (x[0] if x.ndim == 3 else x).astype(np.float64)

    def controls(self) -> Any:
        """Return an ipywidgets VBox: a text box and a layer slider above the page."""
        return controls(self)

    def with_(self, **changes: Any) -> Stepper:
        """Return a stepper of this model with a different text, layer or theme; a new text drops the attention mask."""
        same = {"tokenizer": self.tokenizer, "layer": self.layer, "start": self.start, "theme": self.theme}
        same |= self._masks
        if "text" in changes:
            same.pop("attention_mask", None)
        text = changes.pop("text", self.text)
        return Stepper(self.model, text, **{**same, "max_megabytes": self.max_megabytes, **changes})

    def __repr__(self) -> str:
        return f"<Stepper of layer {self.layer}: {len(self.steps)} steps, {self.shown_text()!r}>"

    def shown_text(self) -> str:
        """Return the text that was passed, or the decoded ids."""
        if isinstance(self.text, str):
            return self.text
        return self.tokenizer.decode(self.ids) if self.tokenizer else " ".join(map(str, self.ids))

    def _data(self) -> dict[str, Any]:
        """Return the data for the scripts of the page."""
        vectors, matrices = self._parameters()
        config, backend = self.model.config, self.model.backend
        call = self.trace.facts()
        facts = facts_of(config, self.model.dtype, backend.lowest(self.trace[self.steps[0].name].dtype))
        labels = labels_of(self.ids, self.tokenizer)
        return {
            "layer": int(self.layer),
            "heads": config.num_attention_heads,
            "headSize": config.head_size,
            "facts": facts,
            "start": self.steps[short_names(self.steps).index(self.start)].name,
            "sizes": sizes_of(call, self.steps[-1].name),
            "tokens": [{"label": label, "id": i} for label, i in zip(labels, self.ids, strict=True)],
            "padding": self._padding(),
            "headMask": self._head_mask(),
            "steps": [step_data(step, call) for step in self.steps],
            "arrays": {name: packed(x) for name, x in self.trace.items()},
            "parameters": {name: packed(x) for name, x in {**vectors, **self._kept(matrices)}.items()},
            "left_out": "" if self._kept(matrices) else _why_left_out(matrices),
            "colors": PALETTES,
        }

    def _parameters(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the parameters of the layer: vectors (gains and biases), and weight matrices."""
        named = {name.removeprefix("biogpt."): x for name, x in self.model.named_parameters()}
        needed = {x for step in self.steps[1:] for x in step.where.values() if kind_of_source(x) == "parameter"}
        found = {name: unpacked(x, self.model.backend) for name, x in named.items() if name in needed}
        vectors = {name: x for name, x in found.items() if x.ndim == 1}
        return vectors, {name: x for name, x in found.items() if x.ndim > 1}

    def _kept(self, matrices: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the matrices that the page contains: all or none."""
        return matrices if megabytes_of(matrices.values()) <= WEIGHTS_MEGABYTES else {}

    def _check_size(self) -> None:
        vectors, matrices = self._parameters()
        arrays = [*self.trace.values(), *vectors.values(), *self._kept(matrices).values()]
        check_size(megabytes_of(arrays), self.max_megabytes, f"{len(self.ids)} tokens")

    def _padding(self) -> list[bool]:
        """Return whether each position is padding."""
        mask = self._masks.get("attention_mask")
        if mask is None:
            return [False] * len(self.ids)
        host = self.model.backend.to_numpy(self.model.backend.asarray(mask))
        return [not real for real in host.reshape(-1).tolist()]

    def _head_mask(self) -> dict[str, Any] | None:
        """Return the head mask of this layer, packed because JSON has no infinity or NaN."""
        mask = self._masks.get("head_mask")
        if mask is None:
            return None
        host = self.model.backend.to_numpy(self.model.backend.asarray(mask))
        config = self.model.config
        shape = config.num_hidden_layers, config.num_attention_heads
        return packed(np.broadcast_to(host, shape).astype(float)[self.layer])


def _why_left_out(matrices: Mapping[str, Array]) -> str:
    """Return the message shown in place of the products with the weights."""
    size = sum(x.size * max(4, x.dtype.itemsize) for x in matrices.values()) / MEGABYTE
    return f"The weights of this layer ({size:.0f} MB) are too large for the page, so their products are not listed."
