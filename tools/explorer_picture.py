"""Take README's picture of the explorer, light and dark, from the page: `python tools/explorer_picture.py`

Writes docs/pictures/explorer-light.svg and explorer-dark.svg: the drawing of the whole model as the page's own button
SVG saves it. Needs the extra `test` and Chromium. The widths of letters depend on the machine's fonts, so no test
compares the files; a test compares the numbers in them with the model.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package in this repository, installed or not

from minibiogpt import BioGptForCausalLM
from minibiogpt.view import Explorer
from tests.support.browser import browsing

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
TEXT = "Ibuprofen is best used for"
SIZE = {"width": 1240, "height": 900}  # as wide as GitHub shows a README, with a margin
SAVE = "async () => { await document.fonts.ready; return svgText(document.querySelector('.view.model svg'), %r, %r); }"
TITLE = "The whole model for one sentence"
ABOUT = "Tokens are at the bottom; the residual stream of each goes up through four layers; the next token is on top."


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        file = Explorer(BioGptForCausalLM.from_pretrained("demo"), TEXT).save(Path(folder) / "page.html")
        for theme in ("light", "dark"):
            page = browser.new_context(viewport=SIZE, color_scheme=theme, offline=True).new_page()
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]")
            page.wait_for_timeout(500)  # until the model view is drawn
            target = FOLDER / f"explorer-{theme}.svg"
            target.write_text(page.evaluate(SAVE % (TITLE, ABOUT)), encoding="utf-8", newline="\n")
            print(target.relative_to(ROOT), f"{target.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
