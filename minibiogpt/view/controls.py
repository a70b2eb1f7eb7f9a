"""Controls: a text box and a layer slider above a stepper's page, for a running notebook."""

from __future__ import annotations

import html
from typing import Any, Protocol

from minibiogpt.errors import InputError


class Adjustable(Protocol):
    """A page of one text and one layer that can be rebuilt with different ones, such as ``Stepper``."""

    layer: int
    model: Any
    tokenizer: Any

    def shown_text(self) -> str: ...

    def with_(self, **changes: Any) -> Any: ...

    def _repr_html_(self) -> str: ...


def controls(stepper: Adjustable) -> Any:
    """Return an ipywidgets VBox; an input error appears in place of the page.

    Raises
    ------
    InputError
        If ipywidgets is not installed.
    """
    try:
        import ipywidgets as widgets
    except ImportError:
        must, remedy = "controls need ipywidgets", "pip install 'minibiogpt[notebooks]'"
        raise InputError(must, "none installed", remedy) from None
    last = stepper.model.config.num_hidden_layers - 1
    wide = widgets.Layout(width="100%")
    shown = stepper.shown_text()
    text = widgets.Text(shown, description="text", continuous_update=False, layout=wide)
    layer = widgets.IntSlider(stepper.layer, 0, last, description="layer", continuous_update=False)
    frame = widgets.HTML(stepper._repr_html_())
    text.disabled = stepper.tokenizer is None

    def rebuild(_: Any) -> None:
        changed = {"text": text.value} if text.value != shown else {}  # if unchanged, ids stay ids
        try:
            frame.value = stepper.with_(layer=layer.value, **changed)._repr_html_()
        except InputError as error:
            frame.value = f"<p>{html.escape(str(error))}</p>"

    for control in (text, layer):
        control.observe(rebuild, "value")
    return widgets.VBox([text, layer, frame])
