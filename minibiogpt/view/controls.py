"""Controls: a text box and a slider above a stepper's page, for a notebook that runs; a thin layer over that page."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from minibiogpt.errors import InputError

if TYPE_CHECKING:
    from minibiogpt.view.stepper import Stepper


def controls(stepper: Stepper) -> Any:
    """An ipywidgets VBox; whatever cannot be shown is said in place of the page.

    Raises
    ------
    InputError
        If ipywidgets is absent.
    """
    try:
        import ipywidgets as widgets
    except ImportError:
        must, remedy = "controls need ipywidgets", "pip install 'minibiogpt[notebooks]'"
        raise InputError(must, "none installed", remedy) from None
    last = stepper.model.config.num_hidden_layers - 1
    wide = widgets.Layout(width="100%")
    shown = stepper._shown_text()
    text = widgets.Text(shown, description="text", continuous_update=False, layout=wide)
    layer = widgets.IntSlider(stepper.layer, 0, last, description="layer", continuous_update=False)
    frame = widgets.HTML(stepper._repr_html_())
    text.disabled = stepper.tokenizer is None

    def rebuild(_: Any) -> None:
        typed = {"text": text.value} if text.value != shown else {}  # unless it is, ids stay ids
        try:
            frame.value = stepper.with_(layer=layer.value, **typed)._repr_html_()
        except InputError as error:
            frame.value = f"<p>{html.escape(str(error))}</p>"

    for control in (text, layer):
        control.observe(rebuild, "value")
    return widgets.VBox([text, layer, frame])
