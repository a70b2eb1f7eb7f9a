"""The stepper inside the explorer: the same numbers as the trace, every number taken apart, and one state for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view import Explorer
from tests.support.browser import opened, overflow
from tests.view.test_pages import TEXT, demo

HASH = "#view=layer&layer=1"
STEPPER = "layerParts.stepper"
WAIT = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def show(page: Any, hash_: str = HASH) -> None:
    page.wait_for_selector("html[data-ready]")
    page.evaluate("(hash) => { location.hash = hash; }", hash_)
    page.wait_for_selector(".stepper h2")
    page.evaluate(WAIT)


def state(page: Any, *names: str) -> list[Any]:
    page.evaluate(WAIT)
    return [page.evaluate(f"app.state.{name}") for name in names]


EVERY = """(cells) => { const s = layerParts.stepper, found = [];
  for (const step of s.source.steps) {
    s.goTo(step.name);
    for (let head = 0; head < (isByHead(step) ? s.source.heads : 1); head++) {
      const m = matrixOf(s.array(), head);
      for (let n = 0; n < cells; n++) {
        const at = { head, row: (n * 5 + head) % m.rows, col: (n * 7 + head * 3) % m.columns };
        showOrigin(s.parts.origin, s.source, step, at, m.at(at.row, at.col));
        const { computed, value, good } = s.parts.origin.dataset;
        found.push([step.name, at, computed, value, good]);
      }
    }
  }
  return found; }"""


@pytest.mark.parametrize("layer", range(4))
def test_every_number_is_that_of_the_trace_and_is_taken_apart(browser: Any, file: Path, layer: int) -> None:
    trace = Explorer(demo(), TEXT).trace
    with opened(browser, file) as page:
        show(page, f"#view=layer&layer={layer}")
        found = page.evaluate(EVERY, 9)
    names = list(dict.fromkeys(name for name, *_ in found))
    assert names == [
        *["embed_tokens", "embed_positions", "embeddings"],
        *([f"layers.{layer - 1}"] if layer else []),
        *(name for name in trace if name.split(".")[:2] == ["layers", str(layer)]),
        *["layer_norm", "logits"],
    ]
    for name, at, computed, value, good in found:
        index = (0, at["head"], at["row"], at["col"]) if trace[name].ndim == 4 else (0, at["row"], at["col"])
        want, largest = trace[name][index], abs(np.where(trace[name] <= -1e30, 0, trace[name])).max()
        assert want <= -1e30 or abs(float(value) - want) <= 1e-4 * largest, (name, at)
        assert (good, computed != "") == ("true", True), (name, at, computed, value)


def test_the_page_and_the_stepper_have_one_state(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page)
        assert page.locator(".stepper h2").inner_text().endswith("layers.1.self_attn.probs")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert state(page, "step", "col") == ["self_attn.context", None]
        page.keyboard.press("]")
        page.keyboard.press("}")
        page.keyboard.press(",")
        assert state(page, "head", "layer", "row") == [1, 2, 7]
        assert page.evaluate(f"[{STEPPER}.state.head, {STEPPER}.source.layer, {STEPPER}.state.row]") == [1, 2, 7]
        assert page.locator(".stepper h2").inner_text().endswith("layers.2.self_attn.context")
        page.keyboard.press("Shift+ArrowDown")
        ((row, col),) = [state(page, "row", "col")]
        assert row == 8
        assert col == page.evaluate(f"{STEPPER}.state.col")
        page.keyboard.press("Escape")
        assert state(page, "col") == [None]
        page.evaluate("app.set({ step: '', layer: 0 })")
        page.evaluate(WAIT)
        assert page.locator(".stepper h2").inner_text().endswith(". layers.0")
        page.evaluate("app.set({ step: 'input' })")
        page.evaluate(WAIT)
        assert page.locator(".stepper h2").inner_text().endswith(". embeddings")
        page.evaluate("app.set({ layer: 3 })")
        page.evaluate(WAIT)
        assert page.locator(".stepper h2").inner_text().endswith(". layers.2")


def test_another_text_takes_the_place_of_the_first(browser: Any, file: Path) -> None:
    text = "Metformin lowers blood sugar."
    explorer = Explorer(demo(), text)
    with opened(browser, file) as page:
        show(page, "#view=layer&layer=2&step=self_attn.scores&head=3&row=2")
        page.fill("#text", text)
        assert state(page, "step", "head", "layer", "row") == ["self_attn.scores", 3, 2, None]
        assert page.locator(".down span").all_inner_texts() == labels_of(explorer.ids, explorer.tokenizer)
        last = len(explorer.ids) - 1
        shown = page.locator(".readout .mono").nth(1).inner_text().strip()
        scores = explorer.trace["layers.2.self_attn.scores"][0, 3, last]
        assert shown == str([0, 3, last, int(scores.argmax())])
        assert float(page.locator(".readout b").inner_text()) == pytest.approx(scores.max(), rel=1e-4)


def test_the_step_that_an_experiment_changes_says_so(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page, "#view=layer&layer=1&step=self_attn.weights")
        assert "Equal to probs: there is no head mask" in page.locator(".repeated").inner_text()
        page.evaluate("app.set({ changes: [{ kind: 'head', layer: 1, head: 0, scale: 0 }] })")
        page.evaluate(WAIT)
        assert page.locator(".repeated").is_hidden()
        assert page.evaluate(f"{STEPPER}.parts.origin.dataset.good") == "true"
        assert "The head mask multiplies head 1.0 by 0." in page.locator(".origin").inner_text()
        assert page.locator(".equation").inner_text().startswith("probs * ")
        page.evaluate("app.set({ untouched: true })")
        page.evaluate(WAIT)
        assert "Equal to probs: there is no head mask" in page.locator(".repeated").inner_text()
        page.evaluate("app.set({ untouched: false, changes: [{ kind: 'trap', key: 'scaleScores', value: false }] })")
        page.evaluate("app.set({ step: 'self_attn.scores', row: 3, col: 1 })")
        page.evaluate(WAIT)
        assert page.locator(".verdict p").inner_text() == "✗ different: an experiment changes this step"
        page.evaluate(
            "app.set({ changes: [{ kind: 'head', layer: 1, head: 0, scale: 0.3 }], step: 'self_attn.weights' })"
        )
        page.evaluate(WAIT)
        assert page.locator(".verdict p").inner_text() in ("✓ equal", "✓ equal within float32 rounding")
        page.evaluate("app.set({ step: 'self_attn.context' })")
        page.evaluate(WAIT)
        assert page.evaluate(f"{STEPPER}.parts.origin.dataset.good") == "true"


def test_a_recorded_page_has_the_same_steps(browser: Any, tmp_path: Path) -> None:
    explorer = Explorer(demo(), TEXT, live=False)
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        show(page)
        found = page.evaluate(EVERY, 5)
    assert len({name for name, *_ in found}) == 25
    for name, at, computed, value, good in found:
        x = explorer.trace[name]
        want = x[(0, at["head"], at["row"], at["col"]) if x.ndim == 4 else (0, at["row"], at["col"])]
        assert np.float32(value) == want, (name, at)
        assert good == "true", (name, computed, value)


@pytest.mark.parametrize("width", [360, 2560])
def test_the_layer_fits_its_window(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, width=width, height=740 if width == 360 else 1440) as page:
        show(page)
        for step in ("self_attn.probs", "fc1", "logits"):
            page.evaluate(f"app.set({{ step: '{step}' }})")
            page.evaluate(WAIT)
            assert overflow(page) == 0, step
