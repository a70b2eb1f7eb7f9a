"""The model view of the explorer: the numbers that it shows, reached by keyboard alone, are those of the trace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, Trace
from minibiogpt.view import Explorer
from tests.budgets import PAGE_PROBABILITY
from tests.support.browser import opened, overflow
from tests.support.explored import SCREENS
from tests.view.test_pages import TEXT, demo

ROWS = "(table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"


@pytest.fixture(scope="module")
def live() -> Explorer:
    return Explorer(demo(), TEXT)


@pytest.fixture(scope="module")
def file(live: Explorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return live.save(tmp_path_factory.mktemp("view") / "page.html")


def into_drawing(page: Any) -> None:
    """Press Tab until a part of the drawing has the focus."""
    page.wait_for_selector("html[data-ready]")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("Boolean(document.activeElement.closest('svg.overview'))"):
            return
    pytest.fail("Tab does not reach the drawing")


def tip(page: Any) -> tuple[str, list[list[str]]]:
    """The title of the tip, and its lines."""
    assert page.locator(".ov-tip").is_visible()
    return page.locator(".ov-tip b").inner_text(), page.locator(".ov-tip table").evaluate(ROWS)


def value_of(name: str, trace: Any) -> float:
    """The number that a name in a tip stands for: an element, a norm, or a probability."""
    if found := re.fullmatch(r"softmax\(logits\[0, (\d+)]\)\[(\d+)]", name):
        logits = trace["logits"][0, int(found[1])].astype("float64")
        return float(np.exp(logits - logits.max())[int(found[2])] / np.exp(logits - logits.max()).sum())
    if name.startswith("|"):
        terms = [element(part, trace) for part in name[1:-1].split(" - ")]
        return float(np.linalg.norm(terms[0] - sum(terms[1:])))
    return float(element(name, trace))


def element(name: str, trace: Any) -> np.ndarray:
    array, index = re.fullmatch(r"([\w.]+)\[([\d, ]+)]", name).groups()  # type: ignore[union-attr]
    return trace[array][tuple(map(int, index.split(", ")))].astype("float64")


def check(lines: list[list[str]], trace: Any, error: float) -> set[str]:
    """Compare the numbers with those of the trace, to the printed digits; return the names."""
    names = set()
    for _, name, number in lines:
        if not name or name.startswith("of "):
            continue
        want = value_of(name, trace)
        digits = max(6, len(re.sub(r"^[-0.]+|e.*|\.", "", number)))
        assert float(number) == pytest.approx(want, rel=0.5 * 10 ** (1 - digits) + error), name
        names.add(name)
    return names


@pytest.mark.parametrize(("width", "height", "theme"), SCREENS)
def test_every_number_by_keyboard(
    browser: Any, live: Explorer, file: Path, width: int, height: int, theme: str
) -> None:
    with opened(browser, file, width=width, height=height, color_scheme=theme) as page:
        into_drawing(page)
        page.keyboard.press("Home")
        names, last = set(), ""
        for _ in range(40):
            title, lines = tip(page)
            if title == last:
                break
            last = title
            names |= check(lines, live.trace, PAGE_PROBABILITY)
            assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(f"{title}. ")
            page.keyboard.press("ArrowUp")
        t = len(live.ids) - 1
        parts = [f"layers.{l}{x}" for l in range(4) for x in (".self_attn.out_proj", ".attn_residual", ".fc2", "")]  # noqa: E741
        assert {f"|{name}[0, {t}]|" for name in [*parts, "embed_tokens", "embed_positions", "layer_norm"]} <= names
        best = int(live.trace["logits"][0, t].argmax())
        assert f"logits[0, {t}, {best}]" in names
        assert overflow(page) == 0


def test_a_recorded_page_shows_exactly_its_arrays(browser: Any, tmp_path: Path) -> None:
    explorer = Explorer(demo(), TEXT, live=False)
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        into_drawing(page)
        page.keyboard.press("Home")
        for _ in range(16):
            check(tip(page)[1], explorer.trace, 1e-9)
            page.keyboard.press("ArrowUp")


def test_a_part_is_the_way_to_its_view(browser: Any, file: Path) -> None:
    ways = [
        (2, {"view": "attention", "layer": 0}),
        (3, {"view": "layer", "layer": 0, "step": "fc2"}),
        (4, {"view": "lens", "layer": 0}),
        (6, {"view": "layer", "layer": 1, "step": "fc2"}),
    ]
    for steps, state in ways:
        with opened(browser, file) as page:
            into_drawing(page)
            for key in ["Home", *["ArrowUp"] * steps, "Enter"]:
                page.keyboard.press(key)
            page.wait_for_selector(f"#tab-{state['view']}[aria-selected=true]")
            assert state.items() <= page.evaluate("app.state").items()


def test_arrows_change_the_token_and_keep_the_focus(browser: Any, live: Explorer, file: Path) -> None:
    with opened(browser, file) as page:
        into_drawing(page)
        for key in ["Home", *["ArrowUp"] * 2, "ArrowLeft", "ArrowLeft"]:
            page.keyboard.press(key)
        t = len(live.ids) - 3
        page.wait_for_function(f"() => document.activeElement.getAttribute('aria-label').includes('position {t})')")
        assert page.evaluate("[app.row, document.activeElement.dataset.part]") == [t, "layers.0.attention"]
        assert f"|layers.0.self_attn.out_proj[0, {t}]|" in check(tip(page)[1], live.trace, PAGE_PROBABILITY)
        page.keyboard.press("ArrowUp")
        assert f"|layers.0.fc2[0, {t}]|" in check(tip(page)[1], live.trace, PAGE_PROBABILITY)


def test_bars_are_the_most_probable_of_the_whole_vocabulary(browser: Any, live: Explorer, file: Path) -> None:
    logits = live.trace["logits"][0, -1].astype("float64")
    probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    order = np.argsort(-probs, kind="stable")
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        found = page.evaluate("ov.answers.bars.map((bar) => bar.id)")
        assert found == [*order[:10].tolist(), None]
        others = page.locator(".ov-answers > text").last.text_content()
        assert others == f"the other 1,864 tokens together: {100 * probs[order[10:]].sum():.2f} %"
        page.locator(".ov-part.answer").nth(3).click()
        page.wait_for_selector(".ov-part.answer:nth-of-type(4)[aria-pressed=true]")
        assert page.evaluate("app.state.token") == order[3]
        page.evaluate("app.set({ token: 1500 })")
        page.wait_for_function("() => ov.answers.bars[10].id === 1500")
        rank = 1 + int((probs > probs[1500]).sum())
        assert page.locator(".ov-part.answer").nth(10).locator(".value").text_content().startswith(f"rank {rank}: ")


def test_hovering_another_column_shows_its_numbers_and_lines(browser: Any, live: Explorer, file: Path) -> None:
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        x, y = page.evaluate("(() => { const { x, y } = ov.svg.getBoundingClientRect(); return [x, y]; })()")
        at = page.evaluate("[ov.layout.x(4), ov.layout.attention(2)]")
        page.mouse.move(x + at[0], y + at[1])
        title, lines = tip(page)
        assert title == "“fen” (position 4), layer 2"
        assert "|layers.2.self_attn.out_proj[0, 4]|" in check(lines, live.trace, PAGE_PROBABILITY)
        assert page.locator(".ov-lines.over path").count() == 4 * 4  # keys before the token, in each layer
        page.mouse.click(x + at[0], y + at[1])
        page.wait_for_function("() => app.row === 4 && document.querySelectorAll('.ov-lines.over path').length === 0")


@pytest.mark.parametrize(("L", "H", "T"), [(24, 16, 64), (3, 2, 256)])
def test_the_studied_token_of_a_long_text_is_in_view(browser: Any, tmp_path: Path, L: int, H: int, T: int) -> None:
    config = BioGptConfig(
        num_hidden_layers=L, num_attention_heads=H, hidden_size=32, intermediate_size=64, vocab_size=200
    )
    ids = np.random.default_rng(0).integers(4, 200, size=(1, T))
    explorer = Explorer(BioGptForCausalLM.from_config(config, seed=0), ids, live=False)
    with opened(browser, explorer.save(tmp_path / "page.html"), width=900) as page:
        page.wait_for_selector("html[data-ready]")
        for row in (0, T // 2, T - 1):
            page.evaluate(f"app.set({{ row: {row} }})")
            page.wait_for_function(f"() => ov.layout.row === {row}")
            column, box = (page.evaluate(f"ov.{x}.getBoundingClientRect().toJSON()") for x in ("open.group", "box"))
            assert box["left"] - 1 <= column["left"] < column["right"] <= box["right"] + 1, row
        assert overflow(page) == 0


def test_an_experiment_is_shown_beside_the_untouched_run(browser: Any, live: Explorer, file: Path) -> None:
    trace = Trace()
    demo()([live.ids], use_cache=False, trace=trace, head_mask=[[1, 1, 1, 1], [0, 1, 1, 1], [1] * 4, [1] * 4])
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("app.set({ changes: [{ kind: 'head', layer: 1, head: 0, scale: 0 }] })")
        page.wait_for_function("() => ov.drawn.run === app.run && app.run !== app.baseline")
        assert page.locator(".ov-part.attention .was").first.is_visible()
        into_drawing(page)
        page.keyboard.press("Home")
        for _ in range(16):
            _, lines = tip(page)
            now = [line for line in lines if line[0] != "without the experiments"]
            assert len(now) == len(lines) - 1
            check(now, trace, PAGE_PROBABILITY)
            check(lines[-1:], live.trace, PAGE_PROBABILITY)
            page.keyboard.press("ArrowUp")


def test_the_notes_explain_tokens_sizes_and_strokes(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        notes = page.locator(".overview-notes")
        assert "</s> is a mark that begins every text" in notes.inner_text()
        assert "without the experiment" not in notes.inner_text()
        page.evaluate("app.set({ changes: [{ kind: 'head', layer: 1, head: 0, scale: 0 }] })")
        page.wait_for_function("() => ov.drawn.run === app.run && app.run !== app.baseline")
        assert "without the experiment" in notes.inner_text()
        page.get_by_role("button", name="what each part adds to a logit").click()
        page.wait_for_selector("#tab-lens[aria-selected=true]")
