"""How the stepper is easy to read: it opens on attention, the picture in the window; color scales; folded parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt.view import Stepper
from minibiogpt.view.colors import PALETTES
from tests.support.browser import opened
from tests.view.test_browser import READBACK, title
from tests.view.test_pages import TEXT, demo
from tests.view.test_reading import LONG
from tests.view.test_words import rgb

PIXEL = """([row, col]) => { const c = stepper.map.canvas, m = stepper.map.matrix;
  const at = [(col + 0.5) * c.width / m.columns, (row + 0.5) * c.height / m.rows].map(Math.floor);
  return [...c.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3); }"""
BOTTOM = "(selector) => document.querySelector(selector).getBoundingClientRect().bottom"


@pytest.fixture(scope="module")
def stepper() -> Stepper:
    return Stepper(demo(), TEXT)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, stepper: Stepper) -> Path:
    return stepper.save(tmp_path_factory.mktemp("view") / "page.html")


def mixed(palette: str, x: float) -> np.ndarray:
    colors = np.array([rgb(color) for color in PALETTES[palette]])
    return np.array([np.interp(np.clip(x, 0, 1), np.linspace(0, 1, len(colors)), channel) for channel in colors.T])


@pytest.mark.parametrize("text", [TEXT, LONG])
def test_it_opens_on_attention_with_the_picture_and_the_number_in_the_window(
    browser: Any, tmp_path: Path, text: str
) -> None:
    with opened(browser, Stepper(demo(), text).save(tmp_path / "page.html")) as page:
        assert title(page) == "11. layers.0.self_attn.probs"
        for step in ("self_attn.probs", "self_attn.q", "input", "fc1"):
            page.evaluate("(step) => stepper.goTo(stepper.find(step))", step)
            for part in (".map", ".readout", ".legend"):
                assert page.evaluate(BOTTOM, part) <= 900, (step, part)
        chosen = "(selector) => { const b = (s) => document.querySelector(s).getBoundingClientRect();"
        assert page.evaluate(f"{chosen} return b('.marker').bottom <= b('.map').bottom; }}")
        assert page.evaluate("window.scrollY") == 0


def test_one_outlier_does_not_wash_out_the_embeddings(browser: Any, file: Path, stepper: Stepper) -> None:
    x = stepper.trace["embeddings"]
    with opened(browser, file) as page:
        page.evaluate("stepper.goTo('embeddings')")
        limit = float(page.locator(".legend .high").inner_text().split()[0])
        assert "and above" in page.locator(".legend .high").inner_text()
    assert limit < abs(x).max() / 2
    assert (abs(x) <= limit * 1.01).mean() >= 0.99


def test_the_color_scale_is_chosen(browser: Any, file: Path, stepper: Stepper) -> None:
    x = stepper.trace["layers.0.self_attn.scores"][0, 0]
    every = np.sort(abs(stepper.trace["layers.0.self_attn.scores"]), axis=None)
    p = stepper.trace["layers.0.self_attn.probs"][0, 0]
    cells = [(5, 2), (8, 0), (3, 1), (8, 8)]
    with opened(browser, file, allowed=READBACK) as page:
        page.evaluate("stepper.goTo('self_attn.scores')")
        choice = page.get_by_role("combobox", name="color scale")
        assert choice.locator("option:checked").inner_text() == "whole array"
        choice.select_option(label="each row")
        for row, col in cells:
            want = mixed("signed", 0.5 + x[row, col] / abs(x[row]).max() / 2)
            assert abs(np.array(page.evaluate(PIXEL, [row, col])) - want).max() <= 1
        assert page.locator(".legend .low").inner_text() == "-largest of the row"
        choice.select_option(label="clipped at 80 %")
        limit = every[int(np.ceil(0.8 * every.size)) - 1]
        for row, col in cells:
            want = mixed("signed", 0.5 + x[row, col] / limit / 2)
            assert abs(np.array(page.evaluate(PIXEL, [row, col])) - want).max() <= 1
        assert float(page.locator(".legend .high").inner_text().split()[0]) == pytest.approx(limit, rel=1e-2)
        choice.select_option(label="each row")
        page.evaluate("stepper.goTo('self_attn.probs')")
        for row, col in cells[:3]:
            want = mixed("sequential", p[row, col] / p[row].max())
            assert abs(np.array(page.evaluate(PIXEL, [row, col])) - want).max() <= 1


def test_a_number_that_is_compared_says_of_what(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        for step, words in {
            "self_attn.probs": "largest weight in its row",
            "self_attn.scores": "largest visible score in its row",
            "fc1": "farthest from 0 in its row",
        }.items():
            page.evaluate("(step) => stepper.goTo(stepper.find(step))", step)
            assert words in page.locator(".readout").inner_text()


def test_weights_that_repeat_probs_are_folded(browser: Any, tmp_path: Path, file: Path, stepper: Stepper) -> None:
    with opened(browser, file) as page:
        page.evaluate("stepper.goTo(stepper.find('self_attn.weights'))")
        assert page.locator(".repeated").inner_text().startswith("Equal to probs: there is no head mask.")
        assert page.locator(".stage").is_hidden()
        page.get_by_role("button", name="show it anyway").click()
        assert page.locator(".map canvas").is_visible()
        assert "There is no head mask" in page.locator(".origin").inner_text()
    masked = Stepper(demo(), TEXT, head_mask=[1, 0, 1, 1], start="self_attn.weights").save(tmp_path / "masked.html")
    with opened(browser, masked) as page:
        assert page.locator(".repeated").is_hidden()
        assert page.locator(".map canvas").is_visible()


def test_letters_and_tokens_are_explained(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        page.get_by_text("letters and tokens").click()
        rows = dict(row.locator("th, td").all_inner_texts() for row in page.locator(".letters tr").all())
        assert set(rows) >= {"B", "T", "S", "D", "H", "Dh", "F", "V", "</s>", "pre·"}
        assert "continues in the next token" in rows["pre·"]


def test_the_box_of_terms_scrolls_only_to_show_the_marked_row(browser: Any, tmp_path: Path) -> None:
    with opened(browser, Stepper(demo(), LONG).save(tmp_path / "page.html")) as page:
        top = "document.querySelector('.terms').scrollTop"
        page.evaluate("stepper.moveTo(20, 0, true)")
        assert page.evaluate(top) == 0
        page.evaluate("stepper.moveTo(25, 25, true)")
        assert page.evaluate(top) > 0
        seen = page.evaluate(
            """() => { const box = (s) => document.querySelector(s).getBoundingClientRect();
            const terms = box(".terms"), head = box(".terms th"), here = box(".terms tr.here");
            return [head.top - terms.top, here.top >= head.bottom && here.bottom <= terms.bottom, window.scrollY]; }"""
        )
        assert abs(seen[0]) < 1, "the header sticks"
        assert seen[1:] == [True, 0]


def test_the_demo_is_called_a_demo() -> None:
    assert "the demo model, a toy made for teaching" in Stepper(demo(), TEXT).html
    model = demo()
    model.name_or_path = ""
    assert "toy" not in Stepper(model, [2, 5]).page.body
