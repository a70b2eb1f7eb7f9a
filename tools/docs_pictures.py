"""Draw the pictures of the documentation from the demo model: `python tools/docs_pictures.py` writes docs/pictures.

Each is a small SVG without scripts, fonts or links. It has its own background, and colors for light and dark pages. A
test draws them again and compares: if the model or a page's notation changes, run this tool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, Trace
from minibiogpt.lens import ablation_table, logit_lens
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view.colors import DIVERGING, SEQUENTIAL

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
TEXT = "Ibuprofen is best used for"
OPEN = "Patients with hypertension may be treated with"  # several answers are right
STYLE = """
svg { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.paper { fill: #ffffff; } .ink { fill: #1d1f23; } .soft { fill: #5a5e66; } .line { stroke: #d8dbe0; fill: none; }
.bar { fill: #6d86a5; } .hidden { fill: #eceef1; } .hatch { stroke: #a3a8b0; }
.bright { fill: #1d1f23; } .deep { fill: #ffffff; } .end { text-anchor: end; } .middle { text-anchor: middle; }
@media (prefers-color-scheme: dark) { .paper { fill: #16181c; } .ink { fill: #e9eaec; } .soft { fill: #a9aeb7; }
.line { stroke: #383d45; } .bar { fill: #7e97b8; } .hidden { fill: #24272d; } .hatch { stroke: #626872; } }
"""
HATCH = (
    '<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 0V5"/></pattern>'
)


def color(x: float, palette: Sequence[str]) -> str:
    """Return the color of x in [0, 1]."""
    at = min(max(float(x), 0.0), 1.0) * (len(palette) - 1)
    i = min(int(at), len(palette) - 2)
    pair = [[int(palette[i + k][j : j + 2], 16) for j in (1, 3, 5)] for k in (0, 1)]
    return "#" + "".join(f"{round(a + (b - a) * (at - i)):02x}" for a, b in zip(*pair, strict=True))


def ink_on(background: str) -> str:
    """Return the class of text that can be read on a color."""
    r, g, b = (int(background[j : j + 2], 16) for j in (1, 3, 5))
    return "bright" if 0.3 * r + 0.59 * g + 0.11 * b > 128 else "deep"


def words(x: float, y: float, text: str, kind: str = "ink", more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{more}>{escape(text)}</text>'


def box(x: float, y: float, w: float, h: float, look: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" {look}/>'


def drawing(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return a whole SVG."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img"><title>{escape(title)}</title><style>{STYLE}</style><defs>{HATCH}</defs>\n'
        + box(0, 0, width, height, 'class="paper" rx="8"')
        + "\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def pattern(probs: np.ndarray, x: float, y: float, cell: float) -> list[str]:
    """Return the cells of an attention pattern (T, T); masked ones are hatched."""
    T = len(probs)
    parts = [box(x, y, T * cell, T * cell, 'class="hidden"'), box(x, y, T * cell, T * cell, 'fill="url(#hatch)"')]
    for t in range(T):
        for s in range(t + 1):
            parts.append(box(x + s * cell, y + t * cell, cell, cell, f'fill="{color(probs[t, s], SEQUENTIAL)}"'))
    return parts


class Run:
    """The demo model's run of TEXT, in float64."""

    def __init__(self) -> None:
        self.tokenizer = BioGptTokenizer.from_pretrained("demo")
        self.model = BioGptForCausalLM.from_pretrained("demo", dtype="float64")
        self.ids, self.trace = self.tokenizer(TEXT)["input_ids"], Trace()
        self.logits = self.model(self.ids, trace=self.trace).logits[0]
        self.labels = self.names(self.ids[0])
        self.answer = int(self.logits[-1].argmax())

    def names(self, ids: Sequence[int]) -> list[str]:
        return labels_of([int(i) for i in ids], self.tokenizer)

    def probs(self, layer: int, head: int) -> np.ndarray:
        return self.trace[f"layers.{layer}.self_attn.probs"][0, head]


def attention(run: Run) -> str:
    """Draw the pattern of head 0.0, with the number of each row's largest weight."""
    cell, left, top = 34, 84, 96
    probs, T = run.probs(0, 0), len(run.labels)
    parts = [words(16, 26, "attention probabilities of head 0 of layer 0"), *pattern(probs, left, top, cell)]
    for i, label in enumerate(run.labels):
        parts.append(words(left - 8, top + cell * (i + 0.5) + 4, label, "ink end"))
        x = left + cell * (i + 0.5)
        parts.append(words(x, top - 8, label, "ink", f' transform="rotate(-45 {x:g} {top - 8})"'))
        s = int(probs[i].argmax())
        kind = f"{ink_on(color(probs[i, s], SEQUENTIAL))} middle"
        parts.append(words(left + cell * (s + 0.5), top + cell * (i + 0.5) + 4, f"{probs[i, s]:.2f}", kind))
    right = left + cell * T + 20
    for i in range(101):
        parts.append(box(right, top + (100 - i) * 2, 14, 2.2, f'fill="{color(i / 100, SEQUENTIAL)}"'))
    parts += [words(right + 20, top + 8, "1", "soft"), words(right + 20, top + 202, "0", "soft")]
    parts += [words(right - 2, top + 240, "hatched:", "soft"), words(right - 2, top + 258, "a later token", "soft")]
    return drawing(right + 96, top + cell * T + 20, "An attention pattern", parts)


def heads(run: Run) -> str:
    """Draw the patterns of all heads, a row for each layer."""
    cell, gap, left, top = 12, 16, 76, 54
    L, H, side = run.model.config.num_hidden_layers, run.model.config.num_attention_heads, cell * len(run.labels)
    parts = [words(16, 24, "attention probabilities of every head")]
    for layer in range(L):
        y = top + layer * (side + gap)
        parts.append(words(16, y + side / 2 + 4, f"layer {layer}", "soft"))
        for head in range(H):
            x = left + head * (side + gap)
            if layer == 0:
                parts.append(words(x + side / 2, top - 8, f"head {head}", "soft middle"))
            parts += pattern(run.probs(layer, head), x, y, cell)
    return drawing(left + H * (side + gap), top + L * (side + gap), "All attention patterns", parts)


def next_tokens(run: Run) -> str:
    """Draw the eight most probable next tokens of OPEN as bars."""
    p = softmax(run.model(run.tokenizer(OPEN)["input_ids"]).logits[0, -1])
    best = np.argsort(-p)[:8]
    parts, left, scale = [words(16, 26, f"{OPEN} ...")], 110, 1200
    for i, (token, label) in enumerate(zip(best, run.names(best), strict=True)):
        y = 44 + i * 26
        parts += [words(left - 8, y + 14, label, "ink end"), box(left, y, max(1, scale * p[token]), 18, 'class="bar"')]
        parts.append(words(left + scale * p[token] + 8, y + 14, f"{100 * p[token]:.1f} %", "soft"))
    return drawing(560, 44 + 8 * 26 + 14, "The most probable next tokens", parts)


def lens(run: Run) -> str:
    """Draw what the model would predict if it stopped after each layer, at each position."""
    found = logit_lens(run.model, run.trace, position=None)
    names, wide, high, left, top = list(found)[::-1], 66, 34, 118, 46
    parts = [words(16, 24, "most probable next token if the model stopped there; colored by its probability")]
    for row, name in enumerate(names):
        p, y = softmax(found[name][0]), top + row * high
        parts.append(words(left - 10, y + high / 2 + 4, name, "soft end"))
        for t, label in enumerate(run.names(p.argmax(axis=-1))):
            shade = color(p[t].max(), SEQUENTIAL)
            parts.append(box(left + t * wide, y, wide - 2, high - 2, f'fill="{shade}"'))
            cut = label if len(label) < 9 else label[:7] + "…"
            parts.append(words(left + t * wide + wide / 2 - 1, y + high / 2 + 3, cut, f"{ink_on(shade)} middle"))
    y = top + len(names) * high + 18
    parts += [words(left + (t + 0.5) * wide - 1, y, label, "ink middle") for t, label in enumerate(run.labels)]
    parts.append(words(left - 10, y, "after the token", "soft end"))
    return drawing(left + len(run.labels) * wide + 14, y + 16, "The logit lens", parts)


def ablation(run: Run) -> str:
    """Draw by how much the answer's logit drops when each head is switched off."""
    table = ablation_table(run.model, run.ids, lambda out: out.logits[0, -1, run.answer])
    L, H, wide, high, left, top = *table.shape, 84, 40, 76, 72
    answer = run.names([run.answer])[0]
    parts = [words(16, 24, f"drop of the logit of “{answer}” when one head is ablated"), words(16, 42, TEXT, "soft")]
    most = float(np.abs(table).max())
    for layer in range(L):
        parts.append(words(16, top + layer * high + high / 2 + 4, f"layer {layer}", "soft"))
        for head in range(H):
            shade = color(0.5 + 0.5 * table[layer, head] / most, DIVERGING)
            x, y = left + head * wide, top + layer * high
            parts.append(box(x, y, wide - 2, high - 2, f'fill="{shade}"'))
            parts.append(words(x + wide / 2, y + high / 2 + 4, f"{table[layer, head]:.2f}", f"{ink_on(shade)} middle"))
            if layer == 0:
                parts.append(words(x + wide / 2, top - 8, f"head {head}", "soft middle"))
    return drawing(left + H * wide + 14, top + L * high + 14, "What each head contributes", parts)


PICTURES: dict[str, Callable[[Run], str]] = {
    "attention": attention,
    "heads": heads,
    "next": next_tokens,
    "lens": lens,
    "ablation": ablation,
}


def pictures() -> dict[str, str]:
    """Return {name: SVG}."""
    run = Run()
    return {name: draw(run) for name, draw in PICTURES.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / f"{name}.svg").write_text(text, encoding="utf-8")
