"""README's picture of the explorer shows the demo model's numbers, light and dark; its alternative text is true."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from minibiogpt import Trace
from tests.support.demo import ours, tokenizer
from tests.support.paths import ROOT
from tools.explorer_picture import FOLDER, TEXT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def texts(theme: str) -> list[str]:
    """Every text of the picture, in order."""
    root = ElementTree.parse(FOLDER / f"explorer-{theme}.svg").getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def rounded(x: float) -> str:
    """A number with three digits, as the drawing has it."""
    return f"{float(f'{x:.3g}'):g}"


def test_the_numbers_are_those_of_the_model() -> None:
    trace = Trace()
    logits = ours()(tokenizer()(TEXT)["input_ids"], trace=trace).logits[0, -1].astype(float)
    probs = np.exp(logits - logits.max())
    shown = texts("light")
    assert texts("dark") == shown
    norms = ["embed_tokens", "embed_positions", "layer_norm"]
    for layer in range(4):
        norms += [f"layers.{layer}.self_attn.out_proj", f"layers.{layer}.fc2"]
        assert f"stream {rounded(np.linalg.norm(trace[f'layers.{layer}'][0, -1]))}" in shown
    for name in norms:
        assert rounded(np.linalg.norm(trace[name][0, -1].astype(float))) in shown, name
    best = f"{100 * probs.max() / probs.sum():.2f} %"
    assert best in shown
    assert tokenizer().decode([int(logits.argmax())]) in shown
    assert best in README


def test_readme_shows_both_pictures_with_a_text() -> None:
    found = re.search(
        r'<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\s*<img src="([^"]+)"[^>]*alt="([^"]+)"',
        README,
    )
    assert found
    assert (ROOT / found[1], ROOT / found[2]) == (FOLDER / "explorer-dark.svg", FOLDER / "explorer-light.svg")
    assert TEXT in found[3]
    for theme in ("light", "dark"):
        assert (FOLDER / f"explorer-{theme}.svg").stat().st_size < 100_000
