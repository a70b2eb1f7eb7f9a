"""Pictures and files show the numbers of the place that they name: the head, the row, the column, the array."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptTokenizer, Trace
from minibiogpt.lens import logit_attribution, logit_lens
from minibiogpt.view import Explorer
from minibiogpt.view.colors import PALETTES
from tests.support.browser import opened
from tests.view.explorer.test_attention_view import READBACK, show, traced
from tests.view.test_pages import TEXT, demo

SMALL = """([layer, head, t, s]) => {
  const { canvas, buttons } = attentionParts.small, { T } = app.run, ratio = canvas.width / canvas.clientWidth;
  const { left, top, width, height } = buttons.querySelector(`[data-head="${layer}.${head}"]`).style;
  const side = parseFloat(width) - 8, x = parseFloat(left) + 4, y = parseFloat(top) + 4 + parseFloat(height) - 8 - side;
  const at = [x + ((s + 0.5) * side) / T, y + ((t + 0.5) * side) / T].map((z) => Math.round(z * ratio));
  return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def color(p: float) -> list[float]:
    """The color of a probability."""
    anchors = PALETTES["sequential"]
    channels = np.array([[int(x[i : i + 2], 16) for i in (1, 3, 5)] for x in anchors]).T
    return [float(np.interp(p, np.linspace(0, 1, len(anchors)), channel)) for channel in channels]


@pytest.mark.parametrize("sorted_by", ["", "previous"])
def test_every_small_map_shows_its_own_head(browser: Any, file: Path, sorted_by: str) -> None:
    trace = traced(TEXT)
    with opened(browser, file, allowed=READBACK) as page:
        show(page, view="attention", measure=sorted_by)
        if sorted_by:
            page.evaluate("sortHeads(app, true)")
            show(page)
        for layer in range(4):
            for head in range(4):
                probs = trace[f"layers.{layer}.self_attn.probs"][0, head]
                for t, s in [(8, 0), (8, 5), (6, 4), (3, 3)]:
                    got = page.evaluate(SMALL, [layer, head, t, s])
                    assert np.abs(np.array(got) - color(probs[t, s])).max() <= 2, (layer, head, t, s)


SAVED = """async () => {
  const figures = [...document.querySelectorAll("#view figure.picture")].filter((each) => each.files && !each.hidden);
  const files = (await Promise.all(figures.map((each) => each.files("npy")))).flat();
  return files.map(([name, bytes]) => [name.replace(/[.]npy$/, ""), [...bytes]]);
}"""
OTHER = "Aspirin is used for"
HEAD = {"kind": "head", "layer": 1, "head": 0, "scale": 0}


def arrays_saved(page: Any) -> dict[str, np.ndarray]:
    """What the figures of the view save, read by NumPy."""
    return {name: np.load(io.BytesIO(bytes(content))) for name, content in page.evaluate(SAVED)}


def assert_saved(found: dict[str, np.ndarray], want: dict[str, Any]) -> None:
    """Assert that exactly these arrays are saved, within the rounding of float32 sums in another order."""
    assert set(found) == set(want)
    for name, array in want.items():
        x = np.asarray(array, np.float64)
        assert found[name].shape == x.shape, name
        assert np.abs(found[name] - x).max() <= 3e-5 * np.abs(x).max(), name


def test_each_view_saves_the_arrays_that_it_names(browser: Any, file: Path) -> None:
    trace, other, ablated = traced(TEXT), traced(OTHER), Trace()
    ids, norm = demo_ids(TEXT), lambda name: np.linalg.norm(np.asarray(trace[name][0], np.float64), axis=1)
    demo()(ids, trace=ablated, ablate=[(1, 0)])
    runs = {"untouched": trace, "changed": ablated}
    layers = [f"layers.{layer}" for layer in range(4)]
    written = ["embed_tokens", "embed_positions", *(f"{x}.{y}" for x in layers for y in ("self_attn.out_proj", "fc2"))]
    streams = ["embeddings", *(name for x in layers for name in (f"{x}.attn_residual", x))]
    with opened(browser, file) as page:
        show(page, view="model")
        norms = {"written-norms": [norm(x) for x in written], "stream-norms": [norm(x) for x in streams]}
        assert_saved(arrays_saved(page), norms)
        show(page, view="attention", layer=2, head=3, row=5, col=1)
        probs = trace["layers.2.self_attn.probs"]
        assert_saved(arrays_saved(page), {"layers.2.self_attn.probs": probs, "layers.2.self_attn.probs.3": probs[0, 3]})
        show(page, view="lens", layer=1, row=5, token=77)
        parts = logit_attribution(demo(), trace, 77, 5)
        logits = logit_lens(demo(), trace, position=5)["layers.1"][0]
        want = {"layers.1.lens.5": logits, "logit_attribution": [float(np.array(x)[0]) for x in parts.values()]}
        assert_saved(arrays_saved(page), want)
        show(page, view="compare", other=OTHER, array="layers.1.self_attn.scores", row=2, token=None)
        want = {"logits-a": trace["logits"], "logits-b": other["logits"]}
        want |= {"layers.1.self_attn.scores-a": trace["layers.1.self_attn.scores"]}
        want |= {"layers.1.self_attn.scores-b": other["layers.1.self_attn.scores"]}
        found = arrays_saved(page)
        assert found.pop("difference").shape[0] == 5
        assert_saved(found, want)
        show(page, view="experiments", changes=[HEAD], row=4)
        found = arrays_saved(page)
        found.pop("ablation", None)  # it is computed later
        want = {f"{name}-{kind}": run[name] for name in ("logits", "layers.3") for kind, run in runs.items()}
        assert_saved(found, want)


def demo_ids(text: str) -> Any:
    return BioGptTokenizer.from_pretrained("demo")(text)["input_ids"]
