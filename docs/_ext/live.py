"""The package's own pages in the documentation: written as files of the site when it is built, shown in frames.

```{live-page} NAME
:hash: where the page opens
:height: CSS height
```

Text inside the directive is for readers of the Markdown file; the site shows the page instead.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from minibiogpt import BioGptForCausalLM, BioGptTokenizer
from minibiogpt.view import Explorer, Sampler, Stepper

FOLDER = "_static"
SENTENCE = "Ibuprofen is best used for"
OPEN = "Patients with hypertension may be treated with"  # several answers are right
COPYING = "Sample P321 was sequenced for BRCA1. A mutation was found in sample"


def _demo() -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo")


def _sampler() -> Sampler:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    logits = _demo()(tokenizer(OPEN)["input_ids"]).logits
    return Sampler(logits[0, -1], tokenizer, text=OPEN)


PAGES: dict[str, tuple[str, Callable[[], Any]]] = {
    "explorer": ("the explorer: the whole demo model, live", lambda: Explorer(_demo(), SENTENCE)),
    "stepper": ("layer 1 of the demo model, step by step", lambda: Stepper(_demo(), COPYING, layer=1)),
    "sampler": ("from logits to a token: sliders for temperature, top-k and top-p", _sampler),
}


class LivePage(SphinxDirective):
    """A frame with one of PAGES, and a link that opens the page alone."""

    required_arguments = 1
    has_content = True
    option_spec = {"hash": directives.unchanged, "height": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in PAGES:
            raise self.error(f"a live page must be one of {', '.join(PAGES)}; found {name!r}")
        title, _ = PAGES[name]
        place = self.options.get("hash", "")
        address = "../" * self.env.docname.count("/") + f"{FOLDER}/{name}.html" + (f"#{place}" if place else "")
        frame = (
            f'<iframe class="live-page" src="{html.escape(address)}" title="{html.escape(title)}" loading="lazy" '
            f'sandbox="allow-scripts allow-downloads" allow="clipboard-write" '
            f'style="height: {html.escape(self.options.get("height", "min(62rem, 92vh)"))}"></iframe>'
            f'<p class="live-page-link"><a href="{html.escape(address)}">Open the page alone</a></p>'
        )
        return [nodes.raw("", frame, format="html")]


def write_pages(app: Any, exception: Exception | None) -> None:
    """Write the pages into the built site."""
    if exception is None and app.builder.format == "html":
        for name, (_, make) in PAGES.items():
            make().save(Path(app.outdir) / FOLDER / f"{name}.html")


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("live-page", LivePage)
    app.connect("build-finished", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
