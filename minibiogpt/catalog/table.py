"""The names of a trace as a Markdown table, as shown in docs/trace.md."""

from __future__ import annotations

from minibiogpt.catalog.steps import HEAD_OUT, IDS, after_layers, before_layers, steps_in_layer
from minibiogpt.config import BioGptConfig


def table() -> str:
    """Return the Markdown table: the arrays of a tied language model and of the classification heads."""
    config, inputs = BioGptConfig(num_hidden_layers=1), IDS | dict.fromkeys(["attention_mask", "head_mask"], "int64")
    layer = steps_in_layer(config, inputs)
    index = [step.name for step in layer].index("layers.{l}.self_attn.out_proj")
    rows = [*before_layers(config, inputs), *layer[:index], HEAD_OUT, *layer[index:]]
    rows += after_layers(config, "causal", inputs | {"labels": "int64"})[:-1]
    rows += [step for head in ("sequence", "token") for step in after_layers(config, head, inputs)[1:]]
    rows += after_layers(config, "causal", inputs | {"labels": "int64"})[-1:]
    lines = ["| name | shape | description | equation | transformers | TransformerLens |", "|" + "---|" * 6]
    for step in rows:
        terms = "".join(f"; `{term}` is `{text}`" for term, text in step.terms.items())
        hook, axes = step.transformer_lens
        module = f"`{step.transformers}`" if step.transformers else ""
        lens = f"`{hook}`{f' ({axes})' if axes != step.axes else ''}" if hook else ""
        cells = (f"`{step.name}`", step.axes.replace(" ", ", "), step.what, f"`{step.equation}`{terms}", module, lens)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
