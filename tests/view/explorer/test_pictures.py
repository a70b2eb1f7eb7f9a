"""Pictures and files show the numbers of the place that they name: the head, the row, the column, the array."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptTokenizer, Trace
from minibiogpt.lens import logit_attribution, logit_lens
from minibiogpt.view import Explorer
from minibiogpt.view.colors import PALETTES
from tests.budgets import PAGE_CELL, PAGE_MEASURE, PAGE_PROBABILITY
from tests.support.browser import opened
from tests.view.explorer.test_attention_view import READBACK, show, traced
from tests.view.test_pages import TEXT, data_of, demo

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
        assert np.abs(found[name] - x).max() <= PAGE_CELL * np.abs(x).max(), name


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


SEGMENTS = """() => [...document.querySelectorAll(".gen-segment")].map((rect) => [rect.classList.contains("here"),
  ...["x", "width"].map((name) => Number(rect.getAttribute(name))), rect.textContent])"""


def test_the_strip_shows_the_distribution_and_the_number_that_chooses(browser: Any, file: Path) -> None:
    rules, call = {"temperature": 1.5, "topK": 12, "seed": 5}, {"temperature": 1.5, "top_k": 12, "seed": 5}
    trace = Trace()
    out = demo().generate(demo_ids(TEXT), max_new_tokens=3, do_sample=True, trace=trace, **call)
    labels = data_of(Explorer(demo(), TEXT).html)["labels"]
    draws = np.random.default_rng(5).random(3)
    with opened(browser, file) as page:
        for step in range(3):
            show(page, view="generation", generation={**rules, "count": 3, "at": step})
            logits = np.asarray(trace[f"step.{step}/processors.1.TopK.after"][0], np.float64)
            p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            ends = np.cumsum(p)
            ids = np.flatnonzero(p)
            found = page.evaluate(SEGMENTS)
            width = float(page.locator(".gen-strip").get_attribute("width")) - 16
            assert len(found) == len(ids) == 12
            for (here, x, wide, text), i in zip(found, ids, strict=True):
                label, start, end = re.match(r"“(.*)”: from (\S+) to (\S+)", text).groups()  # type: ignore[union-attr]
                assert (label, here) == (labels[i], i == out[0, step - 3])
                assert np.allclose([float(start), float(end)], [ends[i] - p[i], ends[i]], atol=PAGE_PROBABILITY)
                assert abs(x - (8 + width * (ends[i] - p[i]))) < 0.1
                assert abs(wide - max(width * p[i], 1.5 if here else 0)) < 0.1
            at = page.locator(".gen-pointer").get_attribute("d")
            assert abs(float(at[1:].split(" ")[0]) - (8 + width * draws[step])) < 0.1


@pytest.mark.parametrize("lines", ["strongest", "mean", "head"])
def test_lines_of_the_model_view_are_the_weights(browser: Any, file: Path, lines: str) -> None:
    trace, row = traced(TEXT), 7
    with opened(browser, file) as page:
        show(page, view="model", lines=lines, head=2, row=row)
        paths = page.locator(".ov-lines:not(.over) path")
        drawn = paths.evaluate_all("(found) => found.map((path) => Number(path.getAttribute('stroke-width')))")
    want = []
    for layer in range(4):
        probs = np.asarray(trace[f"layers.{layer}.self_attn.probs"][0, :, row, :row], np.float64)
        weights = {"strongest": probs.max(axis=0), "mean": probs.mean(axis=0), "head": probs[2]}[lines]
        order = np.sort(np.argsort(-weights)[:8])[::-1]  # near keys first
        want += [0.5 + 3.2 * weights[s] for s in order]
    assert np.allclose(drawn, want, atol=PAGE_MEASURE)


def test_columns_of_heads_are_named(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        for step in ("self_attn.q_proj", "self_attn.context"):
            show(page, view="layer", layer=2, step=step)
            ticks = page.locator(".across .tick")
            assert ticks.all_inner_texts() == [f"head 2.{head}" for head in range(4)]
            size = demo().config.hidden_size // 4 * page.evaluate("layerParts.stepper.map.wide")
            lefts = ticks.evaluate_all("(x) => x.map((y) => parseFloat(y.style.left))")
            assert lefts == [head * size for head in range(4)]


def test_the_cell_that_a_step_opens_with_is_the_strongest(browser: Any, file: Path) -> None:
    trace, row, head = traced(TEXT), 6, 1
    with opened(browser, file) as page:
        for step in ("self_attn_layer_norm", "fc2", "self_attn.scores", "self_attn.probs", "self_attn.v", "logits"):
            show(page, view="layer", layer=2, head=head, row=row, col=None, step=step)
            name = step if step == "logits" else f"layers.2.{step}"
            x = trace[name][0, head] if trace[name].ndim == 4 else trace[name][0]
            seen = x[row, : row + 1] if step in ("self_attn.scores", "self_attn.probs") else x[row]
            signed = step in ("self_attn.scores", "self_attn.probs", "logits")
            column = int((seen if signed else np.abs(seen)).argmax())
            index = [0, *([head] if trace[name].ndim == 4 else []), row, column]
            value, place = page.locator(".readout > div").first.inner_text().split(" ", 1)
            assert place.strip() == str(index), step
            assert abs(float(value) - seen[column]) <= PAGE_CELL * np.abs(x).max(), step


def test_each_column_of_the_model_view_has_the_label_of_its_token(browser: Any, file: Path) -> None:
    data = data_of(Explorer(demo(), TEXT).html)
    with opened(browser, file) as page:
        for text in (TEXT, "Ibuprofen is best used for pain and inflammation, " * 4):
            ids = demo_ids(text)[0]
            show(page, view="model", text=text, row=4)
            found = page.locator(".ov-tokens:not(.ov-soft) text")
            places = found.evaluate_all("(x) => x.map((y) => Number(y.getAttribute('x')))")
            assert places == sorted(places)
            for label, i in zip(found.all_text_contents(), ids, strict=True):
                assert label == data["labels"][i] or (label[-1] == "…" and data["labels"][i].startswith(label[:-1]))
