"""The names of a trace as a table in Markdown, as docs/trace.md shows it."""

from __future__ import annotations

from minibiogpt.catalog.steps import HEAD_OUT, IDS, after_layers, before_layers, steps_in_layer
from minibiogpt.config import BioGptConfig


def table() -> str:
    """The names as a table in Markdown: of a tied language model, and what other heads make instead."""
    config, given = BioGptConfig(num_hidden_layers=1), IDS | dict.fromkeys(["attention_mask", "head_mask"], "int64")
    layer = steps_in_layer(config, given)
    place = [step.name for step in layer].index("layers.{l}.self_attn.out_proj")
    made = [*before_layers(config, given), *layer[:place], HEAD_OUT, *layer[place:]]
    made += after_layers(config, "causal", given | {"labels": "int64"})[:-1]
    made += [step for head in ("sequence", "token") for step in after_layers(config, head, given)[1:]]
    made += after_layers(config, "causal", given | {"labels": "int64"})[-1:]
    lines = ["| name | shape | what | equation | transformers | TransformerLens |", "|" + "---|" * 6]
    for step in made:
        parts = "".join(f"; `{term}` is `{text}`" for term, text in step.terms.items())
        hook, axes = step.transformer_lens
        theirs = f"`{step.transformers}`" if step.transformers else ""
        lens = f"`{hook}`{f' ({axes})' if axes != step.axes else ''}" if hook else ""
        cells = (f"`{step.name}`", step.axes.replace(" ", ", "), step.what, f"`{step.equation}`{parts}", theirs, lens)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
